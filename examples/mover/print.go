package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/zmlift/zmlift/zimbra"
)

// planVersion is the version of what `mover plan --json` prints.
const planVersion = 1

// printJSON prints one value as one line.
func (a *app) printJSON(e zimbra.Event) { a.line(e) }

func (a *app) line(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		a.say("%v", err)
		return
	}
	if _, err := a.out.Write(append(b, '\n')); err != nil {
		a.say("standard output: %v", err)
	}
}

// A planResult is what `mover plan --json` prints.
type planResult struct {
	V        int              `json:"v"`
	Plan     *zimbra.Plan     `json:"plan"`
	Problems []zimbra.Problem `json:"problems"`
}

// printPlan prints the result of the verb plan: the plan, or the problems.
func (s *session) printPlan(p *zimbra.Plan, pre *zimbra.PreflightError) {
	switch {
	case s.args.json && pre != nil:
		s.line(planResult{planVersion, nil, pre.Problems})
	case s.args.json:
		s.line(planResult{planVersion, p, []zimbra.Problem{}})
	case pre != nil:
		writeProblems(s.out, pre)
	default:
		writePlan(s.out, p)
	}
}

// printProblems prints what keeps another verb from beginning.
func (s *session) printProblems(pre *zimbra.PreflightError) {
	if s.args.json {
		s.line(planResult{planVersion, nil, pre.Problems})
		s.say("%v", pre)
		return
	}
	writeProblems(s.err, pre)
}

func writeProblems(w io.Writer, pre *zimbra.PreflightError) {
	fmt.Fprintf(w, "%s cannot be moved yet; nothing was changed:\n", pre.Account)
	for _, p := range pre.Problems {
		object := ""
		if p.Object != "" {
			object = " (" + p.Object + ")"
		}
		fmt.Fprintf(w, "\n  %s%s: %s\n    what helps: %s\n", p.Code, object, p.Message, p.Hint)
		if p.Acceptable {
			fmt.Fprintf(w, "    or go on in spite of it: --accept %s\n", p.Code)
		}
	}
}

func writePlan(w io.Writer, p *zimbra.Plan) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("account", "%s (%s)", p.Account.Name, p.Account.ID)
	row("from", "%s", p.Source.Host)
	row("to", "%s", p.Dest.Host)
	if m := p.Source.Mailbox; m != nil {
		row("mailbox", "%d in group %d at the source", m.ID, m.Group)
	}
	for _, from := range slices.Sorted(maps.Keys(p.Volumes)) {
		row("volume", "%d becomes %d", from, p.Volumes[from])
	}
	if p.NoIndex {
		row("index", "left behind")
	} else {
		row("index volume", "%d", p.IndexVolume)
	}
	row("rows", "%d", p.Forecast.Rows)
	row("blobs", "%d, %s", p.Forecast.Blobs, size(p.Forecast.Bytes))
	row("expected lock", "%s", seconds(p.Forecast.Lock))
	for _, code := range p.Accepted {
		row("accepted", "%s", code)
	}
	for _, b := range p.Bad {
		row("accepted", "blob of item %d, %s: %s", b.Item, b.Why, b.Path)
	}
	t.Flush()
	fmt.Fprintln(w, "\nNo problem was found, and nothing was changed.")
}

// printReport prints the end of a verb that worked on a move.
func (s *session) printReport(r *zimbra.Report) {
	if s.progress != nil {
		s.progress.clear()
	}
	if s.args.json {
		s.line(r)
		s.say("%s: %s", r.Account, sentence(r.Status))
		return
	}
	writeReport(s.out, r)
}

// printScan prints what a scan found.
func (s *session) printScan(scan *zimbra.Scan) {
	if s.args.json {
		if err := scan.Write(s.out); err != nil {
			s.say("standard output: %v", err)
		}
	} else {
		t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		for _, b := range scan.Bad {
			fmt.Fprintf(t, "%s\titem %d\tvolume %d\t%d bytes of %d\t%s\n", b.Why, b.Item, b.Volume, b.Found, b.Size, b.Path)
		}
		t.Flush()
	}
	end := counted(len(scan.Bad), "bad blob")
	if scan.Stopped {
		end += "; stopped at --limit, there may be more"
	}
	text := fmt.Sprintf("%s on %s: %d blobs looked at, %s", scan.Account.Name, scan.Host, scan.Blobs, end)
	if s.args.json {
		s.say("%s", text)
		return
	}
	fmt.Fprintln(s.out, text)
}

