package tunnel_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/zmlift/zmlift/tunnel"
)

// A home is a directory with files below .ssh.
func home(t *testing.T, files map[string]string) *tunnel.ConfigOptions {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".ssh"), 0o700))
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, ".ssh", name)), 0o700))
		require.NoError(t, writeTo(filepath.Join(dir, ".ssh", name), text))
	}
	return &tunnel.ConfigOptions{Home: dir, Files: []string{filepath.Join(dir, ".ssh", "config")}}
}

func config(t *testing.T, text string) *tunnel.ConfigOptions {
	t.Helper()
	return home(t, map[string]string{"config": text})
}

func TestFromConfig(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	t.Setenv("KEYS", "/etc/keys")
	opts := home(t, map[string]string{
		"config": `
# what everybody has
Include conf.d/*.conf

Host mail1 "mail two" mail3	mail4
	HostName=%h.example.com
	User = zimbra
	Port 2222
	IdentityFile "~/.ssh/key of %r@%h"   # with blanks
	IdentityFile ${KEYS}/%n
	IdentitiesOnly yes
	IdentityAgent ~/agent
	UserKnownHostsFile ~/.ssh/%k "/etc/known hosts"
	GlobalKnownHostsFile none
	HostKeyAlias Mail-One
	ConnectTimeout 7
	ServerAliveInterval 3
	Ciphers aes256-gcm@openssh.com,aes128-ctr,none-that-we-have
	StrictHostKeyChecking no

Host !mail9 mail*
	User nobody
	Port 99
	IdentityFile ~/.ssh/common

Match final all
	ConnectTimeout 30
	IdentityFile ~/.ssh/last
`,
		"conf.d/a.conf": "Host mail9\n  User nine\n",
		"conf.d/b.conf": "Host nobody\n  ProxyCommand nc %h %p\n",
	})
	hosts, err := tunnel.FromConfig("mail1", opts)
	require.NoError(t, err)
	dir := opts.Home + "/.ssh"
	require.Equal(t, []tunnel.Host{{
		Addr: "mail1.example.com:2222", User: "zimbra",
		IdentityFiles:  []string{dir + "/key of zimbra@mail1.example.com", "/etc/keys/mail1", dir + "/common", dir + "/last"},
		IdentitiesOnly: true, Agent: opts.Home + "/agent",
		KnownHostsFiles: []string{dir + "/mail-one", "/etc/known hosts"}, HostKeyAlias: "mail-one",
		Timeout: 7 * time.Second, KeepAlive: 3 * time.Second, Ciphers: []string{ssh.CipherAES256GCM, ssh.CipherAES128CTR},
	}}, hosts)

	hosts, err = tunnel.FromConfig("root@mail9", opts)
	require.NoError(t, err)
	require.Equal(t, []tunnel.Host{{
		Addr: "mail9:22", User: "root", IdentityFiles: []string{dir + "/last"}, Agent: "/run/agent", Timeout: 30 * time.Second,
		KnownHostsFiles: []string{dir + "/known_hosts", dir + "/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"},
	}}, hosts)
}

func TestFromConfigDefaults(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	opts := home(t, map[string]string{"id_ecdsa": ""})
	opts.Files = nil // none of the user's, and whatever this machine has
	hosts, err := tunnel.FromConfig("::1", opts)
	require.NoError(t, err)
	require.Equal(t, "[::1]:22", hosts[0].Addr)
	require.NotEmpty(t, hosts[0].User)
	require.Equal(t, []string{opts.Home + "/.ssh/id_ecdsa"}, hosts[0].IdentityFiles)
	require.Equal(t, opts.Home+"/.ssh/known_hosts", hosts[0].KnownHostsFiles[0])

	require.NoError(t, os.Remove(opts.Home+"/.ssh/id_ecdsa"))
	hosts, err = tunnel.FromConfig("mail1", opts)
	require.NoError(t, err)
	_, err = tunnel.Open(t.Context(), hosts...)
	require.ErrorIs(t, err, tunnel.ErrAuth)
	require.ErrorContains(t, err, "id_ed25519")

	opts.Files = []string{opts.Home + "/missing"}
	_, err = tunnel.FromConfig("mail1", opts)
	require.ErrorIs(t, err, os.ErrNotExist, "a file that was asked for")
}

