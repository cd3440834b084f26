package zimbra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/sqlrewrite"
)

// NewCopier returns the Copier over stores that NewStore made, by zimbraMailHost. It is what a Config without a Copier gets.
func NewCopier(stores map[string]*Store) Copier { return copier(stores) }

type copier map[string]*Store

// Copy implements Copier.
func (c copier) Copy(p *Plan, move string, progress func(Progress)) (*Copy, error) {
	src, dst := c[p.Source.Host], c[p.Dest.Host]
	for host, s := range map[string]*Store{p.Source.Host: src, p.Dest.Host: dst} {
		if s == nil || s.real == nil {
			return nil, fmt.Errorf("store %s was not made by NewStore", host)
		}
	}
	t := &transfer{
		plan: p, move: move, progress: progress,
		src: src.real, dst: dst.real,
		srcDB: src.real.database(p.Source.Groups, p.Tables),
		dstDB: dst.real.database(p.Dest.Groups, p.Tables),
	}
	return &Copy{Fence: &fence{transfer: t}, Rows: rows{t}, Files: newFiles(t), Close: nil}, nil
}

// A transfer is what the effects of one copy share.
type transfer struct {
	plan         *Plan
	move         string
	progress     func(Progress)
	src, dst     *mailstore
	srcDB, dstDB *mboxdb.DB
	claim        mboxdb.Claim   // the last that was made; the zero Claim holds nothing
	to           mboxdb.Mailbox // what is reserved, once known
	carried      *carrier       // what the claim carries rows with, once it does
}

// A carrier is the pair of mailboxes as one claim carries rows between them.
type carrier struct {
	*mboxdb.Copy
	claim mboxdb.Claim
	found *mboxdb.Difference // what Load found and made equal last; nil: it did not
}

// reserved is the mailbox that the destination has reserved for the account. A rollback in a new process asks for it.
func (t *transfer) reserved(ctx context.Context) (mboxdb.Mailbox, error) {
	if t.to.ID == 0 {
		h, err := t.dstDB.Holder(ctx, t.plan.Account.ID)
		if err != nil {
			return mboxdb.Mailbox{}, err
		}
		t.to = mboxdb.Mailbox{ID: h.Mailbox, Group: h.Group, AccountID: t.plan.Account.ID, IndexVolume: t.plan.IndexVolume}
	}
	return t.to, nil
}

// ours turns mboxdb's conditions into those of this package.
func ours(err error) error {
	for from, to := range map[error]error{mboxdb.ErrFenced: ErrFenced, mboxdb.ErrBusy: ErrBusy, mboxdb.ErrLockLost: ErrLeaseLost} {
		if errors.Is(err, from) {
			return fmt.Errorf("%w: %w", to, err)
		}
	}
	return err
}

// A fence is the row in zmlift.moves, the named locks on both servers, and room in both stores' pools.
type fence struct {
	*transfer
	mu       sync.Mutex
	admitted []*mailstore
	locks    []*mboxdb.Lock
}

func (f *fence) Holder(ctx context.Context) (Holder, error) {
	h, err := f.dstDB.Holder(ctx, f.plan.Account.ID)
	return Holder{Move: h.Move, Fence: h.Fence, Open: h.Open}, err
}

func (f *fence) Claim(ctx context.Context, n uint64) error {
	c := mboxdb.Claim{Move: f.move, AccountID: f.plan.Account.ID, Fence: n}
	if err := f.dstDB.Claim(ctx, c); err != nil {
		return ours(err)
	}
	f.claim = c
	return nil
}

func (f *fence) Hold(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.alive(ctx) == nil {
		return nil
	}
	if err := f.release(); err != nil {
		return err
	}
	if err := f.admit(); err != nil {
		return errors.Join(err, f.release())
	}
	for _, side := range []struct {
		host string
		db   *mboxdb.DB
	}{{f.plan.Source.Host, f.srcDB}, {f.plan.Dest.Host, f.dstDB}} {
		l, err := side.db.Lock(ctx, f.plan.Account.ID)
		if err != nil {
			return errors.Join(ours(fmt.Errorf("%s: %w", side.host, err)), f.release())
		}
		f.locks = append(f.locks, l)
	}
	return nil
}

