package mboxdb

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zmlift/zmlift/internal/backoff"
)

const (
	batchRows  = 10000   // of one statement, and of one of Load's transactions
	batchBytes = 5 << 20 // of one, or one row
	deleteRows = 2000
)

// Load makes the rows that lie in the destination's group database under the reserved id equal to the source's: it removes what is there
// under that id, then dumps, rewrites and inserts, some thousand rows to a transaction. When a connection is lost it begins anew, a few times at
// most, and Progress with it. Nothing at the destination can see the rows before Publish. What was written stays after an error, for the next Load
// or for Remove.
//
// ErrPublished says that the mailbox row is there already: the rows are mailboxd's then. A *DumpError says what came out of Rewrite that
// must not be loaded. The source is read in one transaction; whether the rows are still equal after it only Verify can tell.
func (c *Copy) Load(ctx context.Context) (sum Summary, err error) {
	_, tables, err := c.tables(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("load: %w", err)
	}
	if err := c.dst.reading(ctx, func(s *session) error { return c.checkVolumes(ctx, s) }); err != nil {
		return Summary{}, fmt.Errorf("load: %w", err)
	}
	var total int64
	if c.opt.Progress != nil {
		if total, err = c.src.count(ctx, c.from, Table.inGroup); err != nil {
			return Summary{}, fmt.Errorf("load: source: %w", err)
		}
	}
	return c.fill(ctx, tables, total)
}

// fill removes what lies in the group under the reserved id and writes the source's rows; all of it once more when a connection is lost.
func (c *Copy) fill(ctx context.Context, tables []Table, total int64) (sum Summary, err error) {
	err = backoff.Retry(ctx, backoff.Policy{}, lost, func(ctx context.Context) error {
		sum = Summary{}
		if err := c.clear(ctx, only(tables, Table.inGroup), c.guard); err != nil {
			return fmt.Errorf("load: %w", err)
		}
		return c.transfer(ctx, Table.inGroup, func(ctx context.Context, r io.Reader) (err error) {
			sum, err = c.loadGroup(ctx, r, tables, total)
			return err
		})
	})
	return sum, err
}

