package tunnel

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

var (
	// ErrHostKey says that the key a host offered could not be verified; the host was told nothing about us.
	ErrHostKey = errors.New("tunnel: host key not verified")

	// ErrAuth says that the host would not let us in with any of our keys, or that none of them can be used.
	ErrAuth = errors.New("tunnel: not let in")

	// ErrLost says that the connection to the host ended in the middle of something. A command that was running may have run to its
	// end, or still be running.
	ErrLost = errors.New("tunnel: connection lost")

	// ErrClosed says that the Tunnel was used after Close, or closed while in use.
	ErrClosed = errors.New("tunnel: closed")
)

// A HostKeyError says why a host's key is not trusted. It is an [ErrHostKey].
type HostKeyError struct {
	Host        string   // as known_hosts writes it: a name, or [name]:port
	File        string   // the known_hosts file that it is about, or the first one
	Algorithm   string   // of the offered key, "ssh-ed25519"; "" if the file could not be read
	Fingerprint string   // of the offered key, "SHA256:..."
	Known       []string // fingerprints that the file has for the host; none: the host is unknown
	Revoked     bool     // the file says that the offered key must not be used
	Err         error    // why the file could not be read, or a certificate was refused

	listed string // the name that the file has for the host, which may be without a port
}

func (e *HostKeyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tunnel: host key of %s not verified: ", e.Host)
	offered := e.Algorithm + " " + e.Fingerprint
	switch {
	case e.Revoked:
		fmt.Fprintf(&b, "%s is revoked by %s", offered, e.File)
	case e.Err != nil && e.Fingerprint == "":
		fmt.Fprintf(&b, "known_hosts: %v", e.Err)
	case e.Err != nil:
		fmt.Fprintf(&b, "%s: %v", offered, e.Err)
	case len(e.Known) > 0:
		fmt.Fprintf(&b, "it offers %s, but %s has %s: the host was set up anew, or somebody stands in between; "+
			"if its own /etc/ssh/*.pub (ssh-keygen -lf) have the offered one, remove the old with: ssh-keygen -f %[2]s -R '%[4]s', and add the new with: %[5]s",
			offered, e.File, strings.Join(e.Known, ", "), e.listed, e.scan())
	default:
		fmt.Fprintf(&b, "it offers %s, and %s does not know the host: "+
			"if its own /etc/ssh/*.pub (ssh-keygen -lf) have this fingerprint, add it with: %s", offered, e.File, e.scan())
	}
	return b.String()
}

// scan is the command that adds the host.
func (e *HostKeyError) scan() string {
	name, port := e.Host, ""
	if h, p, err := net.SplitHostPort(e.Host); err == nil {
		name, port = h, "-p "+p+" "
	}
	return fmt.Sprintf("ssh-keyscan %s%s >> %s", port, name, e.File)
}

func (e *HostKeyError) Is(target error) bool { return target == ErrHostKey }
func (e *HostKeyError) Unwrap() error        { return e.Err }

// An ExitError is a command that ran and did not succeed.
type ExitError struct {
	Argv0  string
	Host   string // user@host:port
	Code   int    // -1: ended by a signal
	Signal string // its name without SIG, or ""
	Stderr string // the end of what it wrote to standard error, when Run was given no writer for that
}

// ExitCode is the exit status, -1 if a signal ended the command. It is what a caller that does not import this package can ask for.
func (e *ExitError) ExitCode() int { return e.Code }

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s on %s: exit status %d", e.Argv0, e.Host, e.Code)
	if e.Signal != "" {
		s = fmt.Sprintf("%s on %s: killed by signal %s", e.Argv0, e.Host, e.Signal)
	}
	if tail := strings.TrimSpace(e.Stderr); tail != "" {
		s += ": " + tail
	}
	return s
}