// admit takes room in both pools, in the order of the hosts: of two moves that pass each other in opposite directions one gets in.
func (f *fence) admit() error {
	stores := []*mailstore{f.src, f.dst}
	slices.SortFunc(stores, func(a, b *mailstore) int { return strings.Compare(a.Host, b.Host) })
	for _, m := range stores {
		if err := m.admit(); err != nil {
			return err
		}
		f.admitted = append(f.admitted, m)
	}
	return nil
}

func (f *fence) alive(ctx context.Context) error {
	if len(f.locks) == 0 {
		return ErrLeaseLost
	}
	for _, l := range f.locks {
		if err := l.Alive(ctx); err != nil {
			return ours(err)
		}
	}
	return nil
}

func (f *fence) Held(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.alive(ctx); err != nil {
		return err
	}
	return ours(f.dstDB.Held(ctx, f.claim))
}

func (f *fence) Release(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.release()
}

func (f *fence) release() error {
	var errs []error
	for _, l := range f.locks {
		errs = append(errs, l.Close())
	}
	for _, m := range f.admitted { // after the locks: each has a connection
		m.dismiss()
	}
	f.locks, f.admitted = nil, nil
	return errors.Join(errs...)
}

func (f *fence) End(ctx context.Context) error { return ours(f.dstDB.End(ctx, f.claim)) }

// rows are those of mboxdb, rewritten by sqlrewrite.
type rows struct{ *transfer }

func (r rows) Reserve(ctx context.Context) (Reservation, error) {
	res, err := r.dstDB.Reserve(ctx, r.claim, nil)
	if err != nil {
		return Reservation{}, ours(err)
	}
	r.to = res.Mailbox
	return Reservation{ID: res.Mailbox.ID, Group: res.Mailbox.Group, Burnt: res.Burnt}, nil
}

// copy is the pair of mailboxes, for what carries no rows; nil when nothing was reserved yet.
func (r rows) copy(ctx context.Context) (*mboxdb.Copy, error) {
	to, err := r.reserved(ctx)
	if err != nil || to.ID == 0 {
		return nil, err
	}
	return r.pair(to, func(context.Context, io.Writer, io.Reader) error { return errors.New("this copy carries no rows") })
}

