package backoff

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// A Policy says how often and how patiently. Its zero value tries five times within about two seconds.
type Policy struct {
	Tries int           // at most so many calls; 0: 5
	First time.Duration // the wait after the first call; 0: 100 ms
	Max   time.Duration // the longest wait; 0: 5 s
}

// Retry calls f until it succeeds, fails with an error that passes says will not pass, or has been called often enough; then it
// returns f's last error. While it waits it looks at ctx: when ctx ends it returns f's last error joined with ctx's.
func Retry(ctx context.Context, p Policy, passes func(error) bool, f func(context.Context) error) error {
	tries, wait, limit := p.Tries, p.First, p.Max
	if tries <= 0 {
		tries = 5
	}
	if wait <= 0 {
		wait = 100 * time.Millisecond
	}
	if limit <= 0 {
		limit = 5 * time.Second
	}
	for try := 1; ; try++ {
		err := f(ctx)
		if err == nil || try == tries || !passes(err) {
			return err
		}
		if cerr := Sleep(ctx, blur(min(wait, limit))); cerr != nil {
			return errors.Join(err, cerr)
		}
		wait *= 2
	}
}

// Sleep returns after d, or earlier with ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// blur returns between half of d and all of it.
func blur(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
