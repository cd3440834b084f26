package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/zimbra"
)

// childEnv makes the test binary the program itself. Its value says when it dies: "never", or "before@N" or "after@N", killed by SIGKILL
// right before or after the N-th entry of a journal is written.
const childEnv = "ZMLIFT_MOVER_CHILD"

func TestMain(m *testing.M) {
	if when := os.Getenv(childEnv); when != "" {
		beChild(when)
	}
	lab.Main(m)
}

func beChild(when string) {
	if when == "never" {
		main()
	}
	k := &killer{kill: func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // it is on its way
	}}
	if n, _ := fmt.Sscanf(when, "before@%d", &k.before); n != 1 {
		if n, _ := fmt.Sscanf(when, "after@%d", &k.after); n != 1 {
			panic(childEnv + "=" + when)
		}
	}
	a := &app{out: os.Stdout, err: os.Stderr, getenv: os.Getenv, exit: os.Exit, journals: k.around}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// A child is the program in a process of its own.
type child struct {
	*exec.Cmd
	out, err buffer
}

// start runs the program with these arguments; when is what childEnv says. It is killed at the end of the test.
func start(t testing.TB, when string, args ...string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0], args...)}
	c.Env = append(os.Environ(), childEnv+"="+when)
	c.Stdout, c.Stderr = &c.out, &c.err
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return c
}

// code waits for the program and returns its exit code, -1 when it was killed.
func (c *child) code(t testing.TB) int {
	t.Helper()
	err := c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return c.ProcessState.ExitCode()
}

// waitFor waits until the program has written text to standard error.
func (c *child) waitFor(t testing.TB, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return bytes.Contains([]byte(c.err.String()), []byte(text)) }, 20*time.Second, 10*time.Millisecond, text)
}

// A buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A killer counts what is written into journals, and kills.
type killer struct {
	before, after int
	kill          func()
	n             int
}

func (k *killer) around(js zimbra.Journals) zimbra.Journals { return killerJournals{js, k} }

type killerJournals struct {
	zimbra.Journals
	k *killer
}

func (js killerJournals) Create(ctx context.Context, accountID, move string) (zimbra.Journal, error) {
	j, err := js.Journals.Create(ctx, accountID, move)
	return killerJournal{j, js.k}, err
}

func (js killerJournals) Open(ctx context.Context, move string) (zimbra.Journal, error) {
	j, err := js.Journals.Open(ctx, move)
	return killerJournal{j, js.k}, err
}

type killerJournal struct {
	zimbra.Journal
	k *killer
}

func (j killerJournal) Append(ctx context.Context, e zimbra.Entry) error {
	j.k.n++
	if j.k.n == j.k.before {
		j.k.kill()
	}
	err := j.Journal.Append(ctx, e)
	if j.k.n == j.k.after {
		j.k.kill()
	}
	return err
}
