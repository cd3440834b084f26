package mboxdb

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Schema is what decides whether one server's rows fit another: for every moved table its columns by name with type, character set and
// collation, its unique keys and its foreign keys. The order of columns and their defaults are left out: a fresh installation and an
// upgraded one of the same version differ in them. Keys are "mboxgroup.mail_item.subject" for a column, "mboxgroup.mail_item unique (mailbox_id,id)" and
// "mboxgroup.mail_item references mboxgroup.mail_item (mailbox_id,folder_id)" for the others.
type Schema map[string]string

// Schema reads what the tables of a mailbox look like; group 0 means those of zimbra alone. Errors are those of Tables. It changes nothing.
func (d *DB) Schema(ctx context.Context, group int) (Schema, error) {
	tables, err := d.Tables(ctx, group)
	if err != nil {
		return nil, err
	}
	return schemaOf(tables), nil
}

func schemaOf(tables []Table) Schema {
	s := Schema{}
	for _, t := range tables {
		if !t.Moved() {
			continue
		}
		for _, c := range t.Columns {
			s[t.String()+"."+c.Name] = strings.TrimSpace(c.Type + " " + c.Collation)
		}
		for _, columns := range t.Unique {
			s[t.String()+" unique ("+columns+")"] = "yes"
		}
		for _, fk := range t.ForeignKeys {
			s[t.String()+" references "+fk.Table+" ("+strings.Join(fk.Columns, ",")+")"] = strings.Join(fk.References, ",") + " " + fk.OnDelete
		}
	}
	return s
}

// Differences names what is not the same in two schemas, sorted: "zimbra.mailbox.comment: varchar(255) ... at the source, ... at the
// destination". None: nil.
func Differences(src, dst Schema) []string {
	all := map[string]bool{}
	for k := range src {
		all[k] = true
	}
	for k := range dst {
		all[k] = true
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if src[k] != dst[k] {
			out = append(out, k+": "+absent(src[k])+" at the source, "+absent(dst[k])+" at the destination")
		}
	}
	return out
}

func absent(s string) string {
	if s == "" {
		return "absent"
	}
	return s
}

// Groups returns the mailbox groups that have a database on the server, in ascending order. It changes nothing.
func (d *DB) Groups(ctx context.Context) ([]int, error) {
	s, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var groups []int
	err = each(ctx, s, sqlGroups, nil, func(rows *sql.Rows) error {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(name, groupPrefix)); err == nil && n > 0 {
			groups = append(groups, n)
		}
		return nil
	})
	slices.Sort(groups)
	return groups, err
}