// The chain of jump hosts is that of ssh -J: the first may have its own, the others are reached through those before.
func TestFromConfigJumps(t *testing.T) {
	opts := config(t, `
Host mail7
	ProxyJump none
Host mail*
	ProxyJump gate2,carol@gate3:44
Host gate1 gate2 gate3
	HostName %h.example.com
	User gatekeeper
	Port 2200
Host gate2
	ProxyJump ssh://[2001:db8::1]:45
Host gate3
	ProxyJump gate1
Host loop*
	ProxyJump loop1,loop2
Host mail7 gate3
	ProxyCommand nc %h %p
`)
	for name, want := range map[string]string{
		"mail1": "me@[2001:db8::1]:45 gatekeeper@gate2.example.com:2200 carol@gate3.example.com:44 me@mail1:22",
		"gate1": "gatekeeper@gate1.example.com:2200",
		"mail7": "me@mail7:22", // "none" came before ProxyCommand
	} {
		hosts, err := tunnel.FromConfig(name, opts)
		require.NoError(t, err, name)
		var got []string
		for _, h := range hosts {
			if h.User != "gatekeeper" && h.User != "carol" {
				h.User = "me"
			}
			got = append(got, h.String())
		}
		require.Equal(t, want, strings.Join(got, " "), name)
	}
	_, err := tunnel.FromConfig("loop3", opts)
	require.ErrorContains(t, err, "config:15: proxyjump")
}

// What decides who is at the other end, or how it is reached, is obeyed or refused.
func TestFromConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"ProxyCommand nc %h %p":                        "config:1: proxycommand",
		"Host mail1\n\n  ProxyCommand=nc":              "config:3: proxycommand",
		"Match exec true\n  User x":                    "config:1: match: exec",
		"Match host mail1 exec \"true\"\n  HostName y": "config:1: match: exec",
		"Match originalhost mail1 canonical":           "canonical",
		"Match host":                                   "config:1: match",
		"CanonicalizeHostname yes":                     "canonicalizehostname",
		"RevokedHostKeys /etc/revoked":                 "revokedhostkeys",
		"KnownHostsCommand /bin/true":                  "knownhostscommand",
		"CertificateFile ~/.ssh/c":                     "certificatefile",
		"RemoteCommand tmux":                           "remotecommand",
		"AddressFamily inet6":                          "addressfamily",
		"BindAddress 192.0.2.1":                        "bindaddress",
		"PubkeyAuthentication no":                      "pubkeyauthentication",
		"ProxyComand nc":                               "proxycomand",
		"Port 0":                                       "config:1: port",
		"Port":                                         "config:1: port",
		"Port 22 23":                                   "config:1: port",
		"HostName \"a":                                 "quote",
		"HostName %q":                                  "%q",
		"IdentityFile ~bob/id":                         "~bob/id",
		"IdentityFile ${NO_SUCH_VARIABLE}":             "NO_SUCH_VARIABLE",
		"IdentitiesOnly perhaps":                       "identitiesonly",
		"Ciphers rot13":                                "aes128-gcm@openssh.com",
		"ConnectTimeout soon":                          "connecttimeout",
		"ProxyJump a:b:c@":                             "proxyjump",
		"Include ~/.ssh/config":                        "include each other",
		"Host gate\n ProxyCommand nc %h\nHost *\n ProxyJump gate": "config:2: proxycommand",
	} {
		_, err := tunnel.FromConfig("mail1", config(t, text+"\n"))
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "mail1", text)
	}
	for _, text := range []string{
		"Host other\n  ProxyCommand nc %h %p", "Match host other exec false\n  HostName x", "ProxyCommand none", "IgnoreUnknown Use*\nUseKeychain yes",
		"BatchMode yes\nHostKeyAlgorithms ssh-ed25519\nSendEnv LANG LC_*", "HostName x#y", "User x # y", "Match all\r\n  User x\r",
	} {
		_, err := tunnel.FromConfig("mail1", config(t, text+"\n"))
		require.NoError(t, err, text)
	}
}

