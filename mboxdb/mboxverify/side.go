package mboxverify

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A side is one server, and what it says of itself.
type side struct {
	conn    *sql.Conn
	mailbox Mailbox
	tables  map[string]*table // those with a mailbox id, by the name that a report has
}

// A table is what one server says of it.
type table struct {
	database, name string
	id             string // the column with the mailbox id
	columns        map[string]column
	keys           [][]string // those that tell rows apart, the primary key first
}

type column struct {
	dataType string
	nullable bool
}

func (t *table) has(column string) bool {
	_, ok := t.columns[column]
	return ok
}

func open(ctx context.Context, db *sql.DB) (*side, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &side{conn: conn}
	for _, stmt := range []string{sqlSession, sqlReadOnly} {
		if _, err := conn.ExecContext(ctx, stmt); err != nil {
			s.close()
			return nil, fmt.Errorf("session settings: %w", err)
		}
	}
	return s, nil
}

// close ends the connection, so that nobody else's queries run with its settings.
func (s *side) close() {
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
}

const groupPrefix = "mboxgroup"

func inGroup(name string) bool { return strings.HasPrefix(name, groupPrefix+".") }

// describe asks the server for the tables that carry a mailbox id.
func (s *side) describe(ctx context.Context, m Mailbox) error {
	s.mailbox, s.tables = m, map[string]*table{}
	for prefix, database := range map[string]string{"zimbra": "zimbra", groupPrefix: fmt.Sprint(groupPrefix, m.Group)} {
		tables, err := s.tablesOf(ctx, database)
		if err != nil {
			return fmt.Errorf("tables of %s: %w", database, err)
		}
		for _, t := range tables {
			t.id = "mailbox_id"
			if prefix+"."+t.name == mailboxTable {
				t.id = "id"
			}
			if t.has(t.id) {
				s.tables[prefix+"."+t.name] = t
			}
		}
	}
	for _, name := range []string{mailboxTable, groupPrefix + ".mail_item"} {
		if s.tables[name] == nil {
			return fmt.Errorf("mailbox group %d: no table %s", m.Group, name)
		}
	}
	return nil
}

func (s *side) tablesOf(ctx context.Context, database string) (map[string]*table, error) {
	tables := map[string]*table{}
	var name, columnName, dataType, nullable string
	err := s.each(ctx, sqlTables, []any{database}, []any{&name}, func() {
		tables[name] = &table{database: database, name: name, columns: map[string]column{}}
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, sqlColumns, []any{database}, []any{&name, &columnName, &dataType, &nullable}, func() {
		if t := tables[name]; t != nil { // else it is a view
			t.columns[strings.ToLower(columnName)] = column{strings.ToLower(dataType), nullable != "NO"}
		}
	})
	if err != nil {
		return nil, err
	}
	type key struct {
		columns []string
		vague   bool // over the beginning of a column, or over one that may be NULL
	}
	keys := map[string][]*key{}
	var index, last string
	var beginning bool
	err = s.each(ctx, sqlUniqueKeys, []any{database}, []any{&name, &index, &columnName, &beginning}, func() {
		t := tables[name]
		if t == nil {
			return
		}
		if name+" "+index != last {
			last = name + " " + index
			keys[name] = append(keys[name], &key{})
		}
		k := keys[name][len(keys[name])-1]
		c := t.columns[strings.ToLower(columnName)]
		k.columns, k.vague = append(k.columns, strings.ToLower(columnName)), k.vague || beginning || c.nullable
	})
	for name, all := range keys {
		for _, k := range all {
			if !k.vague {
				tables[name].keys = append(tables[name].keys, k.columns)
			}
		}
	}
	return tables, err
}

// each calls f for every row of a query, which is in dest then.
func (s *side) each(ctx context.Context, query string, args, dest []any, f func()) error {
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return errors.New("a column has an unexpected type")
		}
		f()
	}
	return rows.Err()
}

// A kind says how values of a type are read and ordered.
type kind int

const (
	unknown kind = iota
	integer
	plain // bytes, and texts in UTF-8
	shown // as the server shows them
)

func kindOf(dataType string) kind {
	switch dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "year":
		return integer
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set",
		"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit":
		return plain
	case "decimal", "date", "datetime", "timestamp", "time":
		return shown
	}
	return unknown
}

// A selected is what is read of each row of a table, on both sides alike.
type selected struct {
	columns []field
	key     []int  // columns that tell rows apart, beside the mailbox id
	keyed   bool   // key does so; also with no column, where there is one row at most
	only    string // how that one is named
}

type field struct {
	name string
	kind kind
	text bool // has a character set
}

// selection takes the columns that both tables have, and returns those that one has alone. A table that is not there has what the other one has.
func selection(src, dst *table) (sel selected, lone []string, err error) {
	if src == nil {
		src = dst
	}
	if dst == nil {
		dst = src
	}
	all := maps.Clone(src.columns)
	maps.Copy(all, dst.columns)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == src.id {
			continue
		}
		if !src.has(name) || !dst.has(name) {
			lone = append(lone, name)
			continue
		}
		a, b := src.columns[name].dataType, dst.columns[name].dataType
		k := kindOf(a)
		if k == unknown || k != kindOf(b) {
			return sel, nil, fmt.Errorf("column %s: values of types %s and %s cannot be compared", name, a, b)
		}
		text := strings.HasSuffix(a, "char") || strings.HasSuffix(a, "text") || a == "enum" || a == "set"
		sel.columns = append(sel.columns, field{name: name, kind: k, text: text})
	}
	for _, key := range src.keys {
		if !slices.ContainsFunc(dst.keys, func(k []string) bool { return slices.Equal(k, key) }) {
			continue
		}
		sel.keyed = true
		for _, name := range key {
			if name != src.id {
				sel.key = append(sel.key, sel.index(name))
			}
		}
		break
	}
	return sel, lone, nil
}

// index is a column's place, or -1.
func (s selected) index(name string) int {
	return slices.IndexFunc(s.columns, func(f field) bool { return f.name == name })
}

// A stream is one reading of a table's rows.
type stream struct {
	rows   *sql.Rows // nil: the server has no such table
	n      int64     // rows read
	values []sql.RawBytes
	into   []any
	seen   func(column int, value []byte)
}

// read begins a reading. seen gets every value; nil: nothing does.
func (s *side) read(ctx context.Context, t *table, sel selected, seen func(column int, value []byte)) (*stream, error) {
	st := &stream{values: make([]sql.RawBytes, len(sel.columns)), seen: seen}
	if t == nil {
		return st, nil
	}
	var one sql.RawBytes
	st.into = append(st.into, &one)
	for i := range st.values {
		st.into = append(st.into, &st.values[i])
	}
	var err error
	st.rows, err = s.conn.QueryContext(ctx, sqlRows(t, s.mailbox.ID, sel))
	return st, err
}

// next reads a row, which is in values until the next call. False without an error: there is no other one.
func (st *stream) next() (bool, error) {
	if st.rows == nil {
		return false, nil
	}
	if !st.rows.Next() {
		return false, st.rows.Err()
	}
	if err := st.rows.Scan(st.into...); err != nil {
		return false, errors.New("a column has an unexpected type") // Scan's own text quotes the value
	}
	st.n++
	if st.seen != nil {
		for i, v := range st.values {
			st.seen(i, v)
		}
	}
	return true, nil
}

func (st *stream) close() {
	if st != nil && st.rows != nil {
		_ = st.rows.Close()
	}
}
