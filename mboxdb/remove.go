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
// ErrExists; nothing changes then. A mailbox that the account has under another id is left alone. Unpublish is for a copy that is to be changed or
// given up while the account lives at the source: it does not ask whether somebody works in the mailbox.
func (c *Copy) Unpublish(ctx context.Context, undo *DeletedAccount) error {
	tables, err := c.dst.Tables(ctx, 0)
	if err == nil {
		err = c.dst.writing(ctx, func(s *session) error {
			return c.unpublish(ctx, s, tables, &RemoveOptions{Undo: undo, LivesElsewhere: true})
		})
	}
	if err != nil {
		return fmt.Errorf("unpublish: %w", err)
	}
	return nil
}

func (c *Copy) unpublish(ctx context.Context, s *session, tables []Table, opts *RemoveOptions) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		published, err := c.owned(ctx, tx)
		if err != nil {
			return err
		}
		if published && !opts.LivesElsewhere {
			return &LiveError{AccountID: c.to.AccountID, ID: c.to.ID}
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
		return putBack(ctx, tx, opts.Undo)
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

// RemoveOptions say what Remove cannot know. nil is safe: what nobody can see is removed, and nothing else.
type RemoveOptions struct {
	// LivesElsewhere says that the directory was asked, with the claim taken, so that no other mover moves the account here meanwhile, and that the
	// account does not live on this server. Without it Remove takes no mailbox away, however it came there: a restored one may have been in use for
	// months. Only the directory knows; a wrong answer here deletes somebody's mail.
	LivesElsewhere bool
	// Undo is put back as Unpublish does. Default: nothing.
	Undo *DeletedAccount
}

// Remove deletes what this copy wrote: it unpublishes, deletes the group's rows under the reserved id, some at a time, and then looks for
// rows under that id in every table. What is left is a *LeftoversError. No other id is touched, and the source never. Nothing there, or no
// group database: no error.
//
// It refuses what Unpublish refuses, and with a *LiveError a mailbox of the account itself, unless RemoveOptions.LivesElsewhere says that the
// account does not live there; nothing changes then.
func (c *Copy) Remove(ctx context.Context, opts *RemoveOptions) error {
	if opts == nil {
		opts = &RemoveOptions{}
	}
	if err := c.remove(ctx, opts); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// Remove is Copy.Remove where there is no copy: it deletes what was written under the id that is reserved for the claim's account, by Restore
// or by a copy whose source is gone. After Restore has succeeded that is a mailbox, with whatever has come into it since.
func (d *DB) Remove(ctx context.Context, c Claim, to Mailbox, opts *RemoveOptions) error {
	if !strings.EqualFold(c.AccountID, to.AccountID) {
		return fmt.Errorf("mboxdb: remove: the claim is for account %q, not %q", c.AccountID, to.AccountID)
	}
	return (&Copy{dst: d, to: to, opt: CopyOptions{Claim: c}}).Remove(ctx, opts)
}

func (c *Copy) remove(ctx context.Context, opts *RemoveOptions) error {
	tables, err := c.dst.Tables(ctx, c.to.Group)
	if errors.Is(err, ErrNoGroup) {
		tables, err = c.dst.Tables(ctx, 0)
	}
	if err != nil {
		return err
	}
	if err := c.dst.writing(ctx, func(s *session) error { return c.unpublish(ctx, s, tables, opts) }); err != nil {
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
