package zimbratest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/ldapattr/ldapattrtest"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// --- directory ---

type directory struct{ p *Process }

func (d directory) Lookup(ctx context.Context, base, filter string, attrs ...string) (e ldapattr.Entry, err error) {
	err = d.p.effect("directory.Lookup", func() error {
		e, err = d.p.w.dir.Lookup(context.WithoutCancel(ctx), base, filter, attrs...)
		return err
	})
	return e, err
}

func (d directory) ModifyIf(ctx context.Context, dn, assertion string, changes ...ldapattr.Change) error {
	return d.p.effect("directory.ModifyIf", func() error {
		return d.p.w.modify(ctx, dn, assertion, changes...)
	})
}

// A replica is a list of copies of the directory and of the times from which they show.
type replica []copyOf

type copyOf struct {
	at  time.Time
	dir *ldapattrtest.Directory
}

// shown drops the copies that a newer one has replaced.
func (r replica) shown(now time.Time) replica {
	for len(r) > 1 && !r[1].at.After(now) {
		r = r[1:]
	}
	return r
}

func (r replica) now() *ldapattrtest.Directory { return r[0].dir }

type replicaReader struct{ p *Process }

func (d replicaReader) Lookup(ctx context.Context, base, filter string, attrs ...string) (e ldapattr.Entry, err error) {
	err = d.p.effect("replica.Lookup", func() error {
		e, err = d.p.w.replica.now().Lookup(context.WithoutCancel(ctx), base, filter, attrs...)
		return err
	})
	return e, err
}

// --- survey ---

type surveyor struct {
	p    *Process
	host string
}

func (v surveyor) Survey(ctx context.Context, r zimbra.SurveyRequest) zimbra.Survey {
	account := r.AccountID
	var out zimbra.Survey
	err := v.p.effect("survey "+v.host, func() error {
		s := v.p.w.stores[v.host]
		out = zimbra.Survey{
			Server: mboxdb.Server{Identity: v.host, Version: "10.1", DBVersion: "118", TimeZone: "UTC"},
			Groups: 100,
			Schema: map[string]string{"zimbra.mailbox.id": "int unsigned"},
			Volumes: []mboxdb.Volume{
				{ID: 1, Type: mboxdb.Primary, Name: "message1", Path: "/opt/zimbra/store"},
				{ID: 2, Type: mboxdb.Index, Name: "index1", Path: "/opt/zimbra/index"},
			},
			Current:  mboxdb.CurrentVolumes{Message: 1, Index: 2},
			Locators: map[string]int64{"1": 1},
			Free:     map[mboxdb.VolumeID]int64{1: 1 << 40, 2: 1 << 40},
		}
		if f, ok := s.fences[account]; ok {
			out.Holder = zimbra.Holder{Move: f.move, Fence: f.fence, Open: f.open}
		}
		if id, ok := s.homes[account]; ok {
			out.Mailbox = &mboxdb.Mailbox{ID: id, Group: int(id-1)%100 + 1, AccountID: account, IndexVolume: 2}
			out.Rows, out.Blobs = int64(len(s.rows[id])), int64(len(s.blobs[id]))
		}
		return nil
	})
	if err != nil {
		out = zimbra.Survey{Problems: []zimbra.Problem{{Code: zimbra.CodeUnreachable, Object: v.host, Message: err.Error(), Hint: "try again"}}}
	}
	return out
}

// --- one move's copy ---

type copier struct{ p *Process }

func (c copier) Copy(p *zimbra.Plan, move string, _ func(zimbra.Progress)) (*zimbra.Copy, error) {
	t := &transfer{p: c.p, plan: p, move: move}
	return &zimbra.Copy{Fence: fence{t}, Rows: rows{t}, Files: files{t}}, nil
}

// A transfer is what the effects of one copy share.
type transfer struct {
	p     *Process
	plan  *zimbra.Plan
	move  string
	fence uint64
	id    mboxdb.MailboxID
}

func (t *transfer) src() *store              { return t.p.w.stores[t.plan.Source.Host] }
func (t *transfer) dst() *store              { return t.p.w.stores[t.plan.Dest.Host] }
func (t *transfer) account() string          { return t.plan.Account.ID }
func (t *transfer) fromID() mboxdb.MailboxID { return t.plan.Source.Mailbox.ID }

