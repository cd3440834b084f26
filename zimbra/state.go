package zimbra

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A Phase is a stretch of a move.
type Phase string

// The phases, as they appear in journals, events and reports.
const (
	PhasePlan     Phase = "plan"
	PhasePresync  Phase = "presync"  // the user works; files are copied ahead
	PhaseReady    Phase = "ready"    // both ends are looked at once more
	PhaseCutover  Phase = "cutover"  // the user is locked out
	PhaseFinish   Phase = "finish"   // committed: the user is let in at the destination
	PhaseRelease  Phase = "release"  // not committed: the user is let in again at the source
	PhaseRollback Phase = "rollback" // what the move made is removed

	phaseAsk Phase = "resume" // a commit was sent and its answer is not known
)

// Outcomes of a move.
const (
	OutcomeOpen       = "open"                   // goes on with Run, or back with Rollback
	OutcomeMoved      = "moved"                  //
	OutcomePending    = "moved, cleanup pending" // in service at the destination; Run tells those who could not be told
	OutcomeRolledBack = "rolled back"            //
)

// statuses are the two status attributes as they were before the lock.
type statuses struct {
	Account string `json:"zimbraAccountStatus"`
	Mail    string `json:"zimbraMailStatus,omitempty"`
}

// A state is what a journal says when it is replayed. It is derived anew for each step: there is no second variable that could disagree.
type state struct {
	steps       []step
	plan        *Plan
	fence       uint64          // the highest that an entry names
	reservation *Reservation    //
	undo        Undo            //
	status      *statuses       // what to restore; nil when nothing of ours is in the directory
	locked      bool            // a lockout was asked for and not taken back
	lockUnknown bool            // and one of the requests was never answered: it may still be under way
	lockOpen    bool            // a lock was begun and neither taken back in full nor carried to the commit
	release     bool            // and its run is over: the account is let in again before anything else
	published   bool            // a publishing transaction was begun since the last unpublish
	trees       bool            // directories were begun
	commit      bool            // the commit was begun, so only the directory knows
	asked       bool            // and it was asked since
	committed   bool            //
	served      bool            // status restored at the destination, and its mailboxd told
	rollback    bool            // a rollback was begun
	ended       bool            //
	done        map[string]bool // steps that this run has done: later runs do not trust them
	lockedAt    time.Time       // of the lock that stands
}

// replay reads a journal of these steps from its first entry to its last.
func replay(steps []step, entries []Entry) (*state, error) {
	s := &state{steps: steps, done: map[string]bool{}}
	for _, e := range entries {
		if err := s.apply(e); err != nil {
			return nil, fmt.Errorf("%w: entry %d, step %s: %w", ErrJournal, e.N, e.Step, err)
		}
	}
	if s.plan == nil {
		return nil, fmt.Errorf("%w: it does not begin with a plan", ErrJournal)
	}
	return s, nil
}

func (s *state) apply(e Entry) error {
	if !s.knows(e.Step) {
		return fmt.Errorf("a step that this zmlift does not know; a newer one wrote version %d", e.V)
	}
	switch e.Is {
	case Begun:
		return s.begun(e)
	case Done:
		s.done[e.Step] = true
		return s.didStep(e)
	case Failed:
		// What it did before is unknown, so "begun" counts. A door that could not be closed asks the question of the commit again.
		if e.Step == stepReopenAccount {
			s.asked = false
			delete(s.done, stepAsk)
		}
		if e.Phase == PhaseCutover {
			s.release = s.lockOpen
		}
		return nil
	}
	return fmt.Errorf("unknown mark %q", e.Is)
}

