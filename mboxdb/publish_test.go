package mboxdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

// loaded is a move whose group tables are copied.
func loaded(t *testing.T, items int) *move {
	t.Helper()
	m := newMove(t, items)
	_, err := m.copy(t).Load(t.Context())
	require.NoError(t, err)
	return m
}

// leave removes the move's rows.
func (m *move) leave(t *testing.T) {
	t.Helper()
	require.NoError(t, m.copy(t).Remove(t.Context(), elsewhere))
	traces, err := m.dst.Traces(t.Context(), uint32(m.to.ID))
	require.NoError(t, err)
	require.Empty(t, traces)
}

// unpublished wants no row of the mailbox in zimbra.
func (m *move) unpublished(t *testing.T, name string) {
	t.Helper()
	for _, table := range zimbraTables {
		column := "mailbox_id"
		if table == "mailbox" {
			column = "id"
		}
		require.Zero(t, number(t, m.dstRoot, "SELECT COUNT(*) FROM zimbra."+table+" WHERE "+column+" = ?", m.to.ID), "%s: %s", name, table)
	}
}

// Another mover took over: nothing of the older one is written any more.
func TestOldClaimsWriteNothing(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	old := m.copy(t)
	m.opt.Claim.Fence++
	require.NoError(t, m.dstDB.Claim(ctx, m.opt.Claim))
	_, before := m.bystanders(t)
	mine := content(t, m.dst.RootDB(t), m.in("mboxgroup.mail_item"), m.to.ID, nil)
	for name, f := range map[string]func() error{
		"load":    func() error { _, err := old.Load(ctx); return err },
		"publish": func() error { _, err := old.Publish(ctx); return err },
		"unpublish": func() error {
			return old.Unpublish(ctx, &mboxdb.DeletedAccount{Email: "x@lab.example", AccountID: "x"})
		},
		"remove": func() error { return old.Remove(ctx, elsewhere) },
	} {
		require.ErrorIs(t, f(), mboxdb.ErrFenced, name)
	}
	require.Equal(t, mine, content(t, m.dst.RootDB(t), m.in("mboxgroup.mail_item"), m.to.ID, nil))
	_, after := m.bystanders(t)
	require.Equal(t, before, after)

	// Taken over in the middle of a load: it ends before the next transaction.
	c := m.copy(t, func(o *mboxdb.CopyOptions) {
		o.Rewrite = func(ctx context.Context, dst io.Writer, src io.Reader) error {
			claim := m.opt.Claim
			claim.Fence++
			if err := m.dstDB.Claim(ctx, claim); err != nil {
				return err
			}
			return m.rewriter().rewrite(ctx, dst, src)
		}
	})
	_, err := c.Load(ctx)
	require.ErrorIs(t, err, mboxdb.ErrFenced)
	m.opt.Claim.Fence++
	require.Empty(t, content(t, m.dst.RootDB(t), m.in("mboxgroup.mail_item"), m.to.ID, nil))
	m.leave(t)
}

