package tunnel_test

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/zmlift/zmlift/tunnel"
)

func TestOpenNamesEveryMistake(t *testing.T) {
	_, err := tunnel.Open(t.Context())
	require.ErrorContains(t, err, "no host")
	_, err = tunnel.Open(t.Context(), tunnel.Host{Addr: "mail1.example.com"}, tunnel.Host{User: "root"})
	for _, want := range []string{"no User, no IdentityFile, no KnownHostsFile", "no Addr, no IdentityFile, no KnownHostsFile"} {
		require.ErrorContains(t, err, want)
	}
}

func TestNewConnectsAtFirstUse(t *testing.T) {
	_, err := tunnel.New()
	require.ErrorContains(t, err, "no host")
	_, err = tunnel.New(tunnel.Host{Addr: "mail1.example.com"})
	require.ErrorContains(t, err, "no User, no IdentityFile, no KnownHostsFile")

	s, err := newServer()
	require.NoError(t, err)
	defer s.Close()
	h := tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: filepath.Join(t.TempDir(), "known_hosts")}
	tun, err := tunnel.New(h) // nobody is known yet, and nothing is looked at
	require.NoError(t, err)
	defer tun.Close()
	require.ErrorIs(t, tun.Run(t.Context(), []string{"true"}, nil, nil, nil), tunnel.ErrHostKey)
	_, err = tun.DialContext(t.Context(), "tcp", s.Addr)
	require.ErrorIs(t, err, tunnel.ErrHostKey)

	known, err := os.ReadFile(s.KnownHostsFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(h.KnownHostsFile, known, 0o600))
	require.NoError(t, tun.Run(t.Context(), []string{"true"}, nil, nil, nil), "each use tries again")
}

func TestHostKeys(t *testing.T) {
	h := hostOf(store(t))
	actual, other := hostKey(t, store(t)), newEd25519().PublicKey()
	name := knownhosts.Normalize(h.Addr)
	bare, _, err := net.SplitHostPort(h.Addr)
	require.NoError(t, err)
	line := func(key ssh.PublicKey) string { return knownhosts.Line([]string{name}, key) + "\n" }

	for _, test := range []struct {
		name, file string
		known      int
		want       []string
	}{
		{name: "unknown", file: "", want: []string{"does not know the host", "ssh-keyscan"}},
		{name: "another host's", file: knownhosts.Line([]string{"mail7.example.com"}, actual) + "\n", want: []string{"ssh-keyscan"}},
		{name: "changed", file: line(other), known: 1, want: []string{ssh.FingerprintSHA256(other), "ssh-keygen -f", "-R '" + name + "'"}},
		{name: "changed, known without its port", file: knownhosts.Line([]string{bare}, other) + "\n", known: 1, want: []string{"-R '" + bare + "'", "-p "}},
		{name: "changed, of another kind", file: line(newECDSA().PublicKey()), known: 1, want: []string{"ecdsa-sha2-nistp256"}},
		{name: "revoked", file: line(actual) + "@revoked " + line(actual), want: []string{"revoked"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.KnownHostsFile = writeFile(t, test.file)
			_, err := tunnel.Open(t.Context(), h)
			require.ErrorIs(t, err, tunnel.ErrHostKey)
			require.NotErrorIs(t, err, tunnel.ErrAuth)
			var key *tunnel.HostKeyError
			require.ErrorAs(t, err, &key)
			require.Equal(t, name, key.Host)
			require.Equal(t, h.KnownHostsFile, key.File)
			require.Equal(t, ssh.FingerprintSHA256(actual), key.Fingerprint)
			require.Len(t, key.Known, test.known)
			for _, want := range append(test.want, h.KnownHostsFile, key.Fingerprint) {
				require.ErrorContains(t, err, want)
			}
		})
	}

	h.KnownHostsFile = writeFile(t, line(other)+line(actual))
	open(t, h) // one of two is enough
	h.KnownHostsFile = t.TempDir()
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrHostKey, "a directory is no known_hosts file")
	h.KnownHostsFile = writeFile(t, "not a line of known_hosts\n")
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrHostKey)
}

// A server has several host keys, and must be asked for the one that the file knows.
func TestHostKeyOfTheKnownKind(t *testing.T) {
	keys := []ssh.Signer{newEd25519(), newECDSA()}
	s, err := newServer(keys...)
	require.NoError(t, err)
	defer s.Close()
	h := tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile}
	for _, key := range keys {
		h.KnownHostsFile = writeFile(t, s.line(key.PublicKey()))
		tun := open(t, h)
		require.NoError(t, tun.Close(), key.PublicKey().Type())
	}
}

func TestHostCertificates(t *testing.T) {
	authority, plain := newEd25519(), newECDSA()
	cert := &ssh.Certificate{
		Key: plain.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity,
	}
	require.NoError(t, cert.SignCert(rand.Reader, authority))
	certified, err := ssh.NewCertSigner(cert, plain)
	require.NoError(t, err)
	s, err := newServer(plain, certified)
	require.NoError(t, err)
	defer s.Close()
	h := tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile}

	h.KnownHostsFile = writeFile(t, "@cert-authority "+s.line(authority.PublicKey()))
	tun := open(t, h)
	require.NoError(t, tun.Close())
	h.KnownHostsFile = writeFile(t, s.line(plain.PublicKey()))
	tun = open(t, h) // who does not know the authority still knows the key
	require.NoError(t, tun.Close())
	h.KnownHostsFile = writeFile(t, "@cert-authority "+s.line(newEd25519().PublicKey()))
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrHostKey, "signed by somebody else")
}

