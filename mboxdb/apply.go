package mboxdb

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/internal/backoff"
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
// Apply may be repeated with the same d, as long as the copy has done nothing else since. After an error some of d may have been applied; another
// Diff says what is left. In a mailbox that is in use a row may have come to stand in another one's way since Diff; then the server's error 1062
// ends Apply, and Presync is the one to call. Errors are those of Load and Diff: rows that are to go and that are not as Diff saw them are a
// *ForeignWriterError.
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

// gone are the ids that the destination has rows of which have to go; nil: the whole table.
func (b cellBatch) gone() []span {
	var out []span
	for _, c := range b.cells {
		spans := c.gone
		if spans == nil {
			spans = c.ids
		}
		if c.delete == 0 {
			spans = nil
		}
		for _, s := range spans {
			out = joined(out, s)
		}
	}
	return out
}

// A stage is what a transaction does with its batches.
type stage int

const (
	replacing stage = iota // deletes and writes
	deleting               // the first of two: deletes
	inserting              // the second: writes
)

// An applier is one run of Apply.
type applier struct {
	*Copy
	d     *Difference
	again bool // some of it may have been applied already

	mu       sync.Mutex
	done     Applied
	rows     int64 // for Progress
	tolerate func(error) bool
}

// apply leaves out batches whose error tolerate takes; nil takes none.
func (c *Copy) apply(ctx context.Context, d *Difference, tolerate func(error) bool) (Applied, error) {
	a := &applier{Copy: c, d: d, tolerate: tolerate, again: d.tried, done: Applied{Summary: Summary{Tables: map[string]int64{}}}}
	if err := c.current(d); err != nil {
		return a.done, err
	}
	d.tried = true
	if err := c.dst.writing(ctx, func(s *session) error { return c.checkVolumes(ctx, s) }); err != nil {
		return a.done, err
	}
	batches := d.batches(c.sizes.write)
	var err error
	if d.Rows() <= c.sizes.atOnce { // with nothing to do it still looks whether the claim stands
		w := &worker{applier: a}
		err = a.tolerated(w.transaction(ctx, batches, replacing))
		w.close()
	} else {
		err = a.inPieces(ctx, batches)
	}
	if err == nil {
		err = a.settle(ctx)
	}
	return a.done, err
}

// inPieces deletes in one round of transactions and writes in another, several at a time.
func (a *applier) inPieces(ctx context.Context, batches []cellBatch) error {
	var stale []cellBatch
	for _, b := range slices.Backward(batches) { // children first
		if b.delete > 0 || a.again {
			stale = append(stale, b)
		}
	}
	if err := a.each(ctx, stale, deleting); err != nil {
		return err
	}
	return a.each(ctx, batches, inserting)
}

func (a *applier) tolerated(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && a.tolerate != nil && a.tolerate(err) {
		return nil
	}
	return err
}

