package zimbratest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/zimbra"
	"github.com/zmlift/zmlift/zimbra/zimbratest"
)

// A rollback dies right after it gave the account free at the destination, before its journal knows. Another mover, with journals of its
// own, then moves the account there, under the same reserved id. The first rollback, when it is resumed, must not touch that mailbox.
func TestResumedRollbackSparesAnotherMove(t *testing.T) {
	ctx := context.Background()
	var w *zimbratest.World
	open := func(name string, f zimbratest.Fault, move string) (*zimbra.Move, *zimbratest.Process) {
		p := w.Process(name, f)
		m, err := zimbra.New(p.Config())
		require.NoError(t, err)
		mv, err := m.Open(ctx, move)
		require.NoError(t, err)
		return mv, p
	}
	begin := func(name string, through zimbra.Phase, journals zimbra.Journals) string {
		cfg := w.Process(name, zimbratest.Fault{}).Config()
		if journals != nil {
			cfg.Journals = journals
		}
		m, err := zimbra.New(cfg)
		require.NoError(t, err)
		plan, err := m.Plan(ctx, zimbra.Request{Account: zimbratest.Alice, To: zimbratest.Dest})
		require.NoError(t, err)
		mv, err := m.Start(ctx, plan)
		require.NoError(t, err)
		defer mv.Close()
		require.NoError(t, mv.Run(ctx, through))
		return mv.ID()
	}
	var first string
	for at, hit := 1, ""; hit != "fence.End"; at++ { // a world for each effect, until it is the one that gives the account free
		w = zimbratest.New()
		first = begin("first", zimbra.PhasePresync, nil)
		mv, p := open("rollback", zimbratest.Fault{Kind: zimbratest.KillAfter, At: at}, first)
		require.Error(t, mv.Rollback(ctx), "no rollback died after fence.End")
		hit = p.Hit
	}
	w.Wait(2 * time.Minute)
	begin("second", zimbra.PhaseFinish, zimbra.DirJournals(t.TempDir()))
	require.True(t, w.Moved())

	mv, _ := open("resumed", zimbratest.Fault{}, first)
	require.ErrorIs(t, mv.Rollback(ctx), zimbra.ErrUndecided)
	require.True(t, w.Moved())
	require.Empty(t, w.Check())
}
