package mboxdb_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

const counter = "SELECT next_mailbox_id FROM zimbra.current_volumes"

// newClaim claims a new account.
func newClaim(t *testing.T, db *mboxdb.DB) mboxdb.Claim {
	t.Helper()
	c := mboxdb.Claim{Move: "m1", AccountID: newID(), Fence: 1}
	require.NoError(t, db.Claim(t.Context(), c))
	return c
}

// insertMailbox makes an account's mailbox row, as mailboxd would.
func insertMailbox(t *testing.T, s *lab.Store, id int64, accountID string) {
	t.Helper()
	mustExec(t, s.RootDB(t), "INSERT INTO zimbra.mailbox (id, group_id, account_id, index_volume_id, item_id_checkpoint, comment, version)"+
		" SELECT ?, ?, ?, index_volume_id, 255, 'x@lab.example', '2.7' FROM zimbra.current_volumes", id, (id-1)%int64(s.Groups)+1, accountID)
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DELETE FROM zimbra.mailbox WHERE id = ?", id) })
}

func TestReserve(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	c := newClaim(t, db)
	next := number(t, s.DB(t), counter)
	res, err := db.Reserve(t.Context(), c, nil)
	require.NoError(t, err)
	require.Equal(t, mboxdb.Reservation{Mailbox: mboxdb.Mailbox{
		ID: mboxdb.MailboxID(next), Group: int(next-1)%s.Groups + 1, AccountID: c.AccountID, IndexVolume: 7,
	}}, res)
	require.Equal(t, next+1, number(t, s.DB(t), counter))
	h, err := db.Holder(t.Context(), c.AccountID)
	require.NoError(t, err)
	require.Equal(t, mboxdb.Holder{Move: "m1", Fence: 1, Open: true, Mailbox: res.Mailbox.ID, Group: res.Mailbox.Group}, h)
	tables, err := db.Tables(t.Context(), res.Mailbox.Group)
	require.NoError(t, err, "the group has its database")
	require.Len(t, tables, 27)

	again, err := db.Reserve(t.Context(), c, &mboxdb.ReserveOptions{From: 7, Offset: 90_000_000})
	require.NoError(t, err)
	require.Equal(t, res, again, "asked again")

	// This move ends, rolled back; the account's next one gets the same id, also when rows lie under it: they are this account's.
	require.NoError(t, db.End(t.Context(), c))
	_, err = db.Reserve(t.Context(), c, nil)
	require.ErrorIs(t, err, mboxdb.ErrFenced)
	c2 := mboxdb.Claim{Move: "m2", AccountID: c.AccountID, Fence: 2}
	require.NoError(t, db.Claim(t.Context(), c2))
	mustExec(t, s.RootDB(t), fmt.Sprintf("INSERT INTO mboxgroup%d.watch (mailbox_id, target, item_id) VALUES (?, 'x', 1)", res.Mailbox.Group), res.Mailbox.ID)
	again, err = db.Reserve(t.Context(), c2, nil)
	require.NoError(t, err)
	require.Equal(t, res, again, "the next move")
	require.Equal(t, next+1, number(t, s.DB(t), counter), "once")

	// Published, it is still the same; under an older claim nothing is.
	insertMailbox(t, s, next, c.AccountID)
	again, err = db.Reserve(t.Context(), c2, nil)
	require.NoError(t, err)
	require.Equal(t, res, again, "published")
	_, err = db.Reserve(t.Context(), c, nil)
	require.ErrorIs(t, err, mboxdb.ErrFenced)
}

