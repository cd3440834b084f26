package zimbra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/zmlift/zmlift/mboxdb"
)

// A Move is one mailbox on its way. It belongs to one goroutine. Its state is its journal: a Move that another process opens after a
// crash goes on where this one stopped.
type Move struct {
	m       *Mover
	id      string
	journal Journal
	entries []Entry
	st      *state
	copy    *Copy
	events  *events

	unwritten bool // the journal took an entry no more, and the user was let in all the same
}

// ID is the move's name: its journal is called so.
func (mv *Move) ID() string { return mv.id }

// Plan returns the plan that the move carries out.
func (mv *Move) Plan() *Plan { return mv.st.plan }

// Close lets go of the journal and of the connections. The move itself stays as it is; Open goes on with it.
func (mv *Move) Close() error {
	var err error
	if mv.copy != nil && mv.copy.Close != nil {
		err = mv.copy.Close()
	}
	return errors.Join(err, mv.journal.Close())
}

// Run carries the move forward through the given phase: PhasePresync, PhaseReady, PhaseCutover or PhaseFinish. It may be repeated: nil
// again when the move is there already, but a presync then copies what has changed.
//
// When Run returns an error before the commit, the account has been let in again at the source, unless the error says that it could not;
// what was copied is kept. Run may then be called again, or Rollback. After the commit Run only goes forward, and a cancelled ctx does not
// stop it before the account is in service: it ends with an error of its own when that takes longer than Limits.Finish. On the way to
// service, at the source or the destination, a step that fails is done again after a pause, as long as the limits allow.
// Run never rolls back.
func (mv *Move) Run(ctx context.Context, through Phase) error {
	switch through {
	case PhasePresync, PhaseReady, PhaseCutover, PhaseFinish:
	default:
		return fmt.Errorf("zimbra: Run through %q: want %q, %q, %q or %q", through, PhasePresync, PhaseReady, PhaseCutover, PhaseFinish)
	}
	if mv.st.rollback && !mv.st.committed {
		return fmt.Errorf("%w: %s: only Rollback goes on with it", ErrRolledBack, mv.id)
	}
	return mv.session(ctx, through)
}

// Rollback undoes the move: it lets the account in again at the source and then removes what the move made at the destination, and proves
// that nothing is left. It may be repeated after any error; once the account is let in, an error only means that cleaning up is not done.
// ErrCommitted when the account lives at the destination: nothing was changed.
func (mv *Move) Rollback(ctx context.Context) error {
	if mv.st.committed {
		return fmt.Errorf("%w: %s lives on %s", ErrCommitted, mv.st.plan.Account.Name, mv.st.plan.Dest.Host)
	}
	if mv.st.commit && !mv.st.asked {
		// The directory decides whether there is something to roll back.
		if err := mv.begin(ctx); err != nil {
			return err
		}
		if err := mv.insist(ctx, mv.st.next(PhaseFinish)); err != nil {
			return err
		}
		if mv.st.committed {
			return fmt.Errorf("%w: %s lives on %s", ErrCommitted, mv.st.plan.Account.Name, mv.st.plan.Dest.Host)
		}
	}
	if !mv.st.rollback {
		if err := mv.append(ctx, PhaseRollback, stepRollback, Begun, nil); err != nil {
			return err
		}
	}
	err := mv.session(ctx, PhaseRollback)
	if mv.st.committed { // a commit that was under way came first, and the move was carried on
		return errors.Join(fmt.Errorf("%w: %s lives on %s", ErrCommitted, mv.st.plan.Account.Name, mv.st.plan.Dest.Host), err)
	}
	return err
}

// begin opens a run in the journal: what earlier runs had done no longer counts.
func (mv *Move) begin(ctx context.Context) error {
	return mv.append(ctx, PhasePlan, stepOpen, Begun, map[string]any{"version": JournalVersion})
}

// session does one step after the other until there is none.
func (mv *Move) session(ctx context.Context, through Phase) error {
	if mv.st.ended || through != PhasePresync && mv.st.next(through) == nil {
		return nil // a presync may always be repeated: the user has worked meanwhile
	}
	stop := mv.events.run()
	defer stop()
	if err := mv.begin(ctx); err != nil {
		return err
	}
	defer mv.letGo(ctx)
	for again := 0; ; {
		st := mv.st.next(through)
		if st == nil {
			return nil
		}
		err := mv.insist(ctx, st)
		switch {
		case err == nil:
			continue
		case st.phase == PhaseCutover:
			// Unlock before anything else: whatever is broken, the user is not.
			rerr := mv.releaseNow(ctx, st)
			if mv.st.committed {
				continue // it was committed after all: its answer was lost on the way
			}
			if rerr == nil && errors.Is(err, ErrLockLost) && again < mv.m.limits.LockAttempts {
				again++
				continue
			}
			return errors.Join(err, rerr)
		case st.name == stepReopenAccount && errors.Is(err, ErrCommitted) && mv.st.commit && again < 3:
			again++ // a late commit overtook us; the directory is asked again
			continue
		}
		return err
	}
}

