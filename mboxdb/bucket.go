package mboxdb

import (
	"bytes"
	"cmp"
	"iter"
	"math"
	"slices"
)

const (
	// cellIDs is how many ids share a digest where a table has no index on them, so that all of it is one piece of work whatever its size.
	// Few, because every row of a cell that differs is looked at once more, and changes lie scattered.
	cellIDs = 32
	// bucketIDs is how many ids share a digest in what a copy remembers of its writing.
	bucketIDs = 1024
)

// A span is a range of ids, both ends included.
type span struct{ lo, hi int64 }

var everything = span{math.MinInt64, math.MaxInt64}

// A cell is the digest of the rows whose id, divided by the width of a cell, gives n. Of a table that is taken as a whole it is cell 0.
type cell struct {
	n int64
	digest
}

// spanOf are the ids of cell n. Division rounds towards zero, so that cell 0 reaches to both sides of it.
func spanOf(n, width int64) span {
	switch {
	case n < 0:
		return span{n*width - width + 1, n * width}
	case n == 0:
		return span{-width + 1, width - 1}
	}
	return span{n * width, n*width + width - 1}
}

// coarser adds up cells, which lie in order, to cells that are so many times as wide.
func coarser(cells []cell, times int64) []cell {
	var out []cell
	for _, c := range cells {
		c.n /= times
		if n := len(out); n > 0 && out[n-1].n == c.n {
			out[n-1].digest = out[n-1].plus(c.digest)
			continue
		}
		out = append(out, c)
	}
	return out
}

// joined appends a span to those before it, to the last one where it goes on.
func joined(spans []span, s span) []span {
	if n := len(spans); n > 0 && spans[n-1].hi+1 == s.lo {
		spans[n-1].hi = s.hi
		return spans
	}
	return append(spans, s)
}

// gathered sorts cells and adds up those of one number.
func gathered(cells []cell) []cell {
	i := 1
	for i < len(cells) && cells[i-1].n < cells[i].n {
		i++
	}
	if i >= len(cells) { // as a server that reads an index sends them
		return cells
	}
	slices.SortFunc(cells, func(a, b cell) int { return cmp.Compare(a.n, b.n) })
	out := cells[:0]
	for _, c := range cells {
		if n := len(out); n > 0 && out[n-1].n == c.n {
			out[n-1].digest = out[n-1].plus(c.digest)
			continue
		}
		out = append(out, c)
	}
	return out
}

// merge walks two sorted lists of cells side by side: those of one number together, the zero digest where one side has none.
func merge(a, b []cell) iter.Seq2[int64, [2]digest] {
	return func(yield func(int64, [2]digest) bool) {
		for len(a) > 0 || len(b) > 0 {
			var n int64
			var d [2]digest
			switch {
			case len(b) == 0 || len(a) > 0 && a[0].n < b[0].n:
				n, d[0], a = a[0].n, a[0].digest, a[1:]
			case len(a) == 0 || b[0].n < a[0].n:
				n, d[1], b = b[0].n, b[0].digest, b[1:]
			default:
				n, d, a, b = a[0].n, [2]digest{a[0].digest, b[0].digest}, a[1:], b[1:]
			}
			if !yield(n, d) {
				return
			}
		}
	}
}

// sideBySide walks two texts of packed digests that are in the order of their ids, cell by cell as merge does. A row that is the same on both sides,
// as nearly all are, is read once. When it finds a text out of order it stops and says so; what it yielded is worth nothing then.
func sideBySide(a, b []byte, width int64, yield func(n int64, d [2]digest)) (ordered bool, err error) {
	var cell int64
	var d [2]digest
	reach := func(id int64) bool {
		n := id / width
		if n == cell {
			return true
		}
		if d[0].rows+d[1].rows > 0 {
			if n < cell {
				return false
			}
			yield(cell, d)
		}
		cell, d = n, [2]digest{}
		return true
	}
	for len(a) > 0 || len(b) > 0 {
		if row := a[:bytes.IndexByte(a, ';')+1]; len(row) > 0 && bytes.HasPrefix(b, row) {
			id, is, _, err := packedRow(row)
			if err != nil {
				return false, err
			}
			if !reach(id) {
				return false, nil
			}
			d[0], d[1] = d[0].plus(is), d[1].plus(is)
			a, b = a[len(row):], b[len(row):]
			continue
		}
		id := [2]int64{math.MaxInt64, math.MaxInt64}
		var is [2]digest
		var rest [2][]byte
		for i, text := range [2][]byte{a, b} {
			if len(text) == 0 {
				continue
			}
			if id[i], is[i], rest[i], err = packedRow(text); err != nil {
				return false, err
			}
		}
		if !reach(min(id[0], id[1])) {
			return false, nil
		}
		if id[0] <= id[1] {
			a, d[0] = rest[0], d[0].plus(is[0])
		}
		if id[1] <= id[0] {
			b, d[1] = rest[1], d[1].plus(is[1])
		}
	}
	if d[0].rows+d[1].rows > 0 {
		yield(cell, d)
	}
	return true, nil
}

// pieces cuts a list into pieces of at most n; an empty list is one empty piece.
func pieces[T any](list []T, n int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		if len(list) == 0 {
			yield(nil)
			return
		}
		for part := range slices.Chunk(list, n) {
			if !yield(part) {
				return
			}
		}
	}
}

// ranged says whether an index leads to the rows of a range of ids: otherwise every range would read all of the mailbox's rows.
func (t Table) ranged() bool { return t.rangeIndex() != "" }

// rangeIndex is the name of that index, "" if there is none.
func (t Table) rangeIndex() (name string) {
	for _, x := range t.indexes {
		if t.bucket != "" && len(x.columns) >= 2 && x.columns[0] == t.idColumn() && x.columns[1] == t.bucket && (name == "" || x.name == "PRIMARY") {
			name = x.name
		}
	}
	return name
}
