package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
)

// CopyOptions say how one mailbox becomes another. Everything but Volumes, Streams and Progress is required.
type CopyOptions struct {
	// Claim is the mover's hold on the account at the destination. Every transaction that writes compares it.
	Claim Claim
	// Rewrite copies SQL text from src to dst and maps in it what is different at the destination: the mailbox id in every table, the name
	// of the group's database, and the locators. It leaves the rest of the text as it is, comments and line breaks too. Every row passes
	// through it, and what comes out is not trusted. Load and Publish call it.
	Rewrite func(ctx context.Context, dst io.Writer, src io.Reader) error
	// Volumes maps the source's blob volumes to the destination's, as Rewrite does.
	Volumes map[VolumeID]VolumeID
	// IndexVolume is the destination's volume for the mailbox's search index.
	IndexVolume VolumeID
	// Address is the account's address today. It becomes the comment of the mailbox row, and a deleted_account row of that address goes.
	Address string
	// Streams is how many connections to each server Diff, Apply, Prove and Presync use at a time. Default 2, and at most 3: a mailstore has few to
	// spare, and a named lock keeps one.
	Streams int
	// Progress is called now and then with rows, from one goroutine at a time. It must return at once.
	Progress func(done, total int64)
}

// A Copy is a mailbox at its source and the id that is reserved for it at a destination. Its methods may be repeated after any error, and
// are called one at a time.
type Copy struct {
	dst, src *DB
	to, from Mailbox
	opt      CopyOptions

	dump   func(ctx context.Context, w io.Writer, want func(Table) bool) error // the source's rows
	round  int                                                                 // counts what makes an earlier Difference void
	sizes  sizes
	ranges map[string][]span // by table: ids of about as many rows each, so that Diff's work is shared out evenly
	long   tableSet          // tables of which such a range's digests did not fit into one answer
}

// sizes are how much is done at once, in rows. While a transaction that writes rows with names is open, other mailboxes wait for the gaps
// beside them in the index of names.
type sizes struct {
	digest int64 // of one statement that digests, about
	atOnce int64 // of a difference that is applied in one transaction
	write  int64 // of one of several transactions, about
	load   int   // that go by LOAD DATA, at least: it needs two round trips more than INSERT
}

var usual = sizes{digest: 5000, atOnce: 4000, write: 8000, load: 200}

// NewCopy returns the copy of from, which is what Find returned at the source, to the id that Reserve returned at the destination. It does
// no I/O; the error names every mistake in its arguments.
func NewCopy(dst, src *DB, to, from Mailbox, opts *CopyOptions) (*Copy, error) {
	if opts == nil {
		opts = &CopyOptions{}
	}
	c := &Copy{dst: dst, src: src, to: to, from: from, opt: *opts, sizes: usual}
	c.dump = func(ctx context.Context, w io.Writer, want func(Table) bool) error {
		_, err := src.dump(ctx, w, from, want, &dumpWriter{})
		return err
	}
	var bad []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			bad = append(bad, fmt.Errorf("mboxdb: copy: "+format, args...))
		}
	}
	refuse(dst == nil || src == nil, "a side has no database")
	refuse(to.ID == 0 || from.ID == 0, "a side has no mailbox id")
	refuse(to.Group < 1 || from.Group < 1, "a side has no mailbox group")
	refuse(from.AccountID == "" || !strings.EqualFold(from.AccountID, to.AccountID), "the mailboxes are of accounts %q and %q", from.AccountID, to.AccountID)
	if err := errors.Join(append(bad, opts.mistakes("copy", to)...)...); err != nil {
		return nil, err
	}
	return c, nil
}

// mistakes are what is wrong with options for writing under the reserved id.
func (o *CopyOptions) mistakes(verb string, to Mailbox) (bad []error) {
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			bad = append(bad, fmt.Errorf("mboxdb: "+verb+": "+format, args...))
		}
	}
	refuse(!strings.EqualFold(o.Claim.AccountID, to.AccountID), "the claim is for account %q, not %q", o.Claim.AccountID, to.AccountID)
	if _, err := o.Claim.checked(); err != nil {
		bad = append(bad, err)
	}
	refuse(o.Rewrite == nil, "Rewrite is required")
	refuse(o.IndexVolume == 0, "IndexVolume is required")
	refuse(o.Address == "" || !utf8.ValidString(o.Address), "Address is required")
	for f, t := range o.Volumes {
		refuse(f == 0 || t == 0, "volume %d maps to %d", f, t)
	}
	return bad
}

func (c *Copy) streams() int {
	if c.opt.Streams < 1 {
		return 2
	}
	return min(c.opt.Streams, 3)
}

// owned is what every transaction that writes begins with: the claim stands, the id and its group are the ones reserved for the account, and no mailbox
// row of another account has it. It says whether the copy's own mailbox row is there.
func (c *Copy) owned(ctx context.Context, tx querier) (published bool, err error) {
	if err := fenced(ctx, tx, c.opt.Claim); err != nil {
		return false, err
	}
	move, err := readMove(ctx, tx, sqlMove, c.opt.Claim.AccountID)
	if err != nil {
		return false, err
	}
	if move.Mailbox != c.to.ID || move.Group != c.to.Group {
		return false, fmt.Errorf("mailbox %d in %s, account %s: %w", c.to.ID, groupDatabase(c.to.Group), c.to.AccountID, ErrNotReserved)
	}
	return c.published(ctx, tx)
}