// Ids that are not this account's are refused, and what lies under them stays.
func TestForeignIDsAreRefused(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	other := loaded(t, 25)
	_, before := other.bystanders(t)
	methods := func(c *mboxdb.Copy) map[string]error {
		_, load := c.Load(ctx)
		_, publish := c.Publish(ctx)
		return map[string]error{"load": load, "publish": publish, "unpublish": c.Unpublish(ctx, nil), "remove": c.Remove(ctx, elsewhere)}
	}
	theirs := *m
	theirs.to.ID, theirs.to.Group = other.to.ID, other.to.Group
	for name, err := range methods(theirs.copy(t)) {
		require.ErrorIs(t, err, mboxdb.ErrNotReserved, name)
	}
	_, after := other.bystanders(t)
	require.Equal(t, before, after)

	// The id went to somebody else.
	stranger := newID()
	insertMailbox(t, m.dst, int64(m.to.ID), stranger)
	mine := content(t, m.dst.RootDB(t), m.in("mboxgroup.mail_item"), m.to.ID, nil)
	require.NotEmpty(t, mine)
	for name, err := range methods(m.copy(t)) {
		require.ErrorIs(t, err, mboxdb.ErrExists, name)
	}
	_, err := m.copy(t).Verify(ctx)
	require.ErrorIs(t, err, mboxdb.ErrExists)
	require.Equal(t, mine, content(t, m.dst.RootDB(t), m.in("mboxgroup.mail_item"), m.to.ID, nil))
	require.Equal(t, int64(1), number(t, m.dst.RootDB(t), "SELECT COUNT(*) FROM zimbra.mailbox WHERE id = ? AND account_id = ?", m.to.ID, stranger))
	m.exec(t, "DELETE FROM zimbra.mailbox WHERE id = ?", m.to.ID)

	// The account got another mailbox there: nothing is loaded or published, and ours can still be cleaned up.
	id, undo, err := m.dst.PlantMailbox(ctx, m.account.ID)
	require.NoError(t, err)
	_, err = m.copy(t).Load(ctx)
	require.ErrorIs(t, err, mboxdb.ErrExists)
	_, err = m.copy(t).Publish(ctx)
	require.ErrorIs(t, err, mboxdb.ErrExists)
	m.leave(t)
	require.Equal(t, int64(1), number(t, m.dst.RootDB(t), "SELECT COUNT(*) FROM zimbra.mailbox WHERE id = ?", id))
	require.NoError(t, undo(ctx))
	other.leave(t)
}

// What is not as it was meant is not committed.
func TestPublishCompares(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	edit := func(table string, change func([]string) []string) func(*mboxdb.CopyOptions) {
		return func(o *mboxdb.CopyOptions) {
			r := m.rewriter()
			done := false
			r.Edit = func(name string, row []string) []string {
				if done || name != "`zimbra`.`"+table+"`" {
					return row
				}
				done = true
				return change(row)
			}
			o.Rewrite = r.rewrite
		}
	}
	last := func(value string) func([]string) []string {
		return func(row []string) []string { row[len(row)-1] = value; return row }
	}
	for name, test := range map[string]struct {
		change func(*mboxdb.CopyOptions)
		table  string
		kind   string
	}{
		"another value":  {edit("mailbox_metadata", func(row []string) []string { row[1] = "'changed'"; return row }), "zimbra.mailbox_metadata", "different"},
		"another column": {edit("mailbox", last("'2.8'")), "zimbra.mailbox", "version"},
	} {
		_, err := m.copy(t, test.change).Publish(ctx)
		var mismatch *mboxdb.MismatchError
		require.ErrorAs(t, err, &mismatch, name)
		require.Len(t, mismatch.Tables, 1, name)
		require.Equal(t, test.table, mismatch.Tables[0].Table, name)
		require.Equal(t, test.kind, mismatch.Tables[0].Keys[0].Kind, name)
		m.unpublished(t, name)
	}
	var bad *mboxdb.DumpError
	_, err := m.copy(t, edit("mailbox", func([]string) []string { return nil })).Publish(ctx)
	require.Error(t, err, "no mailbox row")
	m.unpublished(t, "no mailbox row")
	_, err = m.copy(t, edit("out_of_office", func(row []string) []string { row[0] = "1"; return row })).Publish(ctx)
	require.ErrorAs(t, err, &bad)
	m.unpublished(t, "another id")
	_, err = m.copy(t, func(o *mboxdb.CopyOptions) { o.IndexVolume = 5 }).Publish(ctx)
	require.ErrorContains(t, err, "the destination has no index volume 5")
	_, err = m.copy(t, func(o *mboxdb.CopyOptions) { o.Volumes = map[mboxdb.VolumeID]mboxdb.VolumeID{1: 7, 3: 5} }).Load(ctx)
	require.ErrorContains(t, err, "the destination has no volume 7 for blobs")

	// Published, then changed by somebody: a repeated Publish says so.
	published, err := m.copy(t).Publish(ctx)
	require.NoError(t, err)
	m.exec(t, "UPDATE zimbra.mailbox SET comment = 'somebody', last_backup_at = 1 WHERE id = ?", m.to.ID)
	_, err = m.copy(t).Publish(ctx)
	var mismatch *mboxdb.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, []mboxdb.KeyMismatch{{Key: "id=" + m.to.ID.String(), Kind: "comment, last_backup_at"}}, mismatch.Tables[0].Keys)

	// Unpublish is repeatable, and what is left can be published again.
	for range 2 {
		require.NoError(t, m.copy(t).Unpublish(ctx, nil))
		m.unpublished(t, "unpublished")
	}
	again, err := m.copy(t).Publish(ctx)
	require.NoError(t, err)
	require.Equal(t, published, again)
	m.leave(t)
}

