package zimbra_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// A differing is an account of many blobs, on the way from one store to the other.
type differing struct {
	*marked
	run
	a     *lab.Account
	named atomic.Int64 // how many names the stores' commands were given
}

func newDiffering(t *testing.T, name string) *differing {
	t.Helper()
	s := newSite(t, 0)
	d := &differing{}
	for _, r := range s.runs {
		r.input = func(_ []string, stdin io.Reader) io.Reader { return &nulCounter{stdin, &d.named} }
	}
	var err error
	d.a, err = s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: address(name), Items: 100})
	require.NoError(t, err)
	p, err := s.mover.Plan(t.Context(), zimbra.Request{Account: d.a.Name, To: s.Stores[1].Host, Accept: []string{zimbra.CodeNoMailboxd}})
	require.NoError(t, err)
	d.marked = &marked{site: s, p: p, dest: s.runs[s.Stores[1].Host]}
	d.run = d.marked.run(t, "x", 1)
	d.run.make(t)
	return d
}

// A nulCounter counts names, which end with a NUL where a command reads them. Content has none that follow a ./ name.
type nulCounter struct {
	io.Reader
	n *atomic.Int64
}

func (c *nulCounter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if bytes.HasPrefix(p[:n], []byte("./")) && !bytes.Contains(p[:n], []byte("ustar")) {
		c.n.Add(int64(bytes.Count(p[:n], []byte{0})))
	}
	return n, err
}

// before has f happen before the first command at the destination whose script matches.
func (d *differing) before(match func(script string) bool, f func()) {
	d.dest.mu.Lock()
	defer d.dest.mu.Unlock()
	d.dest.match, d.dest.before = func(argv []string) bool { return len(argv) > 2 && match(argv[2]) }, f
}

// listsAll says whether a script lists a tree.
func listsAll(script string) bool {
	return strings.Contains(script, "-prune -o -printf") && !strings.Contains(script, "rm -rf")
}

// same demands that the destination has what the source's rows name, each with its digest, and no other blob.
func (d *differing) same(t *testing.T) {
	t.Helper()
	_, err := d.Files.Check(t.Context())
	require.NoError(t, err)
	blobs, err := d.a.Blobs(t.Context())
	require.NoError(t, err)
	want := map[string]bool{}
	for _, b := range blobs {
		want[fmt.Sprint(b.ItemID, "-", b.ModContent)] = true
	}
	got := map[string]bool{}
	for _, tree := range d.trees() {
		var out strings.Builder
		require.NoError(t, d.Stores[1].Run(t.Context(), []string{"sh", "-c", `cd "$1" && find . -name "*.msg" -printf "%f\n"`, "sh", tree.String()}, nil, &out))
		for _, name := range strings.Fields(out.String()) {
			got[strings.TrimSuffix(name, ".msg")] = true
		}
	}
	require.Equal(t, want, got)
}

// atDest is where the destination has a blob.
func (d *differing) atDest(t *testing.T, b lab.Blob) string {
	t.Helper()
	to := d.p.Volumes[mboxdb.VolumeID(b.VolumeID)]
	i := slices.IndexFunc(d.p.Dest.Volumes, func(v mboxdb.Volume) bool { return v.ID == to })
	v := d.p.Dest.Volumes[i]
	return v.Path + "/" + v.MailboxDir(d.id) + "/" + v.BlobName(b.ItemID, b.ModContent)
}

// link copies an item as mailboxd does: there is another row, and the same file.
func (d *differing) link(t *testing.T, of lab.Blob) lab.Blob {
	t.Helper()
	conn, err := d.Stores[0].RootDB(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	table := lab.GroupDatabase(d.a.Group) + ".mail_item"
	to := of
	to.ItemID = 100_000
	for _, stmt := range []string{
		"SET SESSION foreign_key_checks = 0",
		fmt.Sprintf("CREATE TEMPORARY TABLE zimbra.copied AS SELECT * FROM %s WHERE mailbox_id = %d AND id = %d", table, d.a.MailboxID, of.ItemID),
		fmt.Sprintf("UPDATE zimbra.copied SET id = %d", to.ItemID),
		fmt.Sprintf("INSERT INTO %s SELECT * FROM zimbra.copied", table),
	} {
		_, err := conn.ExecContext(t.Context(), stmt)
		require.NoError(t, err, stmt)
	}
	i := slices.IndexFunc(d.p.Source.Volumes, func(v mboxdb.Volume) bool { return int(v.ID) == of.VolumeID })
	v := d.p.Source.Volumes[i]
	to.File = v.MailboxDir(mboxdb.MailboxID(d.a.MailboxID)) + "/" + v.BlobName(to.ItemID, to.ModContent)
	require.NoError(t, d.Stores[0].Run(t.Context(), []string{"sh", "-c", `mkdir -p "${2%/*}" && ln "$1" "$2"`, "sh", of.Path(), to.Path()}, nil, nil))
	return to
}

// inode is that of a file at the destination.
func (d *differing) inode(t *testing.T, file string) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, d.Stores[1].Run(t.Context(), []string{"stat", "-c", "%i", file}, nil, &out))
	return out.String()
}

