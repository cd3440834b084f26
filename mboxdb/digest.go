package mboxdb

import (
	"context"
	"database/sql"
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

// digest has the server compute a table's digest.
func (s side) digest(ctx context.Context, t Table, skip []string) (digest, error) {
	cells, err := s.digests(ctx, t, skip, 0, nil)
	if err != nil || len(cells) == 0 {
		return digest{}, err
	}
	return cells[0].digest, nil
}

// spansPerStatement bounds a statement's length, and how many ranges its optimizer looks at.
const spansPerStatement = 400

// digests has the server compute the digests of a table's rows by cell, in the order of their numbers; cells without rows are left out. Width
// 0 makes one cell of everything. No spans: all rows.
func (s side) digests(ctx context.Context, t Table, skip []string, width int64, spans []span) ([]cell, error) {
	if t.bucket == "" {
		width = 0
	}
	var cells []cell
	for part := range pieces(spans, spansPerStatement) {
		err := each(ctx, s.q, sqlDigests(t, s.group, s.id, skip, s.locators, width, part), nil, func(rows *sql.Rows) error {
			var c cell
			var n sql.NullInt64
			var digested int64
			var high, low sql.RawBytes
			if err := rows.Scan(&n, &c.rows, &digested, &high, &c.highXor, &low, &c.lowXor); err != nil {
				return errors.New("a digest has an unexpected type")
			}
			if digested != c.rows {
				return fmt.Errorf("%d rows are longer than max_allowed_packet", c.rows-digested)
			}
			var err error
			if c.highSum, err = modulo(high); err == nil {
				c.lowSum, err = modulo(low)
			}
			if c.n = n.Int64; c.rows > 0 {
				cells = append(cells, c)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("digest of %s: %w", t.in(s.group), err)
		}
	}
	return gathered(cells), nil
}

// modulo takes a sum of 64-bit numbers back to 64 bits.
func modulo(sum []byte) (uint64, error) {
	if len(sum) == 0 {
		return 0, errNoSum
	}
	var n uint64
	for _, c := range sum {
		if c < '0' || c > '9' {
			return 0, errNoSum
		}
		n = n*10 + uint64(c-'0') // what does not fit is what the modulus takes away
	}
	return n, nil
}

var errNoSum = errors.New("the server's sum is no number")

const locatorColumn = "locator"

// hasLocator says whether the table's column of that name is a locator: in a table that is not known it may be anything.
func (t Table) hasLocator() bool {
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
