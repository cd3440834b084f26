package mboxdbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// A Fixture is a mailbox on one server, and another server that it can be copied to. They belong to one test, which writes to both. Everything
// is required.
type Fixture struct {
	Source, Dest               *sql.DB         // pools that may write to all of a mailstore's databases, and make some at Dest
	SourceOptions, DestOptions *mboxdb.Options // with Groups and CreateScript at Dest
	// AccountID has a mailbox at Source, with messages, tags on some of them, and rows in most tables; nobody else uses it meanwhile. At Dest it
	// has none, and no other move holds it.
	AccountID, Address string
	Volumes            map[mboxdb.VolumeID]mboxdb.VolumeID // those of the mailbox to Dest's
	IndexVolume        mboxdb.VolumeID                     // of Dest
	// Rewrite returns the function under test for this pair of mailboxes, as CopyOptions.Rewrite describes it. Rewriter has one.
	Rewrite func(to, from mboxdb.Mailbox) (func(ctx context.Context, dst io.Writer, src io.Reader) error, error)
}

// Exercise tests that mailboxes can be copied from Source to Dest with Rewrite: what the documentation of mboxdb promises, and what it wants
// from servers and from the function. newFixture is called once for every test. What the tests made at Dest is gone afterwards, but for an
// empty group and the database zmlift; at Source some messages of the mailbox have another subject, and one has lost a tag.
func Exercise(t *testing.T, newFixture func(t *testing.T) Fixture) {
	for _, tt := range []struct {
		name string
		test func(*exercise, *testing.T)
	}{
		{"the servers fit", (*exercise).fit},
		{"the function rewrites", (*exercise).rewrites},
		{"the function passes errors on", (*exercise).passesErrors},
		{"copy", (*exercise).copy},
		{"copy of what changes", (*exercise).copyChanging},
		{"ended and begun again", (*exercise).again},
		{"fence", (*exercise).fence},
		{"backup", (*exercise).backup},
		{"sessions", (*exercise).sessions},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(newExercise(t, newFixture(t)), t) })
	}
}

// elsewhere: the accounts of fixtures live at Source.
var elsewhere = &mboxdb.RemoveOptions{LivesElsewhere: true}

// An exercise is a fixture with an id that is reserved at Dest.
type exercise struct {
	Fixture
	src, dst *mboxdb.DB
	from, to mboxdb.Mailbox
	claim    mboxdb.Claim
	rewrite  func(ctx context.Context, dst io.Writer, src io.Reader) error
	tables   []string // that are moved: "mboxgroup.watch"
}

func newExercise(t *testing.T, f Fixture) *exercise {
	t.Helper()
	ctx := t.Context()
	x := &exercise{Fixture: f, src: mboxdb.New(f.Source, f.SourceOptions), dst: mboxdb.New(f.Dest, f.DestOptions)}
	var err error
	x.from, err = x.src.Find(ctx, f.AccountID)
	require.NoError(t, err, "the account needs a mailbox at the source")
	holder, err := x.dst.Holder(ctx, f.AccountID)
	require.NoError(t, err)
	x.claim = mboxdb.Claim{Move: "exercise", AccountID: f.AccountID, Fence: holder.Fence + 1}
	require.NoError(t, x.dst.Claim(ctx, x.claim))
	res, err := x.dst.Reserve(ctx, x.claim, nil)
	require.NoError(t, err)
	x.to = res.Mailbox
	require.NotEqual(t, x.from.ID, x.to.ID, "the two ids must differ, or a function that rewrites nothing would pass")
	x.rewrite, err = f.Rewrite(x.to, x.from)
	require.NoError(t, err)
	tables, err := x.src.Tables(ctx, x.from.Group)
	require.NoError(t, err)
	for _, table := range tables {
		if table.Moved() {
			x.tables = append(x.tables, table.String())
		}
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		require.NoError(t, x.dst.Remove(ctx, x.claim, x.to, elsewhere))
		require.NoError(t, x.dst.Leftovers(ctx, x.to.ID, x.to.Group))
		require.NoError(t, x.dst.End(ctx, x.claim))
	})
	return x
}

func (x *exercise) newCopy(t *testing.T, change ...func(*mboxdb.CopyOptions)) *mboxdb.Copy {
	t.Helper()
	o := &mboxdb.CopyOptions{Claim: x.claim, Rewrite: x.rewrite, Volumes: x.Volumes, IndexVolume: x.IndexVolume, Address: x.Address}
	for _, f := range change {
		f(o)
	}
	c, err := mboxdb.NewCopy(x.dst, x.src, x.to, x.from, o)
	require.NoError(t, err)
	return c
}

