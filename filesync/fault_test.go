package filesync_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
)

const mark = ".owner"

func TestGuard(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "d/a", "one")
		src.write(t, mark, "the source's own is left out")
		dst.write(t, "old", "to be deleted")
		opts := &filesync.Options{Guard: &filesync.Guard{Name: mark, Content: "move 7\n"}}
		list := items("d/a", "d/a")
		refused := func() {
			t.Helper()
			before := dst.snapshot(t)
			_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, opts)
			require.ErrorIs(t, err, filesync.ErrGuard)
			_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, list, opts)
			require.ErrorIs(t, err, filesync.ErrGuard)
			require.ErrorIs(t, filesync.Remove(t.Context(), dst.Tree, "old", opts), filesync.ErrGuard)
			require.Equal(t, before, dst.snapshot(t), "nothing changed")
		}
		refused() // no mark
		for _, other := range []string{"move 8\n", "move 7", "move 7\n\n", "move 7\nx", ""} {
			dst.write(t, mark, other)
			refused()
		}
		require.NoError(t, os.Remove(dst.dir+"/"+mark))
		require.NoError(t, os.Mkdir(dst.dir+"/"+mark, 0o755))
		require.Error(t, filesync.Remove(t.Context(), dst.Tree, "old", opts))
		require.NoError(t, os.Remove(dst.dir+"/"+mark))

		dst.write(t, mark, "move 7\n")
		_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, opts)
		require.NoError(t, err)
		require.Equal(t, []string{mark, "d", "d/a"}, dst.names(t))
		require.Equal(t, "move 7\n", dst.read(t, mark))
		for e, err := range filesync.List(t.Context(), dst.Tree, opts) {
			require.NoError(t, err)
			require.NotEqual(t, mark, e.Name)
		}
	})
}

// A removal whose guard lies inside may be repeated.
func TestRemoveWithGuardInside(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		opts := &filesync.Options{Guard: &filesync.Guard{Name: "h/12/" + mark, Content: "mine"}}
		p.write(t, "h/12/"+mark, "another's")
		p.write(t, "h/12/msg/1", "x")
		require.ErrorIs(t, filesync.Remove(t.Context(), p.Tree, "h/12", opts), filesync.ErrGuard)
		require.FileExists(t, p.dir+"/h/12/msg/1")
		p.write(t, "h/12/"+mark, "mine")
		require.NoError(t, filesync.Remove(t.Context(), p.Tree, "h/12", opts))
		require.NoError(t, filesync.Remove(t.Context(), p.Tree, "h/12", opts))
		require.Equal(t, []string{"h"}, p.names(t))
	})
}

// A hookRunner calls before with each script, and may cut its streams.
type hookRunner struct {
	filesync.Runner
	before func(script string) error
	stdin  func(script string, r io.Reader) io.Reader
	stdout func(script string, w io.Writer) io.Writer
}

func (h *hookRunner) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if h.before != nil {
		if err := h.before(argv[2]); err != nil {
			return err
		}
	}
	if h.stdin != nil {
		stdin = h.stdin(argv[2], stdin)
	}
	if h.stdout != nil {
		stdout = h.stdout(argv[2], stdout)
	}
	return h.Runner.Run(ctx, argv, stdin, stdout, stderr)
}

var errCut = errors.New("connection cut")

// A dying runner breaks the connection after so many bytes, in all directions together.
type dyingRunner struct {
	filesync.Runner
	left atomic.Int64
}

func (d *dyingRunner) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if d.left.Load() <= 0 {
		return errCut
	}
	count := func(n int) error {
		if d.left.Add(-int64(n)) <= 0 {
			cancel(errCut)
			return errCut
		}
		return nil
	}
	in := readerFunc(func(p []byte) (int, error) {
		n, err := stdin.Read(p)
		return n, errors.Join(count(n), err)
	})
	out := writerFunc(func(p []byte) (int, error) {
		if err := count(len(p)); err != nil {
			return 0, err
		}
		return stdout.Write(p)
	})
	err := d.Runner.Run(ctx, argv, eofReader{in}, out, stderr)
	return errors.Join(err, context.Cause(ctx))
}

// An eofReader gives io.EOF as itself: errors.Join wraps it.
type eofReader struct{ r io.Reader }

