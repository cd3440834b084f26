package zimbra_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// TestSpace moves to a small volume of its own. The plan knows what will be copied, hard links once; a copy that meets less room than is to
// stay free says so, waits, and goes on when there is room.
func TestSpace(t *testing.T) {
	l := lab.Shared(t)
	src, dst := l.Stores[0], l.Stores[1]
	const size, reserve = 64 << 20, 1 << 20
	id, undo, err := dst.AddVolume(t.Context(), 1, "small")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, undo(context.Background())) })
	dir := dst.Home + "/small"
	run := func(script string) error {
		return dst.Run(context.Background(), []string{"sh", "-c", script, "sh", dir}, nil, nil)
	}
	if err := run(fmt.Sprintf(`owner=$(stat -c %%u:%%g "$1") && mount -t tmpfs -o size=%d tmpfs "$1" && chown "$owner" "$1" && chmod 755 "$1"`, size)); err != nil {
		lab.Note("*** a full volume SKIPPED: a file system cannot be mounted here")
		t.Skip(err)
	}
	t.Cleanup(func() { require.NoError(t, run(`umount "$1"`)) })
	s := newSiteOn(t, l, 0, func(c *zimbra.StoreConfig) { c.Reserve = reserve })
	a, err := s.AddAccount(t.Context(), src, lab.AccountSpec{Name: address("space"), Items: 200})
	require.NoError(t, err)
	to := mboxdb.VolumeID(id)
	request := zimbra.Request{Account: a.Name, To: dst.Host, Accept: []string{zimbra.CodeNoMailboxd}, Volumes: map[mboxdb.VolumeID]mboxdb.VolumeID{1: to, 3: to}}
	ballast := func(free int64) {
		t.Helper()
		require.NoError(t, run(fmt.Sprintf(`rm -f "$1/ballast" && free=$(stat -f -c %%a "$1") && size=$(stat -f -c %%S "$1") && head -c $((free * size - %d)) /dev/zero > "$1/ballast"`, free)))
	}

	plan, err := s.mover.Plan(t.Context(), request)
	require.NoError(t, err)
	need := blocksOf(t, src, a)
	ballast(need + reserve + 16<<10)
	_, err = s.mover.Plan(t.Context(), request)
	require.NoError(t, err, "there is just enough")
	ballast(need + reserve - 16<<10)
	_, err = s.mover.Plan(t.Context(), request)
	var pre *zimbra.PreflightError
	require.ErrorAs(t, err, &pre)
	require.True(t, pre.Has(zimbra.CodeSpace), "%v", err)
	require.ErrorContains(t, err, fmt.Sprintf("%s volume %d", dst.Host, to))

	mv, err := s.mover.Start(t.Context(), plan)
	require.NoError(t, err)
	paused, cancelled := make(chan zimbra.Event, 100), false
	ctx, cancel := context.WithCancel(t.Context())
	var kinds []zimbra.EventKind
	s.onEvent = func(e zimbra.Event) {
		if e.Kind == zimbra.EventPaused || e.Kind == zimbra.EventResumed {
			kinds = append(kinds, e.Kind)
		}
		if e.Kind == zimbra.EventPaused {
			if !cancelled {
				cancelled = true
				cancel()
				return
			}
			paused <- e
		}
	}
	ballast(reserve / 2)
	err = mv.Run(t.Context(), zimbra.PhasePresync)
	require.ErrorAs(t, err, &pre)
	require.True(t, pre.Has(zimbra.CodeSpace), "%v", err)
	require.ErrorContains(t, err, fmt.Sprintf("%s volume %d", dst.Host, to))
	require.Empty(t, kinds, "nothing was copied")

	ballast(need + reserve + 16<<10)
	midway := func() {
		r := s.runs[src.Host]
		r.mu.Lock()
		defer r.mu.Unlock()
		r.match = func(argv []string) bool { return len(argv) > 2 && strings.Contains(argv[2], "tar -c") }
		r.before = func() {
			ballast(reserve / 2)
			time.Sleep(300 * time.Millisecond) // until somebody looks
		}
	}
	midway()
	require.ErrorIs(t, mv.Run(ctx, zimbra.PhasePresync), context.Canceled, "a pause ends with its context")

	ballast(need + reserve + 16<<10)
	midway()
	kinds = nil
	done := make(chan error, 1)
	go func() { done <- mv.Run(t.Context(), zimbra.PhasePresync) }()
	e := <-paused
	require.Equal(t, "presync-files", e.Step)
	require.Contains(t, e.Error, fmt.Sprintf("%s volume %d", dst.Host, to))
	require.NoError(t, run(`rm "$1/ballast"`))
	require.NoError(t, <-done)
	require.Equal(t, []zimbra.EventKind{zimbra.EventPaused, zimbra.EventResumed}, kinds)

	require.NoError(t, mv.Close())
	again, err := s.mover.Open(t.Context(), mv.ID())
	require.NoError(t, err)
	defer again.Close()
	ballast(reserve + 256<<10)
	require.NoError(t, again.Run(t.Context(), zimbra.PhaseFinish), "what is there needs no room")
	require.NoError(t, dst.CheckBlobs(t.Context(), uint32(mv.Report().MailboxTo)))
}

// TestSpaceUnknown: a volume seems full, and then nobody can tell any more. A copy does not wait for ever for an answer that would end its pause:
// it goes on, and finds out for itself.
func TestSpaceUnknown(t *testing.T) {
	s := newSite(t, 0)
	p := s.plan(t, s.Stores[0], s.Stores[1])
	mv, err := s.mover.Start(t.Context(), p)
	require.NoError(t, err)
	defer mv.Close()
	var asked atomic.Int32
	forecast := int32(len(slices.Compact(slices.Sorted(maps.Values(p.Volumes))))) + 1 // and the index's volume
	s.runs[s.Stores[1].Host].answer = func(argv []string) (string, error, bool) {
		switch {
		case len(argv) < 5 || !strings.Contains(argv[2], "stat -f -c '%a %S'"):
			return "", nil, false
		case asked.Add(1) <= forecast:
			return "", nil, false
		case asked.Load() == forecast+1:
			return "1000 1\n", nil, true
		case asked.Load() <= forecast+4:
			return "", errors.New("the connection is gone"), true
		}
		return "", nil, false
	}
	var kinds []zimbra.EventKind
	s.onEvent = func(e zimbra.Event) {
		if e.Kind == zimbra.EventPaused || e.Kind == zimbra.EventResumed {
			kinds = append(kinds, e.Kind)
		}
	}
	require.NoError(t, mv.Run(t.Context(), zimbra.PhaseFinish))
	require.Equal(t, []zimbra.EventKind{zimbra.EventPaused, zimbra.EventResumed}, kinds)
}

// blocksOf is what the blobs take that the mailbox's rows name, as the store's own du sees it, hard links once.
func blocksOf(t *testing.T, s *lab.Store, a *lab.Account) (bytes int64) {
	t.Helper()
	blobs, err := a.Blobs(t.Context())
	require.NoError(t, err)
	names := map[string]string{} // by volume
	for _, b := range blobs {
		names[b.Volume] += b.Path() + "\x00"
	}
	for _, n := range names {
		var out strings.Builder
		require.NoError(t, s.Run(t.Context(), []string{"du", "--files0-from=-", "-c", "-B1"}, strings.NewReader(n), &out))
		lines := strings.Fields(out.String())
		total, err := strconv.ParseInt(lines[len(lines)-2], 10, 64)
		require.NoError(t, err)
		bytes += total
	}
	return bytes
}
