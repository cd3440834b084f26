package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Unpublish takes the rows of the zimbra database under the reserved id away again, in one transaction, and puts back what Undoable
// returned before publishing; nil: nothing. The rows of the group stay, unseen. Not published, or unpublished already: no error.
//
// A claim that does not stand is ErrFenced, an id that is not the account's ErrNotReserved, a mailbox row of another account under it
// ErrExists; nothing changes then. A mailbox that the account has under another id is left alone.
func (c *Copy) Unpublish(ctx context.Context, undo *DeletedAccount) error {
	tables, err := c.dst.Tables(ctx, 0)
	if err == nil {
		err = c.dst.writing(ctx, func(s *session) error { return c.unpublish(ctx, s, tables, undo) })
	}
	if err != nil {
		return fmt.Errorf("unpublish: %w", err)
	}
	return nil
}

func (c *Copy) unpublish(ctx context.Context, s *session, tables []Table, undo *DeletedAccount) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := c.owned(ctx, tx); err != nil {
			return err
		}
		for _, t := range tables {
			// volume_blobs: mailboxd may have made rows of its own about the mailbox.
			if !t.inZimbra() || isDeletedAccount(t) || t.Class == Skipped {
				continue
			}
			if _, err := emptied(ctx, tx, t, 0, c.to.ID, nil); err != nil {
				return fmt.Errorf("clear %s: %w", t, err)
			}
		}
		return putBack(ctx, tx, undo)
	})
	if err != nil {
		return err
	}
	return force(ctx, s, c.opt.Claim.AccountID)
}

// putBack inserts a deleted_account row, unless its address has one.
func putBack(ctx context.Context, tx querier, a *DeletedAccount) error {
	if a == nil {
		return nil
	}
	err := exec(ctx, tx, sqlInsertDeletedAccount, a.Email, a.AccountID, a.MailboxID, a.DeletedAt)
	if err != nil && !serverError(err, 1062) {
		return fmt.Errorf("zimbra.deleted_account: %w", err)
	}
	return nil
}

// Remove deletes what this copy wrote: it unpublishes, deletes the group's rows under the reserved id, some at a time, and then looks for
// rows under that id in every table. What is left is a *LeftoversError. No other id is touched, and the source never. Nothing there, or no
// group database: no error. It refuses what Unpublish refuses. Whether the account lives at the destination only the directory knows: ask it
// first, with the claim taken, so that no other mover moves it there meanwhile.
func (c *Copy) Remove(ctx context.Context, undo *DeletedAccount) error {
	if err := c.remove(ctx, undo); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// Remove is Copy.Remove where there is no copy: it deletes what was written under the id that is reserved for the claim's account, by Restore
// or by a copy whose source is gone. After Restore has succeeded that is a mailbox, with whatever has come into it since: ask the directory
// whether the account lives here, and do not call Remove if it does.
func (d *DB) Remove(ctx context.Context, c Claim, to Mailbox, undo *DeletedAccount) error {
	if !strings.EqualFold(c.AccountID, to.AccountID) {
		return fmt.Errorf("mboxdb: remove: the claim is for account %q, not %q", c.AccountID, to.AccountID)
	}
	return (&Copy{dst: d, to: to, opt: CopyOptions{Claim: c}}).Remove(ctx, undo)
}

func (c *Copy) remove(ctx context.Context, undo *DeletedAccount) error {
	tables, err := c.dst.Tables(ctx, c.to.Group)
	if errors.Is(err, ErrNoGroup) {
		tables, err = c.dst.Tables(ctx, 0)
	}
	if err != nil {
		return err
	}
	if err := c.dst.writing(ctx, func(s *session) error { return c.unpublish(ctx, s, tables, undo) }); err != nil {
		return err
	}
	if err := c.clear(ctx, only(moved(tables), Table.inGroup), c.owned); err != nil {
		return err
	}
	return c.dst.writing(ctx, func(s *session) error {
		if err := force(ctx, s, c.opt.Claim.AccountID); err != nil {
			return err
		}
		return leftovers(ctx, s, c.to.ID, c.to.Group)
	})
}