// A mover that is killed between two transactions, and one that then begins again.
func TestLoadIsRepeatable(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 3000)
	killed := errors.New("killed")
	for _, rows := range []int{1, 2500, 4500} {
		left := rows
		c := m.copy(t, func(o *mboxdb.CopyOptions) {
			r := m.rewriter()
			o.Rewrite = func(ctx context.Context, dst io.Writer, src io.Reader) error {
				return r.rewrite(ctx, writerFunc(func(p []byte) (int, error) {
					if left -= bytes.Count(p, []byte("\n")); left < 0 {
						return 0, killed
					}
					return dst.Write(p)
				}), src)
			}
		})
		_, err := c.Load(ctx)
		require.ErrorIs(t, err, killed)
	}
	c := m.copy(t)
	sum, err := c.Load(ctx)
	require.NoError(t, err)
	require.Greater(t, sum.Rows, int64(6000), "several transactions")
	_, err = c.Verify(ctx)
	require.NoError(t, err)
	m.requireEqual(t, "mboxgroup.mail_item", "mboxgroup.event")

	// The same rows name the same blobs, on the volumes of the other side.
	want, err := m.src.RootDB(t).Query(fmt.Sprintf("SELECT id, mod_content, locator FROM mboxgroup%[1]d.mail_item WHERE mailbox_id = %[2]d AND locator IS NOT NULL"+
		" UNION ALL SELECT id, mod_content, locator FROM mboxgroup%[1]d.mail_item_dumpster WHERE mailbox_id = %[2]d AND locator IS NOT NULL"+
		" UNION ALL SELECT item_id, mod_content, locator FROM mboxgroup%[1]d.revision WHERE mailbox_id = %[2]d AND locator IS NOT NULL"+
		" UNION ALL SELECT item_id, mod_content, locator FROM mboxgroup%[1]d.revision_dumpster WHERE mailbox_id = %[2]d AND locator IS NOT NULL", m.from.Group, m.from.ID))
	require.NoError(t, err)
	defer want.Close()
	wanted := map[string]int{}
	for want.Next() {
		var item, change uint32
		var locator string
		require.NoError(t, want.Scan(&item, &change, &locator))
		wanted[fmt.Sprintf("%d-%d on %s", item, change, locator)]++
	}
	require.NoError(t, want.Err())
	require.Greater(t, len(wanted), 2000, "several pages")
	got, there := map[string]int{}, map[string]int{}
	last := uint32(0)
	tables := map[string]bool{}
	for b, err := range m.srcDB.Blobs(ctx, m.from) {
		require.NoError(t, err)
		require.GreaterOrEqual(t, b.Item, last, "in order")
		last = b.Item
		tables[b.Table] = true
		got[fmt.Sprintf("%d-%d on %s", b.Item, b.ModContent, b.Volume)]++
		there[fmt.Sprintf("%d-%d on %s", b.Item, b.ModContent, volumes[b.Volume])]++
	}
	require.Equal(t, wanted, got)
	require.Len(t, tables, 4)
	for b, err := range m.dstDB.Blobs(ctx, m.to) {
		require.NoError(t, err)
		there[fmt.Sprintf("%d-%d on %s", b.Item, b.ModContent, b.Volume)]--
	}
	for name, n := range there {
		require.Zero(t, n, name)
	}
	locators, err := m.srcDB.Locators(ctx, m.from)
	require.NoError(t, err)
	var sumLocators, sumBlobs int64
	for _, n := range locators {
		sumLocators += n
	}
	for _, n := range got {
		sumBlobs += int64(n)
	}
	require.Equal(t, sumBlobs, sumLocators)
	require.Contains(t, locators, "1")
	require.Contains(t, locators, "3")

	for range m.srcDB.Blobs(ctx, m.from) {
		break // a caller that has seen enough
	}
	m.leave(t)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBlobsOfOtherStores(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	m.exec(t, "UPDATE mboxgroup.revision SET locator = '5@@s3/abc' WHERE mailbox_id = ? ORDER BY item_id DESC LIMIT 1", m.to.ID)
	var err error
	n := 0
	for _, err = range m.dstDB.Blobs(ctx, m.to) {
		n++
	}
	var locator *mboxdb.LocatorError
	require.ErrorAs(t, err, &locator)
	require.Equal(t, "mboxgroup.revision", locator.Table)
	require.NotContains(t, err.Error(), "s3")
	require.Positive(t, locator.Item)
	locators, err := m.dstDB.Locators(ctx, m.to)
	require.NoError(t, err)
	require.Equal(t, int64(1), locators["5@@s3/abc"])
	nowhere := m.to
	nowhere.Group = 9105
	for _, err = range m.dstDB.Blobs(ctx, nowhere) {
	}
	require.ErrorIs(t, err, mboxdb.ErrNoGroup)
	m.leave(t)
}

