package mboxdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

// A commit whose answer is lost is done once more, and nobody is accused of what it wrote.
func TestApplyWhoseAnswerIsLost(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 200)
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 3)
	dst := m.dstDB
	for nth := range int32(4) {
		for range 40 {
			mutations[u.rng.IntN(len(mutations))].f(u)
		}
		var lost func() bool
		m.dstDB, lost = lossy(t, m.dst, nth+1)
		c := m.copy(t)
		c.InPieces()
		catchUp(t, c, fmt.Sprintf("commit %d", nth+1))
		require.True(t, lost())
		m.requireSame(t, fmt.Sprintf("commit %d", nth+1))
	}
	m.dstDB = dst
	catchUp(t, c, "the copy that wrote none of it")
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// A lateConn loses its connection when it sends the nth COMMIT, which reaches the server later.
type lateConn struct {
	net.Conn
	left *atomic.Int32
	sent func()
	dead atomic.Bool
}

func (c *lateConn) Write(p []byte) (int, error) {
	if !strings.HasSuffix(string(p), "COMMIT") || c.left.Add(-1) != 0 {
		return c.Conn.Write(p)
	}
	c.dead.Store(true)
	commit := []byte(string(p))
	go func() {
		time.Sleep(300 * time.Millisecond)
		c.Conn.Write(commit)
		c.Conn.Read(make([]byte, 4096))
		c.Conn.Close()
	}()
	c.sent()
	return len(p), nil
}

func (c *lateConn) Read(p []byte) (int, error) {
	if c.dead.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

func (c *lateConn) Close() error {
	if c.dead.Load() {
		return nil
	}
	return c.Conn.Close()
}

// A commit that is still under way when its mover has given up is waited for by the next look: it is neither somebody else's, nor is what it
// brings back taken for equal.
func TestDiffWaitsForLateCommits(t *testing.T) {
	m := newMove(t, 60)
	c := m.copy(t)
	_, err := c.Presync(t.Context())
	require.NoError(t, err)
	u := m.mutator(t, 4)
	set := func(unread int) { u.exec("UPDATE G.mail_item SET unread = ? WHERE mailbox_id = M AND id = 2", unread) }
	for _, back := range []bool{false, true} {
		set(70)
		catchUp(t, c, "before")
		set(71)
		ctx, cancel := context.WithCancel(t.Context())
		left := new(atomic.Int32)
		left.Store(-1)
		pool := poolOf(t, m.dst, m.dst.MySQLUser, m.dst.MySQLPassword, func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, addr)
			return &lateConn{Conn: conn, left: left, sent: cancel}, err
		})
		late, err := mboxdb.NewCopy(mboxdb.New(pool, options(m.dst)), m.srcDB, m.to, m.from, &m.opt)
		require.NoError(t, err)
		d, err := late.Diff(ctx)
		require.NoError(t, err)
		left.Store(1)
		_, err = late.Apply(ctx, d)
		require.Error(t, err)
		if back {
			set(70)
		}
		d, _ = catchUp(t, c, "after")
		if back {
			require.False(t, d.Empty(), "the late commit's row is to be seen")
		} else {
			require.True(t, d.Empty(), "it did come")
		}
		m.requireSame(t, "after")
	}
	require.NoError(t, c.Remove(t.Context(), elsewhere))
}

// A publishing transaction that is still under way when its mover has given up is waited for before rows are removed: it would make a mailbox
// of what is left of them.
func TestRestoreAndLoadWaitForLateCommits(t *testing.T) {
	m := newMove(t, 3000)
	text := m.dumped(t)
	left := new(atomic.Int32)
	late := func(give func()) *mboxdb.DB {
		return mboxdb.New(poolOf(t, m.dst, m.dst.MySQLUser, m.dst.MySQLPassword, func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, addr)
			return &lateConn{Conn: conn, left: left, sent: give}, err
		}), options(m.dst))
	}
	restore := func(ctx context.Context, db *mboxdb.DB) error {
		_, err := db.Restore(ctx, bytes.NewReader(text), m.to, m.restoring())
		return err
	}
	left.Store(1 << 20)
	require.NoError(t, restore(t.Context(), late(func() {})))
	last := 1<<20 - left.Load()
	for name, again := range map[string]func() error{
		"restore": func() error { return restore(t.Context(), m.dstDB) },
		"load":    func() error { _, err := m.copy(t).Load(t.Context()); return err },
	} {
		require.NoError(t, m.dstDB.Remove(t.Context(), m.opt.Claim, m.to, elsewhere))
		ctx, cancel := context.WithCancel(t.Context())
		left.Store(last)
		require.Error(t, restore(ctx, late(cancel)), name)
		require.LessOrEqual(t, left.Load(), int32(0), name)
		if err := again(); name == "restore" {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, mboxdb.ErrPublished)
		}
		m.requireEqual(t, slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))...)
	}
	require.NoError(t, m.dstDB.Remove(t.Context(), m.opt.Claim, m.to, elsewhere))
}

