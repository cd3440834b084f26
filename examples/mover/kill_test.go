package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// soakEnv has the long proofs run whole; `make soak` sets it.
const soakEnv = "ZMLIFT_SOAK"

// TestKilledAtJournalWrites kills the program with SIGKILL right before and right after a write of its journal, and has another process
// carry the move on or take it back. Every tenth write is tried in one of the four ways; with ZMLIFT_SOAK=1 every write in all of them.
func TestKilledAtJournalWrites(t *testing.T) {
	l := lab.Shared(t)
	s := newSite(t, l)
	bob, err := s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: "bob-kill@lab.example", Items: 30})
	require.NoError(t, err)
	carol, err := s.AddAccount(t.Context(), s.Stores[1], lab.AccountSpec{Name: "carol-kill@lab.example", Items: 30})
	require.NoError(t, err)
	neighbours := []*lab.Account{bob, carol}
	var before []any
	for _, n := range neighbours {
		before = append(before, digest(t, n), s.entry(t, n))
	}

	writes := s.writes(t)
	ways := []struct{ when, verb string }{{"before", "resume"}, {"after", "rollback"}, {"before", "rollback"}, {"after", "resume"}}
	step, left, ended := 10, 0, map[bool]int{}
	if os.Getenv(soakEnv) != "" {
		step = 1
	}
	for n := 1; n <= writes; n++ {
		for i, way := range ways {
			if step > 1 && (n%step != 1 || i != n/step%len(ways)) {
				left++
				continue
			}
			t.Run(fmt.Sprintf("%s@%d %s", way.when, n, way.verb), func(t *testing.T) {
				ended[s.killAndRecover(t, fmt.Sprintf("%s@%d", way.when, n), way.verb)]++
			})
		}
	}
	lab.Note("killed at %d of %d writes of a journal: %d ended moved, %d not moved; %d of %d combinations left out (make soak tries all)",
		(writes+step-1)/step, writes, ended[true], ended[false], left, writes*len(ways))
	require.Positive(t, ended[true])
	require.Positive(t, ended[false])
	var after []any
	for _, n := range neighbours {
		after = append(after, digest(t, n), s.entry(t, n))
	}
	require.Equal(t, before, after, "a neighbour was touched")
}

// writes counts the journal's entries of a move that nothing stops.
func (s *site) writes(t *testing.T) int {
	t.Helper()
	r := s.report(t, "move", s.account(t, 25).Name, "--to", s.Stores[1].Host)
	entries, err := zimbra.DirJournals(s.state).Read(t.Context(), r.Move)
	require.NoError(t, err)
	return len(entries)
}

// killAndRecover has a move die at that write, and says whether it ended moved.
func (s *site) killAndRecover(t *testing.T, when, verb string) (moved bool) {
	a := s.account(t, 25)
	own, before := digest(t, a), s.entry(t, a)

	code, out, errs := s.run(t, when, "move", a.Name, "--to", s.Stores[1].Host, "--accept", "no-mailboxd")
	require.Equal(t, -1, code, "not killed: %s\n%s", errs, out)
	s.recover(t, a, verb)
	require.False(t, s.holder(t, a).Open, "the move's row is open")
	return s.settled(t, a, own, before)
}

// holder is what the second store says about the account.
func (s *site) holder(t testing.TB, a *lab.Account) mboxdb.Holder {
	t.Helper()
	h, err := mboxdb.New(s.Stores[1].DB(t), nil).Holder(t.Context(), a.ID)
	require.NoError(t, err)
	return h
}

// settled looks at a move that is over: the account has one home, and that has everything; the other server has what it had. own is the
// digest of the source's mailbox and before the account's entry, both from before the move.
func (s *site) settled(t *testing.T, a *lab.Account, own map[string]string, before ldapattr.Entry) (moved bool) {
	t.Helper()
	ctx, src, dst := t.Context(), s.Stores[0], s.Stores[1]
	require.Equal(t, own, digest(t, a), "the source's copy")
	e := s.entry(t, a)
	for _, same := range []string{"zimbraAccountStatus", "zimbraMailStatus"} {
		require.Equal(t, before.Value(same), e.Value(same), same)
	}
	moved = e.Value("zimbraMailHost") == dst.Host
	if moved {
		require.Equal(t, "lmtp:"+dst.Host+":7025", e.Value("zimbraMailTransport"))
		copied, err := a.At(ctx, dst)
		require.NoError(t, err)
		require.NoError(t, dst.CheckBlobs(ctx, copied.MailboxID))
		require.Equal(t, rowsOf(own), rowsOf(digest(t, copied)), "rows of the copy")
		return true
	}
	require.Equal(t, src.Host, e.Value("zimbraMailHost"))
	require.Equal(t, before.Value("zimbraMailTransport"), e.Value("zimbraMailTransport"))
	if id := s.holder(t, a).Mailbox; id != 0 {
		traces, err := dst.Traces(ctx, uint32(id))
		require.NoError(t, err)
		require.Empty(t, traces, "left under the reserved id")
	}
	return false
}

// rowsOf are the numbers of rows in a mailbox's digest, for the tables whose rows move. The rows themselves hold other ids in another place.
func rowsOf(digest map[string]string) map[string]string {
	rows := map[string]string{}
	for name, sum := range digest {
		database, table, ok := strings.Cut(name, ".")
		if !ok || name == lab.KeyDeletedAccount || name == "zimbra.volume_blobs" {
			continue
		}
		if database != "zimbra" {
			database = "mboxgroup"
		}
		rows[database+"."+table], _, _ = strings.Cut(sum, " ")
	}
	return rows
}

// recover runs the verb until it has ended the move. The servers may need a moment to notice that the killed process is gone.
func (s *site) recover(t *testing.T, a *lab.Account, verb string) {
	t.Helper()
	var errs string
	for range 30 {
		var code int
		code, _, errs = s.run(t, "never", verb, a.Name, "--accept", "no-mailboxd")
		switch {
		case code == 0:
			return
		case code == 1 && verb == "rollback" && strings.Contains(errs, "committed"):
			verb = "resume"
		case strings.Contains(errs, "no such move"): // killed before the journal had a plan: nothing was begun
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("%s of %s does not end: %s", verb, a.Name, errs)
}
