package mboxdb_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

var kinds = []string{"mailbox.sql", "mailbox.sql.gz", "mailbox.sql.zst"}

// restoring are the options of a restore with the move's id and map.
func (m *move) restoring(change ...func(*mboxdb.RestoreOptions)) *mboxdb.RestoreOptions {
	o := &mboxdb.RestoreOptions{Claim: m.opt.Claim, Rewrite: m.opt.Rewrite, Volumes: m.opt.Volumes, IndexVolume: m.opt.IndexVolume, Address: m.opt.Address}
	for _, f := range change {
		f(o)
	}
	return o
}

// dumped is the move's mailbox as text.
func (m *move) dumped(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := m.srcDB.Dump(t.Context(), &b, m.from, nil)
	require.NoError(t, err)
	return b.Bytes()
}

// untouched wants nothing under the reserved id.
func (m *move) untouched(t *testing.T, name string) {
	t.Helper()
	traces, err := m.dst.Traces(t.Context(), uint32(m.to.ID))
	require.NoError(t, err)
	require.Empty(t, traces, name)
}

func TestRestoreFile(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	old := newID()
	_, err := m.dst.PlantDeletedAccount(ctx, m.account.Name, old, 12)
	require.NoError(t, err)
	srcBefore, dstBefore := m.bystanders(t)
	undo, err := m.dstDB.DeletedAccount(ctx, m.account.Name)
	require.NoError(t, err)
	require.Equal(t, old, undo.AccountID)
	all := slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))
	var sizes []int64
	for _, kind := range kinds {
		name := filepath.Join(t.TempDir(), kind)
		sum, err := m.srcDB.DumpFile(ctx, name, m.from, nil)
		require.NoError(t, err, kind)
		is, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), is.Mode())
		sizes = append(sizes, is.Size())
		files, err := os.ReadDir(filepath.Dir(name))
		require.NoError(t, err)
		require.Len(t, files, 1, "nothing beside it")

		info, err := mboxdb.CheckDumpFile(ctx, name)
		require.NoError(t, err, kind)
		require.Equal(t, mboxdb.Mailbox{ID: m.from.ID, Group: m.from.Group, AccountID: m.account.ID}, info.Mailbox)
		require.Equal(t, sum, info.Summary)
		server, err := m.srcDB.Server(ctx)
		require.NoError(t, err)
		require.Equal(t, mboxdb.Server{Version: server.Version, DBVersion: server.DBVersion, TimeZone: server.TimeZone}, info.Server)
		schema, err := m.srcDB.Schema(ctx, m.from.Group)
		require.NoError(t, err)
		require.Equal(t, schema, info.Schema)

		var done, total int64
		res, err := m.dstDB.RestoreFile(ctx, name, m.to, m.restoring(func(o *mboxdb.RestoreOptions) { o.Progress = func(d, n int64) { done, total = d, n } }))
		require.NoError(t, err, kind)
		require.Equal(t, sum.Tables, res.Tables)
		require.Equal(t, sum.Rows, res.Rows)
		require.Positive(t, done)
		require.Equal(t, total, done)
		m.requireEqual(t, all...)

		// Equal by the digests of a copy, which reads the source.
		c := m.copy(t)
		group, err := c.Verify(ctx)
		require.NoError(t, err, kind)
		zimbra, err := c.Publish(ctx)
		require.NoError(t, err, kind)
		require.Equal(t, slices.Concat(group, zimbra), res.Proofs)
		row, err := m.dstDB.Find(ctx, m.account.ID)
		require.NoError(t, err)
		require.Equal(t, []any{m.to.ID, m.to.Group, mboxdb.VolumeID(7), m.account.Name}, []any{row.ID, row.Group, row.IndexVolume, row.Comment})
		require.GreaterOrEqual(t, int64(row.ItemCheckpoint), number(t, m.dst.RootDB(t), m.in("SELECT MAX(id) FROM mboxgroup.mail_item WHERE mailbox_id = ?"), m.to.ID))
		require.GreaterOrEqual(t, row.ChangeCheckpoint, m.from.ChangeCheckpoint)
		require.Equal(t, int64(1), number(t, m.dst.RootDB(t), "SELECT last_backup_at IS NULL FROM zimbra.mailbox WHERE id = ?", m.to.ID))
		none, err := m.dstDB.DeletedAccount(ctx, m.account.Name)
		require.NoError(t, err)
		require.Nil(t, none)

		// The answer was lost: once more, and nothing is written.
		again, err := m.dstDB.RestoreFile(ctx, name, m.to, m.restoring())
		require.NoError(t, err, kind)
		require.Equal(t, res.Proofs, again.Proofs)
		require.NoError(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, &mboxdb.RemoveOptions{LivesElsewhere: true, Undo: undo}))
		m.untouched(t, kind)
	}
	require.Greater(t, sizes[0], 2*sizes[1])
	require.Greater(t, sizes[0], 2*sizes[2])
	srcAfter, dstAfter := m.bystanders(t)
	require.Equal(t, srcBefore, srcAfter, "the source")
	delete(dstBefore, "zimbra.deleted_account")
	delete(dstAfter, "zimbra.deleted_account")
	require.Equal(t, dstBefore, dstAfter, "everybody else at the destination")
}

