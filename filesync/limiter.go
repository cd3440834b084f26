package filesync

import (
	"context"
	"io"
	"time"
)

// A limiter slows readers down to a rate that they share, one after the other.
type limiter struct {
	rate int64 // bytes a second
	free time.Time
}

func newLimiter(rate int64) *limiter {
	if rate <= 0 {
		return nil
	}
	return &limiter{rate: rate}
}

// reader returns r itself when there is no limit.
func (l *limiter) reader(ctx context.Context, r io.Reader) io.Reader {
	if l == nil {
		return r
	}
	return &limited{ctx, l, r}
}

type limited struct {
	ctx context.Context
	l   *limiter
	r   io.Reader
}

func (r *limited) Read(p []byte) (int, error) {
	// A tenth of a second's worth at a time: no long silence, no long burst.
	p = p[:min(int64(len(p)), max(1, r.l.rate/10))]
	n, err := r.r.Read(p)
	now := time.Now()
	if r.l.free.Before(now) {
		r.l.free = now
	}
	r.l.free = r.l.free.Add(time.Duration(float64(n) / float64(r.l.rate) * float64(time.Second)))
	t := time.NewTimer(r.l.free.Sub(now))
	defer t.Stop()
	select {
	case <-t.C:
		return n, err
	case <-r.ctx.Done():
		return n, r.ctx.Err()
	}
}
