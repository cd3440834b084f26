package mboxdb_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// requireSame compares every table of the group row by row, whether it has rows or not, and has the second verifier do so.
func (m *move) requireSame(t testing.TB, what string) {
	t.Helper()
	require.Empty(t, m.unequal(t.(*testing.T)), what)
	_, err := m.second(t)
	require.NoError(t, err, what)
}

// unequal are the tables of the group that differ, by full comparison of their rows in order.
func (m *move) unequal(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, name := range groupTables {
		src := content(t, m.srcRoot, fmt.Sprintf("mboxgroup%d.%s", m.from.Group, name), m.from.ID, volumes)
		if !slices.Equal(src, content(t, m.dstRoot, fmt.Sprintf("mboxgroup%d.%s", m.to.Group, name), m.to.ID, nil)) {
			out = append(out, name)
		}
	}
	return out
}

// A digest is of bytes: no server takes them for text, which it would convert.
func TestDigestsAreOfBytes(t *testing.T) {
	m := newMove(t, 20)
	for _, side := range []struct {
		db   *mboxdb.DB
		root *sql.DB
		box  mboxdb.Mailbox
	}{{m.srcDB, m.srcRoot, m.from}, {m.dstDB, m.dstRoot, m.to}} {
		tables, err := side.db.Tables(t.Context(), side.box.Group)
		require.NoError(t, err)
		for _, table := range tables {
			name := strings.Replace(table.String(), "mboxgroup.", fmt.Sprintf("mboxgroup%d.", side.box.Group), 1)
			var is string
			err := side.root.QueryRowContext(t.Context(), "SELECT COLLATION("+mboxdb.SQLRowText(table)+") FROM (SELECT 1) one LEFT JOIN "+name+" ON FALSE").Scan(&is)
			require.NoError(t, err, name)
			require.Equal(t, "binary", is, name)
		}
	}
	require.NoError(t, m.copy(t).Remove(t.Context(), elsewhere))
}

// catchUp is what happens inside the lock.
func catchUp(t *testing.T, c *mboxdb.Copy, what string) (*mboxdb.Difference, []mboxdb.TableProof) {
	t.Helper()
	d, err := c.Diff(t.Context())
	require.NoError(t, err, what)
	_, err = c.Apply(t.Context(), d)
	require.NoError(t, err, what)
	proofs, err := c.Prove(t.Context(), d)
	require.NoError(t, err, what)
	require.Len(t, proofs, 18, what)
	return d, proofs
}

func TestPresync(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	srcBefore, dstBefore := m.bystanders(t)
	c := m.copy(t)
	p, err := c.Presync(ctx)
	require.NoError(t, err)
	require.Zero(t, p.Deleted)
	require.Positive(t, p.Passes)
	m.requireSame(t, "presync")
	verified, err := m.verify(t, c, "presync")
	require.NoError(t, err)
	var rows int64
	for _, proof := range verified {
		require.Equal(t, proof.Rows, p.Tables[proof.Table], proof.Table)
		rows += proof.Rows
	}
	require.Equal(t, rows, p.Rows)

	// Again, by another process: nothing to do, and the proof of nothing is the proof of everything.
	c = m.copy(t)
	p, err = c.Presync(ctx)
	require.NoError(t, err)
	require.Zero(t, p.Rows)
	d, proofs := catchUp(t, c, "again")
	require.True(t, d.Empty())
	require.Equal(t, verified, proofs)

	srcAfter, dstAfter := m.bystanders(t)
	require.Equal(t, srcBefore, srcAfter, "the source")
	require.Equal(t, dstBefore, dstAfter, "everybody else at the destination")
	require.NoError(t, c.Remove(ctx, elsewhere))
	require.Zero(t, number(t, m.dst.RootDB(t), "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ?", m.account.ID))
}

