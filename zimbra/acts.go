package zimbra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zmlift/zmlift/ldapattr"
)

// This file holds what each step does, in the order of the move (steps.go).

// The attributes that a move reads and writes.
const (
	attrHost      = "zimbraMailHost"
	attrTransport = "zimbraMailTransport"
	attrStatus    = "zimbraAccountStatus"
	attrMail      = "zimbraMailStatus"
	attrCSN       = "entryCSN"

	maintenance = "maintenance"
)

// askDirectory finds out whether a commit whose answer was lost has happened. It asks; it never guesses.
func (mv *Move) askDirectory(ctx context.Context) (any, error) {
	p := mv.st.plan
	e, err := mv.entry(ctx)
	if err != nil {
		return nil, err
	}
	switch host := e.Value(attrHost); {
	case strings.EqualFold(host, p.Source.Host):
		return map[string]bool{"committed": false}, nil
	case !strings.EqualFold(host, p.Dest.Host):
		return nil, fmt.Errorf("%w: %s of %s is %q, neither %s nor %s", ErrUndecided, attrHost, p.Account.Name, host, p.Source.Host, p.Dest.Host)
	}
	// Committed means both: the directory says so, and the row there is ours.
	if err := mv.rowIsOurs(ctx); err != nil {
		return nil, err
	}
	return map[string]bool{"committed": true}, nil
}

// nextFence finds the number under which this run will write. It is above every one that was ever used for the account there.
func (mv *Move) nextFence(ctx context.Context) (any, error) {
	h, err := mv.copy.Fence.Holder(ctx)
	if err != nil {
		return nil, err
	}
	ours := h.Move == mv.id
	if !mv.st.committed { // a rollback that goes on in a new process, too: the account may have moved by another journal meanwhile
		e, err := mv.entry(ctx)
		if err != nil {
			return nil, err
		}
		if err := mv.livesAtSource(e); err != nil {
			if mv.st.fence == 0 { // nothing was made yet: another move went ahead
				err = fmt.Errorf("%w: %s of %s is %q, not %s", ErrPlanStale, attrHost, mv.st.plan.Account.Name, e.Value(attrHost), mv.st.plan.Source.Host)
			}
			return nil, err
		}
	}
	switch {
	case h.Open && !ours:
		return nil, fmt.Errorf("%w: move %s is open for this account on %s", ErrFenced, h.Move, mv.st.plan.Dest.Host)
	case ours && h.Fence > mv.st.fence:
		return nil, fmt.Errorf("%w: fence %d on %s is newer than this journal's %d: the journal is an old copy", ErrFenced, h.Fence, mv.st.plan.Dest.Host, mv.st.fence)
	}
	return map[string]uint64{"fence": max(h.Fence, mv.st.fence) + 1}, nil
}

// takeOver takes the named locks, and raises the fence: whatever an older run of this move still has under way at the destination fails
// from here on.
func (mv *Move) takeOver(ctx context.Context) (any, error) {
	if err := mv.copy.Fence.Hold(ctx); err != nil {
		return nil, err
	}
	return nil, mv.copy.Fence.Claim(ctx, mv.st.fence)
}

func (mv *Move) reserve(ctx context.Context) (any, error) {
	r, err := mv.copy.Rows.Reserve(ctx)
	if err != nil {
		return nil, err
	}
	if old := mv.st.reservation; old != nil && old.ID != r.ID {
		return nil, fmt.Errorf("%w: mailbox id %d was reserved for this move, now the destination says %d", ErrUndecided, old.ID, r.ID)
	}
	return r, nil
}

// makeTrees makes the directories for the reserved id, marked as ours.
func (mv *Move) makeTrees(ctx context.Context) (any, error) {
	return nil, mv.copy.Files.Make(ctx, *mv.st.reservation)
}

