package backoff_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/internal/backoff"
)

var errBusy = errors.New("busy")

func busy(err error) bool { return errors.Is(err, errBusy) }

func TestRetryUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, start := 0, time.Now()
		err := backoff.Retry(t.Context(), backoff.Policy{}, busy, func(context.Context) error {
			if calls++; calls < 4 {
				return errBusy
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 4, calls)
		waited := time.Since(start) // 100, 200 and 400 ms, each of them between half and all of it
		require.GreaterOrEqual(t, waited, 350*time.Millisecond)
		require.LessOrEqual(t, waited, 700*time.Millisecond)
	})
}

func TestRetryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, start := 0, time.Now()
		p := backoff.Policy{Tries: 8, First: time.Second, Max: 2 * time.Second}
		err := backoff.Retry(t.Context(), p, busy, func(context.Context) error { calls++; return errBusy })
		require.ErrorIs(t, err, errBusy)
		require.Equal(t, 8, calls)
		require.LessOrEqual(t, time.Since(start), 13*time.Second, "waits are capped")
	})
}

func TestRetryReturnsOtherErrorsAtOnce(t *testing.T) {
	calls, other := 0, errors.New("refused")
	err := backoff.Retry(t.Context(), backoff.Policy{}, busy, func(context.Context) error { calls++; return other })
	require.Equal(t, other, err)
	require.Equal(t, 1, calls)
}

func TestRetryEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := backoff.Retry(ctx, backoff.Policy{First: time.Hour, Max: time.Hour}, busy, func(context.Context) error { return errBusy })
		require.ErrorIs(t, err, errBusy, "why it was waiting")
		require.ErrorIs(t, err, context.DeadlineExceeded, "why it stopped")
		require.Equal(t, 10*time.Millisecond, time.Since(start))
	})
}

func ExampleRetry() {
	attempts := 0
	err := backoff.Retry(context.Background(), backoff.Policy{First: time.Millisecond},
		func(err error) bool { return errors.Is(err, errBusy) },
		func(context.Context) error {
			if attempts++; attempts < 3 {
				return errBusy
			}
			return nil
		})
	fmt.Println(attempts, err)
	// Output: 3 <nil>
}