// sentence says where a move stands.
func sentence(st zimbra.Status) string {
	way := "from " + st.From + " to " + st.To
	switch {
	case st.Outcome == zimbra.OutcomeMoved:
		return "moved " + way
	case st.Outcome == zimbra.OutcomePending:
		return "moved " + way + " and in service; somebody is still to be told"
	case st.Outcome == zimbra.OutcomeRolledBack:
		return "not moved " + way + ": rolled back"
	case st.Rollback:
		return "being rolled back, on the way " + way + where(st)
	}
	return "on the way " + way + where(st)
}

func where(st zimbra.Status) string {
	s := fmt.Sprintf("; %s: %s %s", st.Phase, st.Step, st.Is)
	if st.Locked {
		s += "; locked out"
	}
	return s
}

func writeReport(w io.Writer, r *zimbra.Report) {
	fmt.Fprintf(w, "%s: %s\n\n", r.Account, sentence(r.Status))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("move", "%s", r.Move)
	row("mailbox at the source", "%d", r.MailboxFrom)
	if r.MailboxTo != 0 {
		row("mailbox at the destination", "%d", r.MailboxTo)
	}
	for _, id := range r.Burnt {
		row("id skipped", "%d: rows lay under it already", id)
	}
	row("locked out for", "%.1f s", r.LockedSeconds)
	row("files before the lock", "%s", files(r.Presynced))
	row("rows before the lock", "%d written", r.PresyncedRows.Rows)
	row("rows in the lock", "%d deleted, %d written", r.Rows.Deleted, r.Rows.Rows)
	row("blobs in the lock", "%s", files(r.Blobs))
	row("index in the lock", "%s", files(r.Index))
	row("blobs checked", "%d", r.Checked.Checked)
	for _, b := range r.Bad {
		row("accepted as it was", "blob of item %d, %s: %s", b.Item, b.Why, b.Path)
	}
	t.Flush()

	fmt.Fprintln(w, "\nphases")
	for _, p := range phases(r.Steps) {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", p.name, seconds(p.time), counted(p.steps, "step"))
	}
	t.Flush()

	if len(r.Tables) > 0 {
		fmt.Fprintln(w, "\nrows, and their digest on both sides")
		for _, p := range r.Tables {
			fmt.Fprintf(t, "  %s\t%d\t%s\n", p.Table, p.Rows, p.Digest)
		}
		t.Flush()
	}
	if r.Error != "" {
		fmt.Fprintf(w, "\nstopped at %s: %s: %s\n", r.Phase, r.Step, r.Error)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", note)
	}
}

func files(f zimbra.FileStats) string {
	s := fmt.Sprintf("%d copied, %s", f.Files, size(f.Bytes))
	if f.Deleted > 0 {
		s += fmt.Sprintf("; %d removed that the source no longer has", f.Deleted)
	}
	return s
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type phaseTime struct {
	name  zimbra.Phase
	time  time.Duration
	steps int
}

// phases adds up the steps, in the order in which the phases began.
func phases(steps []zimbra.StepReport) []phaseTime {
	var all []phaseTime
	for _, st := range steps {
		i := slices.IndexFunc(all, func(p phaseTime) bool { return p.name == st.Phase })
		if i < 0 {
			i = len(all)
			all = append(all, phaseTime{name: st.Phase})
		}
		all[i].time += time.Duration(st.Seconds * float64(time.Second))
		all[i].steps++
	}
	return all
}

// printStatus prints where moves stand, a line for each.
func (s *session) printStatus(all ...zimbra.Status) {
	if s.args.json {
		for _, st := range all {
			s.line(st)
		}
		return
	}
	if len(all) == 0 {
		fmt.Fprintln(s.out, "no moves")
	}
	for _, st := range all {
		fmt.Fprintf(s.out, "%s  %s  %s\n", st.Move, st.Account, sentence(st))
		if st.Error != "" {
			fmt.Fprintf(s.out, "    %s\n", st.Error)
		}
	}
}
