package mboxdbtest

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zmlift/zmlift/mboxdb"
)

// seed is a dump of a mailbox of the lab.
//
//go:embed mailbox.sql.gz
var seed []byte

// What stands for the mailbox in the seed, also inside of texts; they occur in it for nothing else.
const (
	seedID      = mboxdb.MailboxID(2000000001)
	seedAddress = "seed@lab.example"
)

// AddMailbox makes a mailbox for an account: an id from the store's counter, the database of its group where it is missing, and rows in all 25
// tables, with what breaks careless tools: texts that look like SQL and name the mailbox's own id, NUL and 3-byte characters, the
// smallest and the largest numbers, NULL beside nothing, keys that differ in case, equal rows in tables without a key. Its volumes are the
// store's current ones. Two mailboxes differ in their ids, account ids and addresses only.
//
// After an error nothing but a used id, and perhaps an empty group, is there.
func (s *Store) AddMailbox(ctx context.Context, accountID, address string) (mboxdb.Mailbox, error) {
	m, err := s.addMailbox(ctx, strings.ToLower(accountID), address)
	if err != nil {
		return mboxdb.Mailbox{}, fmt.Errorf("mboxdbtest: add mailbox of %s: %w", accountID, err)
	}
	return m, nil
}

func (s *Store) addMailbox(ctx context.Context, accountID, address string) (mboxdb.Mailbox, error) {
	if accountID == "" || address == "" || len(accountID) > 36 || len(address) > 64 || strings.ContainsAny(accountID+address, `'\`) {
		return mboxdb.Mailbox{}, errors.New("an account needs an id of up to 36 characters and an address of up to 64, without quotes and backslashes")
	}
	db := mboxdb.New(s.Pool, &s.Options)
	if _, err := db.Find(ctx, accountID); !errors.Is(err, mboxdb.ErrNotFound) {
		return mboxdb.Mailbox{}, errors.Join(err, errors.New("it has one"))
	}
	m := mboxdb.Mailbox{AccountID: accountID, IndexVolume: s.current.Index}
	err := s.session(ctx, func(c *sql.Conn) error {
		return inTx(ctx, c, func(tx *sql.Tx) error {
			if err := tx.QueryRowContext(ctx, "SELECT next_mailbox_id FROM zimbra.current_volumes FOR UPDATE").Scan(&m.ID); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "UPDATE zimbra.current_volumes SET next_mailbox_id = next_mailbox_id + 1")
			return err
		})
	})
	if err != nil {
		return m, err
	}
	m.Group = int(uint64(m.ID)-1)%s.Options.Groups + 1
	if err := db.EnsureGroup(ctx, m.Group); err != nil {
		return m, err
	}
	var dump bytes.Buffer
	if err := s.rewriteSeed(ctx, &dump, m, address); err != nil {
		return m, err
	}
	if err := s.session(ctx, func(c *sql.Conn) error { return load(ctx, c, dump.String(), m, address) }); err != nil {
		return m, err
	}
	return db.Find(ctx, accountID)
}

// rewriteSeed writes the seed as a dump of the mailbox m.
func (s *Store) rewriteSeed(ctx context.Context, w io.Writer, m mboxdb.Mailbox, address string) error {
	z, err := gzip.NewReader(bytes.NewReader(seed))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	info, err := mboxdb.CheckDump(ctx, bytes.NewReader(text))
	if err != nil {
		return err
	}
	secondary := s.current.Secondary
	if secondary == 0 {
		secondary = s.current.Message
	}
	named := strings.NewReplacer(seedID.String(), m.ID.String(), info.Mailbox.AccountID, m.AccountID, seedAddress, address).Replace(string(text))
	return Rewriter{
		To: m, From: mboxdb.Mailbox{ID: m.ID, Group: info.Mailbox.Group}, Volumes: map[mboxdb.VolumeID]mboxdb.VolumeID{1: s.current.Message, 3: secondary},
	}.Rewrite(ctx, w, strings.NewReader(named))
}

// load executes a dump, and sets what the mailbox row of another store cannot know.
func load(ctx context.Context, c *sql.Conn, dump string, m mboxdb.Mailbox, address string) error {
	return inTx(ctx, c, func(tx *sql.Tx) error {
		for _, stmt := range statements(dump) {
			if _, err := tx.ExecContext(ctx, stmt); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE zimbra.mailbox SET group_id = ?, index_volume_id = ?, comment = ? WHERE id = ?", m.Group, m.IndexVolume, address, m.ID)
		return err
	})
}

// inTx commits what f does; after an error nothing is changed.
func inTx(ctx context.Context, c *sql.Conn, f func(*sql.Tx) error) error {
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
