package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// mismatchKeys is how many differing rows of a table are named.
const mismatchKeys = 10

// Verify proves the loaded rows: every table of the group by digest on both sides, through the map. It also counts rows whose foreign key
// refers to nothing, of which the destination may have no more than the source, as no key was checked when they were written; and rows
// under the reserved id where none may be before Publish. What is wrong is a *MismatchError, which names the first rows of each table. It
// changes nothing; both sides must be quiet meanwhile.
func (c *Copy) Verify(ctx context.Context) ([]TableProof, error) {
	proofs, err := c.verify(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return proofs, nil
}

func (c *Copy) verify(ctx context.Context) ([]TableProof, error) {
	srcTables, dstTables, err := c.tables(ctx)
	if err != nil {
		return nil, err
	}
	srcTables, dstTables = only(srcTables, Table.inGroup), only(dstTables, Table.inGroup)
	var src, dst sideProof
	// Each side at its own pace: a session that waits for the other one is idle, and idle ones are closed.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.prove(gctx, c.src, c.source, srcTables, &src) })
	g.Go(func() error { return c.prove(gctx, c.dst, c.dest, dstTables, &dst) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	mismatch := &MismatchError{Orphans: map[string]int64{}, Strays: map[string]int64{}}
	var proofs []TableProof
	for i, t := range srcTables {
		j := slices.IndexFunc(dstTables, func(d Table) bool { return d.String() == t.String() })
		a, b := src.digests[i], dst.digests[j]
		if a == b {
			proofs = append(proofs, TableProof{Table: t.String(), Rows: a.rows, Digest: a.String()})
			continue
		}
		m, err := c.differing(ctx, t, dstTables[j], a, b, nil)
		if err != nil {
			return nil, err
		}
		mismatch.Tables = append(mismatch.Tables, m)
	}
	for fk, n := range dst.orphans {
		if n > src.orphans[fk] {
			mismatch.Orphans[fk] = n
		}
	}
	if mismatch.Strays, err = c.strays(ctx); err != nil {
		return nil, err
	}
	if len(mismatch.Tables)+len(mismatch.Orphans)+len(mismatch.Strays) > 0 {
		return nil, mismatch
	}
	return proofs, nil
}

func (c *Copy) source(q querier) side {
	return side{q: q, id: c.from.ID, group: c.from.Group, locators: c.opt.Volumes, long: &c.long}
}

func (c *Copy) dest(q querier) side { return side{q: q, id: c.to.ID, group: c.to.Group, long: &c.long} }

// A sideProof is what one side says about itself.
type sideProof struct {
	digests []digest // by table
	orphans map[string]int64
}

func (c *Copy) prove(ctx context.Context, d *DB, of func(querier) side, tables []Table, out *sideProof) error {
	s, err := d.read(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	sd := of(s)
	if d == c.src {
		if err := present(ctx, s, c.from); err != nil {
			return fmt.Errorf("source: %w", err)
		}
	}
	out.orphans = map[string]int64{}
	for _, t := range tables {
		dig, err := sd.digest(ctx, t, nil)
		if err != nil {
			return err
		}
		out.digests = append(out.digests, dig)
		for _, fk := range t.ForeignKeys {
			parent := slices.IndexFunc(tables, func(p Table) bool { return p.String() == fk.Table })
			if parent < 0 { // zimbra.mailbox: its row comes last
				continue
			}
			var n int64
			if err := scan(ctx, s, sqlOrphans(t, tables[parent], fk, sd.group, sd.id), nil, &n); err != nil {
				return fmt.Errorf("orphans in %s: %w", t.in(sd.group), err)
			}
			if n > 0 {
				out.orphans[t.String()+"("+strings.Join(fk.Columns, ",")+")"] = n
			}
		}
	}
	return nil
}

// strays counts rows under the reserved id where none may be: in tables that are not moved, and in those of zimbra unless the copy is
// published.
func (c *Copy) strays(ctx context.Context) (out map[string]int64, err error) {
	err = c.dst.reading(ctx, func(s *session) error {
		out, err = c.straysIn(ctx, s)
		return err
	})
	return out, err
}

func (c *Copy) straysIn(ctx context.Context, s *session) (map[string]int64, error) {
	published, err := c.published(ctx, s)
	if err != nil {
		return nil, err
	}
	tables, err := c.dst.classified(ctx, s, c.to.Group, columnsOf)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, t := range tables {
		if t.Moved() && (t.inGroup() || published) || isDeletedAccount(t) {
			continue
		}
		var n int64
		if err := scan(ctx, s, sqlCountInLock(t, c.to.Group, c.to.ID), nil, &n); err != nil {
			return nil, fmt.Errorf("count %s: %w", t.in(c.to.Group), err)
		}
		if n > 0 {
			out[t.in(c.to.Group)] = n
		}
	}
	return out, nil
}

// isDeletedAccount: its rows are about mailboxes that are gone.
func isDeletedAccount(t Table) bool { return t.inZimbra() && t.Name == "deleted_account" }

// differing names the first rows that differ, by reading the digests of both sides' rows side by side: all rows, or those of the spans.
func (c *Copy) differing(ctx context.Context, srcTable, dstTable Table, src, dst digest, spans []span) (TableMismatch, error) {
	a, err := c.src.read(ctx)
	if err != nil {
		return TableMismatch{}, err
	}
	defer a.close()
	b, err := c.dst.read(ctx)
	if err != nil {
		return TableMismatch{}, err
	}
	defer b.close()
	// Ending the queries ends the sessions. Without that, closing would read the rest of a large table.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return differing(ctx, c.source(a), c.dest(b), srcTable, dstTable, src, dst, spans, cancel)
}

// differing calls enough when it will read no more.
func differing(ctx context.Context, a, b side, srcTable, dstTable Table, src, dst digest, spans []span, enough func()) (TableMismatch, error) {
	m := TableMismatch{Table: srcTable.String(), Source: src.rows, Dest: dst.rows}
	ra, err := a.rowDigests(ctx, srcTable, spans)
	if err != nil {
		return m, err
	}
	defer ra.close(enough)
	rb, err := b.rowDigests(ctx, dstTable, spans)
	if err != nil {
		return m, err
	}
	defer rb.close(enough)
	for okA, okB := ra.next(), rb.next(); okA || okB; {
		order := -1
		switch {
		case !okA:
			order = 1
		case okB:
			order = slices.CompareFunc(ra.key, rb.key, keyPart.compare)
		}
		if order != 0 || ra.digest != rb.digest {
			if len(m.Keys) == mismatchKeys {
				m.More = true
				break
			}
			k := KeyMismatch{Key: ra.name(), Kind: "different"}
			switch {
			case order < 0:
				k.Kind = "missing"
			case order > 0:
				k = KeyMismatch{Key: rb.name(), Kind: "extra"}
			}
			m.Keys = append(m.Keys, k)
		}
		if order <= 0 {
			okA = ra.next()
		}
		if order >= 0 {
			okB = rb.next()
		}
	}
	return m, errors.Join(ra.err, rb.err)
}

// A keyPart is one column's value: a number, or the hexadecimal form of something else.
type keyPart struct {
	number *big.Int
	hex    string
	shown  string
}

func (k keyPart) compare(o keyPart) int {
	if k.number != nil && o.number != nil {
		return k.number.Cmp(o.number)
	}
	return strings.Compare(k.hex, o.hex)
}

// rowDigests reads a table's row digests in the order of the key.
type rowDigests struct {
	rows    *sql.Rows
	columns []Column // of the key; none: the digest is the key
	key     []keyPart
	digest  string
	err     error
}

func (s side) rowDigests(ctx context.Context, t Table, spans []span) (*rowDigests, error) {
	rows, err := s.q.QueryContext(ctx, sqlRowDigests(t, s.group, s.id, s.locators, spans))
	if err != nil {
		return nil, fmt.Errorf("row digests of %s: %w", t.in(s.group), clean(err))
	}
	return &rowDigests{rows: rows, columns: t.keyColumns()}, nil
}

func (r *rowDigests) close(enough func()) {
	enough()
	_ = r.rows.Close()
}

// next reads a row. After false err says whether that was the end.
func (r *rowDigests) next() bool {
	if r.err != nil {
		return false
	}
	if !r.rows.Next() {
		r.err = clean(r.rows.Err())
		return false
	}
	values := make([]string, 0, 2*len(r.columns)+1)
	var dest []any
	for _, c := range r.columns {
		n := 2
		if c.kind == number {
			n = 1
		}
		for range n {
			values = append(values, "")
			dest = append(dest, &values[len(values)-1])
		}
	}
	var digest sql.NullString
	if err := r.rows.Scan(append(dest, &digest)...); err != nil {
		r.err = errors.New("a key has an unexpected type")
		return false
	}
	r.key, r.digest = r.key[:0], digest.String
	for _, c := range r.columns {
		if c.kind == number {
			n, ok := new(big.Int).SetString(values[0], 10)
			if !ok {
				r.err = errors.New("a key is no whole number")
				return false
			}
			r.key = append(r.key, keyPart{number: n, shown: c.Name + "=" + values[0]})
			values = values[1:]
			continue
		}
		r.key = append(r.key, keyPart{hex: values[0], shown: "md5(" + c.Name + ")=" + values[1]})
		values = values[2:]
	}
	if len(r.columns) == 0 {
		r.key = append(r.key, keyPart{hex: r.digest, shown: "digest=" + r.digest})
	}
	return true
}

// name is how an error names the row.
func (r *rowDigests) name() string {
	parts := make([]string, len(r.key))
	for i, k := range r.key {
		parts[i] = k.shown
	}
	return strings.Join(parts, ",")
}
