package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A verifier checks one host's key against known_hosts files.
type verifier struct {
	host string // as known_hosts writes it
	file string // the first of the files
	addr string // what to look for: name:port, or the name alone where only that is in the files

	check ssh.HostKeyCallback
	known []knownhosts.KnownKey // for addr; authorities included
	lines map[string][][]byte   // of the files
}

func (h *Host) knownHosts() []string {
	if h.KnownHostsFile == "" {
		return h.KnownHostsFiles
	}
	return append([]string{h.KnownHostsFile}, h.KnownHostsFiles...)
}

// newVerifier reads the files. One that does not exist knows nobody.
func newVerifier(addr, alias string, files []string) (*verifier, error) {
	addr = strings.ToLower(addr) // as ssh writes them
	if alias != "" {
		addr = net.JoinHostPort(alias, "22") // which stands for the name alone
	}
	v := &verifier{host: knownhosts.Normalize(addr), file: files[0], addr: addr, lines: map[string][][]byte{}}
	present := []string{os.DevNull}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			v.lines[file] = bytes.Split(text, []byte("\n"))
			present = append(present, file)
			err = checkRevoked(v.lines[file])
		}
		if err != nil {
			return nil, &HostKeyError{Host: v.host, File: file, Err: err}
		}
	}
	var err error
	if v.check, err = knownhosts.New(present...); err != nil {
		return nil, &HostKeyError{Host: v.host, File: v.file, Err: err}
	}
	if v.known = v.want(); len(v.known) == 0 {
		if name, port, err := net.SplitHostPort(addr); err == nil && port != "22" {
			v.addr = net.JoinHostPort(name, "22") // as ssh does: a host of that name may have further ports
			v.known = v.want()
		}
	}
	return v, nil
}

// want is what the files have for addr. A key that nobody has is refused, and the refusal tells what would have been accepted.
func (v *verifier) want() []knownhosts.KnownKey {
	var key *knownhosts.KeyError
	if errors.As(v.check(v.addr, noAddr, noKey{}), &key) {
		return key.Want
	}
	return nil
}

// checkRevoked wants to understand every line that takes trust away. The others may be of a future kind: they are skipped, as ssh does.
func checkRevoked(lines [][]byte) error {
	for i, line := range lines {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("@revoked")) {
			if _, _, _, _, _, err := ssh.ParseKnownHosts(line); err != nil {
				return fmt.Errorf("line %d: cannot read what is revoked: %w", i+1, err)
			}
		}
	}
	return nil
}

// verify is the ssh.HostKeyCallback.
func (v *verifier) verify(_ string, _ net.Addr, key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok && !v.isKnown(cert.SignatureKey, true) {
		key = cert.Key // signed by nobody we know: the key may be known for itself
	}
	err := v.check(v.addr, noAddr, key)
	_, certified := key.(*ssh.Certificate)
	if err == nil && (certified || v.isKnown(key, false)) {
		return nil
	}
	e := &HostKeyError{Host: v.host, File: v.file, Algorithm: key.Type(), Fingerprint: ssh.FingerprintSHA256(key),
		listed: knownhosts.Normalize(v.addr)}
	var mismatch *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		e.Revoked, e.File = true, revoked.Revoked.Filename
	case err != nil && !errors.As(err, &mismatch):
		e.Err = err
	default:
		for _, k := range v.known {
			if !v.authority(k) {
				e.Known, e.File = append(e.Known, k.Key.Type()+" "+ssh.FingerprintSHA256(k.Key)), k.Filename
			}
		}
		if e.Known == nil && len(v.known) > 0 {
			e.File = v.known[0].Filename
			e.Err = fmt.Errorf("it shows no certificate of the authority that %s names for it", e.File)
		}
	}
	return e
}

// isKnown says whether the files have the key: as that of an authority, or as the host's own, which an authority's never is.
func (v *verifier) isKnown(key ssh.PublicKey, authority bool) bool {
	return slices.ContainsFunc(v.known, func(k knownhosts.KnownKey) bool {
		return v.authority(k) == authority && bytes.Equal(k.Key.Marshal(), key.Marshal())
	})
}

// algorithms are those to ask the host for: what the file knows it by, then the others, so that a host whose key changed is told from one
// that cannot be spoken to.
func (v *verifier) algorithms() []string {
	supported := ssh.SupportedAlgorithms().HostKeys
	var wanted []string
	for _, k := range v.known {
		if v.authority(k) {
			for _, algo := range supported {
				if isCertificate(algo) {
					wanted = append(wanted, algo)
				}
			}
			continue
		}
		wanted = append(wanted, signatureAlgorithms(k.Key.Type())...)
	}
	for _, algo := range supported {
		if !isCertificate(algo) { // a host with a certificate from somebody unknown shows its plain key
			wanted = append(wanted, algo)
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(wanted, func(algo string) bool {
		double := seen[algo]
		seen[algo] = true
		return double || !slices.Contains(supported, algo)
	})
}

// authority says whether k signs certificates of hosts and is no host's key itself.
func (v *verifier) authority(k knownhosts.KnownKey) bool {
	lines := v.lines[k.Filename]
	return k.Line > 0 && k.Line <= len(lines) && bytes.HasPrefix(bytes.TrimSpace(lines[k.Line-1]), []byte("@cert-authority"))
}

// signatureAlgorithms are what a key of this type signs with: one RSA key has several.
func signatureAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

func isCertificate(algo string) bool {
	return strings.Contains(algo, "-cert-v01@")
}

// noAddr stands where knownhosts wants the address that a name resolved to. Through another host we never learn it.
var noAddr net.Addr = &net.TCPAddr{IP: net.IPv4zero}

// noKey is a key that no file has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