// guard is owned where rows are written: the account must have no mailbox under another id either.
func (c *Copy) guard(ctx context.Context, tx querier) (published bool, err error) {
	published, err = c.owned(ctx, tx)
	if err != nil || published {
		return published, err
	}
	row, err := find(ctx, tx, c.to.AccountID)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return false, fmt.Errorf("account %s has mailbox %d: %w", c.to.AccountID, row.ID, ErrExists)
}

// published says whether the copy's own mailbox row is at the destination. ErrExists when another account's has that id.
func (c *Copy) published(ctx context.Context, q querier) (bool, error) {
	row, err := scanMailbox(ctx, q, sqlMailboxByID, c.to.ID)
	switch {
	case err == nil && !strings.EqualFold(row.AccountID, c.to.AccountID):
		return false, fmt.Errorf("mailbox %d is of account %s: %w", c.to.ID, row.AccountID, ErrExists)
	case err == nil:
		return true, nil
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	}
	return false, err
}

// tables reads the tables of both sides and refuses to go on when their rows do not fit each other.
func (c *Copy) tables(ctx context.Context) (src, dst []Table, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		var err error
		if src, err = c.src.Tables(gctx, c.from.Group); err != nil {
			return fmt.Errorf("source: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		var err error
		if dst, err = c.dst.Tables(gctx, c.to.Group); err != nil {
			return fmt.Errorf("destination: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	if diff := Differences(schemaOf(src), schemaOf(dst)); len(diff) > 0 {
		return nil, nil, &SchemaError{Differences: diff}
	}
	src, dst = moved(src), moved(dst)
	nullableAs(dst, src)
	return src, dst, nil
}

// nullableAs has digests of tables' rows say where there is no NULL as those of like do. Servers that were upgraded allow it in other columns.
func nullableAs(tables, like []Table) {
	for _, t := range tables {
		i := slices.IndexFunc(like, func(l Table) bool { return l.String() == t.String() })
		for j := range t.Columns {
			t.Columns[j].Nullable = like[i].column(t.Columns[j].Name).Nullable
		}
	}
}

func moved(tables []Table) []Table {
	var out []Table
	for _, t := range tables {
		if t.Moved() {
			out = append(out, t)
		}
	}
	return out
}

func (t Table) inGroup() bool  { return t.Database == groupKind }
func (t Table) inZimbra() bool { return t.Database == zimbraDatabase }

// only returns the tables that want says.
func only(tables []Table, want func(Table) bool) []Table {
	var out []Table
	for _, t := range tables {
		if want(t) {
			out = append(out, t)
		}
	}
	return out
}

// transfer sends the source's rows of those tables through Rewrite to load.
func (c *Copy) transfer(ctx context.Context, want func(Table) bool, load func(ctx context.Context, r io.Reader) error) error {
	return c.pipe(ctx, func(ctx context.Context, w io.Writer) error {
		return c.dump(ctx, w, want)
	}, load)
}

// pipe sends what dump writes through Rewrite to load. Whatever fails first ends all three, and is what is returned, whatever Rewrite makes of an
// error that comes to it.
func (c *Copy) pipe(ctx context.Context, dump func(ctx context.Context, w io.Writer) error, load func(ctx context.Context, r io.Reader) error) error {
	g, ctx := errgroup.WithContext(ctx)
	dumped, intoRewrite := io.Pipe()
	rewritten, intoLoad := io.Pipe()
	var once sync.Once
	var first error
	failed := func(of string, err error) error { // before anybody else hears of it
		if err != nil {
			err = fmt.Errorf("%s: %w", of, err)
			once.Do(func() { first = err })
		}
		return err
	}
	g.Go(func() error {
		err := failed("source", dump(ctx, intoRewrite))
		intoRewrite.CloseWithError(err) // nil closes with io.EOF
		return err
	})
	g.Go(func() error {
		err := c.opt.Rewrite(ctx, intoLoad, dumped)
		if err == nil {
			err = wholly(dumped)
		}
		err = failed("rewrite", err)
		dumped.CloseWithError(err) // nil closes with io.ErrClosedPipe, which nobody meets: everything was read
		intoLoad.CloseWithError(err)
		return err
	})
	g.Go(func() error {
		err := load(ctx, rewritten)
		if err == nil {
			err = wholly(rewritten)
		}
		err = failed("load", err)
		rewritten.CloseWithError(err)
		return err
	})
	_ = g.Wait() // which returns first, or what became of it
	return first
}

// wholly is nil when r has ended. A reader that stopped early did not see what else was there.
func wholly(r io.Reader) error {
	var b [1]byte
	n, err := io.ReadFull(r, b[:])
	switch {
	case n > 0:
		return errors.New("stopped before the end of the dump")
	case err == io.EOF:
		return nil
	}
	return err
}

// Undoable returns what Publish would remove from the destination: the deleted_account row of the address; nil when there is none. Read it
// and keep it before publishing; Unpublish puts it back. It changes nothing.
func (c *Copy) Undoable(ctx context.Context) (*DeletedAccount, error) {
	return c.dst.DeletedAccount(ctx, c.opt.Address)
}
