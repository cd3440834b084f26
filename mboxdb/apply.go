package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Applied counts what was done at the destination.
type Applied struct {
	Summary       // rows written
	Deleted int64 `json:"deleted"` // rows
}

// Apply makes the rows that d names equal to the source's: it deletes them at the destination, reads them at the source, and sends them through
// Rewrite as Load does. A small difference is one transaction. A larger one is several: first every row that d names is deleted, so that no row
// that is still to go stands in the way of one with the same name or the same message, then the rows are written. Every table is treated for
// itself; nothing relies on the server's own cascades, which do not run in these sessions.
//
// Apply may be repeated with the same d. After an error some of d may have been applied; another Diff says what is left. In a mailbox that is in
// use a row may have come to stand in another one's way since Diff; then the server's error 1062 ends Apply, and Presync is the one to call.
// Errors are those of Load, *ForeignWriterError excepted, which Diff alone returns.
func (c *Copy) Apply(ctx context.Context, d *Difference) (Applied, error) {
	a, err := c.apply(ctx, d, nil)
	if err != nil {
		return a, fmt.Errorf("apply: %w", err)
	}
	return a, nil
}

// A batch of cells of one table, whole buckets as far as they differ.
type cellBatch struct {
	t              *tableDiff
	cells          []*cellDiff
	insert, delete int64
}

// batches cuts the difference into pieces of about that many rows, in the order of the tables.
func (d *Difference) batches(rows int64) []cellBatch {
	var out []cellBatch
	for _, t := range d.tables {
		var b cellBatch
		for i, c := range t.cells {
			if i > 0 && t.bucketOf(c.n) != t.bucketOf(t.cells[i-1].n) && b.insert+b.delete >= rows {
				out, b = append(out, b), cellBatch{}
			}
			b.t, b.cells, b.insert, b.delete = t, append(b.cells, c), b.insert+c.insert, b.delete+c.delete
		}
		if b.t != nil {
			out = append(out, b)
		}
	}
	return out
}

// ids are the rows of a batch; nil: the whole table.
func (b cellBatch) ids() []span {
	var out []span
	for _, c := range b.cells {
		for _, s := range c.ids {
			out = joined(out, s)
		}
	}
	return out
}

// An applier is one run of Apply.
type applier struct {
	*Copy
	d *Difference

	mu       sync.Mutex
	done     Applied
	rows     int64 // for Progress
	tolerate func(error) bool
}

// apply leaves out batches whose error tolerate takes; nil takes none.
func (c *Copy) apply(ctx context.Context, d *Difference, tolerate func(error) bool) (Applied, error) {
	a := &applier{Copy: c, d: d, tolerate: tolerate, done: Applied{Summary: Summary{Tables: map[string]int64{}}}}
	if d.to != c.to.ID || d.from != c.from.ID {
		return a.done, errors.New("the difference is not of this copy")
	}
	s, err := c.dst.write(ctx)
	if err != nil {
		return a.done, err
	}
	defer s.close()
	if err := c.checkVolumes(ctx, s); err != nil {
		return a.done, err
	}
	batches := d.batches(c.sizes.write)
	if d.Rows() <= c.sizes.atOnce {
		err = a.atOnce(ctx, s, batches)
	} else {
		err = a.inPieces(ctx, s, batches)
	}
	if err == nil {
		err = a.settle(ctx, s)
	}
	return a.done, err
}

// atOnce applies everything in one transaction. With nothing to do it still looks whether the claim stands.
func (a *applier) atOnce(ctx context.Context, s *session, batches []cellBatch) error {
	return a.tolerated(a.transaction(ctx, s, batches, batches))
}

// inPieces deletes in one round of transactions and writes in another, several at a time.
func (a *applier) inPieces(ctx context.Context, s *session, batches []cellBatch) error {
	var stale []cellBatch
	for _, b := range slices.Backward(batches) { // children first
		if b.delete > 0 {
			stale = append(stale, b)
		}
	}
	err := a.each(ctx, s, stale, func(ctx context.Context, s *session, b cellBatch) error {
		return a.transaction(ctx, s, []cellBatch{b}, nil)
	})
	if err != nil {
		return err
	}
	return a.each(ctx, s, batches, func(ctx context.Context, s *session, b cellBatch) error {
		return a.tolerated(a.transaction(ctx, s, []cellBatch{b}, []cellBatch{b}))
	})
}

func (a *applier) tolerated(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && a.tolerate != nil && a.tolerate(err) {
		return nil
	}
	return err
}