// TestCopyDifference: after a pass before the lock, the pass in it asks for no file that this one has proven, however many there are; and it
// finds what came, what went, and what is one file under a second name.
func TestCopyDifference(t *testing.T) {
	d := newDiffering(t, "difference")
	var forced, listed []int
	n := 0
	d.before(func(script string) bool {
		n++
		if strings.HasSuffix(script, "sync;; esac") {
			forced = append(forced, n)
		} else if listsAll(script) {
			listed = append(listed, n)
		}
		return false
	}, nil)
	_, err := d.Files.Presync(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, forced)
	after := slices.DeleteFunc(listed, func(n int) bool { return n < slices.Max(forced) })
	require.GreaterOrEqual(t, len(after), len(d.trees()), "what is found is on disk before")

	d.named.Store(0)
	st, err := d.Files.Copy(t.Context())
	require.NoError(t, err)
	require.Zero(t, st.Files)
	_, err = d.Files.Check(t.Context())
	require.NoError(t, err)
	require.Zero(t, d.named.Load(), "names asked for, when nothing changed")

	blobs, err := d.a.Blobs(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(blobs), 80)
	rows := map[uint32]int{}
	for _, b := range blobs {
		rows[b.ItemID]++
	}
	deletes(t, d.a, blobs[slices.IndexFunc(blobs, func(b lab.Blob) bool { return rows[b.ItemID] == 1 })])
	require.NoError(t, d.a.Deliver(t.Context()))
	of := blobs[len(blobs)/3]
	require.Equal(t, "mail_item", of.Table)
	link := d.link(t, of)

	d.named.Store(0)
	st, err = d.Files.Copy(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, st.Files)
	require.EqualValues(t, 1, st.Deleted)
	require.Less(t, d.named.Load(), int64(40), "names asked for, and directories on the way, when 3 of %d changed", len(blobs))
	require.Equal(t, d.inode(t, d.atDest(t, of)), d.inode(t, d.atDest(t, link)), "the two names of one file")
	d.same(t)
}

// TestCopyDifferenceNotTrusted: what a pass before the lock found out counts no more when that pass was not the last one, failed, or was in
// directories that are no more.
func TestCopyDifferenceNotTrusted(t *testing.T) {
	d := newDiffering(t, "nottrusted")
	blobs, err := d.a.Blobs(t.Context())
	require.NoError(t, err)
	lose := func(b lab.Blob) {
		t.Helper()
		require.NoError(t, d.Stores[1].Run(t.Context(), []string{"rm", d.atDest(t, b)}, nil, nil))
	}
	_, err = d.Files.Copy(t.Context())
	require.NoError(t, err, "without any pass before")
	d.same(t)

	_, err = d.Files.Presync(t.Context())
	require.NoError(t, err)
	d.before(listsAll, func() { lose(blobs[0]) })
	_, err = d.Files.Presync(t.Context())
	require.NoError(t, err)
	require.True(t, d.dest.slept())
	st, err := d.Files.Copy(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Files)
	d.same(t)

	// A pass that is cut short. The next one in the lock looks at every file.
	ctx, cancel := context.WithCancel(t.Context())
	d.before(listsAll, cancel)
	_, err = d.Files.Presync(ctx)
	require.ErrorIs(t, err, context.Canceled)
	lose(blobs[1])
	st, err = d.Files.Copy(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Files)
	d.same(t)

	// Another run removed the directories, and made them anew.
	_, err = d.Files.Presync(t.Context())
	require.NoError(t, err)
	other := d.marked.run(t, "x", 2)
	require.NoError(t, other.Files.Remove(t.Context(), other.to))
	other.make(t)
	_, err = d.Files.Copy(t.Context())
	require.ErrorIs(t, err, zimbra.ErrFenced, "with nothing to copy")
	require.NoError(t, d.Fence.Claim(t.Context(), 3))
	d.run.make(t)
	st, err = d.Files.Copy(t.Context())
	require.NoError(t, err)
	require.Equal(t, st.Total, st.Files, "all of them")
	d.same(t)
}

// TestCheckEveryRow: two rows that name one file, and say different things of it, are compared with it each for itself.
func TestCheckEveryRow(t *testing.T) {
	d := newDiffering(t, "everyrow")
	blobs, err := d.a.Blobs(t.Context())
	require.NoError(t, err)
	i := slices.IndexFunc(blobs, func(b lab.Blob) bool { return b.Table == "mail_item" && b.Digest != "" })
	j := slices.IndexFunc(blobs, func(b lab.Blob) bool { return b.Digest != "" && b.Digest != blobs[i].Digest })
	conn, err := d.Stores[0].RootDB(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	table := lab.GroupDatabase(d.a.Group) + ".revision"
	_, err = conn.ExecContext(t.Context(), "SET SESSION foreign_key_checks = 0")
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "INSERT INTO "+table+" (mailbox_id, item_id, version, date, size, locator, blob_digest, mod_metadata, change_date, mod_content)"+
		" VALUES (?, ?, 900, 1500000000, ?, ?, ?, 1, 1600000000, ?)", d.a.MailboxID, blobs[i].ItemID, blobs[i].Size, fmt.Sprint(blobs[i].VolumeID), blobs[j].Digest, blobs[i].ModContent)
	require.NoError(t, err)
	_, err = d.Files.Presync(t.Context())
	bad := []zimbra.BadBlob{{Path: d.atDest(t, blobs[i]), Why: zimbra.BadDigest}}
	for range 2 {
		var wrong *zimbra.BlobError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, bad, wrong.Bad)
		_, err = d.Files.Check(t.Context())
	}
	_, err = conn.ExecContext(t.Context(), "DELETE FROM "+table+" WHERE mailbox_id = ? AND version = 900", d.a.MailboxID)
	require.NoError(t, err)
	_, err = d.Files.Check(t.Context())
	require.NoError(t, err)
}
