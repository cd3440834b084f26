package zimbra

import (
	"context"
	"database/sql"
	"fmt"
	"path"
	"slices"
	"sync"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// A StoreConfig says how one mailstore is reached.
type StoreConfig struct {
	Host string // its zimbraMailHost
	// DB is a pool to its database server, without a default database. It is the caller's to close, and one Store's only. A move from or to
	// the store uses three of its connections at most. One more stays free for plans, and for moves that were committed before a crash and
	// have to be finished. So a pool that SetMaxOpenConns limits to n carries (n-1)/3 moves at once; a limit of less than 4 carries none,
	// and that is an error that names it. Without a limit the server's max_connections is the caller's concern.
	DB *sql.DB
	// Files are its disks. A move has up to five commands running there at once, and now and then a sixth. They wait for each other, so there must be room for all of
	// them where only so many run, as through a tunnel.Tunnel: its eight are enough for two moves.
	Files filesync.Host
	// Moves is how many moves may be under way from or to the store at once, if the pool carries them; default 2. When another one begins or
	// goes on, its Run or Rollback is ErrBusy, and may be called again once one has ended.
	Moves int

	Localconfig    string // path on the store; default /opt/zimbra/conf/localconfig.xml
	CreateDatabase string // path on the store; default /opt/zimbra/db/create_database.sql

	Mailboxd Mailboxd // its admin service; nil: problem no-mailboxd
	Caches   Caches   // memcached servers beside it; nil: none

	// Limit bounds what all moves and scans together read from its disks; it may be changed while they run. nil is no limit. It holds in the
	// lock as well, where little is read: a rate that is too low costs the user time.
	Limit *filesync.Limit

	// Reserve is how many bytes are to stay free on each of its volumes: a plan wants more room than that, and a copy to the store pauses
	// while there is less. Default 256 MiB; less than 0: whatever there is may be used.
	Reserve int64

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
	if c.Moves == 0 {
		c.Moves = 2
	}
	if c.Reserve == 0 {
		c.Reserve = defaultReserve
	}
	m := &mailstore{StoreConfig: c}
	return &Store{Survey: m, Scan: m, Mailboxd: c.Mailboxd, Caches: c.Caches, real: m}
}

// A mailstore is a real one.
type mailstore struct {
	StoreConfig
	mu    sync.Mutex
	moves int // under way from here or to here
}

// rowStreams is how many connections of one store's pool a move reads or writes rows with at a time.
const rowStreams = 2

// moveConns is how many connections of one store's pool a move holds at most: one has the named lock, the others carry rows. Whoever
// holds these asks for no more, so that moves which all have theirs never wait for each other, also where one reads from a store while
// it writes to another.
const moveConns = 1 + rowStreams

// admit takes room for a move, and does not wait for it.
func (m *mailstore) admit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.DB.Stats().MaxOpenConnections; n > 0 {
		room := (n - 1) / moveConns
		if room == 0 {
			return fmt.Errorf("%s: its pool of %d connections is too small for a move: at least %d are needed", m.Host, n, moveConns+1)
		}
		if m.moves >= room {
			return &fullError{fmt.Sprintf("%s: %d moves are under way, and its pool of %d connections carries no more", m.Host, m.moves, n)}
		}
	}
	if m.moves >= m.Moves {
		return &fullError{fmt.Sprintf("%s: %d moves are under way, and StoreConfig.Moves allows no more", m.Host, m.moves)}
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

// A fullError says that a store has no room for another move now. It is ErrBusy, and no other mover's doing.
type fullError struct{ text string }

func (e *fullError) Error() string { return e.text }

func (e *fullError) Unwrap() error { return ErrBusy }

// database is the store's database with what only its files know.
func (m *mailstore) database(groups int, tables map[string]mboxdb.TablePolicy) *mboxdb.DB {
	return mboxdb.New(m.DB, &mboxdb.Options{
		Groups: groups, Tables: tables,
		CreateScript: func(ctx context.Context) ([]byte, error) { return m.readFile(ctx, m.CreateDatabase) },
	})
}

// limits are what reading from the store's disks is bound to, besides others; nil is none.
func (m *mailstore) limits(others ...*filesync.Limit) []*filesync.Limit {
	return slices.DeleteFunc(append(others, m.Limit), func(l *filesync.Limit) bool { return l == nil })
}

// volumes are those of the store, with the directory of a SurveyRequest in their paths.
func (m *mailstore) volumes(ctx context.Context, db *mboxdb.DB, blobDir string) ([]mboxdb.Volume, error) {
	vs, err := db.Volumes(ctx)
	for i, v := range vs {
		if v.Files() {
			vs[i].Path = path.Join(v.Path, blobDir)
		}
	}
	return vs, err
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
