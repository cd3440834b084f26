package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
)

const (
	// maxMailboxID is the last id that may be handed out: mailboxd holds ids, and the counter after them, in signed numbers.
	maxMailboxID = math.MaxInt32 - 1
	// reserveTries bounds how many ids one call burns. Another call goes on behind them.
	reserveTries = 100
)

// ReserveOptions choose where the search for an id begins. nil: at the server's counter, as for any new mailbox.
//
// With options the first candidate is From + Offset, which lets an administrator recognise moved mailboxes, but never an id below the counter.
// The counter is raised above what is taken, in the same transaction; the server's own next mailbox comes after it.
type ReserveOptions struct {
	From   MailboxID // the mailbox's id at the source
	Offset uint32
}

// A Reservation is an id that no other account gets on this server.
type Reservation struct {
	Mailbox Mailbox     // id, group, account and the current index volume
	Burnt   []MailboxID // ids that this move took and left, because rows of somebody else lie under them
}

// Reserve takes an id from the server's own counter, so that mailboxd never hands it out, and makes sure that its group has a database and
// that no row lies under it. An id with rows under it is burnt and the next one taken. The same account gets the same id whenever it asks
// again: after a lost answer, in its next move after a rollback; opts count only the first time.
//
// ErrExists says that the account has a mailbox under another id here, or that its reserved id has become another account's; a
// *LeftoversError that as many ids as one call may burn had rows under them. After any error Reserve may be repeated.
func (d *DB) Reserve(ctx context.Context, c Claim, opts *ReserveOptions) (Reservation, error) {
	c, err := c.checked()
	if err != nil {
		return Reservation{}, err
	}
	r, err := d.reserve(ctx, c, opts)
	if err != nil {
		return Reservation{}, fmt.Errorf("reserve a mailbox id for %s: %w", c.AccountID, err)
	}
	return r, nil
}

func (d *DB) reserve(ctx context.Context, c Claim, opts *ReserveOptions) (Reservation, error) {
	if d.opt.Groups < 1 {
		return Reservation{}, errors.New("mboxdb: Options.Groups is not set")
	}
	var first uint64
	if opts != nil {
		first = uint64(opts.From) + uint64(opts.Offset)
		if opts.From == 0 || first > maxMailboxID {
			return Reservation{}, fmt.Errorf("mailbox id %d + %d is no id: ids are 1 to %d", opts.From, opts.Offset, maxMailboxID)
		}
	}
	var burn MailboxID
	for try := 1; ; try++ {
		row, err := d.takeID(ctx, c, first, burn)
		if err != nil {
			return Reservation{}, err
		}
		if !row.clean {
			err := d.Leftovers(ctx, row.Mailbox, row.Group)
			var left *LeftoversError
			if errors.As(err, &left) && try < reserveTries {
				burn = row.Mailbox
				continue
			}
			if err != nil {
				return Reservation{}, err
			}
			if err := d.markClean(ctx, c, row.Mailbox); err != nil {
				return Reservation{}, err
			}
		}
		// Not before: an id that is burnt needs no group. One that does not exist has no rows.
		if err := d.EnsureGroup(ctx, row.Group); err != nil {
			return Reservation{}, err
		}
		// A counter and a reservation that a crash takes back would give the id to somebody else while our files lie under it.
		if err := d.force(ctx, c.AccountID); err != nil {
			return Reservation{}, err
		}
		return d.reservation(ctx, c, row)
	}
}

// force has the server write its log to disk.
func (d *DB) force(ctx context.Context, accountID string) error {
	s, err := d.write(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return force(ctx, s, accountID)
}

// takeID returns the account's reserved id, or takes one when there is none, or when it is the one to burn.
func (d *DB) takeID(ctx context.Context, c Claim, first uint64, burn MailboxID) (row moveRow, err error) {
	s, err := d.write(ctx)
	if err != nil {
		return moveRow{}, err
	}
	defer s.close()
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		// Not a share lock: this transaction writes the row, and two that want to make their share locks more would stop each other.
		if row, err = fencedRow(ctx, tx, sqlMoveForUpdate, c); err != nil {
			return err
		}
		if err := vacant(ctx, tx, c.AccountID, row); err != nil {
			return err
		}
		if row.Mailbox != 0 && row.Mailbox != burn {
			return nil
		}
		if row.Mailbox != 0 {
			if err := exec(ctx, tx, sqlBurn, row.Mailbox, c.AccountID, c.Move); err != nil {
				return fmt.Errorf("zmlift.burnt: %w", err)
			}
		}
		id, err := nextID(ctx, tx, c.AccountID, first)
		if err != nil {
			return err
		}
		row.Mailbox, row.Group, row.clean = id, groupOf(id, d.opt.Groups), false
		if err := changeOne(ctx, tx, sqlReserve, id, row.Group, c.AccountID); err != nil {
			return fmt.Errorf("zmlift.moves: %w", err)
		}
		return nil
	})
	return row, err
}

