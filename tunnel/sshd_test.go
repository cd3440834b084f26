package tunnel_test

import (
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/tunnel"
)

// An sshd is a real one that a test has for itself, to configure it and to hurt it. It takes the key in IdentityFile.
type sshd struct {
	tunnel.Host
	dir     string
	hostKey ssh.Signer
	cmd     *exec.Cmd
}

// needsServers skips, loudly, where this machine has no OpenSSH, or is to run none.
func needsServers(t *testing.T) {
	t.Helper()
	if err := lab.Available(t.Context(), lab.Processes); err != nil {
		t.Skipf("*** NOT TESTED on OpenSSH: %v", err)
	}
}

// newSSHD starts one. config is added to its configuration; %d in it is the directory of its files.
func newSSHD(t *testing.T, config string) *sshd {
	t.Helper()
	needsServers(t)
	me, err := user.Current()
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	s := &sshd{dir: t.TempDir()}
	s.Host = tunnel.Host{Addr: addr, User: me.Username, IdentityFile: s.file("id"), KnownHostsFile: s.file("known_hosts")}
	s.hostKey = s.key(t, "host", "")
	s.authorize(t, s.key(t, "id", "").PublicKey())
	s.write(t, "known_hosts", knownhosts.Line([]string{knownhosts.Normalize(addr)}, s.hostKey.PublicKey())+"\n")
	pam := "no" // an account locked with "!" is let in by PAM only
	if shadow, err := os.ReadFile("/etc/shadow"); err == nil && strings.HasPrefix(string(shadow), "root:!") {
		pam = "yes"
	}
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	s.write(t, "sshd_config", strings.ReplaceAll(fmt.Sprintf(`ListenAddress 127.0.0.1
Port %s
HostKey %%d/host
AuthorizedKeysFile %%d/authorized
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM %s
UseDNS no
PidFile none
LogLevel ERROR
SetEnv SHLVL=2
%s
`, port, pam, config), "%d", s.dir))
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func (s *sshd) file(name string) string { return filepath.Join(s.dir, name) }

func (s *sshd) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.file(name), []byte(text), 0o600))
}

// key makes a key and writes both halves of it.
func (s *sshd) key(t *testing.T, name, passphrase string) ssh.Signer {
	t.Helper()
	signer, private := newKey()
	block, err := ssh.MarshalPrivateKey(private, name)
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, name, []byte(passphrase))
	}
	require.NoError(t, err)
	s.write(t, name, string(pem.EncodeToMemory(block)))
	s.write(t, name+".pub", string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return signer
}

// authorize makes these the only keys that are let in.
func (s *sshd) authorize(t *testing.T, keys ...ssh.PublicKey) {
	t.Helper()
	var b strings.Builder
	for _, k := range keys {
		b.Write(ssh.MarshalAuthorizedKey(k))
	}
	s.write(t, "authorized", b.String())
}

func (s *sshd) start(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd"
	}
	s.cmd = exec.Command(path, "-D", "-E", s.file("log"), "-f", s.file("sshd_config"))
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, s.cmd.Start())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", s.Addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "sshd does not listen")
}

// kill ends sshd and the connections that it serves.
func (s *sshd) kill() {
	served := s.serving()
	s.cmd.Process.Kill()
	s.cmd.Wait()
	for _, pid := range served {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// signal sends a signal to the processes that serve connections.
func (s *sshd) signal(sig syscall.Signal) {
	for _, pid := range s.serving() {
		syscall.Kill(pid, sig)
	}
}

// serving are the sshd's below ours.
func (s *sshd) serving() (pids []int) {
	parents := map[int]bool{s.cmd.Process.Pid: true}
	for range 2 { // for a user who is not root there are two generations
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, name := range stats {
			text, err := os.ReadFile(name)
			if err != nil {
				continue // it has ended
			}
			head, tail, _ := strings.Cut(string(text), ") ")
			fields := strings.Fields(tail)
			pid, err := strconv.Atoi(strings.Fields(head)[0])
			if err != nil || !strings.Contains(head, "(sshd") || len(fields) < 2 {
				continue
			}
			if parent, err := strconv.Atoi(fields[1]); err == nil && parents[parent] && !parents[pid] {
				parents[pid] = true
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// certify writes a certificate of key, signed by authority.
func (s *sshd) certify(t *testing.T, name string, kind uint32, key ssh.PublicKey, authority ssh.Signer, principals ...string) {
	t.Helper()
	cert := &ssh.Certificate{Key: key, CertType: kind, ValidPrincipals: principals, ValidBefore: ssh.CertTimeInfinity}
	require.NoError(t, cert.SignCert(rand.Reader, authority))
	s.write(t, name, string(ssh.MarshalAuthorizedKey(cert)))
}
