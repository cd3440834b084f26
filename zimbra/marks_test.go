package zimbra_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// These tests are about movers that sleep for so long that others act in their place: the directories of the reserved id must end up as
// those others left them.

const markName = ".zmlift-move"

// sleep has f happen before the test's first command that matches.
func (r *runner) sleep(t *testing.T, match func(args []string) bool, f func()) {
	const args = 7 // sh -c SCRIPT filesync ROOT MARK CONTENT
	set := func(match func(argv []string) bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.match, r.before = match, f
	}
	set(func(argv []string) bool { return len(argv) > args && match(argv[args:]) })
	t.Cleanup(func() { set(nil) })
}

// slept says whether that has happened.
func (r *runner) slept() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.match == nil
}

// The commands before which a mover sleeps.
func makesDir(args []string) bool { return len(args) == 1 && strings.Contains(args[0], "/") }

func writesMark(args []string) bool { return args[0] == markName && len(args) == 4 }

func removesDir(args []string) bool {
	return strings.Contains(args[0], "/") && len(args) == 2 && strings.Contains(args[1], "-removed-")
}

// A marked is a site, and the plan of an account whose moves these tests make.
type marked struct {
	*site
	p    *zimbra.Plan
	dest *runner
	id   mboxdb.MailboxID // reserved
}

// another is the same for an account of its own.
func (m *marked) another() *marked {
	p, mailbox := *m.p, *m.p.Source.Mailbox
	p.Account.ID = strings.ToLower(rand.Text())
	mailbox.AccountID = p.Account.ID
	p.Source.Mailbox = &mailbox
	return &marked{site: m.site, p: &p, dest: m.dest}
}

func newMarked(t *testing.T) *marked {
	s := newSite(t, 0)
	return &marked{site: s, p: s.plan(t, s.Stores[0], s.Stores[1]), dest: s.runs[s.Stores[1].Host]}
}

// A run is one run of a move.
type run struct {
	*zimbra.Copy
	to zimbra.Reservation
}

// run begins one.
func (m *marked) run(t *testing.T, move string, fence uint64) run {
	t.Helper()
	c := m.effects(t, m.p, move)
	require.NoError(t, c.Fence.Claim(t.Context(), fence))
	to, err := c.Rows.Reserve(t.Context())
	require.NoError(t, err)
	require.True(t, m.id == 0 || m.id == to.ID, "the account keeps its reserved id")
	m.id = to.ID
	return run{c, to}
}

func (r run) make(t *testing.T) {
	t.Helper()
	require.NoError(t, r.Files.Make(t.Context(), r.to))
}

// rollBack rolls the run's move back.
func (r run) rollBack(t *testing.T) {
	t.Helper()
	require.NoError(t, r.Rows.Remove(t.Context(), zimbra.Undo{}))
	require.NoError(t, r.Files.Remove(t.Context(), r.to))
	require.NoError(t, r.Fence.End(t.Context()))
}

// trees are the directories of the reserved id.
func (m *marked) trees() []filesync.Tree {
	var ts []filesync.Tree
	for _, v := range m.p.Dest.Volumes {
		if v.ID == m.p.IndexVolume || slices.Contains(slices.Collect(maps.Values(m.p.Volumes)), v.ID) {
			ts = append(ts, filesync.Remote(m.dest.Runner, nil).Tree(v.Path+"/"+v.MailboxDir(m.id)))
		}
	}
	return ts
}

// put puts a file into each directory.
func (m *marked) put(t *testing.T, name, content string) {
	t.Helper()
	for _, tree := range m.trees() {
		require.NoError(t, filesync.WriteFile(t.Context(), tree, name, []byte(content), false))
	}
}

// have requires that each directory has the file with that content; "" is no such file.
func (m *marked) have(t *testing.T, name, content string) {
	t.Helper()
	for _, tree := range m.trees() {
		b, err := filesync.ReadFile(t.Context(), tree, name, 1000)
		if content == "" {
			require.ErrorIs(t, err, fs.ErrNotExist, "%s in %s: %s", name, tree, b)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, content, string(b), "%s in %s", name, tree)
	}
}

