package tunnel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/tunnel"
)

// mysqlThrough is a pool of one connection to the store's database, dialled through the tunnel.
func mysqlThrough(t *testing.T, tun *tunnel.Tunnel, adjust func(*mysql.Config)) *sql.DB {
	t.Helper()
	s := store(t)
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", s.MySQLAddr, s.MySQLUser, s.MySQLPassword
	c.DialFunc = tun.DialContext
	c.Logger = &mysql.NopLogger{}
	adjust(c)
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMySQLTimeouts(t *testing.T) {
	const timeout = 300 * time.Millisecond
	db := mysqlThrough(t, open(t, hostOf(store(t))), func(c *mysql.Config) { c.ReadTimeout, c.WriteTimeout = timeout, timeout })
	id := func() (id int) {
		t.Helper()
		require.NoError(t, db.QueryRow("SELECT CONNECTION_ID()").Scan(&id))
		return id
	}
	first := id()
	time.Sleep(2 * timeout)
	require.Equal(t, first, id(), "a deadline that passed while nobody waited ended the connection")

	began := time.Now()
	var n int
	require.Error(t, db.QueryRow("SELECT SLEEP(5)").Scan(&n))
	require.Less(t, time.Since(began), 4*time.Second, "the driver's readTimeout")
	require.NotEqual(t, first, id(), "the driver gave up the connection")
}

func TestMySQLContext(t *testing.T) {
	db := mysqlThrough(t, open(t, hostOf(store(t))), func(*mysql.Config) {})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var n int
	require.ErrorIs(t, db.QueryRowContext(ctx, "SELECT SLEEP(5)").Scan(&n), context.DeadlineExceeded)
}

// pair is a connection through the tunnel and its far end, which is in this process.
func pair(t *testing.T, tun *tunnel.Tunnel) (near net.Conn, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	near, err = tun.DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	far = (<-accepted).(*net.TCPConn)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// here is a tunnel to a server in this process, so that pair's far end can be reached whatever machine a store is.
func here(t *testing.T) *tunnel.Tunnel {
	t.Helper()
	s, err := newServer()
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return open(t, tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: s.KnownHostsFile})
}

func TestDeadlines(t *testing.T) {
	near, far := pair(t, here(t))
	timedOut := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var network net.Error
		require.ErrorAs(t, err, &network)
		require.True(t, network.Timeout(), "net.Error.Timeout of %v", err)
	}
	b := make([]byte, 16)

	require.NoError(t, near.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := near.Read(b)
	timedOut(err)
	_, err = near.Read(b)
	timedOut(err) // it stays over
	_, err = near.Write([]byte("still here"))
	require.NoError(t, err, "a read deadline is none for writes")
	require.NoError(t, near.SetReadDeadline(time.Time{}))
	_, err = io.ReadFull(far, b[:10])
	require.NoError(t, err)
	_, err = far.Write([]byte("me too"))
	require.NoError(t, err)
	n, err := near.Read(b)
	require.NoError(t, err, "a read that was late has not ended the connection")
	require.Equal(t, "me too", string(b[:n]))

	// A deadline set while a read waits ends it: how servers and drivers interrupt.
	waiting := make(chan error)
	go func() {
		_, err := near.Read(b)
		waiting <- err
	}()
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, near.SetReadDeadline(time.Unix(1, 0)))
	timedOut(<-waiting)
	require.NoError(t, near.SetDeadline(time.Time{}))

	// The far end does not read; after some megabytes nothing fits in between.
	require.NoError(t, near.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = io.Copy(near, zeros(1<<30))
	timedOut(err)
}

// With the network hanging, nothing but our own clock ends a read, a write, a dial or a command.
func TestFrozenNetwork(t *testing.T) {
	p := newProxy(t, store(t))
	tun := open(t, p.Host)
	c, err := tun.DialContext(t.Context(), "tcp", store(t).MySQLAddr)
	require.NoError(t, err)
	defer c.Close()
	b := make([]byte, 5)
	_, err = io.ReadFull(c, b)
	require.NoError(t, err, "MySQL's greeting")

	close(p.frozen)
	require.NoError(t, c.SetDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = io.Copy(io.Discard, c)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = io.Copy(c, zeros(1<<30))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = tun.DialContext(ctx, "tcp", store(t).MySQLAddr)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, tun.Run(ctx, []string{"true"}, nil, nil, nil), context.DeadlineExceeded)
}

func TestEndOfConnection(t *testing.T) {
	near, far := pair(t, here(t))
	text := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{1}).Read(text)

	// Each side ends for itself.
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(near, bytes.NewReader(text))
		sent <- errors.Join(err, near.(interface{ CloseWrite() error }).CloseWrite())
	}()
	h := sha256.New()
	_, err := io.Copy(h, far)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, sha256.Sum256(text), [32]byte(h.Sum(nil)))
	go func() {
		far.Write(text)
		far.Close()
	}()
	h.Reset()
	_, err = io.Copy(h, near)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(text), [32]byte(h.Sum(nil)))
}

func TestCloseLosesNothing(t *testing.T) {
	near, far := pair(t, here(t))
	text := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{2}).Read(text)
	go func() {
		near.Write(text)
		near.Close()
	}()
	h := sha256.New()
	_, err := io.Copy(h, far)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(text), [32]byte(h.Sum(nil)))
	require.NoError(t, near.Close(), "twice")
	_, err = near.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = near.Write(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
}

// A connection that breaks must not look like one that was ended.
func TestLostConnection(t *testing.T) {
	p := newProxy(t, store(t))
	tun := open(t, p.Host)
	c, err := tun.DialContext(t.Context(), "tcp", store(t).MySQLAddr)
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, store(t).MySQLAddr, c.RemoteAddr().String())
	_, err = io.ReadFull(c, make([]byte, 5))
	require.NoError(t, err)
	time.AfterFunc(20*time.Millisecond, p.cut)
	_, err = io.Copy(io.Discard, c)
	require.ErrorIs(t, err, tunnel.ErrLost)
	_, err = io.Copy(c, zeros(1<<20))
	require.ErrorIs(t, err, tunnel.ErrLost)
}
