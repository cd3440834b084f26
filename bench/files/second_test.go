package files_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/filesync"
)

const (
	medianSize = 10 << 10
	smallSize  = 300     // of a second pass, where only the number of files counts, but not of those that are new
	sigma      = 1.2     // of the sizes' logarithm
	maxSize    = 8 << 20 // the largest of a million would be 3 MB
	perDir     = 4096
	changed    = 100
)

// name is where blob i lies: a mailstore puts 4096 ids into a directory.
func name(i int) string { return fmt.Sprintf("%d/%d-%d.msg", i/perDir%256, i, i*3+7) }

// grow adds the blobs from up to to, and returns how large they are together. The sizes are those of mail: most of them near the median, a few
// a hundred times as large.
func grow(b *testing.B, dir string, from, to int, median float64) (total int64) {
	b.Helper()
	rnd := rand.New(rand.NewPCG(uint64(from), uint64(to)))
	content := make([]byte, 2*maxSize)
	for i := 0; i < len(content); i += 8 {
		for k, v := 0, rnd.Uint64(); k < 8; k++ {
			content[i+k] = byte(v >> (8 * k))
		}
	}
	for i := from; i < to; i++ {
		size := min(int(median*math.Exp(sigma*rnd.NormFloat64())), maxSize)
		file := filepath.Join(dir, name(i))
		if i == from || i%perDir == 0 {
			require.NoError(b, os.MkdirAll(filepath.Dir(file), 0o755))
		}
		begin := rnd.IntN(maxSize)
		require.NoError(b, os.WriteFile(file, content[begin:begin+size], 0o640))
		total += int64(size)
	}
	return total
}

// BenchmarkSecondPass brings a hundred new blobs to a copy of so many that is complete otherwise. It prints
//
//	RATIO second-pass N          how many times longer rsync -a --delete takes than filesync.SyncList over the connection that is there
//	RATIO second-pass-connect N  the same with a new connection
//	RATIO second-pass-scan N     the same for filesync.Sync, which lists both trees, with a new connection
//
// for the last number, and -N after the name for others.
func BenchmarkSecondPass(b *testing.B) {
	ns := sizes(b, secondEnv)
	for i, n := range ns {
		suffix := ""
		if i < len(ns)-1 {
			suffix = "-" + strconv.Itoa(n)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for range b.N {
				secondPass(b, n, suffix)
			}
		})
	}
}

func secondPass(b *testing.B, files int, suffix string) {
	s := newStand(b)
	src, dst := filepath.Join(s.dir, "src"), filepath.Join(s.dir, "dst")
	grow(b, src, 0, files, smallSize)
	command(b, "cp", "-a", src, dst)
	next := files
	here := open(b, s.dst)
	defer here.Close()
	list := func(host filesync.Host) {
		items := func(yield func(filesync.Item, error) bool) {
			for i := next - changed; i < next; i++ {
				if !yield(filesync.Item{From: name(i), To: name(i)}, nil) {
					return
				}
			}
		}
		stats, err := filesync.SyncList(b.Context(), host.Tree(dst), filesync.Local().Tree(src), items, nil)
		require.NoError(b, err)
		require.EqualValues(b, changed, stats.Files)
	}
	all := []struct {
		name string
		pass func()
	}{
		{"list, connected before", func() { list(filesync.Remote(here, nil)) }},
		{"list, connecting", func() {
			t := open(b, s.dst)
			defer t.Close()
			list(filesync.Remote(t, nil))
		}},
		{"scan, connecting", func() { ours(b, s, dst, src, changed) }},
		{"rsync -a --delete", func() { rsync(b, s.dst, dst, src, "--delete") }},
	}
	fmt.Printf("\nsecond pass over %d files, %d of them new\n", files, changed)
	took := rounds(b, runs(b), len(all), func(i int) cost {
		grow(b, src, next, next+changed, medianSize)
		next += changed
		d := measure(b, all[i].pass)
		require.FileExists(b, filepath.Join(dst, name(next-1)))
		return d
	})
	require.Equal(b, count(b, src), count(b, dst))
	for i, c := range all {
		report(c.name, took[i], files)
	}
	printRatio("second-pass"+suffix, took[3], took[0])
	printRatio("second-pass-connect"+suffix, took[3], took[1])
	printRatio("second-pass-scan"+suffix, took[3], took[2])
}