// write has an effect at the destination's database, in a transaction that compares the fence. The fence is the one of the call, also when
// the effect comes late.
func (t *transfer) write(name string, do func() error) error {
	held := t.fence
	return t.p.effect(name, func() error {
		f := t.dst().fences[t.account()]
		if f.move != t.move || f.fence != held || !f.open {
			return fmt.Errorf("%w: %s", zimbra.ErrFenced, name)
		}
		return do()
	})
}

type fence struct{ *transfer }

func (f fence) Holder(ctx context.Context) (h zimbra.Holder, err error) {
	err = f.p.effect("fence.Holder", func() error {
		r := f.dst().fences[f.account()]
		h = zimbra.Holder{Move: r.move, Fence: r.fence, Open: r.open}
		return nil
	})
	return h, err
}

func (f fence) Claim(ctx context.Context, n uint64) error {
	err := f.p.effect("fence.Claim", func() error {
		r := f.dst().fences[f.account()]
		if r.fence >= n || r.open && r.move != f.move {
			return fmt.Errorf("%w: fence is %d, ours %d", zimbra.ErrFenced, r.fence, n)
		}
		r.move, r.fence, r.open = f.move, n, true
		f.dst().fences[f.account()] = r
		return nil
	})
	if err == nil {
		f.fence = n
	}
	return err
}

func (f fence) Hold(ctx context.Context) error {
	abandoned := false // the caller has given up: its session ends when the server notices
	err := f.p.effect("fence.Hold", func() error {
		w := f.p.w
		f.p.expired = false // it connects anew
		for _, host := range []string{Source, Dest} {
			if l, ok := w.leases[host]; ok && l.p != f.p && l.live(w.now) {
				return zimbra.ErrBusy
			}
			l := lease{p: f.p}
			if abandoned {
				l.until = w.now.Add(leaseTimeout)
			}
			w.leases[host] = l
		}
		return nil
	})
	if abandoned = err != nil; abandoned {
		f.drop()
	}
	return err
}

// drop ends the sessions with the named locks.
func (f fence) drop() {
	maps.DeleteFunc(f.p.w.leases, func(_ string, l lease) bool { return l.p == f.p })
}

func (f fence) Held(ctx context.Context) error {
	held := f.fence
	return f.p.effect("fence.Held", func() error {
		for _, host := range []string{Source, Dest} {
			if l := f.p.w.leases[host]; l.p != f.p || !l.live(f.p.w.now) {
				return zimbra.ErrLeaseLost
			}
		}
		if r := f.dst().fences[f.account()]; r.move != f.move || r.fence != held || !r.open {
			return zimbra.ErrFenced
		}
		return nil
	})
}

func (f fence) Release(ctx context.Context) error {
	err := f.p.effect("fence.Release", func() error { f.drop(); return nil })
	for host, l := range f.p.w.leases {
		if err != nil && l.p == f.p { // the session is closed, and ends when the server notices
			f.p.w.leases[host] = lease{p: l.p, until: f.p.w.now.Add(leaseTimeout)}
		}
	}
	return err
}

func (f fence) End(ctx context.Context) error {
	held := f.fence
	return f.p.effect("fence.End", func() error {
		r := f.dst().fences[f.account()]
		if r.move == f.move && !r.open {
			return nil
		}
		if r.move != f.move || r.fence != held {
			return zimbra.ErrFenced
		}
		r.open = false
		f.dst().fences[f.account()] = r
		return nil
	})
}

type rows struct{ *transfer }

func (r rows) Reserve(ctx context.Context) (res zimbra.Reservation, err error) {
	err = r.write("rows.Reserve", func() error {
		dst := r.dst()
		f := dst.fences[r.account()]
		if f.id == 0 {
			f.id = dst.nextID
			dst.nextID++
			dst.fences[r.account()] = f
		}
		res = zimbra.Reservation{ID: f.id, Group: int(f.id-1)%100 + 1}
		return nil
	})
	r.id = res.ID
	return res, err
}

func (r rows) Quiet(ctx context.Context) error {
	return r.p.effect("rows.Quiet", func() error { return nil })
}

