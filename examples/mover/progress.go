package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/zmlift/zmlift/zimbra"
)

// A progress shows a person what a move does: a line for every step that ended, and how far the present one has come. On a terminal
// that is a line that overwrites itself, elsewhere a line now and then.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	begun    time.Time // the present step
	shown    time.Time // when progress was shown last
	open     bool      // the terminal shows a line that will be overwritten
}

func newProgress(w io.Writer, terminal bool) *progress { return &progress{w: w, terminal: terminal} }

// event is a zimbra.Config's OnEvent.
func (p *progress) event(e zimbra.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case zimbra.EventBegun:
		p.begun, p.shown = e.T, e.T
		if p.terminal {
			p.overwrite("%-9s %-20s ...", e.Phase, e.Step)
		}
	case zimbra.EventProgress:
		p.far(e)
	case zimbra.EventDone:
		p.line(e, "%-9s %-20s %s", e.Phase, e.Step, seconds(e.T.Sub(p.begun)))
	case zimbra.EventFailed:
		p.line(e, "%-9s %-20s failed", e.Phase, e.Step)
	case zimbra.EventAgain:
		p.line(e, "%-9s %-20s again in %s: %s", e.Phase, e.Step, seconds(time.Duration(e.PauseMs)*time.Millisecond), e.Error)
	case zimbra.EventPaused:
		p.line(e, "%-9s %-20s waits: %s", e.Phase, e.Step, e.Error)
	case zimbra.EventResumed:
		p.line(e, "%-9s %-20s goes on", e.Phase, e.Step)
	case zimbra.EventLocked:
		p.line(e, "%s is locked out from here", e.Account)
	case zimbra.EventUnlocked:
		p.line(e, "%s is let in again", e.Account)
	case zimbra.EventCommitted:
		p.line(e, "%s lives at the destination from here", e.Account)
	}
}

// far shows how far a step has come, not too often.
func (p *progress) far(e zimbra.Event) {
	every := 10 * time.Second
	if p.terminal {
		every = 100 * time.Millisecond
	}
	if e.T.Sub(p.shown) < every {
		return
	}
	p.shown = e.T
	text := fmt.Sprintf("%-9s %-20s %s", e.Phase, e.Step, amount(e.Done, e.Unit))
	if e.Total > 0 {
		text = fmt.Sprintf("%-9s %-20s %s of %s", e.Phase, e.Step, amount(e.Done, e.Unit), amount(e.Total, e.Unit))
	}
	if e.ETAms > 0 {
		text += ", " + seconds(time.Duration(e.ETAms)*time.Millisecond) + " left"
	}
	if p.terminal {
		p.overwrite("%s", text)
		return
	}
	p.line(e, "%s", text)
}

func (p *progress) overwrite(format string, args ...any) {
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
	p.open = true
}

func (p *progress) line(e zimbra.Event, format string, args ...any) {
	p.wipe()
	fmt.Fprintf(p.w, e.T.Format(time.TimeOnly)+"  "+format+"\n", args...)
}

// clear makes room for other text.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
}

func (p *progress) wipe() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}

// amount is a number with its unit, for people.
func amount(n int64, unit string) string {
	if unit == "bytes" {
		return size(n)
	}
	return fmt.Sprintf("%d %s", n, unit)
}

func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
