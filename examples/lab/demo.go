package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/zimbra"
)

// The accounts of each store. The first of all is the one that moves.
var names = [2][3]string{
	{"alice@lab.example", "bob@lab.example", "carol@lab.example"},
	{"dave@lab.example", "erin@lab.example", "frank@lab.example"},
}

// neighbourItems is how many items the mailboxes have that stay.
const neighbourItems = 100

// show is the demo from start to end.
func show(ctx context.Context, o options, stdout io.Writer, t *talk) (err error) {
	l, err := lab.Start(ctx, &lab.Options{Backend: o.backend, Log: t})
	if err != nil {
		return err
	}
	defer func() {
		if left := l.Close(); left != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", errLeft, left))
		}
	}()
	c, err := connect(ctx, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	d := newDemo(l, c, t)
	if err := d.run(ctx, o.items); err != nil {
		return err
	}
	d.print(stdout)
	if n := d.broken(); n > 0 {
		return fmt.Errorf("%d of %d promises are broken", n, len(d.checks))
	}
	fmt.Fprintln(stdout, "\nmoved: everything as promised")
	if o.keep {
		return keep(ctx, l, stdout)
	}
	return nil
}

// A demo is one move and everything that is looked at before and after it.
type demo struct {
	*cluster
	talk     *talk
	lab      *lab.Lab
	src, dst *lab.Store
	account  *lab.Account
	writer   writer

	// Before the move.
	next   uint32 // the mailbox id that the destination's counter gives
	before [2]snapshot
	blobs  []lab.Blob

	// The move.
	plan     *zimbra.Plan
	report   *zimbra.Report
	planning time.Duration
	atLock   map[string]string // digests of the mailbox at the source just after the lock
	looking  time.Duration     // what these took: the user waits for the demo, not for the move

	// After it.
	tables []tableCheck
	checks []check
}

func newDemo(l *lab.Lab, c *cluster, t *talk) *demo {
	return &demo{cluster: c, talk: t, lab: l, src: l.Stores[0], dst: l.Stores[1]}
}

// A snapshot is what must not change on a store.
type snapshot struct{ others, variables map[string]string }

func (d *demo) run(ctx context.Context, items int) error {
	if err := d.fill(ctx, items); err != nil {
		return err
	}
	d.talk.say("looking at both stores")
	if err := d.remember(ctx); err != nil {
		return err
	}
	if err := d.move(ctx); err != nil {
		return err
	}
	d.talk.say("looking at both stores again")
	return d.check(ctx)
}

