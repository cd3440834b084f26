package mboxdbtest_test

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

func TestMain(m *testing.M) { lab.Main(m) }

var update = flag.Bool("update", false, "make mailbox.sql.gz again")

// TestSeed makes the mailbox that AddMailbox copies, when asked.
func TestSeed(t *testing.T) {
	if !*update {
		_, err := mboxdb.CheckDumpFile(t.Context(), "mailbox.sql.gz")
		require.NoError(t, err)
		return
	}
	ctx := t.Context()
	l := lab.Own(t, nil)
	s := l.Stores[0]
	_, err := s.RootDB(t).Exec("UPDATE zimbra.current_volumes SET next_mailbox_id = 2000000001")
	require.NoError(t, err)
	a, err := l.AddAccount(ctx, s, lab.AccountSpec{Name: "seed@lab.example", Items: 100})
	require.NoError(t, err)
	db := mboxdb.New(s.DB(t), nil)
	m, err := db.Find(ctx, a.ID)
	require.NoError(t, err)
	require.NoError(t, os.Rename("mailbox.sql.gz", "mailbox.sql.gz.old"))
	sum, err := db.DumpFile(ctx, "mailbox.sql.gz", m, nil)
	require.NoError(t, err)
	require.NoError(t, os.Remove("mailbox.sql.gz.old"))
	t.Logf("%d rows, %d bytes of text", sum.Rows, sum.Bytes)
}
