package zimbra

import (
	"errors"
	"fmt"
	"strings"
)

// Conditions that callers branch on.
var (
	// ErrCommitted: the account lives on the destination already; there is only forward, or a move back.
	ErrCommitted = errors.New("zimbra: the move is committed")
	// ErrRolledBack: the move was rolled back, or its rollback has begun; only Rollback goes on with it.
	ErrRolledBack = errors.New("zimbra: the move is rolled back")
	// ErrBusy: another mover works on this account now, or a store carries as many moves as its pool of connections lets it.
	ErrBusy = errors.New("zimbra: another mover holds the account")
	// ErrFenced: another mover took this move over, or the journal is an old copy. Nothing more was written.
	ErrFenced = errors.New("zimbra: another mover took over")
	// ErrLeaseLost: a named lock of ours is gone: a connection broke or a database server restarted.
	ErrLeaseLost = errors.New("zimbra: the lock on a database server was lost")
	// ErrLockLost: the mailbox lockout at the source is gone: its mailboxd restarted.
	ErrLockLost = errors.New("zimbra: the mailbox lockout was lost")
	// ErrOverBudget: the lock took longer than allowed; the user is unlocked and the copy is kept.
	ErrOverBudget = errors.New("zimbra: over the lock budget")
	// ErrPlanStale: a server is no longer what it was when the plan was made.
	ErrPlanStale = errors.New("zimbra: the plan no longer fits the servers")
	// ErrMaintenance: the account was put into maintenance by someone else.
	ErrMaintenance = errors.New("zimbra: the account is in maintenance, and not by this move")
	// ErrWrongHost: that mailboxd is not the home of the account.
	ErrWrongHost = errors.New("zimbra: wrong host")
	// ErrUndecided: what the servers show fits no state of this move. A person must decide; nothing was changed.
	ErrUndecided = errors.New("zimbra: a person must decide")
	// ErrCleanupPending: the account is moved and in service; a cache or a server still has to be told. Run again.
	ErrCleanupPending = errors.New("zimbra: moved, cleanup pending")
	// ErrNoMove: there is no journal of that move.
	ErrNoMove = errors.New("zimbra: no such move")
	// ErrJournal: the journal is damaged, or was written by a newer version.
	ErrJournal = errors.New("zimbra: unusable journal")
)

// A StepError says where a move stopped.
type StepError struct {
	Account string
	Phase   Phase
	Step    string
	Err     error
	Hint    string // what to do now
}

func (e *StepError) Error() string {
	s := fmt.Sprintf("move %s: %s: %s: %v", e.Account, e.Phase, e.Step, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *StepError) Unwrap() error { return e.Err }

// A Problem is one finding of a plan.
type Problem struct {
	Code       string `json:"code"`             // stable; what --accept takes
	Object     string `json:"object,omitempty"` // the store, table, volume or account that it is about
	Message    string `json:"message"`
	Hint       string `json:"hint"`       // the command or setting that helps
	Acceptable bool   `json:"acceptable"` // a Request may accept it by its code
}

func (p Problem) String() string {
	s := p.Code
	if p.Object != "" {
		s += " (" + p.Object + ")"
	}
	return s + ": " + p.Message + "; " + p.Hint
}

// A PreflightError holds every problem that a plan found, in a stable order. Nothing was changed.
type PreflightError struct {
	Account  string
	Problems []Problem
}

func (e *PreflightError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s: %d problem", e.Account, len(e.Problems))
	if len(e.Problems) != 1 {
		b.WriteByte('s')
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// Has says whether one of the problems has the code.
func (e *PreflightError) Has(code string) bool {
	for _, p := range e.Problems {
		if p.Code == code {
			return true
		}
	}
	return false
}

// A BlobError names blobs that are not as their rows say, at the destination, or missing at the source.
type BlobError struct {
	Host string
	Bad  []BadBlob // the first of them
	More int       // how many there are beyond those
}

// add names one more.
func (e *BlobError) add(path, why string) {
	const named = 20
	if len(e.Bad) == named {
		e.More++
		return
	}
	e.Bad = append(e.Bad, BadBlob{path, why})
}

func (e *BlobError) orNil() error {
	if len(e.Bad) == 0 {
		return nil
	}
	return e
}

// A BadBlob is a file and what is wrong with it.
type BadBlob struct {
	Path string
	Why  string // "missing", "size", "digest" or "unreadable"
}

func (e *BlobError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "blobs on %s: ", e.Host)
	for i, bad := range e.Bad {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(bad.Path + " " + bad.Why)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, ", and %d more", e.More)
	}
	return b.String()
}

// A ConfigError names every mistake of a Config.
type ConfigError struct{ Mistakes []string }

func (e *ConfigError) Error() string { return "zimbra: config: " + strings.Join(e.Mistakes, "; ") }