// refused says that err is one that names what is wrong with a dump.
func refused(t *testing.T, err error, name string, args ...any) {
	t.Helper()
	name = fmt.Sprintf(name, args...)
	require.Error(t, err, name)
	var bad *mboxdb.DumpError
	require.True(t, errors.Is(err, mboxdb.ErrTruncated) || errors.As(err, &bad), "%s: %v", name, err)
}

func TestRestoreRefusesWhatWasChanged(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	text := m.dumped(t)
	_, err := mboxdb.CheckDump(ctx, bytes.NewReader(text))
	require.NoError(t, err)
	restore := func(b []byte) error {
		_, err := m.dstDB.Restore(ctx, bytes.NewReader(b), m.to, m.restoring())
		return err
	}
	check := func(b []byte) error {
		_, err := mboxdb.CheckDump(ctx, bytes.NewReader(b))
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	last := bytes.LastIndex(text, []byte("-- Dump completed"))
	rows := bytes.Index(text, []byte("INSERT INTO"))

	offsets := []int{0, 1, rows - 1, rows, last - 1, last, last + 1, len(text) - 2, len(text) - 1}
	for range 60 {
		offsets = append(offsets, rng.IntN(len(text)))
	}
	for _, n := range offsets {
		require.ErrorIs(t, restore(text[:n]), mboxdb.ErrTruncated, "cut at %d of %d", n, len(text))
	}
	flip := func(n int, bit byte) []byte {
		b := bytes.Clone(text)
		b[n] ^= bit
		return b
	}
	for _, n := range offsets {
		refused(t, restore(flip(n, 1<<rng.IntN(8))), "a bit at %d of %d", n, len(text))
	}
	for n := last; n < len(text); n++ { // no checksum protects it
		for _, bit := range []byte{0x20, 1 << rng.IntN(8)} { // 0x20 makes capitals
			refused(t, check(flip(n, bit)), "bit %x at %d of %d", bit, n, len(text))
		}
	}
	for range 500 {
		n := rng.IntN(len(text))
		refused(t, check(flip(n, 1<<rng.IntN(8))), "a bit at %d of %d", n, len(text))
	}

	lines := bytes.SplitAfter(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	for range 40 {
		i, j := rng.IntN(len(lines)), rng.IntN(len(lines))
		if bytes.Equal(lines[i], lines[j]) {
			continue
		}
		for name, l := range map[string][][]byte{
			"removed": slices.Delete(slices.Clone(lines), i, i+1), "twice": slices.Insert(slices.Clone(lines), i, lines[i]),
			"moved": slices.Insert(slices.Clone(lines), j, lines[i]),
		} {
			refused(t, restore(bytes.Join(l, nil)), "line %d %s", i, name)
		}
		l := slices.Clone(lines)
		l[i], l[j] = l[j], l[i]
		refused(t, restore(bytes.Join(l, nil)), "lines %d and %d change places", i, j)
	}
	for name, behind := range map[string]string{"a byte": "x", "a line break": "\n", "a NUL": "\x00", "a comment": "-- \n", "another dump": string(text)} {
		err := restore(append(bytes.Clone(text), behind...))
		require.ErrorContains(t, err, "text behind the closing line", name)
	}
	for name, test := range map[string]struct{ old, new, want string }{
		"another format":       {"format 1\n", "format 2\n", "it is of format 2, and this version reads format 1"},
		"no format":            {"-- zmlift dump", "-- mysqldump", "it does not begin as a dump of this package does"},
		"another closing line": {`{"v":1,`, `{"v":2,`, "the closing line is not one of this format's"},
		"another spelling":     {`{"v":1,`, `{"v": 1,`, "the closing line is not as it was written"},
		"another checksum":     {`"sha256":"`, `"sha256":"0`, "SHA-256"},
		"more rows":            {`"mboxgroup.watch":`, `"mboxgroup.watch":1`, "in the closing line"},
		"another group":        {fmt.Sprintf(" in mboxgroup%d\n", m.from.Group), " in mboxgroup\n", "does not name a mailbox group"},
		"no server":            {"-- server ", "-- Server ", "the third line does not say which db.version and time zone the server has"},
		"no db.version":        {`{"db_version":"`, `{"db_versions":"`, "the third line does not say which db.version"},
		"no time zone":         {`"time_zone":"+`, `"time_zone":"","time":"+`, "the third line does not say which db.version and time zone"},
		"another order":        {`-- server {`, `-- server {"version":"1",`, "the third line is not as it was written"},
		"no mailbox":           {"-- mailbox ", "-- Mailbox ", "does not name a mailbox"},
	} {
		require.Contains(t, string(text), test.old, name)
		err := restore(bytes.Replace(text, []byte(test.old), []byte(test.new), 1))
		require.ErrorContains(t, err, test.want, name)
		var bad *mboxdb.DumpError
		require.ErrorAs(t, err, &bad, name)
		require.GreaterOrEqual(t, bad.Offset, int64(0), name)
	}
	m.untouched(t, "nothing was written")
}

// Compressed text is refused wherever it is cut, and whenever what comes out is not what went in.
func TestRestoreRefusesWhatDoesNotUnpack(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	text := m.dumped(t)
	whole, err := mboxdb.CheckDump(ctx, bytes.NewReader(text))
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(3, 4))
	for _, kind := range kinds[1:] {
		dir := t.TempDir()
		name := filepath.Join(dir, kind)
		_, err := m.srcDB.DumpFile(ctx, name, m.from, nil)
		require.NoError(t, err)
		packed, err := os.ReadFile(name)
		require.NoError(t, err)
		changed := filepath.Join(dir, "changed"+filepath.Ext(kind))
		restore := func(b []byte) error {
			require.NoError(t, os.WriteFile(changed, b, 0o600))
			_, err := m.dstDB.RestoreFile(ctx, changed, m.to, m.restoring())
			return err
		}
		cuts := []int{0, 1, 3, 4, 9, 10, 11, len(packed) - 9, len(packed) - 8, len(packed) - 5, len(packed) - 4, len(packed) - 2, len(packed) - 1}
		for range 60 {
			cuts = append(cuts, rng.IntN(len(packed)))
		}
		for _, n := range cuts {
			require.ErrorIs(t, restore(packed[:n]), mboxdb.ErrTruncated, "%s cut at %d of %d", kind, n, len(packed))
		}
		for _, behind := range []string{"x", "xyz", "text behind", "\x00"} {
			refused(t, restore(append(bytes.Clone(packed), behind...)), "%s with %q behind it", kind, behind)
		}
		same := 0
		for n := range packed {
			if n > 40 && n < len(packed)-40 && rng.IntN(100) > 0 {
				continue
			}
			b := bytes.Clone(packed)
			b[n] ^= 1 << rng.IntN(8)
			require.NoError(t, os.WriteFile(changed, b, 0o600))
			info, err := mboxdb.CheckDumpFile(ctx, changed)
			if err == nil {
				same++
				require.Equal(t, whole, info, "%s: byte %d of %d", kind, n, len(packed))
				continue
			}
			refused(t, err, "%s: byte %d of %d", kind, n, len(packed))
		}
		require.Less(t, same, 12, "%s: the container's own idle bits, and no others", kind)
		require.NoError(t, os.WriteFile(changed, text, 0o600))
		_, err = mboxdb.CheckDumpFile(ctx, changed)
		refused(t, err, "%s that is plain text", kind)
		require.NoError(t, os.Rename(name, filepath.Join(dir, "packed.sql")))
		_, err = mboxdb.CheckDumpFile(ctx, filepath.Join(dir, "packed.sql"))
		refused(t, err, "%s that is called plain", kind)
	}
	m.untouched(t, "nothing was written")
}

// Nobody makes another dump that is accepted by changing one, and nothing makes the reader panic.
func FuzzCheckDump(f *testing.F) {
	text, err := os.ReadFile("testdata/watch.sql")
	require.NoError(f, err)
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add([]byte("-- zmlift dump, format 1\n-- mailbox 1 of account a in mboxgroup1\n-- table {\"name\":\"x\"}\n(1);\n-- Dump completed {}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := mboxdb.CheckDump(t.Context(), bytes.NewReader(b)); err == nil {
			require.Equal(t, string(text), string(b))
		} else {
			refused(t, err, "%q", b)
		}
	})
}

