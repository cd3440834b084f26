package mboxdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/mboxdb"
)

// Rows are copied while their mailbox changes all the time, and while somebody else's at the destination is read and written: those never wait
// for a lock as long as a second.
func TestPresyncOfAMailboxInUse(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 500)
	// The neighbours' ids lie right beside, in the same tables.
	neighbours := []mboxdb.MailboxID{m.to.ID - 1, m.to.ID + 1}
	away := func() {
		for _, id := range neighbours {
			for _, table := range []string{"mail_item", "tag"} {
				mustExec(t, m.dstRoot, fmt.Sprintf(m.in("DELETE FROM mboxgroup.%s WHERE mailbox_id = %d"), table, id))
			}
		}
	}
	defer away()

	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	u := m.mutator(t, 9)
	changes := 0
	g.Go(func() error {
		for stop.Err() == nil {
			mutations[u.rng.IntN(len(mutations))].f(u)
			changes++
		}
		return nil
	})
	var writes atomic.Int64
	g.Go(func() error {
		conn, err := m.dstRoot.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "SET SESSION innodb_lock_wait_timeout=1, lock_wait_timeout=1, foreign_key_checks=0"); err != nil {
			return err
		}
		for i := 1; stop.Err() == nil; i++ {
			for _, stmt := range []string{
				"INSERT INTO mboxgroup.mail_item (mailbox_id, id, type, folder_id, name, date, size, mod_metadata, mod_content) VALUES (OWN, ?, 5, 2, UUID(), 1, 1, 1, 1)",
				"INSERT INTO mboxgroup.tag (mailbox_id, id, name, sequence) VALUES (OWN, ?, UUID(), 1)",
				"UPDATE mboxgroup.mail_item SET flags = flags + 1 WHERE mailbox_id = OWN AND id = ?",
				"UPDATE mboxgroup.tag SET sequence = sequence + 1 WHERE mailbox_id = OWN AND id <= ?",
				"DELETE FROM mboxgroup.tag WHERE mailbox_id = OWN AND id = ? - 3",
				"SELECT COUNT(*) FROM mboxgroup.mail_item WHERE mailbox_id = OWN AND id <= ? LOCK IN SHARE MODE",
			} {
				for _, id := range neighbours {
					if _, err := conn.ExecContext(ctx, strings.ReplaceAll(m.in(stmt), "OWN", id.String()), i); err != nil {
						return fmt.Errorf("%s: %w", stmt, err)
					}
					writes.Add(1)
				}
			}
		}
		return nil
	})

	c := m.copy(t)
	var total mboxdb.Presynced
	for round := range 6 {
		if round == 3 {
			c = m.copy(t)
			c.InPieces()
		}
		p, err := c.Presync(ctx)
		require.NoError(t, err)
		total.Rows, total.Deleted, total.Passes = total.Rows+p.Rows, total.Deleted+p.Deleted, total.Passes+p.Passes
	}
	before := writes.Load()
	for range 3 {
		d, err := c.Diff(ctx)
		require.NoError(t, err)
		if _, err := c.Apply(ctx, d); err != nil {
			requireNumber(t, 1062, err) // nothing is locked yet
		}
	}
	cancel()
	require.NoError(t, g.Wait())
	require.Greater(t, writes.Load(), before)
	require.Greater(t, changes, 50)
	require.Positive(t, total.Deleted)
	t.Logf("%d changes, %d writes of a neighbour, %d passes: %d rows written, %d deleted", changes, writes.Load(), total.Passes, total.Rows, total.Deleted)

	catchUp(t, c, "locked")
	m.requireSame(t, "locked")
	_, err := m.verify(t, c, "locked")
	require.NoError(t, err)
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// No more than the streams that were asked for are connected to a server at a time.
func TestConnections(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	for streams, limit := range map[int]int{0: 3, 1: 2, 2: 3, 9: 4} {
		src, dst := m.src.DB(t), m.dst.DB(t)
		var pools []*sql.DB
		for _, p := range []*sql.DB{src, dst} {
			p.SetMaxOpenConns(limit - 1) // the named lock has one
			pools = append(pools, p)
		}
		c, err := mboxdb.NewCopy(mboxdb.New(dst, options(m.dst)), mboxdb.New(src, options(m.src)), m.to, m.from, func() *mboxdb.CopyOptions {
			opt := m.opt
			opt.Streams = streams
			return &opt
		}())
		require.NoError(t, err)
		c.InPieces()
		_, err = c.Presync(ctx)
		require.NoError(t, err)
		u := m.mutator(t, uint64(10+streams))
		for range 200 {
			mutations[u.rng.IntN(len(mutations))].f(u)
		}
		catchUp(t, c, fmt.Sprint(streams, " streams"))
		for _, p := range pools {
			require.Zero(t, p.Stats().WaitCount, "%d streams", streams)
			require.LessOrEqual(t, p.Stats().MaxOpenConnections, limit-1)
		}
		require.NoError(t, c.Remove(ctx, elsewhere))
	}
}