func TestNotLetIn(t *testing.T) {
	h := hostOf(store(t))
	_, private := newKey()
	key := func(block *pem.Block, err error) string {
		require.NoError(t, err)
		return writeFile(t, string(pem.EncodeToMemory(block)))
	}
	for name, spoil := range map[string]func(h *tunnel.Host){
		"wrong user":   func(h *tunnel.Host) { h.User = "nobody-of-that-name" },
		"wrong key":    func(h *tunnel.Host) { h.IdentityFile = key(ssh.MarshalPrivateKey(private, "")) },
		"no such file": func(h *tunnel.Host) { h.IdentityFile += ".missing" },
		"no key":       func(h *tunnel.Host) { h.IdentityFile = h.KnownHostsFile },
		"encrypted": func(h *tunnel.Host) {
			h.IdentityFile = key(ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := h
			spoil(&h)
			_, err := tunnel.Open(t.Context(), h)
			require.ErrorIs(t, err, tunnel.ErrAuth)
			require.NotErrorIs(t, err, tunnel.ErrHostKey)
			require.ErrorContains(t, err, h.User+"@"+h.Addr)
			if name != "wrong user" {
				require.ErrorContains(t, err, h.IdentityFile)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	h := hostOf(store(t))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()

	mute := h
	mute.Addr, mute.Timeout = l.Addr().String(), 100*time.Millisecond
	_, err = tunnel.Open(t.Context(), mute)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a host that says nothing")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context is not over")

	mute.Timeout = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = tunnel.Open(ctx, mute)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	l.Close()
	_, err = tunnel.Open(t.Context(), mute)
	var refused *net.OpError
	require.ErrorAs(t, err, &refused, "nobody listens")
	require.NotErrorIs(t, err, tunnel.ErrAuth)
	require.NotErrorIs(t, err, tunnel.ErrHostKey)
}

// Through a chain every host is verified and let in for itself.
func TestChain(t *testing.T) {
	h := hostOf(store(t)) // reaches itself under the address that we reach it by
	tun := open(t, h, h, h)
	require.Equal(t, "there\n", output(t, tun, "echo", "there"))

	stranger := h
	stranger.KnownHostsFile = writeFile(t, "")
	_, err := tunnel.Open(t.Context(), h, stranger)
	require.ErrorIs(t, err, tunnel.ErrHostKey)
	nowhere := h
	nowhere.Addr = "127.0.0.1:1"
	_, err = tunnel.Open(t.Context(), h, nowhere)
	require.ErrorContains(t, err, "127.0.0.1:1")
}

// A connection that died is replaced when it is next needed, once.
func TestReconnect(t *testing.T) {
	p := newProxy(t, store(t))
	tun := open(t, p.Host)
	for i := range 3 {
		p.cut()
		require.Equal(t, "again\n", output(t, tun, "echo", "again"), "Run after cut %d", i)
		require.Equal(t, 2*i+2, p.dialled())
		p.cut()
		c, err := tun.DialContext(t.Context(), "tcp", store(t).MySQLAddr)
		require.NoError(t, err, "DialContext after cut %d", i)
		c.Close()
		require.Equal(t, 2*i+3, p.dialled())
	}
	before := p.dialled()
	_, err := tun.DialContext(t.Context(), "tcp", "127.0.0.1:1")
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.Equal(t, before, p.dialled(), "a refusal is not a dead connection")

	p.Host.Reconnects = 1
	tun = open(t, p.Host)
	p.listener.Close()
	p.cut()
	err = tun.Run(soon(t), []string{"true"}, nil, nil, nil)
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "tried for ever")
}

func TestClose(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	c, err := tun.DialContext(t.Context(), "tcp", store(t).MySQLAddr)
	require.NoError(t, err)
	defer c.Close()
	ended := make(chan error)
	r, w := newLine()
	go func() {
		ended <- tun.Run(t.Context(), []string{"sh", "-c", "echo started; exec sleep 20"}, nil, w, nil)
	}()
	require.Equal(t, "started", <-r)

	require.NoError(t, tun.Close())
	require.ErrorIs(t, <-ended, tunnel.ErrClosed)
	_, err = tun.DialContext(t.Context(), "tcp", store(t).MySQLAddr)
	require.ErrorIs(t, err, tunnel.ErrClosed)
	require.ErrorIs(t, tun.Run(t.Context(), []string{"true"}, nil, nil, nil), tunnel.ErrClosed)
	require.NoError(t, tun.Close(), "twice")
}

// newLine is a writer, and a channel that gets the first line written to it.
func newLine() (<-chan string, *lineWriter) {
	c := make(chan string, 1)
	return c, &lineWriter{line: c}
}

type lineWriter struct {
	text string
	line chan string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	had := strings.Contains(w.text, "\n")
	w.text += string(p)
	if first, _, ok := strings.Cut(w.text, "\n"); ok && !had {
		w.line <- first
	}
	return len(p), nil
}
