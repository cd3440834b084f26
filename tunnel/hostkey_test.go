package tunnel_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/zmlift/zmlift/tunnel"
)

// What known_hosts files say, and what becomes of a real sshd that has a key and a certificate of an authority.
func TestKnownHosts(t *testing.T) {
	s := newSSHD(t, "HostCertificate %d/host-cert.pub")
	authority, stranger := newEd25519(), newEd25519()
	s.certify(t, "host-cert.pub", ssh.HostCert, s.hostKey.PublicKey(), authority, "127.0.0.1", "mail1.example.com")
	s.kill()
	s.start(t)
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	name := knownhosts.Normalize(s.Addr) // [127.0.0.1]:port
	line := func(name string, key ssh.Signer) string {
		return knownhosts.Line([]string{name}, key.PublicKey()) + "\n"
	}
	hashed := func(name string, key ssh.Signer) string {
		return knownhosts.Line([]string{knownhosts.HashHostname(name)}, key.PublicKey()) + "\n"
	}
	const ca, revoked = "@cert-authority ", "@revoked "
	own := s.hostKey

	for _, test := range []struct {
		name  string
		alias string
		files []string
		want  string // in the error; "": let in
	}{
		{name: "key", files: []string{line(name, own)}},
		{name: "hashed", files: []string{hashed(name, own)}},
		{name: "hashed, somebody else's", files: []string{hashed("[127.0.0.1]:1", own)}, want: "does not know the host"},
		{name: "hashed, changed", files: []string{hashed(name, stranger)}, want: ssh.FingerprintSHA256(stranger.PublicKey())},
		{name: "second file", files: []string{line("elsewhere", stranger), line(name, own)}},
		{name: "second file, changed", files: []string{line("elsewhere", own), line(name, stranger)}, want: "/1"},
		{name: "name without port", files: []string{line(host, own)}},
		{name: "name without port, changed", files: []string{line(host, stranger)}, want: ssh.FingerprintSHA256(stranger.PublicKey())},
		{name: "name with port goes first", files: []string{line(host, own) + line(name, stranger)}, want: ssh.FingerprintSHA256(stranger.PublicKey())},
		{name: "another port", files: []string{line("["+host+"]:1"+port, own)}, want: "does not know the host"},
		{name: "pattern", files: []string{line("[127.0.0.*]:"+port, own)}},
		{name: "pattern with an exception", files: []string{line("127.0.0.*,!"+host, own)}, want: "does not know the host"},
		{name: "alias", alias: "mail1.example.com", files: []string{line("mail1.example.com", own)}},
		{name: "alias hides the address", alias: "mail1.example.com", files: []string{line(name, own)}, want: "of mail1.example.com not verified"},

		{name: "authority", files: []string{ca + line(name, authority)}},
		{name: "authority without port", files: []string{ca + line("127.0.0.*", authority)}},
		{name: "authority, hashed", files: []string{ca + hashed(name, authority)}},
		{name: "authority for the alias", alias: "mail1.example.com", files: []string{ca + line("*.example.com", authority)}},
		{name: "certificate for others", alias: "mail2.example.com", files: []string{ca + line("*.example.com", authority)}, want: "mail2.example.com"},
		{name: "authority for others", files: []string{ca + line("*.example.com", authority)}, want: "does not know the host"},
		{name: "another authority", files: []string{ca + line(name, stranger)}, want: "no certificate of the authority"},
		{name: "another authority, but the key", files: []string{ca + line(name, stranger) + line(name, own)}},
		{name: "authority, in the second file", files: []string{line("elsewhere", stranger), ca + line(name, authority)}},

		{name: "revoked", files: []string{line(name, own) + revoked + line("*", own)}, want: "is revoked by"},
		{name: "revoked in the second file", files: []string{line(name, own), revoked + line("*", own)}, want: "/1"},
		{name: "certificate of a revoked key", files: []string{ca + line(name, authority) + revoked + line("*", own)}, want: "revoked"},
		{name: "revoked authority", files: []string{ca + line(name, authority) + revoked + line("*", authority)}, want: "revoked"},
		{name: "revoked, not understood", files: []string{line(name, own) + "@revoked * ssh-ed25519 AAAA\n"}, want: "line 2"},
		{name: "something not understood", files: []string{"mail9 ssh-future AAAA\n" + line(name, own)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := s.Host
			h.KnownHostsFile, h.HostKeyAlias = "", test.alias
			dir := t.TempDir()
			for i, text := range test.files {
				file := dir + "/" + string(rune('0'+i))
				require.NoError(t, writeTo(file, text))
				h.KnownHostsFiles = append(h.KnownHostsFiles, file)
			}
			h.KnownHostsFiles = append(h.KnownHostsFiles, dir+"/missing")
			tun, err := tunnel.Open(t.Context(), h)
			if test.want == "" {
				require.NoError(t, err)
				require.NoError(t, tun.Close())
				return
			}
			require.ErrorIs(t, err, tunnel.ErrHostKey)
			var key *tunnel.HostKeyError
			require.ErrorAs(t, err, &key)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// The key of an authority is not a host's key, whoever shows it.
func TestAuthorityAsHostKey(t *testing.T) {
	authority := newEd25519()
	s, err := newServer(authority)
	require.NoError(t, err)
	defer s.Close()
	h := tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile}
	h.KnownHostsFile = writeFile(t, "@cert-authority "+s.line(authority.PublicKey()))
	_, err = tunnel.Open(t.Context(), h)
	require.ErrorIs(t, err, tunnel.ErrHostKey)
}

// The way through a chain: each host is verified by its own files, and an error names the host that it is about.
func TestJumpHost(t *testing.T) {
	gate, inner := newSSHD(t, ""), newSSHD(t, "")
	tun := open(t, gate.Host, inner.Host)
	// sshd's process for what goes before authentication may live a moment longer.
	require.Eventually(t, func() bool { return len(gate.serving()) == len(inner.serving()) }, 10*time.Second, 10*time.Millisecond, "one connection to each")
	require.Equal(t, "there\n", output(t, tun, "echo", "there"))
	c, err := tun.DialContext(t.Context(), "tcp", gate.Addr)
	require.NoError(t, err)
	require.NoError(t, c.Close())

	for _, test := range []struct {
		name  string
		spoil func(gate, inner *tunnel.Host)
		is    error
		want  string
	}{
		{"gate's key", func(g, i *tunnel.Host) { g.KnownHostsFile = i.KnownHostsFile }, tunnel.ErrHostKey, "ssh to " + gate.User + "@" + gate.Addr + ": "},
		{"inner's key", func(g, i *tunnel.Host) { i.KnownHostsFile = g.KnownHostsFile }, tunnel.ErrHostKey,
			"ssh to " + inner.User + "@" + inner.Addr + " through " + gate.User + "@" + gate.Addr + ": "},
		{"gate's door", func(g, i *tunnel.Host) { g.IdentityFile = i.IdentityFile }, tunnel.ErrAuth, "ssh to " + gate.User + "@" + gate.Addr + ": "},
		{"inner's door", func(g, i *tunnel.Host) { i.IdentityFile = g.IdentityFile }, tunnel.ErrAuth, "through " + gate.User + "@" + gate.Addr + ": "},
	} {
		g, i := gate.Host, inner.Host
		test.spoil(&g, &i)
		_, err := tunnel.Open(t.Context(), g, i)
		require.ErrorIs(t, err, test.is, test.name)
		require.ErrorContains(t, err, test.want, test.name)
	}
	inner.kill()
	_, err = tunnel.Open(t.Context(), gate.Host, inner.Host)
	require.ErrorContains(t, err, inner.Addr+" through ")
	require.ErrorContains(t, err, "refused")
}
