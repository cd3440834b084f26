package mboxdb

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	dumpFormat  = 1
	dumpBegins  = "-- zmlift dump, format "
	dumpFirst   = dumpBegins + "1\n"
	dumpMailbox = "-- mailbox %d of account %s in %s\n"
	dumpServer  = "-- server "
	// dumpTable begins a line about one table.
	dumpTable = "-- table "
	// dumpLast begins the closing line. mysqldump's begins with the same words, so that tools which look for them find them here too.
	dumpLast = "-- Dump completed "
	// statementSize is where a dump begins another INSERT. Any server takes that much at once.
	statementSize = 512 << 10
)

// dumpSettings are for a client that loads the dump. Load does not execute them: its sessions have them already.
const dumpSettings = "SET NAMES utf8mb4;\n" +
	"SET SESSION time_zone='+00:00', foreign_key_checks=0, sql_mode='" + sqlMode + "';\n"

// DumpOptions say how to dump. nil is sensible.
type DumpOptions struct {
	// Progress is called now and then with rows. It must return at once.
	Progress func(done, total int64)
}

// A Summary counts what was dumped or loaded.
type Summary struct {
	Rows   int64            `json:"rows"`
	Bytes  int64            `json:"bytes"`  // of SQL text
	Tables map[string]int64 `json:"tables"` // rows by table: "mboxgroup.mail_item"
}

// A dumpTrailer is the JSON of the closing line.
type dumpTrailer struct {
	Version int              `json:"v"`
	Tables  map[string]int64 `json:"tables"`
	Bytes   int64            `json:"bytes"`            // before the closing line
	SHA256  string           `json:"sha256,omitempty"` // of those bytes; a text that goes straight to Load, by way of Rewrite, has none
}

// A dumpOrigin is the JSON of the line about the server.
type dumpOrigin struct {
	DBVersion string `json:"db_version"`
	TimeZone  string `json:"time_zone"`
	Version   string `json:"version"`
}

// dumpFrom is the line about the server.
func dumpFrom(s Server) ([]byte, error) {
	b, err := json.Marshal(dumpOrigin{DBVersion: s.DBVersion, TimeZone: s.TimeZone, Version: s.Version})
	return append(append([]byte(dumpServer), b...), '\n'), err
}

// dumpEnd is the closing line.
func dumpEnd(t dumpTrailer) ([]byte, error) {
	b, err := json.Marshal(t)
	return append(append([]byte(dumpLast), b...), '\n'), err
}

// Dump writes every moved table of a mailbox as SQL text: the tables of its group, then those of zimbra, the mailbox row last; all of
// one moment, in one transaction of one connection. The text is also what the mariadb client loads: columns are named, each row is one
// line, and whatever a client could misread is escaped. At the beginning is what server it is of, and what the tables look like. The last
// line counts the rows of each table and has a checksum of everything before it; a dump without it is cut short. CheckDump reads a dump
// again, Restore loads it.
//
// m is what Find returned. ErrNotFound says that the server no longer has that mailbox under that id and group. Dump changes nothing. After
// an error w holds the beginning of a dump.
func (d *DB) Dump(ctx context.Context, w io.Writer, m Mailbox, opts *DumpOptions) (Summary, error) {
	if opts == nil {
		opts = &DumpOptions{}
	}
	server, err := d.Server(ctx)
	if err != nil {
		return Summary{}, err
	}
	return d.dump(ctx, w, m, Table.Moved, &dumpWriter{server: &server, progress: opts.Progress})
}

// dump writes those moved tables that want says.
func (d *DB) dump(ctx context.Context, w io.Writer, m Mailbox, want func(Table) bool, dw *dumpWriter) (Summary, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer s.close()
	all, err := d.tables(ctx, s, m.Group)
	if err != nil {
		return Summary{}, err
	}
	return dw.dump(ctx, s, w, m, only(moved(all), want), nil)
}

// A selection names rows by table: the spans of its bucket column. A table without spans is taken as a whole.
type selection map[string][]span

// dumpTables writes those tables, or what is selected of them, in a transaction of its own that it leaves open.
func dumpTables(ctx context.Context, s *session, w io.Writer, m Mailbox, tables []Table, sel selection, progress func(done, total int64)) (Summary, error) {
	return (&dumpWriter{progress: progress}).dump(ctx, s, w, m, tables, sel)
}

func (dw *dumpWriter) dump(ctx context.Context, s *session, w io.Writer, m Mailbox, tables []Table, sel selection) (Summary, error) {
	if err := exec(ctx, s, sqlSnapshot); err != nil {
		return Summary{}, fmt.Errorf("snapshot: %w", err)
	}
	if err := present(ctx, s, m); err != nil {
		return Summary{}, err
	}
	if dw.progress != nil {
		var err error
		if dw.total, err = countRows(ctx, s, m, tables); err != nil {
			return Summary{}, err
		}
	}
	dw.w, dw.sum = bufio.NewWriterSize(w, 256<<10), Summary{Tables: map[string]int64{}}
	err := dw.write(ctx, s, m, tables, sel)
	return dw.sum, err
}

// present says whether the mailbox is still what the caller believes it to be.
func present(ctx context.Context, q querier, m Mailbox) error {
	row, err := scanMailbox(ctx, q, sqlMailboxByID, m.ID)
	if errors.Is(err, sql.ErrNoRows) || err == nil && (row.Group != m.Group || !strings.EqualFold(row.AccountID, m.AccountID)) {
		return fmt.Errorf("mailbox %d of account %s in %s: %w", m.ID, m.AccountID, groupDatabase(m.Group), ErrNotFound)
	}
	return err
}

