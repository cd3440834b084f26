package mboxdb

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A witness digests the rows of a dump as their text says, without asking a server: what the tables must have after a restore. Its digests are
// those that the package comment describes.
type witness struct {
	volumes map[VolumeID]VolumeID // what becomes of a locator
	digests map[string]digest     // by table
	columns map[string][]Column
	b       []byte
}

func newWitness(volumes map[VolumeID]VolumeID) *witness {
	return &witness{volumes: volumes, digests: map[string]digest{}, columns: map[string][]Column{}}
}

// see takes a row of the mailbox with that id, literals in the order of a dump, or says why it is none. The columns that we set of a mailbox row
// are left out.
func (w *witness) see(t Table, id string, row []byte) (why string) {
	name := t.String()
	if w.columns[name] == nil {
		w.columns[name] = t.dumped()
	}
	columns := w.columns[name]
	w.b = w.b[:0]
	why = literals(row, len(columns), func(i int, value []byte) string {
		c := columns[i]
		switch {
		case i == 0 && string(unquoted(value)) != id:
			return "a row of another mailbox id"
		case i == 0, t.isMailbox() && slices.Contains(meant, c.Name):
			return ""
		}
		switch {
		case string(value) == "NULL":
		case c.Name == locatorColumn && t.HasLocator():
			w.b = append(append(w.b, w.mapped(string(unquoted(value)))...), 0xff)
		default:
			w.b = append(appendDigested(w.b, c, value), 0xff)
		}
		if c.Nullable {
			w.b = append(w.b, 0xfe, 0xff)
		}
		return ""
	})
	if why != "" {
		return why
	}
	sum := sha1.Sum(bytes.TrimSuffix(w.b, []byte{0xff}))
	high, low := binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[len(sum)-8:])
	w.digests[name] = w.digests[name].plus(digest{rows: 1, highSum: high, highXor: high, lowSum: low, lowXor: low})
	return ""
}

// mapped is what a locator must be at the destination. One that the map does not have gets a value that no row may have.
func (w *witness) mapped(locator string) string {
	for from, to := range w.volumes {
		if from.String() == locator {
			return to.String()
		}
	}
	return "?" + locator
}

// appendDigested appends a literal's value as sqlRowDigest has it; not that of NULL.
func appendDigested(b []byte, c Column, literal []byte) []byte {
	switch {
	case c.kind == raw && literal[0] == '\'':
		return fmt.Appendf(b, "%X", unescape(nil, literal[1:len(literal)-1]))
	case c.kind == raw:
		return append(b, strings.ToUpper(strings.TrimPrefix(string(literal), "0x"))...)
	case literal[0] == '\'':
		return unescape(b, literal[1:len(literal)-1])
	}
	return append(b, literal...)
}

// unescape appends what the inside of a string literal means.
func unescape(b, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' && s[i] != '\'' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++ // behind a quote stands another one
		switch c := s[i]; {
		case s[i-1] == '\'':
			b = append(b, '\'')
		case c == '0':
			b = append(b, 0)
		case c == 'n':
			b = append(b, '\n')
		case c == 'r':
			b = append(b, '\r')
		case c == 't':
			b = append(b, '\t')
		case c == 'b':
			b = append(b, '\b')
		case c == 'Z':
			b = append(b, 0x1a)
		case c == '%' || c == '_': // MySQL keeps the backslash
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}