func (r rows) Presync(ctx context.Context) (out mboxdb.Presynced, err error) {
	return out, r.write("rows.Presync", r.load) // of which the user goes on to change some
}

func (r rows) Load(ctx context.Context) (out mboxdb.Applied, err error) {
	return out, r.write("rows.Load", r.load)
}

func (r rows) load() error {
	if _, ok := r.dst().homes[r.account()]; ok {
		return fmt.Errorf("mailbox %d is published: its rows are mailboxd's", r.id)
	}
	r.dst().rows[r.id] = r.mapped()
	return nil
}

// mapped is the source's rows as they belong at the destination: mail that looks like an id stays as it is.
func (r rows) mapped() map[string]string { return maps.Clone(r.src().rows[r.fromID()]) }

func (r rows) Verify(ctx context.Context) (out []zimbra.TableProof, err error) {
	err = r.p.effect("rows.Verify", func() error {
		if !maps.Equal(r.dst().rows[r.id], r.mapped()) {
			return fmt.Errorf("rows differ: %d at the source, %d at the destination", len(r.mapped()), len(r.dst().rows[r.id]))
		}
		out = []zimbra.TableProof{{Table: "mail_item", Rows: int64(len(r.mapped())), Digest: "00"}}
		return nil
	})
	return out, err
}

func (r rows) Undoable(ctx context.Context) (u zimbra.Undo, err error) {
	err = r.p.effect("rows.Undoable", func() error {
		if d, ok := r.dst().deleted[r.plan.Account.Name]; ok {
			u.DeletedAccount = &d
		}
		return nil
	})
	return u, err
}

func (r rows) Publish(ctx context.Context) (out zimbra.Published, err error) {
	return out, r.write("rows.Publish", func() error {
		if !maps.Equal(r.dst().rows[r.id], r.mapped()) {
			return fmt.Errorf("rows differ")
		}
		delete(r.dst().deleted, r.plan.Account.Name)
		r.dst().homes[r.account()] = r.id
		return nil
	})
}

func (r rows) unpublish(undo zimbra.Undo) {
	dst := r.dst()
	if id, ok := dst.homes[r.account()]; ok && id == dst.fences[r.account()].id {
		delete(dst.homes, r.account())
	}
	if d := undo.DeletedAccount; d != nil {
		if _, ok := dst.deleted[d.Email]; !ok {
			dst.deleted[d.Email] = *d
		}
	}
}

func (r rows) Unpublish(ctx context.Context, undo zimbra.Undo) error {
	return r.write("rows.Unpublish", func() error { r.unpublish(undo); return nil })
}

func (r rows) Remove(ctx context.Context, undo zimbra.Undo) error {
	return r.write("rows.Remove", func() error {
		r.unpublish(undo)
		if id := r.dst().fences[r.account()].id; id != 0 {
			delete(r.dst().rows, id)
		}
		return nil
	})
}

func (r rows) Home(ctx context.Context) (id mboxdb.MailboxID, ok bool, err error) {
	err = r.p.effect("rows.Home", func() error { id, ok = r.dst().homes[r.account()]; return nil })
	return id, ok, err
}

type files struct{ *transfer }

// marked has an effect in the destination's directories, which compares the mark there.
func (f files) marked(name string, do func() error) error {
	want, id := mark{f.move, f.fence}, f.id
	return f.p.effect(name, func() error {
		if f.dst().marks[id] != want {
			return fmt.Errorf("%w: mark of mailbox %d is %v, ours %v", zimbra.ErrFenced, id, f.dst().marks[id], want)
		}
		return do()
	})
}

// standing looks whether the claim stands.
func (f files) standing() error { return f.write("files.standing", func() error { return nil }) }

