package mboxdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/internal/backoff"
)

// Options say what the database itself cannot tell.
type Options struct {
	// Groups is the server's zimbra_mailbox_groups. Required where ids are reserved; a wrong one puts mailboxes where mailboxd would not.
	Groups int
	// CreateScript reads the server's own create_database.sql. Required where a mailbox group may have to be made.
	CreateScript func(ctx context.Context) ([]byte, error)
	// Tables are policies for tables that this package does not know, by the names that *UnknownTableError gives. Skip leaves the
	// table's rows behind; Copy takes them with the mailbox id mapped and nothing else.
	Tables map[string]TablePolicy
	// LockWait bounds the wait for a row or a table that another transaction holds. Default 10 s, and seconds are what counts.
	LockWait time.Duration
}

// A DB is one mailstore's database server. It may be used by many goroutines.
type DB struct {
	pool   *sql.DB
	opt    Options
	noLoad atomic.Bool // the server does not take LOAD DATA from its clients
}

// New returns a DB on a pool, which stays the caller's to close. A user with the rights of Zimbra's own database user can do everything
// here; Quiet needs PROCESS as well. nil options are enough for reading. It does no I/O.
func New(pool *sql.DB, opts *Options) *DB {
	d := &DB{pool: pool}
	if opts != nil {
		d.opt = *opts
	}
	if d.opt.LockWait < time.Second {
		d.opt.LockWait = 10 * time.Second
	}
	return d
}

// A querier is a session, or a transaction in one.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// A session is a connection with settings of its own. It never goes back to the pool.
type session struct{ *sql.Conn }

// How long a session may be idle before its server ends it. One that reads holds nothing that others wait for, and waits itself where the
// other server takes longer.
const (
	idleReader = 10 * time.Minute
	idleWriter = time.Minute
)

// read opens a session that cannot write.
func (d *DB) read(ctx context.Context) (*session, error) {
	return d.open(ctx, sqlSession(d.opt.LockWait, idleReader), sqlReadOnly)
}

// snapshot opens a session that cannot write, and whose transaction reads everything as of one moment.
func (d *DB) snapshot(ctx context.Context) (*session, error) {
	return d.open(ctx, sqlSession(d.opt.LockWait, idleWriter), sqlReadSnapshot)
}

// write opens a session that can write.
func (d *DB) write(ctx context.Context) (*session, error) {
	return d.open(ctx, sqlSession(d.opt.LockWait, idleWriter), sqlReadCommitted)
}

func (d *DB) open(ctx context.Context, settings ...string) (*session, error) {
	conn, err := d.pool.Conn(ctx)
	if err != nil {
		return nil, clean(err)
	}
	s := &session{conn}
	for _, stmt := range settings {
		if err := exec(ctx, s, stmt); err != nil {
			s.close()
			return nil, fmt.Errorf("session settings: %w", err)
		}
	}
	return s, nil
}

// close ends the connection, and with it the settings and whatever transaction is still open.
func (s *session) close() {
	_ = s.Raw(func(any) error { return driver.ErrBadConn }) // the way to have database/sql drop a connection
	_ = s.Conn.Close()
}

// inTx runs f in a transaction and commits it. Deadlocks and lock timeouts are tried again: f must be repeatable. After any other error
// the transaction is rolled back, except that an error of the commit itself leaves the outcome open.
func (s *session) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	return backoff.Retry(ctx, backoff.Policy{}, passes, func(ctx context.Context) error {
		tx, err := s.BeginTx(ctx, nil)
		if err != nil {
			return clean(err)
		}
		if err := f(tx); err != nil {
			if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) && ctx.Err() == nil {
				return errors.Join(err, fmt.Errorf("roll back: %w", clean(rerr)))
			}
			return err
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", clean(err))
		}
		return nil
	})
}

// reading runs f in a session that cannot write, and in a new one when that one is lost.
func (d *DB) reading(ctx context.Context, f func(s *session) error) error {
	return within(ctx, d.read, func(err error) bool { return lost(err) || passes(err) }, f)
}

