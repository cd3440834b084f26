package mboxdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

// begin opens a transaction and runs a statement in it.
func begin(t *testing.T, s *lab.Store, stmt string) (tx *sql.Tx, thread uint64) {
	t.Helper()
	tx, err := s.DB(t).Begin()
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	mustExec(t, tx, stmt)
	require.NoError(t, tx.QueryRow("SELECT CONNECTION_ID()").Scan(&thread))
	return tx, thread
}

const (
	aWrite = "UPDATE zimbra.config SET description = CONCAT(description, ' ') WHERE name = 'redolog.version'"
	aRead  = "SELECT COUNT(*) FROM zimbra.config"
)

func TestQuiet(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := openDB(t, s)
	require.NoError(t, db.Quiet(t.Context(), 0), "nothing open")

	begin(t, s, aRead)
	require.NoError(t, db.Quiet(t.Context(), 0), "a reader, as a backup is one")

	tx, thread := begin(t, s, aWrite)
	var open *mboxdb.OpenTransactionsError
	require.ErrorAs(t, db.Quiet(t.Context(), 0), &open)
	require.Equal(t, []uint64{thread}, open.Threads)
	require.ErrorAs(t, db.Quiet(t.Context(), time.Second), &open)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := db.Quiet(ctx, time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	// While it waits the old one ends and new ones begin, one of them where an old reader was.
	conn, err := s.DB(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	run := func(stmts ...string) {
		for _, stmt := range stmts {
			_, err := conn.ExecContext(t.Context(), stmt)
			require.NoError(t, err)
		}
	}
	run("BEGIN", aRead)
	quiet := make(chan error, 1)
	go func() { quiet <- db.Quiet(context.WithoutCancel(t.Context()), time.Minute) }()
	root := s.RootDB(t)
	require.Eventually(t, func() bool {
		return number(t, root, "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_is_read_only = 1") == 1
	}, 5*time.Second, 400*time.Millisecond, "it does not wait")
	time.Sleep(time.Second) // until it has its list, which our look may have held up
	const insert = "INSERT INTO zimbra.config (name, value, description) VALUES ('zmlift.test%d', '', '')"
	begin(t, s, fmt.Sprintf(insert, 1))
	run("ROLLBACK", "BEGIN", fmt.Sprintf(insert, 2))
	select {
	case err := <-quiet:
		t.Fatalf("an older transaction with changed rows is open, and yet: %v", err)
	default:
	}
	require.NoError(t, tx.Rollback())
	require.NoError(t, <-quiet, "what began later does not count")
	run("ROLLBACK")
}

// A read of the list that somebody made a moment before must not be taken for the state at the call.
func TestQuietSeesWhatJustBegan(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := openDB(t, s)
	root := s.RootDB(t)
	for range 10 {
		number(t, root, "SELECT COUNT(*) FROM information_schema.innodb_trx")
		tx, thread := begin(t, s, aWrite)
		var open *mboxdb.OpenTransactionsError
		require.ErrorAs(t, db.Quiet(t.Context(), 0), &open)
		require.Equal(t, []uint64{thread}, open.Threads)
		require.NoError(t, tx.Rollback())
	}
}

func TestQuietNeedsProcess(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	root := s.RootDB(t)
	mustExec(t, root, "CREATE USER 'noprocess'@'%' IDENTIFIED BY 'noprocess'")
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DROP USER 'noprocess'@'%'") })
	err := mboxdb.New(poolOf(t, s, "noprocess", "noprocess", nil), nil).Quiet(t.Context(), 0)
	requireNumber(t, 1227, err)
	require.ErrorContains(t, err, "PROCESS privilege")
}
