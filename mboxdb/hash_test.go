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
