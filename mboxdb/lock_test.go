package mboxdb_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

func TestLock(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := openDB(t, s)
	id := newID()
	ctx, cancel := context.WithCancel(t.Context())
	l, err := db.Lock(ctx, id)
	require.NoError(t, err)
	defer l.Close()
	_, err = openDB(t, s).Lock(t.Context(), strings.ToUpper(id))
	require.ErrorIs(t, err, mboxdb.ErrBusy)
	other, err := db.Lock(t.Context(), newID())
	require.NoError(t, err, "another account")
	require.NoError(t, other.Close())

	cancel()
	err = l.Alive(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, mboxdb.ErrLockLost, "nothing is known")
	require.NoError(t, l.Alive(t.Context()), "the lock outlives the ctx it was taken with")

	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "twice")
	require.ErrorIs(t, l.Alive(t.Context()), mboxdb.ErrLockLost)
	l, err = db.Lock(t.Context(), id)
	require.NoError(t, err, "free again")
	require.NoError(t, l.Close())
}

func TestLockNames(t *testing.T) {
	db := openDB(t, lab.Shared(t).Stores[0])
	for _, id := range []string{"", strings.Repeat("x", 58)} { // 64 with the prefix is what MySQL takes
		_, err := db.Lock(t.Context(), id)
		require.ErrorContains(t, err, "cannot name a lock", id)
	}
	l, err := db.Lock(t.Context(), newID()+strings.Repeat("x", 21))
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestLockLostWithItsConnection(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := openDB(t, s)
	id := newID()
	l, err := db.Lock(t.Context(), id)
	require.NoError(t, err)
	defer l.Close()
	root := s.RootDB(t)
	mustExec(t, root, "KILL ?", number(t, root, "SELECT IS_USED_LOCK(?)", "zmlift:"+id))
	require.ErrorIs(t, l.Alive(t.Context()), mboxdb.ErrLockLost)
	require.ErrorIs(t, l.Alive(t.Context()), mboxdb.ErrLockLost, "for good")
	next, err := db.Lock(t.Context(), id)
	require.NoError(t, err)
	require.ErrorIs(t, l.Alive(t.Context()), mboxdb.ErrLockLost, "held, by another session")
	require.NoError(t, l.Close())
	require.NoError(t, next.Alive(t.Context()), "closing the lost one frees nothing")
	require.NoError(t, next.Close())
}

// A connection that answers proves nothing: it is the server that says who has the lock.
func TestLockLostWithoutItsConnection(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := openDB(t, s)
	for _, stolen := range []bool{false, true} {
		id := newID()
		l, err := db.Lock(t.Context(), id)
		require.NoError(t, err)
		defer l.Close()
		require.NoError(t, l.Exec(t.Context(), "DO RELEASE_LOCK(?)", "zmlift:"+id))
		if stolen {
			thief, err := db.Lock(t.Context(), id)
			require.NoError(t, err)
			defer thief.Close()
		}
		require.ErrorIs(t, l.Alive(t.Context()), mboxdb.ErrLockLost, "stolen: %t", stolen)
	}
}

func TestLockLostWithItsServer(t *testing.T) {
	labs, err := lab.Start(t.Context(), nil) // of its own: a restart is nothing for other tests
	if err != nil {
		lab.Shared(t)
		t.Fatal(err)
	}
	defer labs.Close()
	s := labs.Stores[0]
	db := openDB(t, s)
	l, err := db.Lock(t.Context(), newID())
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Alive(t.Context()))
	require.NoError(t, s.KillMySQL(t.Context()))
	require.NoError(t, s.StartMySQL(t.Context()))
	require.ErrorIs(t, l.Alive(t.Context()), mboxdb.ErrLockLost)
	require.NoError(t, l.Close())
}

// The server ends a session that says nothing. Pings keep the lock; without them it is free for the next mover.
func TestLockIsPinged(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := openDB(t, s)
	pinged, err := mboxdb.LockWith(t.Context(), db, newID(), 2*time.Second, 200*time.Millisecond)
	require.NoError(t, err)
	defer pinged.Close()
	id := newID()
	silent, err := mboxdb.LockWith(t.Context(), db, id, 2*time.Second, time.Hour)
	require.NoError(t, err)
	defer silent.Close()

	root := s.RootDB(t)
	require.Eventually(t, func() bool { return number(t, root, "SELECT IS_FREE_LOCK(?)", "zmlift:"+id) == 1 },
		10*time.Second, 100*time.Millisecond, "a mover that was switched off keeps the lock")
	require.ErrorIs(t, silent.Alive(t.Context()), mboxdb.ErrLockLost)
	require.NoError(t, pinged.Alive(t.Context()))
}
