package mboxdb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
)

// A batch is what one transaction inserts.
type batch struct {
	text  []byte // the rows' values with commas between them, a row a line
	parts []part
	rows  int
	bytes int
}

// A part of a batch is some rows of one table.
type part struct {
	t        *loadTable
	from, to int // in the batch's text
	rows     int
	odd      bool // has a value that LOAD DATA would read in another way than INSERT
}

// room makes place for n bytes more. A text that is long already gets all the memory that a batch may need, instead of some more again and again.
func (b *batch) room(n int) {
	if cap(b.text)-len(b.text) >= n {
		return
	}
	if len(b.text) > batchBytes/8 {
		n = max(n, batchBytes-len(b.text))
	}
	b.text = slices.Grow(b.text, n)
}

// A bulk writes batches. Long parts go by LOAD DATA, which costs the server much less than parsing INSERT does, where it takes that.
type bulk struct {
	min    int          // rows that are worth LOAD DATA
	size   int          // of an INSERT's rows as a part has them; in the statement they are less than twice as long
	denied *atomic.Bool // the server does not take LOAD DATA from its clients
}

func (w bulk) insert(ctx context.Context, tx querier, b *batch) error {
	for _, p := range b.parts {
		if err := w.part(ctx, tx, p, b.text[p.from:p.to]); err != nil {
			return fmt.Errorf("insert into %s: %w", p.t.name, err)
		}
	}
	return nil
}

func (w bulk) part(ctx context.Context, tx querier, p part, text []byte) error {
	if p.rows >= w.min && !p.odd && !w.denied.Load() {
		err := p.load(ctx, tx, text)
		if !serverError(err, notAllowed...) {
			return err
		}
		w.denied.Store(true)
	}
	for len(text) > 0 {
		n := len(text)
		if n > w.size {
			n = bytes.LastIndexByte(text[:w.size], '\n') + 1
		}
		if n == 0 { // one long row
			n = bytes.IndexByte(text, '\n') + 1
		}
		if err := p.insert(ctx, tx, text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// insert inserts some of the part's rows.
func (p part) insert(ctx context.Context, tx querier, text []byte) error {
	values := bytes.ReplaceAll(text[:len(text)-1], []byte{'\n'}, []byte("),\n("))
	n, err := affect(ctx, tx, string(slices.Concat(p.t.head, []byte{'('}, values, []byte{')'})))
	if want := bytes.Count(text, []byte{'\n'}); err == nil && n != int64(want) {
		err = fmt.Errorf("%d rows of %d", n, want)
	}
	return err
}

// notAllowed are what servers say that do not take data from a client: MySQL and MariaDB up to 10.4, later MariaDB, MySQL 8.
var notAllowed = []uint16{1148, 4166, 3948}

var loads atomic.Int64

// load inserts the part's rows by LOAD DATA LOCAL. The server takes that for INSERT IGNORE: what would be an error is a warning, so that one
// warning is one too many.
func (p part) load(ctx context.Context, tx querier, text []byte) error {
	name := "mboxdb-" + strconv.FormatInt(loads.Add(1), 10)
	mysql.RegisterReaderHandler(name, func() io.Reader { return bytes.NewReader(text) })
	defer mysql.DeregisterReaderHandler(name)
	n, err := affect(ctx, tx, sqlLoad(p.t.Table, p.t.group, name))
	if err != nil {
		return err
	}
	var warnings int
	if err := scan(ctx, tx, sqlWarnings, nil, &warnings); err != nil {
		return err
	}
	if warnings > 0 {
		return warning(ctx, tx)
	}
	if n != int64(p.rows) {
		return fmt.Errorf("%d rows of %d", n, p.rows)
	}
	return nil
}

// warning is the first warning as the error that it would have been.
func warning(ctx context.Context, tx querier) error {
	var level, text string
	var number uint16
	if err := scan(ctx, tx, sqlShowWarning, nil, &level, &number, &text); err != nil {
		return err
	}
	return clean(&mysql.MySQLError{Number: number, Message: text})
}