// presyncFiles copies while the user works, until a pass finds little.
func (mv *Move) presyncFiles(ctx context.Context) (any, error) {
	var sum FileStats
	for pass := 1; ; pass++ {
		st, err := mv.copy.Files.Presync(ctx)
		if err != nil {
			return nil, err
		}
		sum.add(st)
		if st.Files <= mv.m.limits.PresyncFiles || pass == mv.m.limits.PresyncPasses {
			return sum, nil
		}
	}
}

// presyncRows copies rows while the user works, so that only what changes from here on is left for the lock. Rows that an earlier run
// published stay as they are until unpublish: only under a new lock is it certain that that run commits no more.
func (mv *Move) presyncRows(ctx context.Context) (any, error) {
	if mv.st.published {
		return nil, nil
	}
	return some(mv.copy.Rows.Presync(ctx))
}

// ready looks at both ends once more before anyone is locked out.
func (mv *Move) ready(ctx context.Context) (any, error) {
	if err := mv.copy.Fence.Held(ctx); err != nil {
		return nil, err
	}
	return nil, mv.m.fits(ctx, mv.st.plan)
}

// lockAccount sets maintenance by compare-and-swap. The same modify asserts the home, and touches the entry even when maintenance is
// there already: an older mover's late write fails on the entryCSN.
func (mv *Move) lockAccount(ctx context.Context) (any, error) {
	p := mv.st.plan
	e, err := mv.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := mv.livesAtSource(e); err != nil {
		return nil, err
	}
	status := e.Value(attrStatus)
	if status != maintenance && status != mv.st.status.Account {
		return nil, fmt.Errorf("%w: %s of %s changed to %q meanwhile", ldapattr.ErrConflict, attrStatus, p.Account.Name, status)
	}
	// After the entry was read: a mover that takes over touches the entry, so what is found here still holds when the modify succeeds.
	if err := mv.copy.Fence.Held(ctx); err != nil {
		return nil, err
	}
	err = mv.modify(ctx, e,
		ldapattr.Change{Attr: attrStatus, Old: []string{status}, New: []string{maintenance}},
		same(attrHost, e.Value(attrHost)))
	if err != nil {
		return nil, err
	}
	mv.events.plain(EventLocked)
	return nil, nil
}

// readStatus reads what will have to be restored. A maintenance that is not ours is somebody else's, and never "the status to restore".
func (mv *Move) readStatus(ctx context.Context) (any, error) {
	e, err := mv.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := mv.livesAtSource(e); err != nil {
		return nil, err
	}
	if e.Value(attrStatus) == maintenance {
		return nil, fmt.Errorf("%w: %s", ErrMaintenance, mv.st.plan.Account.Name)
	}
	return statuses{Account: e.Value(attrStatus), Mail: e.Value(attrMail)}, nil
}

// waitLocked waits until every LDAP server that a mailstore reads shows the maintenance: a flush before that would cache the old value.
func (mv *Move) waitLocked(ctx context.Context) (any, error) {
	return nil, mv.waitReplicas(ctx, mv.m.limits.Replicas)
}

// flushEverywhere has every mailstore forget the account's cached entry.
func (mv *Move) flushEverywhere(ctx context.Context) (any, error) {
	for _, host := range mv.m.hosts {
		d := mv.m.cfg.Stores[host].Mailboxd
		if d == nil {
			continue
		}
		if err := d.Flush(ctx, mv.st.plan.Account.ID); err != nil {
			return nil, fmt.Errorf("flush %s: %w", host, err)
		}
	}
	return nil, nil
}

// lockMailbox is the barrier: it waits for the mailbox's write lock, and from then on nobody writes.
func (mv *Move) lockMailbox(ctx context.Context) (any, error) {
	d := mv.source().Mailboxd
	if d == nil {
		return skipped, nil // accepted in the plan
	}
	if err := d.Lock(ctx, mv.st.plan.Account.ID); err != nil {
		return nil, err
	}
	if err := mv.proven(ctx, d); err != nil {
		return nil, err
	}
	return nil, mv.stillOurs(ctx)
}

