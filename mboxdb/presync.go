package mboxdb

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

const (
	presyncPasses = 10
	presyncFew    = 1000 // rows of a pass after which another one is not worth while
	presyncStuck  = 3    // passes that met a conflict one after the other: it is none that goes away
)

// Presynced counts what Presync did.
type Presynced struct {
	Applied
	Passes int   `json:"passes"`
	Last   int64 `json:"last"` // rows that the last pass deleted and wrote: about what the user changes meanwhile
}

// Presync copies the group's rows while the mailbox is in use, in passes of Diff and Apply, until a pass finds little or no less than the one
// before. The first one copies everything. Nothing is consistent yet: every transaction reads a range of ids as it is at that moment. What
// differs when the mailbox is locked, another Diff and Apply find, and Prove proves.
//
// It may be repeated after any error and after any kill, and goes on where it was. If the copy does not remember what lies under the reserved
// id, as after Load, it removes that first and begins anew. Errors are those of Load and Diff.
func (c *Copy) Presync(ctx context.Context) (Presynced, error) {
	p := Presynced{Applied: Applied{Summary: Summary{Tables: map[string]int64{}}}}
	if err := c.presync(ctx, &p); err != nil {
		return p, fmt.Errorf("presync: %w", err)
	}
	return p, nil
}

func (c *Copy) presync(ctx context.Context, p *Presynced) error {
	if err := c.beginLedger(ctx); err != nil {
		return err
	}
	for stuck := 0; ; {
		d, err := c.diff(ctx)
		if err != nil {
			return err
		}
		// A row that has come to stand in another one's way since Diff is gone, or has gone over itself, when the next pass looks.
		var conflict error
		a, err := c.apply(ctx, d, func(err error) bool {
			if !serverError(err, 1062) {
				return false
			}
			conflict = err
			return true
		})
		p.Passes++
		p.Rows, p.Bytes, p.Deleted = p.Rows+a.Rows, p.Bytes+a.Bytes, p.Deleted+a.Deleted
		for t, n := range a.Tables {
			p.Tables[t] += n
		}
		if err != nil {
			return err
		}
		if stuck++; conflict == nil {
			stuck = 0
		}
		before := p.Last
		p.Last = a.Rows + a.Deleted
		switch {
		case conflict != nil && (stuck == presyncStuck || p.Passes >= presyncPasses):
			return conflict
		case conflict != nil, d.first() && p.Passes < presyncPasses: // the next pass looks at what this one wrote
		case p.Passes >= presyncPasses, p.Last <= presyncFew, p.Passes > 1 && p.Last >= before:
			return nil
		}
	}
}

// first says whether a table was copied for the first time.
func (d *Difference) first() bool {
	return slices.ContainsFunc(d.tables, func(t *tableDiff) bool { return t.unread && len(t.cells) > 0 })
}

// beginLedger makes sure that the copy remembers what it writes.
func (c *Copy) beginLedger(ctx context.Context) error {
	_, tables, err := c.tables(ctx)
	if err != nil {
		return err
	}
	var known ledger
	err = c.dst.reading(ctx, func(s *session) error {
		known, err = c.readLedger(ctx, s, tables)
		return err
	})
	if err != nil || known != nil {
		return err
	}
	if err := c.clear(ctx, only(tables, Table.inGroup), c.guard); err != nil {
		return err
	}
	return c.dst.writing(ctx, func(s *session) error {
		return s.inTx(ctx, func(tx *sql.Tx) error {
			if err := c.unpublished(ctx, tx, c.guard); err != nil {
				return err
			}
			return c.begin(ctx, tx, tables)
		})
	})
}
