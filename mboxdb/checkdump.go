package mboxdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// A DumpInfo is what a whole dump says about itself.
type DumpInfo struct {
	Mailbox Mailbox // the id, group and account that it was dumped from, and nothing else
	Server  Server  // that it was dumped from: Version, DBVersion and TimeZone, and nothing else
	Schema  Schema  // of its tables, as DB.Schema describes them
	Summary

	tables []Table // in the order of the dump
	sha256 string  // of the text before the closing line
}

// CheckDump reads a dump to its end and says what it is of. Without an error it is, to the last byte, what Dump wrote: its closing line is
// there, with nothing behind it, and the checksum and the number of rows of every table fit.
//
// A dump that is cut short is ErrTruncated; one that was changed, or is of a format that this version does not read, is a *DumpError, which
// says where. CheckDump asks no server.
func CheckDump(ctx context.Context, r io.Reader) (DumpInfo, error) {
	info, err := checkDump(ctx, r, nil, nil, nil)
	if err != nil {
		return DumpInfo{}, fmt.Errorf("check dump: %w", err)
	}
	return info, nil
}

// A checker reads a dump, and passes part of it on.
type checker struct {
	lines
	info DumpInfo
	out  io.Writer // nil: none
	want func(Table) bool
	rows *witness // nil: none
}

// checkDump is CheckDump. To w it copies those tables of the dump that want says, as a dump of their own, which gets its closing line only
// when all of the dump turned out to be right. To rows it shows every row.
func checkDump(ctx context.Context, r io.Reader, w io.Writer, want func(Table) bool, rows *witness) (DumpInfo, error) {
	c := &checker{lines: newLines(r), out: w, want: want, rows: rows, info: DumpInfo{Summary: Summary{Tables: map[string]int64{}}}}
	err := c.check(ctx)
	c.info.Bytes = c.end
	return c.info, err
}

func (c *checker) check(ctx context.Context) error {
	hash := sha256.New()
	line := func(next func() error) error {
		err := next()
		if err == nil {
			hash.Write(c.line)
			hash.Write([]byte{'\n'})
		}
		return err
	}
	if err := line(c.first); err != nil {
		return err
	}
	if err := line(c.next); err != nil {
		return err
	}
	m := &c.info.Mailbox
	var database string
	if n, err := fmt.Sscanf(string(c.line)+"\n", dumpMailbox, &m.ID, &m.AccountID, &database); n != 3 || err != nil {
		return c.bad("", "the second line does not name a mailbox")
	}
	if _, err := fmt.Sscanf(database, groupPrefix+"%d", &m.Group); err != nil || groupDatabase(m.Group) != database {
		return c.bad("", "the second line does not name a mailbox group")
	}
	if err := line(c.next); err != nil {
		return err
	}
	if err := c.origin(); err != nil {
		return err
	}
	if err := c.put(dumpHead(*m, nil)); err != nil {
		return err
	}
	id := m.ID.String()
	heads := map[string]*Table{}
	var t *Table // whose rows these are; nil: between two statements
	for rows := int64(0); ; {
		if err := c.next(); err != nil {
			return err
		}
		switch {
		case t != nil:
			end := len(c.line) - 1
			if end < 1 || c.line[0] != '(' || c.line[end] != ',' && c.line[end] != ';' {
				return c.bad(t.in(m.Group), "not a row of a dump")
			}
			if c.rows != nil {
				if why := c.rows.see(*t, id, c.line[:end]); why != "" {
					return c.bad(t.in(m.Group), why)
				}
			}
			if err := c.copy(*t); err != nil {
				return err
			}
			c.info.Rows++
			c.info.Summary.Tables[t.String()]++
			if c.line[end] == ';' {
				t = nil
			}
			if rows++; rows%1000 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		case bytes.HasPrefix(c.line, []byte(dumpLast)):
			if err := c.closing(dumpTrailer{
				Version: dumpFormat, Tables: c.info.Summary.Tables, Bytes: c.off, SHA256: hex.EncodeToString(hash.Sum(nil)),
			}); err != nil {
				return err
			}
			return ctx.Err()
		case bytes.HasPrefix(c.line, []byte(dumpTable)):
			var d Table
			if err := json.Unmarshal(c.line[len(dumpTable):], &d); err != nil || d.Name == "" {
				return c.bad("", "a table is not described")
			}
			for i := range d.Columns {
				d.Columns[i].kind = kindOf(d.Columns[i].Type)
			}
			c.info.tables = append(c.info.tables, d)
			c.info.Summary.Tables[d.String()] = 0
			heads[strings.TrimSuffix(sqlInsert(d, m.Group), "\n")] = &d
		case strings.Contains(dumpSettings, string(c.line)+"\n"):
		default:
			if t = heads[string(c.line)]; t == nil {
				return c.bad("", "neither an INSERT into a table that the dump describes nor its closing line")
			}
			if err := c.copy(*t); err != nil {
				return err
			}
		}
		hash.Write(c.line)
		hash.Write([]byte{'\n'})
	}
}