// dumped returns the columns in the order of a dump: the mailbox id, which a reader looks for, then by name.
func (t Table) dumped() []Column {
	columns := t.byName()
	for i, c := range columns {
		if strings.EqualFold(c.Name, t.idColumn()) {
			copy(columns[1:i+1], columns[:i])
			columns[0] = c
		}
	}
	return columns
}

// A dumpWriter writes one dump.
type dumpWriter struct {
	server   *Server // to be described at the beginning, with its tables, and a checksum at the end; nil: nothing of that
	progress func(done, total int64)

	w     *bufio.Writer
	sum   Summary
	total int64
}

// dumpHead is how a dump begins: about says where it is from.
func dumpHead(m Mailbox, about []byte) []byte {
	head := fmt.Appendf(nil, "%s"+dumpMailbox, dumpFirst, m.ID, oneLine(m.AccountID), groupDatabase(m.Group))
	return append(append(head, about...), dumpSettings...)
}

// describe is a line for each table that says what its columns and keys are.
func describe(tables []Table) ([]byte, error) {
	var out []byte
	for _, t := range tables {
		b, err := json.Marshal(t)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, dumpTable...), b...), '\n')
	}
	return out, nil
}

func (dw *dumpWriter) write(ctx context.Context, q querier, m Mailbox, tables []Table, sel selection) error {
	out, sum := io.Writer(dw.w), func() string { return "" }
	if dw.server != nil {
		hash := sha256.New()
		out, sum = io.MultiWriter(dw.w, hash), func() string { return hex.EncodeToString(hash.Sum(nil)) }
	}
	put := func(b []byte) error {
		n, err := out.Write(b)
		dw.sum.Bytes += int64(n)
		return err
	}
	var about []byte
	if dw.server != nil {
		from, err := dumpFrom(*dw.server)
		if err != nil {
			return err
		}
		schema, err := describe(tables)
		if err != nil {
			return err
		}
		about = append(from, schema...)
	}
	if err := put(dumpHead(m, about)); err != nil {
		return err
	}
	for _, t := range tables {
		dw.sum.Tables[t.String()] = 0
		for spans := range pieces(sel[t.String()], spansPerStatement) {
			if err := dw.table(ctx, q, m, t, spans, put); err != nil {
				return fmt.Errorf("dump %s: %w", t.in(m.Group), err)
			}
		}
	}
	end, err := dumpEnd(dumpTrailer{Version: dumpFormat, Tables: dw.sum.Tables, Bytes: dw.sum.Bytes, SHA256: sum()})
	if err != nil {
		return err
	}
	if err := put(end); err != nil {
		return err
	}
	if dw.progress != nil {
		dw.progress(dw.sum.Rows, max(dw.total, dw.sum.Rows))
	}
	return dw.w.Flush()
}

func (dw *dumpWriter) table(ctx context.Context, q querier, m Mailbox, t Table, spans []span, put func([]byte) error) error {
	fields, kinds := sqlFields(t)
	rows, err := q.QueryContext(ctx, sqlRows(t, m.Group, m.ID, fields, spans))
	if err != nil {
		return clean(err)
	}
	defer rows.Close()
	values := make([]sql.RawBytes, len(fields))
	dest := make([]any, len(fields))
	for i := range values {
		dest[i] = &values[i]
	}
	head, key := []byte(sqlInsert(t, m.Group)), t.String()
	var b []byte // one row, with what goes before it
	size := 0    // of the statement under way; 0: none
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return errors.New("a column has an unexpected type") // Scan's own text quotes the value
		}
		b = b[:0]
		switch {
		case size == 0:
			b = append(b, head...)
		case size >= statementSize:
			b, size = append(append(b, ";\n"...), head...), 0
		default:
			b = append(b, ",\n"...)
		}
		b = appendRow(b, kinds, values)
		if err := put(b); err != nil {
			return err
		}
		size += len(b)
		dw.sum.Rows++
		dw.sum.Tables[key]++
		if dw.progress != nil && dw.sum.Rows%1000 == 0 {
			dw.progress(dw.sum.Rows, max(dw.total, dw.sum.Rows))
		}
	}
	if err := rows.Err(); err != nil {
		return clean(err)
	}
	if size == 0 {
		return nil
	}
	return put([]byte(";\n"))
}

// appendRow appends a row in parentheses.
func appendRow(b []byte, kinds []kind, values []sql.RawBytes) []byte {
	b = append(b, '(')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case v == nil:
			b = append(b, "NULL"...)
		case kinds[i] == number:
			b = append(b, v...)
		case kinds[i] == raw:
			b = appendHex(b, v)
		default:
			b = appendString(b, v)
		}
	}
	return append(b, ')')
}

// oneLine keeps a value from ending a comment.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, s)
}

// Count returns how many rows a mailbox has in all moved tables. It changes nothing.
func (d *DB) Count(ctx context.Context, m Mailbox) (rows int64, err error) {
	return d.count(ctx, m, Table.Moved)
}

func (d *DB) count(ctx context.Context, m Mailbox, want func(Table) bool) (rows int64, err error) {
	s, err := d.read(ctx)
	if err != nil {
		return 0, err
	}
	defer s.close()
	tables, err := d.tables(ctx, s, m.Group)
	if err != nil {
		return 0, err
	}
	return countRows(ctx, s, m, only(moved(tables), want))
}

func countRows(ctx context.Context, q querier, m Mailbox, tables []Table) (rows int64, err error) {
	for _, t := range tables {
		var n int64
		if err := scan(ctx, q, sqlCount(t, m.Group, m.ID), nil, &n); err != nil {
			return 0, fmt.Errorf("count %s: %w", t.in(m.Group), err)
		}
		rows += n
	}
	return rows, nil
}