// proven asks for the lockout, as a restart of mailboxd lifts it in silence.
func (mv *Move) proven(ctx context.Context, d Mailboxd) error {
	locked, err := d.Locked(ctx, mv.st.plan.Account.ID)
	if err != nil {
		return err
	}
	if !locked {
		return ErrLockLost
	}
	return nil
}

// stillOurs reads the fence after a lock. When another mover took over and has let the user in again, this lock locks out a user whose move
// is over: it is taken back. In every other case it stays, as the other mover may rely on it.
func (mv *Move) stillOurs(ctx context.Context) error {
	err := mv.copy.Fence.Held(ctx)
	if err == nil {
		return nil
	}
	e, lerr := mv.entry(ctx)
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	if strings.EqualFold(e.Value(attrHost), mv.st.plan.Source.Host) && e.Value(attrStatus) != maintenance {
		return errors.Join(err, mv.unlockSource(ctx, mv.source().Mailboxd))
	}
	return err
}

func (mv *Move) quiet(ctx context.Context) (any, error) { return nil, mv.copy.Rows.Quiet(ctx) }

// unpublish takes back rows that an earlier run published. The entry was touched by lockAccount, so that run cannot commit any more.
func (mv *Move) unpublish(ctx context.Context) (any, error) {
	if !mv.st.published {
		return nil, nil
	}
	return nil, mv.copy.Rows.Unpublish(ctx, mv.st.undo)
}

func (mv *Move) copyBlobs(ctx context.Context) (any, error)   { return some(mv.copy.Files.Copy(ctx)) }
func (mv *Move) copyIndex(ctx context.Context) (any, error)   { return some(mv.copy.Files.Index(ctx)) }
func (mv *Move) loadRows(ctx context.Context) (any, error)    { return some(mv.copy.Rows.Load(ctx)) }
func (mv *Move) verifyRows(ctx context.Context) (any, error)  { return some(mv.copy.Rows.Verify(ctx)) }
func (mv *Move) verifyBlobs(ctx context.Context) (any, error) { return some(mv.copy.Files.Check(ctx)) }
func (mv *Move) durableFiles(ctx context.Context) (any, error) {
	return nil, mv.copy.Files.Durable(ctx)
}

// readUndo reads what publishing will remove, so that the journal has it before it is gone.
func (mv *Move) readUndo(ctx context.Context) (any, error) { return some(mv.copy.Rows.Undoable(ctx)) }

// publish writes the rows that make the mailbox one, and forces them to disk, while the named lock's session stays alive: had the server
// restarted in between, rows that were written and not yet on disk could be gone.
func (mv *Move) publish(ctx context.Context) (any, error) {
	pub, err := mv.copy.Rows.Publish(ctx)
	if err != nil {
		return nil, err
	}
	return pub, mv.copy.Fence.Held(ctx)
}

// proveLock asks once more, just before the commit, for everything that keeps writers away.
func (mv *Move) proveLock(ctx context.Context) (any, error) {
	if err := mv.copy.Fence.Held(ctx); err != nil {
		return nil, err
	}
	d := mv.source().Mailboxd
	if d == nil {
		return skipped, nil
	}
	return nil, mv.proven(ctx, d)
}

// forgetMailboxKeys deletes what mailboxd keeps of this account in memcached: an old folder list there would win over the new rows.
func (mv *Move) forgetMailboxKeys(ctx context.Context) (any, error) {
	return nil, mv.forget(ctx, MailboxKeys)
}

