package tunnel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/tunnel"
)

func TestRun(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	var out, errOut bytes.Buffer
	require.NoError(t, tun.Run(t.Context(), []string{"sh", "-c", "cat; echo oops >&2"}, strings.NewReader("in"), &out, &errOut))
	require.Equal(t, "in", out.String())
	require.Equal(t, "oops\n", errOut.String())
	require.NoError(t, tun.Run(t.Context(), []string{"sh", "-c", "cat; echo nobody listens; echo nor here >&2"}, nil, nil, nil))
}

func TestExitStatus(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	var exit *tunnel.ExitError

	err := tun.Run(t.Context(), []string{"sh", "-c", "seq 100000 >&2; echo why >&2; exit 3"}, nil, nil, nil)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.Equal(t, "sh", exit.Argv0)
	require.Equal(t, store(t).SSHUser+"@"+store(t).SSHAddr, exit.Host)
	require.True(t, strings.HasSuffix(exit.Stderr, "\n100000\nwhy\n"), "the end of standard error: %q", exit.Stderr)
	require.Less(t, len(exit.Stderr), 10_000, "and no more than its end")
	require.ErrorContains(t, err, "why")

	var errOut bytes.Buffer
	err = tun.Run(t.Context(), []string{"sh", "-c", "echo why >&2; exit 255"}, nil, nil, &errOut)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 255, exit.ExitCode())
	require.Equal(t, "why\n", errOut.String())
	require.Empty(t, exit.Stderr, "whoever has it needs no copy")

	err = tun.Run(t.Context(), []string{"no-such-command"}, nil, nil, nil)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 127, exit.ExitCode())
	require.ErrorContains(t, err, "not found")

	err = tun.Run(t.Context(), []string{"sh", "-c", "kill -KILL $$"}, nil, nil, nil)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, -1, exit.ExitCode())
	require.Equal(t, "KILL", exit.Signal)
}

func TestArgumentsArriveAsTheyAre(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	args := []string{
		"", " ", "'", "''", `"`, `\`, `\'`, "$HOME", "$(id)", "`id`", "*", "~", "a b", "a\nb", "\t", "!!", "#", ";id", "&", "|", "<", ">", "(1234,",
		"--", "-n", "%s", "{}", "[a]", "Käse 🧀", "\xff\xfe", "'; id; '", "'\\''", "=x", "\r\n", "\x01\x7f",
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b := make([]byte, 1+r.IntN(20))
		for i := range b {
			b[i] = byte(1 + r.IntN(255))
		}
		args = append(args, string(b))
	}
	got := output(t, tun, append([]string{"printf", `%s\0`}, args...)...)
	require.Equal(t, args, strings.Split(strings.TrimSuffix(got, "\x00"), "\x00"))
}

func TestCommandsThatCannotBe(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	for _, argv := range [][]string{nil, {""}, {"-c", "id"}, {"echo", "a\x00b"}, {"echo", strings.Repeat("x", 128<<10)}} {
		err := tun.Run(t.Context(), argv, nil, nil, nil)
		require.Error(t, err, "%.40q", argv)
		var exit *tunnel.ExitError
		require.False(t, errors.As(err, &exit), "%.40q was run", argv)
	}
	require.Len(t, output(t, tun, "echo", strings.Repeat("x", 120<<10)), 120<<10+1)
}

func TestMuchBothWays(t *testing.T) {
	const size = 100 << 20
	tun := open(t, hostOf(store(t)))
	in, out := sha256.New(), sha256.New()
	src := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{7}), size), in)
	require.NoError(t, tun.Run(t.Context(), []string{"cat"}, src, out, nil))
	require.Equal(t, in.Sum(nil), out.Sum(nil))

	// Standard output and standard error at once, neither before the other.
	var n, m counter
	script := "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; head -c 20000000 /dev/zero"
	require.NoError(t, tun.Run(t.Context(), []string{"sh", "-c", script}, nil, &n, &m))
	require.EqualValues(t, 40_000_000, n)
	require.EqualValues(t, 20_000_000, m)
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// background starts a command that ignores whatever happens to its input and output, and a child of it, and returns their process ids.
func background(ctx context.Context, tun *tunnel.Tunnel, stdin io.Reader) (pids <-chan string, ended <-chan error) {
	line, w := newLine()
	done := make(chan error, 1)
	go func() {
		done <- tun.Run(ctx, []string{"sh", "-c", "sleep 300 & echo $$ $!; wait"}, stdin, w, nil)
	}()
	return line, done
}

func requireGone(t *testing.T, tun *tunnel.Tunnel, pids string) {
	t.Helper()
	for _, pid := range strings.Fields(pids) {
		// A process that only waits for its parent to notice is gone too.
		state := output(t, tun, "sh", "-c", `sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null || :`, "sh", pid)
		if state = strings.TrimSpace(state); state != "" && state[0] != 'Z' {
			t.Errorf("process %s is still there: %s", pid, state)
		}
	}
}

func TestCancellationEndsTheCommand(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		pids, ended := background(ctx, tun, nil)
		running := <-pids
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		requireGone(t, tun, running)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tun.Run(ctx, []string{"sleep", "300"}, nil, nil, nil), context.DeadlineExceeded)
	require.ErrorIs(t, tun.Run(ctx, []string{"sleep", "300"}, nil, nil, nil), context.DeadlineExceeded, "over before it began")
}