// A cutConn is one of a pool of which every so many statements one meets a connection that is gone.
type cutConn struct {
	net.Conn
	pool *cuts
}

type cuts struct {
	every int32
	most  int32 // cuts, then it is well
	sent  atomic.Int32
	cut   atomic.Int32
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.pool.sent.Add(1)%c.pool.every == 0 && c.pool.cut.Load() < c.pool.most {
		c.pool.cut.Add(1)
		c.Conn.Close()
	}
	return c.Conn.Write(p)
}

func (c *cuts) db(t *testing.T, s *lab.Store) *mboxdb.DB {
	return mboxdb.New(poolOf(t, s, s.MySQLUser, s.MySQLPassword, func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return &cutConn{Conn: conn, pool: c}, err
	}), options(s))
}

// Connections that break, to both servers, are no reason to stop.
func TestBrokenConnections(t *testing.T) {
	m := newMove(t, 400)
	u := m.mutator(t, 6)
	for _, every := range []int32{171, 231} {
		src, dst := &cuts{every: every, most: 12}, &cuts{every: every + 8, most: 12}
		c, err := mboxdb.NewCopy(dst.db(t, m.dst), src.db(t, m.src), m.to, m.from, &m.opt)
		require.NoError(t, err)
		c.InPieces()
		_, err = c.Presync(t.Context())
		require.NoError(t, err)
		for range 60 {
			mutations[u.rng.IntN(len(mutations))].f(u)
		}
		catchUp(t, c, "in spite of it")
		m.requireSame(t, "in spite of it")
		require.Positive(t, src.cut.Load())
		require.Positive(t, dst.cut.Load())
		t.Logf("%d and %d connections were cut", src.cut.Load(), dst.cut.Load())
	}
	require.NoError(t, m.copy(t).Remove(t.Context(), elsewhere))
}

// breaking returns a database that loses its connection where a statement with that text is sent, the first times.
func breaking(t *testing.T, s *lab.Store, text string, times int32) (db *mboxdb.DB, left *atomic.Int32) {
	left = new(atomic.Int32)
	left.Store(times)
	return mboxdb.New(poolOf(t, s, s.MySQLUser, s.MySQLPassword, func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return &breakingConn{Conn: conn, text: text, left: left}, err
	}), options(s)), left
}

type breakingConn struct {
	net.Conn
	text string
	left *atomic.Int32
}

func (c *breakingConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.text)) && c.left.Add(-1) >= 0 {
		c.Conn.Close()
	}
	return c.Conn.Write(p)
}

// Nor are they for what cannot go on in the middle: Load and Restore begin anew, and what was written before is gone first.
func TestBrokenConnectionsInTheMiddle(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 3000)
	text := m.dumped(t)
	for _, restore := range []bool{false, true} {
		src, atSource := breaking(t, m.src, "FROM `"+lab.GroupDatabase(m.from.Group)+"`.`revision`", 1)
		dst, atDestination := breaking(t, m.dst, "INTO TABLE `"+lab.GroupDatabase(m.to.Group)+"`.`tagged_item`", 2)
		var tables map[string]int64
		if restore {
			res, err := dst.Restore(ctx, bytes.NewReader(text), m.to, m.restoring())
			require.NoError(t, err)
			tables = res.Tables
		} else {
			c, err := mboxdb.NewCopy(dst, src, m.to, m.from, &m.opt)
			require.NoError(t, err)
			sum, err := c.Load(ctx)
			require.NoError(t, err)
			tables = sum.Tables
			require.Negative(t, atSource.Load())
		}
		require.Negative(t, atDestination.Load())
		require.Equal(t, number(t, m.srcRoot, "SELECT COUNT(*) FROM "+lab.GroupDatabase(m.from.Group)+".mail_item WHERE mailbox_id = ?", m.from.ID), tables["mboxgroup.mail_item"])
		m.requireEqual(t, qualified("mboxgroup", groupTables)...)
		require.NoError(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, elsewhere))
	}
}