// demandChecks refuses a commit unless each check ran and passed under this lock. A check that did not run is not a pass.
func (mv *Move) demandChecks(ctx context.Context) (any, error) {
	var missing []string
	for _, name := range commitDemands {
		if !mv.st.done[name] {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("%w: these checks did not pass under this lock: %s", ErrUndecided, strings.Join(missing, ", "))
	}
	return map[string][]string{"checks": commitDemands}, nil
}

// commit is the one moment at which the account changes its home: one modify, which fails unless the entry is as it was read before the
// last look at the fence, the source is its home, and the status is maintenance.
func (mv *Move) commit(ctx context.Context) (any, error) {
	p := mv.st.plan
	e, err := mv.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := mv.livesAtSource(e); err != nil {
		return nil, err
	}
	if err := mv.copy.Fence.Held(ctx); err != nil {
		return nil, err
	}
	changes := []ldapattr.Change{
		{Attr: attrHost, Old: e.Values(attrHost), New: []string{p.Dest.Host}},
		same(attrStatus, maintenance),
	}
	if !p.KeepRoute {
		changes = append(changes, ldapattr.Change{Attr: attrTransport, Old: []string{p.Source.Transport}, New: []string{p.Dest.Transport}})
	}
	if err := mv.modify(ctx, e, changes...); err != nil {
		return nil, err
	}
	mv.events.plain(EventCommitted)
	return nil, nil
}

// finishFence finds the fence for a run that begins after the commit; a run that made the commit has one.
func (mv *Move) finishFence(ctx context.Context) (any, error) {
	if mv.st.done[stepTakeOver] {
		return nil, nil
	}
	return mv.nextFence(ctx)
}

// claimFinish raises the fence at the destination, and takes no named lock: the source may be down, and the user waits. A fence that the
// journal does not know would keep this move from ever being resumed; letting the user in needs none.
func (mv *Move) claimFinish(ctx context.Context) (any, error) {
	if mv.st.done[stepTakeOver] || mv.unwritten {
		return nil, nil
	}
	return nil, mv.copy.Fence.Claim(ctx, mv.st.fence)
}

// waitMoved gives the other LDAP servers a little time. The user waits no longer than that for a replica: cleanup waits to the end.
func (mv *Move) waitMoved(ctx context.Context) (any, error) {
	return mv.waitOrNote(ctx, mv.m.limits.Others)
}

// waitOrNote waits for the LDAP servers that mailstores read. One that does not show the change in time is noted, and does not keep the
// others from being told.
func (mv *Move) waitOrNote(ctx context.Context, limit time.Duration) (any, error) {
	err := mv.waitReplicas(ctx, limit)
	if err != nil && ctx.Err() == nil {
		return pendingData([]string{err.Error()}), nil
	}
	return nil, err
}

// flushDest has the destination read the account's entry anew. Only this one stands between the user and service; the others are told too,
// and once more by cleanup.
func (mv *Move) flushDest(ctx context.Context) (any, error) {
	return mv.flushFor(ctx, mv.st.plan.Dest.Host)
}

// flushServed has the destination see that the maintenance is over.
func (mv *Move) flushServed(ctx context.Context) (any, error) {
	return mv.flushServing(ctx, mv.st.plan.Dest.Host)
}

// flushServing flushes the account on the home that serves it from now on. An LDAP server that is behind made that mailboxd cache the
// maintenance again, for a quarter of an hour: an error then, so that it is done once more. One that does not answer is nobody's source.
func (mv *Move) flushServing(ctx context.Context, home string) (any, error) {
	data, err := mv.flushFor(ctx, home)
	if err != nil {
		return nil, err
	}
	if err := mv.waitReplicas(ctx, 0); errors.Is(err, errBehind) {
		return nil, err
	}
	return data, nil
}

// flushFor flushes the account on the home that serves it, which must answer, and on the others, which may not.
func (mv *Move) flushFor(ctx context.Context, home string) (any, error) {
	var pending []string
	hosts := slices.DeleteFunc(slices.Clone(mv.m.hosts), func(h string) bool { return h == home })
	for _, host := range append([]string{home}, hosts...) {
		d := mv.m.cfg.Stores[host].Mailboxd
		if d == nil {
			continue
		}
		err := d.Flush(ctx, mv.st.plan.Account.ID)
		if err != nil && host == home {
			return nil, fmt.Errorf("flush %s: %w", host, err)
		}
		if err != nil {
			pending = append(pending, "flush "+host+": "+err.Error())
		}
	}
	return pendingData(pending), nil
}

// forgetRoutes deletes the proxy's routes to the old home, as far as the memcached servers answer.
func (mv *Move) forgetRoutes(ctx context.Context) (any, error) {
	if err := mv.forget(ctx, RouteKeys); err != nil {
		return pendingData([]string{err.Error()}), ctx.Err()
	}
	return nil, nil
}

// checkHome looks before the destination is made to load the mailbox: the row must be ours.
func (mv *Move) checkHome(ctx context.Context) (any, error) { return nil, mv.rowIsOurs(ctx) }

// loadMailbox makes the destination's mailboxd open the mailbox, and compares what it opened.
func (mv *Move) loadMailbox(ctx context.Context) (any, error) {
	d := mv.dest().Mailboxd
	if d == nil {
		return skipped, nil
	}
	id, err := d.Load(ctx, mv.st.plan.Account.ID)
	if errors.Is(err, ErrWrongHost) { // it cached the entry before its LDAP server had the change
		err = errors.Join(err, d.Flush(ctx, mv.st.plan.Account.ID))
	}
	if err != nil {
		return nil, err
	}
	if id != mv.st.reservation.ID {
		return nil, fmt.Errorf("%w: %s loaded mailbox %d for %s, ours is %d", ErrUndecided, mv.st.plan.Dest.Host, id, mv.st.plan.Account.Name, mv.st.reservation.ID)
	}
	return nil, nil
}

// lockSource keeps the old copy closed: the source's mailboxd may have restarted, and whatever loads the mailbox there would let a data
// source write into it.
func (mv *Move) lockSource(ctx context.Context) (any, error) {
	if mv.source().Mailboxd == nil {
		return skipped, nil
	}
	if err := mv.sourceClosed(ctx); err != nil {
		return pendingData([]string{err.Error()}), ctx.Err()
	}
	return nil, nil
}

// restoreStatus lets the user in at the destination.
func (mv *Move) restoreStatus(ctx context.Context) (any, error) {
	old := mv.st.status
	if old == nil {
		return nil, nil // an earlier run did
	}
	e, err := mv.entry(ctx)
	if err != nil {
		return nil, err
	}
	if !mv.movedIn(e) {
		return nil, fmt.Errorf("%w: %s of %s is %q after the commit", ErrUndecided, attrHost, mv.st.plan.Account.Name, e.Value(attrHost))
	}
	if e.Value(attrStatus) != maintenance {
		return mv.foundStatus(e), nil // restored already, or changed by a person: theirs stays
	}
	err = mv.modify(ctx, e,
		ldapattr.Change{Attr: attrStatus, Old: []string{maintenance}, New: []string{old.Account}},
		same(attrHost, e.Value(attrHost)))
	if err != nil {
		return nil, err
	}
	mv.events.plain(EventUnlocked)
	return mv.foundStatus(e), nil
}

// cleanup tells those that did not hold up service: every replica, mailstore and memcached, until each has answered. The routes go once
// more, as a proxy may have cached the old one meanwhile.
func (mv *Move) cleanup(ctx context.Context) (any, error) {
	err := mv.waitReplicas(ctx, mv.m.limits.Replicas)
	if err == nil {
		_, err = mv.flushEverywhere(ctx)
	}
	if err == nil {
		err = mv.forget(ctx, RouteKeys)
	}
	if err == nil {
		err = mv.sourceClosed(ctx)
	}
	var data any
	if err == nil {
		data, err = mv.reindex(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCleanupPending, err)
	}
	return data, nil
}

// reindex has the destination make the search index that was left behind, or says who has to.
func (mv *Move) reindex(ctx context.Context) (any, error) {
	p := mv.st.plan
	if !p.NoIndex {
		return nil, nil
	}
	if d, ok := mv.dest().Mailboxd.(Reindexer); ok {
		if err := d.Reindex(ctx, p.Account.ID); err != nil {
			return nil, fmt.Errorf("reindex on %s: %w", p.Dest.Host, err)
		}
		return map[string]string{"note": "the search index was left behind; " + p.Dest.Host + " makes a new one"}, nil
	}
	return map[string]string{"note": "the search index was left behind: run `zmprov rim " + p.Account.Name + " start` on " + p.Dest.Host}, nil
}

func (mv *Move) sourceClosed(ctx context.Context) error {
	d := mv.source().Mailboxd
	if d == nil {
		return nil
	}
	if err := mv.lockOld(ctx, d); err != nil {
		return err
	}
	// A mover that slept until the account had moved back must not leave its user locked out.
	e, err := mv.entry(ctx)
	if err != nil || mv.movedIn(e) || e.Value(attrStatus) == maintenance {
		return err
	}
	return errors.Join(mv.homeIs(e, mv.st.plan.Dest.Host), d.Unlock(ctx, mv.st.plan.Account.ID))
}

func (mv *Move) unmarkTrees(ctx context.Context) (any, error) {
	if err := mv.copy.Files.Unmark(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCleanupPending, err)
	}
	return nil, nil
}

