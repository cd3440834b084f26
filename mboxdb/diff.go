package mboxdb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/internal/backoff"
)

const (
	// rangeIDs is the grain at which ranges are cut: whole buckets.
	rangeIDs = 16 * bucketIDs
	// foreignBuckets is how many buckets a *ForeignWriterError names.
	foreignBuckets = 10
)

// A Difference says which rows of the mailbox group's tables differ between the two sides, as Diff found them. It holds ids and digests, and no
// rows.
type Difference struct {
	of     *Copy
	round  int
	tables []*tableDiff // parents before children
	ledger bool         // the copy remembers what it writes
	tried  bool         // Apply was called
}

// A tableDiff is what Diff found in one table.
type tableDiff struct {
	src, dst       Table
	srcSum, dstSum digest // of the whole table
	unread         bool   // the destination had no rows: the source's were counted and not digested
	counts         []cell // of the source's rows by bucket, where they were counted for the ranges; nil: not yet
	width          int64  // ids of a cell
	cells          []*cellDiff
	buckets        map[int64]digest  // of the destination: those with a cell that differs
	settled        map[int64]*digest // buckets in flight that are as they should be
}

// bucketOf is the bucket that a cell lies in.
func (t *tableDiff) bucketOf(n int64) int64 { return n / (bucketIDs / t.width) }

// spanOf are the ids of a cell.
func (t *tableDiff) spanOf(c *cellDiff) span {
	return span{spanOf(c.n, t.width).lo, spanOf(c.last, t.width).hi}
}

// A cellDiff is a cell that differs; or several of one bucket, side by side, that differ in all of their ids.
type cellDiff struct {
	n, last        int64
	src, dst       digest // of the rows that differ
	ids            []span // of rows that differ; nil in a table that is taken as a whole
	gone           []span // those that the destination has rows of; nil: the same
	insert, delete int64  // rows of those ids, at the source and at the destination
}

// A TableDifference names the rows of one table that differ.
type TableDifference struct {
	Table  string    // "mboxgroup.mail_item"
	IDs    []IDRange // in ascending order, of the column that Column names; nil: the table is taken as a whole
	Column string
	Insert int64 // rows that Apply will read at the source
	Delete int64 // rows that Apply will delete at the destination; many of them are among those it inserts
}

// An IDRange is a range of item ids, both ends included.
type IDRange struct{ From, To int64 }

// Empty says that nothing differs.
func (d *Difference) Empty() bool { return d.Rows() == 0 }

// Rows is how many rows Apply deletes and inserts.
func (d *Difference) Rows() (rows int64) {
	for _, t := range d.tables {
		for _, c := range t.cells {
			rows += c.insert + c.delete
		}
	}
	return rows
}

// Tables returns the tables that differ, parents before children.
func (d *Difference) Tables() []TableDifference {
	var out []TableDifference
	for _, t := range d.tables {
		if len(t.cells) == 0 {
			continue
		}
		td := TableDifference{Table: t.src.String(), Column: t.src.bucket}
		for _, c := range t.cells {
			td.Insert, td.Delete = td.Insert+c.insert, td.Delete+c.delete
			for _, s := range c.ids {
				td.IDs = append(td.IDs, IDRange{From: s.lo, To: s.hi})
			}
		}
		out = append(out, td)
	}
	return out
}

// Diff finds the rows of the group's tables that differ. Both servers digest their rows, at the same time, and the digests of each item's
// rows are compared. What it finds equal is proven equal, as long as neither side changes: Prove, after Apply, looks only at the rest.
// Where a mailbox is in use, rows that change meanwhile may be found or not.
//
// A *ForeignWriterError says that rows at the destination are not as this copy left them. Load, which removes everything under the reserved
// id, and Remove are the ways out. Diff itself changes nothing.
func (c *Copy) Diff(ctx context.Context) (*Difference, error) {
	d, err := c.diff(ctx)
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	return d, nil
}

// A differ is one run of Diff.
type differ struct {
	*Copy
	d      *Difference
	ledger ledger

	mu      sync.Mutex
	foreign []foreign
}

// A foreign bucket, and what lies there.
type foreign struct {
	t    *tableDiff
	n    int64
	left digest
	is   digest
}

// A unit is a range of one table's ids.
type unit struct {
	t *tableDiff
	span
}

// sides are sessions at both ends.
type sides struct {
	src, dst side
	texts    [2][]byte // of digests, as each was last asked for
	close    func()
}

