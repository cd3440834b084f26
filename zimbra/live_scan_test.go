package zimbra_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/zimbra"
)

// deletes has the user delete the item of a blob: first the row, then the file, as mailboxd does.
func deletes(t *testing.T, a *lab.Account, b lab.Blob) {
	t.Helper()
	conn, err := a.Store.RootDB(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "SET SESSION foreign_key_checks = 0")
	require.NoError(t, err)
	for table, id := range map[string]string{"mail_item": "id", "revision": "item_id"} {
		_, err = conn.ExecContext(t.Context(), fmt.Sprintf("DELETE FROM %s.%s WHERE mailbox_id = ? AND %s = ?", lab.GroupDatabase(a.Group), table, id), a.MailboxID, b.ItemID)
		require.NoError(t, err)
	}
	require.NoError(t, a.Store.Run(t.Context(), []string{"rm", "-f", b.Path()}, nil, nil))
}

// TestWhileTheUserWorks has blobs vanish while they are looked at. What the user deletes is no finding; what the disk loses is one, and keeps a
// move from locking anyone out.
func TestWhileTheUserWorks(t *testing.T) {
	s := newSite(t, 0)
	src := s.Stores[0]
	a, err := s.AddAccount(t.Context(), src, lab.AccountSpec{Name: address("works"), Items: 40})
	require.NoError(t, err)
	blobs, err := a.Blobs(t.Context())
	require.NoError(t, err)
	// Of a blob whose row has no digest the content is never read, so it cannot vanish before that.
	blobs = slices.DeleteFunc(blobs, func(b lab.Blob) bool { return b.Table != "mail_item" || b.Digest == "" })
	require.GreaterOrEqual(t, len(blobs), 3)
	gone, late, lost := blobs[0], blobs[1], blobs[len(blobs)-1]
	// before calls f before the first command that looks at the volume of b with such a script.
	before := func(command string, b lab.Blob, f func()) {
		r := s.runs[src.Host]
		r.mu.Lock()
		defer r.mu.Unlock()
		r.match, r.before = func(argv []string) bool {
			return len(argv) > 4 && strings.Contains(argv[2], command) && strings.HasPrefix(b.Path(), argv[4]+"/")
		}, f
	}
	digests := `xargs -0 -r -P "$n" -n "$many" "$sum"`

	before(digests, gone, func() { deletes(t, a, gone) })
	scan, err := s.mover.Scan(t.Context(), zimbra.ScanRequest{Account: a.Name})
	require.NoError(t, err)
	require.True(t, s.runs[src.Host].slept())
	require.Empty(t, scan.Bad, "the user deleted it")

	away := func(from, to string) {
		t.Helper()
		require.NoError(t, src.Run(t.Context(), []string{"mv", "-n", from, to}, nil, nil))
	}
	before(digests, late, func() { // it is gone, and only later is its row
		away(late.Path(), late.Path()+".away")
		before(`exec find "$@" -maxdepth 0`, late, func() { deletes(t, a, late) })
	})
	scan, err = s.mover.Scan(t.Context(), zimbra.ScanRequest{Account: a.Name})
	require.NoError(t, err)
	require.True(t, s.runs[src.Host].slept())
	require.Empty(t, scan.Bad, "the user deleted it, a little later")

	before(digests, lost, func() { away(lost.Path(), lost.Path()+".away") })
	scan, err = s.mover.Scan(t.Context(), zimbra.ScanRequest{Account: a.Name})
	require.NoError(t, err)
	require.Len(t, scan.Bad, 1)
	require.Equal(t, zimbra.BadMissing, scan.Bad[0].Why)
	require.Equal(t, lost.Path(), scan.Bad[0].Path)
	away(lost.Path()+".away", lost.Path())

	p, err := s.mover.Plan(t.Context(), zimbra.Request{Account: a.Name, To: s.Stores[1].Host, Accept: []string{zimbra.CodeNoMailboxd}})
	require.NoError(t, err)
	mv, err := s.mover.Start(t.Context(), p)
	require.NoError(t, err)
	defer mv.Close()
	away(lost.Path(), lost.Path()+".away")
	err = mv.Run(t.Context(), zimbra.PhaseFinish)
	var bad *zimbra.BlobError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, src.Host, bad.Host)
	require.Equal(t, []zimbra.BadBlob{{Path: lost.Path(), Why: zimbra.BadMissing}}, bad.Bad)
	require.ErrorContains(t, err, "mover scan")
	require.Equal(t, zimbra.PhasePresync, mv.Status().Phase)
	require.Zero(t, mv.Report().LockedSeconds)
	away(lost.Path()+".away", lost.Path())
	require.NoError(t, mv.Run(t.Context(), zimbra.PhaseFinish))
	require.NoError(t, s.Stores[1].CheckBlobs(t.Context(), uint32(mv.Report().MailboxTo)))
}
