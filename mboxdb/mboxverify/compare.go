package mboxverify

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// ErrNotFound: the server has no such mailbox.
var ErrNotFound = errors.New("mboxverify: no such mailbox")

// A Mailbox says where a mailbox lies on one server.
type Mailbox struct {
	ID    uint32 `json:"id"`
	Group int    `json:"group"` // the number of its mailbox group's database
}

// Options say what a move changes on purpose. The zero value compares a published mailbox whose volumes have the same numbers on both
// servers.
type Options struct {
	// Volumes maps the source's blob volumes to the destination's. None: locators are the same on both sides. A volume that the map does
	// not have is equal to nothing.
	Volumes map[uint8]uint8
	// IndexVolume is the destination's volume for the search index. Default 0: any.
	IndexVolume uint8
	// Address is what the mailbox row's comment is at the destination. Default "": anything.
	Address string
	// Unpublished: the destination has the rows of the mailbox group, and must have none in the database zimbra, nor in tables that are not
	// moved. Those of zimbra are not compared then.
	Unpublished bool
	// Skip names tables that were left behind, as in "mboxgroup.ext_notes". A table of Zimbra's own here is data that nobody looks at.
	Skip []string
	// Rows is how many differing rows of a table are named. Default 10.
	Rows int
}

// Find returns where an account's mailbox lies, by the account's zimbraId. ErrNotFound says that the server has none. It changes nothing.
func Find(ctx context.Context, db *sql.DB, accountID string) (Mailbox, error) {
	s, err := open(ctx, db)
	if err != nil {
		return Mailbox{}, fmt.Errorf("mailbox of account %s: %w", accountID, err)
	}
	defer s.close()
	var m Mailbox
	err = s.conn.QueryRowContext(ctx, sqlFind, accountID).Scan(&m.ID, &m.Group)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Mailbox{}, fmt.Errorf("mailbox of account %s: %w", accountID, err)
	}
	return m, nil
}

// Compare compares the mailbox to on the server dst with the mailbox from on the server src, and returns what it compared, by the tables'
// names, the mailbox row last. It changes nothing. Both sides must be quiet meanwhile.
//
// What differs is a *MismatchError; the tables are returned with it all the same. After any other error nothing is known. ErrNotFound says that
// the source has no such mailbox: two that are not there are not equal.
func Compare(ctx context.Context, dst, src *sql.DB, to, from Mailbox, opts *Options) ([]Table, error) {
	if opts == nil {
		opts = &Options{}
	}
	tables, err := compare(ctx, dst, src, to, from, *opts)
	if err != nil {
		return tables, fmt.Errorf("compare mailbox %d with %d: %w", to.ID, from.ID, err)
	}
	return tables, nil
}

// A comparison is one call of Compare.
type comparison struct {
	opt      Options
	src, dst *side
	high     map[string]uint64 // by checkpoint: the highest number that a row at the destination has
}

