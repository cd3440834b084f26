package mboxdb

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Prove proves that the group's tables are equal on both sides after d was applied: what Diff found equal was proven then, and the digests of
// the rows that differed are compared again. That holds if neither side changed since Diff began, other than by Apply; where one may have,
// Verify looks at everything. It does not count rows that refer to nothing, as Verify does: equal tables have equal references. It looks for
// rows under the reserved id where none may be.
//
// What is wrong is a *MismatchError. Prove changes nothing.
func (c *Copy) Prove(ctx context.Context, d *Difference) ([]TableProof, error) {
	proofs, err := c.proveDifference(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	return proofs, nil
}

func (c *Copy) proveDifference(ctx context.Context, d *Difference) ([]TableProof, error) {
	if err := c.current(d); err != nil {
		return nil, err
	}
	mismatch := &MismatchError{Orphans: map[string]int64{}}
	var proofs []TableProof
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.streams())
	g.Go(func() (err error) { mismatch.Strays, err = c.strays(gctx); return err })
	g.Go(func() (err error) { proofs, mismatch.Tables, err = c.proveTables(gctx, d); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(mismatch.Tables)+len(mismatch.Strays) > 0 {
		return nil, mismatch
	}
	return proofs, nil
}

// proveTables compares the rows that differed once more.
func (c *Copy) proveTables(ctx context.Context, d *Difference) (proofs []TableProof, wrong []TableMismatch, err error) {
	r := &reader{Copy: c}
	defer r.close()
	err = r.do(ctx, func(s *sides) error {
		if err := present(ctx, s.src.q, c.from); err != nil {
			return fmt.Errorf("source: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range d.tables {
		var src, dst digest
		var spans []span
		err := r.do(ctx, func(s *sides) (err error) { src, dst, spans, err = t.again(ctx, s); return err })
		if err != nil {
			return nil, nil, err
		}
		if src == dst && len(spans) == 0 {
			proofs = append(proofs, TableProof{Table: t.src.String(), Rows: src.rows, Digest: src.String()})
			continue
		}
		if t.src.bucket == "" || len(spans) == 0 {
			spans = nil // somewhere
		}
		m, err := c.differing(ctx, t.src, t.dst, src, dst, spans)
		if err != nil {
			return nil, nil, err
		}
		wrong = append(wrong, m)
	}
	return proofs, wrong, nil
}

// again digests the rows that differed once more, and returns both sides' digests of the whole table and the cells that differ now.
func (t *tableDiff) again(ctx context.Context, s *sides) (srcSum, dstSum digest, differ []span, err error) {
	srcSum, dstSum = t.srcSum, t.dstSum
	if len(t.cells) == 0 {
		return srcSum, dstSum, nil, nil
	}
	for _, c := range t.cells {
		srcSum, dstSum = srcSum.minus(c.src), dstSum.minus(c.dst)
	}
	var src, dst []cell
	spans := cellBatch{t: t, cells: t.cells}.ids()
	err = s.both(ctx, func(ctx context.Context, s side) error {
		var err error
		src, err = s.digests(ctx, t.src, nil, t.width, spans)
		return err
	}, func(ctx context.Context, s side) error {
		var err error
		dst, err = s.digests(ctx, t.dst, nil, t.width, spans)
		return err
	})
	if err != nil {
		return srcSum, dstSum, nil, err
	}
	for n, d := range merge(src, dst) {
		srcSum, dstSum = srcSum.plus(d[0]), dstSum.plus(d[1])
		if d[0] != d[1] {
			differ = append(differ, spanOf(n, t.width))
		}
	}
	return srcSum, dstSum, differ, nil
}