// changing reads as another text from its second pass on.
type changing struct {
	*bytes.Reader
	then  []byte
	seeks int
}

func (c *changing) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		if c.seeks++; c.seeks == 2 {
			c.Reset(c.then)
		}
	}
	return c.Reader.Seek(offset, whence)
}

// A dump that changes after it was checked is refused before anything can be seen, also when it becomes another one that is whole.
func TestRestoreOfADumpThatChanges(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	text := m.dumped(t)
	for _, n := range []int{bytes.Index(text, []byte("`mail_item`")) + 600, bytes.Index(text, []byte("`mailbox_metadata`")) + 80, len(text) - 30} {
		then := bytes.Clone(text)
		then[n] ^= 1
		_, err := m.dstDB.Restore(ctx, &changing{Reader: bytes.NewReader(text), then: then}, m.to, m.restoring())
		refused(t, err, "changed at %d", n)
		m.unpublished(t, fmt.Sprint("changed at ", n))
	}
	mustExec(t, m.srcRoot, fmt.Sprintf("UPDATE zimbra.mailbox SET new_messages = new_messages + 1 WHERE id = %d", m.from.ID))
	_, err := m.dstDB.Restore(ctx, &changing{Reader: bytes.NewReader(text), then: m.dumped(t)}, m.to, m.restoring())
	refused(t, err, "a later dump")
	m.unpublished(t, "a later dump")
	require.NoError(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, elsewhere))
	m.untouched(t, "removed")
}

