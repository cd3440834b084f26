package mboxdb

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
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
