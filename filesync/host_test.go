package filesync_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestMain(m *testing.M) { lab.Main(m) }

// An sshRunner runs commands on a store of the lab, over one connection: what a tunnel does.
type sshRunner struct {
	client *ssh.Client
}

func dial(t testing.TB, s *lab.Store) *sshRunner {
	t.Helper()
	key, err := os.ReadFile(s.KeyFile)
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey(key)
	require.NoError(t, err)
	known, err := knownhosts.New(s.KnownHostsFile)
	require.NoError(t, err)
	client, err := ssh.Dial("tcp", s.SSHAddr, &ssh.ClientConfig{
		User: s.SSHUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: known,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return &sshRunner{client}
}

type exitError struct{ *ssh.ExitError }

func (e exitError) ExitCode() int { return e.ExitStatus() }

func (r *sshRunner) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	session, err := r.client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	session.Stdin, session.Stdout, session.Stderr = stdin, stdout, stderr
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	err = session.Run(strings.Join(quoted, " "))
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return exitError{exit}
	}
	return err
}

// A side is a place for trees. Both kinds are directories that this test can see, so that what a sync did is looked at without it.
type side struct {
	name string
	host filesync.Host
	dir  func(t testing.TB) string
}

// sides are the two kinds of hosts. The lab's stores run as processes on this machine.
func sides(t testing.TB, store int) []side {
	t.Helper()
	local := side{"local", filesync.Local(), tempDir}
	return []side{local, remoteSide(t, store)}
}

// tempDir is in memory where that can be: these tests make many files.
func tempDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "filesync-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func remoteSide(t testing.TB, store int) side {
	t.Helper()
	l := lab.Shared(t)
	if l.Backend != lab.Processes {
		lab.Note("*** filesync over ssh SKIPPED on containers: set ZMLIFT_LAB=processes")
		t.Skip("these tests look at the store's files from outside: set ZMLIFT_LAB=processes")
	}
	s := l.Stores[store]
	return side{"remote", filesync.Remote(dial(t, s), nil), func(t testing.TB) string {
		dir, err := os.MkdirTemp(s.Home+"/store", "filesync-test-")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}}
}

func hostPort(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return host, port
}
