package zimbra_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/tunnel"
	"github.com/zmlift/zmlift/zimbra"
)

func TestMain(m *testing.M) { lab.Main(m) }

// A site is the lab as a program sees it that moves mailboxes.
type site struct {
	*lab.Lab
	mover  *zimbra.Mover
	stores map[string]*zimbra.Store
	conns  map[string]*connCount // by host
	runs   map[string]*runner    // by host
	// onEvent may be set before a move runs.
	onEvent func(zimbra.Event)
}

// newSite makes the clients, with pools of so many connections; 0 is no limit.
func newSite(t testing.TB, conns int) *site {
	t.Helper()
	return newSiteOn(t, lab.Shared(t), conns)
}

func newSiteOn(t testing.TB, l *lab.Lab, conns int, adjust ...func(*zimbra.StoreConfig)) *site {
	t.Helper()
	s := &site{Lab: l, stores: map[string]*zimbra.Store{}, conns: map[string]*connCount{}, runs: map[string]*runner{}}
	for _, st := range l.Stores {
		tun, err := tunnel.New(tunnel.Host{Addr: st.SSHAddr, User: st.SSHUser, IdentityFile: st.KeyFile, KnownHostsFile: st.KnownHostsFile})
		require.NoError(t, err)
		t.Cleanup(func() { tun.Close() })
		count, run := &connCount{}, &runner{Runner: tun}
		pool := count.pool(t, st)
		pool.SetMaxOpenConns(conns)
		s.conns[st.Host], s.runs[st.Host] = count, run
		config := zimbra.StoreConfig{
			Host: st.Host, DB: pool, Files: filesync.Remote(run, nil), Localconfig: st.LocalconfigFile, CreateDatabase: st.CreateDatabaseFile,
		}
		for _, f := range adjust {
			f(&config)
		}
		s.stores[st.Host] = zimbra.NewStore(config)
	}
	dir, err := ldapattr.Dial(t.Context(), l.LDAP.URL, &ldapattr.Options{BindDN: l.LDAP.BindDN, Password: ldapattr.NewSecret(l.LDAP.Password), CAFile: l.LDAP.CAFile})
	require.NoError(t, err)
	t.Cleanup(func() { dir.Close() })
	s.mover, err = zimbra.New(zimbra.Config{
		Directory: dir, DirectoryName: dir.String(), Stores: s.stores, StateDir: t.TempDir(),
		OnEvent: func(e zimbra.Event) {
			if s.onEvent != nil {
				s.onEvent(e)
			}
		},
	})
	require.NoError(t, err)
	return s
}

var accounts atomic.Int32

// address is that of a new account, however often a test runs.
func address(name string) string { return fmt.Sprintf("%s%d@lab.example", name, accounts.Add(1)) }

// plan makes an account on one store and plans its move to the other one.
func (s *site) plan(t testing.TB, from, to *lab.Store) *zimbra.Plan {
	t.Helper()
	a, err := s.AddAccount(t.Context(), from, lab.AccountSpec{Name: address("zimbra"), Items: 25})
	require.NoError(t, err)
	p, err := s.mover.Plan(t.Context(), zimbra.Request{Account: a.Name, To: to.Host, Accept: []string{zimbra.CodeNoMailboxd}})
	require.NoError(t, err)
	return p
}

// effects are those of one process that works on a move.
func (s *site) effects(t testing.TB, p *zimbra.Plan, move string) *zimbra.Copy {
	t.Helper()
	c, err := zimbra.NewCopier(s.stores).Copy(p, move, func(zimbra.Progress) {})
	require.NoError(t, err)
	t.Cleanup(func() { c.Fence.Release(context.Background()) })
	return c
}

// A connCount counts the connections that are open.
type connCount struct {
	mu         sync.Mutex
	open, peak int
}

func (c *connCount) pool(t testing.TB, st *lab.Store) *sql.DB {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "tcp", st.MySQLAddr, st.MySQLUser, st.MySQLPassword
	config.Timeout = 10 * time.Second
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.add(1)
		return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { c.add(-1) })}, nil
	}
	connector, err := mysql.NewConnector(config)
	require.NoError(t, err)
	pool := sql.OpenDB(connector)
	t.Cleanup(func() { pool.Close() })
	return pool
}

func (c *connCount) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += n
	c.peak = max(c.peak, c.open)
}

func (c *connCount) most() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peak
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// A runner runs a store's commands. One of them may be preceded by something else: whoever sent it was asleep for so long.
type runner struct {
	filesync.Runner
	mu     sync.Mutex
	match  func(argv []string) bool
	before func()
	// answer may answer a command itself; it is set before anything runs.
	answer func(argv []string) (stdout string, err error, answered bool)
	// input may look at what a command reads; it is set before anything runs.
	input func(argv []string, stdin io.Reader) io.Reader
}

func (r *runner) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	r.mu.Lock()
	var f func()
	if r.match != nil && r.match(argv) {
		f, r.match = r.before, nil
	}
	r.mu.Unlock()
	if f != nil {
		f()
	}
	if r.answer != nil {
		if out, err, ok := r.answer(argv); ok {
			_, werr := io.WriteString(stdout, out)
			return errors.Join(err, werr)
		}
	}
	if r.input != nil {
		stdin = r.input(argv, stdin)
	}
	return r.Runner.Run(ctx, argv, stdin, stdout, stderr)
}