// What somebody else wrote to a row between Diff and Apply is not deleted in silence.
func TestForeignWriterBeforeApply(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 8)
	for table, change := range map[string][3]string{
		"mboxgroup.mail_item": {
			"UPDATE G.mail_item SET unread = unread + 1 WHERE mailbox_id = M AND id = 257",
			"UPDATE mboxgroup.mail_item SET flags = flags + 1 WHERE mailbox_id = %s AND id = 257", "UPDATE mboxgroup.mail_item SET flags = flags - 1 WHERE mailbox_id = %s AND id = 257",
		},
		"mboxgroup.tag": {
			"UPDATE G.tag SET unread = unread + 1 WHERE mailbox_id = M AND id = 65",
			"UPDATE mboxgroup.tag SET sequence = sequence + 1 WHERE mailbox_id = %s AND id = 66", "UPDATE mboxgroup.tag SET sequence = sequence - 1 WHERE mailbox_id = %s AND id = 66",
		},
	} {
		u.exec(change[0])
		d, err := c.Diff(ctx)
		require.NoError(t, err)
		m.exec(t, fmt.Sprintf(change[1], m.to.ID))
		_, err = c.Apply(ctx, d)
		var foreign *mboxdb.ForeignWriterError
		require.ErrorAs(t, err, &foreign, table)
		require.Equal(t, table, foreign.Buckets[0].Table)
		m.exec(t, fmt.Sprintf(change[2], m.to.ID))
		catchUp(t, c, table)
	}

	// A difference that is not the last one that was found is refused.
	old, err := c.Diff(ctx)
	require.NoError(t, err)
	_, err = c.Diff(ctx)
	require.NoError(t, err)
	_, err = c.Apply(ctx, old)
	require.ErrorContains(t, err, "since it was found")
	_, err = c.Prove(ctx, old)
	require.ErrorContains(t, err, "since it was found")
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// A ledger of another zmlift, or of other tables, accuses nobody: the copy begins anew.
func TestLedgerOfAnotherFormat(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	_, err := m.copy(t).Presync(ctx)
	require.NoError(t, err)
	m.exec(t, fmt.Sprintf("UPDATE zmlift.buckets SET digest = '%s 00' WHERE account_id = '%s' AND table_name = ''", m.to.ID, m.account.ID))
	m.exec(t, fmt.Sprintf("UPDATE zmlift.buckets SET digest = CONCAT('1:', REPEAT('00', 32)) WHERE account_id = '%s' AND table_name <> ''", m.account.ID))
	p, err := m.copy(t).Presync(ctx)
	require.NoError(t, err)
	require.Positive(t, p.Rows)
	c := m.copy(t)
	d, _ := catchUp(t, c, "anew")
	require.True(t, d.Empty())
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// Two streams, and two moves, that write their buckets do not wait for each other.
func TestBucketsAreFoundByTheirKey(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	_, err := m.copy(t).Presync(ctx)
	require.NoError(t, err)
	rows, err := m.dst.RootDB(t).QueryContext(ctx, "EXPLAIN "+mboxdb.SQLForgetBuckets([]string{"0", "1", "2"}, []string{"3"}), m.account.ID, "mboxgroup.mail_item", "mboxgroup.revision")
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	require.True(t, rows.Next())
	values, dest := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	require.NoError(t, rows.Scan(dest...))
	for i, name := range columns {
		if name == "type" {
			require.Equal(t, "range", fmt.Sprintf("%s", values[i]))
		}
	}
	require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
}

// Statements and sessions that somebody kills, at either server, are done again.
func TestKilledStatements(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 3000)
	c := m.copy(t)
	c.InPieces()
	stop := make(chan struct{})
	var g sync.WaitGroup
	var killed, may atomic.Int32
	g.Go(func() {
		rng := rand.New(rand.NewPCG(18, 0))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rng.IntN(100)) * time.Millisecond):
			}
			root := [...]*sql.DB{m.srcRoot, m.dstRoot}[rng.IntN(2)]
			var id int64
			err := root.QueryRow("SELECT id FROM information_schema.processlist WHERE user = 'zimbra' AND command = 'Query' LIMIT 1").Scan(&id)
			if err != nil || may.Load() == 0 { // nobody works at the moment, or has worked for long enough
				continue
			}
			if _, err := root.Exec(fmt.Sprintf("KILL %s %d", [...]string{"QUERY", "CONNECTION"}[rng.IntN(2)], id)); err == nil {
				may.Add(-1)
				killed.Add(1)
			}
		}
	})
	// What is killed is tried five times: four in a pass must not end it, however slow the machine.
	may.Store(4)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 17)
	for range 20 {
		for range 40 {
			mutations[u.rng.IntN(len(mutations))].f(u)
		}
		may.Store(4)
		catchUp(t, c, "in spite of it")
	}
	close(stop)
	g.Wait()
	require.Greater(t, killed.Load(), int32(4))
	t.Logf("%d statements and sessions were killed", killed.Load())
	m.requireSame(t, "in spite of it")
	require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
}