// What a policy leaves out of a move is not deleted either, and not overlooked.
func TestRemoveProvesZero(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	_, err := m.copy(t).Publish(ctx)
	require.NoError(t, err)
	undo, err := m.dst.PlantTable(ctx, "zimbra", "ext_notes", uint32(m.to.ID))
	require.NoError(t, err)
	err = m.copy(t).Remove(ctx, elsewhere)
	var unknown *mboxdb.UnknownTableError
	require.ErrorAs(t, err, &unknown)
	o := options(m.dst)
	o.Tables = map[string]mboxdb.TablePolicy{"zimbra.ext_notes": mboxdb.PolicySkip}
	skipping := *m
	skipping.dstDB = mboxdb.New(m.dst.DB(t), o)
	err = skipping.copy(t).Remove(ctx, elsewhere)
	var left *mboxdb.LeftoversError
	require.ErrorAs(t, err, &left)
	require.Equal(t, m.to.ID, left.ID)
	require.Len(t, left.Rows, 1)
	require.Contains(t, left.Rows, "zimbra.ext_notes")
	require.NoError(t, undo(ctx))
	m.leave(t)

	// In another group than the reserved one nothing would be found. Without a group database there is nothing to remove.
	m.to.Group = 9105
	require.ErrorIs(t, m.copy(t).Remove(ctx, elsewhere), mboxdb.ErrNotReserved)
	m.exec(t, "UPDATE zmlift.moves SET group_id = 9105 WHERE account_id = ?", m.account.ID)
	require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
}

// A table that is not known goes along when a policy says so, with the mailbox id mapped and nothing else.
func TestPolicyCopy(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	undoSrc, err := m.src.PlantTable(ctx, "zimbra", "ext_notes", uint32(m.from.ID))
	require.NoError(t, err)
	undoDst, err := m.dst.PlantTable(ctx, "zimbra", "ext_notes", 77)
	require.NoError(t, err)
	_, err = m.copy(t).Load(ctx)
	var unknown *mboxdb.UnknownTableError
	require.ErrorAs(t, err, &unknown)
	for db, s := range map[**mboxdb.DB]*lab.Store{&m.srcDB: m.src, &m.dstDB: m.dst} {
		o := options(s)
		o.Tables = map[string]mboxdb.TablePolicy{"zimbra.ext_notes": mboxdb.PolicyCopy}
		*db = mboxdb.New(s.DB(t), o)
	}
	_, err = m.copy(t).Load(ctx)
	require.NoError(t, err)
	published, err := m.copy(t).Publish(ctx)
	require.NoError(t, err)
	require.Len(t, published, 8)
	m.requireEqual(t, "zimbra.ext_notes")
	m.leave(t)
	require.NoError(t, undoDst(ctx))
	require.NoError(t, undoSrc(ctx))
}