func TestReserveWhoseAnswerIsLost(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	for nth := int32(1); ; nth++ {
		c := newClaim(t, db)
		next := number(t, s.DB(t), counter)
		cut, lost := lossy(t, s, nth)
		first, err := cut.Reserve(t.Context(), c, nil)
		if !lost() {
			require.NoError(t, err)
			require.Equal(t, int32(3), nth, "commits: the id, and that it is clean")
			break
		}
		require.ErrorContains(t, err, "commit: ", "%+v", first)
		res, err := db.Reserve(t.Context(), c, nil)
		require.NoError(t, err)
		require.Equal(t, mboxdb.MailboxID(next), res.Mailbox.ID, "commit %d", nth)
		require.Equal(t, next+1, number(t, s.DB(t), counter), "commit %d: the counter was raised more than once", nth)
		require.Empty(t, res.Burnt)
	}
}

func TestReserveBurnsIDsWithRows(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	root := s.RootDB(t)
	next := number(t, root, counter)
	group := func(id int64) int { return int(id-1)%s.Groups + 1 }
	// Four ways for an id to be used up.
	require.NoError(t, s.CreateGroup(t.Context(), group(next)))
	require.NoError(t, s.CreateGroup(t.Context(), group(next+2)))
	watch := fmt.Sprintf("mboxgroup%d.watch", group(next))
	item := fmt.Sprintf("mboxgroup%d.mail_item", group(next+2))
	mustExec(t, root, "INSERT INTO "+watch+" (mailbox_id, target, item_id) VALUES (?, 'x', 1)", next)
	mustExec(t, root, "INSERT INTO zimbra.volume_blobs (volume_id, mailbox_id, item_id, revision, processed) VALUES (5, ?, 1, 1, 0)", next+1)
	conn, err := root.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "SET SESSION foreign_key_checks=0")
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "INSERT INTO "+item+" (mailbox_id, id, type, date, size, mod_metadata, mod_content) VALUES (?, 257, 5, 1, 1, 1, 1)", next+2)
	require.NoError(t, err)
	insertMailbox(t, s, next+3, newID())
	t.Cleanup(func() {
		root := s.RootDB(t)
		mustExec(t, root, "DELETE FROM "+watch+" WHERE mailbox_id = ?", next)
		mustExec(t, root, "DELETE FROM zimbra.volume_blobs WHERE mailbox_id = ?", next+1)
		mustExec(t, root, "DELETE FROM "+item+" WHERE mailbox_id = ?", next+2)
	})
	// What is deleted is no leftover.
	mustExec(t, root, "INSERT INTO zimbra.deleted_account (email, account_id, mailbox_id, deleted_at) VALUES ('gone@lab.example', 'x', ?, 1)", next+4)
	t.Cleanup(func() {
		mustExec(t, s.RootDB(t), "DELETE FROM zimbra.deleted_account WHERE email = 'gone@lab.example'")
	})

	for i, table := range []string{watch, "zimbra.volume_blobs", item, "zimbra.mailbox"} {
		id := next + int64(i)
		var left *mboxdb.LeftoversError
		require.ErrorAs(t, db.Leftovers(t.Context(), mboxdb.MailboxID(id), group(id)), &left)
		require.Equal(t, &mboxdb.LeftoversError{ID: mboxdb.MailboxID(id), Rows: map[string]int64{table: 1}}, left)
	}
	require.NoError(t, db.Leftovers(t.Context(), mboxdb.MailboxID(next+4), group(next+4)))

	c := newClaim(t, db)
	cut, lost := lossy(t, s, 3) // in the middle
	_, err = cut.Reserve(t.Context(), c, nil)
	require.Error(t, err)
	require.True(t, lost())
	res, err := db.Reserve(t.Context(), c, nil)
	require.NoError(t, err)
	require.Equal(t, mboxdb.MailboxID(next+4), res.Mailbox.ID)
	id := mboxdb.MailboxID(next)
	require.Equal(t, []mboxdb.MailboxID{id, id + 1, id + 2, id + 3}, res.Burnt, "also those of a call that failed")
	require.Equal(t, next+5, number(t, root, counter))
	again, err := db.Reserve(t.Context(), c, nil)
	require.NoError(t, err)
	require.Equal(t, res, again)
}