// Ours and OpenSSH's own reading of the same file are the same.
func TestFromConfigAsSSH(t *testing.T) {
	needsServers(t)
	program, err := exec.LookPath("ssh")
	require.NoError(t, err, "it comes with the server")
	opts := config(t, `
User first
Host a? !a2 b*
  HostName %h.one
Host "b c" a1	a3
	Port 2001
host=a2 "q"
  Port=2002
  HostName	=	"two"
Match host two
  User second
  HostKeyAlias alias-two
Match originalhost a*,!a1 user first
  Port 2003
  ConnectTimeout 5
Match !host *.one
  ConnectTimeout 6
Match localuser nobody-here
  HostName wrong
Match final host *.one
  HostKeyAlias one
Host two
  Port 2005
Match originalhost A1,zZ
  Port 2006
Host *#x
  Port 2004
Host z
  HostName x#y
  HostKeyAlias 'sin gle' # comment
Host w
  HostKeyAlias back\\slash\"quoted
  HostName %%h
Host j
  ProxyJump none
Host j k
  ProxyJump u@g1:1,g2
`)
	for _, name := range []string{"a", "a1", "a2", "a3", "aa", "b", "bb", "q", "z", "w", "j", "k", "x#x", "*", "two", "A1", "ZZ"} {
		out, err := exec.Command(program, "-G", "-F", opts.Files[0], name).Output()
		require.NoError(t, err, name)
		want := map[string]string{}
		for line := range strings.Lines(string(out)) {
			option, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			want[option] = value
		}
		hosts, err := tunnel.FromConfig(name, opts)
		require.NoError(t, err, name)
		h := hosts[len(hosts)-1]
		host, port := h.Addr[:strings.LastIndex(h.Addr, ":")], h.Addr[strings.LastIndex(h.Addr, ":")+1:]
		got := map[string]string{"hostname": host, "port": port, "user": h.User}
		if h.HostKeyAlias != "" || want["hostkeyalias"] != "" {
			got["hostkeyalias"] = h.HostKeyAlias
		}
		if h.Timeout != 0 {
			got["connecttimeout"] = h.Timeout.String()[:1]
		}
		if want["proxyjump"] != "" {
			require.Len(t, hosts, 3, name)
			got["proxyjump"] = hosts[0].String() + ",g2"
		}
		for _, option := range slices.Sorted(maps.Keys(got)) {
			require.Equal(t, want[option], got[option], "%s of %s", option, name)
		}
	}
}

// An entry with a jump host leads to a real sshd through another.
func TestFromConfigReal(t *testing.T) {
	gate, inner := newSSHD(t, ""), newSSHD(t, "")
	entry := func(name string, s *sshd, more string) string {
		host, port, _ := strings.Cut(s.Addr, ":")
		return "Host " + name + "\n HostName " + host + "\n Port " + port + "\n User " + s.User + "\n IdentityFile " + s.IdentityFile +
			"\n IdentityAgent none\n UserKnownHostsFile " + s.KnownHostsFile + "\n" + more
	}
	opts := config(t, entry("gate", gate, "")+entry("mail1", inner, " ProxyJump gate\n"))
	hosts, err := tunnel.FromConfig("mail1", opts)
	require.NoError(t, err)
	require.Equal(t, "there\n", output(t, open(t, hosts...), "echo", "there"))
	require.NotEmpty(t, gate.serving())
	require.NotEmpty(t, inner.serving())

	// Whatever it says, host keys are verified.
	text := strings.ReplaceAll(entry("mail1", inner, " StrictHostKeyChecking no\n"), inner.KnownHostsFile, gate.KnownHostsFile)
	hosts, err = tunnel.FromConfig("mail1", config(t, text))
	require.NoError(t, err)
	_, err = tunnel.Open(t.Context(), hosts...)
	require.ErrorIs(t, err, tunnel.ErrHostKey)
}
