package filesync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Limit bounds how much syncs and checks take from the machines they work on. One Limit may be given to many of them: what it allows is
// for all together. Its methods may be called at any time by any goroutine, and what runs follows within a second. The zero Limit
// allows everything.
type Limit struct {
	mu       sync.Mutex
	schedule Schedule
	paused   bool
	files    int // 0: as many as there are
	open     int
	owed     float64       // bytes that were read and not waited for yet
	since    time.Time     // owed is as of then
	changed  chan struct{} // closed at the next change; nil: nobody waits

	now   func() time.Time                     // tests have a clock of their own
	after func(time.Duration) <-chan time.Time // and no time to wait
}

// SetRate allows so many bytes a second, at all times; 0, or less, is no limit.
func (l *Limit) SetRate(bytes int64) { l.change(func() { l.schedule = Schedule{Else: max(bytes, 0)} }) }

// SetSchedule has the rate follow the time of day. An error says what is wrong with s, and then nothing changes.
func (l *Limit) SetSchedule(s Schedule) error {
	if err := s.check(); err != nil {
		return err
	}
	l.change(func() { l.schedule = s })
	return nil
}

// SetFiles allows so many files in flight: read for a copy, or digested. 0 is no limit. A check on a remote host follows with its next
// few thousand files, and never has fewer than one in flight.
func (l *Limit) SetFiles(n int) { l.change(func() { l.files = max(n, 0) }) }

// Pause stops reading until Resume. What is under way holds its connections, and ends with its context.
func (l *Limit) Pause() { l.change(func() { l.paused = true }) }

// Resume ends a Pause. Not paused: nothing happens.
func (l *Limit) Resume() { l.change(func() { l.paused = false }) }

// Rate is how many bytes a second are allowed now; 0 is no limit.
func (l *Limit) Rate() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.schedule.At(l.clock())
}

func (l *Limit) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle()
	f()
	l.wake()
}

// The methods below want l.mu.

func (l *Limit) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

func (l *Limit) clock() time.Time {
	if l.now != nil {
		return l.now()
	}
	return time.Now()
}

// settle takes off what the time since the last call has paid, and returns the rate.
func (l *Limit) settle() int64 {
	now := l.clock()
	rate := l.schedule.At(now)
	l.owed = max(0, l.owed-float64(rate)*now.Sub(l.since).Seconds())
	if rate == 0 {
		l.owed = 0
	}
	l.since = now
	return rate
}

// wait gives l.mu away until something changed or d is over.
func (l *Limit) wait(ctx context.Context, d time.Duration) error {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	changed := l.changed
	l.mu.Unlock()
	defer l.mu.Lock()
	var over <-chan time.Time
	if l.after != nil {
		over = l.after(d)
	} else {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-over:
	case <-changed:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// lookAgain is how long a wait is at most before the schedule is looked at again.
const lookAgain = time.Second

// pay waits until n more bytes fit the rate, and until there is no pause.
func (l *Limit) pay(ctx context.Context, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle()
	l.owed += float64(n)
	for {
		rate := l.settle()
		if !l.paused && l.owed <= 0 {
			return ctx.Err()
		}
		d := lookAgain
		if !l.paused {
			d = min(d, time.Duration(math.Ceil(l.owed/float64(rate)*float64(time.Second))))
		}
		if err := l.wait(ctx, d); err != nil {
			return err
		}
	}
}

// enter waits until one more file may be in flight. The caller calls leave when it no longer is.
func (l *Limit) enter(ctx context.Context) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.files > 0 && l.open >= l.files || l.paused {
		if err := l.wait(ctx, lookAgain); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.open++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		l.wake()
	}, nil
}

// piece is how much of n bytes is read at once: a tenth of a second's worth makes no long silence and no long burst.
func (l *Limit) piece(n int) int {
	if rate := l.Rate(); rate > 0 {
		return int(min(int64(n), max(1, rate/10)))
	}
	return n
}

// limits are those of one sync or check: its own rate, and the Limit that it shares.
type limits []*Limit

func newLimits(o *Options) limits {
	var ls limits
	if o.Rate > 0 {
		l := &Limit{}
		l.SetRate(o.Rate)
		ls = append(ls, l)
	}
	return append(ls, o.Limits...)
}

// enter waits until each allows one more file.
func (ls limits) enter(ctx context.Context) (leave func(), err error) {
	var leaves []func()
	leave = func() {
		for _, f := range leaves {
			f()
		}
	}
	for _, l := range ls {
		f, err := l.enter(ctx)
		if err != nil {
			leave()
			return nil, err
		}
		leaves = append(leaves, f)
	}
	return leave, ctx.Err()
}

// workers is how many of n files may be in flight at a time, n 0 standing for as many as the host likes.
func (ls limits) workers(n int) int {
	for _, l := range ls {
		l.mu.Lock()
		if l.files > 0 && (n == 0 || l.files < n) {
			n = l.files
		}
		l.mu.Unlock()
	}
	return n
}

// reader returns r itself when there is no limit.
func (ls limits) reader(ctx context.Context, r io.Reader) io.Reader {
	for _, l := range ls {
		r = &limited{ctx, l, r}
	}
	return r
}

type limited struct {
	ctx context.Context
	l   *Limit
	r   io.Reader
}

func (r *limited) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:r.l.piece(len(p))])
	if perr := r.l.pay(r.ctx, n); perr != nil {
		return n, perr
	}
	return n, err
}