func TestReserveGivesUp(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	root := s.RootDB(t)
	next := number(t, root, counter)
	for i := range int64(101) {
		mustExec(t, root, "INSERT INTO zimbra.volume_blobs (volume_id, mailbox_id, item_id, revision, processed) VALUES (5, ?, 1, 1, 0)", next+i)
	}
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DELETE FROM zimbra.volume_blobs") })
	c := newClaim(t, db)
	_, err := db.Reserve(t.Context(), c, nil)
	var left *mboxdb.LeftoversError
	require.ErrorAs(t, err, &left)
	require.Equal(t, mboxdb.MailboxID(next+99), left.ID)
	res, err := db.Reserve(t.Context(), c, nil)
	require.NoError(t, err, "a second call goes on")
	require.Equal(t, mboxdb.MailboxID(next+101), res.Mailbox.ID)
	require.Len(t, res.Burnt, 101)
}

func TestReserveRefusesWhatIsThere(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	next := number(t, s.DB(t), counter)
	c := newClaim(t, db)
	insertMailbox(t, s, 17, strings.ToLower(c.AccountID))
	_, err := db.Reserve(t.Context(), c, nil)
	require.ErrorIs(t, err, mboxdb.ErrExists)
	require.ErrorContains(t, err, "the account has mailbox 17 here")
	require.Equal(t, next, number(t, s.DB(t), counter), "no id was taken")

	c = newClaim(t, db)
	res, err := db.Reserve(t.Context(), c, nil)
	require.NoError(t, err)
	insertMailbox(t, s, int64(res.Mailbox.ID), newID())
	_, err = db.Reserve(t.Context(), c, nil)
	require.ErrorIs(t, err, mboxdb.ErrExists)
	require.ErrorContains(t, err, "is another account's")
}

func TestReserveAtAnOffset(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	root := s.RootDB(t)
	before := number(t, root, counter)
	t.Cleanup(func() {
		mustExec(t, s.RootDB(t), "UPDATE zimbra.current_volumes SET next_mailbox_id = ?", before+10_000)
	})
	from := mboxdb.MailboxID(before - 90_000 + 50)
	res, err := db.Reserve(t.Context(), newClaim(t, db), &mboxdb.ReserveOptions{From: from, Offset: 90_000})
	require.NoError(t, err)
	require.Equal(t, from+90_000, res.Mailbox.ID)
	require.Equal(t, before+51, number(t, root, counter), "above what was taken")

	res, err = db.Reserve(t.Context(), newClaim(t, db), &mboxdb.ReserveOptions{From: from - 1, Offset: 90_000})
	require.NoError(t, err)
	require.Equal(t, mboxdb.MailboxID(before+51), res.Mailbox.ID, "never below the counter")

	next := number(t, root, counter)
	mustExec(t, root, "INSERT INTO zimbra.volume_blobs (volume_id, mailbox_id, item_id, revision, processed) VALUES (5, ?, 1, 1, 0)", next+5)
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DELETE FROM zimbra.volume_blobs") })
	res, err = db.Reserve(t.Context(), newClaim(t, db), &mboxdb.ReserveOptions{From: 5, Offset: uint32(next)})
	require.NoError(t, err)
	require.Equal(t, mboxdb.MailboxID(next+6), res.Mailbox.ID)
	require.Equal(t, []mboxdb.MailboxID{mboxdb.MailboxID(next + 5)}, res.Burnt)

	next = number(t, root, counter)
	for _, o := range []mboxdb.ReserveOptions{{}, {Offset: 90_000}, {From: 1, Offset: math.MaxInt32 - 1}, {From: 1, Offset: math.MaxUint32}, {From: math.MaxUint32}} {
		c := newClaim(t, db)
		_, err = db.Reserve(t.Context(), c, &o)
		require.ErrorContains(t, err, "is no id", "%+v", o)
		h, err := db.Holder(t.Context(), c.AccountID)
		require.NoError(t, err)
		require.Zero(t, h.Mailbox)
	}
	require.Equal(t, next, number(t, root, counter))
}