// end marks the move's row at the destination as ended. The reserved id in it stays.
func (mv *Move) end(ctx context.Context) (any, error) {
	if mv.st.fence == 0 {
		return nil, nil // nothing was ever claimed
	}
	err := mv.copy.Fence.End(ctx)
	if err != nil && mv.st.committed {
		err = fmt.Errorf("%w: %w", ErrCleanupPending, err)
	}
	return nil, err
}

// reopenAccount closes the door on the commit and opens it for the user: one modify restores the status and asserts that the home is
// still the source; it fails once the commit has happened, and a commit that comes later fails because of it. Even when there is nothing
// to restore it touches the entry, so that a late lock of ours fails.
func (mv *Move) reopenAccount(ctx context.Context) (any, error) {
	p := mv.st.plan
	for again := 0; ; again++ {
		e, err := mv.entry(ctx)
		if err != nil {
			return nil, err
		}
		status := e.Value(attrStatus)
		restore := status // a person's change stays
		if status == maintenance && mv.st.status != nil {
			restore = mv.st.status.Account
		}
		err = mv.modify(ctx, e,
			ldapattr.Change{Attr: attrStatus, Old: []string{status}, New: []string{restore}},
			same(attrHost, p.Source.Host))
		switch {
		case err == nil:
			if mv.st.status != nil { // else it was never locked
				mv.events.plain(EventUnlocked)
			}
			return mv.foundStatus(e), nil
		case !errors.Is(err, ldapattr.ErrConflict) || again == 4:
			return nil, err
		case mv.st.commit && mv.movedIn(e):
			return nil, ErrCommitted
		}
		if err := mv.livesAtSource(e); err != nil {
			return nil, err
		}
	}
}

