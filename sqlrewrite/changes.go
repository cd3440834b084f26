package sqlrewrite

import (
	"context"
	"errors"
	"io"
	"iter"
)

// A Change is one value, or one name of a database, that Rewrite replaces. Unlike errors it holds what stands in rows.
type Change struct {
	Offset         int64  // bytes of the input before it
	OldSQL, NewSQL string // as they stand in the input and in the output
	Table          string // as in SyntaxError; "" for the name of a database
	Column         string // as the rule spells it; "" for the name of a database
	Row            int64  // which of the table's rows in the input, counted from 1; 0 for the name of a database
	Old, New       string // as text
}

// Changes reads a dump as Rewrite does, writes nothing, and yields what Rewrite would replace, in the order of the input. An error, which is
// one that Rewrite would return, comes last. It is for tests and for looking before one leaps; every change costs memory.
func (r *Rewriter) Changes(ctx context.Context, src io.Reader) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		more := true
		_, err := r.rewrite(ctx, io.Discard, src, worthwhile(src), func(c Change) {
			if more = yield(c, nil); !more {
				panic(failure{errStopped})
			}
		})
		if err != nil && more {
			yield(Change{}, err)
		}
	}
}

var errStopped = errors.New("stopped")

// A tracer tells of changes; a nil tracer does not.
type tracer struct {
	yield func(Change)
	rows  map[string]int64 // by table, of which the current one is the last
}

func newTracer(yield func(Change)) *tracer {
	if yield == nil {
		return nil
	}
	return &tracer{yield, map[string]int64{}}
}

// text keeps a value that is about to be overwritten.
func (t *tracer) text(b []byte) string {
	if t == nil {
		return ""
	}
	return string(b)
}

// row counts a row.
func (t *tracer) row(table string) {
	if t != nil {
		t.rows[table]++
	}
}

// value tells of the value under tok, which has n bytes.
func (t *tracer) value(s *scanner, tg *target, n int, sql []byte, from, to string) {
	if t != nil {
		t.yield(Change{
			Offset: s.base + int64(s.tok), OldSQL: string(s.buf[s.tok : s.tok+n]), NewSQL: string(sql),
			Table: s.table, Column: s.rw.rules[tg.rule].Column.Column, Row: t.rows[s.table], Old: from, New: to,
		})
	}
}

// database tells of an edit in what is held back.
func (t *tracer) database(s *scanner, e edit) {
	if t != nil {
		t.yield(Change{Offset: e.from, OldSQL: string(s.buf[e.from-s.base : e.to-s.base]), NewSQL: e.text, Old: e.was, New: s.rw.databases[e.was]})
	}
}