// vacant returns ErrExists when the account has a mailbox that is not under the reserved id, or another account has one under it that was
// not there when the id was looked at.
func vacant(ctx context.Context, q querier, accountID string, row moveRow) error {
	m, err := find(ctx, q, accountID)
	if err == nil && m.ID != row.Mailbox {
		return fmt.Errorf("the account has mailbox %d here: %w", m.ID, ErrExists)
	}
	if err == nil || !errors.Is(err, ErrNotFound) {
		return err
	}
	if !row.clean {
		return nil
	}
	_, err = scanMailbox(ctx, q, sqlMailboxByID, row.Mailbox)
	switch {
	case err == nil:
		return fmt.Errorf("mailbox %d, reserved for this account, is another account's: %w", row.Mailbox, ErrExists)
	case errors.Is(err, sql.ErrNoRows):
		return nil
	}
	return err
}

// nextID takes an id, at least first, from the counter (db/DbMailbox.getNextMailboxId), whose row stays locked until the transaction ends.
func nextID(ctx context.Context, tx querier, accountID string, first uint64) (MailboxID, error) {
	var rows int
	var next uint64
	err := each(ctx, tx, sqlCounterForUpdate, nil, func(r *sql.Rows) error {
		rows++
		return r.Scan(&next)
	})
	if err != nil {
		return 0, fmt.Errorf("zimbra.current_volumes: %w", err)
	}
	if rows != 1 || next == 0 {
		return 0, fmt.Errorf("zimbra.current_volumes has %d rows and next_mailbox_id %d: not a mailstore's", rows, next)
	}
	for id := max(next, first); id <= maxMailboxID; id++ {
		// A counter that was set back, with a restored database perhaps, hands out ids a second time.
		var others int
		if err := scan(ctx, tx, sqlReservedByOthers, []any{id, accountID}, &others); err != nil {
			return 0, fmt.Errorf("zmlift.moves: %w", err)
		}
		if others > 0 {
			continue
		}
		if err := changeOne(ctx, tx, sqlSetCounter, id+1); err != nil {
			return 0, fmt.Errorf("zimbra.current_volumes: %w", err)
		}
		return MailboxID(id), nil
	}
	return 0, fmt.Errorf("no mailbox id is left from %d on", max(next, first))
}

// markClean records that nothing lay under the id: from now on rows under it are this account's.
func (d *DB) markClean(ctx context.Context, c Claim, id MailboxID) error {
	s, err := d.write(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return s.inTx(ctx, func(tx *sql.Tx) error {
		row, err := fencedRow(ctx, tx, sqlMoveForUpdate, c)
		if err != nil {
			return err
		}
		if row.Mailbox != id {
			return fmt.Errorf("mailbox id %d: %w", id, ErrNotReserved) // burnt by another call under the same claim
		}
		if row.clean {
			return nil
		}
		return changeOne(ctx, tx, sqlMarkClean, c.AccountID)
	})
}

func (d *DB) reservation(ctx context.Context, c Claim, row moveRow) (Reservation, error) {
	r := Reservation{Mailbox: Mailbox{ID: row.Mailbox, Group: row.Group, AccountID: c.AccountID}}
	s, err := d.read(ctx)
	if err != nil {
		return Reservation{}, err
	}
	defer s.close()
	var message VolumeID
	var secondary sql.NullInt16
	if err := scan(ctx, s, sqlCurrentVolumes, nil, &message, &secondary, &r.Mailbox.IndexVolume); err != nil {
		return Reservation{}, fmt.Errorf("current volumes: %w", err)
	}
	err = each(ctx, s, sqlBurnt, []any{c.AccountID, c.Move}, func(rows *sql.Rows) error {
		var id MailboxID
		err := rows.Scan(&id)
		r.Burnt = append(r.Burnt, id)
		return err
	})
	if err != nil {
		return Reservation{}, fmt.Errorf("zmlift.burnt: %w", err)
	}
	return r, nil
}