func TestReserveAtTheEnd(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	root := s.RootDB(t)
	before := number(t, root, counter)
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "UPDATE zimbra.current_volumes SET next_mailbox_id = ?", before) })
	mustExec(t, root, "UPDATE zimbra.current_volumes SET next_mailbox_id = ?", math.MaxInt32-1)
	last := newClaim(t, db)
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DELETE FROM zmlift.moves WHERE account_id = ?", last.AccountID) })
	_, err := db.Reserve(t.Context(), last, nil)
	require.NoError(t, err, "the last one")
	_, err = db.Reserve(t.Context(), newClaim(t, db), nil)
	require.ErrorContains(t, err, "no mailbox id is left")
	require.Equal(t, int64(math.MaxInt32), number(t, root, counter))
	mustExec(t, root, "UPDATE zimbra.current_volumes SET next_mailbox_id = 0")
	_, err = db.Reserve(t.Context(), newClaim(t, db), nil)
	require.ErrorContains(t, err, "next_mailbox_id 0")
}

// A counter that was set back hands out nothing twice.
func TestReserveSkipsWhatOthersHave(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	res, err := db.Reserve(t.Context(), newClaim(t, db), nil)
	require.NoError(t, err)
	mustExec(t, s.RootDB(t), "UPDATE zimbra.current_volumes SET next_mailbox_id = ?", res.Mailbox.ID)
	next, err := db.Reserve(t.Context(), newClaim(t, db), nil)
	require.NoError(t, err)
	require.Equal(t, res.Mailbox.ID+1, next.Mailbox.ID)
}

func TestReservesAtOnce(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	next := number(t, s.DB(t), counter)
	shared := newClaim(t, openDB(t, s))
	ids := make([]mboxdb.MailboxID, 6)
	var wg sync.WaitGroup
	var errs [6]error
	for i := range ids {
		db := openDB(t, s)
		c := shared // the first three ask for one account
		if i >= 3 {
			c = newClaim(t, db)
		}
		wg.Go(func() {
			res, err := db.Reserve(t.Context(), c, nil)
			ids[i], errs[i] = res.Mailbox.ID, err
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	require.Equal(t, ids[0], ids[1])
	require.Equal(t, ids[0], ids[2])
	seen := map[mboxdb.MailboxID]bool{}
	for _, id := range ids {
		seen[id] = true
	}
	require.Len(t, seen, 4)
	require.Equal(t, next+4, number(t, s.DB(t), counter))
}

func TestReserveNeedsOptions(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	c := newClaim(t, openDB(t, s))
	_, err := mboxdb.New(s.DB(t), nil).Reserve(t.Context(), c, nil)
	require.ErrorContains(t, err, "Options.Groups is not set")
	_, err = mboxdb.New(s.DB(t), &mboxdb.Options{Groups: s.Groups}).Reserve(t.Context(), c, nil)
	require.ErrorContains(t, err, "Options.CreateScript is not set")
}

func TestDeletedAccount(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	root := s.RootDB(t)
	mustExec(t, root, "INSERT INTO zimbra.deleted_account (email, account_id, mailbox_id, deleted_at) VALUES ('müller@lab.example', 'abc', 12, 1600000000)")
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DELETE FROM zimbra.deleted_account WHERE account_id = 'abc'") })
	got, err := db.DeletedAccount(t.Context(), "Müller@lab.example")
	require.NoError(t, err)
	require.Equal(t, &mboxdb.DeletedAccount{Email: "müller@lab.example", AccountID: "abc", MailboxID: 12, DeletedAt: 1600000000}, got)
	for _, other := range []string{"muller@lab.example", "nobody@lab.example"} { // to the column's collation ü is u
		got, err = db.DeletedAccount(t.Context(), other)
		require.NoError(t, err)
		require.Nil(t, got, other)
	}
}
