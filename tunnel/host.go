package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// A Host is a machine with an sshd, and how to get in. Addr, User, one known_hosts file and one way to a key are required.
type Host struct {
	Addr string // name or name:port; 22 when there is none
	User string // who to be there

	// IdentityFile is our private key, and IdentityFiles are more of them, to be tried after it. A certificate in FILE-cert.pub is tried
	// before its key. A file that is missing, or holds the public half only, is good enough where the agent has the key.
	IdentityFile  string
	IdentityFiles []string

	// Passphrase opens an encrypted identity file; nil: such a file is of no use unless the agent has its key. It is asked when the server
	// would take the key, and not again once the answer was right. The clock of Timeout stands still meanwhile. The answer is
	// overwritten after use. It may be called by any goroutine that uses the Tunnel, one at a time.
	Passphrase func(ctx context.Context, file string) ([]byte, error)

	// Agent is the socket of an SSH agent, "" none: os.Getenv("SSH_AUTH_SOCK") is the user's. Its keys come after the files; a key that
	// is in both comes at the file's place. IdentitiesOnly leaves out the keys that no file names: a server hangs up after a few
	// that it does not know (sshd: MaxAuthTries 6).
	Agent          string
	IdentitiesOnly bool

	// KnownHostsFile says who Addr must be, and KnownHostsFiles are more of them. One that does not exist knows nobody.
	KnownHostsFile  string
	KnownHostsFiles []string
	HostKeyAlias    string // the name to look for in them; "": that of Addr

	// Ciphers are what to encrypt with, the preferred ones first; nil: all of golang.org/x/crypto/ssh's, aes128-gcm@openssh.com first.
	Ciphers []string

	Timeout time.Duration // for reaching the host and logging in; 0: 15 s

	// Of the last host of a Tunnel, whatever the others have:

	// KeepAlive is how often the host is asked for a sign of life. After three times that without any the connection counts as lost.
	// 0: 9 s.
	KeepAlive time.Duration

	// Reconnects is how often a call that finds the connection lost tries to make a new one, after the first time, waiting longer each
	// time. 0: 8, which is up to 23 s of waiting; negative: none.
	Reconnects int

	// Commands is how many commands of [Tunnel.Run] may run at once; more wait. 0: 8. The server's MaxSessions (sshd: 10) must be
	// larger by two: they are for ending commands.
	Commands int
}

const (
	defaultTimeout    = 15 * time.Second
	defaultKeepAlive  = 9 * time.Second
	defaultReconnects = 8
	defaultCommands   = 8
)

// check names every mistake.
func (h *Host) check() error {
	var missing []string
	for _, field := range []struct{ name, value string }{
		{"Addr", h.Addr}, {"User", h.User}, {"IdentityFile", strings.Join(h.identities(), "") + h.Agent},
		{"KnownHostsFile", strings.Join(h.knownHosts(), "")},
	} {
		if field.value == "" {
			missing = append(missing, field.name)
		}
	}
	if missing != nil {
		return fmt.Errorf("tunnel: host %q: no %s", h.Addr, strings.Join(missing, ", no "))
	}
	if h.Timeout < 0 || h.KeepAlive < 0 || h.Commands < 0 {
		return fmt.Errorf("tunnel: host %q: negative Timeout, KeepAlive or Commands", h.Addr)
	}
	for _, c := range h.Ciphers {
		if !slices.Contains(ciphers(), c) {
			return fmt.Errorf("tunnel: host %q: no cipher %q: want some of %s", h.Addr, c, strings.Join(ciphers(), ", "))
		}
	}
	return nil
}

// withDefaults is the host with nothing left open.
func (h Host) withDefaults() Host {
	if _, _, err := net.SplitHostPort(h.Addr); err != nil {
		h.Addr = net.JoinHostPort(strings.Trim(h.Addr, "[]"), "22")
	}
	if h.Timeout == 0 {
		h.Timeout = defaultTimeout
	}
	if h.KeepAlive == 0 {
		h.KeepAlive = defaultKeepAlive
	}
	if h.Reconnects == 0 {
		h.Reconnects = defaultReconnects
	}
	if h.Commands == 0 {
		h.Commands = defaultCommands
	}
	if h.Ciphers == nil {
		h.Ciphers = ciphers()
	}
	return h
}

func (h *Host) String() string { return h.User + "@" + h.Addr }

// dialer is net.Dialer's DialContext, or that of the host before.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

var errTimeout = errors.New("timeout")

// login reaches the host by dial and logs in. The wire below the client reads so many bytes ahead.
func (h *Host) login(parent context.Context, dial dialer, unlocked keyring, ahead int) (*ssh.Client, *wire, error) {
	v, err := newVerifier(h.Addr, h.HostKeyAlias, h.knownHosts())
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	clock := time.AfterFunc(h.Timeout, func() { cancel(errTimeout) })
	defer clock.Stop()
	// ended is the error of a context that ended; our own timeout must not look like the caller's.
	ended := func() error {
		if err := parent.Err(); err != nil {
			return err
		}
		return fmt.Errorf("no answer within %v: %w", h.Timeout, os.ErrDeadlineExceeded)
	}
	keys := h.wallet(ctx, func(file string) (ssh.Signer, error) {
		clock.Stop() // a person may type
		defer clock.Reset(h.Timeout)
		return unlocked.unlock(file, func(file string) ([]byte, error) { return h.Passphrase(ctx, file) })
	})
	defer keys.close()
	if len(keys.offers) == 0 {
		if ctx.Err() != nil {
			return nil, nil, ended()
		}
		return nil, nil, keys.refused(h, nil)
	}
	conn, err := dial(ctx, "tcp", h.Addr)
	if err != nil {
		if ctx.Err() != nil {
			err = ended()
		}
		return nil, nil, err
	}

	var allowed []string // what the server lets in by; nil: it did not come to that
	config := &ssh.ClientConfig{
		User:              h.User,
		HostKeyCallback:   v.verify,
		HostKeyAlgorithms: v.algorithms(),
		AuthCallback: func(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			allowed = c.AllowedMethods
			var rest []ssh.Signer
			for _, o := range keys.offers {
				if !o.tried {
					rest = append(rest, o)
				}
			}
			if rest == nil || !slices.Contains(allowed, "publickey") {
				return nil, nil
			}
			return ssh.PublicKeys(rest...), nil
		},
	}
	config.Ciphers = h.Ciphers
	w := newWire(conn, ahead)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, chans, reqs, err := ssh.NewClientConn(w, h.Addr, config)
	inTime := stop()
	var hostKey *HostKeyError
	switch {
	case err == nil && inTime:
		return ssh.NewClient(c, chans, reqs), w, nil
	case !inTime:
		err = ended()
	case errors.As(err, &hostKey):
		err = hostKey // without the library's words around it
	case allowed != nil && !broken(err):
		err = keys.refused(h, allowed)
	}
	conn.Close()
	return nil, nil, err
}

// broken says whether err comes from the connection and not from what was said over it.
func broken(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// ciphers puts AES-GCM first, which is three times as fast as ChaCha20 where the processor knows AES, as every server's does.
func ciphers() []string {
	first := []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	rest := slices.DeleteFunc(ssh.SupportedAlgorithms().Ciphers, func(c string) bool { return slices.Contains(first, c) })
	return append(first, rest...)
}