// each has the batches worked off by as many workers as the copy has streams.
func (a *applier) each(ctx context.Context, batches []cellBatch, st stage) error {
	q := newQueue(batches, min(a.streams(), len(batches)))
	g, ctx := errgroup.WithContext(ctx)
	for i := range q.stretches {
		g.Go(func() error {
			w := &worker{applier: a}
			defer w.close()
			for b, ok := q.next(i); ok; b, ok = q.next(i) {
				if err := ctx.Err(); err != nil {
					return err
				}
				err := w.transaction(ctx, []cellBatch{b}, st)
				if st == inserting {
					err = a.tolerated(err)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// A queue has a stretch of the batches for each worker. Two that write next to each other in the same indexes take pages from one another.
type queue struct {
	mu        sync.Mutex
	stretches [][]cellBatch
}

// newQueue makes stretches of about as many rows each.
func newQueue(batches []cellBatch, stretches int) *queue {
	q := &queue{stretches: make([][]cellBatch, stretches)}
	var all, before int64
	for _, b := range batches {
		all += b.insert + b.delete
	}
	for _, b := range batches {
		i := min(int(before*int64(stretches)/max(all, 1)), stretches-1)
		q.stretches[i] = append(q.stretches[i], b)
		before += b.insert + b.delete
	}
	return q
}

// next takes a batch from a worker's stretch, and from the others' when that is done.
func (q *queue) next(worker int) (b cellBatch, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.stretches {
		if s := &q.stretches[(worker+i)%len(q.stretches)]; len(*s) > 0 {
			b, *s = (*s)[0], (*s)[1:]
			return b, true
		}
	}
	return b, false
}

// A worker does one transaction after the other. It keeps its sessions: opening two of them costs about as much as writing some hundred rows.
type worker struct {
	*applier
	in, out *session // at the source and at the destination; nil: none yet, or it was lost
	memory  []byte   // for a loader's batches
}

// do calls f, which must be repeatable, with a session that can write, and with a new one when that one is lost.
func (w *worker) do(ctx context.Context, f func(s *session) error) error {
	return backoff.Retry(ctx, backoff.Policy{}, lost, func(ctx context.Context) (err error) {
		if w.out == nil {
			if w.out, err = w.dst.write(ctx); err != nil {
				return err
			}
		}
		if err = f(w.out); err != nil {
			w.close()
		}
		return err
	})
}

func (w *worker) close() {
	for _, s := range []*session{w.in, w.out} {
		if s != nil {
			s.close()
		}
	}
	w.in, w.out = nil, nil
}

// transaction treats some batches.
func (w *worker) transaction(ctx context.Context, batches []cellBatch, st stage) error {
	a := w.applier
	var deleted int64
	var sum Summary
	again := a.again
	err := w.do(ctx, func(s *session) error {
		err := s.inTx(ctx, func(tx *sql.Tx) error {
			deleted, sum = 0, Summary{}
			if err := a.unpublished(ctx, tx, a.guard); err != nil {
				return err
			}
			remove := func() (err error) {
				if st != inserting || again {
					deleted, err = a.remove(ctx, tx, batches, again)
				}
				return err
			}
			if st == deleting {
				if err := remove(); err != nil {
					return err
				}
				return a.mark(ctx, tx, batches, func(b cellBatch) ([]mark, error) { return a.flight(b), nil })
			}
			if len(batches) == 0 {
				return nil
			}
			var err error
			if sum, err = w.write(ctx, tx, batches, remove); err != nil {
				return err
			}
			return a.mark(ctx, tx, batches, func(b cellBatch) ([]mark, error) { return a.landed(ctx, tx, b) })
		})
		again = true // the commit may have come through
		return err
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

// mark has the ledger say of each batch what of says, if there is a ledger.
func (a *applier) mark(ctx context.Context, tx querier, batches []cellBatch, of func(cellBatch) ([]mark, error)) error {
	if !a.d.ledger {
		return nil
	}
	var all []mark
	for _, b := range batches {
		m, err := of(b)
		if err != nil {
			return err
		}
		all = append(all, m...)
	}
	return a.record(ctx, tx, all)
}

// remove deletes the rows of batches, children first: those that Diff saw, which must be there as it saw them; or again, whatever is there.
func (a *applier) remove(ctx context.Context, tx querier, batches []cellBatch, again bool) (deleted int64, err error) {
	for _, b := range slices.Backward(batches) {
		t, spans := b.t.dst, b.gone()
		switch {
		case again:
			spans = b.ids()
		case b.delete == 0: // and a range that ends behind the mailbox's last row would wait for the next mailbox's first
			continue
		}
		if t.bucket != "" && len(spans) == 0 {
			return 0, fmt.Errorf("delete from %s: no ids", t.in(a.to.Group)) // would be all of them
		}
		if !again {
			if err := a.unchanged(ctx, tx, b, spans); err != nil {
				return 0, err
			}
		}
		for part := range pieces(spans, spansPerStatement) {
			n, err := emptied(ctx, tx, t, a.to.Group, a.to.ID, part)
			if err != nil {
				return 0, fmt.Errorf("delete from %s: %w", t.in(a.to.Group), err)
			}
			deleted += n
		}
	}
	return deleted, nil
}

// unchanged compares what a batch is about to delete with what Diff saw there: what somebody else wrote since is not ours to delete.
func (a *applier) unchanged(ctx context.Context, tx querier, b cellBatch, spans []span) error {
	var left, is digest
	for _, c := range b.cells {
		left = left.plus(c.dst)
	}
	cells, err := a.dest(tx).digests(ctx, b.t.dst, nil, 0, spans)
	if err != nil {
		return err
	}
	for _, c := range cells {
		is = is.plus(c.digest)
	}
	if is == left {
		return nil
	}
	bucket := ForeignBucket{Table: b.t.src.String(), Left: left.rows, Is: is.rows}
	if len(spans) > 0 {
		bucket.From, bucket.To = spans[0].lo, spans[len(spans)-1].hi
	}
	return &ForeignWriterError{Buckets: []ForeignBucket{bucket}}
}

// write sends the source's rows of batches through Rewrite into the transaction, after remove. What the source has to do for that it does while the
// destination removes.
func (w *worker) write(ctx context.Context, tx querier, batches []cellBatch, remove func() error) (Summary, error) {
	a := w.applier
	sel := selection{}
	var src, dst []Table
	for _, b := range batches {
		if _, ok := sel[b.t.src.String()]; !ok {
			src, dst = append(src, b.t.src), append(dst, b.t.dst)
		}
		sel[b.t.src.String()] = append(sel[b.t.src.String()], b.ids()...)
	}
	var sum Summary
	var removed error
	err := a.pipe(ctx, func(ctx context.Context, to io.Writer) error {
		if w.in == nil {
			var err error
			if w.in, err = a.src.snapshot(ctx); err != nil {
				return err
			}
		}
		if _, err := dumpTables(ctx, w.in, to, a.from, src, sel, nil); err != nil {
			return err
		}
		return exec(ctx, w.in, sqlRollback) // which ends the snapshot
	}, func(ctx context.Context, r io.Reader) error {
		if removed = remove(); removed != nil {
			return removed
		}
		l, err := a.newLoader(ctx, tx, dst)
		if err != nil {
			return err
		}
		l.b.text = w.memory[:0]
		l.commit = func(b *batch) error { return l.insert(ctx, tx, b) }
		err = l.load(ctx, r)
		sum, w.memory = l.sum, l.b.text
		return err
	})
	if err != nil && w.in != nil { // whatever was being read there: the transaction may be tried again
		w.in.close()
		w.in = nil
	}
	if removed != nil {
		err = removed
	}
	return sum, err
}

// flight notes that a batch's buckets are being rewritten.
func (a *applier) flight(b cellBatch) []mark {
	buckets := map[int64]*digest{}
	for _, c := range b.cells {
		buckets[b.t.bucketOf(c.n)] = nil
	}
	return marks(b.t.dst.String(), buckets)
}

// landed notes what a transaction leaves in a batch's buckets: what Diff found in them, with the digests of the rows that differed replaced
// by what they are now. A table that is copied for the first time stays in flight until the next Diff, which digests everything anyway.
func (a *applier) landed(ctx context.Context, tx querier, b cellBatch) ([]mark, error) {
	if b.t.unread {
		return a.flight(b), nil
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
		return nil, err
	}
	for _, c := range now {
		d := at(b.t.bucketOf(c.n))
		*d = d.plus(c.digest)
	}
	return marks(b.t.dst.String(), buckets), nil
}

// settle puts down the buckets that were in flight and turned out to be as they should be.
func (a *applier) settle(ctx context.Context) error {
	if !a.d.ledger || !slices.ContainsFunc(a.d.tables, func(t *tableDiff) bool { return len(t.settled) > 0 }) {
		return nil
	}
	return a.dst.writing(ctx, func(s *session) error {
		return s.inTx(ctx, func(tx *sql.Tx) error {
			if err := a.unpublished(ctx, tx, a.guard); err != nil {
				return err
			}
			var settled []mark
			for _, t := range a.d.tables {
				settled = append(settled, marks(t.dst.String(), t.settled)...)
			}
			return a.record(ctx, tx, settled)
		})
	})
}
