package mboxverify

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

const (
	partBits = 12
	// partRows bounds how many rows of the parts that differ are looked at; one part is always.
	partRows = 1 << 16
)

// A hash is that of one row.
type hash [sha256.Size]byte

// part says which rows are looked at together.
func (h hash) part() int { return int(binary.BigEndian.Uint16(h[:])) >> (16 - partBits) }

// A sum of rows' hashes, as numbers of 256 bits without what overflows. It takes no order, and equal rows count.
type sum struct {
	rows  int64
	words [4]uint64
}

func (s *sum) add(h hash) {
	s.rows++
	var carry uint64
	for i := range s.words {
		s.words[i], carry = bits.Add64(s.words[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
	}
}

// multisets compares a table whose rows have no key.
func (p *pair) multisets() error {
	src, dst := make([]sum, 1<<partBits), make([]sum, 1<<partBits)
	var err error
	if p.out.Source, err = p.hashes(p.src, p.translate, func(_ *stream, h hash) { src[h.part()].add(h) }); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if p.out.Dest, err = p.hashes(p.dst, nil, func(_ *stream, h hash) { dst[h.part()].add(h) }); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	look, rows := map[int]bool{}, int64(0)
	for i := range src {
		if src[i] == dst[i] {
			continue
		}
		if n := src[i].rows + dst[i].rows; len(look) == 0 || rows+n <= partRows {
			look[i], rows = true, rows+n
		} else {
			p.out.More = true
		}
	}
	if len(look) == 0 {
		return nil
	}
	return p.nameHashes(look)
}

// hashes calls f with the hash of every row, and returns how many there are.
func (p *pair) hashes(read func() (*stream, error), translate map[int]func([]byte) ([]byte, bool), f func(*stream, hash)) (int64, error) {
	st, err := read()
	if err != nil {
		return 0, err
	}
	defer st.close()
	var b []byte
	for {
		ok, err := st.next()
		if !ok {
			return st.n, err
		}
		b = b[:0]
		for i, v := range st.values {
			mark, v := meaning(translate[i], v)
			b = append(b, mark)
			b = binary.BigEndian.AppendUint64(b, uint64(len(v)))
			b = append(b, v...)
		}
		f(st, sha256.Sum256(b))
	}
}

// meaning is what a value is to the other side: 0 stands before NULL, 1 before what must be there, and 2 before what no row there has.
func meaning(translate func([]byte) ([]byte, bool), v []byte) (mark byte, to []byte) {
	ok := true
	if translate != nil {
		v, ok = translate(v)
	}
	switch {
	case !ok:
		return 2, v
	case v == nil:
		return 0, nil
	}
	return 1, v
}

// A keyless is what is remembered of equal rows that one side has more of.
type keyless struct {
	hash    hash
	more    int    // at the destination; less than 0: at the source
	numbers string // of its ids
	columns []hash // of its values
}

// nameHashes names the rows of some parts that one side has more of. A missing and an extra row that differ in one column alone are taken for
// one row that was changed.
func (p *pair) nameHashes(look map[int]bool) error {
	found := map[hash]*keyless{}
	gather := func(n int, translate map[int]func([]byte) ([]byte, bool)) func(*stream, hash) {
		return func(st *stream, h hash) {
			if !look[h.part()] {
				return
			}
			k := found[h]
			if k == nil {
				k = &keyless{hash: h, numbers: p.sel.numbers(st)}
				for i, v := range st.values {
					mark, v := meaning(translate[i], v)
					k.columns = append(k.columns, sha256.Sum256(append([]byte{mark}, v...)))
				}
				found[h] = k
			}
			if k.more += n; k.more == 0 {
				delete(found, h)
			}
		}
	}
	if _, err := p.hashes(p.src, p.translate, gather(-1, p.translate)); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if _, err := p.hashes(p.dst, nil, gather(1, nil)); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	var missing, extra []*keyless
	for _, k := range found {
		for range min(max(k.more, -k.more), p.most+1) {
			if k.more < 0 {
				missing = append(missing, k)
			} else {
				extra = append(extra, k)
			}
		}
	}
	byHash := func(a, b *keyless) int { return bytes.Compare(a.hash[:], b.hash[:]) }
	slices.SortFunc(missing, byHash)
	slices.SortFunc(extra, byHash)
	p.pairUp(missing, extra)
	if len(p.out.Rows) == 0 {
		return errors.New("rows changed between two readings")
	}
	return nil
}

// pairUp names rows, those that differ in one column alone together.
func (p *pair) pairUp(missing, extra []*keyless) {
	for _, m := range missing {
		if len(p.out.Rows) >= p.most {
			break
		}
		column := ""
		i := slices.IndexFunc(extra, func(e *keyless) bool {
			n := 0
			for i := range m.columns {
				if m.columns[i] != e.columns[i] {
					n, column = n+1, p.sel.columns[i].name
				}
			}
			return n == 1
		})
		if i < 0 {
			p.name(Row{Key: m.name(), Kind: Missing})
			continue
		}
		p.name(Row{Key: extra[i].name(), Kind: Different, Columns: []string{column}})
		extra = slices.Delete(extra, i, i+1)
	}
	if len(missing) > p.most {
		p.out.More = true
	}
	for _, e := range extra {
		p.name(Row{Key: e.name(), Kind: Extra})
	}
}

func (k *keyless) name() string {
	return strings.TrimPrefix(fmt.Sprintf("%s,sha256=%x", k.numbers, k.hash), ",")
}
