package mboxdb

import (
	"bytes"
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
			var line sql.RawBytes
			if err := rows.Scan(&line); err != nil {
				return err
			}
			c, digested, err := parseCell(line)
			switch {
			case err != nil:
				return err
			case digested != c.rows:
				return fmt.Errorf("%d rows are longer than max_allowed_packet", c.rows-digested)
			case c.rows > 0:
				cells = append(cells, c)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("digest of %s: %w", t.in(s.group), err)
		}
	}
	return gathered(cells), nil
}

// parseCell reads a line of sqlDigests, and how many of its rows have a digest.
func parseCell(line []byte) (c cell, digested int64, err error) {
	var v [7]uint64
	rest := line
	for i := range v {
		word, after, more := bytes.Cut(rest, []byte(" "))
		if more != (i < len(v)-1) {
			return c, 0, errNoDigest
		}
		negative := i == 0 && len(word) > 1 && word[0] == '-'
		if negative {
			word = word[1:]
		}
		if v[i], err = modulo(word); err != nil {
			return c, 0, err
		}
		if negative {
			v[i] = -v[i]
		}
		rest = after
	}
	c.n, c.digest = int64(v[0]), digest{rows: int64(v[1]), highSum: v[3], highXor: v[4], lowSum: v[5], lowXor: v[6]}
	return c, int64(v[2]), nil
}

// modulo takes a decimal number to 64 bits.
func modulo(digits []byte) (uint64, error) {
	if len(digits) == 0 {
		return 0, errNoDigest
	}
	var n uint64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, errNoDigest
		}
		n = n*10 + uint64(d-'0') // what does not fit is what the modulus takes away
	}
	return n, nil
}

var errNoDigest = errors.New("the server's answer is no digest")

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
