package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
)

// A Blob is a file that a row names.
type Blob struct {
	Volume     VolumeID
	Item       uint32
	ModContent uint32
	Size       int64  // of the uncompressed content, as the row says
	Digest     string // of the uncompressed content: base64 of SHA-256, or of SHA-1 in old rows, with a comma for the slash; may be empty
	Table      string // "mboxgroup.revision"
}

// blobPage is how many rows are read at once.
const blobPage = 2000

// blobTables are the tables whose rows name blobs.
var blobTables = []string{"mail_item", "mail_item_dumpster", "revision", "revision_dumpster"}

// Blobs returns the files that a mailbox's rows name, on whatever volumes, in the order of item ids: what must exist on disk. Two rows
// may name the same file. It reads some thousand rows at a time, with no connection or transaction in between, so that a caller may take
// its time; rows that change meanwhile may be missing or there twice over.
//
// A row whose locator is not the number of a volume is a *LocatorError, no group database ErrNoGroup. After an error there is nothing more.
// It changes nothing.
func (d *DB) Blobs(ctx context.Context, m Mailbox) iter.Seq2[Blob, error] {
	return func(yield func(Blob, error) bool) {
		tables, err := d.blobTables(ctx, m.Group)
		if err != nil {
			yield(Blob{}, err)
			return
		}
		pages := make([]blobReader, len(tables))
		for i, t := range tables {
			pages[i].t = t
		}
		for {
			if err := d.fill(ctx, pages, m); err != nil {
				yield(Blob{}, err)
				return
			}
			first := -1
			for i, p := range pages {
				if len(p.page) > 0 && (first < 0 || p.page[0].Item < pages[first].page[0].Item) {
					first = i
				}
			}
			if first < 0 {
				return
			}
			b := pages[first].page[0]
			pages[first].page = pages[first].page[1:]
			if !yield(b, nil) {
				return
			}
		}
	}
}

// blobTables are those of them that the group has.
func (d *DB) blobTables(ctx context.Context, group int) ([]Table, error) {
	all, err := d.Tables(ctx, group)
	if err != nil {
		return nil, err
	}
	var out []Table
	for _, name := range blobTables {
		for _, t := range all {
			if t.inGroup() && t.Name == name {
				out = append(out, t)
			}
		}
	}
	return out, nil
}

// A blobReader reads one table page by page.
type blobReader struct {
	t             Table
	page          []Blob
	item, version uint32 // the last key of the page
	ended         bool
}

// fill reads the next page of every table whose page is used up.
func (d *DB) fill(ctx context.Context, pages []blobReader, m Mailbox) error {
	var s *session
	for i := range pages {
		p := &pages[i]
		if len(p.page) > 0 || p.ended {
			continue
		}
		if s == nil {
			var err error
			if s, err = d.read(ctx); err != nil {
				return err
			}
			defer s.close()
		}
		if err := p.read(ctx, s, m); err != nil {
			return fmt.Errorf("blobs of %s: %w", p.t.in(m.Group), err)
		}
	}
	return ctx.Err()
}

func (p *blobReader) read(ctx context.Context, q querier, m Mailbox) error {
	p.page = p.page[:0]
	n := 0
	err := each(ctx, q, sqlBlobPage(p.t, m.Group, m.ID, p.item, p.version, blobPage), nil, func(rows *sql.Rows) error {
		b := Blob{Table: p.t.String()}
		var locator string
		var size uint64
		var digest sql.NullString
		if err := rows.Scan(&p.item, &p.version, &b.ModContent, &locator, &size, &digest); err != nil {
			return errors.New("a column has an unexpected type")
		}
		b.Item, b.Size, b.Digest = p.item, int64(min(size, math.MaxInt64)), digest.String
		id, err := strconv.ParseUint(locator, 10, 8)
		if err != nil || id == 0 || strconv.FormatUint(id, 10) != locator {
			return &LocatorError{Table: p.t.String(), Item: p.item}
		}
		b.Volume = VolumeID(id)
		p.page = append(p.page, b)
		n++
		return nil
	})
	p.ended = n < blobPage
	return err
}

// Locators counts a mailbox's rows by their locators, NULL left out: what a volume map must have. It changes nothing.
func (d *DB) Locators(ctx context.Context, m Mailbox) (map[string]int64, error) {
	s, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	tables, err := d.tables(ctx, s, m.Group)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, t := range tables {
		if !t.Moved() || !t.HasLocator() {
			continue
		}
		err := each(ctx, s, sqlLocators(t, m.Group, m.ID), nil, func(rows *sql.Rows) error {
			var locator string
			var n int64
			err := rows.Scan(&locator, &n)
			out[locator] += n
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("locators of %s: %w", t.in(m.Group), err)
		}
	}
	return out, nil
}