func (e eofReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if errors.Is(err, io.EOF) && !errors.Is(err, errCut) {
		err = io.EOF
	}
	return n, err
}

type (
	readerFunc func([]byte) (int, error)
	writerFunc func([]byte) (int, error)
)

func (f readerFunc) Read(p []byte) (int, error)  { return f(p) }
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Wherever the connection to either side breaks, there is an error, no half file, nothing deleted that should stay; and the next sync heals.
func TestCutConnections(t *testing.T) {
	l := lab.Shared(t)
	local, far := sides(t, 0)[0], remoteSide(t, 1)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ZMLIFT_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	fill := func(p place) map[string]string {
		whole := map[string]string{}
		for i := range 12 {
			name := fmt.Sprintf("d%d/f%d", i%3, i)
			whole[name] = strings.Repeat(fmt.Sprint(i), 70*i)
			p.write(t, name, whole[name])
		}
		require.NoError(t, os.Link(p.dir+"/d0/f0", p.dir+"/link"))
		whole["link"] = whole["d0/f0"]
		return whole
	}
	through := func(end string, dst, src place, r filesync.Runner) (to, from filesync.Tree) {
		if end == "source" {
			return dst.Tree, filesync.Remote(r, nil).Tree(src.dir)
		}
		return filesync.Remote(r, nil).Tree(dst.dir), src.Tree
	}
	for _, end := range []string{"source", "destination"} {
		// How many bytes it takes when nothing breaks. There is something to delete, too.
		places := func() (dst, src place) {
			if end == "source" {
				dst, src = newPlace(t, local), newPlace(t, far)
			} else {
				dst, src = newPlace(t, far), newPlace(t, local)
			}
			dst.write(t, "stays", "until the end")
			return dst, src
		}
		dst, src := places()
		fill(src)
		meter := &dyingRunner{Runner: dial(t, l.Stores[1])}
		meter.left.Store(math.MaxInt64)
		to, from := through(end, dst, src, meter)
		_, err := filesync.Sync(t.Context(), to, from, nil)
		require.NoError(t, err)
		all := math.MaxInt64 - meter.left.Load()

		failed := 0
		for i := range 50 {
			after := 1 + rnd.Int64N(all)
			name := fmt.Sprintf("%s after %d of %d bytes, ZMLIFT_SEED=%d", end, after, all, seed)
			dst, src := places()
			whole := fill(src)
			r := &dyingRunner{Runner: meter.Runner}
			r.left.Store(after)
			to, from := through(end, dst, src, r)
			_, err := filesync.Sync(t.Context(), to, from, filesync.Options{}.WithBatches(i%2*4)) // half of them with batches of four files
			if err != nil {
				failed++
			} else {
				require.Equal(t, src.snapshot(t), dst.snapshot(t), "success means success: "+name)
			}
			for _, n := range dst.names(t) {
				if content, ok := whole[n]; ok {
					require.Equal(t, content, dst.read(t, n), "a file at its final name is complete: "+name)
				}
			}
			_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Stale: -1})
			require.NoError(t, err, name)
			require.Equal(t, src.snapshot(t), dst.snapshot(t), name)
		}
		require.Greater(t, failed, 25, "most of them break something")
	}
}

// A file that is lost from the stage, after it was sent and before it has its name, is missed.
func TestStageIsCounted(t *testing.T) {
	src, dst := newPlace(t, sides(t, 0)[0]), newPlace(t, remoteSide(t, 1))
	for i := range 20 {
		src.write(t, fmt.Sprint(i), strings.Repeat("x", 20_000))
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for range 5000 {
			if names, _ := filepath.Glob(dst.dir + "/.filesync-*/0/*"); len(names) > 0 && os.Remove(names[0]) == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Rate: 200_000})
	<-lost
	require.Error(t, err)
	require.Empty(t, dst.names(t))
}

// A proxy passes bytes on to an sshd, so many of them, and then breaks every connection.
func proxy(t *testing.T, to string, bytes int64) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	var left atomic.Int64
	left.Store(bytes)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				return
			}
			pass := func(dst, src net.Conn) {
				b := make([]byte, 512)
				for {
					n, err := src.Read(b)
					if err != nil || left.Add(-int64(n)) < 0 {
						break
					}
					if _, err := dst.Write(b[:n]); err != nil {
						break
					}
				}
				near.Close()
				far.Close()
			}
			go pass(far, near)
			go pass(near, far)
		}
	}()
	return l.Addr().String()
}

