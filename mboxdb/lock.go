package mboxdb

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/zmlift/zmlift/internal/backoff"
)

const (
	lockPrefix  = "zmlift:"
	lockNameMax = 64               // characters, since MySQL 5.7
	lockIdle    = 60 * time.Second // after which the server ends a session that says nothing: its machine was switched off
	lockPing    = 15 * time.Second
	lockAnswer  = 10 * time.Second // a server that takes longer has lost us
)

// A Lock is an account's named lock on one server, held by a session of its own until Close, or until that session breaks. It may be used
// by many goroutines.
type Lock struct {
	name string
	id   uint64 // the session's connection id

	mu   sync.Mutex // one question at a time
	s    *session
	over error // why the lock is not held any more

	stop func()
	done chan struct{}
}

// Lock takes the account's named lock on this server without waiting. ErrBusy says that another session has it: another mover, or one
// that died less than a minute ago. The lock keeps one connection and pings it; ctx ends neither. Close it.
func (d *DB) Lock(ctx context.Context, accountID string) (*Lock, error) {
	return d.lock(ctx, accountID, lockIdle, lockPing)
}

func (d *DB) lock(ctx context.Context, accountID string, idle, ping time.Duration) (*Lock, error) {
	name := lockPrefix + strings.ToLower(accountID)
	if accountID == "" || len(name) > lockNameMax {
		return nil, fmt.Errorf("mboxdb: account id %q cannot name a lock", accountID)
	}
	s, err := d.open(ctx, fmt.Sprintf(sqlPinnedSession, int(idle/time.Second)))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	l := &Lock{name: name, s: s, done: make(chan struct{})}
	if err := l.take(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	pinging, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go func() {
		defer close(l.done)
		for backoff.Sleep(pinging, ping) == nil && l.ask(pinging) == nil {
		}
	}()
	return l, nil
}

func (l *Lock) take(ctx context.Context) error {
	var got sql.NullInt64 // NULL: the server could not even try
	if err := scan(ctx, l.s, sqlGetLock, []any{l.name, 0}, &got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return ErrBusy
	}
	return scan(ctx, l.s, sqlConnectionID, nil, &l.id)
}

// Alive asks the server whether the lock is still ours: nil, or ErrLockLost, which is final: the session broke, was killed, or the server
// has restarted. A ctx that has ended is its error and says nothing about the lock. The question itself takes no longer than 10 seconds
// and does not end with ctx, since to abandon it would be to lose the lock.
func (l *Lock) Alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.ask(ctx)
}

func (l *Lock) ask(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return l.over
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockAnswer)
	defer cancel()
	var own uint64
	var holder sql.NullInt64
	err := scan(ctx, l.s, sqlLockHolder, []any{l.name}, &own, &holder)
	switch {
	case err != nil:
		l.over = fmt.Errorf("%s: %w: %w", l.name, ErrLockLost, err)
	case own != l.id || !holder.Valid || uint64(holder.Int64) != l.id:
		l.over = fmt.Errorf("%s: %w: the server does not name connection %d as its holder", l.name, ErrLockLost, l.id)
	default:
		return nil
	}
	l.s.close() // if the server still thinks otherwise, now it does not
	return l.over
}

// Close frees the lock and its connection. A lock that was lost, or closed already: no error. After an error the server may hold the lock
// for up to a minute more.
func (l *Lock) Close() error {
	l.stop()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return nil
	}
	l.over = fmt.Errorf("%s: %w: it was closed", l.name, ErrLockLost)
	ctx, cancel := context.WithTimeout(context.Background(), lockAnswer)
	defer cancel()
	var released sql.NullInt64
	err := scan(ctx, l.s, sqlReleaseLock, []any{l.name}, &released) // the end of the connection is noticed later
	l.s.close()
	if err != nil {
		return fmt.Errorf("release %s: %w", l.name, err)
	}
	return nil
}
