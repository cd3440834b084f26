package filesync

import "time"

// Open is how many files are in flight.
func (l *Limit) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// SetClock gives the limit a clock. After is called with how long it would wait.
func (l *Limit) SetClock(now func() time.Time, after func(time.Duration) <-chan time.Time) {
	l.now, l.after = now, after
}

// WithBatches has batches of so many files.
func (o Options) WithBatches(files int) *Options {
	o.batch = files
	return &o
}