// at is a table's name on a server.
func at(table string, m mboxdb.Mailbox) string {
	return strings.Replace(table, "mboxgroup.", fmt.Sprintf("mboxgroup%d.", m.Group), 1)
}

// write changes a few rows of the source, as somebody who works there would.
func (x *exercise) write(t *testing.T) {
	t.Helper()
	for _, stmt := range []string{
		"UPDATE mboxgroup.mail_item SET mod_metadata = mod_metadata + 1, subject = 'Grüße''s \\\\ \"n\"\n' WHERE mailbox_id = ? AND type = 5 ORDER BY id LIMIT 3",
		"UPDATE mboxgroup.mail_item SET sender = NULL WHERE mailbox_id = ? AND type = 5 AND sender IS NOT NULL ORDER BY id DESC LIMIT 1",
		"DELETE FROM mboxgroup.tagged_item WHERE mailbox_id = ? LIMIT 1",
		"INSERT INTO mboxgroup.tombstone (mailbox_id, sequence, date, type, ids) VALUES (?, 4000000000, 1, NULL, '1,2')",
		"UPDATE zimbra.mailbox SET change_checkpoint = change_checkpoint + 1 WHERE id = ?",
	} {
		res, err := x.Source.ExecContext(t.Context(), at(stmt, x.from), x.from.ID)
		require.NoError(t, err, stmt)
		n, err := res.RowsAffected()
		require.NoError(t, err)
		require.Positive(t, n, "the mailbox has no row for: %s", stmt)
	}
}

// equal compares the two mailboxes row by row, those tables that begin so.
func (x *exercise) equal(t *testing.T, prefix string) {
	t.Helper()
	for _, table := range x.tables {
		if !strings.HasPrefix(table, prefix) {
			continue
		}
		src, err := Content(t.Context(), x.Source, at(table, x.from), x.from.ID, x.Volumes)
		require.NoError(t, err)
		dst, err := Content(t.Context(), x.Dest, at(table, x.to), x.to.ID, nil)
		require.NoError(t, err)
		require.Equal(t, src, dst, table)
	}
}

// unseen wants no mailbox at the destination.
func (x *exercise) unseen(t *testing.T) {
	t.Helper()
	_, err := x.dst.Find(t.Context(), x.AccountID)
	require.ErrorIs(t, err, mboxdb.ErrNotFound)
}

// others are the rows of everybody else at the destination, where the copy writes.
func (x *exercise) others(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, table := range x.tables {
		rows, err := contentWhere(t.Context(), x.Dest, at(table, x.to), fmt.Sprintf("%s <> %d", idColumn(table), x.to.ID), nil)
		require.NoError(t, err)
		out[table] = rows
	}
	return out
}

func (x *exercise) fit(t *testing.T) {
	ctx := t.Context()
	src, err := x.src.Server(ctx)
	require.NoError(t, err)
	dst, err := x.dst.Server(ctx)
	require.NoError(t, err)
	require.NotEqual(t, src.Identity, dst.Identity, "two servers")
	require.Equal(t, src.DBVersion, dst.DBVersion)
	require.Equal(t, src.TimeZone, dst.TimeZone)
	require.Equal(t, src.Charset, dst.Charset)
	a, err := x.src.Schema(ctx, x.from.Group)
	require.NoError(t, err)
	b, err := x.dst.Schema(ctx, x.to.Group)
	require.NoError(t, err)
	require.Empty(t, mboxdb.Differences(a, b))
	n, err := x.src.Count(ctx, x.from)
	require.NoError(t, err)
	require.Greater(t, n, int64(50), "rows of the mailbox")
}

// dump is the source's text, and what the function makes of it.
func (x *exercise) dump(t *testing.T) (text, rewritten string) {
	t.Helper()
	var in, out bytes.Buffer
	_, err := x.src.Dump(t.Context(), &in, x.from, nil)
	require.NoError(t, err)
	text = in.String()
	require.NoError(t, x.rewrite(t.Context(), &out, &in))
	return text, out.String()
}

