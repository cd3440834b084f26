package mboxdb_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// A mailbox that somebody may live in is not removed by a slip: not with the claim that it was restored under, nor months later with another one.
func TestRemoveRefusesALiveMailbox(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 25)
	_, err := m.dstDB.Restore(ctx, bytes.NewReader(m.dumped(t)), m.to, m.restoring())
	require.NoError(t, err)
	m.exec(t, "UPDATE mboxgroup.mail_item SET subject = 'since then' WHERE mailbox_id = ? AND id = 257", m.to.ID)
	all := slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))
	rows := func() (out []string) {
		for _, table := range all {
			out = append(out, content(t, m.dstRoot, m.in(table), m.to.ID, nil)...)
		}
		return out
	}
	before := rows()
	refused := func(name string) {
		t.Helper()
		for call, err := range map[string]error{
			"nothing said":     m.dstDB.Remove(ctx, m.opt.Claim, m.to, nil),
			"something else":   m.dstDB.Remove(ctx, m.opt.Claim, m.to, &mboxdb.RemoveOptions{Undo: &mboxdb.DeletedAccount{Email: m.account.Name, AccountID: newID()}}),
			"a copy's, nil":    m.copy(t).Remove(ctx, nil),
			"a copy's, nobody": m.copy(t).Remove(ctx, &mboxdb.RemoveOptions{}),
		} {
			var live *mboxdb.LiveError
			require.ErrorAs(t, err, &live, "%s: %s", name, call)
			require.Equal(t, mboxdb.LiveError{AccountID: m.account.ID, ID: m.to.ID}, *live, "%s: %s", name, call)
			require.ErrorIs(t, err, mboxdb.ErrPublished, "%s: %s", name, call)
			require.ErrorContains(t, err, m.account.ID, "%s: %s", name, call)
		}
		require.Equal(t, before, rows(), name)
		deleted, err := m.dstDB.DeletedAccount(ctx, m.account.Name)
		require.NoError(t, err)
		require.Nil(t, deleted, name)
	}
	refused("restored")
	require.NoError(t, m.dstDB.End(ctx, m.opt.Claim))
	require.ErrorIs(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, elsewhere), mboxdb.ErrFenced, "the restore is over")
	m.opt.Claim.Move, m.opt.Claim.Fence = "months later", m.opt.Claim.Fence+1
	require.NoError(t, m.dstDB.Claim(ctx, m.opt.Claim))
	res, err := m.dstDB.Reserve(ctx, m.opt.Claim, nil)
	require.NoError(t, err)
	require.Equal(t, m.to.ID, res.Mailbox.ID, "the same id, which is why")
	refused("months later")

	// What nobody can see goes without a word, and a mailbox when the directory says so.
	require.NoError(t, m.copy(t).Unpublish(ctx, nil))
	require.NoError(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, nil))
	m.untouched(t, "unseen")
	_, err = m.dstDB.Restore(ctx, bytes.NewReader(m.dumped(t)), m.to, m.restoring())
	require.NoError(t, err)
	require.NoError(t, m.dstDB.Remove(ctx, m.opt.Claim, m.to, elsewhere))
	m.untouched(t, "lives elsewhere")
}

// Nor is one that becomes a mailbox at this moment, by a commit that its mover has given up waiting for.
func TestRemoveWaitsForLateCommits(t *testing.T) {
	m := newMove(t, 25)
	ctx, cancel := context.WithCancel(t.Context())
	late := &script{}
	late.send = func(_ int, stmt string, conn net.Conn, packet []byte) error {
		if stmt != "COMMIT" || late.inserted == 0 {
			return nil
		}
		late.send = nil
		go func() {
			time.Sleep(300 * time.Millisecond)
			_, _ = conn.Write(packet)
			_, _ = conn.Read(make([]byte, 4096))
			_ = conn.Close()
		}()
		cancel()
		return errCut
	}
	_, err := late.db(t, m).Restore(ctx, bytes.NewReader(m.dumped(t)), m.to, m.restoring())
	require.Error(t, err)
	var live *mboxdb.LiveError
	require.ErrorAs(t, m.dstDB.Remove(t.Context(), m.opt.Claim, m.to, nil), &live)
	m.requireEqual(t, slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))...)
	require.NoError(t, m.dstDB.Remove(t.Context(), m.opt.Claim, m.to, elsewhere))
	m.untouched(t, "lives elsewhere")
}