// Make looks and acts one after the other, as the real one does: whatever it found may be another thing when it acts.
func (f files) Make(ctx context.Context, to zimbra.Reservation) error {
	if err := f.standing(); err != nil {
		return err
	}
	found, marked, empty, err := f.enter(to.ID)
	if err != nil {
		return err
	}
	if marked && found.move != f.move { // what an ended move left
		if err := f.standing(); err != nil {
			return err
		}
		if err := f.removeMarked(to.ID, found); err != nil {
			return err
		}
		if found, marked, empty, err = f.enter(to.ID); err != nil {
			return err
		}
	}
	switch {
	case marked && found.move != f.move:
		return fmt.Errorf("%w: mailbox %d was marked by another move", zimbra.ErrFenced, to.ID)
	case !marked && !empty:
		return fmt.Errorf("directory of mailbox %d is not this move's", to.ID)
	}
	return f.mark(to.ID, !marked)
}

// enter makes the directory if it is not there, and reads its mark.
func (f files) enter(id mboxdb.MailboxID) (found mark, marked, empty bool, err error) {
	dst := f.dst()
	err = f.p.effect("files.enter", func() error {
		if dst.blobs[id] == nil {
			dst.blobs[id] = map[string]string{}
		}
		found, marked = dst.marks[id]
		empty = len(dst.blobs[id]) == 0 && dst.index[id] == ""
		return nil
	})
	return found, marked, empty, err
}

// mark writes the mark, and takes it away again when the claim is gone and nobody else needs one. The command ends with its connection,
// so that it never comes late.
func (f files) mark(id mboxdb.MailboxID, anew bool) error {
	dst, ours := f.dst(), mark{f.move, f.fence}
	err := f.p.local("files.mark", func() error {
		if _, there := dst.marks[id]; there && anew {
			return fmt.Errorf("mailbox %d has a mark by now", id)
		}
		if dst.blobs[id] == nil {
			return fmt.Errorf("mailbox %d has no directory by now", id)
		}
		dst.marks[id] = ours
		return nil
	})
	if err != nil {
		return err
	}
	if err = f.standing(); errors.Is(err, zimbra.ErrFenced) && (anew || !dst.fences[f.account()].open) {
		return errors.Join(err, f.p.effect("files.takeBack", func() error {
			if dst.marks[id] == ours {
				delete(dst.marks, id)
			}
			return nil
		}))
	}
	return err
}

// removeMarked removes a directory that has that mark.
func (f files) removeMarked(id mboxdb.MailboxID, want mark) error {
	return f.p.effect("files.removeMarked", func() error {
		dst := f.dst()
		if dst.marks[id] != want {
			return fmt.Errorf("%w: mark of mailbox %d is %v, to be removed was that of %v", zimbra.ErrFenced, id, dst.marks[id], want)
		}
		delete(dst.blobs, id)
		delete(dst.index, id)
		delete(dst.marks, id)
		return nil
	})
}

func (f files) copy() zimbra.FileStats {
	src, dst := f.src().blobs[f.fromID()], f.dst().blobs[f.id]
	var st zimbra.FileStats
	for name, content := range src {
		if dst[name] != content {
			dst[name] = content
			st.Files++
		}
	}
	maps.DeleteFunc(dst, func(name, _ string) bool { _, ok := src[name]; return !ok })
	return st
}

func (f files) Presync(ctx context.Context) (st zimbra.FileStats, err error) {
	err = f.marked("files.Presync", func() error {
		st = f.copy()
		f.dst().index[f.id] = "half an index"
		return nil
	})
	return st, err
}

func (f files) Copy(ctx context.Context) (st zimbra.FileStats, err error) {
	err = f.marked("files.Copy", func() error { st = f.copy(); return nil })
	return st, err
}

func (f files) Index(ctx context.Context) (st zimbra.FileStats, err error) {
	err = f.marked("files.Index", func() error { f.dst().index[f.id] = f.src().index[f.fromID()]; return nil })
	return st, err
}

func (f files) Check(ctx context.Context) (st zimbra.FileStats, err error) {
	err = f.p.effect("files.Check", func() error {
		for item := range f.src().rows[f.fromID()] {
			if f.dst().blobs[f.id][item] == "" {
				return fmt.Errorf("blob %s is missing", item)
			}
			st.Checked++
		}
		return nil
	})
	return st, err
}

func (f files) Durable(ctx context.Context) error {
	return f.p.effect("files.Durable", func() error { return nil })
}