// inService is the account's next move, to its end: from then on the directories are mailboxd's.
func (m *marked) inService(t *testing.T, move string, fence uint64) {
	t.Helper()
	r := m.run(t, move, fence)
	r.make(t)
	require.NoError(t, r.Files.Unmark(t.Context()))
	require.NoError(t, r.Fence.End(t.Context()))
	m.put(t, "mail", "of the user")
}

func TestMakeAsleep(t *testing.T) {
	all := newMarked(t)
	before := map[string]func([]string) bool{"before a directory is made": makesDir, "before a mark is written": writesMark}
	for at, match := range before {
		t.Run(at, func(t *testing.T) {
			t.Run("rolled back", func(t *testing.T) {
				m := all.another()
				r := m.run(t, "x", 1)
				m.dest.sleep(t, match, func() { m.run(t, "x", 2).rollBack(t) })
				require.ErrorIs(t, r.Files.Make(t.Context(), r.to), zimbra.ErrFenced)
				require.True(t, m.dest.slept())
				m.have(t, markName, "")
				m.run(t, "y", 3).make(t)
				m.have(t, markName, "y 3\n")
			})
			t.Run("another move under way", func(t *testing.T) {
				m := all.another()
				r := m.run(t, "x", 1)
				m.dest.sleep(t, match, func() {
					m.run(t, "x", 2).rollBack(t)
					m.run(t, "y", 3).make(t)
					m.put(t, "mail", "copied")
				})
				require.ErrorIs(t, r.Files.Make(t.Context(), r.to), zimbra.ErrFenced)
				require.True(t, m.dest.slept())
				m.have(t, markName, "y 3\n")
				m.have(t, "mail", "copied")
			})
			t.Run("another move in service", func(t *testing.T) {
				m := all.another()
				r := m.run(t, "x", 1)
				m.dest.sleep(t, match, func() {
					m.run(t, "x", 2).rollBack(t)
					m.inService(t, "y", 3)
				})
				require.ErrorIs(t, r.Files.Make(t.Context(), r.to), zimbra.ErrFenced)
				require.True(t, m.dest.slept())
				m.have(t, markName, "")
				m.have(t, "mail", "of the user")
			})
		})
	}
}

// A late mark in the place of a newer one is a mark all the same: whoever is at it makes the directories its own again.
func TestMarkOverwrittenAsleep(t *testing.T) {
	all := newMarked(t)
	for _, next := range []string{"x", "y"} {
		t.Run(next, func(t *testing.T) {
			m := all.another()
			m.run(t, "x", 1).make(t)
			r := m.run(t, "x", 2)
			m.dest.sleep(t, writesMark, func() {
				if next != "x" {
					m.run(t, "x", 3).rollBack(t)
				}
				m.run(t, next, 4).make(t)
			})
			require.ErrorIs(t, r.Files.Make(t.Context(), r.to), zimbra.ErrFenced)
			require.True(t, m.dest.slept())
			m.run(t, next, 5).make(t)
			m.have(t, markName, next+" 5\n")
		})
	}
}

// When that mover is done, the directories are mailboxd's, and no mark is left in them.
func TestMarkWrittenLate(t *testing.T) {
	m := newMarked(t)
	m.run(t, "x", 1).make(t)
	r := m.run(t, "x", 2)
	m.dest.sleep(t, writesMark, func() {
		m.run(t, "x", 3).rollBack(t)
		m.inService(t, "y", 4)
	})
	require.ErrorIs(t, r.Files.Make(t.Context(), r.to), zimbra.ErrFenced)
	require.True(t, m.dest.slept())
	m.have(t, markName, "")
	m.have(t, "mail", "of the user")
}

// A rollback that sleeps before it removes a directory must not remove the one that a later move brought into service.
func TestRemoveAsleep(t *testing.T) {
	all := newMarked(t)
	for _, c := range []struct {
		name   string
		empty  bool // as a crash leaves it
		before func([]string) bool
	}{
		{"marked, before the removal", false, removesDir},
		{"empty, before the mark", true, writesMark},
		{"empty, before the removal", true, removesDir},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := all.another()
			r := m.run(t, "x", 1)
			r.make(t)
			if c.empty {
				require.NoError(t, r.Files.Unmark(t.Context()))
			}
			m.dest.sleep(t, c.before, func() {
				m.run(t, "x", 2).rollBack(t)
				m.inService(t, "y", 3)
			})
			err := r.Files.Remove(t.Context(), r.to)
			require.True(t, m.dest.slept())
			m.have(t, "mail", "of the user")
			m.have(t, markName, "")
			require.ErrorIs(t, err, zimbra.ErrFenced)
		})
	}
}

