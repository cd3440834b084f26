package mboxdb

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// groupKind stands for any mailbox group's database where the number does not matter.
const groupKind = "mboxgroup"

// A TablePolicy says what to do with a table that this package does not know.
type TablePolicy string

const (
	PolicyCopy TablePolicy = "copy" // take its rows, with the mailbox id mapped and every other column as it is
	PolicySkip TablePolicy = "skip" // leave its rows behind
)

// A Class says how a table's rows are moved.
type Class string

const (
	Bucketed  Class = "bucketed"  // may be large, and each row belongs to an item or a change: can be cut into ranges of their numbers
	Wholesale Class = "wholesale" // small: only as a whole
	Never     Class = "never"     // stays with its server: volume_blobs is rebuilt there, deleted_account is not about a mailbox that exists
	Skipped   Class = "skipped"   // not known; the caller's policy leaves it behind
)

// A Table carries a mailbox id.
type Table struct {
	Database    string       `json:"database"` // "zimbra", or "mboxgroup" for any group's
	Name        string       `json:"name"`
	Class       Class        `json:"class"`
	Engine      string       `json:"engine"`
	Columns     []Column     `json:"columns"`
	Key         []string     `json:"key,omitempty"` // the primary key, else a unique key of columns that cannot be NULL; nil: rows may be equal
	Unique      []string     `json:"unique,omitempty"`
	ForeignKeys []ForeignKey `json:"foreign_keys,omitempty"`

	bucket  string  // Bucketed: the column whose ranges cut the table into pieces
	indexes []index // the primary key and unique ones, too
	order   int     // parents before children, the mailbox row last
}

type index struct {
	name    string
	columns []string
}

// A Column of a table.
type Column struct {
	Name      string `json:"name"`
	Type      string `json:"type"` // in one spelling for all servers: "int unsigned", "varchar(64)"
	Charset   string `json:"charset,omitempty"`
	Collation string `json:"collation,omitempty"`
	Nullable  bool   `json:"nullable,omitempty"`

	kind kind
}

// A ForeignKey of a table, within its database or to zimbra.
type ForeignKey struct {
	Columns    []string `json:"columns"`
	Table      string   `json:"table"` // "zimbra.mailbox", "mboxgroup.mail_item"
	References []string `json:"references"`
	OnDelete   string   `json:"on_delete"`
}

// A kind says how a column's values are written and digested.
type kind int

const (
	unsupported kind = iota
	number           // exact; written as it is
	text             // written as a string in the session's character set
	raw              // bytes; written in hexadecimal
	temporal         // written as text, in the session's time zone
)

var kinds = map[string]kind{
	"tinyint": number, "smallint": number, "mediumint": number, "int": number, "bigint": number, "decimal": number, "year": number,
	"char": text, "varchar": text, "tinytext": text, "text": text, "mediumtext": text, "longtext": text, "enum": text, "set": text,
	"binary": raw, "varbinary": raw, "tinyblob": raw, "blob": raw, "mediumblob": raw, "longblob": raw,
	"date": temporal, "datetime": temporal, "timestamp": temporal, "time": temporal,
}

// kindOf reads a type as Column has it.
func kindOf(columnType string) kind {
	if i := strings.IndexAny(columnType, "( "); i >= 0 {
		columnType = columnType[:i]
	}
	return kinds[columnType]
}

// String is the table's name without the group's number: "mboxgroup.mail_item".
func (t Table) String() string { return t.Database + "." + t.Name }

// Moved says whether the table's rows go along with the mailbox.
func (t Table) Moved() bool { return t.Class == Bucketed || t.Class == Wholesale }

// in is the table's name on a server: "mboxgroup34.mail_item".
func (t Table) in(group int) string {
	if t.Database == groupKind {
		return groupDatabase(group) + "." + t.Name
	}
	return t.String()
}

// quoted is in, quoted.
func (t Table) quoted(group int) string {
	db, name, _ := strings.Cut(t.in(group), ".")
	return ident(db) + "." + ident(name)
}

// isMailbox says whether this is the table of the mailbox rows themselves.
func (t Table) isMailbox() bool { return t.Database == zimbraDatabase && t.Name == "mailbox" }

// idColumn is the column that holds the mailbox id.
func (t Table) idColumn() string {
	if t.isMailbox() {
		return "id"
	}
	return "mailbox_id"
}

