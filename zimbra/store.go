package zimbra

import (
	"context"
	"database/sql"
	"path"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// A StoreConfig says how one mailstore is reached.
type StoreConfig struct {
	Host  string        // its zimbraMailHost
	DB    *sql.DB       // pool to its database server, without a default database; the caller's to close. A move uses up to four connections
	Files filesync.Host // its disks

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
	m := &mailstore{c}
	return &Store{Survey: m, Mailboxd: c.Mailboxd, Caches: c.Caches, real: m}
}

// A mailstore is a real one.
type mailstore struct{ StoreConfig }

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
