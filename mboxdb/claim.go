package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// A Claim is a mover's hold on an account at a destination. Every opening of a move raises the fence.
type Claim struct {
	Move, AccountID string
	Fence           uint64
}

// A Holder is what zmlift.moves says about an account. The zero Holder: nobody ever claimed it.
type Holder struct {
	Move    string
	Fence   uint64
	Open    bool      // false: that move has ended
	Mailbox MailboxID // reserved for the account on this server, by this move or by an earlier one; 0: none yet
	Group   int       // of that mailbox
}

// movesFormat is the comment of zmlift.moves. Another one is another version's table.
const movesFormat = "zmlift moves, version 1"

// Holder returns who holds the account on this server; the zero Holder when there is no row, no table or no database zmlift. It changes
// and makes nothing.
func (d *DB) Holder(ctx context.Context, accountID string) (Holder, error) {
	s, err := d.read(ctx)
	if err != nil {
		return Holder{}, err
	}
	defer s.close()
	row, err := readMove(ctx, s, sqlMove, accountID)
	return row.Holder, err
}

// Claim takes the account for this move, or raises the fence of the move that has it: afterwards writes under an older claim are
// refused. It makes the database zmlift and its tables where they are missing, and waits for transactions under an older claim that are
// under way; one that takes longer than LockWait allows ends it with the server's error 1205, and Claim may be called again.
//
// A *FencedError says that another move holds the account, or that the stored fence is not below this one. So a Claim whose answer was
// lost is not repeated with the same fence, which would let two movers with copies of one journal both pass, but with a higher one.
// After an error of the commit itself the claim may or may not stand.
func (d *DB) Claim(ctx context.Context, c Claim) error {
	c, err := c.checked()
	if err != nil {
		return err
	}
	s, err := d.write(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := makeFence(ctx, s); err != nil {
		return fmt.Errorf("claim account %s: %w", c.AccountID, err)
	}
	for try := 1; ; try++ {
		err = s.inTx(ctx, func(tx *sql.Tx) error { return claim(ctx, tx, c) })
		// Two first claims: the loser of the insert looks again, and finds the winner's row.
		if !serverError(err, 1062) || try == 3 {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("claim account %s: %w", c.AccountID, err)
	}
	return nil
}

func claim(ctx context.Context, tx querier, c Claim) error {
	row, err := readMove(ctx, tx, sqlMoveForUpdate, c.AccountID)
	switch {
	case err != nil:
		return err
	case row.Move == "":
		return exec(ctx, tx, sqlInsertMove, c.AccountID, c.Move, c.Fence)
	case row.Fence >= c.Fence, row.Open && row.Move != c.Move:
		return &FencedError{Claim: c, Holder: row.Holder}
	}
	return changeOne(ctx, tx, sqlUpdateMove, c.Move, c.Fence, c.AccountID)
}

// Held says whether the claim still stands: nil, or a *FencedError. It changes nothing. What it says may be over a moment later; a write
// compares the claim in its own transaction.
func (d *DB) Held(ctx context.Context, c Claim) error {
	c, err := c.checked()
	if err != nil {
		return err
	}
	s, err := d.read(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	_, err = fencedRow(ctx, s, sqlMove, c)
	return err
}

// End marks the move as ended, on disk, so that the account's next move may claim it. The reserved id stays the account's; what the move
// remembered of its writing is forgotten. Ended already: no error. A claim that does not stand is a *FencedError, and nothing changes.
func (d *DB) End(ctx context.Context, c Claim) error {
	c, err := c.checked()
	if err != nil {
		return err
	}
	s, err := d.write(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		row, err := fencedRow(ctx, tx, sqlMoveForUpdate, c)
		if errors.Is(err, ErrFenced) && row.Move == c.Move && !row.Open {
			return nil
		}
		if err != nil {
			return err
		}
		if err := forget(ctx, tx, c.AccountID); err != nil {
			return fmt.Errorf("zmlift.buckets: %w", err)
		}
		return changeOne(ctx, tx, sqlEndMove, c.AccountID)
	})
	if err == nil {
		err = force(ctx, s, c.AccountID) // a journal says next that the move is over, and nobody comes back to it
	}
	if err != nil {
		return fmt.Errorf("end move %s: %w", c.Move, err)
	}
	return nil
}

// fenced is the first statement of every transaction that writes at a destination. It reads the account's row with a share lock, which
// holds off the next Claim until the transaction ends, and returns a *FencedError unless the row says what the claim says.
func fenced(ctx context.Context, tx querier, c Claim) error {
	c, err := c.checked()
	if err != nil {
		return err
	}
	_, err = fencedRow(ctx, tx, sqlMoveShared, c)
	return err
}

// fencedRow reads the account's row by stmt and compares it with the claim. With a *FencedError it returns the row too.
func fencedRow(ctx context.Context, q querier, stmt string, c Claim) (moveRow, error) {
	row, err := readMove(ctx, q, stmt, c.AccountID)
	if err == nil && (row.Move != c.Move || row.Fence != c.Fence || !row.Open) {
		err = &FencedError{Claim: c, Holder: row.Holder}
	}
	return row, err
}

// A moveRow is a row of zmlift.moves.
type moveRow struct {
	Holder
	clean bool // the reserved id was looked at and nothing lay under it
}

// readMove reads the account's row by stmt; the zero row when there is none, or no table.
func readMove(ctx context.Context, q querier, stmt, accountID string) (moveRow, error) {
	var r moveRow
	var id, group sql.NullInt64
	err := scan(ctx, q, stmt, []any{strings.ToLower(accountID)}, &r.Move, &r.Fence, &r.Open, &id, &group, &r.clean)
	r.Mailbox, r.Group = MailboxID(id.Int64), int(group.Int64)
	switch {
	case errors.Is(err, sql.ErrNoRows), serverError(err, 1049, 1146):
		return moveRow{}, nil
	case err != nil:
		return moveRow{}, fmt.Errorf("zmlift.moves: %w", err)
	}
	return r, nil
}

// makeFence makes the database zmlift and its tables. The table that is looked for is made last.
func makeFence(ctx context.Context, q querier) error {
	var format string
	err := scan(ctx, q, sqlMovesFormat, nil, &format)
	switch {
	case err == nil && format != movesFormat:
		return fmt.Errorf("zmlift.moves is of another version: its comment is %q, not %q", format, movesFormat)
	case err == nil:
		return makeBuckets(ctx, q)
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	for _, stmt := range []string{sqlMakeDatabase, sqlMakeBurnt, sqlMakeBuckets, sqlMakeMoves} {
		if err := exec(ctx, q, stmt); err != nil {
			return fmt.Errorf("make zmlift.moves: %w", err)
		}
	}
	return nil
}

// makeBuckets makes the one table that came later than the others.
func makeBuckets(ctx context.Context, q querier) error {
	var n int
	err := scan(ctx, q, sqlBucketsThere, nil, &n)
	if err == nil && n == 0 {
		err = exec(ctx, q, sqlMakeBuckets)
	}
	if err != nil {
		return fmt.Errorf("make zmlift.buckets: %w", err)
	}
	return nil
}

// checked returns the claim with the account id as mailboxd writes it. A claim that leaves something out holds nothing.
func (c Claim) checked() (Claim, error) {
	if c.Move == "" || c.AccountID == "" || c.Fence == 0 {
		return c, errors.New("mboxdb: a claim needs a move, an account id and a fence above 0")
	}
	c.AccountID = strings.ToLower(c.AccountID)
	return c, nil
}