// Ended at any moment, Restore can be called again, and nothing can be seen before it is done.
func TestRestoreAgain(t *testing.T) {
	m := newMove(t, 300)
	name := filepath.Join(t.TempDir(), "mailbox.sql.zst")
	_, err := m.srcDB.DumpFile(t.Context(), name, m.from, nil)
	require.NoError(t, err)
	for after := 0; ; after = 2*after + 40 { // lines of rewritten text
		ctx, cancel := context.WithCancel(t.Context())
		left := after
		_, err := m.dstDB.RestoreFile(ctx, name, m.to, m.restoring(func(o *mboxdb.RestoreOptions) {
			o.Rewrite = func(ctx context.Context, dst io.Writer, src io.Reader) error {
				return m.opt.Rewrite(ctx, writerFunc(func(p []byte) (int, error) {
					for i, c := range p {
						if c == '\n' {
							left--
						}
						if left < 0 {
							n, _ := dst.Write(p[:i])
							cancel()
							return n, ctx.Err()
						}
					}
					return dst.Write(p)
				}), src)
			}
		}))
		cancel()
		if err == nil {
			require.Greater(t, after, 300, "the last one was long enough")
			break
		}
		require.ErrorIs(t, err, context.Canceled, after)
		m.unpublished(t, fmt.Sprint("ended after ", after))
	}
	m.requireEqual(t, slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))...)

	// In use, it is not the dump's any more.
	ctx := t.Context()
	m.exec(t, "UPDATE mboxgroup.mail_item SET subject = 'newer' WHERE mailbox_id = ? AND id = 257", m.to.ID)
	_, err = m.dstDB.RestoreFile(ctx, name, m.to, m.restoring())
	require.ErrorIs(t, err, mboxdb.ErrPublished)
	var mismatch *mboxdb.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, "mboxgroup.mail_item", mismatch.Tables[0].Table)
	require.Equal(t, int64(1), number(t, m.dst.RootDB(t), m.in("SELECT COUNT(*) FROM mboxgroup.mail_item WHERE mailbox_id = ? AND subject = 'newer'"), m.to.ID))
	m.leave(t)
}

