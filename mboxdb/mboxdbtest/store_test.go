package mboxdbtest_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxdbtest"
	"github.com/zmlift/zmlift/sqlrewrite"
)

type rewriting = func(ctx context.Context, dst io.Writer, src io.Reader) error

// emptied are the servers of a lab, without its databases.
func emptied(t *testing.T) []*sql.DB {
	t.Helper()
	var pools []*sql.DB
	for _, s := range lab.Own(t, nil).Stores {
		pool := s.RootDB(t)
		_, err := mboxdbtest.Install(t.Context(), pool, nil)
		require.ErrorIs(t, err, mboxdbtest.ErrOccupied)
		require.ErrorContains(t, err, "zimbra")
		_, err = pool.Exec("DROP DATABASE zimbra")
		require.NoError(t, err)
		pools = append(pools, pool)
	}
	return pools
}

func databases(t *testing.T, pool *sql.DB) []string {
	t.Helper()
	rows, err := pool.Query("SELECT schema_name FROM information_schema.schemata")
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		out = append(out, name)
	}
	require.NoError(t, rows.Err())
	slices.Sort(out)
	return out
}

func account(n int) (id, address string) {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", n), fmt.Sprintf("user%d@example.test", n)
}

// stores are two mailstores that differ in what they can.
type stores struct {
	src, dst *mboxdbtest.Store
	accounts int
}

func newStores(t *testing.T) *stores {
	t.Helper()
	pools := emptied(t)
	src, err := mboxdbtest.Install(t.Context(), pools[0], nil)
	require.NoError(t, err)
	dst, err := mboxdbtest.Install(t.Context(), pools[1], &mboxdbtest.StoreOptions{Groups: 3, NextMailboxID: 5000, Volumes: []mboxdb.Volume{
		mboxdbtest.Volume(5, mboxdb.Primary), mboxdbtest.Volume(6, mboxdb.Primary), mboxdbtest.Volume(9, mboxdb.Index),
	}})
	require.NoError(t, err)
	return &stores{src: src, dst: dst, accounts: 100}
}

// fixture makes a new mailbox for every test.
func (s *stores) fixture(rewrite func(to, from mboxdb.Mailbox) (rewriting, error)) func(t *testing.T) mboxdbtest.Fixture {
	return func(t *testing.T) mboxdbtest.Fixture {
		s.accounts++
		id, address := account(s.accounts)
		_, err := s.src.AddMailbox(t.Context(), id, address)
		require.NoError(t, err)
		return mboxdbtest.Fixture{
			Source: s.src.Pool, Dest: s.dst.Pool, SourceOptions: &s.src.Options, DestOptions: &s.dst.Options, AccountID: id, Address: address,
			Volumes: volumes, IndexVolume: 9, Rewrite: rewrite,
		}
	}
}

func TestExercise(t *testing.T) {
	s := newStores(t)
	mboxdbtest.Exercise(t, s.fixture(func(to, from mboxdb.Mailbox) (rewriting, error) {
		return mboxdbtest.Rewriter{To: to, From: from, Volumes: volumes}.Rewrite, nil
	}))
}

// The lab's servers are as they are, its mailboxes have more in them, and the function is the one that is used in earnest.
func TestExerciseOnTheLab(t *testing.T) {
	l := lab.Shared(t)
	src, dst := l.Stores[0], l.Stores[1]
	volumes := map[mboxdb.VolumeID]mboxdb.VolumeID{1: 5, 3: 9}
	n := 0
	mboxdbtest.Exercise(t, func(t *testing.T) mboxdbtest.Fixture {
		n++
		a, err := l.AddAccount(t.Context(), src, lab.AccountSpec{Name: fmt.Sprintf("exercise%d@lab.example", n)})
		require.NoError(t, err)
		tables, err := mboxdb.New(src.DB(t), nil).Tables(t.Context(), a.Group)
		require.NoError(t, err)
		return mboxdbtest.Fixture{
			Source: src.DB(t), Dest: dst.DB(t), SourceOptions: options(src), DestOptions: options(dst),
			AccountID: a.ID, Address: a.Name, Volumes: volumes, IndexVolume: 7,
			Rewrite: func(to, from mboxdb.Mailbox) (rewriting, error) { return compile(tables, to, from, volumes) },
		}
	})
}

func options(s *lab.Store) *mboxdb.Options {
	return &mboxdb.Options{Groups: s.Groups, CreateScript: func(ctx context.Context) ([]byte, error) {
		var b bytes.Buffer
		err := s.Run(ctx, []string{"cat", s.CreateDatabaseFile}, nil, &b)
		return b.Bytes(), err
	}}
}