func (f files) Unmark(ctx context.Context) error {
	held := f.fence
	return f.p.effect("files.Unmark", func() error {
		row := f.dst().fences[f.account()]
		if m := f.dst().marks[row.id]; m.move == f.move || row.open && row.move == f.move && row.fence == held {
			delete(f.dst().marks, row.id)
		}
		return nil
	})
}

func (f files) Remove(ctx context.Context, to zimbra.Reservation) error {
	if err := f.standing(); err != nil {
		return err
	}
	var found mark
	var there, marked, empty bool
	err := f.p.effect("files.look", func() error {
		dst := f.dst()
		there = dst.blobs[to.ID] != nil
		found, marked = dst.marks[to.ID]
		empty = len(dst.blobs[to.ID]) == 0 && dst.index[to.ID] == ""
		return nil
	})
	switch {
	case err != nil:
		return err
	case !there, marked && found.move != f.move:
		return nil
	case !marked && !empty:
		return fmt.Errorf("directory of mailbox %d has files and no mark", to.ID)
	case !marked: // what is removed has a mark: an empty directory may be one in service by then
		if err := f.mark(to.ID, true); err != nil {
			return err
		}
		found = mark{f.move, f.fence}
	}
	return f.removeMarked(to.ID, found)
}

// --- caches, journals, clock ---

type caches struct {
	p    *Process
	host string
}

func (c caches) Forget(ctx context.Context, a zimbra.Account, kind zimbra.CacheKind) error {
	return c.p.effect("caches.Forget "+string(kind)+" "+c.host, func() error { return nil })
}

type journals struct{ p *Process }

type journal struct {
	account string
	entries []zimbra.Entry
	owner   *Process
}

func (j journals) Create(ctx context.Context, account, move string) (out zimbra.Journal, err error) {
	err = j.p.local("journals.Create", func() error {
		if j.p.w.journals[move] != nil {
			return fmt.Errorf("journal %s exists", move)
		}
		l := &journal{account: account, owner: j.p}
		j.p.w.journals[move] = l
		out = openJournal{j.p, l, new(bool)}
		return nil
	})
	if l := j.p.w.journals[move]; err != nil && l != nil {
		l.owner = nil // who gets no file has no lock on it
	}
	return out, err
}

func (j journals) Open(ctx context.Context, move string) (zimbra.Journal, error) {
	l := j.p.w.journals[move]
	switch {
	case l == nil:
		return nil, zimbra.ErrNoMove
	case l.owner != nil && l.owner != j.p && !l.owner.dead && !l.owner.expired:
		return nil, zimbra.ErrBusy
	}
	l.owner = j.p
	return openJournal{j.p, l, new(bool)}, nil
}

func (j journals) Read(ctx context.Context, move string) ([]zimbra.Entry, error) {
	if l := j.p.w.journals[move]; l != nil {
		return slices.Clone(l.entries), nil
	}
	return nil, zimbra.ErrNoMove
}

func (j journals) List(ctx context.Context) ([]string, error) { return j.p.w.Moves(), nil }

type openJournal struct {
	p      *Process
	l      *journal
	broken *bool // after an error it takes no more entries, as the real one
}

func (o openJournal) Append(ctx context.Context, e zimbra.Entry) error {
	if *o.broken {
		return errFault
	}
	err := o.append(e)
	*o.broken = err != nil
	return err
}

func (o openJournal) append(e zimbra.Entry) error {
	return o.p.local("journal.Append "+e.Step+" "+e.Is, func() error {
		if e.N != len(o.l.entries)+1 {
			return fmt.Errorf("%w: entry %d, the journal has %d", zimbra.ErrFenced, e.N, len(o.l.entries))
		}
		o.l.entries = append(o.l.entries, e)
		return nil
	})
}

func (o openJournal) Load(ctx context.Context) ([]zimbra.Entry, error) {
	return slices.Clone(o.l.entries), nil
}

func (o openJournal) Close() error {
	if o.l.owner == o.p {
		o.l.owner = nil
	}
	return nil
}

type clock struct{ p *Process }

func (c clock) Now() time.Time { return c.p.w.now }

func (c clock) Sleep(ctx context.Context, d time.Duration) error {
	if c.p.dead {
		return errDead
	}
	c.p.w.advance(d)
	return ctx.Err()
}