// Whatever commit's answer is lost: the mailbox is whole or not there, and Restore says nil the next time.
func TestRestoreWhoseAnswerIsLost(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	text := m.dumped(t)
	for nth := int32(2); ; nth++ {
		if nth == 4 {
			nth = 17 // those between clear one table each
		}
		cut, lost := lossy(t, m.dst, nth)
		_, err := cut.Restore(ctx, bytes.NewReader(text), m.to, m.restoring())
		if !lost() {
			require.NoError(t, err)
			require.Greater(t, nth, int32(20), "one for every table that is cleared, and more")
			break
		}
		if _, missing := m.dstDB.Find(ctx, m.account.ID); missing != nil {
			require.ErrorIs(t, missing, mboxdb.ErrNotFound)
			m.unpublished(t, fmt.Sprint("commit ", nth))
			require.Error(t, err, "commit %d", nth)
		} else {
			require.NoError(t, err, "commit %d", nth)
		}
		res, err := m.dstDB.Restore(ctx, bytes.NewReader(text), m.to, m.restoring())
		require.NoError(t, err, "commit %d", nth)
		require.Len(t, res.Proofs, 25)
		require.NoError(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, elsewhere))
	}
	m.leave(t)
}

// What lies in the tables must be what the dump has, whatever came out of Rewrite.
func TestRestoreCompares(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 40)
	text := m.dumped(t)
	done := false
	_, err := m.dstDB.Restore(ctx, bytes.NewReader(text), m.to, m.restoring(func(o *mboxdb.RestoreOptions) {
		o.Progress = func(int64, int64) {
			if !done {
				done = true
				m.exec(t, "UPDATE mboxgroup.mail_item SET subject = CONCAT('x', subject) WHERE mailbox_id = ? AND subject IS NOT NULL LIMIT 1", m.to.ID)
			}
		}
	}))
	var mismatch *mboxdb.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Len(t, mismatch.Tables, 1)
	require.Equal(t, "mboxgroup.mail_item", mismatch.Tables[0].Table)
	require.Equal(t, mismatch.Tables[0].Source, mismatch.Tables[0].Dest)
	m.unpublished(t, "not equal")

	// A value that Rewrite changes, in a table of either database.
	for table, column := range map[string]string{"mboxgroup.imap_folder": "uid_validity", "zimbra.out_of_office": "sent_on"} {
		i := slices.Index(strings.Split(dumpedColumns(t, text, table), ","), "`"+column+"`")
		require.Positive(t, i, table)
		_, err := m.dstDB.Restore(ctx, bytes.NewReader(text), m.to, m.restoring(func(o *mboxdb.RestoreOptions) {
			r := m.rewriter()
			r.Edit = func(name string, row []string) []string {
				if strings.HasSuffix(name, ".`"+strings.Split(table, ".")[1]+"`") {
					row[i] = map[string]string{"uid_validity": "77", "sent_on": "'2020-02-02 02:02:02'"}[column]
				}
				return row
			}
			o.Rewrite = r.rewrite
		}))
		require.ErrorAs(t, err, &mismatch, table)
		require.Len(t, mismatch.Tables, 1)
		require.Equal(t, table, mismatch.Tables[0].Table)
		m.unpublished(t, table)
	}

	// A row that Rewrite leaves out, and one of another mailbox.
	for name, edit := range map[string]func(string, []string) []string{
		"left out": func(table string, row []string) []string {
			if table == "`zimbra`.`mailbox`" {
				return nil
			}
			return row
		},
		"another's": func(table string, row []string) []string {
			if table == "`zimbra`.`mailbox_metadata`" {
				row[0] = "1"
			}
			return row
		},
		"another account": func(table string, row []string) []string {
			if table == "`zimbra`.`mailbox`" {
				row[slices.Index(row, "'"+m.account.ID+"'")] = "'" + newID() + "'"
			}
			return row
		},
	} {
		_, err := m.dstDB.Restore(ctx, bytes.NewReader(text), m.to, m.restoring(func(o *mboxdb.RestoreOptions) {
			r := m.rewriter()
			r.Edit = edit
			o.Rewrite = r.rewrite
		}))
		var bad *mboxdb.DumpError
		require.ErrorAs(t, err, &bad, name)
		m.unpublished(t, name)
	}
	require.NoError(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, elsewhere))
	m.untouched(t, "removed")
}