// loadGroup inserts a dump of the group's tables, some thousand rows to a transaction.
func (c *Copy) loadGroup(ctx context.Context, r io.Reader, tables []Table, total int64) (Summary, error) {
	s, err := c.dst.write(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer s.close()
	l, err := c.newLoader(ctx, s, only(tables, Table.inGroup))
	if err != nil {
		return Summary{}, err
	}
	l.commit = func(b *batch) error {
		err := s.inTx(ctx, func(tx *sql.Tx) error {
			if err := c.unpublished(ctx, tx, c.guard); err != nil {
				return err
			}
			return l.insert(ctx, tx, b)
		})
		if err == nil && c.opt.Progress != nil {
			c.opt.Progress(l.sum.Rows, max(total, l.sum.Rows))
		}
		return err
	}
	err = l.load(ctx, r)
	return l.sum, err
}

// unpublished is guard, or owned, where the mailbox row must not be there.
func (c *Copy) unpublished(ctx context.Context, tx querier, guard func(context.Context, querier) (bool, error)) error {
	published, err := guard(ctx, tx)
	if err == nil && published {
		err = fmt.Errorf("mailbox %d: %w", c.to.ID, ErrPublished)
	}
	return err
}

// checkVolumes looks for the volumes that the copy's rows will name. Foreign keys do not: they are not checked in our sessions, and a
// locator is none.
func (c *Copy) checkVolumes(ctx context.Context, q querier) error {
	var n int
	if err := scan(ctx, q, sqlIndexVolume, []any{c.opt.IndexVolume}, &n); err != nil {
		return fmt.Errorf("zimbra.volume: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("the destination has no index volume %d", c.opt.IndexVolume)
	}
	for _, id := range c.locators() {
		if err := scan(ctx, q, sqlMessageVolume, []any{id}, &n); err != nil {
			return fmt.Errorf("zimbra.volume: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("the destination has no volume %s for blobs", id)
		}
	}
	return nil
}

// locators are the values that a locator may have at the destination.
func (c *Copy) locators() []string {
	var out []string
	for _, id := range c.opt.Volumes {
		out = append(out, id.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// clear deletes the rows of the reserved id, some at a time, as long as the copy is not published, and is not about to be by a commit that is still
// under way. What the copy remembers of its writing goes first.
func (c *Copy) clear(ctx context.Context, tables []Table, guard func(context.Context, querier) (bool, error)) error {
	c.round++
	if err := c.settled(ctx); err != nil {
		return err
	}
	inTx := func(f func(tx *sql.Tx) error) error {
		return c.dst.writing(ctx, func(s *session) error {
			return s.inTx(ctx, func(tx *sql.Tx) error {
				if err := c.unpublished(ctx, tx, guard); err != nil {
					return err
				}
				return f(tx)
			})
		})
	}
	if err := inTx(func(tx *sql.Tx) error { return forget(ctx, tx, c.account()) }); err != nil {
		return fmt.Errorf("clear zmlift.buckets: %w", err)
	}
	for _, t := range slices.Backward(tables) {
		for n := int64(deleteRows); n == deleteRows; {
			err := inTx(func(tx *sql.Tx) (err error) {
				if n, err = affect(ctx, tx, sqlDelete(t, c.to.Group, c.to.ID, deleteRows)); err == nil && n < deleteRows {
					err = empty(ctx, tx, t, c.to.Group, c.to.ID, nil)
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("clear %s: %w", t.in(c.to.Group), err)
			}
		}
	}
	return nil
}

// A loader reads a dump line by line and hands batches of its rows to commit. Nothing of the text is executed: rows that it has read literal by
// literal go by an INSERT or a LOAD DATA of its own.
type loader struct {
	bulk
	heads    map[string]*loadTable // by the line that begins an INSERT
	id       string                // the mailbox id that every row must have
	locators []string              // nil: none may be there
	limit    int                   // of an INSERT, in bytes
	commit   func(*batch) error

	lines
	sum  Summary
	b    batch
	done bool // the closing line was there
}

type loadTable struct {
	Table
	group   int
	key     string // "mboxgroup.mail_item"
	name    string // "mboxgroup7.mail_item"
	head    []byte
	columns int
	locator int // -1: none
	// insert: has a text column in another character set than those which store what we send as it is.
	insert bool
}

func (c *Copy) newLoader(ctx context.Context, q querier, tables []Table) (*loader, error) {
	var packet int
	if err := scan(ctx, q, sqlPacket, nil, &packet); err != nil {
		return nil, err
	}
	l := &loader{bulk: bulk{min: c.sizes.load, size: min(statementSize, packet/4), denied: &c.dst.noLoad}, heads: map[string]*loadTable{}, id: c.to.ID.String(),
		locators: c.locators(), limit: packet - 1024, sum: Summary{Tables: map[string]int64{}}}
	for _, t := range tables {
		lt := &loadTable{Table: t, group: c.to.Group, key: t.String(), name: t.in(c.to.Group), head: []byte(sqlInsert(t, c.to.Group)), columns: len(t.Columns), locator: -1}
		lt.insert = slices.ContainsFunc(t.Columns, func(c Column) bool {
			return c.kind == text && c.Charset != "utf8" && c.Charset != "utf8mb3" && c.Charset != "utf8mb4"
		})
		if t.HasLocator() {
			lt.locator = slices.IndexFunc(t.dumped(), func(c Column) bool { return c.Name == locatorColumn })
		}
		l.heads[strings.TrimSuffix(string(lt.head), "\n")] = lt
		l.sum.Tables[lt.key] = 0
	}
	return l, nil
}

// load reads a dump to its end. Rows that were read before an error may be committed.
func (l *loader) load(ctx context.Context, r io.Reader) error {
	l.lines = newLines(r)
	defer func() { l.sum.Bytes = l.end }()
	if err := l.first(); err != nil {
		return err
	}
	for !l.done {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.next(); err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(l.line, []byte(dumpLast)):
			if err := l.trailer(); err != nil {
				return err
			}
		case len(l.line) == 0, bytes.HasPrefix(l.line, []byte("-- ")):
		case strings.Contains(dumpSettings, string(l.line)+"\n"):
		default:
			t := l.heads[string(l.line)]
			if t == nil {
				return l.bad("", "neither a comment nor an INSERT into a table of this mailbox with the columns in the order of a dump")
			}
			if err := l.rows(ctx, t); err != nil {
				return err
			}
		}
	}
	if err := l.next(); !errors.Is(err, ErrTruncated) {
		if err == nil {
			err = l.bad("", "text behind the closing line")
		}
		return err
	}
	return l.flush()
}

// rows reads the rows of one INSERT.
func (l *loader) rows(ctx context.Context, t *loadTable) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.next(); err != nil {
			return err
		}
		end := len(l.line) - 1
		if end < 0 || l.line[end] != ',' && l.line[end] != ';' {
			return l.bad(t.name, "a row without the comma or semicolon behind it")
		}
		row := l.line[:end]
		odd := oddEscape(row)
		if why := l.check(t, row, &odd); why != "" {
			return l.bad(t.name, why)
		}
		if err := l.add(t, row[1:len(row)-1], odd); err != nil {
			return err
		}
		if l.line[end] == ';' {
			return nil
		}
	}
}

// check reads one row, and says why it must not be loaded, and whether LOAD DATA would read a value in another way than INSERT.
func (l *loader) check(t *loadTable, row []byte, odd *bool) string {
	return literals(row, t.columns, func(i int, value []byte) string {
		if len(value) > 2 && value[1] == 'x' && value[0] == '0' {
			*odd = true
		}
		switch i {
		case 0:
			if string(unquoted(value)) != l.id {
				return "a row of another mailbox id"
			}
		case t.locator:
			is := func(locator string) bool { return string(unquoted(value)) == locator }
			if string(value) != "NULL" && !slices.ContainsFunc(l.locators, is) {
				return "a locator that is none of the destination's volumes"
			}
		}
		return ""
	})
}

// literals calls f with each value of a row, and says why it is no row of so many literals, or what f says.
func literals(row []byte, columns int, f func(i int, value []byte) (why string)) string {
	if !utf8.Valid(row) {
		return "a row is not UTF-8"
	}
	if len(row) < 2 || row[0] != '(' {
		return "a row does not begin with a parenthesis"
	}
	rest := row[1:]
	for i := range columns {
		n := literalLen(rest)
		if n <= 0 || n >= len(rest) {
			return "a value is not a literal"
		}
		value, after := rest[:n], rest[n]
		rest = rest[n+1:]
		if last := i == columns-1; last && after != ')' || !last && after != ',' {
			return "a row has not one value for each column"
		}
		if why := f(i, value); why != "" {
			return why
		}
	}
	if len(rest) > 0 {
		return "text behind a row"
	}
	return ""
}

// unquoted is a short literal without quotes; only what has no escapes is of interest.
func unquoted(value []byte) []byte {
	if n := len(value); n >= 2 && value[0] == '\'' {
		value = value[1 : n-1]
	}
	return value
}

// literalLen is the length of the literal that b begins with, 0 where there is none: NULL, a decimal number, a hexadecimal one, or a
// string with backslash escapes or doubled quotes.
func literalLen(b []byte) int {
	digits := func(i int, hex bool) int {
		for i < len(b) && (b[i] >= '0' && b[i] <= '9' || hex && (b[i] >= 'a' && b[i] <= 'f' || b[i] >= 'A' && b[i] <= 'F')) {
			i++
		}
		return i
	}
	switch {
	case len(b) == 0:
		return 0
	case b[0] == '\'':
		return stringLen(b)
	case b[0] == 'N':
		if bytes.HasPrefix(b, []byte("NULL")) {
			return 4
		}
		return 0
	case b[0] == '0' && len(b) > 1 && b[1] == 'x':
		if n := digits(2, true); n > 2 && n%2 == 0 {
			return n
		}
		return 0
	}
	start := 0
	if b[0] == '-' {
		start = 1
	}
	n := digits(start, false)
	if n == start {
		return 0
	}
	if n < len(b) && b[n] == '.' {
		frac := digits(n+1, false)
		if frac == n+1 {
			return 0
		}
		n = frac
	}
	return n
}

// stringLen is the length of the string literal that b begins with, 0 where it has no end.
func stringLen(b []byte) int {
	for i, quote := 1, 0; i < len(b); {
		if quote < i {
			n := bytes.IndexByte(b[i:], '\'')
			if n < 0 {
				return 0
			}
			quote = i + n
		}
		switch n := bytes.IndexByte(b[i:quote], '\\'); {
		case n >= 0:
			i += n + 2
		case quote+1 < len(b) && b[quote+1] == '\'':
			i = quote + 2
		default:
			return quote + 1
		}
	}
	return 0
}

// oddEscape says whether a row has a backslash before something before which LOAD DATA understands it in another way.
func oddEscape(row []byte) bool {
	for {
		i := bytes.IndexByte(row, '\\')
		if i < 0 || i+1 == len(row) {
			return i >= 0
		}
		switch row[i+1] {
		case '0', 'n', 'r', 'Z', '"', '\'', '\\':
			row = row[i+2:]
		default:
			return true
		}
	}
}

// add puts a row's values into the batch, and hands the batch over when it is full.
func (l *loader) add(t *loadTable, values []byte, odd bool) error {
	size := len(values) + len("(),\n")
	if len(t.head)+size > l.limit {
		return l.bad(t.name, "a row of "+strconv.Itoa(len(values))+" bytes does not fit into the destination's max_allowed_packet")
	}
	if l.b.rows > 0 && (l.b.rows >= batchRows || l.b.bytes+size > batchBytes) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if n := len(l.b.parts); n == 0 || l.b.parts[n-1].t != t {
		l.b.parts = append(l.b.parts, part{t: t, from: len(l.b.text)})
	}
	l.b.room(size)
	l.b.text = append(append(l.b.text, values...), '\n')
	p := &l.b.parts[len(l.b.parts)-1]
	p.to = len(l.b.text)
	p.rows++
	p.odd = p.odd || odd || t.insert
	l.b.rows++
	l.b.bytes += size
	l.sum.Rows++
	l.sum.Tables[t.key]++
	return nil
}

func (l *loader) flush() error {
	if l.b.rows == 0 {
		return nil
	}
	if err := l.commit(&l.b); err != nil {
		return err
	}
	l.b = batch{text: l.b.text[:0]}
	return nil
}

// trailer compares the closing line's numbers of rows with what was read.
func (l *loader) trailer() error {
	var t dumpTrailer
	if err := json.Unmarshal(l.line[len(dumpLast):], &t); err != nil || t.Version != dumpFormat {
		return l.bad("", "the closing line is not one of this package's")
	}
	for _, lt := range l.heads {
		if n, ok := t.Tables[lt.key]; !ok || n != l.sum.Tables[lt.key] {
			return l.bad(lt.name, fmt.Sprintf("%d rows, and %d in the closing line", l.sum.Tables[lt.key], n))
		}
	}
	if len(t.Tables) != len(l.heads) {
		return l.bad("", "the closing line counts other tables")
	}
	l.done = true
	return nil
}
