package mboxdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

// childEnv holds what a process that is there to be killed needs to know, in JSON.
const childEnv = "ZMLIFT_MBOXDB_CHILD"

// kills is how often a process is killed; ZMLIFT_SOAK=1: 100 times.
const kills = 5

type childSpec struct {
	Src, Dst childServer
	From, To mboxdb.Mailbox
	Claim    mboxdb.Claim
	Address  string
	File     string // restored to Dst; "": Src is copied
}

type childServer struct {
	Addr, User, Password string
	Last                 int64         // so many packets go to the server, and then the process kills itself; 0: as many as it takes
	Grace                time.Duration // for which it lives on
}

// sent counts the packets that a child sends to its destination.
var sent atomic.Int64

type childConn struct {
	net.Conn
	server childServer
}

func (c *childConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if sent.Add(1) == c.server.Last {
		time.AfterFunc(c.server.Grace, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	}
	return n, err
}

func (s childServer) db() (*sql.DB, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", s.Addr, s.User, s.Password
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return &childConn{Conn: conn, server: s}, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// run has a process do what the spec says, under a claim above the last one's, and kills it after a while unless it is done.
func (s *childSpec) run(t *testing.T, after time.Duration) string {
	t.Helper()
	s.Claim.Fence++
	b, err := json.Marshal(s)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, out.String())
		require.Equal(t, -1, exit.ExitCode(), "not killed, but failed: %s", out.String())
	}
	return out.String()
}