// The same for the connection that rsync makes.
func TestCutRsync(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	local, far := sides(t, 0)[0], remoteSide(t, 1)
	broken := 0
	for i, after := range []int64{100, 3000, 5000, 7000, 15_000, 40_000, 80_000} {
		ssh := &filesync.SSH{
			Addr: proxy(t, s.SSHAddr, after), User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile,
			Args: []string{"-o", "HostKeyAlias=[127.0.0.1]:" + s.SSHAddr[strings.LastIndexByte(s.SSHAddr, ':')+1:]},
		}
		host := filesync.Remote(dial(t, s), &filesync.RemoteOptions{SSH: ssh})
		dst, src := newPlace(t, local), newPlace(t, far)
		from, to := host.Tree(src.dir), dst.Tree
		if i%2 == 0 {
			dst, src = newPlace(t, far), newPlace(t, local)
			from, to = src.Tree, host.Tree(dst.dir)
		}
		content := make([]byte, 5000)
		for i := range 10 {
			for k := range content {
				content[k] = byte(rand.Uint32())
			}
			src.write(t, fmt.Sprintf("d/%d", i), string(content))
		}
		dst.write(t, "stays", "until the end")
		_, err := filesync.Sync(t.Context(), to, from, &filesync.Options{Engine: filesync.Rsync})
		if err != nil {
			broken++
			require.ErrorContains(t, err, "rsync")
			require.Equal(t, []string{"stays"}, dst.names(t))
		} else {
			require.Equal(t, src.snapshot(t), dst.snapshot(t), "success means success")
		}
		_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Stale: -1})
		require.NoError(t, err)
		require.Equal(t, src.snapshot(t), dst.snapshot(t))
	}
	require.GreaterOrEqual(t, broken, 4)
}

// A stream that ends early and calls it success does not make a listing, and so no deletes, nor a file.
func TestTruncationIsNoSuccess(t *testing.T) {
	l := lab.Shared(t)
	srcSide := remoteSide(t, 0)
	for _, keep := range []int{0, 1, 60, 100, 511, 512, 1024, 2048} {
		src, dst := newPlace(t, srcSide), newPlace(t, sides(t, 1)[0])
		for i := range 40 {
			src.write(t, fmt.Sprint(i), strings.Repeat("\x00", 512*i))
			dst.write(t, fmt.Sprint(i), "other")
		}
		for _, script := range []string{"end of listing", "tar -c"} {
			r := &hookRunner{Runner: dial(t, l.Stores[0]), stdout: func(s string, w io.Writer) io.Writer {
				if !strings.Contains(s, script) || strings.Contains(s, "maxdepth 0") {
					return w
				}
				left := keep
				return writerFunc(func(p []byte) (int, error) {
					n := min(left, len(p))
					left -= n
					_, err := w.Write(p[:n])
					return len(p), err
				})
			}}
			_, err := filesync.Sync(t.Context(), dst.Tree, filesync.Remote(r, nil).Tree(src.dir), nil)
			require.Error(t, err, "%q after %d bytes", script, keep)
			require.Len(t, dst.names(t), 40)
			require.Equal(t, "other", dst.read(t, "0"))
		}
	}
}

func TestCancel(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		for i := range 40 {
			src.write(t, fmt.Sprint(i), strings.Repeat("x", 10_000))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		start := time.Now()
		_, err := filesync.Sync(ctx, dst.Tree, src.Tree, &filesync.Options{Rate: 50_000}) // eight seconds' worth
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, time.Since(start), 6*time.Second)
		require.Eventually(t, func() bool { return len(dst.names(t)) == 0 }, 5*time.Second, 50*time.Millisecond, "no staging directory is left")

		_, err = filesync.Sync(ctx, dst.Tree, src.Tree, nil)
		require.ErrorIs(t, err, context.Canceled)
		for _, err := range filesync.List(ctx, src.Tree, nil) {
			require.ErrorIs(t, err, context.Canceled)
		}
		for _, err := range filesync.Check(ctx, src.Tree, wants(filesync.Want{Name: "1"}), nil) {
			require.ErrorIs(t, err, context.Canceled)
		}
	})
}

