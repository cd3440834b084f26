package main

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

// TestMoveOnRealServers moves a hostile mailbox and looks at everything that a move promises.
func TestMoveOnRealServers(t *testing.T) {
	s := newSite(t, lab.Shared(t))
	moveAndLook(t, s, s.account(t, 300))
}

// TestMoveInContainers is the same between hosts that share neither file system nor addresses, wherever a Docker engine answers.
func TestMoveInContainers(t *testing.T) {
	s := newSite(t, lab.SharedOn(t, lab.Containers))
	moveAndLook(t, s, s.account(t, 100))
}

func moveAndLook(t *testing.T, s *site, a *lab.Account) {
	t.Helper()
	src, dst := s.Stores[0], s.Stores[1]
	before := s.entry(t, a)
	own := digest(t, a)
	var next uint32 // the id that the move will get; directories above it are left out of both looks
	require.NoError(t, dst.DB(t).QueryRow("SELECT next_mailbox_id FROM zimbra.current_volumes").Scan(&next))
	srcOthers, dstOthers := others(t, src, a.MailboxID), others(t, dst, next)
	srcVars, dstVars := variables(t, src), variables(t, dst)

	r := s.report(t, "move", a.Name, "--to", dst.Host)

	require.Equal(t, own, digest(t, a), "the source's rows and files are what they were")
	copied, err := a.At(t.Context(), dst)
	require.NoError(t, err)
	require.EqualValues(t, r.MailboxTo, copied.MailboxID)
	require.Equal(t, next, copied.MailboxID)
	require.NoError(t, dst.CheckBlobs(t.Context(), copied.MailboxID))
	// Mail that looks like the id in a dump stays as it is.
	like := fmt.Sprintf("%%(%d,%%", a.MailboxID)
	require.Positive(t, count(t, src, a, like))
	require.Equal(t, count(t, src, a, like), count(t, dst, copied, like))
	require.Len(t, r.Tables, 25)
	for _, table := range r.Tables {
		require.Positive(t, table.Rows, "%s is empty: nothing was proven", table.Table)
	}
	require.Equal(t, srcOthers, others(t, src, a.MailboxID), "bystanders at the source")
	after := others(t, dst, copied.MailboxID)
	require.Equal(t, srcVars, variables(t, src), "global variables of the source")
	require.Equal(t, dstVars, variables(t, dst), "global variables of the destination")
	require.NotEqual(t, dstOthers[lab.KeyNextMailboxID], after[lab.KeyNextMailboxID], "the counter advanced")
	for _, m := range []map[string]string{dstOthers, after} {
		delete(m, lab.KeyNextMailboxID)
		delete(m, lab.KeyDeletedAccount) // that address's own row goes
	}
	require.Equal(t, dstOthers, after, "bystanders at the destination")

	e := s.entry(t, a)
	require.Equal(t, dst.Host, e.Value("zimbraMailHost"))
	require.Equal(t, "lmtp:"+dst.Host+":7025", e.Value("zimbraMailTransport"))
	for _, same := range []string{"zimbraAccountStatus", "zimbraMailStatus"} {
		require.Equal(t, before.Value(same), e.Value(same), same)
	}
}

// count counts the mailbox's items whose subject or metadata is like the pattern.
func count(t testing.TB, s *lab.Store, a *lab.Account, like string) (n int) {
	t.Helper()
	stmt := "SELECT COUNT(*) FROM " + lab.GroupDatabase(a.Group) + ".mail_item WHERE mailbox_id = ? AND (subject LIKE ? OR metadata LIKE ?)"
	require.NoError(t, s.DB(t).QueryRow(stmt, a.MailboxID, like, like).Scan(&n))
	return n
}

func digest(t testing.TB, a *lab.Account) map[string]string {
	t.Helper()
	d, err := a.Digest(t.Context())
	require.NoError(t, err)
	return d
}

func others(t testing.TB, s *lab.Store, except ...uint32) map[string]string {
	t.Helper()
	d, err := s.Bystanders(t.Context(), except...)
	require.NoError(t, err)
	return maps.Clone(d)
}

func variables(t testing.TB, s *lab.Store) map[string]string {
	t.Helper()
	v, err := s.GlobalVariables(t.Context())
	require.NoError(t, err)
	return v
}