// The directory of an ended move under the account's reserved id, with that move's mark still in it, is made anew.
func TestStaleMark(t *testing.T) {
	all := newMarked(t)
	m := all.another()
	r := m.run(t, "x", 1)
	r.make(t)
	m.put(t, "mail", "of an ended move")
	require.NoError(t, r.Fence.End(t.Context()))
	m.run(t, "y", 2).make(t)
	m.have(t, markName, "y 2\n")
	m.have(t, "mail", "")

	for name, mark := range map[string]string{"no move's": "hands off\n", "no fence": "x\n", "cut short": "x 1", "two lines": "x 1\ny 2\n", "none": ""} {
		t.Run(name, func(t *testing.T) {
			m := all.another()
			r := m.run(t, "x", 1)
			r.make(t)
			m.put(t, "mail", "whose?")
			require.NoError(t, r.Files.Unmark(t.Context()))
			if mark != "" {
				m.put(t, markName, mark)
			}
			require.NoError(t, r.Fence.End(t.Context()))
			y := m.run(t, "y", 2)
			require.Error(t, y.Files.Make(t.Context(), y.to))
			m.have(t, markName, mark)
			m.have(t, "mail", "whose?")
		})
	}
}

var errCut = errors.New("the connection is gone")

// cut has removals of anything that is called base come only so far as to rename it, until the function it returns is called.
func (m *marked) cut(t *testing.T, base string) (mend func()) {
	const root, name, stage = 4, 7, 8 // sh -c SCRIPT filesync ROOT MARK CONTENT NAME STAGE
	m.dest.answer = func(argv []string) (string, error, bool) {
		if len(argv) != stage+1 || path.Base(argv[name]) != base || !strings.Contains(argv[stage], "-removed-") {
			return "", nil, false
		}
		mv := []string{"mv", "-T", argv[root] + "/" + argv[name], argv[root] + "/" + argv[stage]}
		require.NoError(t, m.dest.Runner.Run(t.Context(), mv, strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)))
		return "", errCut, true
	}
	mend = func() { m.dest.answer = nil }
	t.Cleanup(mend)
	return mend
}

// rests are what removals left on the volumes that the move uses.
func (m *marked) rests(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	for _, v := range m.p.Dest.Volumes {
		require.NoError(t, m.dest.Runner.Run(t.Context(), []string{"find", v.Path, "-name", ".filesync-*"}, strings.NewReader(""), &out, &out))
	}
	return out.String()
}

// A removal that was cut short is gone on with by the next run and by a rollback, also where somebody made the directory again meanwhile.
func TestRemovalCutShort(t *testing.T) {
	all := newMarked(t)
	stale := func(t *testing.T) *marked {
		m := all.another()
		x := m.run(t, "x", 1)
		x.make(t)
		m.put(t, "mail", "of an ended move")
		require.NoError(t, x.Fence.End(t.Context()))
		y := m.run(t, "y", 2)
		mend := m.cut(t, m.id.String())
		require.ErrorIs(t, y.Files.Make(t.Context(), y.to), errCut)
		mend()
		require.NotEmpty(t, m.rests(t))
		return m
	}
	again := func(t *testing.T, m *marked) {
		tree := m.trees()[0]
		require.NoError(t, filesync.Mkdir(t.Context(), filesync.Remote(m.dest.Runner, nil).Tree(path.Dir(tree.String())), path.Base(tree.String())))
	}
	for name, meanwhile := range map[string]func(*testing.T, *marked){"nothing": func(*testing.T, *marked) {}, "made again": again} {
		t.Run(name, func(t *testing.T) {
			t.Run("next run", func(t *testing.T) {
				m := stale(t)
				meanwhile(t, m)
				m.run(t, "y", 3).make(t)
				require.Empty(t, m.rests(t))
				m.have(t, markName, "y 3\n")
				m.have(t, "mail", "")
			})
			t.Run("rollback", func(t *testing.T) {
				m := stale(t)
				meanwhile(t, m)
				m.run(t, "y", 3).rollBack(t)
				require.Empty(t, m.rests(t))
				// What the removal did not come to has the mark of another move still: its next run removes it.
				m.run(t, "z", 4).make(t)
				m.have(t, markName, "z 4\n")
				m.have(t, "mail", "")
			})
		})
	}
	t.Run("a mark", func(t *testing.T) {
		m := all.another()
		x := m.run(t, "x", 1)
		x.make(t)
		mend := m.cut(t, markName)
		require.ErrorIs(t, x.Files.Unmark(t.Context()), errCut)
		mend()
		require.NotEmpty(t, m.rests(t))
		require.NoError(t, x.Files.Unmark(t.Context()))
		require.Empty(t, m.rests(t))
		m.have(t, markName, "")
	})
}

