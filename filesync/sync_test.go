package filesync_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"golang.org/x/sync/errgroup"
)

// pairs runs f for every combination of hosts.
func pairs(t *testing.T, f func(t *testing.T, dst, src place)) {
	for _, s := range sides(t, 0) {
		for _, d := range sides(t, 1) {
			t.Run(s.name+" to "+d.name, func(t *testing.T) {
				f(t, newPlace(t, d), newPlace(t, s))
			})
		}
	}
}

// each runs f for every kind of host.
func each(t *testing.T, f func(t *testing.T, p place)) {
	for _, s := range sides(t, 0) {
		t.Run(s.name, func(t *testing.T) { f(t, newPlace(t, s)) })
	}
}

// A place is a tree, and the directory that it is.
type place struct {
	filesync.Tree
	dir string
}

func newPlace(t testing.TB, s side) place {
	dir := s.dir(t)
	return place{s.host.Tree(dir), dir}
}

func (p place) write(t testing.TB, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(p.dir+"/"+name), 0o755))
	require.NoError(t, os.WriteFile(p.dir+"/"+name, []byte(content), 0o644))
}

func (p place) read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(p.dir + "/" + name)
	require.NoError(t, err)
	return string(b)
}

// snapshot describes everything below dir, one line a name: what must be equal after a sync.
func (p place) snapshot(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	require.NoError(t, filepath.WalkDir(p.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == p.dir {
			return err
		}
		rel := strings.TrimPrefix(name, p.dir+"/")
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%q %s %s", rel, fi.Mode(), fi.ModTime().UTC().Format(time.RFC3339Nano))
		if !fi.IsDir() {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %x", len(content), hash(content))
			if st.Nlink > 1 {
				if first[st.Ino] == "" {
					first[st.Ino] = rel
				}
				fmt.Fprintf(&b, " links with %q", first[st.Ino])
			}
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func (p place) names(t testing.TB) []string {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(p.dir, func(name string, d fs.DirEntry, err error) error {
		if name != p.dir {
			names = append(names, strings.TrimPrefix(name, p.dir+"/"))
		}
		return err
	}))
	return names
}

var long = strings.Repeat("ä", 127) + "x" // 255 bytes

// hostile are names that break what is put together by hand.
var hostile = []string{
	"plain", "two words", "new\nline", "ends in newline\n", "-rf", "--", "-", "'single'", `"double"`, `back\slash`, `\n`, "$HOME `id` $(id)", "*?[a]", "{}",
	"ünïcödé 🐘", "\xff\xfe not utf-8", long, "tab\tand\rreturn", "=", "%s%n", ";", "&", "|", "#", "~", "...", "..a", ".hidden", "a:b", "@file",
}

// fill makes a tree with everything in it that is hard.
func (p place) fill(t testing.TB) {
	t.Helper()
	for i, name := range hostile {
		p.write(t, name, "content of "+name)
		dir := "d" + name[min(1, len(name)-1):] // another name of the same length
		p.write(t, dir+"/"+name, strings.Repeat("x", i))
		require.NoError(t, os.Chmod(p.dir+"/"+name, fs.FileMode(0o400+i)))
		require.NoError(t, os.Chtimes(p.dir+"/"+name, time.Time{}, time.Unix(1_600_000_000+int64(i), int64(i)*123_456_789%1e9)))
	}
	for i, mode := range []fs.FileMode{0o600, 0o644, 0o755 | fs.ModeSetuid, 0o640 | fs.ModeSetgid, 0o000} {
		if mode == 0 && os.Getuid() != 0 {
			continue // only root could read it
		}
		name := fmt.Sprintf("modes/%d", i)
		p.write(t, name, name)
		require.NoError(t, os.Chmod(p.dir+"/"+name, mode))
	}
	p.write(t, "times/epoch", "")
	require.NoError(t, os.Chtimes(p.dir+"/times/epoch", time.Time{}, time.Unix(0, 0)))
	p.write(t, "times/before", "")
	require.NoError(t, os.Chtimes(p.dir+"/times/before", time.Time{}, time.Unix(-100, 250_000_000)))
	p.write(t, "deep/"+strings.Repeat("0123456789/", 30)+"file", "beyond a tar header's 100 bytes")
	require.NoError(t, os.Mkdir(p.dir+"/empty", 0o711))
	for _, l := range [][2]string{{"l/1", "plain"}, {"l/2", "plain"}, {"l/" + long, long}, {"l/tick", "'single'"}} {
		require.NoError(t, os.MkdirAll(p.dir+"/l", 0o755))
		require.NoError(t, os.Link(p.dir+"/"+l[1], p.dir+"/"+l[0]))
	}
	require.NoError(t, os.Chtimes(p.dir+"/l", time.Time{}, time.Unix(1_500_000_000, 5)))
}

func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func TestSync(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "a", "one")
		src.write(t, "d/b", "two")
		src.write(t, "d/e/empty", "")
		src.write(t, "big", string(bytes.Repeat([]byte("0123456789abcdef"), 1<<16)))
		require.NoError(t, os.Mkdir(src.dir+"/emptydir", 0o751))
		require.NoError(t, os.Link(src.dir+"/d/b", src.dir+"/linked"))
		dst.write(t, "gone/x", "y")
		stats, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.Equal(t, src.snapshot(t), dst.snapshot(t))
		require.Equal(t, filesync.Stats{Files: 4, Bytes: 6 + 1<<20, Links: 1, LinkedBytes: 3, Dirs: 3, Deleted: 2, TotalFiles: 5, TotalBytes: 9 + 1<<20}, timeless(stats))
		stats, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.Equal(t, filesync.Stats{TotalFiles: 5, TotalBytes: 9 + 1<<20, SameFiles: 5, SameBytes: 9 + 1<<20}, timeless(stats), "nothing to do the second time")
	})
}