// Whatever mailboxd does to rows without a new change number is found, carried over and proven: each of them by name.
func TestMutations(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 400)
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 1)
	_, dstBefore := m.bystanders(t)
	for _, mu := range mutations {
		highest := u.change
		require.Positive(t, mu.f(u), "%s changed nothing", mu.name)
		d, err := c.Diff(ctx)
		require.NoError(t, err, mu.name)
		require.False(t, d.Empty(), mu.name)
		if !mu.visible {
			// The test of the test: what goes by change numbers alone leaves the copy unequal.
			_, err := c.Apply(ctx, d.Only(u.changedSince(highest)))
			require.NoError(t, err, mu.name)
			require.NotEmpty(t, m.unequal(t), "%s: change numbers were enough", mu.name)
			_, err = c.Prove(ctx, d)
			var mismatch *mboxdb.MismatchError
			require.ErrorAs(t, err, &mismatch, mu.name)
			_, other := m.second(t)
			requireAgreed(t, err, other, mu.name)
		}
		_, err = c.Apply(ctx, d)
		require.NoError(t, err, mu.name)
		proofs, err := c.Prove(ctx, d)
		require.NoError(t, err, mu.name)
		require.Empty(t, m.unequal(t), mu.name)
		verified, err := m.verify(t, c, mu.name)
		require.NoError(t, err, mu.name)
		require.Equal(t, verified, proofs, mu.name)
	}
	_, dstAfter := m.bystanders(t)
	require.Equal(t, dstBefore, dstAfter, "everybody else at the destination")
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// changedSince says which rows have a change number above one: what is needed of mod_metadata, mod_content and sequence.
func (u *mutator) changedSince(change int64) func(table string, id int64) bool {
	changed := map[string]map[int64]bool{}
	for table, stmt := range map[string]string{
		"mail_item":          "SELECT id FROM G.mail_item WHERE mailbox_id = M AND mod_metadata > ?",
		"mail_item_dumpster": "SELECT id FROM G.mail_item_dumpster WHERE mailbox_id = M AND mod_metadata > ?",
		"revision":           "SELECT item_id FROM G.revision WHERE mailbox_id = M AND mod_metadata > ?",
		"revision_dumpster":  "SELECT item_id FROM G.revision_dumpster WHERE mailbox_id = M AND mod_metadata > ?",
		"tag":                "SELECT 0 FROM G.tag WHERE mailbox_id = M AND sequence > ?",
		"tombstone":          "SELECT sequence FROM G.tombstone WHERE mailbox_id = M AND sequence > ?",
	} {
		rows, err := u.db.Query(u.sql(stmt), change)
		require.NoError(u.t, err, stmt)
		changed["mboxgroup."+table] = map[int64]bool{}
		for rows.Next() {
			var id int64
			require.NoError(u.t, rows.Scan(&id))
			changed["mboxgroup."+table][id] = true
		}
		require.NoError(u.t, rows.Close())
	}
	return func(table string, id int64) bool { return changed[table][id] }
}

// Thousands of changes at a time, with a fixed seed, applied at once and in pieces.
func TestRandomMutations(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 600)
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 20261125)
	all := map[string]int64{}
	pieces := m.copy(t)
	pieces.InPieces()
	for round, n := range []int{1, 10, 100, 1000, 2000, 300} {
		c := c
		if round%2 == 1 {
			c = pieces
		}
		done := map[string]int64{}
		for range n {
			mu := mutations[u.rng.IntN(len(mutations))]
			done[mu.name] += mu.f(u)
		}
		what := fmt.Sprintf("round %d: %v", round, done)
		d, proofs := catchUp(t, c, what)
		require.Empty(t, m.unequal(t), what)
		verified, err := m.verify(t, c, what)
		require.NoError(t, err, what)
		require.Equal(t, verified, proofs, what)
		t.Logf("%d changes, %d rows deleted and written", n, d.Rows())
		for name, n := range done {
			all[name] += n
		}
	}
	for _, mu := range mutations {
		require.Positive(t, all[mu.name], "%s never happened", mu.name)
	}
	require.NoError(t, c.Remove(ctx, elsewhere))
}