// each has the batches worked off by as many workers as the copy has streams; first is the first one's session, which stays open.
func (a *applier) each(ctx context.Context, first *session, batches []cellBatch, f func(context.Context, *session, cellBatch) error) error {
	work := make(chan cellBatch, len(batches))
	for _, b := range batches {
		work <- b
	}
	close(work)
	g, ctx := errgroup.WithContext(ctx)
	for i := range min(a.streams(), len(batches)) {
		g.Go(func() error {
			s := first
			if i > 0 {
				var err error
				if s, err = a.dst.write(ctx); err != nil {
					return err
				}
				defer s.close()
			}
			for b := range work {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := f(ctx, s, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// transaction deletes the rows of some batches and writes those of others. What is deleted and not written is in flight.
func (a *applier) transaction(ctx context.Context, s *session, remove, write []cellBatch) error {
	var deleted int64
	var sum Summary
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := a.unpublished(ctx, tx, a.guard); err != nil {
			return err
		}
		var err error
		if deleted, err = a.remove(ctx, tx, remove); err != nil {
			return err
		}
		if len(write) == 0 {
			for _, b := range remove {
				if err := a.flight(ctx, tx, b); err != nil {
					return err
				}
			}
			return nil
		}
		if sum, err = a.write(ctx, tx, write); err != nil {
			return err
		}
		for _, b := range write {
			if err := a.landed(ctx, tx, b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done.Deleted += deleted
	a.done.Rows += sum.Rows
	a.done.Bytes += sum.Bytes
	for t, n := range sum.Tables {
		a.done.Tables[t] += n
	}
	a.rows += deleted + sum.Rows
	if a.opt.Progress != nil {
		a.opt.Progress(a.rows, max(a.d.Rows(), a.rows))
	}
	return nil
}

// remove deletes the rows of batches, children first.
func (a *applier) remove(ctx context.Context, tx querier, batches []cellBatch) (deleted int64, err error) {
	for _, b := range slices.Backward(batches) {
		t, ids := b.t.dst, b.ids()
		if t.bucket != "" && len(ids) == 0 {
			return 0, fmt.Errorf("delete from %s: no ids", t.in(a.to.Group)) // would be all of them
		}
		for part := range pieces(ids, spansPerStatement) {
			n, err := affect(ctx, tx, sqlDeleteSpans(t, a.to.Group, a.to.ID, part))
			if err != nil {
				return 0, fmt.Errorf("delete from %s: %w", t.in(a.to.Group), err)
			}
			deleted += n
		}
	}
	return deleted, nil
}

// write sends the source's rows of batches through Rewrite into the transaction.
func (a *applier) write(ctx context.Context, tx querier, batches []cellBatch) (Summary, error) {
	sel := selection{}
	var src, dst []Table
	for _, b := range batches {
		if _, ok := sel[b.t.src.String()]; !ok {
			src, dst = append(src, b.t.src), append(dst, b.t.dst)
		}
		sel[b.t.src.String()] = append(sel[b.t.src.String()], b.ids()...)
	}
	var sum Summary
	err := a.pipe(ctx, func(ctx context.Context, w io.Writer) error {
		s, err := a.src.open(ctx, sqlSession(a.src.opt.LockWait), sqlReadSnapshot)
		if err != nil {
			return err
		}
		defer s.close()
		_, err = dumpTables(ctx, s, w, a.from, src, sel, nil)
		return err
	}, func(ctx context.Context, r io.Reader) error {
		l, err := a.newLoader(ctx, tx, dst)
		if err != nil {
			return err
		}
		l.commit = func(b *batch) error { return b.insert(ctx, tx) }
		err = l.load(ctx, r)
		sum = l.sum
		return err
	})
	return sum, err
}

// flight notes that a batch's buckets are being rewritten.
func (a *applier) flight(ctx context.Context, tx querier, b cellBatch) error {
	if !a.d.ledger {
		return nil
	}
	buckets := map[int64]*digest{}
	for _, c := range b.cells {
		buckets[b.t.bucketOf(c.n)] = nil
	}
	return a.record(ctx, tx, b.t.dst.String(), buckets)
}

// landed notes what a transaction leaves in a batch's buckets: what Diff found in them, with the digests of the rows that differed replaced
// by what they are now. A table that is copied for the first time stays in flight until the next Diff, which digests everything anyway.
func (a *applier) landed(ctx context.Context, tx querier, b cellBatch) error {
	if b.t.unread {
		return a.flight(ctx, tx, b)
	}
	if !a.d.ledger {
		return nil
	}
	buckets := map[int64]*digest{}
	at := func(n int64) *digest {
		if buckets[n] == nil {
			d := b.t.buckets[n]
			buckets[n] = &d
		}
		return buckets[n]
	}
	for _, c := range b.cells {
		d := at(b.t.bucketOf(c.n))
		*d = d.minus(c.dst)
	}
	now, err := a.dest(tx).digests(ctx, b.t.dst, nil, b.t.width, b.ids())
	if err != nil {
		return err
	}
	for _, c := range now {
		d := at(b.t.bucketOf(c.n))
		*d = d.plus(c.digest)
	}
	return a.record(ctx, tx, b.t.dst.String(), buckets)
}

// settle puts down the buckets that were in flight and turned out to be as they should be.
func (a *applier) settle(ctx context.Context, s *session) error {
	if !a.d.ledger || !slices.ContainsFunc(a.d.tables, func(t *tableDiff) bool { return len(t.settled) > 0 }) {
		return nil
	}
	return s.inTx(ctx, func(tx *sql.Tx) error {
		if err := a.unpublished(ctx, tx, a.guard); err != nil {
			return err
		}
		for _, t := range a.d.tables {
			if len(t.settled) > 0 {
				if err := a.record(ctx, tx, t.dst.String(), t.settled); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