// Extensions' tables may have what Zimbra's own have not: 4-byte characters, bytes, every kind of time and number. With the policy copy they
// take part in everything.
func TestPresyncOfExtensions(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	policy := map[string]mboxdb.TablePolicy{"mboxgroup.ext_things": mboxdb.PolicyCopy, "mboxgroup.ext_bag": mboxdb.PolicyCopy}
	srcOpt, dstOpt := options(m.src), options(m.dst)
	srcOpt.Tables, dstOpt.Tables = policy, policy
	for _, side := range []struct {
		db    *sql.DB
		group int
	}{{m.srcRoot, m.from.Group}, {m.dstRoot, m.to.Group}} {
		for _, table := range []string{"ext_things", "ext_bag"} {
			drop := fmt.Sprintf("DROP TABLE IF EXISTS mboxgroup%d.%s", side.group, table)
			mustExec(t, side.db, drop)
			t.Cleanup(func() { mustExec(t, side.db, drop) })
		}
		mustExec(t, side.db, fmt.Sprintf("CREATE TABLE mboxgroup%d.ext_things (mailbox_id INT UNSIGNED NOT NULL, k VARBINARY(40) NOT NULL, emoji TEXT CHARACTER SET utf8mb4,"+
			" latin VARCHAR(50) CHARACTER SET latin1, b BLOB, amount DECIMAL(30,10), y YEAR, d DATE, t TIME(3), dt DATETIME(6), ts TIMESTAMP(3) NULL ON UPDATE CURRENT_TIMESTAMP(3),"+
			" e ENUM('a', 'b'' ö'), s SET('x', 'y'), big MEDIUMTEXT, PRIMARY KEY (mailbox_id, k)) ENGINE=InnoDB DEFAULT CHARSET=utf8", side.group))
		mustExec(t, side.db, fmt.Sprintf("CREATE TABLE mboxgroup%d.ext_bag (mailbox_id INT UNSIGNED NOT NULL, note TEXT, KEY (mailbox_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8", side.group))
	}
	u := m.mutator(t, 12)
	mustExec(t, u.db, "SET NAMES utf8mb4")
	u.exec("INSERT INTO G.ext_things VALUES (M, X'00', '😀 𝄞', 'é€', X'00ff1a275c', -12345678901234567890.0123456789, 2026, '0000-00-00', '-838:59:59', '2038-01-19 03:14:08.123456'," +
		" '1970-01-01 00:00:01.5', 'b'' ö', 'x,y', REPEAT('ü''\\\\\n', 300000)), (M, X'01', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)," +
		" (M, X'02', '', '', '', 0, 0, '2026-01-01', '0', '2026-01-01', '2026-01-01', 'a', '', '')")
	u.exec("INSERT INTO G.ext_bag VALUES (M, 'same'), (M, 'same'), (M, ''), (M, NULL), (M, NULL), (M, 'a\\0b')")
	c, err := mboxdb.NewCopy(mboxdb.New(m.dst.DB(t), dstOpt), mboxdb.New(m.src.DB(t), srcOpt), m.to, m.from, &m.opt)
	require.NoError(t, err)
	same := func(what string) {
		t.Helper()
		for _, table := range []string{"ext_things", "ext_bag"} {
			src := content(t, m.srcRoot, fmt.Sprintf("mboxgroup%d.%s", m.from.Group, table), m.from.ID, nil)
			require.NotEmpty(t, src)
			require.Equal(t, src, content(t, m.dstRoot, fmt.Sprintf("mboxgroup%d.%s", m.to.Group, table), m.to.ID, nil), what)
		}
		m.requireSame(t, what)
	}
	_, err = c.Presync(ctx)
	require.NoError(t, err)
	same("presync")
	for _, stmt := range []string{
		"UPDATE G.ext_things SET emoji = '😁 𝄞', ts = ts WHERE mailbox_id = M AND k = X'00'",
		"UPDATE G.ext_things SET latin = 'è€', ts = ts WHERE mailbox_id = M AND k = X'00'",
		"UPDATE G.ext_things SET b = X'00ff1a275d', ts = ts WHERE mailbox_id = M AND k = X'00'",
		"UPDATE G.ext_things SET amount = amount + 0.0000000001, ts = ts WHERE mailbox_id = M AND k = X'00'",
		"UPDATE G.ext_things SET dt = dt + INTERVAL 1 MICROSECOND, ts = ts WHERE mailbox_id = M AND k = X'00'",
		"UPDATE G.ext_things SET ts = ts + INTERVAL 1000 MICROSECOND WHERE mailbox_id = M AND k = X'00'",
		"UPDATE G.ext_things SET e = 'a', ts = ts WHERE mailbox_id = M AND k = X'00'",
		"UPDATE G.ext_things SET b = '', ts = ts WHERE mailbox_id = M AND k = X'01'",
		"UPDATE G.ext_things SET k = X'0100', ts = ts WHERE mailbox_id = M AND k = X'01'",
		"UPDATE G.ext_things SET big = CONCAT(big, '.'), ts = ts WHERE mailbox_id = M AND k = X'00'",
		"DELETE FROM G.ext_bag WHERE mailbox_id = M AND note = 'same' LIMIT 1",
		"UPDATE G.ext_bag SET note = '' WHERE mailbox_id = M AND note IS NULL LIMIT 1",
		"INSERT INTO G.ext_bag VALUES (M, 'a\\0b')",
	} {
		require.Positive(t, u.exec(stmt), stmt)
		d, err := c.Diff(ctx)
		require.NoError(t, err, stmt)
		require.Len(t, d.Tables(), 1, stmt)
		_, err = c.Apply(ctx, d)
		require.NoError(t, err, stmt)
		proofs, err := c.Prove(ctx, d)
		require.NoError(t, err, stmt)
		require.Len(t, proofs, 20)
		same(stmt)
	}
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// Digests come packed, a range of rows to an answer, and one by one where an answer would be too long: the same digests.
func TestDigestsThatDoNotFit(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	u := m.mutator(t, 13)
	const rows = 60_000
	require.Positive(t, u.exec(fmt.Sprintf("INSERT INTO G.open_conversation (mailbox_id, hash, conv_id) SELECT M, CONCAT('h', seq), seq %% 2 + 1 FROM mysql.seq_1_to_%d", rows)))
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"mboxgroup.open_conversation"}, c.Long())
	require.Positive(t, u.exec("UPDATE G.open_conversation SET conv_id = 3 WHERE mailbox_id = M AND hash IN ('h1', 'h59999')"))
	_, proofs := catchUp(t, c, "two rows")
	m.requireSame(t, "two rows")
	verified, err := c.Verify(ctx)
	require.NoError(t, err)
	require.Equal(t, verified, proofs)
	again, fresh := catchUp(t, m.copy(t), "in another process")
	require.True(t, again.Empty())
	require.Equal(t, verified, fresh)
	require.NoError(t, c.Remove(ctx, elsewhere))
}