// beChild copies a mailbox in small pieces until it has caught up, or restores one, and says so.
func beChild(spec string) error {
	ctx := context.Background()
	var s childSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	src, err := s.Src.db()
	if err != nil {
		return err
	}
	dst, err := s.Dst.db()
	if err != nil {
		return err
	}
	m := &move{from: s.From, to: s.To, srcDB: mboxdb.New(src, nil), dstDB: mboxdb.New(dst, nil), opt: mboxdb.CopyOptions{
		Claim: s.Claim, Volumes: volumes, IndexVolume: 7, Address: s.Address,
	}}
	m.opt.Rewrite = m.rewriter().rewrite
	if err := m.dstDB.Claim(ctx, s.Claim); err != nil { // waits for what the one before was still writing
		return err
	}
	if s.File != "" {
		if _, err := m.dstDB.RestoreFile(ctx, s.File, m.to, m.restoring()); err != nil {
			return err
		}
		fmt.Println("done", sent.Load())
		return nil
	}
	c, err := mboxdb.NewCopy(m.dstDB, m.srcDB, m.to, m.from, &m.opt)
	if err != nil {
		return err
	}
	c.InPieces()
	if _, err := c.Presync(ctx); err != nil {
		return err
	}
	fmt.Println("presynced")
	d, err := c.Diff(ctx)
	if err != nil {
		return err
	}
	if _, err := c.Apply(ctx, d); err != nil {
		return err
	}
	if _, err := c.Prove(ctx, d); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// Killed at any moment of presync and of apply, while the mailbox changes: the next run goes on, takes nobody for a foreign writer, and ends equal.
func TestKilled(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	_, dstBefore := m.bystanders(t)
	u := m.mutator(t, 6)
	rng := rand.New(rand.NewPCG(7, 7))
	spec := &childSpec{From: m.from, To: m.to, Claim: m.opt.Claim, Address: m.account.Name, Src: serverOf(m.src), Dst: serverOf(m.dst)}
	n := kills
	if os.Getenv("ZMLIFT_SOAK") != "" {
		n = 100
	}
	begun := time.Now()
	require.Contains(t, spec.run(t, time.Minute), "done")
	whole := time.Since(begun)
	c := m.copy(t, func(o *mboxdb.CopyOptions) { o.Claim = spec.Claim })
	require.NoError(t, c.Remove(ctx, elsewhere))

	midway, presynced, inFlight := 0, 0, 0
	for i := range n {
		for range 1 + rng.IntN(60) {
			mutations[rng.IntN(len(mutations))].f(u)
		}
		out := spec.run(t, time.Duration(rng.Int64N(int64(whole))))
		switch {
		case strings.Contains(out, "done"):
		case strings.Contains(out, "presynced"):
			presynced++
		default:
			midway++
		}
		if number(t, m.dstRoot, "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ? AND digest IS NULL", m.account.ID) > 0 {
			inFlight++
		}
		if i%5 == 4 {
			require.Contains(t, spec.run(t, time.Minute), "done", "kill %d", i)
			m.requireSame(t, fmt.Sprintf("kill %d", i))
		}
		if i%10 == 9 { // and once more from the beginning
			c := m.copy(t, func(o *mboxdb.CopyOptions) { o.Claim = spec.Claim })
			require.NoError(t, c.Remove(ctx, elsewhere))
		}
	}
	t.Logf("killed %d times in presync, %d times behind it, %d times with buckets in flight", midway, presynced, inFlight)
	require.Positive(t, midway)
	require.Contains(t, spec.run(t, time.Minute), "done")
	m.requireSame(t, "in the end")
	c = m.copy(t, func(o *mboxdb.CopyOptions) { o.Claim = spec.Claim })
	_, err := m.verify(t, c, "in the end")
	require.NoError(t, err)
	_, dstAfter := m.bystanders(t)
	require.Equal(t, dstBefore, dstAfter, "everybody else at the destination")
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// Killed at any moment of a restore: the mailbox is whole or cannot be seen, to whoever looks meanwhile and afterwards. The next run ends equal, or
// Remove leaves nothing.
func TestKilledInRestore(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	_, dstBefore := m.bystanders(t)
	spec := &childSpec{From: m.from, To: m.to, Claim: m.opt.Claim, Address: m.account.Name, Src: serverOf(m.src), Dst: serverOf(m.dst),
		File: filepath.Join(t.TempDir(), "mailbox.sql.zst")}
	sum, err := m.srcDB.DumpFile(ctx, spec.File, m.from, nil)
	require.NoError(t, err)
	rows := func(tables []string) string {
		var counts []string
		for _, table := range tables {
			column := "mailbox_id"
			if table == "zimbra.mailbox" {
				column = "id"
			}
			counts = append(counts, fmt.Sprintf("(SELECT COUNT(*) FROM %s WHERE %s = %d)", m.in(table), column, m.to.ID))
		}
		return strings.Join(counts, "+")
	}
	// One statement, and so of one moment.
	stmt := fmt.Sprintf("SELECT (SELECT COUNT(*) FROM zimbra.mailbox WHERE id = %d), %s, %s", m.to.ID, rows(qualified("zimbra", zimbraTables)), rows(qualified("mboxgroup", groupTables)))
	see := func() (visible bool, group int64, err error) {
		var zimbra int64
		if err := m.dstRoot.QueryRow(stmt).Scan(&visible, &zimbra, &group); err != nil {
			return false, 0, err
		}
		if visible && zimbra+group != sum.Rows || !visible && zimbra > 0 {
			err = fmt.Errorf("visible: %t, with %d rows of zimbra and %d of the group, and %d in all", visible, zimbra, group, sum.Rows)
		}
		return visible, group, err
	}
	stop, looked := make(chan struct{}), make(chan error, 1)
	var looks, half atomic.Int32
	go func() {
		for {
			visible, group, err := see()
			if looks.Add(1); err == nil && !visible && group > 0 {
				half.Add(1)
			}
			select {
			case <-stop:
				looked <- err
				return
			case <-time.After(5 * time.Millisecond): // the processors are for the restore
			}
			if err != nil {
				looked <- err
				return
			}
		}
	}()
	remove := func(name string) {
		t.Helper()
		spec.Claim.Fence++
		require.NoError(t, m.dstDB.Claim(ctx, spec.Claim)) // waits for what the killed one was still writing
		require.NoError(t, m.dstDB.Remove(ctx, spec.Claim, m.to, elsewhere), name)
		m.untouched(t, name)
	}
	var whole int64 // packets
	_, err = fmt.Sscanf(spec.run(t, time.Minute), "done %d", &whole)
	require.NoError(t, err)
	remove("not killed")

	n, rng := 8, rand.New(rand.NewPCG(8, 8))
	if os.Getenv("ZMLIFT_SOAK") != "" {
		n = 100
	}
	none, midway, published := 0, 0, 0
	for i := range n {
		name := fmt.Sprint("kill ", i)
		// Each part of the run gets its kill, and chance says where in the part; the parts are longer where tables are still being cleared. The
		// server may have answered, or not, or do it later.
		x := 1 - (float64(i)+rng.Float64())/float64(n)
		spec.Dst.Last, spec.Dst.Grace = 1+int64(float64(whole)*(1-x*x)), time.Duration(rng.IntN(3))*time.Millisecond
		if i == n-1 {
			spec.Dst.Last = whole - 1 // behind the commit: the log is forced to disk
		}
		out := spec.run(t, time.Minute)
		spec.Dst.Last = 0
		visible, group, err := see()
		require.NoError(t, err, name)
		switch {
		case visible:
			published++
		case group > 0:
			midway++
		default:
			none++
		}
		require.True(t, visible || !strings.Contains(out, "done"), name)
		switch i % 4 { // else the next one finds what this one left, and is killed too
		case 1:
			require.Contains(t, spec.run(t, time.Minute), "done", name)
			m.requireSame(t, name)
			m.requireEqual(t, qualified("zimbra", zimbraTables)...)
			remove(name)
		case 3:
			remove(name)
		}
	}
	close(stop)
	require.NoError(t, <-looked, "seen meanwhile")
	require.Positive(t, half.Load(), "nobody looked while it was half done")
	require.Positive(t, midway)
	require.Positive(t, published)
	lab.Note("killed behind %d of %d packets of a restore: %d times without a row, %d times among the rows of the group, %d times when the mailbox was"+
		" there; looked at %d times meanwhile (make soak kills 100 times)", n, whole, none, midway, published, looks.Load())
	_, dstAfter := m.bystanders(t)
	require.Equal(t, dstBefore, dstAfter, "everybody else at the destination")
}

func serverOf(s *lab.Store) childServer {
	return childServer{Addr: s.MySQLAddr, User: s.MySQLUser, Password: s.MySQLPassword}
}

// A kill between the transaction that deletes and the one that writes, at a place that chance seldom hits: the rewriter fails. The buckets are in
// flight, and nobody's fault.
func TestStoppedBetweenDeleteAndInsert(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 300)
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 8)
	u.exec("UPDATE G.mail_item SET unread = 1 - unread WHERE mailbox_id = M AND type = 5")
	stopped := errors.New("stopped")
	broken := m.copy(t, func(o *mboxdb.CopyOptions) {
		o.Rewrite = func(context.Context, io.Writer, io.Reader) error { return stopped }
	})
	broken.InPieces()
	_, err = broken.Presync(ctx)
	require.ErrorIs(t, err, stopped)
	inFlight := number(t, m.dstRoot, "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ? AND digest IS NULL", m.account.ID)
	require.Positive(t, inFlight)
	// What was changed is changed back, by somebody else of all: in flight is in flight.
	m.exec(t, fmt.Sprintf("UPDATE mboxgroup.mail_item SET unread = unread + 1 WHERE mailbox_id = %d AND id = 2", m.to.ID))
	d, _ := catchUp(t, c, "on")
	require.False(t, d.Empty())
	m.requireSame(t, "on")
	require.Zero(t, number(t, m.dstRoot, "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ? AND digest IS NULL", m.account.ID))

	// Deleted, and deleted at the source too before the next pass: nothing differs, and the buckets are settled.
	u.exec("UPDATE G.mail_item SET unread = 1 - unread WHERE mailbox_id = M AND type = 5")
	require.Positive(t, u.exec("UPDATE G.pop3_message SET uid = CONCAT('x', LEFT(uid, 200)) WHERE mailbox_id = M"))
	_, err = broken.Presync(ctx)
	require.ErrorIs(t, err, stopped)
	u.exec("DELETE FROM G.pop3_message WHERE mailbox_id = M")
	require.Positive(t, number(t, m.dstRoot, "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ? AND table_name = 'mboxgroup.pop3_message' AND digest IS NULL", m.account.ID))
	catchUp(t, c, "settled")
	m.requireSame(t, "settled")
	require.Zero(t, number(t, m.dstRoot, "SELECT COUNT(*) FROM zmlift.buckets WHERE account_id = ? AND digest IS NULL", m.account.ID))
	_, err = c.Presync(ctx)
	require.NoError(t, err)
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// A destination that crashes loses its last second: rows, and what the copy remembers of them, alike. Nobody is taken for a foreign writer.
func TestDestinationCrashes(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 400)
	u := m.mutator(t, 14)
	rng := rand.New(rand.NewPCG(14, 14))
	cut := 0
	for i := range 4 {
		for range 200 {
			mutations[rng.IntN(len(mutations))].f(u)
		}
		c := m.copy(t)
		c.InPieces()
		crashed := make(chan error, 1)
		timer := time.AfterFunc(time.Duration(rng.IntN(1000))*time.Millisecond, func() { crashed <- m.dst.KillMySQL(ctx) })
		_, err := c.Presync(ctx)
		if timer.Stop() {
			require.NoError(t, m.dst.KillMySQL(ctx))
		} else {
			require.NoError(t, <-crashed)
		}
		if err != nil {
			cut++
			require.NotErrorIs(t, err, mboxdb.ErrForeignWriter)
		}
		require.NoError(t, m.dst.StartMySQL(ctx))
		m.opt.Claim.Fence++
		require.NoError(t, m.dstDB.Claim(ctx, m.opt.Claim))
		catchUp(t, m.copy(t), fmt.Sprint("crash ", i))
		m.requireSame(t, fmt.Sprint("crash ", i))
		if i == 1 {
			require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
		}
	}
	t.Logf("presync was cut %d times of 4", cut)
	require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
}
