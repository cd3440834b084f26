package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/zmlift/zmlift/zimbra"
)

// talk tells on standard error what happens, and when: seconds since the start.
type talk struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
	phase zimbra.Phase
	shown time.Time // when progress was shown last
}

func newTalk(w io.Writer) *talk { return &talk{w: w, start: time.Now()} }

// Write is for the lab, which says whole lines.
func (t *talk) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := fmt.Fprintf(t.w, "%6.1f  %s", time.Since(t.start).Seconds(), b)
	return len(b), err
}

func (t *talk) say(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// event is the zimbra.Config's OnEvent. zimbra calls it from one goroutine.
func (t *talk) event(e zimbra.Event) {
	switch e.Kind {
	case zimbra.EventBegun:
		if e.Phase != t.phase && e.Phase != zimbra.PhasePlan { // that one is over when the first event comes
			t.phase = e.Phase
			t.say("%s", e.Phase)
		}
	case zimbra.EventProgress:
		if e.T.Sub(t.shown) < time.Second {
			return
		}
		t.shown = e.T
		if e.Total > 0 {
			t.say("  %s: %d of %d %s", e.Step, e.Done, e.Total, e.Unit)
		} else {
			t.say("  %s: %d %s", e.Step, e.Done, e.Unit)
		}
	case zimbra.EventFailed:
		t.say("  %s: failed", e.Step)
	case zimbra.EventLocked:
		t.say("  %s is locked out from here", e.Account)
	case zimbra.EventCommitted:
		t.say("  %s lives at the destination from here", e.Account)
	case zimbra.EventUnlocked:
		t.say("  %s is let in again", e.Account)
	}
}