// writing runs f in a session that can write, and in a new one when that one is lost: f must be repeatable, also after a commit whose answer
// was lost with it.
func (d *DB) writing(ctx context.Context, f func(s *session) error) error {
	return within(ctx, d.write, lost, f)
}

func within(ctx context.Context, open func(context.Context) (*session, error), again func(error) bool, f func(s *session) error) error {
	return backoff.Retry(ctx, backoff.Policy{}, again, func(ctx context.Context) error {
		s, err := open(ctx)
		if err != nil {
			return err
		}
		defer s.close()
		return f(s)
	})
}

// passes says whether an error goes away by itself: a lock wait timeout, a deadlock.
func passes(err error) bool { return serverError(err, 1205, 1213) }

// lost says whether a session or its statement was ended from outside: the connection broke, or somebody killed it, or the server shut down.
// What ran in it may be tried in a new one, if it may be done twice.
func lost(err error) bool {
	var network *net.OpError
	if err != nil && strings.HasSuffix(err.Error(), "bad connection") { // the driver has an error of its own, which it does not export
		return true
	}
	return errors.Is(err, errNotDone) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.As(err, &network) || serverError(err, 1053, 1317, 1927)
}

func exec(ctx context.Context, q querier, stmt string, args ...any) error {
	_, err := q.ExecContext(ctx, stmt, args...)
	return clean(err)
}

// affect runs a statement and returns how many rows it changed.
func affect(ctx context.Context, q querier, stmt string, args ...any) (int64, error) {
	res, err := q.ExecContext(ctx, stmt, args...)
	if err != nil {
		return 0, clean(err)
	}
	return res.RowsAffected()
}

// errNotDone: MariaDB says that a DELETE has succeeded, with no rows, when it was killed while it was being planned. The UPDATEs that others rely
// on are held to what they say as well.
var errNotDone = errors.New("the server did not change what it was asked to, as when somebody kills a statement")

// changeOne runs a statement that changes exactly one row.
func changeOne(ctx context.Context, q querier, stmt string, args ...any) error {
	n, err := affect(ctx, q, stmt, args...)
	if err == nil && n != 1 {
		err = errNotDone
	}
	return err
}

// emptied deletes a mailbox's rows of some ids, or all of them, and makes sure that they are gone.
func emptied(ctx context.Context, q querier, t Table, group int, id MailboxID, spans []span) (rows int64, err error) {
	if rows, err = affect(ctx, q, sqlDeleteSpans(t, group, id, spans)); err == nil {
		err = empty(ctx, q, t, group, id, spans)
	}
	return rows, err
}

// empty says whether a mailbox has no rows of some ids, or none at all: errNotDone where it has.
func empty(ctx context.Context, q querier, t Table, group int, id MailboxID, spans []span) error {
	return none(ctx, q, sqlAnySpans(t, group, id, spans))
}

// none is nil when a query finds nothing, and errNotDone when it does.
func none(ctx context.Context, q querier, stmt string, args ...any) error {
	var one int
	err := scan(ctx, q, stmt, args, &one)
	switch {
	case err == nil:
		return errNotDone
	case errors.Is(err, sql.ErrNoRows):
		return nil
	}
	return err
}

// scan reads the first row of a query; sql.ErrNoRows when there is none.
func scan(ctx context.Context, q querier, stmt string, args []any, dest ...any) error {
	rows, err := q.QueryContext(ctx, stmt, args...)
	if err != nil {
		return clean(err)
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return clean(err)
		}
		return sql.ErrNoRows
	}
	if err := rows.Scan(dest...); err != nil {
		return errors.New("a column has an unexpected type") // Scan's own text quotes the value
	}
	return clean(rows.Close())
}

// each calls f for every row of a query.
func each(ctx context.Context, q querier, stmt string, args []any, f func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, stmt, args...)
	if err != nil {
		return clean(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return clean(rows.Err())
}