// A writer whose tree is removed under it fails and does not make it again.
func TestRootRemoved(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		for i := range 40 {
			src.write(t, fmt.Sprintf("d/%d", i), strings.Repeat("x", 10_000))
		}
		removed := make(chan error)
		go func() {
			time.Sleep(400 * time.Millisecond)
			err := os.Rename(dst.dir, dst.dir+"-x")
			if err == nil {
				err = syscall.ENOTEMPTY
			}
			for errors.Is(err, syscall.ENOTEMPTY) { // the writer has made something in it meanwhile
				err = os.RemoveAll(dst.dir + "-x")
			}
			removed <- err
		}()
		_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Rate: 200_000}) // two seconds' worth
		require.Error(t, err)
		require.NoError(t, <-removed)
		require.NoDirExists(t, dst.dir)
		require.NoDirExists(t, dst.dir+"-x")

		_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoDirExists(t, dst.dir)
		_, err = filesync.Sync(t.Context(), src.Tree, dst.Tree, nil)
		require.ErrorIs(t, err, fs.ErrNotExist, "an absent source is not an empty one")
		require.Len(t, src.names(t), 41)
	})
}

func TestStale(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "a", "x")
		dst.write(t, ".filesync-OTHER/0/half", "of a writer that may live")
		for e, err := range filesync.List(t.Context(), dst.Tree, nil) {
			require.NoError(t, err)
			t.Errorf("%s is listed", e.Name)
		}
		_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.FileExists(t, dst.dir+"/.filesync-OTHER/0/half")
		_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Stale: -1})
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, dst.names(t))
	})
}

// Files that a user deletes after they were listed are gone on with, also when they were the first name of several.
func TestVanishing(t *testing.T) {
	r := &hookRunner{Runner: dial(t, lab.Shared(t).Stores[0])}
	for _, d := range sides(t, 1) {
		t.Run(d.name, func(t *testing.T) {
			dst, src := newPlace(t, d), newPlace(t, remoteSide(t, 0))
			fill := func() {
				for _, name := range []string{"stays", "goes", "l1", "l2", "l3", "last"} {
					os.Remove(src.dir + "/" + name)
					src.write(t, name, name)
				}
				for _, l := range []string{"l2", "l3"} {
					require.NoError(t, os.Remove(src.dir+"/"+l))
					require.NoError(t, os.Link(src.dir+"/l1", src.dir+"/"+l))
				}
			}
			r.before = func(script string) error {
				if strings.Contains(script, "tar -c") {
					os.Remove(src.dir + "/goes")
					os.Remove(src.dir + "/l1")
				}
				return nil
			}
			list := items("stays", "stays", "goes", "goes", "l1", "m1", "l2", "m2", "l3", "m3", "last", "last")
			from := filesync.Remote(r, nil).Tree(src.dir)
			fill()
			_, err := filesync.SyncList(t.Context(), dst.Tree, from, list, nil)
			var missing *filesync.MissingError
			require.ErrorAs(t, err, &missing)
			require.Empty(t, dst.names(t))

			fill()
			stats, err := filesync.SyncList(t.Context(), dst.Tree, from, list, &filesync.Options{Missing: func(filesync.Item) bool { return true }})
			require.NoError(t, err)
			require.EqualValues(t, 2, stats.Missing)
			require.Equal(t, []string{"last", "m2", "m3", "stays"}, dst.names(t))
			require.True(t, sameFile(t, dst.dir+"/m2", dst.dir+"/m3"))
			require.Equal(t, "l1", dst.read(t, "m2"))
		})
	}
}

// meddled is a store on which something happens around each run of a command: script is sh, and has "$real" "$@" where the command is to run.
func meddled(t *testing.T, s *lab.Store, command, script string) filesync.Host {
	t.Helper()
	real, err := exec.LookPath(command)
	require.NoError(t, err)
	dir := tempDir(t)
	require.NoError(t, os.WriteFile(dir+"/"+command, []byte("#!/bin/sh\nreal="+real+"\n"+script), 0o755))
	return filesync.Remote(dial(t, s), &filesync.RemoteOptions{
		Prefix: []string{"env", "PATH=" + dir + ":" + os.Getenv("PATH")},
		SSH:    &filesync.SSH{Addr: s.SSHAddr, User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile},
	})
}