func (c *Copy) open(ctx context.Context) (*sides, error) {
	a, err := c.src.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	b, err := c.dst.read(ctx)
	if err != nil {
		a.close()
		return nil, err
	}
	return &sides{src: c.source(a), dst: c.dest(b), close: func() { a.close(); b.close() }}, nil
}

// A reader has sessions at both ends, and opens others when one was lost.
type reader struct {
	*Copy
	s *sides
}

// do calls f, which must be repeatable, with the sessions.
func (r *reader) do(ctx context.Context, f func(s *sides) error) error {
	return backoff.Retry(ctx, backoff.Policy{}, func(err error) bool { return lost(err) || passes(err) }, func(ctx context.Context) error {
		if r.s == nil {
			var err error
			if r.s, err = r.open(ctx); err != nil {
				return err
			}
		}
		err := f(r.s)
		if err != nil {
			r.close()
		}
		return err
	})
}

func (r *reader) close() {
	if r.s != nil {
		r.s.close()
		r.s = nil
	}
}

// readers work side by side.
type readers []*reader

func (rs readers) close() {
	for _, r := range rs {
		r.close()
	}
}

// share calls f, which must be repeatable, for each of n pieces of work; each reader takes the next one when it has done one.
func (rs readers) share(ctx context.Context, n int, f func(ctx context.Context, s *sides, i int) error) error {
	var taken atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range rs {
		g.Go(func() error {
			for i := int(taken.Add(1)) - 1; i < n; i = int(taken.Add(1)) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := r.do(ctx, func(s *sides) error { return f(ctx, s, i) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// both runs f at both ends at the same time.
func (s *sides) both(ctx context.Context, src, dst func(ctx context.Context, s side) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := src(ctx, s.src); err != nil {
			return fmt.Errorf("source: %w", err)
		}
		return nil
	})
	g.Go(func() error { return dst(ctx, s.dst) })
	return g.Wait()
}

// current says whether d is what this copy found last.
func (c *Copy) current(d *Difference) error {
	if d.of != c || d.round != c.round {
		return errors.New("the difference is not of this copy, or the copy did something else since it was found")
	}
	return nil
}

// settled waits for transactions of this claim that nobody waits for any more, as after a connection that broke during a commit.
func (c *Copy) settled(ctx context.Context) error {
	return c.dst.writing(ctx, func(s *session) error {
		return s.inTx(ctx, func(tx *sql.Tx) error { return c.alone(ctx, tx) })
	})
}

// alone is settled within a transaction. Until that ends, however late its commit is, every other transaction that writes for the account waits: what
// a transaction publishes is seen by the next one that looks.
func (c *Copy) alone(ctx context.Context, tx querier) error {
	claim, err := c.opt.Claim.checked()
	if err == nil {
		_, err = fencedRow(ctx, tx, sqlMoveForUpdate, claim)
	}
	return err
}

func (c *Copy) diff(ctx context.Context) (*Difference, error) {
	var srcTables, dstTables []Table
	var unsettled error
	var g errgroup.Group
	g.SetLimit(c.streams())
	g.Go(func() error { unsettled = c.settled(ctx); return nil })
	g.Go(func() (err error) { srcTables, dstTables, err = c.tables(ctx); return err })
	if err := g.Wait(); unsettled != nil || err != nil {
		return nil, cmp.Or(unsettled, err)
	}
	c.round++
	df := &differ{Copy: c, d: &Difference{of: c, round: c.round}}
	for _, t := range only(srcTables, Table.inGroup) {
		i := slices.IndexFunc(dstTables, func(d Table) bool { return d.String() == t.String() })
		if t.bucket == "" || dstTables[i].bucket == "" {
			t.bucket, dstTables[i].bucket = "", ""
		}
		width := int64(1)
		if !t.ranged() {
			width = cellIDs
		}
		df.d.tables = append(df.d.tables, &tableDiff{src: t, dst: dstTables[i], width: width, buckets: map[int64]digest{}, settled: map[int64]*digest{}})
	}
	if err := df.compare(ctx, dstTables); err != nil {
		return nil, err
	}
	for _, t := range df.d.tables {
		slices.SortFunc(t.cells, func(a, b *cellDiff) int { return cmp.Compare(a.n, b.n) })
		df.missing(t)
	}
	if len(df.foreign) > 0 {
		return nil, df.foreigners(ctx)
	}
	return df.d, nil
}

// compare finds what differs in all tables.
func (df *differ) compare(ctx context.Context, dstTables []Table) error {
	rs := make(readers, df.streams())
	for i := range rs {
		rs[i] = &reader{Copy: df.Copy}
	}
	defer rs.close()
	units, err := df.units(ctx, rs, dstTables)
	if err != nil {
		return err
	}
	return rs.share(ctx, len(units), func(ctx context.Context, s *sides, i int) error { return df.compareRange(ctx, s, units[i]) })
}

// units reads what the work is made of: the ledger, which tables have rows at the destination, and the ranges of ids at the source.
func (df *differ) units(ctx context.Context, rs readers, dstTables []Table) ([]unit, error) {
	some := make([]bool, len(df.d.tables))
	spans := make([][]span, len(df.d.tables))
	err := rs.share(ctx, 1+len(df.d.tables), func(ctx context.Context, s *sides, i int) (err error) {
		if i == 0 {
			return s.both(ctx, func(ctx context.Context, s side) error {
				return present(ctx, s.q, df.from)
			}, func(ctx context.Context, s side) error {
				return df.written(ctx, s, dstTables, some)
			})
		}
		t := df.d.tables[i-1]
		if spans[i-1], t.counts, err = df.spans(ctx, s.src, t.src); err != nil {
			err = fmt.Errorf("source: %w", err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	df.d.ledger = df.ledger != nil
	if df.ranges == nil {
		df.ranges = map[string][]span{}
	}
	var units []unit
	for i, t := range df.d.tables {
		if t.src.ranged() {
			df.ranges[t.src.String()] = spans[i]
		}
		if t.unread = !some[i]; t.unread {
			t.width = bucketIDs           // nothing to look for within
			spans[i] = []span{everything} // and no digests: one look at all of it
		}
		for _, r := range spans[i] {
			units = append(units, unit{t, r})
		}
	}
	return units, nil
}

// written reads the ledger, and which tables have rows at the destination.
func (df *differ) written(ctx context.Context, s side, dstTables []Table, some []bool) (err error) {
	if df.ledger, err = df.readLedger(ctx, s.q, dstTables); err != nil {
		return err
	}
	var tables []Table
	for _, t := range df.d.tables {
		tables = append(tables, t.dst)
	}
	return each(ctx, s.q, sqlAny(tables, s.group, s.id), nil, func(rows *sql.Rows) error {
		var i int
		err := rows.Scan(&i)
		if err == nil {
			some[i] = true
		}
		return err
	})
}

// spans cuts a table's ids into ranges of about as many rows each. They are kept by units: nothing but the balance depends on them. If it had to count
// rows for them, it returns how many there are in each bucket.
func (c *Copy) spans(ctx context.Context, s side, t Table) (spans []span, counts []cell, err error) {
	if !t.ranged() {
		return []span{everything}, nil, nil
	}
	if r := c.ranges[t.String()]; r != nil {
		return r, nil, nil
	}
	if counts, err = s.census(ctx, t, bucketIDs); err != nil {
		return nil, nil, err
	}
	lo, rows := everything.lo, int64(0)
	for _, part := range coarser(counts, rangeIDs/bucketIDs) {
		if rows > 0 && rows+part.rows > c.sizes.digest {
			hi := spanOf(part.n, rangeIDs).lo
			spans, lo, rows = append(spans, span{lo, hi - 1}), hi, 0
		}
		rows += part.rows
	}
	return append(spans, span{lo, everything.hi}), counts, nil
}

// census counts a table's rows by cell.
func (s side) census(ctx context.Context, t Table, width int64) ([]cell, error) {
	if t.bucket == "" {
		var c cell
		err := scan(ctx, s.q, sqlCount(t, s.group, s.id), nil, &c.rows)
		if err != nil || c.rows == 0 {
			return nil, err
		}
		return []cell{c}, nil
	}
	var out []cell
	err := each(ctx, s.q, sqlCensus(t, s.group, s.id, width), nil, func(rows *sql.Rows) error {
		var c cell
		err := rows.Scan(&c.n, &c.rows)
		out = append(out, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", t.in(s.group), err)
	}
	return gathered(out), nil
}

// compareRange finds the differences in one range.
func (df *differ) compareRange(ctx context.Context, s *sides, u unit) error {
	c, err := df.compareDigests(ctx, s, u)
	if err != nil {
		return err
	}
	differ, err := df.narrow(ctx, s, u.t, c.differ)
	if err != nil {
		return err
	}
	df.mu.Lock()
	defer df.mu.Unlock()
	u.t.srcSum, u.t.dstSum = u.t.srcSum.plus(c.src), u.t.dstSum.plus(c.dst)
	u.t.cells = append(u.t.cells, differ...)
	for n := range c.touched {
		u.t.buckets[n] = c.buckets[n]
	}
	df.look(u.t, c.buckets, c.touched)
	return nil
}

// compareDigests compares the two sides' digests of one range; of a table that the destination has nothing of, numbers of rows.
func (df *differ) compareDigests(ctx context.Context, s *sides, u unit) (*comparison, error) {
	spans := []span{u.span}
	if u.t.unread { // the only unit of its table
		spans = nil
	} else if c, err := df.comparePacked(ctx, s, u); c != nil || err != nil {
		return c, err
	}
	var src, dst []cell
	err := s.both(ctx, func(ctx context.Context, s side) (err error) {
		switch {
		case !u.t.unread:
			src, err = s.digests(ctx, u.t.src, nil, u.t.width, spans)
		case u.t.counts != nil:
			src = u.t.counts
		default:
			src, err = s.census(ctx, u.t.src, u.t.width)
		}
		return err
	}, func(ctx context.Context, s side) (err error) {
		dst, err = s.digests(ctx, u.t.dst, nil, u.t.width, spans)
		return err
	})
	if err != nil {
		return nil, err
	}
	return compared(u.t, src, dst), nil
}

// comparePacked is compareDigests where both sides' digests come in one text each; nil where they do not.
func (df *differ) comparePacked(ctx context.Context, s *sides, u unit) (*comparison, error) {
	var whole [2]bool
	read := func(i int, t Table) func(context.Context, side) error {
		return func(ctx context.Context, of side) (err error) {
			s.texts[i], whole[i], err = of.packed(ctx, t, nil, []span{u.span}, s.texts[i])
			return err
		}
	}
	if err := s.both(ctx, read(0, u.t.src), read(1, u.t.dst)); err != nil || !whole[0] || !whole[1] {
		return nil, err
	}
	c := newComparison(u.t)
	ordered, err := sideBySide(s.texts[0], s.texts[1], u.t.width, c.add)
	if err != nil {
		return nil, fmt.Errorf("digest of %s: %w", u.t.src, err)
	}
	if ordered {
		c.end()
		return c, nil
	}
	var folds [2]fold
	for i := range folds {
		folds[i].width = u.t.width
		if err := folds[i].text(s.texts[i]); err != nil {
			return nil, fmt.Errorf("digest of %s: %w", u.t.src, err)
		}
	}
	return compared(u.t, gathered(folds[0].cells), gathered(folds[1].cells)), nil
}

// compared compares cells that lie in order.
func compared(t *tableDiff, src, dst []cell) *comparison {
	c := newComparison(t)
	for n, d := range merge(src, dst) {
		c.add(n, d)
	}
	c.end()
	return c
}

// A comparison takes the cells of one range, in the order of their numbers.
type comparison struct {
	t        *tableDiff
	src, dst digest // of all rows
	differ   []*cellDiff
	touched  map[int64]bool   // buckets with a cell that differs
	buckets  map[int64]digest // of the destination

	bucket int64     // the one under way
	is     digest    // of the destination's rows in it
	before *cellDiff // the cell before the next one, if it differs
}

func newComparison(t *tableDiff) *comparison {
	return &comparison{t: t, touched: map[int64]bool{}, buckets: map[int64]digest{}}
}

func (c *comparison) add(n int64, d [2]digest) {
	c.src = c.src.plus(d[0])
	b := c.t.bucketOf(n)
	if b != c.bucket {
		c.end()
		c.bucket = b
	}
	c.is = c.is.plus(d[1])
	if d[0] == d[1] {
		c.before = nil
		return
	}
	c.touched[b] = true
	before := c.before
	wholly := c.t.width == 1 || before != nil && before.dst.rows == 0 && d[1].rows == 0
	if before != nil && wholly && c.t.bucketOf(before.n) == b {
		before.last, before.src, before.dst = n, before.src.plus(d[0]), before.dst.plus(d[1])
		switch {
		case d[1].rows == 0:
		case before.gone == nil:
			before.gone = []span{{n, n}}
		default:
			before.gone[0].hi = n
		}
		return
	}
	c.before = &cellDiff{n: n, last: n, src: d[0], dst: d[1]}
	if c.t.width == 1 && d[1].rows > 0 {
		c.before.gone = []span{{n, n}}
	}
	c.differ = append(c.differ, c.before)
}

// end ends a bucket.
func (c *comparison) end() {
	if c.is.rows > 0 {
		c.buckets[c.bucket] = c.is
	}
	c.dst, c.is = c.dst.plus(c.is), digest{}
}

// narrow finds which ids of the cells differ.
func (df *differ) narrow(ctx context.Context, s *sides, t *tableDiff, cells []*cellDiff) ([]*cellDiff, error) {
	byNumber := map[int64]*cellDiff{}
	var look []span
	for _, c := range cells {
		whole := t.spanOf(c)
		switch {
		case t.src.bucket == "":
			c.insert, c.delete = c.src.rows, c.dst.rows
		case t.width == 1 || c.src.rows == 0 || c.dst.rows == 0:
			c.ids, c.insert, c.delete = []span{whole}, c.src.rows, c.dst.rows
		default:
			byNumber[c.n] = c
			c.src, c.dst = digest{}, digest{} // what narrow is about to find
			look = append(look, whole)
		}
	}
	for spans := range slices.Chunk(look, spansPerStatement) {
		var src, dst []cell
		err := s.both(ctx, func(ctx context.Context, s side) error {
			var err error
			src, err = s.digests(ctx, t.src, nil, 1, spans)
			return err
		}, func(ctx context.Context, s side) error {
			var err error
			dst, err = s.digests(ctx, t.dst, nil, 1, spans)
			return err
		})
		if err != nil {
			return nil, err
		}
		var last *cellDiff // whose last span may grow: the row before this one differs
		for id, d := range merge(src, dst) {
			if d[0] == d[1] {
				last = nil
				continue
			}
			c := byNumber[id/t.width]
			if c == nil {
				return nil, errors.New("a digest of an id that was not asked for")
			}
			c.src, c.dst = c.src.plus(d[0]), c.dst.plus(d[1])
			c.insert, c.delete = c.insert+d[0].rows, c.delete+d[1].rows
			if last == c {
				c.ids[len(c.ids)-1].hi = id
			} else {
				c.ids = append(c.ids, span{id, id})
			}
			last = c
		}
	}
	// One that has become equal between the two readings differs no more.
	return slices.DeleteFunc(cells, func(c *cellDiff) bool { return t.src.bucket != "" && len(c.ids) == 0 }), nil
}

// look compares buckets with what the copy left in them.
func (df *differ) look(t *tableDiff, buckets map[int64]digest, touched map[int64]bool) {
	if df.ledger == nil {
		return
	}
	left := df.ledger[t.src.String()]
	for n, is := range buckets {
		e := left[n]
		switch {
		case e == nil:
			df.foreign = append(df.foreign, foreign{t: t, n: n, is: is})
			continue
		case e.flight && !touched[n]:
			t.settled[n] = &is
		case !e.flight && e.digest != is:
			df.foreign = append(df.foreign, foreign{t: t, n: n, left: e.digest, is: is})
		}
		e.seen = true
	}
}

// missing looks for buckets that the copy left and that have no rows any more.
func (df *differ) missing(t *tableDiff) {
	for n, e := range df.ledger[t.src.String()] {
		switch {
		case e.seen:
		case e.flight:
			if !slices.ContainsFunc(t.cells, func(c *cellDiff) bool { return t.bucketOf(c.n) == n }) {
				t.settled[n] = &digest{}
			}
		default:
			df.foreign = append(df.foreign, foreign{t: t, n: n, left: e.digest})
		}
	}
}

// foreigners names what somebody else wrote.
func (df *differ) foreigners(ctx context.Context) error {
	slices.SortFunc(df.foreign, func(a, b foreign) int {
		if a.t != b.t {
			return slices.Index(df.d.tables, a.t) - slices.Index(df.d.tables, b.t)
		}
		return cmp.Compare(a.n, b.n)
	})
	e := &ForeignWriterError{More: len(df.foreign) > foreignBuckets}
	for _, f := range df.foreign[:min(len(df.foreign), foreignBuckets)] {
		b := ForeignBucket{Table: f.t.src.String(), Left: f.left.rows, Is: f.is.rows}
		var spans []span
		if f.t.src.bucket != "" {
			s := spanOf(f.n, bucketIDs)
			b.From, b.To, spans = max(s.lo, 0), s.hi, []span{s}
			if f.n < 0 {
				b.From = s.lo
			}
		}
		m, err := df.differing(ctx, f.t.src, f.t.dst, digest{}, digest{}, spans)
		if err != nil {
			return errors.Join(e, err)
		}
		b.Keys = m.Keys
		e.Buckets = append(e.Buckets, b)
	}
	return e
}
