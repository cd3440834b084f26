package mboxdb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// Rows at the destination that somebody else changed stop the next pass, and are not healed in silence.
func TestForeignWriter(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	for name, test := range map[string]struct {
		stmt  string
		table string
		ids   [2]int64
		key   mboxdb.KeyMismatch
	}{
		"a changed row": {
			"UPDATE mboxgroup.mail_item SET unread = 7 WHERE mailbox_id = ID AND id = 257",
			"mboxgroup.mail_item", [2]int64{0, 1023}, mboxdb.KeyMismatch{Key: "id=257", Kind: "different"},
		},
		"a deleted row": {
			"DELETE FROM mboxgroup.mail_item WHERE mailbox_id = ID AND id = 257",
			"mboxgroup.mail_item", [2]int64{0, 1023}, mboxdb.KeyMismatch{Key: "id=257", Kind: "missing"},
		},
		"a new row where none was": {
			"INSERT INTO mboxgroup.revision (mailbox_id, item_id, version, date, size, mod_metadata, mod_content) VALUES (ID, 5000000, 1, 1, 1, 1, 1)",
			"mboxgroup.revision", [2]int64{4999168, 5000191}, mboxdb.KeyMismatch{Key: "item_id=5000000,version=1", Kind: "extra"},
		},
		"all of a table deleted": {
			"DELETE FROM mboxgroup.watch WHERE mailbox_id = ID",
			"mboxgroup.watch", [2]int64{}, mboxdb.KeyMismatch{Kind: "missing"},
		},
		"a row in a table without a key": {
			"INSERT INTO mboxgroup.event (mailbox_id, account_id, item_id, folder_id, op, ts) VALUES (ID, 'somebody', 257, 2, 1, 1)",
			"mboxgroup.event", [2]int64{0, 1023}, mboxdb.KeyMismatch{Kind: "extra"},
		},
		"a row in a table that is taken as a whole": {
			"UPDATE mboxgroup.tag SET sequence = sequence + 1 WHERE mailbox_id = ID AND id = 65",
			"mboxgroup.tag", [2]int64{}, mboxdb.KeyMismatch{Key: "id=65", Kind: "different"},
		},
	} {
		m.exec(t, strings.ReplaceAll(test.stmt, "ID", m.to.ID.String()))
		for what, f := range map[string]func() error{
			"diff":                         func() error { _, err := c.Diff(ctx); return err },
			"presync by another process":   func() error { _, err := m.copy(t).Presync(ctx); return err },
			"presync by a process like it": func() error { _, err := c.Presync(ctx); return err },
		} {
			err := f()
			require.ErrorIs(t, err, mboxdb.ErrForeignWriter, "%s: %s", name, what)
			var foreign *mboxdb.ForeignWriterError
			require.ErrorAs(t, err, &foreign, name)
			require.Len(t, foreign.Buckets, 1, "%s: %v", name, err)
			b := foreign.Buckets[0]
			require.Equal(t, test.table, b.Table, name)
			require.Equal(t, test.ids, [2]int64{b.From, b.To}, name)
			require.NotEmpty(t, b.Keys, name)
			require.Equal(t, test.key.Kind, b.Keys[0].Kind, name)
			if test.key.Key != "" {
				require.Equal(t, test.key, b.Keys[0], name)
			}
		}
		// The way out: everything anew.
		_, err := c.Load(ctx)
		require.NoError(t, err, name)
		_, err = c.Diff(ctx)
		require.NoError(t, err, "%s: after Load nothing is known about who wrote", name)
		_, err = c.Presync(ctx)
		require.NoError(t, err, name)
		m.requireSame(t, name)
	}

	// The source may change as it likes, and many at once are named shortly.
	u := m.mutator(t, 3)
	for range 200 {
		mutations[u.rng.IntN(len(mutations))].f(u)
	}
	_, err = c.Presync(ctx)
	require.NoError(t, err)
	m.requireSame(t, "after changes of the source")
	m.exec(t, fmt.Sprintf("UPDATE mboxgroup.mail_item SET subject = 'xyzzy' WHERE mailbox_id = %d", m.to.ID))
	_, err = c.Diff(ctx)
	require.ErrorIs(t, err, mboxdb.ErrForeignWriter)
	require.NotContains(t, err.Error(), "xyzzy")
	require.NoError(t, c.Remove(ctx, elsewhere))
	_, err = c.Presync(ctx)
	require.NoError(t, err, "after Remove nobody has written anything")
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// Another move of the account, or one whose fence was raised, cannot write; and what an ended move remembered is not held against the next.
func TestPresyncIsFenced(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	old := m.copy(t)
	_, err := old.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 4)
	deliver(u)
	d, err := old.Diff(ctx)
	require.NoError(t, err)
	claim := m.opt.Claim
	claim.Fence++
	require.NoError(t, m.dstDB.Claim(ctx, claim))
	_, err = old.Apply(ctx, d)
	require.ErrorIs(t, err, mboxdb.ErrFenced)
	_, err = old.Presync(ctx)
	require.ErrorIs(t, err, mboxdb.ErrFenced)
	require.NotEmpty(t, m.unequal(t), "nothing was written")
	c := m.copy(t, func(o *mboxdb.CopyOptions) { o.Claim = claim })
	catchUp(t, c, "the next opening of the same move")
	m.requireSame(t, "the next opening of the same move")

	// Published rows are mailboxd's.
	_, err = c.Publish(ctx)
	require.NoError(t, err)
	d, err = c.Diff(ctx)
	require.NoError(t, err)
	require.True(t, d.Empty())
	_, err = c.Apply(ctx, d)
	require.ErrorIs(t, err, mboxdb.ErrPublished, "with nothing to do, too")
	deliver(u)
	_, err = c.Presync(ctx)
	require.ErrorIs(t, err, mboxdb.ErrPublished)
	d2, err := c.Diff(ctx)
	require.NoError(t, err)
	_, err = c.Apply(ctx, d2)
	require.ErrorIs(t, err, mboxdb.ErrPublished)

	require.NoError(t, c.Unpublish(ctx, nil))
	catchUp(t, c, "unpublished")
	require.NoError(t, m.dstDB.End(ctx, claim))
	require.Zero(t, number(t, m.dst.RootDB(t), "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ?", m.account.ID))
	claim = mboxdb.Claim{Move: "another", AccountID: m.account.ID, Fence: claim.Fence + 1}
	require.NoError(t, m.dstDB.Claim(ctx, claim))
	c = m.copy(t, func(o *mboxdb.CopyOptions) { o.Claim = claim })
	m.exec(t, fmt.Sprintf("UPDATE mboxgroup.mail_item SET unread = 9 WHERE mailbox_id = %d", m.to.ID))
	_, err = c.Presync(ctx)
	require.NoError(t, err)
	m.requireSame(t, "another move")
	require.NoError(t, c.Remove(ctx, elsewhere))
}
