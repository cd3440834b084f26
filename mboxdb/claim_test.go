package mboxdb_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

func TestHolderMakesNothing(t *testing.T) {
	l, err := lab.Start(t.Context(), nil) // a lab of its own: nobody has claimed anything there
	if err != nil {
		lab.Shared(t) // skips, or fails, for the same reason
		t.Fatal(err)
	}
	defer l.Close()
	s := l.Stores[1]
	db := openDB(t, s)
	h, err := db.Holder(t.Context(), newID())
	require.NoError(t, err)
	require.Zero(t, h)
	c := mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1}
	var fenced *mboxdb.FencedError
	require.ErrorAs(t, db.Held(t.Context(), c), &fenced, "no database")
	require.Zero(t, fenced.Holder)
	require.Zero(t, number(t, s.RootDB(t), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'zmlift'"))

	// The first claims of all race for the database too.
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			errs[i] = openDB(t, s).Claim(t.Context(), mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1})
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	mustExec(t, s.RootDB(t), "ALTER TABLE zmlift.moves COMMENT = 'zmlift moves, version 2'")
	require.ErrorContains(t, db.Claim(t.Context(), c), `another version: its comment is "zmlift moves, version 2"`)
}

func TestClaim(t *testing.T) {
	db := openDB(t, lab.Shared(t).Stores[1])
	id := newID()
	claim := func(move string, fence uint64) mboxdb.Claim {
		return mboxdb.Claim{Move: move, AccountID: strings.ToUpper(id), Fence: fence}
	}
	require.NoError(t, db.Claim(t.Context(), claim("m1", 3)))
	h, err := db.Holder(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, mboxdb.Holder{Move: "m1", Fence: 3, Open: true}, h)
	require.NoError(t, db.Held(t.Context(), claim("m1", 3)))

	refused := []struct {
		name string
		c    mboxdb.Claim
	}{
		{"the same again", claim("m1", 3)},
		{"a lower fence: a copied journal", claim("m1", 2)},
		{"another move, however high", claim("m2", 9)},
	}
	for _, tt := range refused {
		err := db.Claim(t.Context(), tt.c)
		var fenced *mboxdb.FencedError
		require.ErrorIs(t, err, mboxdb.ErrFenced, tt.name)
		require.ErrorAs(t, err, &fenced, tt.name)
		require.Equal(t, h, fenced.Holder, tt.name)
		require.ErrorContains(t, err, "held by move m1 at fence 3 (open)", tt.name)
		require.NoError(t, db.Held(t.Context(), claim("m1", 3)), tt.name)
	}
	require.NoError(t, db.Claim(t.Context(), claim("m1", 4)), "opened again")
	require.ErrorIs(t, db.Held(t.Context(), claim("m1", 3)), mboxdb.ErrFenced)
	require.ErrorIs(t, db.End(t.Context(), claim("m1", 3)), mboxdb.ErrFenced)
	require.ErrorIs(t, db.End(t.Context(), claim("m2", 4)), mboxdb.ErrFenced)

	require.NoError(t, db.End(t.Context(), claim("m1", 4)))
	require.NoError(t, db.End(t.Context(), claim("m1", 4)), "repeated")
	require.ErrorIs(t, db.Held(t.Context(), claim("m1", 4)), mboxdb.ErrFenced, "ended")
	require.ErrorIs(t, db.Claim(t.Context(), claim("m2", 4)), mboxdb.ErrFenced, "fences never come twice")
	require.NoError(t, db.Claim(t.Context(), claim("m2", 5)))
	require.ErrorIs(t, db.End(t.Context(), claim("m1", 4)), mboxdb.ErrFenced, "somebody else's now")
}

func TestClaimsNeedEverything(t *testing.T) {
	db := openDB(t, lab.Shared(t).Stores[1])
	for _, c := range []mboxdb.Claim{{}, {Move: "m", AccountID: newID()}, {Move: "m", Fence: 1}, {AccountID: newID(), Fence: 1}} {
		require.ErrorContains(t, db.Claim(t.Context(), c), "a claim needs", "%+v", c)
		require.ErrorContains(t, db.Held(t.Context(), c), "a claim needs", "%+v", c)
		require.ErrorContains(t, db.End(t.Context(), c), "a claim needs", "%+v", c)
		require.ErrorContains(t, mboxdb.Fenced(t.Context(), nil, c), "a claim needs", "%+v", c)
	}
}

