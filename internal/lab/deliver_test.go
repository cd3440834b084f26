package lab_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/internal/lab"
)

func TestDeliverWhileOthersRead(t *testing.T) {
	l := lab.Shared(t)
	for i, s := range l.Stores {
		a := add(t, l, i, lab.AccountSpec{Name: fmt.Sprintf("deliver%d", i)})
		db := s.DB(t)
		inbox := func(column string) int {
			return count(t, db, "SELECT "+column+" FROM "+table(a, "mail_item")+" WHERE mailbox_id = ? AND id = 2", a.MailboxID)
		}
		messages := func() int {
			return count(t, db, "SELECT COUNT(*) FROM "+table(a, "mail_item")+" WHERE mailbox_id = ? AND type = 5", a.MailboxID)
		}
		size, unread, n := inbox("size"), inbox("unread"), messages()
		bystanders, err := s.Bystanders(t.Context(), a.MailboxID)
		require.NoError(t, err)

		const deliveries = 12
		delivered := make(chan struct{})
		g, ctx := errgroup.WithContext(t.Context())
		g.Go(func() error {
			defer close(delivered)
			for range deliveries {
				if err := a.Deliver(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error { // a row that is seen has its blob already
			for {
				blobs, err := a.Blobs(ctx)
				if err != nil {
					return err
				}
				last := blobs[0]
				for _, b := range blobs {
					if b.Table == "mail_item" && b.ItemID > last.ItemID {
						last = b
					}
				}
				if err := s.Run(ctx, []string{"test", "-f", last.Path()}, nil, nil); err != nil {
					return err
				}
				select {
				case <-delivered:
					return nil
				default:
				}
			}
		})
		require.NoError(t, g.Wait())
		require.Equal(t, n+deliveries, messages())
		require.Equal(t, size+deliveries, inbox("size"))
		require.Equal(t, unread+deliveries, inbox("unread"))
		require.NoError(t, s.CheckBlobs(t.Context(), a.MailboxID))
		require.Equal(t, 1, count(t, db, fmt.Sprintf(`SELECT m.item_id_checkpoint + 20 > MAX(i.id) AND m.change_checkpoint + 100 > MAX(i.mod_metadata)
			FROM zimbra.mailbox m JOIN %s i ON i.mailbox_id = m.id WHERE m.id = %d`, table(a, "mail_item"), a.MailboxID)), "checkpoints lag by less than their step")
		require.Empty(t, strings.TrimSpace(output(t, s, "find", s.Home, "-path", "*/incoming/*")))
		after, err := s.Bystanders(t.Context(), a.MailboxID)
		require.NoError(t, err)
		require.Equal(t, bystanders, after)
	}
}

func replaceStatus(t *testing.T, l *lab.Lab, a *lab.Account, attr, value string) {
	t.Helper()
	require.NoError(t, l.LDAP.Conn(t).Modify(&ldap.ModifyRequest{DN: a.DN, Changes: []ldap.Change{replace(attr, value)}}))
}

func TestDeliverIsDeferred(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 0, lab.AccountSpec{Name: "deferred"})
	before, err := a.Digest(t.Context())
	require.NoError(t, err)
	for _, c := range []struct{ attr, value, normal string }{
		{"zimbraAccountStatus", "maintenance", "active"}, {"zimbraMailStatus", "disabled", "enabled"}, {"zimbraMailHost", "mail2.lab", "mail1.lab"},
	} {
		replaceStatus(t, l, a, c.attr, c.value)
		require.ErrorIs(t, a.Deliver(t.Context()), lab.ErrDeferred, c.attr)
		require.ErrorIs(t, a.Churn(t.Context(), 1), lab.ErrDeferred, c.attr)
		replaceStatus(t, l, a, c.attr, c.normal)
	}
	after, err := a.Digest(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after, "what was deferred changed something")

	// Somebody holds the mailbox row.
	tx, err := a.Store.DB(t).Begin()
	require.NoError(t, err)
	var id uint32
	require.NoError(t, tx.QueryRow("SELECT id FROM zimbra.mailbox WHERE id = ? FOR UPDATE", a.MailboxID).Scan(&id))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.ErrorIs(t, a.Deliver(ctx), lab.ErrDeferred)
	require.NoError(t, tx.Rollback())
	require.NoError(t, a.Deliver(t.Context()))
}

// Every kind of change comes up, and the mailbox stays whole.
func TestChurn(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 0, lab.AccountSpec{Name: "churn", Items: 150})
	db := a.Store.DB(t)
	numbers := func() map[string]int {
		n := map[string]int{}
		for what, query := range map[string]string{
			"messages":  "SELECT COUNT(*) FROM %s.mail_item WHERE mailbox_id = ? AND type = 5",
			"renamed":   "SELECT COUNT(*) FROM %s.mail_item WHERE mailbox_id = ? AND name LIKE 'renamed%%'",
			"revisions": "SELECT COUNT(*) FROM %s.revision WHERE mailbox_id = ?",
			"tombstone": "SELECT COUNT(*) FROM %s.tombstone WHERE mailbox_id = ?",
			"moved":     "SELECT COUNT(*) FROM %s.mail_item WHERE mailbox_id = ? AND prev_folders IS NOT NULL",
			"tagged":    "SELECT CAST(SUM(item_count) AS INT) FROM %s.tag WHERE mailbox_id = ?",
			"changed":   "SELECT MAX(mod_metadata) FROM %s.mail_item WHERE mailbox_id = ?",
		} {
			n[what] = count(t, db, fmt.Sprintf(query, lab.GroupDatabase(a.Group)), a.MailboxID)
		}
		return n
	}
	before := numbers()
	require.NoError(t, a.Churn(t.Context(), 80))
	after := numbers()
	require.Less(t, after["messages"], before["messages"])
	for _, what := range []string{"renamed", "revisions", "tombstone", "moved", "changed"} {
		require.Greater(t, after[what], before[what], what)
	}
	require.NotEqual(t, after["tagged"], before["tagged"])
	require.NoError(t, a.Store.CheckBlobs(t.Context(), a.MailboxID))
	for range 3 {
		require.NoError(t, a.Deliver(t.Context()))
	}
	require.NoError(t, a.Store.CheckBlobs(t.Context(), a.MailboxID))
}

// Whatever is planted can be taken away without a trace.
func TestTroubleIsUndone(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 0, lab.AccountSpec{Name: "trouble"})
	s := l.Stores[1]
	require.NoError(t, s.CreateGroup(t.Context(), 4))
	db := s.DB(t)
	const free = 7*1000 + 4 // group 4 of 7
	seen := func(query string, args ...any) func() int {
		return func() int { return count(t, db, query, args...) }
	}
	var mailbox uint32
	for _, c := range []struct {
		what  string
		plant func(context.Context) (lab.Undo, error)
		seen  func() int
	}{
		{"db.version", func(ctx context.Context) (lab.Undo, error) { return s.SetDBVersion(ctx, "117") },
			seen("SELECT COUNT(*) FROM zimbra.config WHERE name = 'db.version' AND value = '117'")},
		{"table", func(ctx context.Context) (lab.Undo, error) {
			return s.PlantTable(ctx, "mboxgroup4", "ext_unknown", free)
		},
			seen("SELECT COUNT(*) FROM information_schema.columns WHERE table_name = 'ext_unknown' AND column_name = 'mailbox_id'")},
		{"leftovers", func(ctx context.Context) (lab.Undo, error) { return s.PlantLeftovers(ctx, free) },
			func() int {
				traces, err := s.Traces(t.Context(), free)
				require.NoError(t, err)
				return len(traces) / 4
			}},
		{"deleted account", func(ctx context.Context) (lab.Undo, error) { return s.PlantDeletedAccount(ctx, a.Name, a.ID, 5) },
			seen("SELECT COUNT(*) FROM zimbra.deleted_account WHERE email = ?", a.Name)},
		{"mailbox", func(ctx context.Context) (undo lab.Undo, err error) {
			mailbox, undo, err = s.PlantMailbox(ctx, a.ID)
			return undo, err
		}, func() int {
			at, err := a.At(t.Context(), s)
			if err != nil {
				return 0
			}
			require.Equal(t, mailbox, at.MailboxID)
			return 1
		}},
		{"volume", func(ctx context.Context) (undo lab.Undo, err error) {
			_, undo, err = s.AddVolume(ctx, 2, "hsm7")
			return undo, err
		},
			seen("SELECT COUNT(*) FROM zimbra.volume WHERE path = ? AND type = 2", s.Home+"/hsm7")},
	} {
		before, err := s.Bystanders(t.Context())
		require.NoError(t, err)
		require.Zero(t, c.seen(), c.what)
		undo, err := c.plant(t.Context())
		require.NoError(t, err, c.what)
		require.Equal(t, 1, c.seen(), c.what)
		require.NoError(t, undo(t.Context()), c.what)
		require.Zero(t, c.seen(), c.what)
		after, err := s.Bystanders(t.Context())
		require.NoError(t, err)
		delete(before, lab.KeyNextMailboxID)
		delete(after, lab.KeyNextMailboxID)
		require.Equal(t, before, after, c.what)
	}
}

func TestTraces(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 0, lab.AccountSpec{Name: "traces"})
	traces, err := a.Store.Traces(t.Context(), a.MailboxID)
	require.NoError(t, err)
	require.Len(t, traces, 26+3, "every table, and a directory on each volume: %v", traces)
	traces, err = a.Store.Traces(t.Context(), 999_999)
	require.NoError(t, err)
	require.Empty(t, traces)
}

func BenchmarkAddAccount(b *testing.B) {
	l := lab.Shared(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		add(b, l, 0, lab.AccountSpec{Name: fmt.Sprintf("bench%d", i), Items: 5000})
		i++
	}
}
