package mboxdb

import (
	"context"
	"crypto/md5"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// commentLength is how many characters of an address the mailbox row takes.
const commentLength = 255

// Publish makes the loaded rows a mailbox: in one transaction it writes the rows of the zimbra database, the mailbox row last, and removes
// the deleted_account row of the address, as mailboxd does when it creates a mailbox. Before it commits it compares what it wrote with the
// source: by digest, and the mailbox row column by column. There only these differ from the source's: id, group_id and index_volume_id;
// last_backup_at, which is NULL, as this server has no backup of the mailbox; comment, which is the address of today; item_id_checkpoint
// and change_checkpoint, which are raised where the rows have higher numbers, and never lowered. After the commit it forces the server's
// log to disk.
//
// Published by this copy already: Publish compares and forces again, and changes nothing else. A connection that is lost, or a statement that is
// killed, is no error by itself: Publish begins again, and where only the commit's answer was lost, it finds the mailbox row as it was meant, and
// is done.
//
// ErrExists says that another mailbox has the id or that the account has another mailbox there; a *MismatchError what is not equal. Then nothing was
// published by this call, unless the error is ErrPublished too: the commit has happened, its answer was lost, and somebody has changed the mailbox
// row since. After any other error the mailbox may be published: call Publish again, or Unpublish.
func (c *Copy) Publish(ctx context.Context) ([]TableProof, error) {
	proofs, err := c.publish(ctx)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return proofs, nil
}

func (c *Copy) publish(ctx context.Context) ([]TableProof, error) {
	srcTables, dstTables, err := c.tables(ctx)
	if err != nil {
		return nil, err
	}
	var proofs []TableProof
	var tried mailboxRow // meant by an attempt that went as far as its commit; nil: none did
	var up uptime
	err = c.dst.writing(ctx, func(s *session) error {
		if err := up.goesOn(ctx, s); err != nil {
			return err
		}
		err := s.inTx(ctx, func(tx *sql.Tx) error {
			if err := c.alone(ctx, tx); err != nil {
				return err
			}
			published, err := c.guard(ctx, tx)
			if err != nil {
				return err
			}
			if published && tried != nil {
				return c.committed(ctx, tx, dstTables, tried)
			}
			if err := c.checkVolumes(ctx, tx); err != nil {
				return err
			}
			row, err := c.intended(ctx, tx, srcTables, dstTables)
			if err != nil {
				return err
			}
			if !published {
				if _, err := c.writeZimbra(ctx, tx, only(dstTables, Table.inZimbra)); err != nil {
					return err
				}
				if err := c.intend(ctx, tx, row); err != nil {
					return err
				}
			}
			if err := c.removeDeletedAccount(ctx, tx); err != nil {
				return err
			}
			if proofs, err = c.compare(ctx, tx, only(srcTables, Table.inZimbra), only(dstTables, Table.inZimbra), row); err == nil {
				tried = row
			}
			return err
		})
		if err != nil {
			return err
		}
		return force(ctx, s, c.opt.Claim.AccountID)
	})
	if err != nil {
		return nil, err
	}
	return proofs, nil
}

// An uptime is for how many seconds a server was up when it was last asked.
type uptime int64

// goesOn says whether the server is still the one that was asked before. One that crashes loses its last second, and with it rows that were proven.
func (u *uptime) goesOn(ctx context.Context, q querier) error {
	var name string
	var now uptime
	if err := scan(ctx, q, sqlUptime, nil, &name, &now); err != nil {
		return fmt.Errorf("uptime: %w", err)
	}
	if now < *u {
		return errors.New("the server was restarted: rows that were proven may be gone")
	}
	*u = now
	return nil
}

// committed says whether the mailbox row that is there is the one that an earlier attempt of this call was about to commit. All that was in its
// transaction is there with it.
func (c *Copy) committed(ctx context.Context, q querier, tables []Table, tried mailboxRow) error {
	m, err := c.compareMailbox(ctx, q, tables, tried)
	if err == nil && len(m.Keys) > 0 {
		m.Source, m.Dest = 1, 1
		err = fmt.Errorf("mailbox %d: %w: %w", c.to.ID, ErrPublished, &MismatchError{Tables: []TableMismatch{m}})
	}
	return err
}

// A mailboxRow is a row of zimbra.mailbox: columns to values, all as text.
type mailboxRow map[string]sql.NullString

// readMailboxRow reads a mailbox row; nil when there is none.
func readMailboxRow(ctx context.Context, q querier, tables []Table, id MailboxID) (mailboxRow, error) {
	i := slices.IndexFunc(tables, Table.isMailbox)
	if i < 0 {
		return nil, errors.New("there is no table zimbra.mailbox")
	}
	columns := tables[i].byName()
	values := make([]sql.NullString, len(columns))
	dest := make([]any, len(columns))
	for j := range values {
		dest[j] = &values[j]
	}
	err := scan(ctx, q, sqlMailboxRow(tables[i], id), nil, dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("zimbra.mailbox: %w", err)
	}
	row := mailboxRow{}
	for j, c := range columns {
		row[c.Name] = values[j]
	}
	return row, nil
}

// meant are the columns of the mailbox row that we set.
var meant = []string{"id", "group_id", "index_volume_id", "last_backup_at", "comment", "item_id_checkpoint", "change_checkpoint"}

// raised are the columns whose highest value a checkpoint must reach, by table: ids that were given out, numbers of changes.
var raised = map[string]map[string][]string{
	"item_id_checkpoint": {
		"mail_item": {"id", "imap_id"}, "mail_item_dumpster": {"id", "imap_id"},
	},
	"change_checkpoint": {
		"mail_item": {"mod_metadata", "mod_content"}, "mail_item_dumpster": {"mod_metadata", "mod_content"},
		"revision": {"mod_metadata", "mod_content"}, "revision_dumpster": {"mod_metadata", "mod_content"},
		"tombstone": {"sequence"}, "tag": {"sequence"},
	},
}

// intended is the mailbox row as it must be at the destination: the source's of now, and the columns that we set.
func (c *Copy) intended(ctx context.Context, tx querier, srcTables, dstTables []Table) (mailboxRow, error) {
	s, err := c.src.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer s.close()
	if err := present(ctx, s, c.from); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	row, err := readMailboxRow(ctx, s, srcTables, c.from.ID)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if row == nil {
		return nil, fmt.Errorf("source: mailbox %d: %w", c.from.ID, ErrNotFound)
	}
	return row, c.mean(ctx, tx, dstTables, row)
}

// mean sets the columns of a source's mailbox row that are ours to set.
func (c *Copy) mean(ctx context.Context, tx querier, dstTables []Table, row mailboxRow) error {
	high := map[string]uint64{}
	for checkpoint, tables := range raised {
		for _, t := range dstTables {
			columns := tables[t.Name]
			if !t.inGroup() || len(columns) == 0 {
				continue
			}
			var n uint64
			if err := scan(ctx, tx, sqlHighest(t, c.to.Group, c.to.ID, columns), nil, &n); err != nil {
				return fmt.Errorf("checkpoints of %s: %w", t.in(c.to.Group), err)
			}
			high[checkpoint] = max(high[checkpoint], n)
		}
	}
	for checkpoint, n := range high {
		is, err := strconv.ParseUint(row[checkpoint].String, 10, 64)
		if err != nil {
			return fmt.Errorf("source: %s is no number", checkpoint)
		}
		row[checkpoint] = valid(strconv.FormatUint(max(is, n), 10))
	}
	row["id"] = valid(c.to.ID.String())
	row["group_id"] = valid(strconv.Itoa(c.to.Group))
	row["index_volume_id"] = valid(c.opt.IndexVolume.String())
	row["last_backup_at"] = sql.NullString{}
	address := []rune(c.opt.Address)
	row["comment"] = valid(string(address[:min(len(address), commentLength)]))
	return nil
}

func valid(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }

// writeZimbra writes the rows of zimbra, the mailbox row as the source has it. What lies there under the id without a mailbox row is of an
// earlier copy.
func (c *Copy) writeZimbra(ctx context.Context, tx querier, tables []Table) (sum Summary, err error) {
	for _, t := range tables {
		if _, err := emptied(ctx, tx, t, 0, c.to.ID, nil); err != nil {
			return sum, fmt.Errorf("clear %s: %w", t, err)
		}
	}
	err = c.transfer(ctx, Table.inZimbra, func(ctx context.Context, r io.Reader) error {
		l, err := c.newLoader(ctx, tx, tables)
		if err != nil {
			return err
		}
		l.commit = func(b *batch) error { return l.insert(ctx, tx, b) }
		err = l.load(ctx, r)
		sum = l.sum
		return err
	})
	return sum, err
}

// intend writes the columns of the mailbox row that we set.
func (c *Copy) intend(ctx context.Context, tx querier, row mailboxRow) error {
	err := exec(ctx, tx, sqlIntendMailbox, c.to.Group, c.opt.IndexVolume, row["comment"], row["item_id_checkpoint"], row["change_checkpoint"],
		c.to.ID, c.to.AccountID)
	if err != nil {
		return fmt.Errorf("zimbra.mailbox: %w", err)
	}
	return nil
}

// removeDeletedAccount removes exactly the row that Undoable returns.
func (c *Copy) removeDeletedAccount(ctx context.Context, tx querier) error {
	a, err := deletedAccount(ctx, tx, c.opt.Address)
	if err != nil || a == nil {
		return err
	}
	n, err := affect(ctx, tx, sqlDeleteDeletedAccount, a.Email, a.AccountID, a.MailboxID)
	if err == nil && n == 0 { // unless mailboxd was faster
		var still *DeletedAccount
		if still, err = deletedAccount(ctx, tx, c.opt.Address); err == nil && still != nil {
			err = errNotDone
		}
	}
	if err != nil {
		return fmt.Errorf("zimbra.deleted_account: %w", err)
	}
	return nil
}

// compare proves the published rows in the transaction that wrote them.
func (c *Copy) compare(ctx context.Context, tx querier, srcTables, dstTables []Table, want mailboxRow) ([]TableProof, error) {
	s, err := c.src.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer s.close()
	src, dst := c.source(s), c.dest(tx)
	var proofs []TableProof
	mismatch := &MismatchError{}
	for _, t := range srcTables {
		d := dstTables[slices.IndexFunc(dstTables, func(d Table) bool { return d.String() == t.String() })]
		var skip []string
		if t.isMailbox() {
			skip = meant
		}
		a, err := src.digest(ctx, t, skip)
		if err != nil {
			return nil, fmt.Errorf("source: %w", err)
		}
		b, err := dst.digest(ctx, d, skip)
		if err != nil {
			return nil, err
		}
		var m TableMismatch
		switch {
		case t.isMailbox():
			if m, err = c.compareMailbox(ctx, tx, dstTables, want); err != nil {
				return nil, err
			}
			m.Source, m.Dest = a.rows, b.rows
			if a != b && len(m.Keys) == 0 { // a column that changed between the two readings of the source
				m.Keys = []KeyMismatch{{Key: "id=" + c.to.ID.String(), Kind: "different"}}
			}
		case a != b:
			if m, err = differing(ctx, src, dst, t, d, a, b, nil, func() {}); err != nil {
				return nil, err
			}
		}
		if a != b || len(m.Keys) > 0 {
			mismatch.Tables = append(mismatch.Tables, m)
			continue
		}
		proofs = append(proofs, TableProof{Table: t.String(), Rows: a.rows, Digest: a.String()})
	}
	if len(mismatch.Tables) > 0 {
		return nil, mismatch
	}
	return proofs, nil
}

// compareMailbox names the columns of the mailbox row that are not as they were meant.
func (c *Copy) compareMailbox(ctx context.Context, q querier, tables []Table, want mailboxRow) (TableMismatch, error) {
	m := TableMismatch{Table: "zimbra.mailbox"}
	is, err := readMailboxRow(ctx, q, tables, c.to.ID)
	if err != nil {
		return m, err
	}
	if is == nil {
		m.Keys = []KeyMismatch{{Key: "id=" + c.to.ID.String(), Kind: "missing"}}
		return m, nil
	}
	var columns []string
	for name, v := range want {
		if got, ok := is[name]; !ok || got != v {
			columns = append(columns, name)
		}
	}
	if len(columns) > 0 {
		slices.Sort(columns)
		m.Keys = []KeyMismatch{{Key: "id=" + c.to.ID.String(), Kind: strings.Join(columns, ", ")}}
	}
	return m, nil
}

// force has the server write its log to disk, also where it runs with innodb_flush_log_at_trx_commit=0, as Zimbra's do: making and dropping
// a table does that (db/MySQL.flushToDisk).
func force(ctx context.Context, q querier, accountID string) error {
	sum := md5.Sum([]byte(accountID)) // an account id is up to 127 characters, a table's name 64
	name := "zmlift." + ident(fmt.Sprintf("flush_%x", sum))
	for _, stmt := range []string{sqlDropFlush, sqlMakeFlush, sqlDropFlush} {
		if err := exec(ctx, q, fmt.Sprintf(stmt, name)); err != nil {
			return fmt.Errorf("force to disk: %w", err)
		}
	}
	return nil
}
