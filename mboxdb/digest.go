package mboxdb

import (
	"context"
	"fmt"
	"math/big"
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

// A side is one end of a copy.
type side struct {
	q        querier
	id       MailboxID
	group    int
	locators map[VolumeID]VolumeID // at the source; the destination's are as they should be
}

// digest has the server compute a table's digest.
func (s side) digest(ctx context.Context, t Table, skip []string) (digest, error) {
	var d digest
	var digested int64
	var high, low string
	err := scan(ctx, s.q, sqlDigest(t, s.group, s.id, skip, s.locators), nil, &d.rows, &digested, &high, &d.highXor, &low, &d.lowXor)
	if err != nil {
		return digest{}, fmt.Errorf("digest of %s: %w", t.in(s.group), err)
	}
	if digested != d.rows {
		return digest{}, fmt.Errorf("digest of %s: %d rows are longer than max_allowed_packet", t.in(s.group), d.rows-digested)
	}
	if d.highSum, err = modulo(high); err == nil {
		d.lowSum, err = modulo(low)
	}
	return d, err
}

// modulo takes a sum of 64-bit numbers back to 64 bits.
func modulo(sum string) (uint64, error) {
	n, ok := new(big.Int).SetString(sum, 10)
	if !ok {
		return 0, fmt.Errorf("the server's sum %q is no number", sum)
	}
	return n.And(n, new(big.Int).SetUint64(1<<64-1)).Uint64(), nil
}

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
