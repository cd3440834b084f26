package filesync_test

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
)

func items(pairs ...string) iter.Seq2[filesync.Item, error] {
	return func(yield func(filesync.Item, error) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(filesync.Item{From: pairs[i], To: pairs[i+1]}, nil) {
				return
			}
		}
	}
}

// timeless are stats that are the same in every run.
func timeless(s filesync.Stats) filesync.Stats {
	s.Elapsed = 0
	return s
}

func TestSyncList(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "0/1-1.msg", "one")
		src.write(t, "0/2-2.msg", "two")
		src.write(t, "1/unreferenced.msg", "stays behind")
		dst.write(t, "0/0-0.msg", "of an earlier pass")
		list := items("0/1-1.msg", "7/1-1.msg", "0/2-2.msg", "8/9/2-2.msg")
		stats, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, list, nil)
		require.NoError(t, err)
		require.Equal(t, filesync.Stats{Files: 2, Bytes: 6, Dirs: 3, TotalFiles: 2, TotalBytes: 6}, timeless(stats))
		require.Equal(t, []string{"0", "0/0-0.msg", "7", "7/1-1.msg", "8", "8/9", "8/9/2-2.msg"}, dst.names(t))
		require.Equal(t, "two", dst.read(t, "8/9/2-2.msg"))

		stats, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, list, &filesync.Options{Delete: true})
		require.NoError(t, err)
		require.Equal(t, filesync.Stats{Deleted: 2, TotalFiles: 2, TotalBytes: 6, SameFiles: 2, SameBytes: 6}, timeless(stats))
		require.Equal(t, []string{"7", "7/1-1.msg", "8", "8/9", "8/9/2-2.msg"}, dst.names(t))
	})
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	fa, err := os.Lstat(a)
	require.NoError(t, err)
	fb, err := os.Lstat(b)
	require.NoError(t, err)
	return os.SameFile(fa, fb)
}

func TestSyncListMissing(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "a", "one")
		list := items("gone", "d/gone", "a", "a", "no/such/dir", "e/x")
		_, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, list, nil)
		var missing *filesync.MissingError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, filesync.Item{From: "gone", To: "d/gone"}, missing.Item)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Empty(t, dst.names(t))

		var asked []string
		stats, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, list,
			&filesync.Options{Missing: func(it filesync.Item) bool { asked = append(asked, it.From); return true }})
		require.NoError(t, err)
		require.Equal(t, []string{"gone", "no/such/dir"}, asked)
		require.EqualValues(t, 2, stats.Missing)
		require.Equal(t, []string{"a"}, dst.names(t))
	})
}

// A long list is looked at in pieces. What one of them marks for deletion another must not want, and then nothing is deleted.
func TestSyncListMarksAcrossPieces(t *testing.T) {
	local := sides(t, 0)[0]
	dst, src := newPlace(t, local), newPlace(t, local)
	dst.write(t, "wanted", "x")
	dst.write(t, "old", "x")
	many := func(first, last filesync.Item) iter.Seq2[filesync.Item, error] {
		return func(yield func(filesync.Item, error) bool) {
			for i := range 10_000 {
				it := filesync.Item{To: fmt.Sprint("not there ", i), Delete: true}
				if i == 0 {
					it = first
				} else if i == 9_999 {
					it = last
				}
				if !yield(it, nil) {
					return
				}
			}
		}
	}
	mark, want := filesync.Item{To: "wanted", Delete: true}, filesync.Item{From: "a", To: "wanted"}
	opts := &filesync.Options{Missing: func(filesync.Item) bool { return true }}
	for _, list := range []iter.Seq2[filesync.Item, error]{many(mark, want), many(want, mark)} {
		var name *filesync.NameError
		_, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, list, opts)
		require.ErrorAs(t, err, &name)
		require.Equal(t, []string{"old", "wanted"}, dst.names(t))
	}
	old := filesync.Item{To: "old", Delete: true}
	stats, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, many(old, old), opts)
	require.NoError(t, err)
	require.EqualValues(t, 1, stats.Deleted)
	require.Equal(t, []string{"wanted"}, dst.names(t))
}

func TestSyncListTimes(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "a", "new")
		dst.write(t, "a", "old")
		require.NoError(t, os.Chtimes(dst.dir+"/a", time.Time{}, time.Unix(1_700_000_000, 0)))
		_, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, items("a", "a"), nil)
		require.NoError(t, err)
		require.Equal(t, "old", dst.read(t, "a"), "same size is enough where files never change")
		_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, items("a", "a"), &filesync.Options{Mutable: true})
		require.NoError(t, err)
		require.Equal(t, "new", dst.read(t, "a"))
	})
}