// origin reads the line about the server.
func (c *checker) origin() error {
	text, is := bytes.CutPrefix(c.line, []byte(dumpServer))
	var o dumpOrigin
	if err := json.Unmarshal(text, &o); !is || err != nil || o.DBVersion == "" || o.TimeZone == "" || o.Version == "" {
		return c.bad("", "the third line does not say which db.version and time zone the server has")
	}
	c.info.Server = Server{Version: o.Version, DBVersion: o.DBVersion, TimeZone: o.TimeZone}
	line, err := dumpFrom(c.info.Server)
	if err == nil && string(c.line)+"\n" != string(line) {
		return c.bad("", "the third line is not as it was written")
	}
	return err
}

// closing compares the closing line, byte for byte, with the one that was written if all of the text is as it was: no checksum protects the
// line itself.
func (c *checker) closing(want dumpTrailer) error {
	var is dumpTrailer
	if err := json.Unmarshal(c.line[len(dumpLast):], &is); err != nil || is.Version != dumpFormat {
		return c.bad("", "the closing line is not one of this format's")
	}
	for _, t := range c.info.tables {
		if n := is.Tables[t.String()]; n != want.Tables[t.String()] {
			return c.bad(t.in(c.info.Mailbox.Group), fmt.Sprintf("%d rows, and %d in the closing line", want.Tables[t.String()], n))
		}
	}
	if is.SHA256 != want.SHA256 {
		return c.bad("", "the text is not what was dumped: its SHA-256 is another than that in the closing line")
	}
	line, err := dumpEnd(want)
	if err != nil {
		return err
	}
	if string(c.line)+"\n" != string(line) {
		return c.bad("", "the closing line is not as it was written")
	}
	var more [1]byte
	switch n, err := io.ReadFull(c.in, more[:]); {
	case n > 0:
		c.off = c.end
		return c.bad("", "text behind the closing line")
	case err != io.EOF:
		return err
	}
	c.info.Schema, c.info.sha256 = schemaOf(c.info.tables), want.SHA256
	if c.out == nil {
		return nil
	}
	want.Tables, want.SHA256 = map[string]int64{}, ""
	for _, t := range only(c.info.tables, c.want) {
		want.Tables[t.String()] = c.info.Summary.Tables[t.String()]
	}
	if line, err = dumpEnd(want); err != nil {
		return err
	}
	return c.put(line)
}

// copy passes the line on if its table is wanted.
func (c *checker) copy(t Table) error {
	if c.out == nil || !c.want(t) {
		return nil
	}
	if err := c.put(c.line); err != nil {
		return err
	}
	return c.put([]byte{'\n'})
}

func (c *checker) put(b []byte) error {
	if c.out == nil {
		return nil
	}
	_, err := c.out.Write(b)
	return err
}