// A directory of the source that is replaced after it was looked at, while the command that reads runs.
func TestDirectoryReplaced(t *testing.T) {
	local, far, s := sides(t, 0)[0], remoteSide(t, 1), lab.Shared(t).Stores[1]
	for _, engine := range []struct {
		filesync.Engine
		command string
	}{{filesync.Stream, "tar"}, {filesync.Rsync, "rsync"}} {
		t.Run(string(engine.Engine), func(t *testing.T) {
			opts := &filesync.Options{Engine: engine.Engine}
			copying := func(script string) (dst, src place, err error) {
				dst, src = newPlace(t, local), newPlace(t, far)
				src.write(t, "-a\n'/sub/f", "ours")
				src.write(t, "-a\n'/other", "ours")
				away := tempDir(t)
				require.NoError(t, os.WriteFile(away+"/f", []byte("else"), 0o644))
				host := meddled(t, s, engine.command, fmt.Sprintf(`cd '%s'/-a*; away='%s'`, src.dir, away)+"\n"+script+"\n"+`cd '`+src.dir+`'; exec "$real" "$@"`)
				_, err = filesync.Sync(t.Context(), dst.Tree, host.Tree(src.dir), opts)
				return dst, src, err
			}
			dst, _, err := copying(`[ -L sub ] || { mv sub "$away/was"; ln -s "$away" sub; }`)
			require.ErrorContains(t, err, "sub")
			require.Empty(t, dst.names(t), "nothing from outside arrives")

			dst, _, err = copying(`cp -Rp sub "$away/sub.$$"; mv sub "$away/was.$$"; mv "$away/sub.$$" sub`)
			require.ErrorIs(t, err, filesync.ErrChanged)
			require.ErrorContains(t, err, "sub")
			require.Empty(t, dst.names(t))

			dst, src, err := copying(`[ -d "$away/was" ] || { cp -Rp sub "$away/sub"; mv sub "$away/was"; mv "$away/sub" sub; }`)
			require.NoError(t, err, "it stays after the first time")
			require.Equal(t, src.names(t), dst.names(t))
		})
	}
}

// A file that is written before and after rsync reads it came in a version that the source does not have.
func TestRsyncOutdated(t *testing.T) {
	src, dst := newPlace(t, remoteSide(t, 1)), newPlace(t, sides(t, 0)[0])
	src.write(t, "d/f", "as listed")
	src.write(t, "d/other", "stays")
	host := meddled(t, lab.Shared(t).Stores[1], "rsync", fmt.Sprintf(`f='%s/d/f'; echo before >>"$f"; "$real" "$@"; rc=$?; echo after >>"$f"; exit $rc`, src.dir))
	_, err := filesync.Sync(t.Context(), dst.Tree, host.Tree(src.dir), &filesync.Options{Engine: filesync.Rsync})
	require.ErrorIs(t, err, filesync.ErrChanged)
	require.ErrorContains(t, err, src.dir+"/d/f")
	require.Empty(t, dst.names(t))
}

// What a removal left goes away, and what has its name by now stays.
func TestRemoveRest(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		const name = "0/-1 2\n"
		sum := sha256.Sum256([]byte(name))
		rest := fmt.Sprintf(".filesync-removed-%x", sum[:16])
		p.write(t, name+"/mail", "made again")
		p.write(t, ".filesync-removed-other/mail", "of another removal")
		for range 2 {
			require.NoError(t, filesync.RemoveRest(t.Context(), p.Tree, name))
			require.Equal(t, []string{".filesync-removed-other", ".filesync-removed-other/mail", "0", name, name + "/mail"}, p.names(t))
			p.write(t, rest+"/msg/mail", "old")
		}
		require.NoError(t, filesync.Remove(t.Context(), p.Tree, name, nil), "that is where it puts things")
		require.Equal(t, []string{".filesync-removed-other", ".filesync-removed-other/mail", "0"}, p.names(t))
		require.NoError(t, os.RemoveAll(p.dir))
		require.NoError(t, filesync.RemoveRest(t.Context(), p.Tree, name))
		require.NoError(t, filesync.Rmdir(t.Context(), p.Tree, name))
	})
}