func TestSyncListStopsAtErrors(t *testing.T) {
	broken := errors.New("the query was killed")
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "a", "one")
		dst.write(t, "b", "would be deleted")
		_, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, func(yield func(filesync.Item, error) bool) {
			_ = yield(filesync.Item{From: "a", To: "a"}, nil) && yield(filesync.Item{}, broken)
		}, &filesync.Options{Delete: true})
		require.ErrorIs(t, err, broken)
		require.Contains(t, dst.names(t), "b")

		_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, items("a", "c", "b", "c"), nil)
		var name *filesync.NameError
		require.ErrorAs(t, err, &name, "two files, one name")
	})
}

// Names that lead out of a tree are refused before anything is done with them.
func TestNames(t *testing.T) {
	bad := []string{"", ".", "..", "../x", "a/../../x", "a/..", "/etc/passwd", "a//b", "a/", "./a", "nul\x00", ".filesync-x/y"}
	pairs(t, func(t *testing.T, dst, src place) {
		src.write(t, "ok", "x")
		for _, n := range bad {
			for _, it := range [][2]string{{n, "ok"}, {"ok", n}} {
				_, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, items(it[0], it[1]), nil)
				var name *filesync.NameError
				require.ErrorAs(t, err, &name, "%q", it)
			}
			var name *filesync.NameError
			require.ErrorAs(t, filesync.Remove(t.Context(), dst.Tree, n, nil), &name, "%q", n)
			require.ErrorAs(t, filesync.Mkdir(t.Context(), dst.Tree, n), &name, "%q", n)
			require.ErrorAs(t, filesync.WriteFile(t.Context(), dst.Tree, n, nil, false), &name, "%q", n)
			_, err := filesync.ReadFile(t.Context(), dst.Tree, n, 10)
			require.ErrorAs(t, err, &name, "%q", n)
		}
		require.Empty(t, dst.names(t))
	})
}

// A symlink is never followed, on either side, wherever it stands, and nothing beyond it changes.
func TestSymlinks(t *testing.T) {
	pairs(t, func(t *testing.T, dst, src place) {
		outside := dst.dir + "-outside"
		require.NoError(t, os.MkdirAll(outside, 0o755))
		t.Cleanup(func() { os.RemoveAll(outside) })
		require.NoError(t, os.WriteFile(outside+"/f", []byte("not ours"), 0o600))
		refused := func(err error) {
			t.Helper()
			require.Error(t, err)
			require.Contains(t, err.Error(), "link")
			entries, rerr := os.ReadDir(outside)
			require.NoError(t, rerr)
			require.Len(t, entries, 1)
			b, rerr := os.ReadFile(outside + "/f")
			require.NoError(t, rerr)
			require.Equal(t, "not ours", string(b))
		}
		src.write(t, "sub/f", "1")
		src.write(t, "sub/g", "2")
		require.NoError(t, os.Symlink(outside, dst.dir+"/sub"))
		_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		refused(err)
		_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, items("sub/g", "sub/g"), nil)
		refused(err)
		refused(filesync.Remove(t.Context(), dst.Tree, "sub/f", nil))
		refused(filesync.Mkdir(t.Context(), dst.Tree, "sub/d"))
		refused(filesync.WriteFile(t.Context(), dst.Tree, "sub/f", []byte("x"), false))
		_, err = filesync.ReadFile(t.Context(), dst.Tree, "sub/f", 100)
		refused(err)
		_, err = filesync.Stat(t.Context(), dst.Tree, "sub/f")
		refused(err)
		for _, err := range filesync.Check(t.Context(), dst.Tree, wants(filesync.Want{Name: "sub/f", Size: 8}), nil) {
			refused(err)
		}
		var kind *filesync.FileTypeError
		for _, err := range filesync.List(t.Context(), dst.Tree, nil) {
			refused(err)
			require.ErrorAs(t, err, &kind)
			require.Equal(t, dst.dir+"/sub", kind.Path)
		}
		require.NoError(t, filesync.Remove(t.Context(), dst.Tree, "sub", nil), "the link itself")
		refused(errors.New("link"))

		require.NoError(t, os.Symlink(outside+"/f", src.dir+"/sub/link"))
		_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, nil)
		refused(err)
		_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, items("sub/link", "x"), nil)
		refused(err)
		require.NoError(t, os.Symlink(outside, src.dir+"/dirlink"))
		_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, items("dirlink/f", "x"), nil)
		refused(err)
	})
}
