package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/zmlift/zmlift/internal/lab"
)

// A side is a mailbox as one store's database has it.
type side struct {
	db       *sql.DB
	mailbox  uint32
	group    int
	locators map[string]string // what a row's locator counts as; nil: as it is
}

// A tally is what a side's table was found to hold.
type tally struct {
	rows   int64
	digest uint64
}

// meant are the columns of the mailbox row that a move sets on purpose.
var meant = []string{"id", "group_id", "index_volume_id", "last_backup_at", "comment", "item_id_checkpoint", "change_checkpoint"}

// tally reads the mailbox's rows in a table as zimbra.Report names it, "mboxgroup.mail_item", and adds up their hashes. The code that
// moves proves equality in SQL, with another hash; this shares nothing with it. Equal on both sides are equal rows, whatever their order:
// each value byte for byte, NULL and the empty text apart, without the mailbox id, with locators through the map.
func (s side) tally(ctx context.Context, table string) (tally, error) {
	name, id := strings.Replace(table, "mboxgroup.", lab.GroupDatabase(s.group)+".", 1), "mailbox_id"
	var skip []string
	if table == "zimbra.mailbox" {
		id, skip = "id", meant
	}
	rows, err := s.db.QueryContext(ctx, fmt.Sprintf("SELECT * FROM %s WHERE %s = %d", name, id, s.mailbox))
	if err != nil {
		return tally{}, fmt.Errorf("%s: %w", name, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return tally{}, fmt.Errorf("%s: %w", name, err)
	}
	values, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	var t tally
	var b []byte
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return tally{}, fmt.Errorf("%s: %w", name, err)
		}
		b = b[:0]
		for i, column := range columns {
			v := values[i]
			switch {
			case column == id, slices.Contains(skip, column):
				continue
			case v == nil:
				b = fmt.Appendf(b, "%s NULL,", column)
				continue
			case column == "locator" && s.locators != nil:
				v = sql.RawBytes(s.locators[string(v)])
			}
			b = fmt.Appendf(b, "%s %d %s,", column, len(v), v)
		}
		hash := sha256.Sum256(b)
		t.rows++
		t.digest += binary.BigEndian.Uint64(hash[:])
	}
	if err := rows.Err(); err != nil {
		return tally{}, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}
