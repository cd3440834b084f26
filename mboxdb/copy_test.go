package mboxdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxdbtest"
)

// The 25 tables of a move.
var (
	groupTables = strings.Fields("mail_item mail_item_dumpster revision revision_dumpster tag tagged_item open_conversation appointment" +
		" appointment_dumpster tombstone pop3_message imap_folder imap_message data_source_item purged_conversations purged_messages event watch")
	zimbraTables = strings.Fields("mailbox_metadata out_of_office scheduled_task mobile_devices pending_acl_push zmg_devices mailbox")
)

// content reads a mailbox's rows of a table, each value in hexadecimal, locators mapped: another way than the package's own.
func content(t *testing.T, pool *sql.DB, table string, id mboxdb.MailboxID, locators map[mboxdb.VolumeID]mboxdb.VolumeID) []string {
	t.Helper()
	rows, err := mboxdbtest.Content(t.Context(), pool, table, id, locators)
	require.NoError(t, err)
	return rows
}

// requireEqual compares the tables row by row, and wants every one to have rows.
func (m *move) requireEqual(t *testing.T, tables ...string) {
	t.Helper()
	for _, name := range tables {
		src := content(t, m.srcRoot, strings.Replace(name, "mboxgroup.", fmt.Sprintf("mboxgroup%d.", m.from.Group), 1), m.from.ID, volumes)
		require.NotEmpty(t, src, name)
		require.Equal(t, src, content(t, m.dstRoot, m.in(name), m.to.ID, nil), name)
	}
}

func qualified(database string, names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, database+"."+name)
	}
	return out
}

