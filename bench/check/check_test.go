package check_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/tunnel"
)

func TestMain(m *testing.M) { lab.Main(m) }

// filesEnv is how many blobs there are; roundsEnv is how often everything is measured, 5 without it. The median counts.
const (
	filesEnv  = "ZMLIFT_BENCH_CHECK_FILES"
	roundsEnv = "ZMLIFT_BENCH_ROUNDS"
)

// BenchmarkCheck checks a tree of blobs of 4 to 30 kB on a store of the lab, over its sshd, beside commands that compute the same digests
// over the same connection. Both take turns, and both bring the digests home. It prints how many times faster Check is:
//
//	RATIO check-sha256sum N       than find . -type f -print0 | xargs -0 -P2 sha256sum
//	RATIO check-sha256sum-size N  the same when Check is given sizes too
//	RATIO check-gunzip N          compressed blobs: than gzip -dc | sha256sum for each, two at a time
func BenchmarkCheck(b *testing.B) {
	if os.Getenv(filesEnv) == "" {
		b.Skip("set " + filesEnv + ", or run make bench-check")
	}
	files, err := strconv.Atoi(os.Getenv(filesEnv))
	require.NoError(b, err)
	l := lab.Shared(b)
	if l.Backend != lab.Processes {
		b.Skip("the trees are made from outside: set ZMLIFT_LAB=processes")
	}
	for range b.N {
		measure(b, l.Stores[0], files)
	}
}

func measure(b *testing.B, s *lab.Store, files int) {
	ctx := b.Context()
	tun, err := tunnel.New(tunnel.Host{Addr: s.SSHAddr, User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile})
	require.NoError(b, err)
	defer tun.Close()
	plain, compressed := blobs(b, s, files, false), blobs(b, s, files/10, true)
	unsized := *plain
	unsized.sizes = nil

	for _, c := range []struct {
		ratio  string
		tree   *tree
		script string
	}{
		{"check-sha256sum", &unsized, `find . -type f -print0 | xargs -0 -P2 sha256sum`},
		{"check-sha256sum-size", plain, `find . -type f -print0 | xargs -0 -P2 sha256sum`},
		{"check-gunzip", compressed, `find . -type f -print0 | xargs -0 -P2 -n256 sh -c 'for f; do gzip -dc "$f" | sha256sum; done' sh`},
	} {
		var ours, theirs []time.Duration
		for range rounds(b) {
			theirs = append(theirs, timed(func() { c.tree.command(ctx, b, tun, c.script) }))
			ours = append(ours, timed(func() { c.tree.check(ctx, b, tun) }))
		}
		n := float64(len(c.tree.sums))
		fmt.Printf("%s: %.0f files of %s each: check %.0f files/s, commands %.0f files/s\n", c.ratio, n, size(c.tree.bytes/int64(n)),
			n/median(ours).Seconds(), n/median(theirs).Seconds())
		fmt.Printf("RATIO %s %.2f\n", c.ratio, median(theirs).Seconds()/median(ours).Seconds())
	}
}

func rounds(b *testing.B) int {
	if os.Getenv(roundsEnv) == "" {
		return 5
	}
	n, err := strconv.Atoi(os.Getenv(roundsEnv))
	require.NoError(b, err)
	return n
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func median(ds []time.Duration) time.Duration { return slices.Sorted(slices.Values(ds))[len(ds)/2] }

func size(n int64) string { return fmt.Sprintf("%.1f kB", float64(n)/1e3) }

// A tree is a directory of blobs, and what they hold.
type tree struct {
	dir   string
	sums  [][]byte
	sizes []int64
	bytes int64 // as they lie there
}

func name(i int) string { return fmt.Sprintf("msg/%d/%d-%d.msg", i>>12, i, i+100) }

func blobs(b *testing.B, s *lab.Store, n int, compress bool) *tree {
	dir, err := os.MkdirTemp(s.Home+"/store", "bench-check-")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	t := &tree{dir: dir}
	rnd := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = 'a' + byte(rnd.IntN(20)) // compressed it is about half as long, as mail is
	}
	for i := range n {
		content := text[rnd.IntN(len(text)-30<<10):]
		content = content[:4<<10+rnd.IntN(26<<10)]
		sum := sha256.Sum256(content)
		t.sums, t.sizes = append(t.sums, sum[:]), append(t.sizes, int64(len(content)))
		if compress {
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			_, err := w.Write(content)
			require.NoError(b, err)
			require.NoError(b, w.Close())
			content = z.Bytes()
		}
		t.bytes += int64(len(content))
		file := filepath.Join(dir, name(i))
		require.NoError(b, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(b, os.WriteFile(file, content, 0o640))
	}
	return t
}

// check is ours; nothing may be wrong.
func (t *tree) check(ctx context.Context, b *testing.B, tun *tunnel.Tunnel) {
	for bad, err := range filesync.Check(ctx, filesync.Remote(tun, nil).Tree(t.dir), t.wants(), nil) {
		require.NoError(b, err)
		b.Fatalf("%s: %s", bad.Name, bad.Why)
	}
}

func (t *tree) wants() iter.Seq2[filesync.Want, error] {
	return func(yield func(filesync.Want, error) bool) {
		for i, sum := range t.sums {
			w := filesync.Want{Name: name(i), SHA256: sum, Gunzip: true}
			if t.sizes != nil {
				w.Size = t.sizes[i]
			}
			if !yield(w, nil) {
				return
			}
		}
	}
}

// command computes the digests by commands, which are not compared with anything.
func (t *tree) command(ctx context.Context, b *testing.B, tun *tunnel.Tunnel, script string) {
	var out bytes.Buffer
	require.NoError(b, tun.Run(ctx, []string{"sh", "-c", "cd \"$1\" && " + script, "sh", t.dir}, nil, &out, io.Discard))
	require.Equal(b, len(t.sums), bytes.Count(out.Bytes(), []byte("\n")), "digests")
}
