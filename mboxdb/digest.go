package mboxdb

import (
	"bytes"
	"context"
	"crypto/sha1"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
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
}

// digest is that of all of a table's rows.
func (s side) digest(ctx context.Context, t Table, skip []string) (digest, error) {
	cells, err := s.digests(ctx, t, skip, 0, nil)
	if err != nil || len(cells) == 0 {
		return digest{}, err
	}
	return cells[0].digest, nil
}

// spansPerStatement bounds a statement's length, and how many ranges its optimizer looks at.
const spansPerStatement = 400

// digests are those of a table's rows by cell, in the order of their numbers; cells without rows are left out. The server makes a digest of
// each row, here they are added up. Width 0 makes one cell of everything. No spans: all rows.
func (s side) digests(ctx context.Context, t Table, skip []string, width int64, spans []span) ([]cell, error) {
	f := fold{width: width}
	long := 0
	var number, hash sql.RawBytes
	dest := []any{&number, &hash}
	for part := range pieces(spans, spansPerStatement) {
		err := each(ctx, s.q, sqlHashes(t, s.group, s.id, skip, s.locators, part), nil, func(rows *sql.Rows) error {
			if err := rows.Scan(dest...); err != nil {
				return err
			}
			if hash == nil {
				long++
				return nil
			}
			n, ok := parseNumber(number)
			d, valid := parseHash(hash)
			if !ok || !valid {
				return errNoDigest
			}
			f.add(n, d)
			return nil
		})
		if err == nil && long > 0 {
			err = fmt.Errorf("%d rows are longer than max_allowed_packet", long)
		}
		if err != nil {
			return nil, fmt.Errorf("digest of %s: %w", t.in(s.group), err)
		}
	}
	return gathered(f.cells), nil
}

// A fold adds up rows by cell.
type fold struct {
	width int64
	cells []cell
	full  int // number of cells at which those of one number are added up
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
		f.full = max(2*len(f.cells), 1<<14)
	}
	f.cells = append(f.cells, cell{n, d})
}

// parseHash reads a SHA-1 in hexadecimal: the digest of one row.
func parseHash(text []byte) (digest, bool) {
	var b [sha1.Size]byte
	if len(text) != 2*len(b) {
		return digest{}, false
	}
	if _, err := hex.Decode(b[:], text); err != nil {
		return digest{}, false
	}
	high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[len(b)-8:])
	return digest{rows: 1, highSum: high, highXor: high, lowSum: low, lowXor: low}, true
}

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