func TestCopy(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	old := newID()
	_, err := m.dst.PlantDeletedAccount(ctx, m.account.Name, old, 12)
	require.NoError(t, err)
	trap := fmt.Sprintf("(%d,'x'),(%d, -- ", m.from.ID, m.from.ID)
	mustExec(t, m.src.RootDB(t), fmt.Sprintf("UPDATE mboxgroup%d.mail_item SET subject = ? WHERE mailbox_id = ? AND id = 257", m.from.Group), trap, m.from.ID)
	srcBefore, dstBefore := m.bystanders(t)
	var done, total int64
	c := m.copy(t, func(o *mboxdb.CopyOptions) { o.Progress = func(d, n int64) { done, total = d, n } })

	sum, err := c.Load(ctx)
	require.NoError(t, err)
	require.Len(t, sum.Tables, 18)
	require.Equal(t, sum.Rows, done)
	require.Equal(t, total, done)
	proofs, err := m.verify(t, c, "loaded")
	require.NoError(t, err)
	require.Len(t, proofs, 18)
	for _, p := range proofs {
		require.Positive(t, p.Rows, p.Table)
		require.Equal(t, sum.Tables[p.Table], p.Rows, p.Table)
		require.Len(t, p.Digest, 64)
	}
	undo, err := c.Undoable(ctx)
	require.NoError(t, err)
	require.Equal(t, old, undo.AccountID)

	published, err := c.Publish(ctx)
	require.NoError(t, err)
	require.Len(t, published, 7)
	require.Equal(t, "zimbra.mailbox", published[6].Table)
	m.requireEqual(t, slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))...)
	var subject string
	require.NoError(t, m.dst.RootDB(t).QueryRow(m.in("SELECT subject FROM mboxgroup.mail_item WHERE mailbox_id = ? AND id = 257"), m.to.ID).Scan(&subject))
	require.Equal(t, trap, subject)

	// Now it is a mailbox, as it was meant.
	is, err := m.dstDB.Find(ctx, m.account.ID)
	require.NoError(t, err)
	want := m.from
	want.ID, want.Group, want.IndexVolume, want.Comment = m.to.ID, m.to.Group, 7, m.account.Name
	want.ItemCheckpoint, want.ChangeCheckpoint = is.ItemCheckpoint, is.ChangeCheckpoint
	require.Equal(t, want, is)
	require.GreaterOrEqual(t, is.ItemCheckpoint, m.from.ItemCheckpoint)
	require.GreaterOrEqual(t, is.ChangeCheckpoint, m.from.ChangeCheckpoint)
	for _, stmt := range []string{ // no number that a row has is handed out again
		"SELECT MAX(id) FROM mboxgroup.mail_item WHERE mailbox_id = ?", "SELECT MAX(id) FROM mboxgroup.mail_item_dumpster WHERE mailbox_id = ?",
	} {
		require.GreaterOrEqual(t, int64(is.ItemCheckpoint), number(t, m.dst.RootDB(t), m.in(stmt), m.to.ID), stmt)
	}
	for _, stmt := range []string{
		"SELECT MAX(mod_metadata) FROM mboxgroup.mail_item WHERE mailbox_id = ?", "SELECT MAX(sequence) FROM mboxgroup.tombstone WHERE mailbox_id = ?",
	} {
		require.GreaterOrEqual(t, int64(is.ChangeCheckpoint), number(t, m.dst.RootDB(t), m.in(stmt), m.to.ID), stmt)
	}
	require.Equal(t, int64(1), number(t, m.dst.RootDB(t), "SELECT last_backup_at IS NULL FROM zimbra.mailbox WHERE id = ?", m.to.ID))
	none, err := m.dstDB.DeletedAccount(ctx, m.account.Name)
	require.NoError(t, err)
	require.Nil(t, none)

	// Again: the same proof, and nothing changes.
	again, err := c.Publish(ctx)
	require.NoError(t, err)
	require.Equal(t, published, again)
	_, err = m.verify(t, c, "published")
	require.NoError(t, err, "published rows are no strays")
	_, err = c.Load(ctx)
	require.ErrorIs(t, err, mboxdb.ErrPublished)
	m.requireEqual(t, qualified("mboxgroup", groupTables)...)

	srcAfter, dstAfter := m.bystanders(t)
	require.Equal(t, srcBefore, srcAfter, "the source")
	delete(dstBefore, "zimbra.deleted_account")
	delete(dstAfter, "zimbra.deleted_account")
	require.Equal(t, dstBefore, dstAfter, "everybody else at the destination")
	require.Zero(t, number(t, m.dst.RootDB(t), "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'zmlift' AND table_name LIKE 'flush%'"))

	// And away with it.
	for _, name := range []string{"remove", "again"} {
		require.NoError(t, c.Remove(ctx, &mboxdb.RemoveOptions{LivesElsewhere: true, Undo: undo}), name)
		traces, err := m.dst.Traces(ctx, uint32(m.to.ID))
		require.NoError(t, err)
		require.Empty(t, traces, name)
		back, err := m.dstDB.DeletedAccount(ctx, m.account.Name)
		require.NoError(t, err)
		require.Equal(t, undo, back, name)
	}
	srcAfter, dstAfter = m.bystanders(t)
	delete(dstAfter, "zimbra.deleted_account")
	require.Equal(t, srcBefore, srcAfter, "the source")
	require.Equal(t, dstBefore, dstAfter, "everybody else at the destination")
}

