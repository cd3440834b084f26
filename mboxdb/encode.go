package mboxdb

import "encoding/binary"

// escaped are the bytes that a string literal cannot hold as they are. A line break is escaped too, so that a line that begins with
// the dump's closing words is never part of a row.
const escaped = "\x00\n\r\x1a'\"\\"

var isEscaped = func() (is [256]bool) {
	for i := range len(escaped) {
		is[escaped[i]] = true
	}
	return is
}()

// indexEscaped is the place of the first of them in s, or -1. It looks at eight bytes at a time: every text of a mailbox comes by here, and
// few have any.
func indexEscaped(s []byte) int {
	i := 0
	for ; len(s)-i >= 8; i += 8 {
		if w := binary.LittleEndian.Uint64(s[i:]); below(w, ' ')|below(w^'\''*eachByte, 1)|below(w^'"'*eachByte, 1)|below(w^'\\'*eachByte, 1) == 0 {
			continue
		}
		for j, c := range s[i : i+8] {
			if isEscaped[c] {
				return i + j
			}
		}
	}
	for ; i < len(s); i++ {
		if isEscaped[s[i]] {
			return i
		}
	}
	return -1
}

const eachByte = 0x0101010101010101

// below is not 0 if a byte of w is less than n, which is 128 at most.
func below(w uint64, n byte) uint64 { return (w - uint64(n)*eachByte) &^ w & (0x80 * eachByte) }

// appendString appends s as a string literal.
func appendString(b, s []byte) []byte {
	b = append(b, '\'')
	for {
		i := indexEscaped(s)
		if i < 0 {
			break
		}
		b = append(b, s[:i]...)
		b = append(b, '\\')
		switch s[i] {
		case 0:
			b = append(b, '0')
		case '\n':
			b = append(b, 'n')
		case '\r':
			b = append(b, 'r')
		case 0x1a:
			b = append(b, 'Z')
		default:
			b = append(b, s[i])
		}
		s = s[i+1:]
	}
	b = append(b, s...)
	return append(b, '\'')
}

const hexDigits = "0123456789abcdef"

// appendHex appends s as a hexadecimal literal, for columns that hold bytes and not text.
func appendHex(b, s []byte) []byte {
	if len(s) == 0 {
		return append(b, "''"...)
	}
	b = append(b, "0x"...)
	for _, c := range s {
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return b
}
