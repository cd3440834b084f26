package zimbratest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/zimbra"
	"github.com/zmlift/zmlift/zimbra/zimbratest"
)

// A reindexer is a mailboxd that can make indexes, and at first does not.
type reindexer struct {
	zimbra.Mailboxd
	asked []string
}

func (r *reindexer) Reindex(_ context.Context, account string) error {
	r.asked = append(r.asked, account)
	if len(r.asked) == 1 {
		return errors.New("too busy")
	}
	return nil
}

// TestReindex: where the index was left behind, the destination is asked for a new one until it agrees, and the user works meanwhile.
func TestReindex(t *testing.T) {
	w := zimbratest.New()
	cfg := w.Process("mover", zimbratest.Fault{}).Config()
	dest := &reindexer{Mailboxd: cfg.Stores[zimbratest.Dest].Mailboxd}
	cfg.Stores[zimbratest.Dest].Mailboxd = dest
	m, err := zimbra.New(cfg)
	require.NoError(t, err)
	plan, err := m.Plan(t.Context(), zimbra.Request{Account: zimbratest.Alice, To: zimbratest.Dest, NoIndex: true})
	require.NoError(t, err)
	mv, err := m.Start(t.Context(), plan)
	require.NoError(t, err)
	defer mv.Close()
	require.ErrorIs(t, mv.Run(t.Context(), zimbra.PhaseFinish), zimbra.ErrCleanupPending)
	require.False(t, mv.Status().Locked)
	require.NoError(t, mv.Run(t.Context(), zimbra.PhaseFinish))
	require.Equal(t, []string{zimbratest.AliceID, zimbratest.AliceID}, dest.asked)
	require.Contains(t, mv.Report().Notes, "the search index was left behind; "+zimbratest.Dest+" makes a new one")
}
