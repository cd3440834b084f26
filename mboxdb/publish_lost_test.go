package mboxdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

// A script meddles with what is sent to the destination.
type script struct {
	// send is called before a packet is sent, with how many were before it. An error: it is not, and the connection is the function's to close.
	send func(n int, stmt string, conn net.Conn, packet []byte) error
	// answered is called when the server has answered COMMIT. An error: the answer is lost, and the connection with it.
	answered func() error

	mu       sync.Mutex
	packets  int
	inserted int // mailbox rows; committed or not
}

func (s *script) db(t *testing.T, m *move) *mboxdb.DB {
	return mboxdb.New(poolOf(t, m.dst, m.dst.MySQLUser, m.dst.MySQLPassword, func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return &scriptedConn{Conn: conn, script: s}, err
	}), options(m.dst))
}

type scriptedConn struct {
	net.Conn
	script *script
	dead   bool
}

func (c *scriptedConn) Write(p []byte) (int, error) {
	s, stmt := c.script, string(p[min(5, len(p)):])
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(stmt, "INSERT INTO `zimbra`.`mailbox` ") {
		s.inserted++
	}
	if s.send != nil {
		if err := s.send(s.packets, stmt, c.Conn, bytes.Clone(p)); err != nil {
			c.dead = true
			return 0, err
		}
	}
	s.packets++
	n, err := c.Conn.Write(p)
	if err != nil || stmt != "COMMIT" || s.answered == nil {
		return n, err
	}
	answer := make([]byte, 4096)
	k, err := c.Conn.Read(answer)
	if err == nil && s.answered() != nil {
		c.dead = true
		return n, c.Conn.Close()
	}
	c.Conn = &readAlready{Conn: c.Conn, answer: answer[:k], err: err}
	return n, nil
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	if c.dead {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

func (c *scriptedConn) Close() error {
	if c.dead {
		return nil
	}
	return c.Conn.Close()
}

// readAlready gives back what was read of a connection.
type readAlready struct {
	net.Conn
	answer []byte
	err    error
}

func (r *readAlready) Read(p []byte) (int, error) {
	if len(r.answer) == 0 && r.err == nil {
		return r.Conn.Read(p)
	}
	n := copy(p, r.answer)
	r.answer = r.answer[n:]
	return n, r.err
}

// publishing are the two ways to make a mailbox of what is loaded.
var publishing = map[string]func(ctx context.Context, m *move, db *mboxdb.DB, text []byte) error{
	"publish": func(ctx context.Context, m *move, db *mboxdb.DB, _ []byte) error {
		c, err := mboxdb.NewCopy(db, m.srcDB, m.to, m.from, &m.opt)
		if err == nil {
			_, err = c.Publish(ctx)
		}
		return err
	},
	"restore": func(ctx context.Context, m *move, db *mboxdb.DB, text []byte) error {
		_, err := db.Restore(ctx, bytes.NewReader(text), m.to, m.restoring())
		return err
	},
}

var errCut = errors.New("cut")

// Whatever becomes of the connection around the commit, the mailbox is published once, and the answer says so.
func TestPublishOverBrokenConnections(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	text := m.dumped(t)
	thread := func() (id int64) {
		require.NoError(t, m.dstRoot.QueryRow("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_rows_modified > 5").Scan(&id))
		return id
	}
	kill := func(what string, id int64) error {
		_, err := m.dstRoot.Exec(fmt.Sprintf("KILL %s %d", what, id))
		return err
	}
	// first has f called for the first commit of a mailbox row.
	first := func(s *script, f func(conn net.Conn, packet []byte) error) {
		done := false
		s.send = func(_ int, stmt string, conn net.Conn, packet []byte) error {
			if done || stmt != "COMMIT" || s.inserted == 0 {
				return nil
			}
			done = true
			return f(conn, packet)
		}
	}
	for name, test := range map[string]struct {
		script func(s *script)
		times  int // the mailbox row is inserted; 0: once or twice, as chance has it
	}{
		"cut before the commit": {func(s *script) {
			first(s, func(conn net.Conn, _ []byte) error { return errors.Join(errCut, conn.Close()) })
		}, 2},
		"killed before the commit": {func(s *script) {
			first(s, func(net.Conn, []byte) error { return kill("CONNECTION", thread()) })
		}, 2},
		"killed at the insert": {func(s *script) {
			s.send = func(_ int, stmt string, _ net.Conn, _ []byte) error {
				if s.inserted == 1 && strings.HasPrefix(stmt, "UPDATE zimbra.mailbox") {
					return kill("CONNECTION", thread())
				}
				return nil
			}
		}, 2},
		"connection killed during the commit": {func(s *script) {
			first(s, func(net.Conn, []byte) error {
				id, after := thread(), time.Duration(moves.Add(1)%8)*50*time.Microsecond
				go func() {
					time.Sleep(after)
					_ = kill("CONNECTION", id)
				}()
				return nil
			})
		}, 0},
		"statement killed during the commit": {func(s *script) {
			first(s, func(net.Conn, []byte) error {
				id, after := thread(), time.Duration(moves.Add(1)%8)*50*time.Microsecond
				go func() {
					time.Sleep(after)
					_ = kill("QUERY", id)
				}()
				return nil
			})
		}, 0},
		"the answer is lost": {func(s *script) {
			lost := false
			s.answered = func() error {
				if lost || s.inserted == 0 {
					return nil
				}
				lost = true
				return errCut
			}
		}, 1},
		"the commit comes late": {func(s *script) {
			first(s, func(conn net.Conn, packet []byte) error {
				go func() {
					time.Sleep(300 * time.Millisecond)
					_, _ = conn.Write(packet)
					_, _ = conn.Read(make([]byte, 4096))
					_ = conn.Close()
				}()
				return errCut
			})
		}, 1},
		"the answer to the forcing is lost": {func(s *script) {
			cut := false
			s.send = func(_ int, stmt string, conn net.Conn, _ []byte) error {
				if cut || !strings.HasPrefix(stmt, "CREATE TABLE IF NOT EXISTS zmlift.") {
					return nil
				}
				cut = true
				return errors.Join(errCut, conn.Close())
			}
		}, 1},
	} {
		for how, publish := range publishing {
			tries := 1
			if test.times == 0 {
				tries = 5
			}
			for range tries {
				s := &script{}
				test.script(s)
				require.NoError(t, publish(ctx, m, s.db(t, m), text), "%s: %s", how, name)
				if test.times > 0 {
					require.Equal(t, test.times, s.inserted, "%s: %s", how, name)
				}
				m.requireEqual(t, qualified("zimbra", zimbraTables)...)
				require.NoError(t, m.copy(t).Unpublish(ctx, nil))
			}
		}
	}
	m.leave(t)
}

// Wherever in it the connection breaks, Publish ends well, and nothing is half done.
func TestPublishCutAnywhere(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	whole := &script{}
	require.NoError(t, publishing["publish"](ctx, m, whole.db(t, m), nil))
	require.NoError(t, m.copy(t).Unpublish(ctx, nil))
	n := whole.packets
	step := n / 12
	if os.Getenv("ZMLIFT_SOAK") != "" {
		step = 1
	}
	for at := n % step; at < n; at += step {
		cut := &script{}
		cut.send = func(n int, _ string, conn net.Conn, _ []byte) error {
			if n < at {
				return nil
			}
			cut.send = nil
			return errors.Join(errCut, conn.Close())
		}
		name := fmt.Sprintf("packet %d of %d", at, n)
		require.NoError(t, publishing["publish"](ctx, m, cut.db(t, m), nil), name)
		m.requireEqual(t, qualified("zimbra", zimbraTables)...)
		require.NoError(t, m.copy(t).Unpublish(ctx, nil))
		m.unpublished(t, name)
	}
	lab.Note("publishing cut at %d of %d packets (make soak cuts at each)", (n-1-n%step)/step+1, n)
	m.leave(t)
}

// What was not committed is no success, what was committed is no failure because of what happened since, and what cannot be known is said.
func TestPublishSaysWhatHappened(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	text := m.dumped(t)
	once := func(f func()) *script {
		lost := &script{}
		lost.answered = func() error {
			if lost.inserted == 0 {
				return nil
			}
			lost.answered = nil
			f()
			return errCut
		}
		return lost
	}
	for how, publish := range publishing {
		never := &script{}
		never.send = func(_ int, stmt string, conn net.Conn, _ []byte) error {
			if stmt != "COMMIT" || never.inserted == 0 {
				return nil
			}
			return errors.Join(errCut, conn.Close())
		}
		require.Error(t, publish(ctx, m, never.db(t, m), text), how)
		require.Equal(t, 5, never.inserted, how)
		m.unpublished(t, how)

		// The source goes on, and is not what was published.
		more := "UPDATE zimbra.mailbox SET new_messages = new_messages + 1 WHERE id = " + m.from.ID.String()
		lost := once(func() { mustExec(t, m.srcRoot, more) })
		require.NoError(t, publish(ctx, m, lost.db(t, m), text), how)
		require.Equal(t, 1, lost.inserted, how)
		mustExec(t, m.srcRoot, strings.Replace(more, "+", "-", 1))
		m.requireEqual(t, qualified("zimbra", zimbraTables)...)
		require.NoError(t, m.copy(t).Unpublish(ctx, nil))

		// Somebody changes the row before we look again.
		lost = once(func() { m.exec(t, "UPDATE zimbra.mailbox SET new_messages = new_messages + 1 WHERE id = ?", m.to.ID) })
		err := publish(ctx, m, lost.db(t, m), text)
		require.ErrorIs(t, err, mboxdb.ErrPublished, how)
		var mismatch *mboxdb.MismatchError
		require.ErrorAs(t, err, &mismatch, how)
		require.Equal(t, []mboxdb.KeyMismatch{{Key: "id=" + m.to.ID.String(), Kind: "new_messages"}}, mismatch.Tables[0].Keys, how)
		require.NoError(t, m.copy(t).Unpublish(ctx, nil))

		// Somebody takes it away again: it is not there, so it is published once more.
		lost = once(func() { m.exec(t, "DELETE FROM zimbra.mailbox WHERE id = ?", m.to.ID) })
		require.NoError(t, publish(ctx, m, lost.db(t, m), text), how)
		require.Equal(t, 2, lost.inserted, how)
		m.requireEqual(t, qualified("zimbra", zimbraTables)...)
		require.NoError(t, m.copy(t).Unpublish(ctx, nil))

		// Another mover takes over before we look again: it decides.
		lost = once(func() { m.exec(t, "UPDATE zmlift.moves SET fence = fence + 1 WHERE account_id = ?", m.account.ID) })
		require.ErrorIs(t, publish(ctx, m, lost.db(t, m), text), mboxdb.ErrFenced, how)
		m.opt.Claim.Fence++
		require.NoError(t, m.copy(t).Unpublish(ctx, nil))
	}
	m.leave(t)
}

// A server that comes back has lost its last second: what was proven before is not published on top of it.
func TestPublishAtAServerThatCrashes(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 25)
	text := m.dumped(t)
	for how, publish := range publishing {
		require.Eventually(t, func() bool { // one that has just been started looks younger only after a while
			return number(t, m.dstRoot, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'UPTIME'") > 4
		}, time.Minute, 100*time.Millisecond)
		crash := &script{}
		crash.send = func(_ int, stmt string, conn net.Conn, _ []byte) error {
			if stmt != "COMMIT" || crash.inserted != 1 {
				return nil
			}
			crash.send = nil
			require.NoError(t, m.dst.KillMySQL(ctx))
			require.NoError(t, m.dst.StartMySQL(ctx))
			return errors.Join(errCut, conn.Close())
		}
		require.ErrorContains(t, publish(ctx, m, crash.db(t, m), text), "the server was restarted", how)
		m.unpublished(t, how)
		require.NoError(t, publishing["restore"](ctx, m, m.dstDB, text), how)
		m.requireEqual(t, slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))...)
		require.NoError(t, m.copy(t).Unpublish(ctx, nil))
	}
	m.leave(t)
}