// Tables returns the tables of zimbra and of one mailbox group that carry a mailbox id, parents before children and the mailbox row last.
// Group 0 means zimbra alone. An *UnknownTableError names everything that this package does not know and that has no policy; ErrNoGroup
// says that the group has no database. It changes nothing.
func (d *DB) Tables(ctx context.Context, group int) (tables []Table, err error) {
	err = d.reading(ctx, func(s *session) error {
		tables, err = d.tables(ctx, s, group)
		return err
	})
	return tables, err
}

func (d *DB) tables(ctx context.Context, q querier, group int) ([]Table, error) {
	return d.classified(ctx, q, group, tablesOf)
}

// classified returns the tables that read finds in zimbra and in the group's database.
func (d *DB) classified(ctx context.Context, q querier, group int, read func(ctx context.Context, q querier, database string) ([]Table, error)) ([]Table, error) {
	databases := []string{zimbraDatabase}
	if group != 0 {
		var n int
		if err := scan(ctx, q, sqlDatabaseExists, []any{groupDatabase(group)}, &n); err != nil {
			return nil, fmt.Errorf("tables: %w", err)
		}
		if n == 0 {
			return nil, fmt.Errorf("%s: %w", groupDatabase(group), ErrNoGroup)
		}
		databases = append(databases, groupDatabase(group))
	}
	var all []Table
	var unknown []string
	for _, database := range databases {
		found, err := read(ctx, q, database)
		if err != nil {
			return nil, fmt.Errorf("tables of %s: %w", database, err)
		}
		for _, t := range found {
			unknown = append(unknown, t.classify(d.opt.Tables[t.String()])...)
			all = append(all, t)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, &UnknownTableError{Tables: unknown}
	}
	slices.SortStableFunc(all, func(a, b Table) int { return a.order - b.order })
	return all, nil
}

// classify sets the table's class and place, and names what is not known about it.
func (t *Table) classify(policy TablePolicy) (unknown []string) {
	k := knownTable(t.Database, t.Name)
	switch {
	case k >= 0:
		t.Class, t.order = known[k].class, k
		if c := t.column(known[k].bucket); c != nil && !c.Nullable { // a range of ids has no NULL in it
			t.bucket = c.Name
		}
		if t.isMailbox() {
			t.order = len(known) + 1
		}
	case policy == PolicyCopy:
		t.Class, t.order = Wholesale, len(known)
	case policy == PolicySkip:
		t.Class, t.order = Skipped, len(known)
	default:
		return []string{t.String()}
	}
	if !t.Moved() {
		return nil
	}
	if t.Engine != "InnoDB" {
		unknown = append(unknown, fmt.Sprintf("%s (engine %s has no transactions)", t, t.Engine))
	}
	for _, c := range t.Columns {
		name := t.String() + "." + c.Name
		switch {
		case c.kind == unsupported:
			unknown = append(unknown, fmt.Sprintf("%s (type %s cannot be copied exactly)", name, c.Type))
		case k >= 0 && policy != PolicyCopy && !knownColumn(k, c.Name):
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// tablesOf reads the tables of one database that carry a mailbox id.
func tablesOf(ctx context.Context, q querier, database string) ([]Table, error) {
	tables, err := columnsOf(ctx, q, database)
	if err != nil {
		return nil, err
	}
	byName := map[string]*Table{}
	for i := range tables {
		byName[tables[i].Name] = &tables[i]
	}
	if err := keysOf(ctx, q, database, byName); err != nil {
		return nil, err
	}
	if err := foreignKeysOf(ctx, q, database, byName); err != nil {
		return nil, err
	}
	return tables, nil
}

// kindOfDatabase is what a database is called where a group's number does not matter.
func kindOfDatabase(database string) string {
	if strings.HasPrefix(database, groupPrefix) {
		return groupKind
	}
	return database
}

// columnsOf is tablesOf without keys of any kind, which is less than half of the work.
func columnsOf(ctx context.Context, q querier, database string) ([]Table, error) {
	byName := map[string]*Table{}
	err := each(ctx, q, sqlTables, []any{database}, func(rows *sql.Rows) error {
		t := Table{Database: kindOfDatabase(database)}
		var engine sql.NullString
		err := rows.Scan(&t.Name, &engine)
		t.Engine = engine.String
		byName[t.Name] = &t
		return err
	})
	if err != nil {
		return nil, err
	}
	var names []string
	err = each(ctx, q, sqlColumns, []any{database}, func(rows *sql.Rows) error {
		var table, dataType, columnType, nullable, extra string
		var charset, collation sql.NullString
		var c Column
		if err := rows.Scan(&table, &c.Name, &dataType, &columnType, &charset, &collation, &nullable, &extra); err != nil {
			return err
		}
		t := byName[table]
		if t == nil { // a view
			return nil
		}
		c.Type, c.Charset, c.Collation = columnSpelling(columnType), charsetSpelling(charset.String), charsetSpelling(collation.String)
		c.Nullable = nullable == "YES"
		c.kind = kinds[strings.ToLower(dataType)]
		if generated(extra) {
			c.kind, c.Type = unsupported, c.Type+" generated"
		}
		t.Columns = append(t.Columns, c)
		if strings.EqualFold(c.Name, t.idColumn()) {
			names = append(names, table)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var tables []Table
	for _, name := range names {
		tables = append(tables, *byName[name])
	}
	return tables, nil
}

func keysOf(ctx context.Context, q querier, database string, byName map[string]*Table) error {
	type key struct {
		table, name string
		columns     []string
		prefix      bool // an index over the beginning of a column does not tell rows apart
		equal       bool // rows may be equal in it
	}
	var keys []key
	err := each(ctx, q, sqlKeys, []any{database}, func(rows *sql.Rows) error {
		var table, name, column string
		var part sql.NullInt64
		var equal bool
		if err := rows.Scan(&table, &name, &column, &part, &equal); err != nil {
			return err
		}
		if n := len(keys); n == 0 || keys[n-1].table != table || keys[n-1].name != name {
			keys = append(keys, key{table: table, name: name, equal: equal})
		}
		k := &keys[len(keys)-1]
		if part.Valid {
			k.prefix = true
			column += fmt.Sprintf("(%d)", part.Int64)
		}
		k.columns = append(k.columns, column)
		return nil
	})
	for _, k := range keys {
		t := byName[k.table]
		if t == nil {
			continue
		}
		t.indexes = append(t.indexes, index{k.name, k.columns})
		if k.equal {
			continue
		}
		t.Unique = append(t.Unique, strings.Join(k.columns, ","))
		if k.prefix || slices.ContainsFunc(k.columns, func(name string) bool { c := t.column(name); return c == nil || c.Nullable }) {
			continue
		}
		if k.name == "PRIMARY" || t.Key == nil {
			t.Key = k.columns
		}
	}
	return err
}

func foreignKeysOf(ctx context.Context, q querier, database string, byName map[string]*Table) error {
	rules := map[string]string{}
	err := each(ctx, q, sqlDeleteRules, []any{database}, func(rows *sql.Rows) error {
		var table, name, rule string
		err := rows.Scan(&table, &name, &rule)
		if rule == "NO ACTION" { // InnoDB makes no difference
			rule = "RESTRICT"
		}
		rules[table+" "+name] = rule
		return err
	})
	if err != nil {
		return err
	}
	var last string
	return each(ctx, q, sqlForeignKeys, []any{database}, func(rows *sql.Rows) error {
		var table, name, column, toDatabase, toTable, toColumn string
		if err := rows.Scan(&table, &name, &column, &toDatabase, &toTable, &toColumn); err != nil {
			return err
		}
		t := byName[table]
		if t == nil {
			return nil
		}
		if id := table + " " + name; id != last || len(t.ForeignKeys) == 0 {
			last = id
			t.ForeignKeys = append(t.ForeignKeys, ForeignKey{Table: kindOfDatabase(toDatabase) + "." + toTable, OnDelete: rules[id]})
		}
		fk := &t.ForeignKeys[len(t.ForeignKeys)-1]
		fk.Columns, fk.References = append(fk.Columns, column), append(fk.References, toColumn)
		return nil
	})
}

func (t *Table) column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// byName returns the columns in the order of their names, which is the same on a fresh and on an upgraded server.
func (t *Table) byName() []Column {
	return slices.SortedFunc(slices.Values(t.Columns), func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
}

// generated reads the EXTRA column of information_schema; DEFAULT_GENERATED there is only a default.
func generated(extra string) bool {
	extra = strings.ToUpper(extra)
	return strings.Contains(extra, "VIRTUAL") || strings.Contains(extra, "STORED") || strings.Contains(extra, "PERSISTENT")
}

// columnSpelling takes the display width from integer types, which newer MySQL servers no longer show.
func columnSpelling(columnType string) string {
	columnType = strings.ToLower(columnType)
	name, rest, ok := strings.Cut(columnType, "(")
	if !ok || !strings.HasSuffix(name, "int") {
		return columnType
	}
	_, after, _ := strings.Cut(rest, ")")
	return name + after
}

// charsetSpelling gives utf8 its full name, also at the start of a collation's.
func charsetSpelling(name string) string {
	if name == "utf8" || strings.HasPrefix(name, "utf8_") {
		return "utf8mb3" + name[len("utf8"):]
	}
	return name
}