// unlockMailbox ends the lockout at the source.
func (mv *Move) unlockMailbox(ctx context.Context) (any, error) {
	d := mv.source().Mailboxd
	if d == nil {
		return skipped, nil
	}
	if !mv.st.locked {
		return nil, nil // a lockout that is there is somebody else's
	}
	return nil, mv.unlockSource(ctx, d)
}

// unlockSource ends the lockout, and puts it back when the account has moved: a mover that slept meanwhile must not open the old copy.
func (mv *Move) unlockSource(ctx context.Context, d Mailboxd) error {
	if err := d.Unlock(ctx, mv.st.plan.Account.ID); err != nil {
		return err
	}
	e, err := mv.entry(ctx)
	if err != nil || !mv.movedIn(e) {
		return err
	}
	return errors.Join(mv.livesAtSource(e), mv.lockOld(ctx, d))
}

// lockOld keeps a copy closed that is the account's home no more. Locked, and lives elsewhere, are both fine.
func (mv *Move) lockOld(ctx context.Context, d Mailboxd) error {
	if err := d.Lock(ctx, mv.st.plan.Account.ID); err != nil && !errors.Is(err, ErrWrongHost) {
		return fmt.Errorf("lock %s: %w", mv.st.plan.Source.Host, err)
	}
	return nil
}