func TestRmdir(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		require.NoError(t, os.MkdirAll(p.dir+"/a/-b\n", 0o755))
		p.write(t, "full/.hidden", "x")
		require.NoError(t, os.Symlink("a", p.dir+"/link"))
		before := p.names(t)
		for _, name := range []string{"full", "a", "gone", "no/such", "full/.hidden/x"} {
			require.NoError(t, filesync.Rmdir(t.Context(), p.Tree, name), name)
		}
		for _, name := range []string{"full/.hidden", "link", "link/-b\n"} {
			require.Error(t, filesync.Rmdir(t.Context(), p.Tree, name), name)
		}
		require.Equal(t, before, p.names(t))
		require.NoError(t, filesync.Rmdir(t.Context(), p.Tree, "a/-b\n"))
		require.NoError(t, filesync.Rmdir(t.Context(), p.Tree, "a"))
		require.Equal(t, []string{"full", "full/.hidden", "link"}, p.names(t))
	})
}

func TestErrorsNamePaths(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		gone := p.dir + "/no such root"
		tree := filesync.Local().Tree(gone)
		if strings.Contains(t.Name(), "remote") {
			tree = remoteSide(t, 0).host.Tree(gone)
		}
		_, err := filesync.Stat(t.Context(), tree, "x")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, gone)
	})
	var name *filesync.NameError
	_, err := filesync.Stat(t.Context(), filesync.Remote(nil, nil).Tree("relative"), "x")
	require.ErrorAs(t, err, &name)
	_, err = filesync.Stat(t.Context(), filesync.Local().Tree("/"), "x")
	require.ErrorAs(t, err, &name)
	_, err = filesync.Stat(t.Context(), filesync.Tree{}, "x")
	require.ErrorAs(t, err, &name)
}

func TestSmallFiles(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		require.NoError(t, os.Chown(p.dir, 1501, 1502))
		require.NoError(t, os.Chmod(p.dir, 0o750))
		require.NoError(t, filesync.Mkdir(ctx, p.Tree, "dir\n"))
		require.ErrorIs(t, filesync.Mkdir(ctx, p.Tree, "dir\n"), fs.ErrExist)
		require.ErrorIs(t, filesync.Mkdir(ctx, p.Tree, "no/dir"), fs.ErrNotExist)
		name := "dir\n/-mark"
		_, err := filesync.ReadFile(ctx, p.Tree, name, 100)
		require.ErrorIs(t, err, fs.ErrNotExist)
		content := []byte("line\n\x00\xff\n\n")
		require.NoError(t, filesync.WriteFile(ctx, p.Tree, name, content, true))
		require.ErrorIs(t, filesync.WriteFile(ctx, p.Tree, name, []byte("x"), true), fs.ErrExist)
		require.ErrorIs(t, filesync.WriteFile(ctx, p.Tree, "no/dir", nil, false), fs.ErrNotExist)
		owned(t, p, 1501, 1502, "dir\n", name)
		got, err := filesync.ReadFile(ctx, p.Tree, name, int64(len(content)))
		require.NoError(t, err)
		require.Equal(t, content, got)
		_, err = filesync.ReadFile(ctx, p.Tree, name, int64(len(content))-1)
		require.ErrorIs(t, err, filesync.ErrTooLarge)
		large := bytes.Repeat([]byte("0123456789"), 50_000)
		require.NoError(t, filesync.WriteFile(ctx, p.Tree, name, large, false))
		e, err := filesync.Stat(ctx, p.Tree, name)
		require.NoError(t, err)
		require.Equal(t, []any{name, fs.FileMode(0o600), int64(len(large)), false}, []any{e.Name, e.Mode, e.Size, e.IsDir()})
		e, err = filesync.Stat(ctx, p.Tree, ".")
		require.NoError(t, err)
		require.Equal(t, []any{fs.ModeDir | 0o750, 1501, 1502}, []any{e.Mode, e.UID, e.GID})
		e, err = filesync.Stat(ctx, p.Tree, "dir\n")
		require.NoError(t, err)
		require.Equal(t, fs.ModeDir|0o750, e.Mode, "as the root")
		require.Equal(t, []string{"dir\n", name}, p.names(t), "nothing unfinished is left")

		require.NoError(t, filesync.SyncFS(ctx, p.Tree))
		require.NoError(t, filesync.Remove(ctx, p.Tree, "dir\n", nil))
		require.NoError(t, filesync.Remove(ctx, p.Tree, "dir\n", nil), "absent is no error")
		require.NoError(t, filesync.Remove(ctx, p.Tree, "no/such/thing", nil))
		require.Empty(t, p.names(t))
	})
}
