package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Leftovers looks for rows under a mailbox id in every table of zimbra and of the group's database that has a mailbox id, known or not,
// the mailbox row included: nil, or a *LeftoversError with their numbers. Only deleted_account is left out, which is about mailboxes that
// are gone. Group 0, or a group without a database, means zimbra alone. It changes nothing.
//
// Rows without a mailbox row are worse than a used id: the next mailbox that gets the id inherits them, or its mail bounces.
func (d *DB) Leftovers(ctx context.Context, id MailboxID, group int) error {
	s, err := d.read(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return leftovers(ctx, s, id, group)
}

func leftovers(ctx context.Context, q querier, id MailboxID, group int) error {
	databases := []string{zimbraDatabase}
	if group != 0 {
		databases = append(databases, groupDatabase(group))
	}
	rows := map[string]int64{}
	for _, database := range databases {
		tables, err := columnsOf(ctx, q, database)
		if err != nil {
			return fmt.Errorf("tables of %s: %w", database, err)
		}
		for _, t := range tables {
			if t.Database == zimbraDatabase && t.Name == "deleted_account" {
				continue
			}
			var n int64
			if err := scan(ctx, q, fmt.Sprintf(sqlCountRows, t.quoted(group), ident(t.idColumn())), []any{id}, &n); err != nil {
				return fmt.Errorf("count %s: %w", t.in(group), err)
			}
			if n > 0 {
				rows[t.in(group)] = n
			}
		}
	}
	if len(rows) > 0 {
		return &LeftoversError{ID: id, Rows: rows}
	}
	return nil
}

// A DeletedAccount is a row of zimbra.deleted_account, which mailboxd writes when it deletes a mailbox and removes when the address gets
// another one.
type DeletedAccount struct {
	Email     string    `json:"email"`
	AccountID string    `json:"account_id"`
	MailboxID MailboxID `json:"mailbox_id"`
	DeletedAt uint32    `json:"deleted_at"` // Unix seconds
}

// DeletedAccount returns the row of an address, nil when there is none. It changes nothing.
func (d *DB) DeletedAccount(ctx context.Context, email string) (*DeletedAccount, error) {
	s, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return deletedAccount(ctx, s, email)
}

func deletedAccount(ctx context.Context, q querier, email string) (*DeletedAccount, error) {
	var a DeletedAccount
	err := scan(ctx, q, sqlDeletedAccount, []any{email}, &a.Email, &a.AccountID, &a.MailboxID, &a.DeletedAt)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("zimbra.deleted_account: %w", err)
	case !strings.EqualFold(a.Email, email): // the column's collation ignores accents: somebody else's
		return nil, nil
	}
	return &a, nil
}
