package filesync_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
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
		p.write(t, "dir "+name+"/"+name[:min(len(name), 200)], strings.Repeat("x", i))
		if len(name) > 251 {
			t.Fatal(name)
		}
	}
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
		require.Equal(t, filesync.Stats{Files: 4, Bytes: 6 + 1<<20, Links: 1, Dirs: 3, Deleted: 2, TotalFiles: 5, TotalBytes: 9 + 1<<20}, stats)
		stats, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		require.NoError(t, err)
		require.Equal(t, filesync.Stats{TotalFiles: 5, TotalBytes: 9 + 1<<20}, stats, "nothing to do the second time")
	})
}
