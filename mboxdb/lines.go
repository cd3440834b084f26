package mboxdb

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxLine = 256 << 20 // a row is one line

// lines reads a dump line by line.
type lines struct {
	in   *bufio.Reader
	off  int64  // where line begins
	end  int64  // where it ends, its line break included
	line []byte // without the line break
}

func newLines(r io.Reader) lines { return lines{in: bufio.NewReaderSize(r, 256<<10)} }

// next reads a line. The end of the input is ErrTruncated.
func (l *lines) next() error {
	l.off, l.line = l.end, l.line[:0]
	for {
		part, err := l.in.ReadSlice('\n')
		l.line = append(l.line, part...)
		l.end += int64(len(part))
		switch {
		case err == nil:
			l.line = l.line[:len(l.line)-1]
			return nil
		case len(l.line) > maxLine:
			return l.bad("", "a line without end")
		case err == bufio.ErrBufferFull:
		case err == io.EOF && len(l.line) == 0:
			return fmt.Errorf("%w at offset %d", ErrTruncated, l.end)
		case err == io.EOF:
			return fmt.Errorf("%w in the middle of a line at offset %d", ErrTruncated, l.end)
		default:
			return err
		}
	}
}

// first reads the first line, which says what this is.
func (l *lines) first() error {
	if err := l.next(); err != nil {
		return err
	}
	format, ok := strings.CutPrefix(string(l.line), dumpBegins)
	if _, err := strconv.Atoi(format); !ok || err != nil {
		return l.bad("", "it does not begin as a dump of this package does")
	}
	if string(l.line)+"\n" != dumpFirst {
		return l.bad("", fmt.Sprintf("it is of format %s, and this version reads format %d", format, dumpFormat))
	}
	return nil
}

func (l *lines) bad(table, why string) error {
	return &DumpError{Offset: l.off, Table: table, Msg: why}
}