// The function changes what it must, and no other byte.
func (x *exercise) rewrites(t *testing.T) {
	text, rewritten := x.dump(t)
	before, after := strings.Split(text, "\n"), strings.Split(rewritten, "\n")
	require.Len(t, after, len(before), "lines")
	locator := -1
	for i, line := range before {
		switch {
		case strings.HasPrefix(line, "INSERT INTO "):
			locator = slices.Index(strings.Split(strings.TrimSuffix(line[strings.Index(line, " (")+2:], ") VALUES"), ","), "`locator`")
			line = strings.Replace(line, fmt.Sprintf("`mboxgroup%d`", x.from.Group), fmt.Sprintf("`mboxgroup%d`", x.to.Group), 1)
		case strings.HasPrefix(line, "("):
			row := splitRow(line[1 : len(line)-2])
			row[0] = x.to.ID.String()
			if locator >= 0 && row[locator] != "NULL" {
				row[locator] = "'" + mapped(strings.Trim(row[locator], "'"), x.Volumes) + "'"
			}
			line = "(" + strings.Join(row, ",") + line[len(line)-2:]
		}
		require.Equal(t, line, after[i], "line %d", i+1)
	}
	var single bytes.Buffer
	require.NoError(t, x.rewrite(t.Context(), &single, iotest.OneByteReader(strings.NewReader(text))))
	require.True(t, rewritten == single.String(), "byte by byte the dump becomes something else")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// An error at either end is the function's own, so that half a dump is never a whole one.
func (x *exercise) passesErrors(t *testing.T) {
	text, _ := x.dump(t)
	broken := errors.New("broken")
	for _, n := range []int{0, 1, len(text) / 2, len(text)} {
		err := x.rewrite(t.Context(), io.Discard, io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken, "the source breaks after %d of %d bytes", n, len(text))
	}
	err := x.rewrite(t.Context(), writerFunc(func([]byte) (int, error) { return 0, broken }), strings.NewReader(text))
	require.ErrorIs(t, err, broken, "the destination breaks")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, x.rewrite(ctx, io.Discard, strings.NewReader(text)), context.Canceled)
}

func (x *exercise) copy(t *testing.T) {
	ctx := t.Context()
	others := x.others(t)
	c := x.newCopy(t)
	sum, err := c.Load(ctx)
	require.NoError(t, err)
	x.equal(t, "mboxgroup.")
	x.unseen(t)
	proofs, err := c.Verify(ctx)
	require.NoError(t, err)
	published, err := c.Publish(ctx)
	require.NoError(t, err)
	var proven []string
	for _, p := range slices.Concat(proofs, published) {
		proven = append(proven, p.Table)
	}
	require.ElementsMatch(t, x.tables, proven)
	for _, p := range proofs {
		require.Equal(t, sum.Tables[p.Table], p.Rows, p.Table)
	}
	x.isPublished(t)
	_, err = c.Load(ctx)
	require.ErrorIs(t, err, mboxdb.ErrPublished)

	require.NoError(t, c.Remove(ctx, elsewhere))
	require.NoError(t, x.dst.Leftovers(ctx, x.to.ID, x.to.Group))
	require.Equal(t, others, x.others(t), "somebody else's rows")
}

// isPublished wants a whole mailbox at the destination.
func (x *exercise) isPublished(t *testing.T) {
	t.Helper()
	x.equal(t, "")
	is, err := x.dst.Find(t.Context(), x.AccountID)
	require.NoError(t, err)
	require.Equal(t, []any{x.to.ID, x.to.Group, x.IndexVolume, x.Address}, []any{is.ID, is.Group, is.IndexVolume, is.Comment})
	require.GreaterOrEqual(t, is.ItemCheckpoint, x.from.ItemCheckpoint)
	require.GreaterOrEqual(t, is.ChangeCheckpoint, x.from.ChangeCheckpoint)
}

// What changes after a copy was made is found, carried over and proven.
func (x *exercise) copyChanging(t *testing.T) {
	ctx := t.Context()
	others := x.others(t)
	c := x.newCopy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	x.equal(t, "mboxgroup.")
	x.write(t)
	d, err := c.Diff(ctx)
	require.NoError(t, err)
	require.Positive(t, d.Rows())
	_, err = c.Prove(ctx, d)
	var mismatch *mboxdb.MismatchError
	require.ErrorAs(t, err, &mismatch, "not applied yet")
	_, err = c.Apply(ctx, d)
	require.NoError(t, err)
	_, err = c.Prove(ctx, d)
	require.NoError(t, err)
	x.unseen(t)
	_, err = c.Publish(ctx)
	require.NoError(t, err)
	x.isPublished(t)
	require.Equal(t, others, x.others(t), "somebody else's rows")
}

// limited ends ctx when so many lines have gone through the function.
func (x *exercise) limited(cancel func(), lines int) func(context.Context, io.Writer, io.Reader) error {
	return func(ctx context.Context, dst io.Writer, src io.Reader) error {
		return x.rewrite(ctx, writerFunc(func(p []byte) (int, error) {
			if lines -= bytes.Count(p, []byte("\n")); lines < 0 {
				cancel()
				return 0, context.Canceled
			}
			return dst.Write(p)
		}), src)
	}
}

