package mboxverify

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A pair is one table on both sides.
type pair struct {
	sel       selected
	src, dst  func() (*stream, error)
	translate map[int]func(value []byte) (to []byte, ok bool) // by column: what a source's value must be at the destination; not ok: nothing is
	same      map[int]func(src, dst []byte) bool              // by column: instead of equality
	out       Table
	most      int // rows to name
}

// open begins a reading of both sides.
func (p *pair) open() (src, dst *stream, err error) {
	if src, err = p.src(); err != nil {
		return nil, nil, fmt.Errorf("source: %w", err)
	}
	if dst, err = p.dst(); err != nil {
		src.close()
		return nil, nil, fmt.Errorf("destination: %w", err)
	}
	return src, dst, nil
}

// merge walks through both sides in the order of the key. That servers keep to the order is checked: an order that Go takes for another one
// would name rows that do not differ. Rows are compared one to one in any case, so it could not hide one that does.
func (p *pair) merge() error {
	src, dst, err := p.open()
	if err != nil {
		return err
	}
	defer src.close()
	defer dst.close()
	a, b := &sorted{stream: src, sel: p.sel, at: "source"}, &sorted{stream: dst, sel: p.sel, at: "destination"}
	for errA, errB := a.next(), b.next(); ; {
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
		order := 0
		switch {
		case !a.ok && !b.ok:
			p.out.Source, p.out.Dest = src.n, dst.n
			return nil
		case !b.ok:
			order = -1
		case !a.ok:
			order = 1
		default:
			order = p.sel.compare(src.key(p.sel), dst.key(p.sel))
		}
		switch {
		case order < 0:
			p.name(Row{Key: p.sel.name(src), Kind: Missing})
		case order > 0:
			p.name(Row{Key: p.sel.name(dst), Kind: Extra})
		default:
			if columns := p.differing(src, dst); len(columns) > 0 {
				p.name(Row{Key: p.sel.name(dst), Kind: Different, Columns: columns})
			}
		}
		if order <= 0 {
			errA = a.next()
		}
		if order >= 0 {
			errB = b.next()
		}
	}
}

// name puts a row into the report.
func (p *pair) name(r Row) {
	if len(p.out.Rows) == p.most {
		p.out.More = true
		return
	}
	p.out.Rows = append(p.out.Rows, r)
}

// differing are the columns whose values are not what they should be.
func (p *pair) differing(src, dst *stream) (columns []string) {
	for i, f := range p.sel.columns {
		a, b := []byte(src.values[i]), []byte(dst.values[i])
		ok := true
		switch same, translate := p.same[i], p.translate[i]; {
		case same != nil:
			ok = same(a, b)
		case translate != nil:
			a, ok = translate(a)
			ok = ok && equal(a, b)
		default:
			ok = equal(a, b)
		}
		if !ok {
			columns = append(columns, f.name)
		}
	}
	return columns
}

// A sorted stream is in the order of its key.
type sorted struct {
	*stream
	sel  selected
	at   string
	ok   bool // there is a row
	last [][]byte
}

func (s *sorted) next() error {
	var err error
	if s.ok, err = s.stream.next(); err != nil {
		return fmt.Errorf("%s: %w", s.at, err)
	}
	if !s.ok {
		return nil
	}
	key := s.key(s.sel)
	if s.n > 1 && s.sel.compare(s.last, key) >= 0 {
		return fmt.Errorf("%s: rows are not in the order of their key", s.at)
	}
	if s.last == nil {
		s.last = make([][]byte, len(key))
	}
	for i, v := range key {
		s.last[i] = append(s.last[i][:0], v...)
	}
	return nil
}

// key are the values of the key's columns.
func (st *stream) key(sel selected) [][]byte {
	key := make([][]byte, len(sel.key))
	for i, column := range sel.key {
		key[i] = st.values[column]
	}
	return key
}

// compare says which key comes first.
func (s selected) compare(a, b [][]byte) int {
	for i, column := range s.key {
		order := 0
		if s.columns[column].kind == integer {
			order = compareIntegers(a[i], b[i])
		} else {
			order = bytes.Compare(a[i], b[i])
		}
		if order != 0 {
			return order
		}
	}
	return 0
}

// compareIntegers compares decimal numbers of any size.
func compareIntegers(a, b []byte) int {
	a, negativeA := bytes.CutPrefix(a, []byte("-"))
	b, negativeB := bytes.CutPrefix(b, []byte("-"))
	order := cmp.Compare(len(a), len(b))
	if order == 0 {
		order = bytes.Compare(a, b)
	}
	switch {
	case negativeA && negativeB:
		return -order
	case negativeA:
		return -1
	case negativeB:
		return 1
	}
	return order
}

// name is how a report names a row of a table with a key.
func (s selected) name(st *stream) string {
	if len(s.key) == 0 {
		return s.only
	}
	parts := make([]string, len(s.key))
	for i, column := range s.key {
		parts[i] = s.shown(column, st.values[column])
	}
	return strings.Join(parts, ",")
}

// shown is a value as a report may have it.
func (s selected) shown(column int, value []byte) string {
	f := s.columns[column]
	if f.kind == integer {
		return fmt.Sprintf("%s=%s", f.name, value)
	}
	return fmt.Sprintf("sha256(%s)=%x", f.name, sha256.Sum256(value))
}

// numbers names a row of a table without a key as far as that goes: by ids and change numbers.
func (s selected) numbers(st *stream) string {
	var parts []string
	for i, f := range s.columns {
		if f.kind == integer && (strings.HasSuffix(f.name, "_id") || slices.Contains([]string{"id", "sequence"}, f.name)) && st.values[i] != nil {
			parts = append(parts, s.shown(i, st.values[i]))
		}
	}
	return strings.Join(parts, ",")
}