// A rollback takes away the level for the server id, if nobody has anything there.
func TestLevelRemoved(t *testing.T) {
	all := newMarked(t)
	leveled := func() *marked {
		m := all.another()
		m.p.Dest.BlobDir = strings.ToLower(rand.Text())
		m.p.Dest.Volumes = slices.Clone(m.p.Dest.Volumes)
		for i, v := range m.p.Dest.Volumes {
			m.p.Dest.Volumes[i].Path = path.Join(v.Path, m.p.Dest.BlobDir)
		}
		return m
	}
	levels := func(t *testing.T, m *marked) (there int) {
		t.Helper()
		for _, v := range m.p.Dest.Volumes {
			_, err := filesync.Stat(t.Context(), filesync.Remote(m.dest.Runner, nil).Tree(path.Dir(v.Path)), m.p.Dest.BlobDir)
			if err == nil {
				there++
			} else {
				require.ErrorIs(t, err, fs.ErrNotExist)
			}
		}
		return there
	}
	t.Run("empty", func(t *testing.T) {
		m := leveled()
		r := m.run(t, "x", 1)
		r.make(t)
		m.put(t, "mail", "copied")
		require.Equal(t, len(m.trees()), levels(t, m))
		require.NoError(t, r.Files.Remove(t.Context(), r.to))
		require.Zero(t, levels(t, m))
		r.rollBack(t) // once more
		require.Zero(t, levels(t, m))
		m.run(t, "y", 2).make(t)
	})
	t.Run("never made", func(t *testing.T) {
		m := leveled()
		m.run(t, "x", 1).rollBack(t)
		require.Zero(t, levels(t, m))
	})
	t.Run("another's", func(t *testing.T) {
		m := leveled()
		r := m.run(t, "x", 1)
		r.make(t)
		for _, tree := range m.trees() {
			group := filesync.Remote(m.dest.Runner, nil).Tree(path.Dir(tree.String()))
			require.NoError(t, filesync.Mkdir(t.Context(), group, "another's"))
		}
		r.rollBack(t)
		for _, tree := range m.trees() {
			_, err := filesync.Stat(t.Context(), filesync.Remote(m.dest.Runner, nil).Tree(path.Dir(tree.String())), "another's")
			require.NoError(t, err)
		}
		m.have(t, markName, "")
	})
}

// Where the account has a mailbox, its directories stay, whatever mark is in them.
func TestStaleMarkOfAMailbox(t *testing.T) {
	m := newMarked(t)
	r := m.run(t, "x", 1)
	r.make(t)
	m.put(t, "mail", "of the user")
	_, err := r.Rows.Load(t.Context())
	require.NoError(t, err)
	_, err = r.Rows.Publish(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Fence.End(t.Context()))
	y := m.run(t, "y", 2)
	require.ErrorIs(t, y.Files.Make(t.Context(), y.to), zimbra.ErrUndecided)
	m.have(t, markName, "x 1\n")
	m.have(t, "mail", "of the user")
	require.NoError(t, y.Files.Unmark(t.Context()))
	m.have(t, markName, "")
}
