package zimbra

import (
	"encoding/json"
	"time"

	"github.com/zmlift/zmlift/mboxdb"
)

// ReportVersion is the version of a Report's and a Status's JSON form.
const ReportVersion = 1

// A Status is where a move stands.
type Status struct {
	V         int       `json:"v"`
	Move      string    `json:"move"`
	Account   string    `json:"account"`
	AccountID string    `json:"account_id"`
	Addresses []string  `json:"addresses"` // of the account when the plan was made
	From      string    `json:"from"`
	To        string    `json:"to"`
	Outcome   string    `json:"outcome"`         // see the Outcome constants
	Phase     Phase     `json:"phase"`           // of the last step
	Step      string    `json:"step"`            // the last step
	Is        string    `json:"is"`              // and how it stands: begun, done or failed
	Error     string    `json:"error,omitempty"` // of a failed one
	Locked    bool      `json:"locked"`          // the user is locked out now
	Rollback  bool      `json:"rollback"`        // a rollback was begun
	Started   time.Time `json:"started"`
	Updated   time.Time `json:"updated"`
}

// A Report tells what a move did. It is read from the journal, so there is one after an error and after a crash as well.
type Report struct {
	Status
	MailboxFrom   mboxdb.MailboxID   `json:"mailbox_from"`
	MailboxTo     mboxdb.MailboxID   `json:"mailbox_to,omitempty"`
	Burnt         []mboxdb.MailboxID `json:"burnt,omitempty"` // ids that were skipped: rows lay under them already
	LockedSeconds float64            `json:"locked_seconds"`  // all locks of the move together
	Tables        []TableProof       `json:"tables,omitempty"`
	Presynced     FileStats          `json:"presynced"`
	PresyncedRows mboxdb.Presynced   `json:"presynced_rows"` // copied before the lock, by the last run
	Rows          mboxdb.Applied     `json:"rows"`           // deleted and written under the lock
	Blobs         FileStats          `json:"blobs"`          // copied under the lock
	Index         FileStats          `json:"index"`
	Checked       FileStats          `json:"checked"`
	Bad           []BadItem          `json:"bad,omitempty"` // blobs that the plan accepts as they are
	Steps         []StepReport       `json:"steps"`
	Notes         []string           `json:"notes,omitempty"`
}

// A StepReport is one step as it went.
type StepReport struct {
	Phase   Phase   `json:"phase"`
	Step    string  `json:"step"`
	Is      string  `json:"is"`
	Seconds float64 `json:"seconds"`
}

// Status says where the move stands.
func (mv *Move) Status() Status { return statusOf(mv.id, mv.entries, mv.st) }

// Report tells what the move has done so far.
func (mv *Move) Report() *Report { return reportOf(mv.id, mv.entries, mv.st) }

func statusOf(move string, entries []Entry, st *state) Status {
	last := entries[len(entries)-1]
	s := Status{
		V: ReportVersion, Move: move, Account: st.plan.Account.Name, AccountID: st.plan.Account.ID, Addresses: st.plan.Account.Addresses,
		From: st.plan.Source.Host, To: st.plan.Dest.Host,
		Outcome: st.outcome(), Phase: last.Phase, Step: last.Step, Is: last.Is,
		Locked: st.status != nil, Rollback: st.rollback,
		Started: entries[0].T, Updated: last.T,
	}
	if last.Is == Failed {
		var d struct{ Error string }
		_ = json.Unmarshal(last.Data, &d) // a report is no place to fail
		s.Error = d.Error
	}
	return s
}

func reportOf(move string, entries []Entry, st *state) *Report {
	r := &Report{Status: statusOf(move, entries, st)}
	if m := st.plan.Source.Mailbox; m != nil {
		r.MailboxFrom = m.ID
	}
	r.Bad = st.plan.Bad
	if st.reservation != nil {
		r.MailboxTo, r.Burnt = st.reservation.ID, st.reservation.Burnt
	}
	var begun, locked Entry
	for _, e := range entries {
		switch {
		case e.Is == Begun:
			begun = e
			if e.Step == stepLockAccount {
				locked = e
			}
			continue
		case e.Step == begun.Step:
			r.Steps = append(r.Steps, StepReport{Phase: e.Phase, Step: e.Step, Is: e.Is, Seconds: e.T.Sub(begun.T).Seconds()})
		}
		if e.Is != Done {
			continue
		}
		switch e.Step {
		case stepRestoreStatus, stepReopenAccount:
			if locked.Step != "" {
				r.LockedSeconds += e.T.Sub(locked.T).Seconds()
				locked = Entry{}
			}
		case stepPresyncFiles:
			r.Presynced = FileStats{}
			_ = json.Unmarshal(e.Data, &r.Presynced)
		case stepPresyncRows:
			r.PresyncedRows = mboxdb.Presynced{}
			_ = json.Unmarshal(e.Data, &r.PresyncedRows)
		case stepLoadRows:
			r.Rows = mboxdb.Applied{}
			_ = json.Unmarshal(e.Data, &r.Rows)
		case stepCopyBlobs:
			r.Blobs = FileStats{}
			_ = json.Unmarshal(e.Data, &r.Blobs)
		case stepCopyIndex:
			r.Index = FileStats{}
			_ = json.Unmarshal(e.Data, &r.Index)
		case stepVerifyBlobs:
			r.Checked = FileStats{}
			_ = json.Unmarshal(e.Data, &r.Checked)
		case stepVerifyRows:
			r.Tables = nil
			_ = json.Unmarshal(e.Data, &r.Tables)
		case stepPublish:
			var p Published
			_ = json.Unmarshal(e.Data, &p)
			r.Tables = append(r.Tables, p.Tables...)
		}
		r.note(e)
	}
	return r
}

// note keeps what a step found worth telling a person.
func (r *Report) note(e Entry) {
	var d struct {
		Note    string
		Pending []string
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return
	}
	if d.Note != "" {
		r.Notes = append(r.Notes, d.Note)
	}
	for _, p := range d.Pending {
		r.Notes = append(r.Notes, "told later: "+p)
	}
}