// carrier is the pair of mailboxes, ready to carry rows, the same one as long as the claim is. The source is asked for its tables here and not
// when a dump comes: the dump's session holds a connection then, and moves that ask for more while they hold some wait for each other.
func (r rows) carrier(ctx context.Context) (*carrier, error) {
	if r.carried != nil && r.carried.claim == r.claim {
		return r.carried, nil
	}
	to, err := r.reserved(ctx)
	if err != nil {
		return nil, err
	}
	from := r.plan.Source.Mailbox
	tables, err := r.srcDB.Tables(ctx, from.Group)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	w, err := sqlrewrite.Compile(rewriteRules(tables, *from, to, r.plan.Locators()))
	if err != nil {
		return nil, fmt.Errorf("rewrite: %w", err)
	}
	c, err := r.pair(to, func(ctx context.Context, dst io.Writer, src io.Reader) error {
		_, err := w.Rewrite(ctx, dst, src)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.carried = &carrier{Copy: c, claim: r.claim}
	return r.carried, nil
}

// pair is the source's mailbox and the reserved one; rewrite maps the ids in a dump of the source's.
func (r rows) pair(to mboxdb.Mailbox, rewrite func(ctx context.Context, dst io.Writer, src io.Reader) error) (*mboxdb.Copy, error) {
	return mboxdb.NewCopy(r.dstDB, r.srcDB, to, *r.plan.Source.Mailbox, &mboxdb.CopyOptions{
		Claim: r.claim, Rewrite: rewrite, Volumes: r.plan.Volumes, IndexVolume: r.plan.IndexVolume, Address: r.plan.Account.Name,
		Streams:  rowStreams,
		Progress: func(done, total int64) { r.progress(Progress{Done: done, Total: total, Unit: "rows"}) },
	})
}

// rewriteRules are the rules for a dump of these tables: the mailbox id everywhere, locators where there are some, and the group's database.
// What they do not name is refused.
func rewriteRules(tables []mboxdb.Table, from, to mboxdb.Mailbox, locators map[string]string) sqlrewrite.Rules {
	database := func(group int) string { return fmt.Sprintf("mboxgroup%d", group) }
	rules := sqlrewrite.Rules{Unknown: sqlrewrite.Refuse}
	if from.Group != to.Group {
		rules.Databases = map[string]string{database(from.Group): database(to.Group)}
	}
	for _, t := range tables {
		if !t.Moved() {
			continue
		}
		in, id := t.Database, "mailbox_id"
		if in != "zimbra" {
			in = database(from.Group)
		} else if t.Name == "mailbox" {
			id = "id"
		}
		add := func(column string, m map[string]string) {
			rules.Columns = append(rules.Columns, sqlrewrite.Column{Database: in, Table: t.Name, Column: column, Map: m, Unmapped: sqlrewrite.Refuse})
		}
		add(id, map[string]string{from.ID.String(): to.ID.String()})
		if t.HasLocator() {
			add("locator", locators)
		}
	}
	return rules
}

func (r rows) Quiet(ctx context.Context) error { return r.srcDB.Quiet(ctx, quietWait) }

func (r rows) Presync(ctx context.Context) (mboxdb.Presynced, error) {
	c, err := r.carrier(ctx)
	if err != nil {
		return mboxdb.Presynced{}, err
	}
	c.found = nil
	p, err := c.Presync(ctx)
	return p, ours(err)
}

func (r rows) Load(ctx context.Context) (mboxdb.Applied, error) {
	c, err := r.carrier(ctx)
	if err != nil {
		return mboxdb.Applied{}, err
	}
	c.found = nil
	d, err := c.Diff(ctx)
	if err != nil {
		return mboxdb.Applied{}, err
	}
	a, err := c.Apply(ctx, d)
	if err == nil {
		c.found = d
	}
	return a, ours(err)
}

// Verify compares again only the rows that Load found to differ, as long as nobody can have written since: that is what the lockout is for.
// Without one, everything.
func (r rows) Verify(ctx context.Context) ([]TableProof, error) {
	c, err := r.carrier(ctx)
	if err != nil {
		return nil, err
	}
	if c.found == nil || r.src.Mailboxd == nil {
		return c.Verify(ctx)
	}
	return c.Prove(ctx, c.found)
}

func (r rows) Undoable(ctx context.Context) (Undo, error) {
	c, err := r.copy(ctx)
	if err != nil {
		return Undo{}, err
	}
	d, err := c.Undoable(ctx)
	return Undo{DeletedAccount: d}, err
}

func (r rows) Publish(ctx context.Context) (Published, error) {
	c, err := r.carrier(ctx)
	if err != nil {
		return Published{}, err
	}
	proofs, err := c.Publish(ctx)
	return Published{Tables: proofs}, ours(err)
}

func (r rows) Unpublish(ctx context.Context, undo Undo) error {
	c, err := r.copy(ctx)
	if err != nil || c == nil {
		return err
	}
	return ours(c.Unpublish(ctx, undo.DeletedAccount))
}

func (r rows) Remove(ctx context.Context, undo Undo) error {
	c, err := r.copy(ctx)
	if err != nil || c == nil {
		return err
	}
	return ours(c.Remove(ctx, &mboxdb.RemoveOptions{Undo: undo.DeletedAccount, LivesElsewhere: true}))
}

func (r rows) Home(ctx context.Context) (mboxdb.MailboxID, bool, error) {
	m, err := r.dstDB.Find(ctx, r.plan.Account.ID)
	if errors.Is(err, mboxdb.ErrNotFound) {
		return 0, false, nil
	}
	return m.ID, err == nil, err
}

// volumePath is where a mailbox lies on a volume, as people are told.
func volumePath(v mboxdb.Volume, id mboxdb.MailboxID) string {
	return path.Join(v.Path, v.MailboxDir(id))
}
