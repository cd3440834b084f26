package zimbra

import (
	"context"
	"database/sql"
	"fmt"
	"path"
	"sync"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// A StoreConfig says how one mailstore is reached.
type StoreConfig struct {
	Host string // its zimbraMailHost
	// DB is a pool to its database server, without a default database. It is the caller's to close, and one Store's only. A move from or to
	// the store uses two of its connections at most. One more stays free for plans, and for moves that were committed before a crash and have
	// to be finished. So a pool that SetMaxOpenConns limits to n carries (n-1)/2 moves at once: when another one begins or goes on,
	// its Run or Rollback is ErrBusy and may be called again once one has ended. A limit of less than 3 carries none, and that is an error
	// that names it. Without a limit it carries any number, and the server's max_connections is the caller's concern.
	DB *sql.DB
	// Files are its disks. Where only so many commands run at once, as through a tunnel.Tunnel, there must be four for each move: moves that
	// each have a command running while they need another one may wait for each other.
	Files filesync.Host

	Localconfig    string // path on the store; default /opt/zimbra/conf/localconfig.xml
	CreateDatabase string // path on the store; default /opt/zimbra/db/create_database.sql

	Mailboxd Mailboxd // its admin service; nil: problem no-mailboxd
	Caches   Caches   // memcached servers beside it; nil: none

	// Code names the problem code that an error of reaching the store stands for, such as CodeHostKey or CodeLogin. "" or a nil function:
	// CodeUnreachable.
	Code func(error) string
}

// NewStore returns a mailstore that is surveyed and copied through the packages mboxdb, sqlrewrite and filesync. It does no I/O.
func NewStore(c StoreConfig) *Store {
	if c.Localconfig == "" {
		c.Localconfig = "/opt/zimbra/conf/localconfig.xml"
	}
	if c.CreateDatabase == "" {
		c.CreateDatabase = "/opt/zimbra/db/create_database.sql"
	}
	m := &mailstore{StoreConfig: c}
	return &Store{Survey: m, Mailboxd: c.Mailboxd, Caches: c.Caches, real: m}
}

// A mailstore is a real one.
type mailstore struct {
	StoreConfig
	mu    sync.Mutex
	moves int // under way from here or to here
}

// moveConns is how many connections of one store's pool a move holds at most: one has the named lock, and one reads or writes. Whoever
// holds these asks for no more, so that moves which all have theirs never wait for each other, also where one reads from a store while
// it writes to another.
const moveConns = 2

// admit takes room for a move in the pool, and does not wait for it.
func (m *mailstore) admit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.DB.Stats().MaxOpenConnections; n > 0 {
		room := (n - 1) / moveConns
		if room == 0 {
			return fmt.Errorf("%s: its pool of %d connections is too small for a move: at least %d are needed", m.Host, n, moveConns+1)
		}
		if m.moves >= room {
			return &fullError{m.Host, n, m.moves}
		}
	}
	m.moves++
	return nil
}

// dismiss gives back what admit took.
func (m *mailstore) dismiss() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moves--
}

// A fullError says that a store's pool has no room for another move now. It is ErrBusy.
type fullError struct {
	host         string
	conns, moves int
}

func (e *fullError) Error() string {
	return fmt.Sprintf("%s: as many moves are under way as its pool of %d connections carries (%d)", e.host, e.conns, e.moves)
}

func (e *fullError) Unwrap() error { return ErrBusy }

// database is the store's database with what only its files know.
func (m *mailstore) database(groups int, tables map[string]mboxdb.TablePolicy) *mboxdb.DB {
	return mboxdb.New(m.DB, &mboxdb.Options{
		Groups: groups, Tables: tables,
		CreateScript: func(ctx context.Context) ([]byte, error) { return m.readFile(ctx, m.CreateDatabase) },
	})
}

// readFile reads a configuration file of the store.
func (m *mailstore) readFile(ctx context.Context, name string) ([]byte, error) {
	const limit = 16 << 20
	return filesync.ReadFile(ctx, m.Files.Tree(path.Dir(name)), path.Base(name), limit)
}

// mailboxTree is a mailbox's directory on a volume, and whether it is there.
func (m *mailstore) mailboxTree(ctx context.Context, v mboxdb.Volume, id mboxdb.MailboxID) (filesync.Tree, bool, error) {
	ok, err := exists(ctx, m.Files.Tree(v.Path), v.MailboxDir(id))
	return m.Files.Tree(path.Join(v.Path, v.MailboxDir(id))), ok, err
}
