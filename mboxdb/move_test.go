package mboxdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxdbtest"
)

// A move is a hostile mailbox on mail1, and the id that is reserved for it on mail2.
type move struct {
	account  *lab.Account
	src, dst *lab.Store
	from, to mboxdb.Mailbox
	opt      mboxdb.CopyOptions
	srcDB    *mboxdb.DB
	dstDB    *mboxdb.DB

	srcRoot, dstRoot *sql.DB // for looking at rows again and again
}

var moves atomic.Int32

// volumes are how mail1's volumes map to mail2's.
var volumes = map[mboxdb.VolumeID]mboxdb.VolumeID{1: 5, 3: 5}

// elsewhere is what the directory says of the accounts of moves: they live on mail1.
var elsewhere = &mboxdb.RemoveOptions{LivesElsewhere: true}

func newMove(t testing.TB, items int) *move {
	t.Helper()
	ctx := t.Context()
	l := lab.Shared(t)
	a, err := l.AddAccount(ctx, l.Stores[0], lab.AccountSpec{Name: fmt.Sprintf("rows%d@lab.example", moves.Add(1)), Items: items})
	require.NoError(t, err)
	m := &move{account: a, src: l.Stores[0], dst: l.Stores[1], srcRoot: l.Stores[0].RootDB(t), dstRoot: l.Stores[1].RootDB(t)}
	m.srcDB, m.dstDB = mboxdb.New(m.src.DB(t), options(m.src)), mboxdb.New(m.dst.DB(t), options(m.dst))
	m.from, err = m.srcDB.Find(ctx, a.ID)
	require.NoError(t, err)
	m.opt = mboxdb.CopyOptions{
		Claim: mboxdb.Claim{Move: "m" + a.ID, AccountID: a.ID, Fence: 1}, Volumes: volumes, IndexVolume: 7, Address: a.Name,
	}
	require.NoError(t, m.dstDB.Claim(ctx, m.opt.Claim))
	res, err := m.dstDB.Reserve(ctx, m.opt.Claim, nil)
	require.NoError(t, err)
	m.to = res.Mailbox
	m.opt.Rewrite = m.rewriter().rewrite
	return m
}

// copy is the move's copy, with options changed.
func (m *move) copy(t testing.TB, change ...func(*mboxdb.CopyOptions)) *mboxdb.Copy {
	t.Helper()
	opt := m.opt
	for _, f := range change {
		f(&opt)
	}
	c, err := mboxdb.NewCopy(m.dstDB, m.srcDB, m.to, m.from, &opt)
	require.NoError(t, err)
	return c
}

// in puts the number of the destination's group into a statement.
func (m *move) in(stmt string) string {
	return strings.ReplaceAll(stmt, "mboxgroup.", fmt.Sprintf("mboxgroup%d.", m.to.Group))
}

// exec changes rows of the copy at the destination behind its back.
func (m *move) exec(t *testing.T, stmt string, args ...any) {
	t.Helper()
	conn, err := m.dst.RootDB(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "SET SESSION foreign_key_checks=0, sql_mode='STRICT_ALL_TABLES'")
	require.NoError(t, err)
	res, err := conn.ExecContext(t.Context(), m.in(stmt), args...)
	require.NoError(t, err, stmt)
	n, err := res.RowsAffected()
	require.NoError(t, err)
	require.Positive(t, n, "%s changed nothing", stmt)
}

// A rewriter is the one of the tests, for this move.
type rewriter struct{ mboxdbtest.Rewriter }

func (m *move) rewriter() rewriter {
	return rewriter{mboxdbtest.Rewriter{To: m.to, From: m.from, Volumes: m.opt.Volumes}}
}

func (r rewriter) rewrite(ctx context.Context, dst io.Writer, src io.Reader) error {
	return r.Rewrite(ctx, dst, src)
}

// bystanders are everything on both servers but this move's rows.
func (m *move) bystanders(t *testing.T) (src, dst map[string]string) {
	t.Helper()
	src, err := m.src.Bystanders(t.Context())
	require.NoError(t, err)
	dst, err = m.dst.Bystanders(t.Context(), uint32(m.to.ID))
	require.NoError(t, err)
	delete(dst, lab.KeyNextMailboxID)
	delete(dst, "zmlift.moves") // the fence
	return src, dst
}
