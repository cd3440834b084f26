package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/zmlift/zmlift/internal/backoff"
)

// InnoDB looks at its transactions again only after nobody has read information_schema.innodb_trx for 0.1 s, and answers from memory until
// then. So polls are further apart, and blurred: two movers that poll in turn would keep each other's list from ever changing.
const (
	trxPoll = 150 * time.Millisecond
	trxBlur = 300 * time.Millisecond
)

func pollPause(ctx context.Context) error { return backoff.Sleep(ctx, trxPoll+rand.N(trxBlur)) }

// A trx is an open transaction as information_schema.innodb_trx shows it.
type trx struct {
	id, started string
	thread      uint64
	modified    int64 // rows
	readOnly    bool
}

// Quiet waits until no transaction that was open when it was called has changed rows and is still open, on the whole server. Readers do not
// count, however old, nor does what began later than its first look at the server's list, which is right after the call unless others read
// that list too. After wait, which may be 0, it returns an *OpenTransactionsError. It needs the PROCESS privilege and changes nothing.
func (d *DB) Quiet(ctx context.Context, wait time.Duration) error {
	s, err := d.snapshot(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	deadline := time.Now().Add(wait)
	old, err := openTransactions(ctx, s)
	if err != nil {
		return fmt.Errorf("open transactions: %w", err)
	}
	for now := old; ; {
		threads := writers(old, now)
		if len(threads) == 0 {
			return nil
		}
		if !time.Now().Before(deadline) {
			return &OpenTransactionsError{Threads: threads}
		}
		if err := pollPause(ctx); err != nil {
			return errors.Join(&OpenTransactionsError{Threads: threads}, err)
		}
		if now, err = transactions(ctx, s); err != nil {
			return fmt.Errorf("open transactions: %w", err)
		}
	}
}

// openTransactions lists what is open now. The server may answer with an older list, so the session opens a transaction of its own and asks
// until that one is in the list.
func openTransactions(ctx context.Context, q querier) ([]trx, error) {
	var own uint64
	if err := scan(ctx, q, sqlConnectionID, nil, &own); err != nil {
		return nil, err
	}
	if err := exec(ctx, q, sqlSnapshot); err != nil {
		return nil, err
	}
	isOwn := func(t trx) bool { return t.thread == own && t.readOnly }
	for range 40 {
		all, err := transactions(ctx, q)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, isOwn) {
			return all, nil
		}
		if err := pollPause(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("information_schema.innodb_trx does not show our own transaction: somebody else reads it all the time")
}

func transactions(ctx context.Context, q querier) ([]trx, error) {
	var all []trx
	err := each(ctx, q, sqlTransactions, nil, func(rows *sql.Rows) error {
		var t trx
		err := rows.Scan(&t.id, &t.thread, &t.started, &t.modified, &t.readOnly)
		all = append(all, t)
		return err
	})
	return all, err
}

// writers are the threads of transactions in now that have changed rows and were open in old. A transaction keeps its thread and its
// start; its id only once it has written, and the start is a full second: where the id cannot tell, it is taken for the same one.
func writers(old, now []trx) []uint64 {
	var threads []uint64
	for _, t := range now {
		if t.modified > 0 && slices.ContainsFunc(old, func(o trx) bool {
			return o.thread == t.thread && o.started == t.started && (o.modified == 0 || o.id == t.id)
		}) {
			threads = append(threads, t.thread)
		}
	}
	slices.Sort(threads)
	return threads
}