func (s *state) begun(e Entry) error {
	delete(s.done, e.Step)
	switch e.Step {
	case stepOpen:
		clear(s.done)
		s.release = s.lockOpen
	case stepTakeOver, stepRollbackTake, stepTakeFinish:
		var d struct{ Fence uint64 }
		if err := read(e, &d); err != nil {
			return err
		}
		s.fence = max(s.fence, d.Fence)
	case stepMakeTrees:
		s.trees = true
	case stepLockAccount:
		// A new lock: what was proven under an older one counts for nothing, and it is to be released in full.
		for _, st := range s.steps {
			if st.phase == PhaseCutover || st.phase == PhaseRelease {
				delete(s.done, st.name)
			}
		}
		s.status = new(statuses)
		s.lockOpen = true
		s.lockedAt = e.T
		return read(e, s.status)
	case stepLockMailbox, stepProveLock:
		s.locked = true
		s.lockUnknown = true // until it is answered
	case stepPublish:
		s.published = true
		return read(e, &s.undo)
	case stepCommit:
		s.commit, s.asked = true, false
		delete(s.done, stepAsk)
	case stepReopenAccount:
		for _, st := range s.steps { // the lock is ending: a cutover begins at its first step again
			if st.phase == PhaseCutover {
				delete(s.done, st.name)
			}
		}
	case stepRollback:
		s.rollback = true
		s.lockOpen = s.fence > 0
		s.release = s.lockOpen // the door is closed first, even when the account was never locked
		clear(s.done)
	}
	return nil
}

func (s *state) didStep(e Entry) error {
	switch e.Step {
	case stepPlan:
		s.plan = new(Plan)
		return read(e, s.plan)
	case stepReserve:
		s.reservation = new(Reservation)
		return read(e, s.reservation)
	case stepLockMailbox, stepProveLock:
		s.lockUnknown = false
	case stepUnpublish:
		s.published = false
	case stepCommit:
		s.committed = true
	case stepAsk:
		var d struct{ Committed bool }
		if err := read(e, &d); err != nil {
			return err
		}
		s.asked, s.committed = true, d.Committed
	case stepRestoreStatus:
		s.status = nil
	case stepFlushServed:
		s.served = true
	case stepReopenAccount:
		s.status, s.commit, s.lockedAt = nil, false, time.Time{} // the entry was touched: a late commit fails
	case stepSettle:
		s.locked, s.lockUnknown = false, false
		s.lockOpen, s.release = false, false
	case stepEnd, stepEndRollback:
		s.ended = true
	}
	return nil
}

// outcome says how far the move has come, in a word for reports.
func (s *state) outcome() string {
	switch {
	case s.committed && s.ended:
		return OutcomeMoved
	case s.rollback && s.ended:
		return OutcomeRolledBack
	case s.committed && s.served:
		return OutcomePending
	}
	return OutcomeOpen
}

// next returns the step to do, nil when the move is through that phase. It is the whole order of a move.
func (s *state) next(through Phase) *step {
	switch {
	case s.ended:
		return nil
	case s.committed:
		return s.first(PhaseFinish)
	case s.commit && !s.asked:
		return s.first(phaseAsk)
	case s.release:
		return s.first(PhaseRelease)
	case s.rollback && s.fence == 0:
		return s.named(stepEndRollback) // nothing was made
	case s.rollback:
		return s.first(PhaseRollback)
	}
	for _, phase := range []Phase{PhasePresync, PhaseReady, PhaseCutover} {
		if st := s.first(phase); st != nil {
			return st
		}
		if phase == through {
			return nil
		}
	}
	return nil
}

func (s *state) named(name string) *step {
	for i := range s.steps {
		if s.steps[i].name == name {
			return &s.steps[i]
		}
	}
	return nil
}

// knows says whether a journal may name the step.
func (s *state) knows(name string) bool {
	switch name {
	case stepPlan, stepOpen, stepRollback:
		return true
	}
	return slices.ContainsFunc(s.steps, func(st step) bool { return st.name == name })
}

// first returns the phase's first step that this run has not done.
func (s *state) first(phase Phase) *step {
	for i := range s.steps {
		if st := &s.steps[i]; st.phase == phase && !s.done[st.name] {
			return st
		}
	}
	return nil
}

// read decodes an entry's data, which may be absent.
func read(e Entry, v any) error {
	if len(e.Data) == 0 {
		return nil
	}
	return json.Unmarshal(e.Data, v)
}