// waitReopened waits until every LDAP server that a mailstore reads shows that the maintenance is over: a flush before that would cache it.
func (mv *Move) waitReopened(ctx context.Context) (any, error) {
	return mv.waitOrNote(ctx, mv.m.limits.Replicas)
}

// flushReopened has the source read the account's entry anew, and then the others, as far as they answer: service is the source's.
func (mv *Move) flushReopened(ctx context.Context) (any, error) {
	return mv.flushServing(ctx, mv.st.plan.Source.Host)
}

// settle waits out a lock request that was never answered: it may still be under way, and would lock the user out after the rollback.
func (mv *Move) settle(ctx context.Context) (any, error) {
	d := mv.source().Mailboxd
	if d == nil || !mv.st.lockUnknown {
		return nil, nil
	}
	if err := mv.m.clock.Sleep(ctx, mv.m.limits.Settle); err != nil {
		return nil, err
	}
	return nil, mv.unlockSource(ctx, d)
}

// removeRows deletes what this move wrote, and proves that nothing is left under its id.
func (mv *Move) removeRows(ctx context.Context) (any, error) {
	if mv.st.reservation == nil {
		return nil, nil // nothing was written
	}
	// The claim stands, so that no other mover can begin; but one may have ended between the look that came before the claim and it.
	e, err := mv.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := mv.livesAtSource(e); err != nil {
		return nil, err
	}
	if !mv.st.published {
		id, ok, err := mv.copy.Rows.Home(ctx)
		if err != nil {
			return nil, err
		}
		if ok && id == mv.st.reservation.ID {
			return nil, fmt.Errorf("%w: mailbox %d of %s on %s was not published by this move", ErrUndecided, id, mv.st.plan.Account.Name, mv.st.plan.Dest.Host)
		}
	}
	return nil, mv.copy.Rows.Remove(ctx, mv.st.undo)
}

// removeFiles deletes the directories that carry this move's mark.
func (mv *Move) removeFiles(ctx context.Context) (any, error) {
	if mv.st.reservation == nil || !mv.st.trees {
		return nil, nil
	}
	return nil, mv.copy.Files.Remove(ctx, *mv.st.reservation)
}

// --- what several steps need ---

var skipped = map[string]string{"skipped": CodeNoMailboxd}

func (mv *Move) source() *Store { return mv.m.cfg.Stores[mv.st.plan.Source.Host] }
func (mv *Move) dest() *Store   { return mv.m.cfg.Stores[mv.st.plan.Dest.Host] }

// entry reads the account's entry where the writes go.
func (mv *Move) entry(ctx context.Context) (ldapattr.Entry, error) {
	return lookupAccount(ctx, mv.m.cfg.Directory, mv.st.plan.Account.ID)
}

// modify writes to the account's entry, on the condition that nobody wrote to it since it was read.
func (mv *Move) modify(ctx context.Context, e ldapattr.Entry, changes ...ldapattr.Change) error {
	csn := e.Value(attrCSN)
	if csn == "" {
		return fmt.Errorf("%s: the directory shows no %s; bind as an identity that may read it", e.DN, attrCSN)
	}
	return mv.m.cfg.Directory.ModifyIf(ctx, e.DN, ldapattr.Equal(attrCSN, csn), changes...)
}

// same asserts a value within a modify.
func same(attr, value string) ldapattr.Change {
	return ldapattr.Change{Attr: attr, Old: []string{value}, New: []string{value}}
}

func (mv *Move) livesAtSource(e ldapattr.Entry) error { return mv.homeIs(e, mv.st.plan.Source.Host) }

