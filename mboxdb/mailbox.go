package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A MailboxID numbers a mailbox on one server. The same account has another one elsewhere.
type MailboxID uint32

func (id MailboxID) String() string { return strconv.FormatUint(uint64(id), 10) }

// A Mailbox is a row of zimbra.mailbox, or an id that is reserved for one.
type Mailbox struct {
	ID               MailboxID `json:"id"`
	Group            int       `json:"group"`      // its rows lie in the database mboxgroup<Group>
	AccountID        string    `json:"account_id"` // zimbraId, lower case
	IndexVolume      VolumeID  `json:"index_volume,omitempty"`
	Comment          string    `json:"comment,omitempty"`           // an address of the account, perhaps an old one
	ItemCheckpoint   uint32    `json:"item_checkpoint,omitempty"`   // item ids up to here are used; lags by up to 20
	ChangeCheckpoint uint32    `json:"change_checkpoint,omitempty"` // change ids up to here are used; lags too
	Size             uint64    `json:"size,omitempty"`              // bytes, as mailboxd last counted them
	Version          string    `json:"version,omitempty"`           // of the mailbox's layout, such as 2.7
}

// Find returns the mailbox of an account. It looks by account id only: the comment column may be stale. ErrNotFound when the server
// has none. It changes nothing.
func (d *DB) Find(ctx context.Context, accountID string) (Mailbox, error) {
	s, err := d.read(ctx)
	if err != nil {
		return Mailbox{}, err
	}
	defer s.close()
	return find(ctx, s, accountID)
}

func find(ctx context.Context, q querier, accountID string) (Mailbox, error) {
	accountID = strings.ToLower(accountID) // as mailboxd stores it
	m, err := scanMailbox(ctx, q, sqlMailboxByAccount, accountID)
	if errors.Is(err, sql.ErrNoRows) {
		return Mailbox{}, fmt.Errorf("account %s: %w", accountID, ErrNotFound)
	}
	// The column's collation ignores more than case.
	if err == nil && strings.ToLower(m.AccountID) != accountID {
		return Mailbox{}, fmt.Errorf("account %s: %w", accountID, ErrNotFound)
	}
	return m, err
}

func scanMailbox(ctx context.Context, q querier, stmt string, args ...any) (Mailbox, error) {
	var m Mailbox
	var comment, version sql.NullString
	err := scan(ctx, q, stmt, args, &m.ID, &m.Group, &m.AccountID, &m.IndexVolume, &comment, &m.ItemCheckpoint, &m.ChangeCheckpoint,
		&m.Size, &version)
	m.Comment, m.Version = comment.String, version.String
	return m, err
}

// group is the database of a mailbox group.
func groupDatabase(group int) string { return groupPrefix + strconv.Itoa(group) }

// groupOf is where mailboxd puts a new mailbox (db/DbMailbox.calculateMailboxGroupId). For a mailbox that exists the stored group_id
// decides.
func groupOf(id MailboxID, groups int) int { return int((uint64(id)-1)%uint64(groups)) + 1 }

const (
	zimbraDatabase = "zimbra"
	groupPrefix    = "mboxgroup"
)