func (x *exercise) again(t *testing.T) {
	for lines := 1; ; lines *= 4 {
		ctx, cancel := context.WithCancel(t.Context())
		c := x.newCopy(t, func(o *mboxdb.CopyOptions) { o.Rewrite, o.Streams = x.limited(cancel, lines), 1 })
		_, err := c.Presync(ctx)
		cancel()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		x.unseen(t)
	}
	ctx := t.Context()
	c := x.newCopy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	d, err := c.Diff(ctx)
	require.NoError(t, err)
	require.Zero(t, d.Rows())
	_, err = c.Prove(ctx, d)
	require.NoError(t, err)
	_, err = c.Publish(ctx)
	require.NoError(t, err)
	_, err = c.Publish(ctx)
	require.NoError(t, err, "twice")
	x.isPublished(t)
	for range 2 {
		require.NoError(t, c.Remove(ctx, elsewhere))
		x.unseen(t)
	}
}

// Once another mover has taken over, the older one writes nothing.
func (x *exercise) fence(t *testing.T) {
	ctx := t.Context()
	old := x.newCopy(t)
	_, err := old.Load(ctx)
	require.NoError(t, err)
	x.claim.Fence++
	require.NoError(t, x.dst.Claim(ctx, x.claim))
	_, err = old.Load(ctx)
	require.ErrorIs(t, err, mboxdb.ErrFenced)
	_, err = old.Publish(ctx)
	require.ErrorIs(t, err, mboxdb.ErrFenced)
	require.ErrorIs(t, old.Remove(ctx, elsewhere), mboxdb.ErrFenced)
	x.equal(t, "mboxgroup.")
	x.unseen(t)
}

func (x *exercise) backup(t *testing.T) {
	ctx := t.Context()
	for _, kind := range []string{".sql", ".gz", ".zst"} {
		name := filepath.Join(t.TempDir(), "mailbox"+kind)
		sum, err := x.src.DumpFile(ctx, name, x.from, nil)
		require.NoError(t, err)
		info, err := mboxdb.CheckDumpFile(ctx, name)
		require.NoError(t, err)
		require.Equal(t, sum, info.Summary)
		rewrite, err := x.Rewrite(x.to, info.Mailbox) // with what the file knows
		require.NoError(t, err)
		o := &mboxdb.RestoreOptions{Claim: x.claim, Rewrite: rewrite, Volumes: x.Volumes, IndexVolume: x.IndexVolume, Address: x.Address}
		res, err := x.dst.RestoreFile(ctx, name, x.to, o)
		require.NoError(t, err)
		require.Equal(t, sum.Tables, res.Tables)
		x.isPublished(t)
		_, err = x.newCopy(t).Verify(ctx)
		require.NoError(t, err, "equal to the source, too")
		again, err := x.dst.RestoreFile(ctx, name, x.to, o)
		require.NoError(t, err)
		require.Equal(t, res.Proofs, again.Proofs)
		require.NoError(t, x.dst.Remove(ctx, x.claim, x.to, elsewhere))
		x.unseen(t)
	}
}

// What mboxdb sets in its sessions does not come back to the pools.
func (x *exercise) sessions(t *testing.T) {
	ctx := t.Context()
	type settings struct{ keys, zone, mode, charset, autocommit, wait string }
	read := func(pool *sql.DB) (out []settings) {
		var conns []*sql.Conn
		for range 4 {
			c, err := pool.Conn(ctx)
			require.NoError(t, err)
			conns = append(conns, c)
			var s settings
			require.NoError(t, c.QueryRowContext(ctx, "SELECT @@session.foreign_key_checks, @@session.time_zone, @@session.sql_mode,"+
				" @@session.character_set_results, @@session.autocommit, @@session.lock_wait_timeout").Scan(&s.keys, &s.zone, &s.mode, &s.charset, &s.autocommit, &s.wait))
			out = append(out, s)
		}
		for _, c := range conns {
			require.NoError(t, c.Close())
		}
		return out
	}
	src, dst := read(x.Source), read(x.Dest)
	c := x.newCopy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	_, err = c.Publish(ctx)
	require.NoError(t, err)
	require.NoError(t, c.Remove(ctx, elsewhere))
	require.Equal(t, src, read(x.Source))
	require.Equal(t, dst, read(x.Dest))
}
