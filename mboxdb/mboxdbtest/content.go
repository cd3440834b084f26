package mboxdbtest

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/zmlift/zmlift/mboxdb"
)

// meant are the columns of zimbra.mailbox that Publish and Restore set: they differ from the source's on purpose.
var meant = strings.Fields("id group_id index_volume_id last_backup_at comment item_id_checkpoint change_checkpoint")

// Content reads a mailbox's rows of a table, such as "mboxgroup7.mail_item", each as one text with its values in hexadecimal, sorted: what must
// be equal on both sides. It asks another way than package mboxdb does. The mailbox id is left out, and of zimbra.mailbox whatever is set
// on purpose; locators are what the map says, as they are where it is nil.
func Content(ctx context.Context, pool *sql.DB, table string, id mboxdb.MailboxID, locators map[mboxdb.VolumeID]mboxdb.VolumeID) ([]string, error) {
	return contentWhere(ctx, pool, table, fmt.Sprintf("%s = %d", idColumn(table), id), locators)
}

func idColumn(table string) string {
	if table == "zimbra.mailbox" {
		return "id"
	}
	return "mailbox_id"
}

func contentWhere(ctx context.Context, pool *sql.DB, table, where string, locators map[mboxdb.VolumeID]mboxdb.VolumeID) ([]string, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// Restored below: the session goes back to the pool.
	var zone string
	if err := conn.QueryRowContext(ctx, "SELECT @@session.time_zone").Scan(&zone); err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "SET SESSION time_zone='+00:00'"); err != nil {
		return nil, err
	}
	out, err := content(ctx, conn, table, where, locators)
	if _, zerr := conn.ExecContext(ctx, "SET SESSION time_zone='"+zone+"'"); err == nil {
		err = zerr
	}
	if err != nil {
		return nil, fmt.Errorf("content of %s: %w", table, err)
	}
	return out, nil
}

func content(ctx context.Context, conn *sql.Conn, table, where string, locators map[mboxdb.VolumeID]mboxdb.VolumeID) ([]string, error) {
	rows, err := conn.QueryContext(ctx, "SELECT * FROM "+table+" WHERE "+where)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out []string
	for rows.Next() {
		values, dest := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		var row []string
		for i, v := range values {
			switch {
			case names[i] == idColumn(table), table == "zimbra.mailbox" && slices.Contains(meant, names[i]):
				continue
			case names[i] == "locator" && v.Valid && locators != nil:
				v.String = mapped(v.String, locators)
			}
			row = append(row, fmt.Sprintf("%s=%t:%x", names[i], v.Valid, v.String))
		}
		slices.Sort(row)
		out = append(out, strings.Join(row, " "))
	}
	slices.Sort(out)
	return out, rows.Err()
}

func mapped(locator string, locators map[mboxdb.VolumeID]mboxdb.VolumeID) string {
	for from, to := range locators {
		if locator == from.String() {
			return to.String()
		}
	}
	return ""
}