// fill makes the accounts; those of one store one after the other, so that ids are always the same.
func (d *demo) fill(ctx context.Context, items int) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range d.lab.Stores {
		g.Go(func() error {
			for _, name := range names[i] {
				n := neighbourItems
				if name == names[0][0] {
					n = items
				}
				d.talk.say("filling %s: %s, %d items", s.Host, name, n)
				a, err := d.lab.AddAccount(ctx, s, lab.AccountSpec{Name: name, Items: n})
				if err != nil {
					return err
				}
				if name == names[0][0] {
					d.account = a
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// remember keeps what the check after the move compares with.
func (d *demo) remember(ctx context.Context) error {
	row := d.pools[d.dst.Host].QueryRowContext(ctx, "SELECT next_mailbox_id FROM zimbra.current_volumes")
	err := row.Scan(&d.next)
	if err != nil {
		return err
	}
	if d.before, err = d.look(ctx); err != nil {
		return err
	}
	d.blobs, err = d.account.Blobs(ctx)
	return err
}

// look takes a snapshot of both stores, without the mailbox that moves: on the source, and under the id that it gets at the destination.
func (d *demo) look(ctx context.Context) (snaps [2]snapshot, err error) {
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range d.lab.Stores {
		own := [2]uint32{d.account.MailboxID, d.next}[i]
		g.Go(func() error {
			others, err := s.Bystanders(ctx, own)
			if err != nil {
				return err
			}
			variables, err := s.GlobalVariables(ctx)
			snaps[i] = snapshot{others, variables}
			return err
		})
	}
	return snaps, g.Wait()
}

// move moves the account while the writer writes to it, from before the plan to after the end.
func (d *demo) move(ctx context.Context) error {
	cfg := d.config
	cfg.OnEvent = d.talk.event
	cfg.Hooks.BeforeStep = d.lookAtLocked
	d.writer.first = make(chan struct{})
	stop := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.writer.run(gctx, d.account, stop) })
	g.Go(func() (err error) {
		defer close(stop)
		select {
		case <-d.writer.first:
		case <-gctx.Done():
			return gctx.Err()
		}
		d.talk.say("plan")
		began := time.Now()
		d.plan, d.report, err = move(gctx, cfg, d.account.Name, d.dst.Host)
		if err == nil {
			d.planning = d.report.Started.Sub(began)
		}
		return err
	})
	return g.Wait()
}

// lookAtLocked digests the mailbox at the source when it is locked and nothing was done with it yet.
func (d *demo) lookAtLocked(ctx context.Context, _ string, phase zimbra.Phase, step string) (err error) {
	if phase != zimbra.PhaseCutover || step != "copy-blobs" {
		return nil
	}
	began := time.Now()
	d.atLock, err = d.account.Digest(ctx)
	d.looking += time.Since(began)
	return err
}

// A tableCheck is a table on both sides.
type tableCheck struct {
	name     string
	src, dst tally
}

// A check is one promise. wrong is empty when it was kept.
type check struct{ what, wrong string }

func (d *demo) promise(kept bool, what, wrong string, args ...any) {
	c := check{what: what}
	if !kept {
		c.wrong = fmt.Sprintf(wrong, args...)
	}
	d.checks = append(d.checks, c)
}

func (d *demo) broken() (n int) {
	for _, c := range d.checks {
		if c.wrong != "" {
			n++
		}
	}
	return n
}

// check looks at everything that was promised. The error says that it could not look.
func (d *demo) check(ctx context.Context) error {
	there, err := d.account.At(ctx, d.dst)
	if err != nil {
		return err
	}
	if err := d.checkRows(ctx, there); err != nil {
		return err
	}
	if err := d.checkBlobs(ctx, there); err != nil {
		return err
	}
	now, err := d.account.Digest(ctx)
	if err != nil {
		return err
	}
	diff := changed(d.atLock, now)
	d.promise(len(d.atLock) > 0 && len(diff) == 0, "the mailbox at "+d.src.Host+" is byte for byte what it was when it was locked",
		"changed: %s", list(diff))

	after, err := d.look(ctx)
	if err != nil {
		return err
	}
	d.promise(there.MailboxID == d.next && after[1].others[lab.KeyNextMailboxID] == fmt.Sprint(d.next+1),
		"the mailbox id is from "+d.dst.Host+"'s own counter, which went on by one", "the counter stood at %d, the id is %d, it stands at %s",
		d.next, there.MailboxID, after[1].others[lab.KeyNextMailboxID])
	for i := range after {
		host := d.lab.Stores[i].Host
		for _, s := range []snapshot{d.before[i], after[i]} {
			if i == 1 {
				delete(s.others, lab.KeyNextMailboxID)
			}
		}
		diff := changed(d.before[i].others, after[i].others)
		d.promise(len(diff) == 0, fmt.Sprintf("neighbours at %s: %d tables and volumes unchanged", host, len(after[i].others)), "changed: %s", list(diff))
		diff = changed(d.before[i].variables, after[i].variables)
		d.promise(len(diff) == 0, fmt.Sprintf("global variables of %s: %d unchanged", host, len(after[i].variables)), "changed: %s", list(diff))
	}

	e, err := d.directory.Lookup(ctx, "", ldapattr.Equal("zimbraId", d.account.ID))
	if err != nil {
		return err
	}
	host, status := e.Value("zimbraMailHost"), e.Value("zimbraAccountStatus")
	d.promise(host == d.dst.Host && status == "active", "the directory has the account at "+d.dst.Host+", active", "at %s, %s", host, status)
	return nil
}

// checkRows reads both sides' rows again.
func (d *demo) checkRows(ctx context.Context, there *lab.Account) error {
	src := side{d.pools[d.src.Host], d.account.MailboxID, d.account.Group, d.plan.Locators()}
	dst := side{d.pools[d.dst.Host], there.MailboxID, there.Group, nil}
	var wrong []string
	for _, proof := range d.report.Tables {
		t := tableCheck{name: proof.Table}
		var err error
		if t.src, err = src.tally(ctx, t.name); err != nil {
			return err
		}
		if t.dst, err = dst.tally(ctx, t.name); err != nil {
			return err
		}
		d.tables = append(d.tables, t)
		if t.src != t.dst || t.src.rows != proof.Rows || t.src.rows == 0 {
			wrong = append(wrong, t.name)
		}
	}
	d.promise(len(wrong) == 0 && len(d.tables) > 0, fmt.Sprintf("%d tables have the same rows on both sides, none is empty", len(d.tables)), "not so: %s", list(wrong))
	return nil
}

// checkBlobs looks for every file that the rows at the destination demand, and for what the writer delivered.
func (d *demo) checkBlobs(ctx context.Context, there *lab.Account) error {
	atSource, err := d.account.Blobs(ctx)
	if err != nil {
		return err
	}
	atDest, err := there.Blobs(ctx)
	if err != nil {
		return err
	}
	err = d.dst.CheckBlobs(ctx, there.MailboxID)
	d.promise(err == nil && len(atDest) == len(atSource), fmt.Sprintf("%d blobs are at their place at %s, with the size and digest of their rows", len(atDest), d.dst.Host),
		"%d at %s, %d at %s; %v", len(atSource), d.src.Host, len(atDest), d.dst.Host, err)

	old, delivered := set(d.blobs), set(atSource)
	maps.DeleteFunc(delivered, func(k message, _ bool) bool { return old[k] })
	arrived := set(atDest)
	maps.DeleteFunc(arrived, func(k message, _ bool) bool { return !delivered[k] })
	d.promise(len(delivered) == d.writer.delivered && len(arrived) == d.writer.delivered,
		fmt.Sprintf("%d messages were delivered before the lock, each of them is at %s", d.writer.delivered, d.dst.Host),
		"%d are at %s and %d at %s", len(delivered), d.src.Host, len(arrived), d.dst.Host)
	return nil
}

// A message is a row with a blob, as it is known on both sides.
type message struct {
	table          string
	id, modContent uint32
	digest         string
}

func set(blobs []lab.Blob) map[message]bool {
	m := map[message]bool{}
	for _, b := range blobs {
		m[message{b.Table, b.ItemID, b.ModContent, b.Digest}] = true
	}
	return m
}

// changed names the keys whose values differ, sorted.
func changed(a, b map[string]string) []string {
	differ := map[string]bool{}
	for k := range a {
		v, ok := b[k]
		if !ok || v != a[k] {
			differ[k] = true
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			differ[k] = true
		}
	}
	return slices.Sorted(maps.Keys(differ))
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing to compare with"
	}
	return strings.Join(names, ", ")
}
