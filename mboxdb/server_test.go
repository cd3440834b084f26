package mboxdb_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxverify"
)

func TestServer(t *testing.T) {
	l := lab.Shared(t)
	var servers [2]mboxdb.Server
	for i, s := range l.Stores {
		v, err := openDB(t, s).Server(t.Context())
		require.NoError(t, err)
		again, err := openDB(t, s).Server(t.Context())
		require.NoError(t, err)
		require.Equal(t, v, again)
		servers[i] = v
	}
	a, b := servers[0], servers[1]
	require.NotEqual(t, a.Identity, b.Identity, "two servers on one host")
	a.Identity = b.Identity
	require.Equal(t, a, b, "everything else is set up alike")
	require.Equal(t, "118", a.DBVersion)
	require.Equal(t, "utf8mb3", a.Charset)
	require.Equal(t, 110, a.MaxConnections)
	require.Contains(t, a.Version, "MariaDB")
	require.Contains(t, a.SQLMode, "STRICT_TRANS_TABLES")
	require.Regexp(t, `^[+-]\d\d:\d\d( [+-]\d\d:\d\d){3}$`, a.TimeZone)
}

func TestServerIsNotZimbra(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	pool := poolOf(t, s, "bare", "bare", nil)
	root := s.RootDB(t)
	mustExec(t, root, "CREATE USER 'bare'@'%' IDENTIFIED BY 'bare'")
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DROP USER 'bare'@'%'") })
	_, err := mboxdb.New(pool, nil).Server(t.Context())
	requireNumber(t, 1142, err)
	require.ErrorContains(t, err, "server: db.version in zimbra.config: ")
}

// openDB opens a store as a mover does.
func openDB(t *testing.T, s *lab.Store) *mboxdb.DB {
	t.Helper()
	return mboxdb.New(s.DB(t), options(s))
}

func options(s *lab.Store) *mboxdb.Options {
	return &mboxdb.Options{
		Groups: s.Groups,
		CreateScript: func(ctx context.Context) ([]byte, error) {
			var b bytes.Buffer
			err := s.Run(ctx, []string{"cat", s.CreateDatabaseFile}, nil, &b)
			return b.Bytes(), err
		},
	}
}

// poolOf opens a pool of another user, or with another dialer.
func poolOf(t *testing.T, s *lab.Store, user, password string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DialFunc, c.Logger = "tcp", s.MySQLAddr, user, password, dial, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	pool := sql.OpenDB(connector)
	t.Cleanup(func() { pool.Close() })
	return pool
}

// A server that ends long statements ends none of ours.
func TestServerThatLimitsStatements(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 2000)
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", m.src.MySQLAddr, m.src.MySQLUser, m.src.MySQLPassword
	c.Params = map[string]string{"max_statement_time": "0.001"}
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	pool := sql.OpenDB(connector)
	defer pool.Close()
	var n int
	// Rows to the third power: no server is done with them before the limit is.
	err = pool.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(SHA1(CONCAT(a.subject, b.subject, c.subject))) FROM mboxgroup%[1]d.mail_item a, mboxgroup%[1]d.mail_item b, mboxgroup%[1]d.mail_item c", m.from.Group)).Scan(&n)
	requireNumber(t, 1969, err)
	m.srcDB = mboxdb.New(pool, options(m.src))
	_, err = m.copy(t).Load(ctx)
	require.NoError(t, err)
	_, err = m.copy(t).Verify(ctx)
	require.NoError(t, err)
	to, from := mboxverify.Mailbox{ID: uint32(m.to.ID), Group: m.to.Group}, mboxverify.Mailbox{ID: uint32(m.from.ID), Group: m.from.Group}
	_, err = mboxverify.Compare(ctx, m.dst.DB(t), pool, to, from, &mboxverify.Options{Volumes: map[uint8]uint8{1: 5, 3: 5}, Unpublished: true})
	require.NoError(t, err)
	require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
}

// newID is a zimbraId that no other test has.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

type execer interface {
	Exec(query string, args ...any) (sql.Result, error)
}

func mustExec(t *testing.T, db execer, stmt string, args ...any) {
	t.Helper()
	_, err := db.Exec(stmt, args...)
	require.NoError(t, err, stmt)
}

func number(t *testing.T, db *sql.DB, stmt string, args ...any) (n int64) {
	t.Helper()
	require.NoError(t, db.QueryRow(stmt, args...).Scan(&n), stmt)
	return n
}

func requireNumber(t *testing.T, want uint16, err error) {
	t.Helper()
	var me *mysql.MySQLError
	require.ErrorAs(t, err, &me)
	require.Equal(t, want, me.Number, "%v", err)
}

// lossy opens a store whose answer to the nth COMMIT from now on is lost: the server has done it, the connection is gone. lost says whether
// it came to that.
func lossy(t *testing.T, s *lab.Store, nth int32) (db *mboxdb.DB, lost func() bool) {
	t.Helper()
	left := new(atomic.Int32)
	left.Store(nth)
	pool := poolOf(t, s, s.MySQLUser, s.MySQLPassword, func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		return &lossyConn{Conn: c, left: left}, err
	})
	return mboxdb.New(pool, options(s)), func() bool { return left.Load() <= 0 }
}

type lossyConn struct {
	net.Conn
	left *atomic.Int32
	dead bool
}

func (c *lossyConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil && strings.HasSuffix(string(p), "COMMIT") && c.left.Add(-1) == 0 {
		_, err = c.Conn.Read(make([]byte, 4096)) // the server has answered, so it has done it
		c.dead = true
		c.Conn.Close()
	}
	return n, err
}

func (c *lossyConn) Read(p []byte) (int, error) {
	if c.dead {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

// ignored is a pool whose server does nothing for the first statement that begins so, and says that it has, as MariaDB does with one that is
// killed while it is being planned.
func ignored(t *testing.T, s *lab.Store, begins string) (db *mboxdb.DB, met func() bool) {
	t.Helper()
	var done atomic.Bool
	pool := poolOf(t, s, s.MySQLUser, s.MySQLPassword, func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		return &ignoringConn{Conn: c, begins: begins, done: &done}, err
	})
	return mboxdb.New(pool, options(s)), done.Load
}

type ignoringConn struct {
	net.Conn
	begins string
	done   *atomic.Bool
}

func (c *ignoringConn) Write(p []byte) (int, error) {
	if len(p) < 5 || !strings.HasPrefix(string(p[5:]), c.begins) || !c.done.CompareAndSwap(false, true) {
		return c.Conn.Write(p)
	}
	stmt := string(p[4:])
	if strings.Contains(stmt, " WHERE ") {
		stmt = strings.Replace(stmt, " WHERE ", " WHERE 0 AND ", 1)
	} else {
		stmt += " WHERE 0"
	}
	packet := append([]byte{byte(len(stmt)), byte(len(stmt) >> 8), byte(len(stmt) >> 16), p[3]}, stmt...)
	if _, err := c.Conn.Write(packet); err != nil {
		return 0, err
	}
	return len(p), nil
}
