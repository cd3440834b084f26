package tunnel

import (
	"sync"
	"time"
)

// A deadline is a moment that may be moved while somebody waits for it.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	set    int           // how often it was set; a timer of before has no say
	over   bool          // passed is closed
	passed chan struct{} // replaced once it is over and set again
}

func newDeadline() *deadline { return &deadline{passed: make(chan struct{})} }

// at moves the deadline; the zero time is never.
func (d *deadline) at(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.set++
	if d.over {
		d.over, d.passed = false, make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		set := d.set
		d.timer = time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.set == set {
				d.end()
			}
		})
		return
	}
	d.end()
}

func (d *deadline) end() {
	d.over = true
	close(d.passed)
}

// wait is closed when the deadline has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

func (d *deadline) isOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}