func TestDump(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	var a, b bytes.Buffer
	sum, err := m.srcDB.Dump(ctx, &a, m.from, nil)
	require.NoError(t, err)
	require.Equal(t, int64(a.Len()), sum.Bytes)
	require.Len(t, sum.Tables, 25)
	n, err := m.srcDB.Count(ctx, m.from)
	require.NoError(t, err)
	require.Equal(t, n, sum.Rows)
	var done, total int64
	_, err = m.srcDB.Dump(ctx, &b, m.from, &mboxdb.DumpOptions{Progress: func(d, n int64) { done, total = d, n }})
	require.NoError(t, err)
	require.Equal(t, a.String(), b.String(), "the same rows are the same text")
	require.Equal(t, []int64{n, n}, []int64{done, total})
	lines := strings.Split(a.String(), "\n")
	require.True(t, strings.HasPrefix(lines[len(lines)-2], "-- Dump completed {"), "the closing line")

	// The text is SQL: what the client makes of it is what Load makes of it.
	var rewritten bytes.Buffer
	require.NoError(t, m.rewriter().rewrite(ctx, &rewritten, &a))
	argv := []string{"env", "MYSQL_PWD=" + m.dst.MySQLPassword, "mariadb", "--no-defaults", "--protocol=tcp", "--host=127.0.0.1",
		"--port=" + m.dst.MySQLAddr[strings.LastIndex(m.dst.MySQLAddr, ":")+1:], "--user=" + m.dst.MySQLUser}
	require.NoError(t, m.dst.Run(ctx, argv, &rewritten, nil))
	for _, table := range groupTables {
		m.requireEqual(t, "mboxgroup."+table)
	}
	for _, table := range zimbraTables {
		m.requireEqual(t, "zimbra."+table)
	}
	m.leave(t)

	full := errors.New("disk full")
	_, err = m.srcDB.Dump(ctx, writerFunc(func([]byte) (int, error) { return 0, full }), m.from, nil)
	require.ErrorIs(t, err, full)
	for name, change := range map[string]func(*mboxdb.Mailbox){
		"id":      func(m *mboxdb.Mailbox) { m.ID = 4000000000 },
		"group":   func(m *mboxdb.Mailbox) { m.Group = m.Group%100 + 1 },
		"account": func(m *mboxdb.Mailbox) { m.AccountID = newID() },
	} {
		other := m.from
		change(&other)
		require.NoError(t, m.src.CreateGroup(ctx, other.Group))
		_, err := m.srcDB.Dump(ctx, io.Discard, other, nil)
		require.ErrorIs(t, err, mboxdb.ErrNotFound, name)
	}
}

// A dump is of one moment.
func TestDumpIsASnapshot(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 1500) // more than the writer's buffer takes, so that the first write comes in the middle
	var b bytes.Buffer
	late := false
	_, err := m.srcDB.Dump(ctx, writerFunc(func(p []byte) (int, error) {
		if !late {
			late = true
			mustExec(t, m.src.RootDB(t), fmt.Sprintf("INSERT INTO mboxgroup%d.watch (mailbox_id, target, item_id) VALUES (%d, 'too late', 1)", m.from.Group, m.from.ID))
		}
		return b.Write(p)
	}), m.from, nil)
	require.NoError(t, err)
	require.NotContains(t, b.String(), "too late")
	b.Reset()
	_, err = m.srcDB.Dump(ctx, &b, m.from, nil)
	require.NoError(t, err)
	require.Contains(t, b.String(), "too late")
}