func TestStores(t *testing.T) {
	ctx := t.Context()
	s := newStores(t)
	src, dst := s.src, s.dst
	srcDB, dstDB := mboxdb.New(src.Pool, &src.Options), mboxdb.New(dst.Pool, &dst.Options)
	is, err := dstDB.Volumes(ctx)
	require.NoError(t, err)
	require.Len(t, is, 3)

	// Two on each, and none like another.
	var mailboxes []mboxdb.Mailbox
	for i, s := range []*mboxdbtest.Store{src, src, dst, dst} {
		id, address := account(i)
		m, err := s.AddMailbox(ctx, id, address)
		require.NoError(t, err)
		require.Equal(t, []any{id, address}, []any{m.AccountID, m.Comment})
		mailboxes = append(mailboxes, m)
		_, err = s.AddMailbox(ctx, id, address)
		require.ErrorContains(t, err, "it has one")
	}
	require.Equal(t, []mboxdb.MailboxID{1, 2, 5000, 5001}, []mboxdb.MailboxID{mailboxes[0].ID, mailboxes[1].ID, mailboxes[2].ID, mailboxes[3].ID})
	require.Equal(t, []int{1, 2, 2, 3}, []int{mailboxes[0].Group, mailboxes[1].Group, mailboxes[2].Group, mailboxes[3].Group})
	require.Equal(t, mboxdb.VolumeID(9), mailboxes[2].IndexVolume)
	for _, at := range []struct {
		db *mboxdb.DB
		m  mboxdb.Mailbox
	}{{srcDB, mailboxes[0]}, {dstDB, mailboxes[3]}} {
		tables, err := at.db.Tables(ctx, at.m.Group)
		require.NoError(t, err)
		for _, table := range tables {
			if !table.Moved() {
				continue
			}
			name := table.Name
			if table.Database == "mboxgroup" {
				name = fmt.Sprintf("mboxgroup%d.%s", at.m.Group, name)
			} else {
				name = "zimbra." + name
			}
			pool := src.Pool
			if at.db == dstDB {
				pool = dst.Pool
			}
			rows, err := mboxdbtest.Content(ctx, pool, name, at.m.ID, nil)
			require.NoError(t, err)
			require.NotEmpty(t, rows, name)
		}
		for b, err := range at.db.Blobs(ctx, at.m) {
			require.NoError(t, err)
			require.Contains(t, []mboxdb.VolumeID{1, 3, 5}, b.Volume)
		}
	}
	for name, spec := range map[string][2]string{"quote": {"it's", "a"}, "no id": {"", "a"}, "no address": {"a", ""}} {
		_, err := src.AddMailbox(ctx, spec[0], spec[1])
		require.Error(t, err, name)
	}

	// Made anew, nothing of it is left; removed, nothing at all.
	again, err := mboxdbtest.Install(ctx, src.Pool, nil)
	require.NoError(t, err)
	_, err = srcDB.Find(ctx, mailboxes[0].AccountID)
	require.ErrorIs(t, err, mboxdb.ErrNotFound)
	groups, err := srcDB.Groups(ctx)
	require.NoError(t, err)
	require.Empty(t, groups)
	for range 2 {
		require.NoError(t, again.Remove(ctx))
		for _, name := range databases(t, src.Pool) {
			require.Contains(t, []string{"information_schema", "mysql", "performance_schema", "sys"}, name)
		}
	}
}

// compile makes a function of sqlrewrite.
func compile(tables []mboxdb.Table, to, from mboxdb.Mailbox, volumes map[mboxdb.VolumeID]mboxdb.VolumeID) (rewriting, error) {
	locators := map[string]string{}
	for f, t := range volumes {
		locators[f.String()] = t.String()
	}
	group := func(m mboxdb.Mailbox) string { return fmt.Sprintf("mboxgroup%d", m.Group) }
	rules := sqlrewrite.Rules{Unknown: sqlrewrite.Refuse}
	if from.Group != to.Group {
		rules.Databases = map[string]string{group(from): group(to)}
	}
	for _, t := range tables {
		if !t.Moved() {
			continue
		}
		in, column := t.Database, "mailbox_id"
		if in == "mboxgroup" {
			in = group(from)
		}
		if t.String() == "zimbra.mailbox" {
			column = "id"
		}
		rules.Columns = append(rules.Columns, sqlrewrite.Column{
			Database: in, Table: t.Name, Column: column, Map: map[string]string{from.ID.String(): to.ID.String()}, Unmapped: sqlrewrite.Refuse,
		})
		if t.HasLocator() {
			rules.Columns = append(rules.Columns, sqlrewrite.Column{
				Database: in, Table: t.Name, Column: "locator", Map: locators, Unmapped: sqlrewrite.Refuse,
			})
		}
	}
	r, err := sqlrewrite.Compile(rules)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, dst io.Writer, src io.Reader) error {
		_, err := r.Rewrite(ctx, dst, src)
		return err
	}, nil
}
