package mboxdb

import (
	"bytes"
	"context"
	"crypto/sha1"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A TableProof says that one table's rows are equal on both sides, through the map.
type TableProof struct {
	Table  string `json:"table"` // "mboxgroup.mail_item"
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"` // hexadecimal, the same on both sides
}

// A digest of a table's rows, as the package comment describes it. Equal tables have equal ones, in whatever order their rows lie.
type digest struct {
	rows                             int64
	highSum, highXor, lowSum, lowXor uint64
}

func (d digest) String() string {
	return fmt.Sprintf("%016x%016x%016x%016x", d.highSum, d.highXor, d.lowSum, d.lowXor)
}

// plus and minus add a digest's rows, and take them away again.
func (d digest) plus(o digest) digest {
	return digest{d.rows + o.rows, d.highSum + o.highSum, d.highXor ^ o.highXor, d.lowSum + o.lowSum, d.lowXor ^ o.lowXor}
}

func (d digest) minus(o digest) digest {
	return digest{d.rows - o.rows, d.highSum - o.highSum, d.highXor ^ o.highXor, d.lowSum - o.lowSum, d.lowXor ^ o.lowXor}
}

// A side is one end of a copy.
type side struct {
	q        querier
	id       MailboxID
	group    int
	locators map[VolumeID]VolumeID // at the source; the destination's are as they should be
	long     *tableSet             // where packed digests were too long
}

// digest is that of all of a table's rows.
func (s side) digest(ctx context.Context, t Table, skip []string) (digest, error) {
	cells, err := s.digests(ctx, t, skip, 0, nil)
	if err != nil || len(cells) == 0 {
		return digest{}, err
	}
	return cells[0].digest, nil
}

const (
	// spansPerStatement bounds a statement's length, and how many ranges its optimizer looks at.
	spansPerStatement = 400
	// packed is how many bytes of digests the server may put into one answer: those of a few ten thousand rows.
	packed = 2 << 20
)

// digests are those of a table's rows by cell, in the order of their numbers; cells without rows are left out. The server makes a digest of
// each row, here they are added up. Width 0 makes one cell of everything. No spans: all rows.
func (s side) digests(ctx context.Context, t Table, skip []string, width int64, spans []span) ([]cell, error) {
	f := fold{width: width}
	var memory []byte
	for part := range pieces(spans, spansPerStatement) {
		text, ok, err := s.packed(ctx, t, skip, part, memory)
		if err != nil {
			return nil, err
		}
		if ok {
			memory, err = text, f.text(text)
		} else {
			err = s.stream(ctx, sqlHashes(t, s.group, s.id, skip, s.locators, part), &f)
		}
		if err != nil {
			return nil, fmt.Errorf("digest of %s: %w", t.in(s.group), err)
		}
	}
	return gathered(f.cells), nil
}

// packed reads digests that come in one text, each row's id before its own and a semicolon behind it, which costs this end less than half of what
// rows do. The text lies in memory if that is large enough. Not ok: it did not come whole, as is to be expected of so many rows.
func (s side) packed(ctx context.Context, t Table, skip []string, spans []span, memory []byte) (text []byte, ok bool, err error) {
	if len(spans) == 0 || s.long.has(t) {
		return nil, false, nil
	}
	var count int
	var answer sql.RawBytes
	err = each(ctx, s.q, sqlPackedHashes(t, s.group, s.id, skip, s.locators, spans), nil, func(rows *sql.Rows) error {
		if err := rows.Scan(&count, &answer); err != nil {
			return errNoDigest // Scan's own text quotes the value
		}
		ok = bytes.Count(answer, []byte{';'}) == count && (count == 0 || answer[len(answer)-1] == ';')
		text = append(memory[:0], answer...)
		return nil
	})
	if serverError(err, 1260) { // the text was cut
		err, ok = nil, false
	}
	if err != nil {
		return nil, false, fmt.Errorf("digest of %s: %w", t.in(s.group), err)
	}
	if !ok {
		s.long.add(t)
	}
	return text, ok, nil
}

// stream reads a digest a row.
func (s side) stream(ctx context.Context, stmt string, f *fold) error {
	long := 0
	var number, hash sql.RawBytes
	dest := []any{&number, &hash}
	err := each(ctx, s.q, stmt, nil, func(rows *sql.Rows) error {
		if err := rows.Scan(dest...); err != nil {
			return errNoDigest
		}
		if hash == nil {
			long++
			return nil
		}
		return f.row(number, hash)
	})
	if err == nil && long > 0 {
		err = fmt.Errorf("%d rows are longer than max_allowed_packet", long)
	}
	return err
}

// A tableSet is a set of tables that many goroutines may use.
type tableSet struct{ m sync.Map }

func (l *tableSet) has(t Table) bool { _, ok := l.m.Load(t.String()); return ok }
func (l *tableSet) add(t Table)      { l.m.Store(t.String(), nil) }

// A fold adds up rows by cell.
type fold struct {
	width int64
	cells []cell
	full  int // number of cells at which those of one number are added up
}

// text adds rows that came in one text.
func (f *fold) text(text []byte) error {
	f.cells = slices.Grow(f.cells, bytes.Count(text, []byte{';'}))
	for len(text) > 0 {
		n, d, rest, err := packedRow(text)
		if err != nil {
			return err
		}
		f.add(n, d)
		text = rest
	}
	return nil
}

// packedRow reads the first row of such a text.
func packedRow(text []byte) (n int64, d digest, rest []byte, err error) {
	row, rest, _ := bytes.Cut(text, []byte{';'})
	at := max(len(row)-hashDigits, 0)
	n, d, err = parseRow(row[:at], row[at:])
	return n, d, rest, err
}

func parseRow(number, hash []byte) (int64, digest, error) {
	n, ok := parseNumber(number)
	d, valid := parseHash(hash)
	if !ok || !valid {
		return 0, digest{}, errNoDigest
	}
	return n, d, nil
}

// row adds a row as the server writes it.
func (f *fold) row(number, hash []byte) error {
	n, d, err := parseRow(number, hash)
	if err == nil {
		f.add(n, d)
	}
	return err
}

func (f *fold) add(n int64, d digest) {
	if f.width > 0 {
		n /= f.width
	} else {
		n = 0
	}
	if last := len(f.cells) - 1; last >= 0 && f.cells[last].n == n {
		f.cells[last].digest = f.cells[last].plus(d)
		return
	}
	if len(f.cells) >= f.full {
		f.cells = gathered(f.cells)
		f.full = max(2*len(f.cells), 1<<16)
	}
	f.cells = append(f.cells, cell{n, d})
}

const hashDigits = 2 * sha1.Size

// parseHash reads a SHA-1 in hexadecimal: the digest of one row. Of its 20 bytes the first eight and the last eight count.
func parseHash(text []byte) (digest, bool) {
	if len(text) != hashDigits {
		return digest{}, false
	}
	high, a := parseHex(text[:16])
	_, b := parseHex(text[16:24])
	low, c := parseHex(text[24:])
	return digest{rows: 1, highSum: high, highXor: high, lowSum: low, lowXor: low}, a && b && c
}

// parseHex reads up to 16 hexadecimal digits. Package hex takes twice as long, and every row of a mailbox comes by here in the lock.
func parseHex(text []byte) (n uint64, ok bool) {
	var all byte
	for _, c := range text {
		d := nibbles[c]
		all |= d
		n = n<<4 | uint64(d)
	}
	return n, all < 16
}

var nibbles = func() (d [256]byte) {
	for i := range d {
		d[i] = 0xff
	}
	for i, c := range "0123456789abcdef" {
		d[c] = byte(i)
	}
	for i, c := range "ABCDEF" {
		d[c] = byte(10 + i)
	}
	return d
}()

// parseNumber reads a whole number.
func parseNumber(text []byte) (int64, bool) {
	digits, negative := bytes.CutPrefix(text, []byte("-"))
	if len(digits) == 0 || len(digits) > 18 { // which always fits
		return 0, false
	}
	var n int64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = 10*n + int64(d-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

var errNoDigest = errors.New("the server's answer is no digest")

const locatorColumn = "locator"

// HasLocator says whether the table has a column locator that names a volume, and so differs between stores. In a table that is not known a
// column of that name may be anything.
func (t Table) HasLocator() bool {
	return t.inGroup() && knownTable(t.Database, t.Name) >= 0 && t.column(locatorColumn) != nil
}

// keyColumns are the columns of the key without the mailbox id.
func (t Table) keyColumns() []Column {
	var out []Column
	for _, name := range t.Key {
		if c := t.column(name); c != nil && !strings.EqualFold(name, t.idColumn()) {
			out = append(out, *c)
		}
	}
	return out
}
