package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A keyring holds the private keys that somebody has given the passphrase for, by file.
type keyring map[string]ssh.Signer

// An offer is a key to log in with, as golang.org/x/crypto/ssh wants one. The server is shown the public half first; only for one that it
// would take is the private half fetched, and a passphrase asked for.
type offer struct {
	name   string        // the file, or the agent's comment
	public ssh.PublicKey // a key or a certificate
	open   func() (ssh.Signer, error)

	tried bool  // shown to the server
	err   error // why it could not sign
}

func (o *offer) String() string {
	s := fmt.Sprintf("%s (%s %s)", o.name, o.public.Type(), ssh.FingerprintSHA256(o.public))
	if o.err != nil {
		s += ": " + o.err.Error()
	}
	return s
}

// PublicKey is called when the server is about to be shown the key.
func (o *offer) PublicKey() ssh.PublicKey {
	o.tried = true
	return o.public
}

func (o *offer) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return o.SignWithAlgorithm(rand, data, "")
}

func (o *offer) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (sig *ssh.Signature, err error) {
	signer, err := o.open()
	if err == nil {
		if s, several := signer.(ssh.AlgorithmSigner); several && algorithm != "" {
			sig, err = s.SignWithAlgorithm(rand, data, algorithm)
		} else {
			sig, err = signer.Sign(rand, data)
		}
	}
	o.err = err
	return sig, err
}

// A wallet is everything to log in to one host with, in the order in which it is tried.
type wallet struct {
	offers   []*offer
	unusable []string // what could not even be offered, and why

	held []ssh.Signer // the agent's
	conn net.Conn     // to the agent; nil: none
}

func (w *wallet) close() {
	if w.conn != nil {
		w.conn.Close()
	}
}

// wallet collects the host's keys: the files in their order, each from the agent where that spares a passphrase, then what else the agent
// has. No key is offered twice: servers count (MaxAuthTries). ask asks for a file's passphrase.
func (h *Host) wallet(ctx context.Context, ask func(file string) (ssh.Signer, error)) *wallet {
	w := &wallet{}
	if h.Agent != "" {
		if err := w.askAgent(ctx, h.Agent); err != nil {
			w.unusable = append(w.unusable, fmt.Sprintf("agent: %v", err))
		}
	}
	for _, file := range h.identities() {
		if err := w.addFile(file, h.Passphrase != nil, ask); err != nil {
			w.unusable = append(w.unusable, err.Error())
		}
	}
	if !h.IdentitiesOnly {
		for _, s := range w.held {
			w.add(agentName(s), s.PublicKey(), func() (ssh.Signer, error) { return s, nil })
		}
	}
	return w
}

func (h *Host) identities() []string {
	if h.IdentityFile == "" {
		return h.IdentityFiles
	}
	return append([]string{h.IdentityFile}, h.IdentityFiles...)
}

// askAgent connects to the agent and asks what it holds.
func (w *wallet) askAgent(ctx context.Context, socket string) (err error) {
	if w.conn, err = (&net.Dialer{}).DialContext(ctx, "unix", socket); err != nil {
		w.conn = nil
		return err
	}
	conn := w.conn
	context.AfterFunc(ctx, func() { conn.Close() }) // an agent may ask its user, who need not be there
	w.held, err = agent.NewClient(conn).Signers()
	return err
}

func agentName(s ssh.Signer) string {
	if k, ok := s.PublicKey().(*agent.Key); ok && k.Comment != "" {
		return "the agent's " + k.Comment
	}
	return "the agent's key"
}

// heldByAgent is the agent's signer for a key, nil if it has none.
func (w *wallet) heldByAgent(key ssh.PublicKey) ssh.Signer {
	i := slices.IndexFunc(w.held, func(s ssh.Signer) bool { return bytes.Equal(s.PublicKey().Marshal(), key.Marshal()) })
	if i < 0 {
		return nil
	}
	return w.held[i]
}

// add appends an offer, unless the same key is there already.
func (w *wallet) add(name string, public ssh.PublicKey, open func() (ssh.Signer, error)) {
	if !slices.ContainsFunc(w.offers, func(o *offer) bool { return bytes.Equal(o.public.Marshal(), public.Marshal()) }) {
		w.offers = append(w.offers, &offer{name: name, public: public, open: open})
	}
}

// addFile adds the key in a file, and before it the certificate beside it (FILE-cert.pub), if there is one.
func (w *wallet) addFile(file string, canAsk bool, ask func(string) (ssh.Signer, error)) error {
	public, open, err := w.openFile(file, canAsk, ask)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(file, ".pub") + "-cert.pub"
	if text, err := os.ReadFile(name); err == nil {
		if cert, err := certificateOf(public, text); err == nil {
			w.add(name, cert, open)
		} else {
			w.unusable = append(w.unusable, fmt.Sprintf("%s: %v", name, err))
		}
	}
	w.add(file, public, open)
	return nil
}