// Whatever differs is found, and named by its key and not by its content.
func TestVerifyFinds(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	for _, stmt := range []string{
		"UPDATE mboxgroup%d.mail_item SET recipients = 'x', sender = ',y' WHERE mailbox_id = %d AND id = 257",
		"INSERT INTO mboxgroup%d.event (mailbox_id, account_id, item_id, folder_id, op, ts) VALUES (%[2]d, 'pairs', 1, 2, 3, 4), (%[2]d, 'pairs', 1, 2, 3, 4)," +
			" (%[2]d, 'pairs', 2, 2, 3, 4), (%[2]d, 'pairs', 2, 2, 3, 4)",
	} {
		mustExec(t, m.src.RootDB(t), fmt.Sprintf(stmt, m.from.Group, m.from.ID))
	}
	c := m.copy(t)
	_, err := c.Load(ctx)
	require.NoError(t, err)
	const any = "%" // not foreseen
	for name, test := range map[string]struct {
		stmts []string
		table string
		keys  []mboxdb.KeyMismatch
	}{
		"a flipped byte": {
			[]string{"UPDATE mboxgroup.mail_item SET subject = CONCAT(COALESCE(subject, ''), 'x') WHERE mailbox_id = ID AND id = 257"},
			"mboxgroup.mail_item", []mboxdb.KeyMismatch{{Key: "id=257", Kind: "different"}},
		},
		"a case": {
			[]string{"UPDATE mboxgroup.mail_item SET blob_digest = CONCAT('x', SUBSTR(blob_digest, 2)) WHERE mailbox_id = ID AND id = 257"},
			"mboxgroup.mail_item", []mboxdb.KeyMismatch{{Key: "id=257", Kind: "different"}},
		},
		"a missing row": {
			[]string{"DELETE FROM mboxgroup.mail_item WHERE mailbox_id = ID AND id = 257"},
			"mboxgroup.mail_item", []mboxdb.KeyMismatch{{Key: "id=257", Kind: "missing"}},
		},
		"an extra row": {
			[]string{"INSERT INTO mboxgroup.purged_messages (mailbox_id, data_source_id, item_id, remote_id, remote_folder_id) VALUES (ID, 'ds', 7, '', '')"},
			"mboxgroup.purged_messages", []mboxdb.KeyMismatch{{Key: any, Kind: "extra"}},
		},
		"a doubled row": {
			[]string{"INSERT INTO mboxgroup.event SELECT * FROM mboxgroup.event WHERE mailbox_id = ID LIMIT 1"},
			"mboxgroup.event", []mboxdb.KeyMismatch{{Key: any, Kind: "extra"}},
		},
		"nothing for NULL": {
			[]string{"UPDATE mboxgroup.mail_item SET sender = '' WHERE mailbox_id = ID AND sender IS NULL ORDER BY id LIMIT 1"},
			"mboxgroup.mail_item", []mboxdb.KeyMismatch{{Key: any, Kind: "different"}},
		},
		"a comma on the wrong side of a column": {
			[]string{"UPDATE mboxgroup.mail_item SET recipients = 'x,', sender = 'y' WHERE mailbox_id = ID AND id = 257"},
			"mboxgroup.mail_item", []mboxdb.KeyMismatch{{Key: "id=257", Kind: "different"}},
		},
		"two equal rows for two other equal ones": {
			[]string{"UPDATE mboxgroup.event SET item_id = 1 WHERE mailbox_id = ID AND account_id = 'pairs' AND item_id = 2"},
			"mboxgroup.event", []mboxdb.KeyMismatch{{Key: any, Kind: any}, {Key: any, Kind: any}, {Key: any, Kind: any}, {Key: any, Kind: any}},
		},
		"another volume": {
			[]string{"UPDATE mboxgroup.revision SET locator = '9' WHERE mailbox_id = ID AND locator = '5' ORDER BY item_id, version LIMIT 1"},
			"mboxgroup.revision", []mboxdb.KeyMismatch{{Key: any, Kind: "different"}},
		},
		"a second": {
			[]string{"UPDATE mboxgroup.appointment SET start_time = start_time + INTERVAL 1 SECOND WHERE mailbox_id = ID ORDER BY item_id LIMIT 1"},
			"mboxgroup.appointment", []mboxdb.KeyMismatch{{Key: any, Kind: "different"}},
		},
		"the last bit of a large number": {
			[]string{"UPDATE mboxgroup.imap_message SET uid = uid - 100 WHERE mailbox_id = ID AND uid > 9223372036854775000 ORDER BY uid LIMIT 1"},
			"mboxgroup.imap_message", []mboxdb.KeyMismatch{{Key: any, Kind: "different"}},
		},
	} {
		for _, stmt := range test.stmts {
			m.exec(t, strings.ReplaceAll(stmt, "ID", m.to.ID.String()))
		}
		_, err := m.verify(t, c, name)
		var mismatch *mboxdb.MismatchError
		require.ErrorAs(t, err, &mismatch, name)
		require.Len(t, mismatch.Tables, 1, "%s: %v", name, err)
		is := mismatch.Tables[0]
		require.Equal(t, test.table, is.Table, name)
		require.False(t, is.More, name)
		require.Len(t, is.Keys, len(test.keys), "%s: %v", name, err)
		for i, k := range test.keys {
			if k.Kind != any {
				require.Equal(t, k.Kind, is.Keys[i].Kind, name)
			}
			if k.Key != any {
				require.Equal(t, k.Key, is.Keys[i].Key, name)
			}
		}
		require.Empty(t, mismatch.Strays, name)
		_, err = c.Load(ctx)
		require.NoError(t, err, name)
		_, err = m.verify(t, c, name)
		require.NoError(t, err, "%s: loaded again", name)
	}

	// A volume of the source that the map does not have is equal to nothing, also where the destination has the same number.
	mustExec(t, m.src.RootDB(t), fmt.Sprintf("UPDATE mboxgroup%d.revision SET locator = '5' WHERE mailbox_id = %d AND locator IS NOT NULL"+
		" ORDER BY item_id, version LIMIT 1", m.from.Group, m.from.ID))
	_, err = m.verify(t, c, "a volume that is in no map")
	require.ErrorContains(t, err, "mboxgroup.revision")
	mustExec(t, m.src.RootDB(t), fmt.Sprintf("UPDATE mboxgroup%d.revision SET locator = '1' WHERE mailbox_id = %d AND locator = '5'", m.from.Group, m.from.ID))
	_, err = m.verify(t, c, "a volume that is in the map again")
	require.NoError(t, err)

	// A NULL that changed places with the value beside it.
	one := " WHERE mailbox_id = ? AND id = ?"
	var id int64
	require.NoError(t, m.dstRoot.QueryRow(m.in("SELECT MIN(id) FROM mboxgroup.mail_item WHERE mailbox_id = ? AND sender IS NOT NULL"), m.to.ID).Scan(&id))
	m.exec(t, "UPDATE mboxgroup.mail_item SET recipients = sender, sender = NULL"+one, m.to.ID, id)
	mustExec(t, m.src.RootDB(t), fmt.Sprintf("UPDATE mboxgroup%d.mail_item SET recipients = NULL WHERE mailbox_id = %d AND id = %d", m.from.Group, m.from.ID, id))
	_, err = m.verify(t, c, "NULL in another place")
	require.ErrorContains(t, err, "mboxgroup.mail_item")
	m.exec(t, "UPDATE mboxgroup.mail_item SET sender = recipients, recipients = NULL"+one, m.to.ID, id)
	_, err = m.verify(t, c, "NULL in its place")
	require.NoError(t, err)

	// Rows that refer to nothing, rows where none should be, and a different number of equal ones.
	m.exec(t, fmt.Sprintf("INSERT INTO mboxgroup.tagged_item (mailbox_id, tag_id, item_id) VALUES (%d, 999, 2000000000)", m.to.ID))
	m.exec(t, fmt.Sprintf("INSERT INTO zimbra.volume_blobs (volume_id, mailbox_id, item_id, revision) VALUES (5, %d, 1, 1)", m.to.ID))
	m.exec(t, fmt.Sprintf("INSERT INTO zimbra.mailbox_metadata (mailbox_id, section) VALUES (%d, 'x')", m.to.ID))
	m.exec(t, fmt.Sprintf("UPDATE mboxgroup.mail_item SET subject = CONCAT('xyzzy', COALESCE(subject, '')) WHERE mailbox_id = %d", m.to.ID))
	_, err = m.verify(t, c, "everything at once")
	var mismatch *mboxdb.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, map[string]int64{"mboxgroup.tagged_item(mailbox_id,item_id)": 1, "mboxgroup.tagged_item(mailbox_id,tag_id)": 1}, mismatch.Orphans)
	require.Equal(t, map[string]int64{"zimbra.volume_blobs": 1, "zimbra.mailbox_metadata": 1}, mismatch.Strays)
	require.Len(t, mismatch.Tables, 2)
	require.Equal(t, "mboxgroup.mail_item", mismatch.Tables[0].Table)
	require.Len(t, mismatch.Tables[0].Keys, 10)
	require.True(t, mismatch.Tables[0].More)
	require.Equal(t, []mboxdb.KeyMismatch{{Key: "tag_id=999,item_id=2000000000", Kind: "extra"}}, mismatch.Tables[1].Keys)
	require.NotContains(t, err.Error(), "xyzzy")
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// What comes out of the rewriter is not believed: nothing that is not a row of this mailbox is written anywhere.
func TestRewriteIsNotTrusted(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 40)
	srcBefore, dstBefore := m.bystanders(t)
	// after edits the rewritten text.
	after := func(edit func(string) string) func(context.Context, io.Writer, io.Reader) error {
		return func(ctx context.Context, dst io.Writer, src io.Reader) error {
			var b strings.Builder
			if err := m.rewriter().rewrite(ctx, &b, src); err != nil {
				return err
			}
			_, err := io.WriteString(dst, edit(b.String()))
			return err
		}
	}
	replace := func(old, new string) func(context.Context, io.Writer, io.Reader) error {
		return after(func(s string) string {
			require.Contains(t, s, old)
			return strings.Replace(s, old, new, 1)
		})
	}
	own := errors.New("the rewriter's own error")
	head := fmt.Sprintf("INSERT INTO `mboxgroup%d`.`tag` (", m.to.Group)
	row := fmt.Sprintf("\n(%s,", m.to.ID)
	for name, test := range map[string]struct {
		rewrite func(context.Context, io.Writer, io.Reader) error
		want    string // of a *DumpError; "": ErrTruncated
		is      error  // instead
	}{
		"not at all":           {func(_ context.Context, dst io.Writer, src io.Reader) error { _, err := io.Copy(dst, src); return err }, "neither a comment nor an INSERT", nil},
		"another id":           {replace(row, "\n(1,"), "a row of another mailbox id", nil},
		"an id that hides":     {replace(row, fmt.Sprintf("\n(%s.0,", m.to.ID)), "a row of another mailbox id", nil},
		"another table":        {replace("`.`tag` (", "`.`watch` ("), "neither a comment nor an INSERT", nil},
		"another database":     {replace(fmt.Sprintf("`mboxgroup%d`.`tag`", m.to.Group), "`mboxgroup1`.`tag`"), "neither a comment nor an INSERT", nil},
		"another column order": {replace(head+"`mailbox_id`,`color`,`id`", head+"`mailbox_id`,`id`,`color`"), "neither a comment nor an INSERT", nil},
		"a statement":          {replace(head, "DROP TABLE x;\n"+head), "neither a comment nor an INSERT", nil},
		"a statement behind":   {replace(");\nINSERT", "); DROP TABLE x;\nINSERT"), "text behind a row", nil},
		"an expression":        {replace(row, fmt.Sprintf("\n((SELECT %s),", m.to.ID)), "a value is not a literal", nil},
		"a value more":         {replace(row, fmt.Sprintf("\n(%s,NULL,", m.to.ID)), "a row has not one value for each column", nil},
		"a locator":            {replace("'5'", "'1'"), "a locator that is none of the destination's volumes", nil},
		"other bytes":          {replace(row, row+"'\xff',"), "a row is not UTF-8", nil},
		"a row less": {after(func(s string) string {
			i := strings.Index(s, row)
			j := strings.Index(s[i+1:], "\n")
			return s[:i] + s[i+1+j:]
		}), "rows, and", nil},
		"a row twice": {after(func(s string) string {
			i := strings.Index(s, row)
			j := strings.Index(s[i+1:], "\n")
			return s[:i+1+j] + s[i:]
		}), "rows, and", nil},
		"text behind the end":  {after(func(s string) string { return s + "-- \n" }), "text behind the closing line", nil},
		"no beginning":         {after(func(s string) string { return s[1:] }), "does not begin as a dump", nil},
		"another closing line": {replace("-- Dump completed {", "-- Dump completed on {"), "the closing line is not one of", nil},
		"cut in a row":         {after(func(s string) string { return s[:strings.Index(s, row)+5] }), "", nil},
		"cut behind a row":     {after(func(s string) string { i := strings.LastIndex(s, row); return s[:i+1] }), "", nil},
		"cut before the end":   {after(func(s string) string { return s[:strings.Index(s, "-- Dump completed")] }), "", nil},
		"nothing":              {after(func(s string) string { return "" }), "", nil},
		"its own error":        {func(ctx context.Context, dst io.Writer, src io.Reader) error { return own }, "", own},
		"its own error, late": {func(ctx context.Context, dst io.Writer, src io.Reader) error {
			return errors.Join(m.rewriter().rewrite(ctx, dst, src), own)
		}, "", own},
		"an unmapped locator": {func(ctx context.Context, dst io.Writer, src io.Reader) error {
			r := m.rewriter()
			r.Volumes = nil
			return r.rewrite(ctx, dst, src)
		}, "no locator", io.EOF},
		"it stops reading": {func(ctx context.Context, dst io.Writer, src io.Reader) error { return nil }, "stopped before the end of the dump", io.EOF},
	} {
		c := m.copy(t, func(o *mboxdb.CopyOptions) { o.Rewrite = test.rewrite })
		_, err := c.Load(ctx)
		var bad *mboxdb.DumpError
		switch {
		case test.is == io.EOF:
			require.ErrorContains(t, err, test.want, name)
		case test.is != nil:
			require.ErrorIs(t, err, test.is, name)
		case test.want == "":
			require.ErrorIs(t, err, mboxdb.ErrTruncated, name)
		default:
			require.ErrorAs(t, err, &bad, name)
			require.ErrorContains(t, err, test.want, name)
			require.GreaterOrEqual(t, bad.Offset, int64(0), name)
		}
	}
	srcAfter, dstAfter := m.bystanders(t)
	require.Equal(t, srcBefore, srcAfter)
	require.Equal(t, dstBefore, dstAfter)
	c := m.copy(t)
	_, err := c.Load(ctx)
	require.NoError(t, err)
	m.requireEqual(t, qualified("mboxgroup", groupTables)...)
	require.NoError(t, c.Remove(ctx, elsewhere))
}