// TERM is asked first, so that a command can clean up; one that does not listen is killed.
func TestCancellationAsksFirst(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	file := "/tmp/tunnel-test-" + strconv.Itoa(rand.Int())
	for name, test := range map[string]struct{ script, left string }{
		"polite": {`trap 'echo asked > "$1"; exit 1' TERM; echo $$; while :; do sleep 0.02; done`, "asked\n"},
		"deaf":   {`trap '' TERM; echo $$; while :; do sleep 0.02; done`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			pid, w := newLine()
			ended := make(chan error)
			go func() { ended <- tun.Run(ctx, []string{"sh", "-c", test.script, "sh", file}, nil, w, nil) }()
			running := <-pid
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			requireGone(t, tun, running)
			require.Equal(t, test.left, output(t, tun, "sh", "-c", `cat "$1" 2>/dev/null; rm -f "$1"`, "sh", file))
		})
	}
}

func TestManyAtOnce(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	var g errgroup.Group
	for i := range 40 { // more than the server's MaxSessions
		g.Go(func() error {
			var out bytes.Buffer
			if err := tun.Run(t.Context(), []string{"sh", "-c", "sleep 0.05; echo $1", "sh", strconv.Itoa(i)}, nil, &out, nil); err != nil {
				return err
			}
			if got, want := out.String(), strconv.Itoa(i)+"\n"; got != want {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running []string
	var ended []<-chan error
	for range 8 {
		pids, done := background(ctx, tun, nil)
		running, ended = append(running, <-pids), append(ended, done)
	}
	waiting, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	require.ErrorIs(t, tun.Run(waiting, []string{"true"}, nil, nil, nil), context.DeadlineExceeded, "the ninth waits its turn")
	cancel()
	for i := range ended {
		require.ErrorIs(t, <-ended[i], context.Canceled)
		requireGone(t, tun, running[i])
	}
}

// A command whose input failed here must never see an end of input: it would take a part for the whole.
func TestInputThatFails(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	errBroken := errors.New("source broke")
	file := "/tmp/tunnel-test-" + strconv.Itoa(rand.Int())
	for range 5 {
		in := io.MultiReader(zeros(1<<20), failing{errBroken})
		err := tun.Run(soon(t), []string{"sh", "-c", `cat > /dev/null; echo complete > "$1"`, "sh", file}, in, nil, nil)
		require.ErrorIs(t, err, errBroken)
		require.Empty(t, output(t, tun, "sh", "-c", `cat "$1" 2>/dev/null || :`, "sh", file), "it went on as if the input were complete")
	}
	pids, ended := background(t.Context(), tun, failing{errBroken})
	require.ErrorIs(t, <-ended, errBroken)
	select {
	case running := <-pids:
		requireGone(t, tun, running)
	default: // ended before it wrote anything
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestInputNobodyReads(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	never, w := io.Pipe()
	defer w.Close()
	require.NoError(t, tun.Run(soon(t), []string{"true"}, never, nil, nil), "Run waits for a Read that blocks")
	var out bytes.Buffer
	require.NoError(t, tun.Run(soon(t), []string{"head", "-c", "3"}, zeros(1<<40), &out, nil), "more than it takes")
	require.Equal(t, 3, out.Len())
}

func TestOutputThatNobodyTakes(t *testing.T) {
	tun := open(t, hostOf(store(t)))
	full := errors.New("disk full")
	for _, argv := range [][]string{{"yes"}, {"sh", "-c", "yes >&2"}} {
		w := &filling{room: 1 << 20, err: full}
		require.ErrorIs(t, tun.Run(soon(t), argv, nil, w, w), full)
		require.NoError(t, w.after())
	}
}

// filling fails when it has no room left, and notices writes that come too late.
type filling struct {
	mu   sync.Mutex
	room int
	err  error
	over bool
	late error
}

func (f *filling) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		f.late = errors.New("written to after Run had returned")
	}
	if f.room -= len(p); f.room < 0 {
		return 0, f.err
	}
	return len(p), nil
}

func (f *filling) after() error {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.late
}

func TestConnectionLostWhileRunning(t *testing.T) {
	p := newProxy(t, store(t))
	tun := open(t, p.Host)
	pids, ended := background(t.Context(), tun, nil)
	running := <-pids
	before := p.dialled()
	p.cut()
	require.ErrorIs(t, <-ended, tunnel.ErrLost)
	require.Equal(t, before, p.dialled(), "a command is not run twice")
	output(t, tun, "sh", "-c", `kill -KILL "$@"`, "sh", strings.Fields(running)[0], strings.Fields(running)[1]) // they outlive it
}

// What a login shell's start-up files print would be taken for the command's output.
func TestTalkativeLoginShell(t *testing.T) {
	s, err := newServer()
	require.NoError(t, err)
	defer s.Close()
	s.prefix = "echo Welcome; "
	tun := open(t, tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: s.KnownHostsFile})
	var out bytes.Buffer
	require.ErrorContains(t, tun.Run(soon(t), []string{"echo", "hello"}, nil, &out, nil), "Welcome")
	require.Empty(t, out.String())
}