func compare(ctx context.Context, dst, src *sql.DB, to, from Mailbox, opt Options) ([]Table, error) {
	switch {
	case dst == nil || src == nil:
		return nil, errors.New("a side has no database")
	case to.ID == 0 || from.ID == 0 || to.Group < 1 || from.Group < 1:
		return nil, errors.New("a side has no mailbox id or no mailbox group")
	}
	if opt.Rows < 1 {
		opt.Rows = 10
	}
	c := &comparison{opt: opt, high: map[string]uint64{}}
	var err error
	if c.src, err = open(ctx, src); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer c.src.close()
	if c.dst, err = open(ctx, dst); err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	defer c.dst.close()
	if err := c.src.describe(ctx, from); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if err := c.dst.describe(ctx, to); err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	var group int
	switch err := c.src.conn.QueryRowContext(ctx, sqlGroup, from.ID).Scan(&group); {
	case errors.Is(err, sql.ErrNoRows), err == nil && group != from.Group:
		return nil, fmt.Errorf("source: mailbox %d in group %d: %w", from.ID, from.Group, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("source: zimbra.mailbox: %w", err)
	}

	var tables []Table
	mismatch := &MismatchError{Strays: map[string]int64{}}
	for _, name := range c.names() {
		if !c.moved(name) {
			if err := c.stray(ctx, name, mismatch.Strays); err != nil {
				return tables, err
			}
			continue
		}
		t, err := c.table(ctx, name)
		if err != nil {
			return tables, fmt.Errorf("%s: %w", name, err)
		}
		tables = append(tables, t)
		if !t.Equal() {
			mismatch.Tables = append(mismatch.Tables, t)
		}
	}
	if len(mismatch.Tables)+len(mismatch.Strays) > 0 {
		return tables, mismatch
	}
	return tables, nil
}

// names are the tables of either side. The mailbox row comes last: its checkpoints depend on the others.
func (c *comparison) names() []string {
	all := map[string]bool{}
	for name := range c.src.tables {
		all[name] = true
	}
	for name := range c.dst.tables {
		all[name] = true
	}
	delete(all, mailboxTable)
	return append(slices.Sorted(maps.Keys(all)), mailboxTable)
}

const (
	mailboxTable   = "zimbra.mailbox"
	deletedAccount = "zimbra.deleted_account"
)

// staying are the tables that no move takes along.
var staying = map[string]bool{"zimbra.volume_blobs": true, deletedAccount: true}

func (c *comparison) moved(name string) bool {
	if c.opt.Unpublished && !inGroup(name) {
		return false
	}
	return !staying[name] && !slices.Contains(c.opt.Skip, name)
}

// stray counts the rows of a table that is not moved. Once the mailbox is published they are its server's own.
func (c *comparison) stray(ctx context.Context, name string, strays map[string]int64) error {
	t := c.dst.tables[name]
	if t == nil || !c.opt.Unpublished || name == deletedAccount {
		return nil
	}
	var n int64
	if err := c.dst.conn.QueryRowContext(ctx, sqlCount(t, c.dst.mailbox.ID)).Scan(&n); err != nil {
		return fmt.Errorf("destination: count %s: %w", name, err)
	}
	if n > 0 {
		strays[name] = n
	}
	return nil
}

// table compares one table. One that a server does not have has no rows.
func (c *comparison) table(ctx context.Context, name string) (Table, error) {
	src, dst := c.src.tables[name], c.dst.tables[name]
	sel, lone, err := selection(src, dst)
	if err != nil {
		return Table{Name: name}, err
	}
	sel.only = fmt.Sprintf("mailbox_id=%d", c.dst.mailbox.ID)
	p := pair{out: Table{Name: name, Columns: lone}, most: c.opt.Rows}
	if located[name] && len(c.opt.Volumes) > 0 {
		p.translate = map[int]func([]byte) ([]byte, bool){sel.index("locator"): c.locator}
	}
	if name == mailboxTable {
		sel.keyed, sel.key, sel.only = true, nil, fmt.Sprintf("id=%d", c.dst.mailbox.ID) // there is one
		p.same = map[int]func(src, dst []byte) bool{}
		for column, same := range c.meant() {
			p.same[sel.index(column)] = same
		}
	}
	p.sel = sel
	p.src = func() (*stream, error) { return c.src.read(ctx, src, sel, nil) }
	p.dst = func() (*stream, error) {
		return c.dst.read(ctx, dst, sel, func(column int, value []byte) {
			if checkpoint := counted[name][sel.columns[column].name]; checkpoint != "" {
				c.count(checkpoint, value)
			}
		})
	}
	if sel.keyed {
		err = p.merge()
	} else {
		err = p.multisets()
	}
	if p.out.Source+p.out.Dest == 0 {
		p.out.Columns = nil // which nothing is in
	}
	return p.out, err
}

// located are the tables whose column locator names a volume.
var located = map[string]bool{
	"mboxgroup.mail_item": true, "mboxgroup.mail_item_dumpster": true, "mboxgroup.revision": true, "mboxgroup.revision_dumpster": true,
}

// locator is what a source's locator must be at the destination.
func (c *comparison) locator(v []byte) ([]byte, bool) {
	if v == nil {
		return nil, true
	}
	n, err := strconv.ParseUint(string(v), 10, 8)
	if err != nil || strconv.FormatUint(n, 10) != string(v) {
		return v, false
	}
	to, ok := c.opt.Volumes[uint8(n)]
	return strconv.AppendUint(nil, uint64(to), 10), ok
}

// The counters that a mailbox row has of what was handed out.
const (
	itemCheckpoint   = "item_id_checkpoint"
	changeCheckpoint = "change_checkpoint"
)

// counted are the columns with numbers of those counters.
var counted = map[string]map[string]string{
	"mboxgroup.mail_item":          {"id": itemCheckpoint, "imap_id": itemCheckpoint, "mod_metadata": changeCheckpoint, "mod_content": changeCheckpoint},
	"mboxgroup.mail_item_dumpster": {"id": itemCheckpoint, "imap_id": itemCheckpoint, "mod_metadata": changeCheckpoint, "mod_content": changeCheckpoint},
	"mboxgroup.revision":           {"mod_metadata": changeCheckpoint, "mod_content": changeCheckpoint},
	"mboxgroup.revision_dumpster":  {"mod_metadata": changeCheckpoint, "mod_content": changeCheckpoint},
	"mboxgroup.tombstone":          {"sequence": changeCheckpoint},
	"mboxgroup.tag":                {"sequence": changeCheckpoint},
}

// count remembers the highest number. mailboxd counts with signed ones: a larger one is none of its own.
func (c *comparison) count(checkpoint string, value []byte) {
	if n, err := strconv.ParseUint(string(value), 10, 64); err == nil && n <= math.MaxInt32 {
		c.high[checkpoint] = max(c.high[checkpoint], n)
	}
}

// meant are the columns of the mailbox row that a move sets. Each says whether the destination has what it should.
func (c *comparison) meant() map[string]func(src, dst []byte) bool {
	is := func(want string) func(src, dst []byte) bool {
		return func(_, dst []byte) bool { return dst != nil && string(dst) == want }
	}
	reaches := func(checkpoint string) func(src, dst []byte) bool {
		return func(src, dst []byte) bool {
			a, errA := strconv.ParseUint(string(src), 10, 64)
			b, errB := strconv.ParseUint(string(dst), 10, 64)
			return errA == nil && errB == nil && b >= max(a, c.high[checkpoint])
		}
	}
	rules := map[string]func(src, dst []byte) bool{
		"group_id":       is(strconv.Itoa(c.dst.mailbox.Group)),
		"last_backup_at": func(_, dst []byte) bool { return dst == nil },
		"comment":        func(_, _ []byte) bool { return true },
		itemCheckpoint:   reaches(itemCheckpoint),
		changeCheckpoint: reaches(changeCheckpoint),
		"index_volume_id": func(_, dst []byte) bool {
			return c.opt.IndexVolume == 0 || string(dst) == strconv.Itoa(int(c.opt.IndexVolume))
		},
	}
	if c.opt.Address != "" {
		rules["comment"] = is(first(c.opt.Address, 255))
	}
	return rules
}

// first is the beginning of a text, in characters.
func first(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// equal compares two values, of which nil is NULL.
func equal(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
