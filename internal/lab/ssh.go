package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshFiles are the keys of one lab, on this machine: one for the user, one for each host.
type sshFiles struct {
	keyFile, authorizedFile, knownHostsFile string

	dir      string
	signer   ssh.Signer
	hostKeys map[string]ssh.PublicKey
}

func (f *sshFiles) hostKeyFile(host string) string { return filepath.Join(f.dir, "ssh_host_"+host) }

// makeSSHKeys writes fresh keys to dir. known_hosts follows when the ports are known.
func makeSSHKeys(dir string) (*sshFiles, error) {
	f := &sshFiles{
		keyFile:        filepath.Join(dir, "id_ed25519"),
		authorizedFile: filepath.Join(dir, "authorized_keys"),
		knownHostsFile: filepath.Join(dir, "known_hosts"),
		dir:            dir,
		hostKeys:       map[string]ssh.PublicKey{},
	}
	var err error
	if f.signer, err = writeKey(f.keyFile); err != nil {
		return nil, err
	}
	for _, host := range hostNames {
		key, err := writeKey(f.hostKeyFile(host))
		if err != nil {
			return nil, err
		}
		f.hostKeys[host] = key.PublicKey()
	}
	return f, os.WriteFile(f.authorizedFile, ssh.MarshalAuthorizedKey(f.signer.PublicKey()), 0o644)
}

func writeKey(file string) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "zmlift lab")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// sshdConfig is an sshd that knows one key and nothing of this machine's own configuration.
func sshdConfig(bind string, port int, hostKeyFile, authorizedFile, usePAM string) []byte {
	return fmt.Appendf(nil, `ListenAddress %s
Port %d
HostKey %s
AuthorizedKeysFile %s
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
# Below a world-writable /tmp or /dev/shm sshd would refuse the key file.
StrictModes no
UsePAM %s
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
LogLevel ERROR
# Tests dial in parallel; the default starts to drop connections at ten.
MaxStartups 200
# bash below sshd reads ~/.bashrc, which is this machine's and may take half a second, unless it takes itself for a nested shell.
SetEnv SHLVL=2
Subsystem sftp internal-sftp
`, bind, port, hostKeyFile, authorizedFile, usePAM)
}

// needsPAM says whether root's password is locked with "!": without PAM sshd then refuses keys too.
func needsPAM() string {
	b, err := os.ReadFile("/etc/shadow")
	if err == nil && strings.HasPrefix(string(b), "root:!") {
		return "yes"
	}
	return "no"
}

// A machine is the host a mailstore lives on: an sshd that answers, and two ports that are the same seen from here and
// from itself (127.0.0.1 both times).
type machine struct {
	name, root         string // root is put before every path on the machine
	bind               string // the address its servers listen on
	sshPort, mysqlPort int
	user               string
	keys               *sshFiles
	hostKey            ssh.PublicKey

	// daemon starts argv in the background; its log is root/name.log. The caller waits until it answers.
	daemon func(ctx context.Context, name string, argv []string) error
}

func (m *machine) sshAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.sshPort)) }

// knownHost is the machine's line for a known_hosts file.
func (m *machine) knownHost() string {
	return knownhosts.Line([]string{knownhosts.Normalize(m.sshAddr())}, m.hostKey) + "\n"
}

// answers waits until the machine lets us in and runs a command.
func (m *machine) answers(ctx context.Context) error {
	return poll(ctx, func() error { return m.run(ctx, []string{"true"}, nil, nil) })
}

// A RunError is a command on a store that exited with a status other than 0, or was killed there.
type RunError struct {
	Host   string
	Argv   []string
	Status int    // -1 when killed by a signal
	Stderr string // its end
}

func (e *RunError) Error() string {
	return fmt.Sprintf("%s on %s: exit status %d: %s", e.Argv[0], e.Host, e.Status, strings.TrimSpace(e.Stderr))
}

func (m *machine) run(ctx context.Context, argv []string, stdin io.Reader, stdout io.Writer) error {
	client, err := m.dial(ctx)
	if err != nil {
		return fmt.Errorf("ssh to %s: %w", m.name, err)
	}
	defer client.Close()
	// Closing the connection is what ends a command whose caller has gone.
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	session, err := client.NewSession()
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("ssh to %s: %w", m.name, err))
	}
	defer session.Close()
	var stderr tailWriter
	session.Stdin, session.Stdout, session.Stderr = stdin, stdout, &stderr
	err = session.Run(quote(argv))
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		status := exit.ExitStatus()
		if exit.Signal() != "" {
			status = -1
		}
		return &RunError{Host: m.name, Argv: argv, Status: status, Stderr: stderr.String()}
	default:
		return fmt.Errorf("%s on %s: %w", argv[0], m.name, err)
	}
}

func (m *machine) dial(ctx context.Context) (*ssh.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.sshAddr())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, chans, reqs, err := ssh.NewClientConn(conn, m.sshAddr(), &ssh.ClientConfig{
		User:              m.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(m.keys.signer)},
		HostKeyCallback:   ssh.FixedHostKey(m.hostKey),
		HostKeyAlgorithms: []string{m.hostKey.Type()},
	})
	if err != nil {
		conn.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	return ssh.NewClient(c, chans, reqs), nil
}

// quote makes one shell command of argv: sshd hands a string to the user's shell.
func quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// A tailWriter keeps the end of what is written to it.
type tailWriter struct{ b []byte }

func (w *tailWriter) Write(p []byte) (int, error) {
	const keep = 4096
	w.b = append(w.b, p...)
	w.b = w.b[max(0, len(w.b)-keep):]
	return len(p), nil
}

func (w *tailWriter) String() string { return string(w.b) }

// poll calls f until it succeeds. At the end of ctx it returns what f said last.
func poll(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
