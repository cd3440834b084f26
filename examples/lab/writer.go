package main

import (
	"context"
	"errors"
	"time"

	"github.com/zmlift/zmlift/internal/lab"
)

// A writer sends messages to an account and tries again later what is deferred, as a mail server does.
type writer struct {
	delivered, deferred int
	first               chan struct{} // closed when the first message is in
}

const (
	pause = 30 * time.Millisecond  // between two messages
	retry = 250 * time.Millisecond // before one that was deferred is tried again
)

// run goes on until stop is closed or ctx ends. It looks at them between messages, so that it always knows what became of each, and that
// no command of a delivery is left on the store.
func (w *writer) run(ctx context.Context, a *lab.Account, stop <-chan struct{}) error {
	for {
		wait := pause
		switch err := a.Deliver(context.WithoutCancel(ctx)); {
		case err == nil:
			w.delivered++
			if w.delivered == 1 {
				close(w.first)
			}
		case errors.Is(err, lab.ErrDeferred):
			w.deferred++
			wait = retry
		default:
			return err
		}
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
