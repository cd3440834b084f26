package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/zmlift/zmlift/zimbra"
)

// Each verb returns its exit code. What it has to say is said when it returns.

func (s *session) plan(ctx context.Context) int {
	r, err := s.request()
	if err != nil {
		return s.unusable(err)
	}
	p, err := s.mover.Plan(ctx, r)
	var pre *zimbra.PreflightError
	switch {
	case errors.As(err, &pre):
		s.printPlan(nil, pre)
		return exitProblems
	case err != nil:
		return s.before(ctx, err)
	}
	s.printPlan(p, nil)
	return exitDone
}

// request is what a plan is asked for.
func (s *session) request() (zimbra.Request, error) {
	r := zimbra.Request{Account: s.args.account, To: s.args.to, Accept: s.args.accept, NoIndex: s.args.noIndex}
	if s.args.bad == "" {
		return r, nil
	}
	f, err := os.Open(s.args.bad)
	if err != nil {
		return r, err
	}
	defer f.Close()
	if r.Bad, err = zimbra.ReadScan(f); err != nil {
		return r, fmt.Errorf("%s: %w", s.args.bad, err)
	}
	return r, nil
}

// unusable says that something on the command line cannot be used.
func (s *session) unusable(err error) int {
	s.say("--accept-bad: %v", err)
	return exitUsage
}

func (s *session) scan(ctx context.Context) int {
	scan, err := s.mover.Scan(ctx, zimbra.ScanRequest{Account: s.args.account, Limit: s.args.limit, Progress: func(p zimbra.Progress) {
		if s.progress != nil {
			s.progress.event(zimbra.Event{Kind: zimbra.EventProgress, T: time.Now(), Step: "scan", Done: p.Done, Total: p.Total, Unit: p.Unit})
		}
	}})
	if err != nil {
		return s.before(ctx, err)
	}
	if s.progress != nil {
		s.progress.clear()
	}
	s.printScan(scan)
	if len(scan.Bad) > 0 || scan.Stopped {
		return exitProblems
	}
	return exitDone
}

func (s *session) presync(ctx context.Context) int { return s.forward(ctx, zimbra.PhasePresync) }

func (s *session) move(ctx context.Context) int { return s.forward(ctx, zimbra.PhaseFinish) }

// forward goes on with the account's move to this store, or begins one.
func (s *session) forward(ctx context.Context, through zimbra.Phase) int {
	st, err := s.last(ctx)
	switch {
	case err == nil && !ended(st) && st.Rollback:
		if code := s.with(ctx, st, s.goBack); code != exitDone {
			return code
		}
		s.say("the rollback of %s is done; beginning anew", st.Move)
	case err == nil && !ended(st):
		if s.args.bad != "" {
			s.say("warning: --accept-bad has no effect: %s is planned already; it holds for a new move after %s", st.Move, s.command("rollback", st.Account))
		}
		return s.with(ctx, st, func(ctx context.Context, mv *zimbra.Move) int { return s.run(ctx, mv, through) })
	case err != nil && !errors.Is(err, zimbra.ErrNoMove):
		return s.before(ctx, err)
	}
	r, err := s.request()
	if err != nil {
		return s.unusable(err)
	}
	p, err := s.mover.Plan(ctx, r)
	var pre *zimbra.PreflightError
	if errors.As(err, &pre) {
		if known := s.known(ctx, pre); known != "" && known != s.args.account {
			s.args.account = known
			return s.forward(ctx, through)
		}
		if pre.Has(zimbra.CodeAlreadyThere) && st.Outcome == zimbra.OutcomeMoved {
			s.say("nothing to do: %s was moved to %s already", st.Account, st.To)
			s.printEnded(ctx, st)
			return exitDone
		}
	}
	if err != nil {
		return s.before(ctx, err)
	}
	mv, err := s.mover.Start(ctx, p)
	if err != nil {
		return s.before(ctx, err)
	}
	defer s.closeMove(mv)
	return s.run(ctx, mv, through)
}

// known returns the zimbraId of the account if the plan found an unfinished move of it to this store. The account was then given by an
// address that only LDAP knows.
func (s *session) known(ctx context.Context, pre *zimbra.PreflightError) string {
	for _, p := range pre.Problems {
		if p.Code != zimbra.CodeUnfinished {
			continue
		}
		if st, err := s.mover.Status(ctx, p.Object); err == nil && st.To == s.args.to {
			return st.AccountID
		}
	}
	return ""
}

// printEnded prints the report of a move that is over.
func (s *session) printEnded(ctx context.Context, st zimbra.Status) {
	mv, err := s.mover.Open(ctx, st.Move)
	if err != nil {
		s.say("%v", err)
		s.printStatus(st)
		return
	}
	defer s.closeMove(mv)
	s.printReport(mv.Report())
}

// run carries a move forward and says how it ended.
func (s *session) run(ctx context.Context, mv *zimbra.Move, through zimbra.Phase) int {
	s.underWay(mv.Status().Account)
	err := mv.Run(ctx, through)
	code := s.outcome(ctx, mv, err)
	s.printReport(mv.Report())
	return code
}

