package tunnel

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A verifier checks one host's key against one known_hosts file.
type verifier struct {
	host, addr, file string // host as known_hosts writes addr

	check ssh.HostKeyCallback
	known []knownhosts.KnownKey // for addr; authorities included
	lines [][]byte              // of the file
}

// newVerifier reads the file. One that does not exist knows nobody.
func newVerifier(addr, file string) (*verifier, error) {
	v := &verifier{host: knownhosts.Normalize(addr), addr: addr, file: file}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		file = os.DevNull
	} else if err != nil {
		return nil, &HostKeyError{Host: v.host, File: v.file, Err: err}
	}
	v.lines = bytes.Split(text, []byte("\n"))
	if v.check, err = knownhosts.New(file); err != nil {
		return nil, &HostKeyError{Host: v.host, File: v.file, Err: err}
	}
	// A key that nobody has is refused, and the refusal tells what would have been accepted.
	var key *knownhosts.KeyError
	if errors.As(v.check(addr, noAddr, noKey{}), &key) {
		v.known = key.Want
	}
	return v, nil
}

// verify is the ssh.HostKeyCallback.
func (v *verifier) verify(_ string, _ net.Addr, key ssh.PublicKey) error {
	err := v.check(v.addr, noAddr, key)
	if err == nil {
		return nil
	}
	e := &HostKeyError{Host: v.host, File: v.file, Algorithm: key.Type(), Fingerprint: ssh.FingerprintSHA256(key)}
	var mismatch *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &mismatch):
		for _, k := range mismatch.Want {
			e.Known = append(e.Known, k.Key.Type()+" "+ssh.FingerprintSHA256(k.Key))
		}
	case errors.As(err, &revoked):
		e.Revoked = true
	default:
		e.Err = err
	}
	return e
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
	return k.Line > 0 && k.Line <= len(v.lines) && bytes.HasPrefix(bytes.TrimSpace(v.lines[k.Line-1]), []byte("@cert-authority"))
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