// openFile finds the public half of a key, and a way to the private one.
func (w *wallet) openFile(file string, canAsk bool, ask func(string) (ssh.Signer, error)) (ssh.PublicKey, func() (ssh.Signer, error), error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	var public ssh.PublicKey
	var encrypted *ssh.PassphraseMissingError
	switch signer, perr := ssh.ParsePrivateKey(text); {
	case err != nil: // no such file; the agent may have what the public half beside it names
		if public = readPublic(file + ".pub"); public == nil {
			return nil, nil, err
		}
	case perr == nil:
		return signer.PublicKey(), func() (ssh.Signer, error) { return signer, nil }, nil
	case errors.As(perr, &encrypted):
		if public = encrypted.PublicKey; public == nil {
			public = readPublic(file + ".pub")
		}
	default:
		if public = parsePublic(text); public == nil {
			return nil, nil, fmt.Errorf("%s is not a private key: %w", file, perr)
		}
	}
	if public != nil {
		if signer := w.heldByAgent(public); signer != nil {
			return public, func() (ssh.Signer, error) { return signer, nil }, nil
		}
	}
	switch {
	case encrypted == nil:
		return nil, nil, fmt.Errorf("%s: only its public half is here, and no agent has the other", file)
	case !canAsk:
		return nil, nil, fmt.Errorf("%s is encrypted, and there is nobody to ask for the passphrase: load it into an agent, "+
			"give a Passphrase function, or use a key made for this purpose with ssh-keygen -N ''", file)
	case public == nil: // an old format, which hides both halves
		signer, err := ask(file)
		if err != nil {
			return nil, nil, err
		}
		return signer.PublicKey(), func() (ssh.Signer, error) { return signer, nil }, nil
	}
	return public, func() (ssh.Signer, error) { return ask(file) }, nil
}

// readPublic reads a public key; nil: there is none.
func readPublic(file string) ssh.PublicKey {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return parsePublic(text)
}

func parsePublic(text []byte) ssh.PublicKey {
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func certificateOf(key ssh.PublicKey, text []byte) (*ssh.Certificate, error) {
	cert, ok := parsePublic(text).(*ssh.Certificate)
	switch {
	case !ok || cert.CertType != ssh.UserCert:
		return nil, errors.New("not a user's certificate")
	case !bytes.Equal(cert.Key.Marshal(), key.Marshal()):
		return nil, errors.New("a certificate of another key")
	case cert.ValidBefore != ssh.CertTimeInfinity && uint64(time.Now().Unix()) >= cert.ValidBefore:
		return nil, errors.New("the certificate has expired")
	}
	return cert, nil
}

// unlock decrypts a file with the passphrase that the caller of this package knows. Nobody is asked twice for one that was right.
func (k keyring) unlock(file string, passphrase func(file string) ([]byte, error)) (ssh.Signer, error) {
	if s := k[file]; s != nil {
		return s, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	secret, err := passphrase(file)
	defer clear(secret)
	if err != nil {
		return nil, fmt.Errorf("%s: passphrase: %w", file, err)
	}
	signer, err := ssh.ParsePrivateKeyWithPassphrase(text, secret)
	if err != nil {
		return nil, fmt.Errorf("%s: the passphrase does not open it", file) // the library's words add nothing
	}
	k[file] = signer
	return signer, nil
}

// refused says what was tried and what was not.
func (w *wallet) refused(h *Host, allowed []string) error {
	var tried, untried []string
	for _, o := range w.offers {
		if o.tried {
			tried = append(tried, o.String())
		} else {
			untried = append(untried, o.String())
		}
	}
	var b strings.Builder
	switch {
	case allowed != nil && !slices.Contains(allowed, "publickey"):
		fmt.Fprintf(&b, "the server lets %s in by %s, and this package has keys only", h.User, strings.Join(allowed, ", "))
	case len(tried) > 0:
		fmt.Fprintf(&b, "the server does not take for %s: %s", h.User, strings.Join(tried, ", "))
		if len(untried) > 0 {
			fmt.Fprintf(&b, "; it wanted no more tries (MaxAuthTries) before %s: name the right key in IdentityFile, which comes first",
				strings.Join(untried, ", "))
		}
	default:
		b.WriteString("there is no key to try")
	}
	if len(w.unusable) > 0 {
		fmt.Fprintf(&b, "; not usable: %s", strings.Join(w.unusable, "; "))
	}
	return fmt.Errorf("%w: %s", ErrAuth, &b)
}
