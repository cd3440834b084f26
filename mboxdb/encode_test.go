package mboxdb_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// What the encoder writes is one literal to the reader, whatever comes behind it, and never more than one line.
func FuzzLiterals(f *testing.F) {
	for _, s := range []string{"", "'", `\`, `\'`, "a,b", "(1234,", "\x00\n\r\x1a\"", "--", "/*", "\xff'", "ä€", "'),('"} {
		f.Add([]byte(s))
	}
	f.Fuzz(checkLiterals)
}

func checkLiterals(t *testing.T, s []byte) {
	for name, literal := range map[string][]byte{"string": mboxdb.AppendString(nil, s), "hex": mboxdb.AppendHex(nil, s)} {
		for _, behind := range []string{",'x'", ")", ",NULL)"} {
			require.Equal(t, len(literal), mboxdb.LiteralLen(append(bytes.Clone(literal), behind...)), "%s of %q before %q", name, s, behind)
		}
		require.NotContains(t, string(literal), "\n")
	}
	literal := mboxdb.AppendString(nil, s)
	require.Equal(t, string(s), string(mboxdb.Unescape(nil, literal[1:len(literal)-1])))
}

// Every byte in every place among others, as the encoder looks at several at a time.
func TestLiteralsOfEveryByte(t *testing.T) {
	for c := range 256 {
		for n := range 20 {
			for _, among := range []byte{'x', '\t', '\'', 0xc3} {
				s := bytes.Repeat([]byte{among}, 20)
				s[n] = byte(c)
				checkLiterals(t, s[:n+1])
				checkLiterals(t, s)
			}
		}
	}
}

// What others write is read too: a rewriter may choose another form.
func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a''b": "a'b", `a\'b`: "a'b", `\\''\"`: `\'"`, `\0\n\r\t\b\Z`: "\x00\n\r\t\b\x1a", `\%\_\x`: `\%\_x`, "ä€": "ä€",
	} {
		require.Equal(t, want, string(mboxdb.Unescape(nil, []byte(text))), text)
	}
}

func TestLiterals(t *testing.T) {
	for text, want := range map[string]int{
		"NULL,": 4, "0,": 1, "-1,": 2, "18446744073709551615)": 20, "1.50,": 4, "'a''b',": 6, `'a\'b',`: 6, "0xAb0c,": 6,
		"'',": 2, "'''',": 4, `'\\',`: 4, `'\\\'',`: 6, `'''\'',`: 6, `'a\''',`: 0, `'\`: 0, "'''": 0,
		"": 0, ",": 0, "-,": 0, "1.,": 0, "'open": 0, `'open\'`: 0, "0x,": 0, "0xabc,": 0, "NOW(),": 0, "(SELECT 1),": 0, "_utf8'a',": 0, "@a,": 0,
		"1e5,": 1, // and then no comma follows
	} {
		require.Equal(t, want, mboxdb.LiteralLen([]byte(text)), text)
	}
}