// releaseNow lets the account in again after a step of the cutover failed. It does not need ctx to be alive, nor the destination.
func (mv *Move) releaseNow(ctx context.Context, failed *step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mv.m.limits.Release)
	defer cancel()
	until := mv.m.clock.Now().Add(mv.m.limits.Release)
	mv.st.release = mv.st.lockOpen // said by the journal too, if it took the entry
	for again := 0; mv.st.release && !mv.st.committed; {
		st := mv.st.next(PhaseCutover)
		err := mv.repeat(ctx, st, until)
		if err == nil {
			continue
		}
		if st.name == stepReopenAccount && errors.Is(err, ErrCommitted) && again < 3 {
			again++
			continue
		}
		return fmt.Errorf("the account may still be locked out: %w", err)
	}
	return nil
}

// letGo frees the named locks at the end of a run. A lock that cannot be freed ends with its session.
func (mv *Move) letGo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := mv.copy.Fence.Release(ctx); err != nil {
		mv.m.log.WarnContext(ctx, "named locks not released", "move", mv.id, "err", err)
	}
}

// insist does a step. While the user is locked out and this step is on the way to service, a server that is down for a moment is no
// reason to stop: it is tried again, for as long as the limits allow.
func (mv *Move) insist(ctx context.Context, st *step) error {
	switch {
	case mv.mustFinish(st):
		// The way back is closed: a cancelled caller must not keep the user waiting.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mv.m.limits.Finish)
		defer cancel()
		return mv.repeat(ctx, st, mv.m.clock.Now().Add(mv.m.limits.Finish))
	case st.phase == phaseAsk, st.phase == PhaseRelease:
		return mv.repeat(ctx, st, mv.m.clock.Now().Add(mv.m.limits.Release))
	}
	return mv.step(ctx, st)
}

// repeat does a step again and again until it succeeds, its error is one that time does not heal, or the time is over.
func (mv *Move) repeat(ctx context.Context, st *step, until time.Time) error {
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		err := mv.step(ctx, st)
		if err == nil || !heals(err) || mv.m.clock.Now().Add(pause).After(until) {
			return err
		}
		mv.events.put(Event{Kind: EventAgain, Phase: st.phase, Step: st.name, PauseMs: pause.Milliseconds(), Error: err.Error()})
		if mv.m.clock.Sleep(ctx, pause) != nil {
			return err
		}
	}
}

// heals says whether an error may be gone in a moment. What another mover or a person has done stays.
func heals(err error) bool {
	for _, stays := range []error{ErrCommitted, ErrFenced, ErrUndecided, ErrJournal} {
		if errors.Is(err, stays) {
			return false
		}
	}
	return true
}

// step writes down that the step begins, does it, and writes down how it ended.
func (mv *Move) step(ctx context.Context, st *step) error {
	data, err := mv.before(ctx, st)
	if err == nil {
		if err := mv.append(ctx, st.phase, st.name, Begun, data); err != nil {
			return mv.at(st, err)
		}
		data, err = mv.do(ctx, st)
	}
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		// The step's own error is what matters; a journal that takes no more entries says so as well.
		return mv.at(st, errors.Join(err, mv.append(ctx, st.phase, st.name, Failed, map[string]string{"error": err.Error()})))
	}
	if err := mv.append(ctx, st.phase, st.name, Done, data); err != nil {
		return mv.at(st, err)
	}
	return nil
}

// do carries a step out. Under the lock it ends with the budget, also when a server hangs.
func (mv *Move) do(ctx context.Context, st *step) (any, error) {
	if st.phase != PhaseCutover {
		return st.do(mv, ctx)
	}
	left := mv.m.limits.LockBudget
	if !mv.st.lockedAt.IsZero() {
		left -= mv.m.clock.Now().Sub(mv.st.lockedAt)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, left, ErrOverBudget)
	defer cancel()
	data, err := st.do(mv, ctx)
	if err != nil && context.Cause(ctx) == ErrOverBudget {
		err = fmt.Errorf("%w: %w", ErrOverBudget, err)
	}
	return data, err
}