func TestSyncHostile(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		src.fill(t)
		_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.Equal(t, src.snapshot(t), dst.snapshot(t))

		stats, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.Equal(t, stats.TotalFiles, stats.SameFiles)
		require.Equal(t, filesync.Stats{TotalFiles: stats.TotalFiles, TotalBytes: stats.TotalBytes, SameFiles: stats.TotalFiles, SameBytes: stats.TotalBytes}, timeless(stats), "nothing to do the second time")

		require.NoError(t, os.RemoveAll(src.dir))
		require.NoError(t, os.Mkdir(src.dir, 0o755))
		_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.Empty(t, dst.names(t))
	})
}

func TestSyncLargeFile(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		content := make([]byte, 60<<20) // ends in zeros, as the end of a tar stream does
		for i := 0; i < 50<<20; i += 64 {
			content[i] = byte(i / 64 * 7)
		}
		require.NoError(t, os.WriteFile(src.dir+"/large", content, 0o600))
		src.write(t, "small", "after it")
		_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.Equal(t, src.snapshot(t), dst.snapshot(t))
	})
}

func TestSyncManyFiles(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		for i := range 10_000 { // more than a batch
			name := fmt.Sprintf("%s/msg/%d/%d-%d.msg", src.dir, i>>11, i, i+7)
			if i%2048 == 0 {
				require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
			}
			require.NoError(t, os.WriteFile(name, []byte(name), 0o640))
			if i%10 == 9 {
				require.NoError(t, os.Link(name, strings.Replace(name, ".msg", ".copy", 1)))
			}
		}
		var last filesync.Stats
		calls := 0
		stats, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Progress: func(s filesync.Stats) { last = s; calls++ }})
		require.NoError(t, err)
		require.EqualValues(t, 10_000, stats.Files)
		require.EqualValues(t, 1000, stats.Links)
		require.Equal(t, stats, last, "progress ends with the result")
		require.Less(t, calls, 200, "progress is throttled")
		require.Equal(t, src.snapshot(t), dst.snapshot(t))
	})
}

// TestBatches: a batch that is half full ends before a directory that is new, which so comes into the tree as a whole; one that is not goes on, and
// a large directory takes several. Whatever they are, the trees are equal.
func TestBatches(t *testing.T) {
	for _, c := range []struct{ dirs, files, batch, commands int }{
		{dirs: 6, files: 5, batch: 8, commands: 6},
		{dirs: 6, files: 3, batch: 8, commands: 3},  // two directories each
		{dirs: 2, files: 20, batch: 8, commands: 6}, // 8, 8 and 4 files of each
	} {
		dst, src := newPlace(t, remoteSide(t, 1)), newPlace(t, sides(t, 0)[0])
		for d := range c.dirs {
			for f := range c.files {
				src.write(t, fmt.Sprintf("d%d/%d", d, f), fmt.Sprint(d, f))
			}
		}
		puts := &puttingRunner{Runner: dial(t, lab.Shared(t).Stores[1])}
		to := filesync.Remote(puts, nil).Tree(dst.dir)
		stats, err := filesync.Sync(t.Context(), to, src.Tree, filesync.Options{}.WithBatches(c.batch))
		require.NoError(t, err)
		require.EqualValues(t, c.dirs*c.files, stats.Files)
		require.EqualValues(t, c.commands, puts.n.Load(), "%+v", c)
		require.Equal(t, src.snapshot(t), dst.snapshot(t))

		// Where the directories are there, they need not end a batch.
		for d := range c.dirs {
			src.write(t, fmt.Sprintf("d%d/more", d), "more")
		}
		puts.n.Store(0)
		_, err = filesync.Sync(t.Context(), to, src.Tree, filesync.Options{}.WithBatches(c.batch))
		require.NoError(t, err)
		require.EqualValues(t, 1, puts.n.Load())
		require.Equal(t, src.snapshot(t), dst.snapshot(t))
	}
}