// dumpedColumns are the columns of a table in the order of a dump.
func dumpedColumns(t *testing.T, text []byte, table string) string {
	t.Helper()
	_, name, _ := strings.Cut(table, ".")
	_, rest, found := strings.Cut(string(text), ".`"+name+"` (")
	require.True(t, found, table)
	columns, _, _ := strings.Cut(rest, ")")
	return columns
}

func TestRestoreRefuses(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	text := m.dumped(t)
	restore := func(to mboxdb.Mailbox, o *mboxdb.RestoreOptions) error {
		_, err := m.dstDB.Restore(ctx, bytes.NewReader(text), to, o)
		return err
	}
	err := restore(mboxdb.Mailbox{}, nil)
	for _, want := range []string{"no id", "Rewrite is required", "IndexVolume is required", "Address is required", "a claim needs"} {
		require.ErrorContains(t, err, want)
	}
	other := newMove(t, 25)
	err = restore(other.to, other.restoring())
	var bad *mboxdb.DumpError
	require.ErrorAs(t, err, &bad)
	require.ErrorContains(t, err, "of account "+m.account.ID+", not of "+other.account.ID)
	theirs := m.to
	theirs.ID, theirs.Group = other.to.ID, other.to.Group
	require.ErrorIs(t, restore(theirs, m.restoring()), mboxdb.ErrNotReserved)
	require.ErrorIs(t, m.dstDB.Remove(ctx, m.opt.Claim, theirs, elsewhere), mboxdb.ErrNotReserved)
	require.Error(t, m.dstDB.Remove(ctx, other.opt.Claim, m.to, elsewhere))
	require.ErrorIs(t, restore(m.to, m.restoring(func(o *mboxdb.RestoreOptions) { o.Claim.Fence = 7 })), mboxdb.ErrFenced)
	require.ErrorContains(t, restore(m.to, m.restoring(func(o *mboxdb.RestoreOptions) { o.IndexVolume = 99 })), "no index volume 99")

	// A mailbox that the account has meanwhile, under another id and under this one.
	id, undo, err := m.dst.PlantMailbox(ctx, m.account.ID)
	require.NoError(t, err)
	require.ErrorIs(t, restore(m.to, m.restoring()), mboxdb.ErrExists)
	require.NoError(t, undo(ctx))
	require.NotEqual(t, uint32(m.to.ID), id)
	insertMailbox(t, m.dst, int64(m.to.ID), m.account.ID)
	require.ErrorIs(t, restore(m.to, m.restoring()), mboxdb.ErrPublished)
	m.exec(t, "DELETE FROM zimbra.mailbox WHERE id = ?", m.to.ID)

	// Other tables than those of the dump.
	mustExec(t, m.dst.RootDB(t), m.in("ALTER TABLE mboxgroup.watch MODIFY target VARCHAR(37) NOT NULL"))
	err = restore(m.to, m.restoring())
	mustExec(t, m.dst.RootDB(t), m.in("ALTER TABLE mboxgroup.watch MODIFY target VARCHAR(36) NOT NULL"))
	var schema *mboxdb.SchemaError
	require.ErrorAs(t, err, &schema)
	require.Equal(t, []string{"mboxgroup.watch.target: varchar(36) utf8mb3_general_ci at the source, varchar(37) utf8mb3_general_ci at the destination"}, schema.Differences)
	m.untouched(t, "nothing was written")
	other.untouched(t, "nothing was written")
}

// resealed is a dump with another text and a closing line that fits it, as a person could make one.
func resealed(t *testing.T, text []byte, old, new string) []byte {
	t.Helper()
	n := bytes.LastIndex(text, []byte("-- Dump completed "))
	head := bytes.Replace(text[:n], []byte(old), []byte(new), 1)
	require.NotEqual(t, text[:n], head, old)
	end := regexp.MustCompile(`"bytes":\d+,"sha256":"\w+"`).ReplaceAllString(string(text[n:]), fmt.Sprintf(`"bytes":%d,"sha256":"%x"`, len(head), sha256.Sum256(head)))
	return append(head, end...)
}