func (mv *Move) homeIs(e ldapattr.Entry, host string) error {
	if have := e.Value(attrHost); !strings.EqualFold(have, host) {
		return fmt.Errorf("%w: %s of %s is %q, not %s", ErrUndecided, attrHost, mv.st.plan.Account.Name, have, host)
	}
	return nil
}

func (mv *Move) movedIn(e ldapattr.Entry) bool {
	return strings.EqualFold(e.Value(attrHost), mv.st.plan.Dest.Host)
}

// rowIsOurs says whether the row that the destination has for the account is the one this move wrote. A mailbox that was created there by
// itself, or none, is a matter for a person.
func (mv *Move) rowIsOurs(ctx context.Context) error {
	p := mv.st.plan
	id, ok, err := mv.copy.Rows.Home(ctx)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w: %s has no mailbox row for %s", ErrUndecided, p.Dest.Host, p.Account.Name)
	case mv.st.reservation == nil || id != mv.st.reservation.ID:
		return fmt.Errorf("%w: mailbox %d of %s on %s is not this move's", ErrUndecided, id, p.Account.Name, p.Dest.Host)
	}
	return nil
}

var errBehind = errors.New("it is behind")

// waitReplicas waits, for as long as limit, until each LDAP server that a mailstore reads has the account's entry as it is where the writes
// go. It compares entryCSN: a status that looks right may be the one before the last two changes.
func (mv *Move) waitReplicas(ctx context.Context, limit time.Duration) error {
	if len(mv.m.cfg.Replicas) == 0 {
		return nil
	}
	until := mv.m.clock.Now().Add(limit)
	var want string
	err := mv.poll(ctx, until, func() error {
		e, err := mv.entry(ctx)
		want = e.Value(attrCSN)
		return err
	})
	if err != nil {
		return err
	}
	for i, r := range mv.m.cfg.Replicas {
		err := mv.poll(ctx, until, func() error {
			e, err := lookupAccount(ctx, r, mv.st.plan.Account.ID)
			if err == nil && e.Value(attrCSN) < want {
				err = errBehind
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("LDAP replica %d does not show the change: %w", i+1, err)
		}
	}
	return nil
}

// poll asks until the answer is yes, at least once.
func (mv *Move) poll(ctx context.Context, until time.Time, ask func() error) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := ask()
		if err == nil || mv.m.clock.Now().After(until) {
			return err
		}
		if serr := mv.m.clock.Sleep(ctx, pause); serr != nil {
			return errors.Join(err, serr)
		}
	}
}

// forget deletes the account's keys on every memcached. One that does not answer does not keep the others from being told.
func (mv *Move) forget(ctx context.Context, kind CacheKind) error {
	var errs []error
	for _, host := range mv.m.hosts {
		c := mv.m.cfg.Stores[host].Caches
		if c == nil {
			continue
		}
		if err := c.Forget(ctx, mv.st.plan.Account, kind); err != nil {
			errs = append(errs, fmt.Errorf("memcached of %s: %w", host, err))
		}
	}
	return errors.Join(errs...)
}

// foundStatus reports a zimbraMailStatus that somebody changed while the account was locked; it is left alone.
func (mv *Move) foundStatus(e ldapattr.Entry) any {
	if mv.st.status == nil || e.Value(attrMail) == mv.st.status.Mail {
		return nil
	}
	return map[string]string{"note": attrMail + " was changed by someone else during the move and stays as it is"}
}

func pendingData(pending []string) any {
	if len(pending) == 0 {
		return nil
	}
	slices.Sort(pending)
	return map[string][]string{"pending": pending}
}

func (s *FileStats) add(o FileStats) {
	s.Files += o.Files
	s.Bytes += o.Bytes
	s.Deleted += o.Deleted
	s.Checked += o.Checked
	s.Accepted = max(s.Accepted, o.Accepted)
	s.Total = o.Total
}

// some turns a typed answer into a step's data.
func some[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}