func TestOneOfRacingClaimsWins(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	require.NoError(t, openDB(t, s).Claim(t.Context(), mboxdb.Claim{Move: "first", AccountID: newID(), Fence: 1}))
	for range 5 {
		id := newID()
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			c := mboxdb.Claim{Move: "m" + string(rune('0'+i%2)), AccountID: id, Fence: 1}
			wg.Go(func() { errs[i] = openDB(t, s).Claim(t.Context(), c) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			require.ErrorIs(t, err, mboxdb.ErrFenced)
		}
		require.Equal(t, 1, won)
	}
}

func TestClaimWhoseAnswerIsLost(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	c := mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1}
	cut, lost := lossy(t, s, 1)
	require.ErrorContains(t, cut.Claim(t.Context(), c), "commit: ")
	require.True(t, lost())
	require.NoError(t, db.Held(t.Context(), c), "it was done")
	require.ErrorIs(t, db.Claim(t.Context(), c), mboxdb.ErrFenced, "not twice")
	c.Fence++
	require.NoError(t, db.Claim(t.Context(), c), "the next opening goes on")

	cut, lost = lossy(t, s, 1)
	require.ErrorContains(t, cut.End(t.Context(), c), "commit: ")
	require.True(t, lost())
	require.NoError(t, db.End(t.Context(), c))
}

// An older mover is paused inside a transaction that has compared the fence.
func TestClaimWaitsForTransactionsUnderWay(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	old := mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1}
	require.NoError(t, db.Claim(t.Context(), old))
	tx, err := s.DB(t).Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	require.NoError(t, mboxdb.Fenced(t.Context(), tx, old))

	claimed := make(chan error, 1)
	go func() {
		claimed <- db.Claim(context.WithoutCancel(t.Context()), mboxdb.Claim{Move: "m1", AccountID: old.AccountID, Fence: 2})
	}()
	require.Eventually(t, func() bool {
		return number(t, s.RootDB(t), "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'") == 1
	}, 5*time.Second, 200*time.Millisecond, "the claim does not wait")
	select {
	case err := <-claimed:
		t.Fatalf("claimed under a transaction that may write: %v", err)
	default:
	}
	require.NoError(t, tx.Commit())
	require.NoError(t, <-claimed)

	// Woken once more, it begins another one.
	tx, err = s.DB(t).Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	var fenced *mboxdb.FencedError
	require.ErrorAs(t, mboxdb.Fenced(t.Context(), tx, old), &fenced)
	require.Equal(t, uint64(2), fenced.Holder.Fence)
}

// A snapshot must not hide a newer claim.
func TestFencedReadsWhatIsThereNow(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	old := mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1}
	require.NoError(t, db.Claim(t.Context(), old))
	tx, err := s.DB(t).Begin() // repeatable read
	require.NoError(t, err)
	defer tx.Rollback()
	var n int
	require.NoError(t, tx.QueryRow("SELECT COUNT(*) FROM zmlift.moves").Scan(&n))
	require.NoError(t, db.Claim(t.Context(), mboxdb.Claim{Move: "m1", AccountID: old.AccountID, Fence: 2}))
	require.ErrorIs(t, mboxdb.Fenced(t.Context(), tx, old), mboxdb.ErrFenced)
}

func TestClaimNeedsRights(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	require.NoError(t, openDB(t, s).Claim(t.Context(), mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1}))
	root := s.RootDB(t)
	mustExec(t, root, "CREATE USER 'reader'@'%' IDENTIFIED BY 'reader'")
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DROP USER 'reader'@'%'") })
	mustExec(t, root, "GRANT SELECT ON zimbra.* TO 'reader'@'%'")
	db := mboxdb.New(poolOf(t, s, "reader", "reader", nil), options(s))

	c := mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1}
	err := db.Claim(t.Context(), c)
	requireNumber(t, 1044, err)
	require.ErrorContains(t, err, "make zmlift.moves: ")
	require.ErrorContains(t, err, "to database 'zmlift'")

	// No row, or none that we may see: not the same.
	_, err = db.Holder(t.Context(), c.AccountID)
	requireNumber(t, 1142, err)

	mustExec(t, root, "GRANT SELECT ON zmlift.* TO 'reader'@'%'")
	requireNumber(t, 1142, db.Claim(t.Context(), c))
}
