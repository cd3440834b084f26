package mboxdb

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The digest of a row is what package hex makes of its text, and nothing but hexadecimal is one.
func TestParseHash(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var b [20]byte
	for range 1000 {
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		text := hex.EncodeToString(b[:])
		high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[12:])
		for _, text := range []string{text, strings.ToUpper(text)} {
			d, ok := parseHash([]byte(text))
			require.True(t, ok, text)
			require.Equal(t, digest{rows: 1, highSum: high, highXor: high, lowSum: low, lowXor: low}, d, text)
		}
	}
	text := []byte(strings.Repeat("0", 40))
	for i := range text {
		for c := range 256 {
			text[i] = byte(c)
			_, err := hex.DecodeString(string(text))
			_, ok := parseHash(text)
			require.Equal(t, err == nil, ok, "%q", text)
		}
		text[i] = '0'
	}
	for _, text := range []string{"", strings.Repeat("0", 39), strings.Repeat("0", 41)} {
		_, ok := parseHash([]byte(text))
		require.False(t, ok, text)
	}
}

// Two texts side by side are what their rows added up and merged are: with several rows of one id, with rows that one side has not, in cells of any width.
func TestSideBySide(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	type row struct{ id, hash int64 }
	text := func(rows []row) (b []byte) {
		for _, r := range rows {
			b = fmt.Appendf(b, "%d%040x;", r.id, r.hash)
		}
		return b
	}
	for range 3000 {
		width := []int64{1, cellIDs, bucketIDs}[rnd.IntN(3)]
		var sides [2][]row
		for range rnd.IntN(40) {
			r := row{rnd.Int64N(60)*width/4 - 10, rnd.Int64N(3)}
			for i := range sides {
				if rnd.IntN(8) > 0 {
					sides[i] = append(sides[i], r)
				}
			}
		}
		var texts [2][]byte
		var cells [2][]cell
		for i := range sides {
			if rnd.IntN(8) > 0 {
				slices.SortStableFunc(sides[i], func(a, b row) int { return cmp.Compare(a.id, b.id) })
			}
			texts[i] = text(sides[i])
			f := fold{width: width}
			require.NoError(t, f.text(texts[i]))
			cells[i] = gathered(f.cells)
		}
		inOrder := func(rows []row) bool {
			return slices.IsSortedFunc(rows, func(a, b row) int { return cmp.Compare(a.id, b.id) })
		}
		var want, is []cell
		for n, d := range merge(cells[0], cells[1]) {
			want = append(want, cell{n, d[0]}, cell{n, d[1]})
		}
		ordered, err := sideBySide(texts[0], texts[1], width, func(n int64, d [2]digest) { is = append(is, cell{n, d[0]}, cell{n, d[1]}) })
		require.NoError(t, err)
		if inOrder(sides[0]) && inOrder(sides[1]) {
			require.True(t, ordered, "%d: %v", width, sides)
		}
		if ordered {
			require.Equal(t, want, is, "%d: %v", width, sides)
		}
	}
}

// What is no digest is an error, on either side and in both.
func TestSideBySideOfNoDigests(t *testing.T) {
	good := []byte("7" + strings.Repeat("a", hashDigits) + ";")
	for _, bad := range []string{";", "7;", strings.Repeat("a", hashDigits) + ";", "x" + string(good), "7" + strings.Repeat("g", hashDigits) + ";", string(good[:20])} {
		for _, texts := range [][2]string{{bad, ""}, {"", bad}, {bad, bad}, {string(good), bad}, {bad, string(good)}, {string(good) + bad, string(good) + bad}} {
			_, err := sideBySide([]byte(texts[0]), []byte(texts[1]), 1, func(int64, [2]digest) {})
			require.ErrorIs(t, err, errNoDigest, "%q", texts)
		}
	}
}

// Cells come out in order and once each, however they come in.
func TestGathered(t *testing.T) {
	for _, in := range [][]int64{{}, {3}, {1, 2, 3}, {1, 1, 2}, {1, 2, 2}, {2, 1}, {1, 3, 2, 3}} {
		var cells []cell
		want := map[int64]int64{}
		for _, n := range in {
			cells = append(cells, cell{n, digest{rows: 1}})
			want[n]++
		}
		is := map[int64]int64{}
		last := int64(0)
		for _, c := range gathered(cells) {
			require.Greater(t, c.n, last, "%v", in)
			is[c.n], last = c.rows, c.n
		}
		require.Equal(t, want, is, "%v", in)
	}
}

// Cells of wider cells are those that their ids lie in, on both sides of 0.
func TestCoarser(t *testing.T) {
	var fine, want fold
	fine.width, want.width = bucketIDs, rangeIDs
	for id := int64(-3 * rangeIDs); id < 3*rangeIDs; id += 100 {
		fine.add(id, digest{rows: 1, lowSum: uint64(id)})
		want.add(id, digest{rows: 1, lowSum: uint64(id)})
	}
	require.Equal(t, want.cells, coarser(fine.cells, rangeIDs/bucketIDs))
	require.Nil(t, coarser(nil, 16))
}
