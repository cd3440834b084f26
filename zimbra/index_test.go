package zimbra_test

import (
	"bytes"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// readsTree says whether a command reads files for a copy of the directory that ends so.
func readsTree(argv []string, dir string) bool {
	return len(argv) > 4 && strings.Contains(argv[2], "tar -c") && strings.HasSuffix(argv[4], dir)
}

// TestIndexOrder sees what is read of an index, and in which order: what says which files count comes last.
func TestIndexOrder(t *testing.T) {
	s := newSite(t, 0)
	var mu sync.Mutex
	var read [][]string
	s.runs[s.Stores[0].Host].input = func(argv []string, stdin io.Reader) io.Reader {
		if !readsTree(argv, "/index") {
			return stdin
		}
		input, err := io.ReadAll(stdin)
		if err != nil {
			t.Error(err)
		}
		var sizes [2]int // of the directories on the way, and of the names behind them
		for i := range sizes {
			if sizes[i], err = strconv.Atoi(argv[7+i]); err != nil { // sh -c SCRIPT filesync ROOT MARK CONTENT
				t.Error(err)
			}
		}
		names := input[sizes[0]:][:sizes[1]]
		mu.Lock()
		defer mu.Unlock()
		read = append(read, strings.FieldsFunc(string(names), func(r rune) bool { return r == 0 }))
		return bytes.NewReader(input)
	}
	p := s.plan(t, s.Stores[0], s.Stores[1])
	c := s.effects(t, p, "order")
	require.NoError(t, c.Fence.Claim(t.Context(), 1))
	to, err := c.Rows.Reserve(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Files.Make(t.Context(), to))
	st, err := c.Files.Index(t.Context())
	require.NoError(t, err)
	names := slices.Concat(read...)
	require.Len(t, names, int(st.Files))
	require.Greater(t, len(names), 3)
	last := names[len(names)-2:]
	require.True(t, strings.HasPrefix(path.Base(last[0]), "segments_"), "%v", names)
	require.Equal(t, "segments.gen", path.Base(last[1]))

	st, err = c.Files.Index(t.Context())
	require.NoError(t, err)
	require.Zero(t, st.Files, "nothing is copied twice")
}

// TestIndexChangesMeanwhile has a merge take a file away and bring another one while the index is copied. Presync takes it as it comes; the
// copy in the lock is made again until it is one of a moment.
func TestIndexChangesMeanwhile(t *testing.T) {
	s := newSite(t, 0)
	src := s.Stores[0]
	p := s.plan(t, src, s.Stores[1])
	c := s.effects(t, p, "merge")
	require.NoError(t, c.Fence.Claim(t.Context(), 1))
	to, err := c.Rows.Reserve(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Files.Make(t.Context(), to))
	index := indexOf(p.Source.Volumes, p.Source.Mailbox.IndexVolume, p.Source.Mailbox.ID)
	tree := filesync.Remote(s.runs[src.Host].Runner, nil).Tree(index)
	n := 0
	merge := func() {
		n++
		r := s.runs[src.Host]
		r.mu.Lock()
		defer r.mu.Unlock()
		r.match = func(argv []string) bool { return readsTree(argv, "/index") }
		r.before = func() {
			script := `cd "$1/0" && rm -f _merge* && echo "$2" > "_merge$2.cfs" && echo "$2" >> segments.gen && first=$(ls *.cfs *.fdt 2>/dev/null | grep -v _merge | head -n 1) && rm "$first"`
			if err := src.Run(t.Context(), []string{"sh", "-c", script, "sh", index, string(rune('a' + n))}, nil, nil); err != nil {
				t.Error(err)
			}
		}
	}
	merge()
	_, err = c.Files.Presync(t.Context())
	require.NoError(t, err)
	require.True(t, s.runs[src.Host].slept())
	require.NoError(t, filesync.WriteFile(t.Context(), tree, "0/_new.cfs", []byte("flushed"), false))
	merge()
	_, err = c.Files.Index(t.Context())
	require.NoError(t, err)
	require.True(t, s.runs[src.Host].slept())

	list := func(tree filesync.Tree) map[string]int64 {
		t.Helper()
		m := map[string]int64{}
		for e, err := range filesync.List(t.Context(), tree, nil) {
			require.NoError(t, err)
			if !e.IsDir() {
				m[e.Name] = e.Size
			}
		}
		return m
	}
	copied := filesync.Remote(s.runs[s.Stores[1].Host].Runner, nil).Tree(indexOf(p.Dest.Volumes, p.IndexVolume, to.ID))
	require.Equal(t, list(tree), list(copied))
	require.NotEmpty(t, list(copied))
}

func TestNoIndex(t *testing.T) {
	s := newSite(t, 0)
	a, err := s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: address("noindex"), Items: 25})
	require.NoError(t, err)
	p, err := s.mover.Plan(t.Context(), zimbra.Request{Account: a.Name, To: s.Stores[1].Host, Accept: []string{zimbra.CodeNoMailboxd}, NoIndex: true})
	require.NoError(t, err)
	mv, err := s.mover.Start(t.Context(), p)
	require.NoError(t, err)
	defer mv.Close()
	require.NoError(t, mv.Run(t.Context(), zimbra.PhaseFinish))
	r := mv.Report()
	require.NoError(t, s.Stores[1].CheckBlobs(t.Context(), uint32(r.MailboxTo)))
	_, err = filesync.Stat(t.Context(), filesync.Remote(s.runs[s.Stores[1].Host].Runner, nil).Tree(path.Dir(indexOf(p.Dest.Volumes, p.IndexVolume, r.MailboxTo))), "index")
	require.Error(t, err, "a directory that has no index in it would not be made one")
	require.Contains(t, strings.Join(r.Notes, "\n"), "zmprov rim "+a.Name+" start")
}

// indexOf is where a mailbox's index lies.
func indexOf(volumes []mboxdb.Volume, id mboxdb.VolumeID, mailbox mboxdb.MailboxID) string {
	for _, v := range volumes {
		if v.ID == id {
			return path.Join(v.Path, v.MailboxDir(mailbox), "index")
		}
	}
	return ""
}