// outcome says what an error of Run means, and rolls back where that was wanted.
func (s *session) outcome(ctx context.Context, mv *zimbra.Move, err error) int {
	if err == nil {
		return exitDone
	}
	s.say("%v", err)
	switch {
	case errors.Is(err, zimbra.ErrCleanupPending) || mv.Status().Outcome == zimbra.OutcomePending:
		return exitPending
	case errors.Is(err, zimbra.ErrUndecided):
		return exitDecide
	case ctx.Err() != nil, errors.Is(err, zimbra.ErrOverBudget):
		return s.held(mv)
	case errors.Is(err, zimbra.ErrBusy), errors.Is(err, zimbra.ErrFenced):
		return s.held(mv) // another mover works on it: its work is not ours to undo
	case s.args.verb.name != "move" || s.args.keep:
		return s.held(mv)
	}
	s.say("rolling back, unless it is committed")
	switch code := s.rolledBack(mv, mv.Rollback(ctx)); {
	case code == exitDone && mv.Status().Outcome == zimbra.OutcomeRolledBack:
		return exitFailed
	case code == exitFailed: // committed: only forward, and the user waits
		return s.held(mv)
	default:
		return code
	}
}

// held is the end of a move that can be gone on with: the user works, or must wait for a person.
func (s *session) held(mv *zimbra.Move) int {
	st := mv.Status()
	if st.Locked {
		s.say("%s may be locked out; run: %s", st.Account, s.command("resume", st.Account))
		return exitDecide
	}
	s.say("not finished; to go on: %s; to undo: %s", s.command("resume", st.Account), s.command("rollback", st.Account))
	return exitUnfinished
}

// goBack rolls a move back and says how that ended.
func (s *session) goBack(ctx context.Context, mv *zimbra.Move) int {
	s.underWay(mv.Status().Account)
	code := s.rolledBack(mv, mv.Rollback(ctx))
	s.printReport(mv.Report())
	return code
}

// rolledBack says what the answer of Rollback means.
func (s *session) rolledBack(mv *zimbra.Move, err error) int {
	if err != nil {
		s.say("%v", err)
	}
	switch {
	case errors.Is(err, zimbra.ErrCommitted):
		return exitFailed
	case err == nil:
		return exitDone
	case errors.Is(err, zimbra.ErrUndecided):
		return exitDecide
	}
	return s.held(mv)
}

func (s *session) rollback(ctx context.Context) int {
	st, err := s.last(ctx)
	switch {
	case err != nil:
		return s.before(ctx, err)
	case st.Outcome == zimbra.OutcomeRolledBack:
		s.say("nothing to do: %s was rolled back already", st.Move)
		s.printEnded(ctx, st)
		return exitDone
	case st.Outcome == zimbra.OutcomeMoved:
		s.say("%v: %s was moved to %s; to bring it back, remove the old mailbox at %s and move it there", zimbra.ErrCommitted, st.Account, st.To, st.From)
		s.printEnded(ctx, st)
		return exitFailed
	}
	return s.with(ctx, st, func(ctx context.Context, mv *zimbra.Move) int {
		code := s.goBack(ctx, mv)
		if code == exitDone && mv.Status().Outcome != zimbra.OutcomeRolledBack {
			s.say("%v: a commit that was under way came first", zimbra.ErrCommitted)
			return exitFailed
		}
		return code
	})
}

func (s *session) resume(ctx context.Context) int {
	if s.args.all {
		return s.resumeAll(ctx)
	}
	st, err := s.last(ctx)
	if err != nil {
		return s.before(ctx, err)
	}
	if ended(st) {
		s.say("nothing to do: %s is ended: %s", st.Move, st.Outcome)
		s.printEnded(ctx, st)
		return exitDone
	}
	return s.with(ctx, st, s.goOnWith)
}

// goOnWith carries a move on in the direction that it has.
func (s *session) goOnWith(ctx context.Context, mv *zimbra.Move) int {
	if mv.Status().Rollback {
		return s.goBack(ctx, mv)
	}
	return s.run(ctx, mv, zimbra.PhaseFinish)
}

// resumeAll goes on with every move. One that fails does not keep the others back.
func (s *session) resumeAll(ctx context.Context) int {
	all, unreadable, err := s.history(ctx)
	if err != nil {
		return s.before(ctx, err)
	}
	code := exitDone
	if unreadable > 0 {
		code = exitDecide
	}
	for _, st := range all {
		if ended(st) {
			continue
		}
		if ctx.Err() != nil {
			return worse(code, exitUnfinished)
		}
		code = worse(code, s.with(ctx, st, s.goOnWith))
	}
	return code
}

func (s *session) status(ctx context.Context) int {
	all, unreadable, err := s.history(ctx)
	if err == nil && len(all) == 0 && s.args.account != "" {
		err = s.none()
	}
	if err != nil {
		return s.before(ctx, err)
	}
	s.printStatus(all...)
	if unreadable > 0 {
		return exitFailed
	}
	return exitDone
}

// with opens a move for as long as f works on it.
func (s *session) with(ctx context.Context, st zimbra.Status, f func(context.Context, *zimbra.Move) int) int {
	mv, err := s.mover.Open(ctx, st.Move)
	if err != nil {
		return s.before(ctx, err)
	}
	defer s.closeMove(mv)
	return f(ctx, mv)
}

func (s *session) closeMove(mv *zimbra.Move) {
	if err := mv.Close(); err != nil {
		s.say("warning: close %s: %v", mv.ID(), err)
	}
}

// before says what an error means that came before this run changed anything.
func (s *session) before(ctx context.Context, err error) int {
	var pre *zimbra.PreflightError
	var cfg *zimbra.ConfigError
	switch {
	case errors.As(err, &pre):
		s.printProblems(pre)
		return exitProblems
	case errors.As(err, &cfg), errors.Is(err, errSeveral):
		s.say("%v", err)
		return exitUsage
	}
	s.say("%v", err)
	switch {
	case ctx.Err() != nil, errors.Is(err, zimbra.ErrBusy):
		return exitUnfinished
	case errors.Is(err, zimbra.ErrJournal), errors.Is(err, zimbra.ErrUndecided):
		return exitDecide
	}
	return exitFailed
}