func TestNewCopyNamesEveryMistake(t *testing.T) {
	_, err := mboxdb.NewCopy(nil, nil, mboxdb.Mailbox{AccountID: "a"}, mboxdb.Mailbox{AccountID: "b"}, nil)
	for _, want := range []string{
		"no database", "no mailbox id", "no mailbox group", `accounts "b" and "a"`, `the claim is for account "", not "a"`, "Rewrite is required",
		"IndexVolume is required", "Address is required", "a claim needs",
	} {
		require.ErrorContains(t, err, want)
	}
}

// Servers that were upgraded allow NULL in other columns; what has none is equal all the same.
func TestColumnThatMayBeNullOnOneSide(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	change := "ALTER TABLE mboxgroup%d.mail_item MODIFY mod_metadata INT UNSIGNED %s"
	for name, side := range map[string]struct {
		db    *sql.DB
		group int
	}{"source": {m.src.RootDB(t), m.from.Group}, "destination": {m.dst.RootDB(t), m.to.Group}} {
		mustExec(t, side.db, fmt.Sprintf(change, side.group, "NULL"))
		t.Cleanup(func() { mustExec(t, side.db, fmt.Sprintf(change, side.group, "NOT NULL")) })
		c := m.copy(t)
		_, err := c.Presync(ctx)
		require.NoError(t, err, name)
		_, err = m.verify(t, c, name)
		require.NoError(t, err, name)
		require.NoError(t, c.Remove(ctx, elsewhere), name)
		mustExec(t, side.db, fmt.Sprintf(change, side.group, "NOT NULL"))
	}
}

func TestLoadRefusesAnotherSchema(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	testGroup(t, m.dst, 9104)
	m.to.Group = 9104
	c := m.copy(t)
	_, err := c.Load(ctx)
	require.ErrorIs(t, err, mboxdb.ErrNoGroup)
	require.NoError(t, m.dstDB.EnsureGroup(ctx, 9104))
	mustExec(t, m.dst.RootDB(t), "ALTER TABLE mboxgroup9104.watch MODIFY target VARCHAR(35) NOT NULL")
	for name, f := range map[string]func() error{
		"load":    func() error { _, err := c.Load(ctx); return err },
		"verify":  func() error { _, err := c.Verify(ctx); return err },
		"publish": func() error { _, err := c.Publish(ctx); return err },
	} {
		var schema *mboxdb.SchemaError
		require.ErrorAs(t, f(), &schema, name)
		require.Equal(t, []string{"mboxgroup.watch.target: varchar(36) utf8mb3_general_ci at the source, varchar(35) utf8mb3_general_ci at the destination"}, schema.Differences)
	}
}
