package zimbra_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/zimbra"
)

// moveTime is far more than the moves of a test need. What waits for itself is still waiting then.
const moveTime = 5 * time.Minute

// TestConnectionsOfAMove counts what StoreConfig.DB promises.
func TestConnectionsOfAMove(t *testing.T) {
	s := newSite(t, 0)
	mv, err := s.mover.Start(t.Context(), s.plan(t, s.Stores[0], s.Stores[1]))
	require.NoError(t, err)
	defer mv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), moveTime)
	defer cancel()
	require.NoError(t, mv.Run(ctx, zimbra.PhaseFinish))
	for host, c := range s.conns {
		require.Equal(t, 3, c.most(), "connections to %s at once", host)
	}
}

// TestMovesOnSmallPools has more moves at work than the pools carry, in both directions. Each ends, and none waits for another one for
// ever: whoever does not fit is told so.
func TestMovesOnSmallPools(t *testing.T) {
	for conns, n := range map[int]int{4: 2, 7: 4} {
		t.Run(fmt.Sprint(conns), func(t *testing.T) {
			s := newSite(t, conns)
			ctx, cancel := context.WithTimeout(t.Context(), moveTime)
			defer cancel()
			var moves []*zimbra.Move
			for i := range n {
				mv, err := s.mover.Start(ctx, s.plan(t, s.Stores[i%2], s.Stores[1-i%2]))
				require.NoError(t, err)
				defer mv.Close()
				moves = append(moves, mv)
			}
			var ended broadcast
			var wg sync.WaitGroup
			errs := make([]error, len(moves))
			for i, mv := range moves {
				wg.Go(func() {
					defer ended.send()
					for {
						end := ended.next()
						if errs[i] = mv.Run(ctx, zimbra.PhaseFinish); !errors.Is(errs[i], zimbra.ErrBusy) {
							return
						}
						select {
						case <-end:
						case <-ctx.Done():
							return
						}
					}
				})
			}
			wg.Wait()
			require.NoError(t, errors.Join(errs...))
			for host, c := range s.conns {
				require.LessOrEqual(t, c.most(), conns, "connections to %s at once", host)
			}
		})
	}
}

// A broadcast tells everybody who waits.
type broadcast struct {
	mu sync.Mutex
	c  chan struct{}
}

// next is closed by the next send.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// TestFullStore holds what there is room for. Whoever does not fit at either store leaves nothing held, and comes in when another one goes.
func TestFullStore(t *testing.T) {
	s := newSite(t, 7)
	ctx, cancel := context.WithTimeout(t.Context(), moveTime)
	defer cancel()
	account := 0
	fence := func(from, to int) zimbra.Fence {
		account++
		p := &zimbra.Plan{Account: zimbra.Account{ID: fmt.Sprintf("full-%d", account)}}
		p.Source.Host, p.Dest.Host = s.Stores[from].Host, s.Stores[to].Host
		return s.effects(t, p, "move").Fence
	}
	a, b, third := fence(0, 1), fence(1, 0), fence(0, 1)
	require.NoError(t, a.Hold(ctx))
	require.NoError(t, a.Hold(ctx), "held already")
	require.NoError(t, b.Hold(ctx))
	for range 3 {
		err := third.Hold(ctx)
		require.ErrorIs(t, err, zimbra.ErrBusy)
		require.ErrorContains(t, err, s.Stores[0].Host+": ")
		require.ErrorContains(t, err, "7 connections")
	}
	require.NoError(t, a.Hold(ctx), "no room is needed for what is held")
	require.NoError(t, a.Release(ctx))
	require.NoError(t, a.Release(ctx), "room is given back once")
	require.NoError(t, third.Hold(ctx))
	require.ErrorIs(t, a.Hold(ctx), zimbra.ErrBusy)
	require.NoError(t, third.Release(ctx))

	// The account's own lock is taken: the room that this one got goes back.
	account--
	same := fence(0, 1)
	require.NoError(t, third.Hold(ctx))
	require.NoError(t, b.Release(ctx))
	require.ErrorIs(t, same.Hold(ctx), zimbra.ErrBusy)
	require.NoError(t, b.Hold(ctx))
}

// TestMovesOfAStore is the bound of a pool without one.
func TestMovesOfAStore(t *testing.T) {
	s := newSite(t, 0)
	for i := range 3 {
		p := &zimbra.Plan{Account: zimbra.Account{ID: fmt.Sprintf("bound-%d", i)}}
		p.Source.Host, p.Dest.Host = s.Stores[0].Host, s.Stores[1].Host
		err := s.effects(t, p, "move").Fence.Hold(t.Context())
		if i < 2 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, zimbra.ErrBusy)
		require.ErrorContains(t, err, "StoreConfig.Moves")
	}
}

// TestPoolTooSmall is told at once, and not by ErrBusy: no waiting helps.
func TestPoolTooSmall(t *testing.T) {
	s := newSite(t, 3)
	p := &zimbra.Plan{Account: zimbra.Account{ID: "small"}}
	p.Source.Host, p.Dest.Host = s.Stores[0].Host, s.Stores[1].Host
	err := s.effects(t, p, "move").Fence.Hold(t.Context())
	require.ErrorContains(t, err, s.Stores[0].Host+": ")
	require.ErrorContains(t, err, "3 connections")
	require.NotErrorIs(t, err, zimbra.ErrBusy)
}
