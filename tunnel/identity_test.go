package tunnel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/zmlift/zmlift/tunnel"
)

// newAgent is an SSH agent in this process that holds the keys.
func newAgent(t *testing.T, keys ...agent.AddedKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		require.NoError(t, ring.Add(k))
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, c)
		}
	}()
	return socket
}

func TestAgent(t *testing.T) {
	s := newSSHD(t, "")
	signer, private := newKey()
	s.authorize(t, signer.PublicKey())
	socket := newAgent(t, agent.AddedKey{PrivateKey: private, Comment: "carol@desk"})

	h := s.Host
	h.IdentityFile, h.Agent = "", socket
	require.NoError(t, open(t, h).Close())

	h.IdentityFile = s.file("id") // which the server does not take
	require.NoError(t, open(t, h).Close())

	h.IdentitiesOnly = true
	_, err := tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth, "a key that no file names")
	require.NotContains(t, err.Error(), "carol@desk")

	h.IdentityFile = s.file("other")
	s.write(t, "other.pub", string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	require.NoError(t, open(t, h).Close(), "the agent has the other half")

	s.authorize(t, s.hostKey.PublicKey())
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, ssh.FingerprintSHA256(signer.PublicKey()))
	h.IdentityFile, h.Agent = "", filepath.Join(t.TempDir(), "nobody")
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, h.Agent)
}

func TestPassphrase(t *testing.T) {
	const secret = "open sesame"
	s := newSSHD(t, "")
	key := s.key(t, "locked", secret)
	s.authorize(t, key.PublicKey())
	var asked atomic.Int32
	answer := secret
	h := s.Host
	h.IdentityFile = s.file("locked")
	h.Passphrase = func(_ context.Context, file string) ([]byte, error) {
		asked.Add(1)
		require.Equal(t, s.file("locked"), file)
		return []byte(answer), nil
	}
	tun := open(t, h, h) // as its own jump host
	require.EqualValues(t, 1, asked.Load(), "asked once for each file")
	s.kill()
	s.start(t)
	require.Equal(t, "again\n", output(t, tun, "echo", "again"))
	require.EqualValues(t, 1, asked.Load(), "nor for a new connection")

	answer = "open barley"
	_, err := tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, s.file("locked"))
	for _, printed := range []string{err.Error(), fmt.Sprintf("%v %+v %#v", h, h, h)} {
		require.NotContains(t, printed, answer)
		require.NotContains(t, printed, secret)
	}

	gone := errors.New("nobody at the keyboard")
	h.Passphrase = func(context.Context, string) ([]byte, error) { return nil, gone }
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, gone.Error())

	// Nobody is asked for a key that the server does not take, or that an agent has.
	asked.Store(0)
	h.Passphrase = func(context.Context, string) ([]byte, error) { asked.Add(1); return []byte(secret), nil }
	s.authorize(t, s.hostKey.PublicKey())
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.Zero(t, asked.Load())
	signer, private := newKey()
	s.authorize(t, signer.PublicKey())
	h.IdentityFiles = []string{s.file("id")}
	h.Agent = newAgent(t, agent.AddedKey{PrivateKey: private})
	require.NoError(t, open(t, h).Close())
	require.Zero(t, asked.Load())
}

// A server hangs up after MaxAuthTries keys that it does not know.
func TestManyIdentities(t *testing.T) {
	s := newSSHD(t, "MaxAuthTries 4")
	var held []agent.AddedKey
	for range 3 {
		_, private := newKey()
		held = append(held, agent.AddedKey{PrivateKey: private, Comment: "stray"})
	}
	right := s.key(t, "right", "")
	s.authorize(t, right.PublicKey())
	h := s.Host
	h.Agent = newAgent(t, held...)
	h.IdentityFiles = []string{s.file("id"), s.file("missing"), s.file("id"), s.file("id"), s.file("right")} // each key counts once
	require.NoError(t, open(t, h).Close())

	h.IdentityFiles = nil
	s.authorize(t, s.hostKey.PublicKey())
	_, err := tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, s.file("id"))
	require.Equal(t, 3, strings.Count(err.Error(), "stray"))

	for range 3 {
		name := fmt.Sprint("more", len(h.IdentityFiles))
		s.key(t, name, "")
		h.IdentityFiles = append(h.IdentityFiles, s.file(name))
	}
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, "MaxAuthTries", "what was not tried, and why: %v", err)
}

func TestUserCertificate(t *testing.T) {
	s := newSSHD(t, "TrustedUserCAKeys %d/ca.pub")
	ca := s.key(t, "ca", "")
	key := s.key(t, "mine", "secret")
	s.authorize(t, s.hostKey.PublicKey())
	h := s.Host
	h.IdentityFile = s.file("mine")
	h.Passphrase = func(context.Context, string) ([]byte, error) { return []byte("secret"), nil }
	_, err := tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrAuth)

	s.certify(t, "mine-cert.pub", ssh.UserCert, key.PublicKey(), ca, h.User)
	require.NoError(t, open(t, h).Close())

	for name, cert := range map[string]func(){
		"a certificate of another key": func() { s.certify(t, "mine-cert.pub", ssh.UserCert, s.hostKey.PublicKey(), ca, h.User) },
		"not a user's certificate":     func() { s.certify(t, "mine-cert.pub", ssh.HostCert, key.PublicKey(), ca, h.User) },
	} {
		cert()
		_, err = tunnel.Open(t.Context(), h)
		require.ErrorIs(t, err, tunnel.ErrAuth, name)
		require.ErrorContains(t, err, "mine-cert.pub: "+name)
	}
}

// A server that takes no keys says what it takes.
func TestNoKeysTaken(t *testing.T) {
	s, err := newServerAs(func(c *ssh.ServerConfig) {
		c.PublicKeyCallback = nil
		c.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, nil }
	})
	require.NoError(t, err)
	defer s.Close()
	_, err = tunnel.Open(t.Context(), tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: s.KnownHostsFile})
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, "by password")
}