// A change that the server says it has made, and has not, is an error or is made once more: the fence, the counter, the reservation, the ledger.
func TestChangesThatWereNotMade(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	claim := m.opt.Claim
	notMade := func(begins string, call func(db *mboxdb.DB) error) {
		t.Helper()
		db, met := ignored(t, m.dst, begins)
		require.ErrorContains(t, call(db), "did not change what it was asked to", begins)
		require.True(t, met(), begins)
	}
	held := func() mboxdb.Holder {
		t.Helper()
		h, err := m.dstDB.Holder(ctx, claim.AccountID)
		require.NoError(t, err)
		return h
	}
	before := held()
	raised := claim
	raised.Fence++
	notMade("UPDATE zmlift.moves SET move_id", func(db *mboxdb.DB) error { return db.Claim(ctx, raised) })
	require.Equal(t, before, held())

	other := mboxdb.Claim{Move: "m", AccountID: newID(), Fence: 1}
	require.NoError(t, m.dstDB.Claim(ctx, other))
	counter := number(t, m.dstRoot, "SELECT next_mailbox_id FROM zimbra.current_volumes")
	for _, begins := range []string{"UPDATE zimbra.current_volumes", "UPDATE zmlift.moves SET mailbox_id"} {
		notMade(begins, func(db *mboxdb.DB) error { _, err := db.Reserve(ctx, other, nil); return err })
		require.Equal(t, counter, number(t, m.dstRoot, "SELECT next_mailbox_id FROM zimbra.current_volumes"), begins)
	}
	notMade("UPDATE zmlift.moves SET is_clean", func(db *mboxdb.DB) error { _, err := db.Reserve(ctx, other, nil); return err })
	res, err := m.dstDB.Reserve(ctx, other, nil)
	require.NoError(t, err)
	require.Equal(t, counter, int64(res.Mailbox.ID))
	require.Equal(t, counter+1, number(t, m.dstRoot, "SELECT next_mailbox_id FROM zimbra.current_volumes"))
	notMade("UPDATE zmlift.moves SET is_open", func(db *mboxdb.DB) error { return db.End(ctx, other) })
	require.NoError(t, m.dstDB.End(ctx, other))

	// What is repeatable is repeated.
	_, err = m.copy(t).Presync(ctx)
	require.NoError(t, err)
	dst := m.dstDB
	var met func() bool
	m.dstDB, met = ignored(t, m.dst, "DELETE FROM zmlift.buckets")
	_, err = m.copy(t).Load(ctx)
	require.NoError(t, err)
	require.True(t, met())
	m.dstDB = dst
	require.Zero(t, number(t, m.dstRoot, "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ?", claim.AccountID))

	// A bucket that has become empty.
	c := m.copy(t)
	_, err = c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 5)
	require.Positive(t, u.exec("DELETE FROM G.watch WHERE mailbox_id = M"))
	m.dstDB, met = ignored(t, m.dst, "DELETE zmlift.buckets")
	catchUp(t, m.copy(t), "an empty bucket")
	require.True(t, met())
	m.dstDB = dst
	catchUp(t, c, "after it")

	// Rows of the group, all at once and in pieces.
	for _, table := range []string{"mail_item", "tag"} {
		for _, pieces := range []bool{false, true} {
			require.Positive(t, hardDelete(u, u.leaf("5"))+u.exec("UPDATE G.tag SET unread = unread + 1 WHERE mailbox_id = M"))
			m.dstDB, met = ignored(t, m.dst, fmt.Sprintf("DELETE FROM `mboxgroup%d`.`%s`", m.to.Group, table))
			c := m.copy(t)
			if pieces {
				c.InPieces()
			}
			catchUp(t, c, table)
			require.True(t, met(), table)
			m.dstDB = dst
			m.requireSame(t, table)
		}
	}
	catchUp(t, c, "after that")

	_, err = m.dst.PlantDeletedAccount(ctx, m.account.Name, newID(), 12)
	require.NoError(t, err)
	m.dstDB, met = ignored(t, m.dst, "DELETE FROM zimbra.deleted_account")
	_, err = m.copy(t).Publish(ctx)
	require.NoError(t, err)
	require.True(t, met())
	m.dstDB = dst
	gone, err := m.dstDB.DeletedAccount(ctx, m.account.Name)
	require.NoError(t, err)
	require.Nil(t, gone)

	// What is published, and all that there is.
	for _, begins := range []string{"DELETE FROM `zimbra`.`mailbox`", "DELETE FROM `zimbra`.`out_of_office`"} {
		m.dstDB, met = ignored(t, m.dst, begins)
		require.NoError(t, m.copy(t).Unpublish(ctx, nil), begins)
		require.True(t, met(), begins)
		m.dstDB = dst
		m.unpublished(t, begins)
		_, err = c.Publish(ctx)
		require.NoError(t, err)
	}
	m.dstDB, met = ignored(t, m.dst, fmt.Sprintf("DELETE FROM `mboxgroup%d`.`mail_item`", m.to.Group))
	require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
	require.True(t, met())
}