// before is everything that may stop a step before it is written down, and what its entry must hold.
func (mv *Move) before(ctx context.Context, st *step) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := mv.underBudget(st); err != nil {
		return nil, err
	}
	if h := mv.m.cfg.Hooks.BeforeStep; h != nil && st.mayVeto() {
		if err := h(ctx, mv.id, st.phase, st.name); err != nil {
			return nil, err
		}
	}
	if st.prepare == nil {
		return nil, nil
	}
	return st.prepare(mv, ctx)
}

// at says where an error happened.
func (mv *Move) at(st *step, err error) error {
	return &StepError{Account: mv.st.plan.Account.Name, Phase: st.phase, Step: st.name, Err: err, Hint: mv.hint(err)}
}

// mustFinish says whether a step has to be carried out although the caller may have gone.
func (mv *Move) mustFinish(st *step) bool {
	return st.phase == PhaseFinish && !mv.st.served
}

// underBudget stops a lock that has become longer than allowed. After the commit it is too late for that.
func (mv *Move) underBudget(st *step) error {
	if st.phase != PhaseCutover || mv.st.lockedAt.IsZero() || mv.st.status == nil {
		return nil
	}
	if locked := mv.m.clock.Now().Sub(mv.st.lockedAt); locked > mv.m.limits.LockBudget {
		return fmt.Errorf("%w: locked for %v, allowed are %v", ErrOverBudget, locked.Round(time.Millisecond), mv.m.limits.LockBudget)
	}
	return nil
}

// mayVeto: no hook stands between a locked-out user and service.
func (st *step) mayVeto() bool {
	return st.phase == PhasePresync || st.phase == PhaseReady || st.phase == PhaseCutover
}

// append writes an entry and replays it: what is in the journal is what the move knows.
func (mv *Move) append(ctx context.Context, phase Phase, name, is string, data any) error {
	e := Entry{V: JournalVersion, N: len(mv.entries) + 1, T: mv.m.clock.Now().UTC(), Move: mv.id, Phase: phase, Step: name, Is: is}
	if data != nil {
		b, err := json.Marshal(data)
		if err != nil {
			return err
		}
		e.Data = b
	}
	if err := mv.journal.Append(ctx, e); err != nil {
		if !mv.emergency(phase, err) {
			return err
		}
		mv.unwritten = true
	}
	mv.entries = append(mv.entries, e)
	if err := mv.st.apply(e); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	mv.events.step(e, mv.st)
	return nil
}

// emergency: when the journal's disk is broken, the user is let in all the same. That may be done twice, so it need not be written down
// first. When somebody else has the journal it is theirs to do.
func (mv *Move) emergency(phase Phase, err error) bool {
	letsIn := phase == PhaseRelease || phase == phaseAsk || phase == PhaseFinish && !mv.st.served
	return letsIn && !errors.Is(err, ErrFenced)
}

// hint says what helps against an error.
func (mv *Move) hint(err error) string {
	var blobs *BlobError
	if errors.As(err, &blobs) {
		return "run `mover rollback ACCOUNT`, then `mover scan ACCOUNT` for a list of bad blobs at the source: repair them, or accept some of them with --accept-bad"
	}
	for _, h := range hints {
		if errors.Is(err, h.err) {
			return h.hint
		}
	}
	if mv.st.committed {
		return "the account is moved: run `mover resume ACCOUNT` to finish"
	}
	return "run `mover resume ACCOUNT` to go on, or `mover rollback ACCOUNT` to undo"
}

var hints = []struct {
	err  error
	hint string
}{
	{ErrUndecided, "look at the account's zimbraMailHost and at the mailbox row on both stores, then run `mover resume ACCOUNT`"},
	{ErrBusy, "wait for the other mover or move, or end it, then run `mover resume ACCOUNT`"},
	{ErrFenced, "use the state directory of the mover that took over; `mover status ACCOUNT` shows it"},
	{ErrMaintenance, "set zimbraAccountStatus to what it should be, then run `mover resume ACCOUNT`"},
	{mboxdb.ErrForeignWriter, "find out who writes under the reserved mailbox id at the destination, then run `mover rollback ACCOUNT` and move it again"},
	{ErrPlanStale, "run `mover rollback ACCOUNT` and make a new plan"},
	{ErrOverBudget, "wait for a quieter time, then run `mover resume ACCOUNT`; Limits.LockBudget is the bound"},
	{ErrCleanupPending, "run `mover resume ACCOUNT` when the servers named here answer again"},
}