// A Schedule says how many bytes a second are allowed at what time of the day.
type Schedule struct {
	Hours []Hours        // the first that fits counts
	Else  int64          // bytes a second at other times; 0 is no limit
	Zone  *time.Location // whose time of day; nil is this machine's
}

// Hours are a part of the day, from From until just before To, both since midnight. A To that is not later than From is on the next day.
type Hours struct {
	From, To time.Duration
	Rate     int64 // bytes a second; 0 is no limit
}

const day = 24 * time.Hour

// At is the rate at a moment; 0 is no limit. Where clocks are put forward or back, the time they show counts.
func (s Schedule) At(t time.Time) int64 {
	if len(s.Hours) == 0 {
		return s.Else
	}
	if s.Zone != nil {
		t = t.In(s.Zone)
	} else {
		t = t.Local()
	}
	hour, minute, second := t.Clock()
	now := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	for _, h := range s.Hours {
		in := h.From <= now && now < h.To
		if h.To <= h.From {
			in = h.From <= now || now < h.To
		}
		if in {
			return h.Rate
		}
	}
	return s.Else
}

func (s Schedule) check() error {
	for _, h := range s.Hours {
		switch {
		case h.From < 0 || h.From >= day || h.To < 0 || h.To > day:
			return fmt.Errorf("filesync: schedule: %s to %s is no part of a day", h.From, h.To)
		case h.Rate < 0:
			return fmt.Errorf("filesync: schedule: a rate of %d", h.Rate)
		}
	}
	if s.Else < 0 {
		return fmt.Errorf("filesync: schedule: a rate of %d", s.Else)
	}
	return nil
}

// ParseSchedule reads what people write: parts separated by commas, each a rate with or without the hours in front, as in
// "07:00-19:00 10M, 50M". K, M and G are thousands, millions and billions of bytes a second; 0 is no limit. A part without hours is for the
// rest of the day, and there is one at most; without one the rest has no limit.
func ParseSchedule(text string, zone *time.Location) (Schedule, error) {
	s := Schedule{Zone: zone}
	rest := false
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 {
			return Schedule{}, fmt.Errorf("filesync: schedule: %q: want RATE or FROM-TO RATE", part)
		}
		rate, err := parseRate(words[len(words)-1])
		if err != nil {
			return Schedule{}, fmt.Errorf("filesync: schedule: %q: %w", part, err)
		}
		if len(words) == 1 {
			if rest {
				return Schedule{}, fmt.Errorf("filesync: schedule: %q: there is a rate for the rest of the day already", part)
			}
			rest, s.Else = true, rate
			continue
		}
		from, to, _ := strings.Cut(words[0], "-")
		h := Hours{Rate: rate}
		var errs [2]error
		h.From, errs[0] = parseClock(from)
		h.To, errs[1] = parseClock(to)
		if err := errors.Join(errs[:]...); err != nil || h.From == day || h.From == h.To {
			return Schedule{}, fmt.Errorf("filesync: schedule: %q: want two different times as HH:MM-HH:MM", part)
		}
		s.Hours = append(s.Hours, h)
	}
	return s, nil
}

// parseClock reads HH:MM; 24:00 is the end of a day.
func parseClock(s string) (time.Duration, error) {
	if s == "24:00" {
		return day, nil
	}
	t, err := time.Parse("15:04", s)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

func parseRate(s string) (int64, error) {
	unit := int64(1)
	digits := s
	for suffix, u := range map[string]int64{"K": 1e3, "M": 1e6, "G": 1e9} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = d, u
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no rate: want a number, or one with K, M or G", s)
	}
	return int64(n) * unit, nil
}