// A puttingRunner counts the commands that receive a batch.
type puttingRunner struct {
	filesync.Runner
	n atomic.Int64
}

func (c *puttingRunner) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if strings.Contains(strings.Join(argv, " "), "stream cut short") {
		c.n.Add(1)
	}
	return c.Runner.Run(ctx, argv, stdin, stdout, stderr)
}

func TestSyncOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("only root can give files away: run this test as root")
	}
	pairs(t, func(t *testing.T, dst, src place) {
		require.NoError(t, os.Chown(dst.dir, 1501, 1502))
		src.write(t, "d/a", "one")
		_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		owned(t, dst, 1501, 1502, "d", "d/a")
		src.write(t, "e/b", "two")
		_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Owner: &filesync.Owner{UID: 3_000_000, GID: 7}})
		require.NoError(t, err)
		owned(t, dst, 3_000_000, 7, "e", "e/b")
	})
}

func owned(t *testing.T, p place, uid, gid int, names ...string) {
	t.Helper()
	for _, name := range names {
		fi, err := os.Lstat(p.dir + "/" + name)
		require.NoError(t, err)
		st := fi.Sys().(*syscall.Stat_t)
		require.Equal(t, [2]int{uid, gid}, [2]int{int(st.Uid), int(st.Gid)}, name)
	}
}

func TestSyncRepairsLinks(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		when := time.Unix(1_700_000_000, 0)
		for _, p := range []place{dst, src} {
			for _, name := range []string{"apart1", "apart2", "together1", "together2"} {
				p.write(t, name, "same")
				require.NoError(t, os.Chtimes(p.dir+"/"+name, when, when))
			}
		}
		relink := func(p place, a, b string) {
			require.NoError(t, os.Remove(p.dir+"/"+b))
			require.NoError(t, os.Link(p.dir+"/"+a, p.dir+"/"+b))
		}
		relink(src, "together1", "together2")
		relink(dst, "apart1", "apart2")
		stats, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.Files, "one of apart1 and apart2")
		require.EqualValues(t, 1, stats.Links)
		require.Equal(t, src.snapshot(t), dst.snapshot(t))
	})
}

// Many syncs at once, in both directions, over runners that let eight commands run: they wait for each other, and all come through.
func TestManyAtOnce(t *testing.T) {
	var hosts [2]filesync.Host
	var far [2]side
	for i := range hosts {
		far[i] = remoteSide(t, i)
		hosts[i] = filesync.Remote(&turnstile{dial(t, lab.Shared(t).Stores[i]), make(chan struct{}, 8)}, nil)
	}
	var g errgroup.Group
	for k := range 12 {
		src, dst := newPlace(t, far[k%2]), newPlace(t, far[1-k%2])
		if k%3 == 0 {
			dst = newPlace(t, far[k%2])
		}
		for i := range 30 {
			src.write(t, fmt.Sprintf("%d/%d", i%3, i), fmt.Sprint(k, i))
		}
		g.Go(func() error {
			to := hosts[1-k%2]
			if k%3 == 0 {
				to = hosts[k%2]
			}
			_, err := filesync.Sync(t.Context(), to.Tree(dst.dir), hosts[k%2].Tree(src.dir), nil)
			if err == nil && src.snapshot(t) != dst.snapshot(t) {
				err = fmt.Errorf("sync %d: the trees differ", k)
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
}

// A turnstile lets so many commands run at once.
type turnstile struct {
	filesync.Runner
	in chan struct{}
}

func (r *turnstile) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	r.in <- struct{}{}
	defer func() { <-r.in }()
	return r.Runner.Run(ctx, argv, stdin, stdout, stderr)
}
