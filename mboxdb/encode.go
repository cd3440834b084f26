package mboxdb

import "bytes"

// escaped are the bytes that a string literal cannot hold as they are. A line break is escaped too, so that a line that begins with
// the dump's closing words is never part of a row.
const escaped = "\x00\n\r\x1a'\"\\"

// appendString appends s as a string literal.
func appendString(b, s []byte) []byte {
	b = append(b, '\'')
	for {
		i := bytes.IndexAny(s, escaped)
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