// The same columns are not enough: an upgrade may have given every mailbox rows, and times are those of a zone.
func TestRestoreFromAnotherKindOfServer(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	text := m.dumped(t)
	here, err := m.dstDB.Server(ctx)
	require.NoError(t, err)
	restore := func(old, new string) error {
		_, err := m.dstDB.Restore(ctx, bytes.NewReader(resealed(t, text, old, new)), m.to, m.restoring())
		return err
	}
	for name, test := range map[string]struct{ old, new, want string }{
		"db.version": {`"db_version":"` + here.DBVersion, `"db_version":"117`, "db.version is 117 in the dump and " + here.DBVersion + " on this server"},
		"time zone": {`"time_zone":"` + here.TimeZone, `"time_zone":"-03:00 -03:00 -03:00 -02:00`,
			"the time zone is -03:00 -03:00 -03:00 -02:00 in the dump and " + here.TimeZone + " on this server"},
	} {
		err := restore(test.old, test.new)
		var origin *mboxdb.OriginError
		require.ErrorAs(t, err, &origin, name)
		require.ErrorContains(t, err, test.want, name)
		require.Equal(t, here, origin.Server, name)
		m.untouched(t, name)
	}
	require.NoError(t, restore(`"version":"`, `"version":"5.`), "another version of the database server")
	m.leave(t)
}

// A dump that fails leaves no file, and one that is there stays as it is.
func TestDumpFileOrNone(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	none := func(dir, name string) {
		t.Helper()
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, files, name)
	}
	for _, kind := range kinds {
		dir := t.TempDir()
		name := filepath.Join(dir, kind)
		ended, cancel := context.WithCancel(ctx)
		_, err := m.srcDB.DumpFile(ended, name, m.from, &mboxdb.DumpOptions{Progress: func(int64, int64) { cancel() }})
		if err == nil { // it came with the last row
			require.NoError(t, os.Remove(name))
		}
		none(dir, kind+" ended")
		gone := m.from
		gone.AccountID = newID()
		_, err = m.srcDB.DumpFile(ctx, name, gone, nil)
		require.ErrorIs(t, err, mboxdb.ErrNotFound)
		none(dir, kind+" of nobody")

		require.NoError(t, os.WriteFile(name, []byte("older"), 0o600))
		_, err = m.srcDB.DumpFile(ctx, name, m.from, nil)
		require.ErrorIs(t, err, fs.ErrExist)
		is, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, "older", string(is))
		require.NoError(t, os.Remove(name))
		// Made by somebody else while the dump was written.
		_, err = m.srcDB.DumpFile(ctx, name, m.from, &mboxdb.DumpOptions{Progress: func(int64, int64) {
			require.NoError(t, os.WriteFile(name, []byte("older"), 0o600))
		}})
		require.ErrorIs(t, err, fs.ErrExist)
		is, err = os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, "older", string(is))
		require.NoError(t, os.Remove(name))
		none(dir, kind+" beside another's")
	}
	dir := t.TempDir()
	for _, name := range []string{"mailbox", "mailbox.xz", "mailbox.SQL", ".sql.bz2"} {
		_, err := m.srcDB.DumpFile(ctx, filepath.Join(dir, name), m.from, nil)
		require.ErrorContains(t, err, "the name of a dump ends in", name)
		_, err = mboxdb.CheckDumpFile(ctx, filepath.Join(dir, name))
		require.ErrorContains(t, err, "the name of a dump ends in", name)
	}
	none(dir, "names")
	_, err := m.srcDB.DumpFile(ctx, filepath.Join(dir, "nowhere", "mailbox.sql"), m.from, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = mboxdb.CheckDumpFile(ctx, filepath.Join(dir, "mailbox.sql"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "mailbox.gz"), 0o700))
	_, err = mboxdb.CheckDumpFile(ctx, filepath.Join(dir, "mailbox.gz"))
	var path *fs.PathError
	require.ErrorAs(t, err, &path, "no dump that was changed, but no file")
	require.False(t, strings.Contains(err.Error(), "unpacked"))
}
