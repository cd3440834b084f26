package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/zmlift/zmlift/zimbra"
)

// print prints the report. Its lines are always the same in the same order; only times and the writer's numbers differ.
func (d *demo) print(w io.Writer) {
	r, there := d.report, d.plan.Dest.Host
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }

	fmt.Fprintf(w, "\n%s, moved from %s to %s\n\n", r.Account, r.From, r.To)
	row("mailbox", "%d at %s, %d at %s", r.MailboxFrom, r.From, r.MailboxTo, r.To)
	for _, from := range slices.Sorted(maps.Keys(d.plan.Volumes)) {
		row("volume", "%d becomes %d", from, d.plan.Volumes[from])
	}
	row("files before the lock", "%d, %s", r.Presynced.Files, size(r.Presynced.Bytes))
	row("files in the lock", "%d blobs, %d of the index", r.Blobs.Files, r.Index.Files)
	row("blobs checked", "%d by their digest before the lock, %d in it", r.Presynced.Checked, r.Checked.Checked)
	row("writer", "%d messages delivered, then %d times deferred", d.writer.delivered, d.writer.deferred)
	row("locked out", "%.2f s (and %.2f s more, in which this demo looked at the source)", r.LockedSeconds-d.looking.Seconds(), d.looking.Seconds())
	t.Flush()

	fmt.Fprintln(w, "\nphases")
	fmt.Fprintf(t, "  plan\t%6.2f s\n", d.planning.Seconds())
	for _, p := range phases(r.Steps) {
		fmt.Fprintf(t, "  %s\t%6.2f s\t%s %.2f s, the longest of %d\n", p.name, p.time, p.longest.Step, p.longest.Seconds, p.steps)
	}
	t.Flush()

	fmt.Fprintln(w, "\nrows by table, read again on both sides: without the mailbox id, locators through the map")
	fmt.Fprintf(t, "  table\trows\tdigest at %s\trows\tdigest at %s\n", r.From, there)
	for _, c := range d.tables {
		fmt.Fprintf(t, "  %s\t%d\t%016x\t%d\t%016x\n", c.name, c.src.rows, c.src.digest, c.dst.rows, c.dst.digest)
	}
	t.Flush()

	fmt.Fprintln(w, "\npromises")
	for _, c := range d.checks {
		if c.wrong == "" {
			fmt.Fprintf(w, "  kept    %s\n", c.what)
			continue
		}
		fmt.Fprintf(w, "  BROKEN  %s\n          %s\n", c.what, c.wrong)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", note)
	}
}

// A phaseTime is how long a phase took, and which of its steps the longest.
type phaseTime struct {
	name    zimbra.Phase
	time    float64 // seconds
	steps   int
	longest zimbra.StepReport
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
		p := &all[i]
		p.time += st.Seconds
		p.steps++
		if st.Seconds >= p.longest.Seconds {
			p.longest = st
		}
	}
	return all
}

func size(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
