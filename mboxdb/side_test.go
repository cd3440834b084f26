package mboxdb_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sideMutations are what happens in the tables of zimbra while a mailbox is in use. None of them has a change number.
var sideMutations = []struct {
	name string
	stmt string
	args func(u *mutator) []any
}{
	{"metadata replaced", "REPLACE INTO zimbra.mailbox_metadata (mailbox_id, section, metadata) SELECT mailbox_id, section, ? FROM zimbra.mailbox_metadata" +
		" WHERE mailbox_id = M LIMIT 1", random},
	{"metadata of a new section", "INSERT INTO zimbra.mailbox_metadata VALUES (M, ?, NULL)", random},
	{"an out-of-office reply", "INSERT INTO zimbra.out_of_office VALUES (M, ?, '2026-11-25 01:02:03')", random},
	{"out-of-office replies forgotten", "DELETE FROM zimbra.out_of_office WHERE mailbox_id = M LIMIT 1", nil},
	{"a task rescheduled", "UPDATE zimbra.scheduled_task SET exec_time = '2027-01-01 00:00:00', interval_millis = 77 WHERE mailbox_id = M LIMIT 1", nil},
	{"a task", "INSERT INTO zimbra.scheduled_task VALUES ('com.example.Task', ?, M, NULL, NULL, 'm')", random},
	{"a task done", "DELETE FROM zimbra.scheduled_task WHERE mailbox_id = M LIMIT 1", nil},
	{"a device synced", "UPDATE zimbra.mobile_devices SET last_used_date = '2026-11-25', policy_key = ?, update_time = update_time WHERE mailbox_id = M LIMIT 1",
		func(u *mutator) []any { return []any{u.rng.Uint32()} }},
	{"a device wiped", "UPDATE zimbra.mobile_devices SET remote_wipe_ack = 7 WHERE mailbox_id = M LIMIT 1", nil},
	{"a device removed", "DELETE FROM zimbra.mobile_devices WHERE mailbox_id = M LIMIT 1", nil},
	{"a push device's registration", "UPDATE zimbra.zmg_devices SET reg_id = ? WHERE mailbox_id = M LIMIT 1", random},
	{"pending acl push", "INSERT INTO zimbra.pending_acl_push VALUES (M, ?, 1764000000000)", func(u *mutator) []any { return []any{u.rng.Uint32()} }},
	{"acl pushed", "DELETE FROM zimbra.pending_acl_push WHERE mailbox_id = M LIMIT 1", nil},
	{"the mailbox's counters", "UPDATE zimbra.mailbox SET contact_count = contact_count + 1, size_checkpoint = size_checkpoint + 5000000000, new_messages = 3," +
		" idx_deferred_count = idx_deferred_count + 1, highest_indexed = '9', tracking_imap = 1, last_soap_access = 1764000000, last_purge_at = 1764000000 WHERE id = M", nil},
	{"the mailbox's checkpoints", "UPDATE zimbra.mailbox SET item_id_checkpoint = item_id_checkpoint + 100000, change_checkpoint = change_checkpoint + 100000," +
		" itemcache_checkpoint = 4, last_backup_at = 1764000000 WHERE id = M", nil},
}

func random(u *mutator) []any { return []any{fmt.Sprint("it's \\ ", u.id, " ", u.rng.Uint64())} }

// The tables of zimbra are read whole inside the lock: whatever changed in them is at the destination once the mailbox is, also when it had been
// there already and was taken back.
func TestMutationsOfSideTables(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	c := m.copy(t)
	_, err := c.Presync(ctx)
	require.NoError(t, err)
	u := m.mutator(t, 3)
	_, before := m.bystanders(t)
	for _, mu := range sideMutations {
		var args []any
		if mu.args != nil {
			args = mu.args(u)
		}
		require.Positive(t, u.exec(mu.stmt, args...), "%s changed nothing", mu.name)
		d, _ := catchUp(t, c, mu.name)
		require.True(t, d.Empty(), mu.name)
		_, err := c.Publish(ctx)
		require.NoError(t, err, mu.name)
		m.requireEqual(t, slices.Concat(qualified("mboxgroup", groupTables), qualified("zimbra", zimbraTables))...)
		_, err = m.second(t)
		require.NoError(t, err, mu.name)
		for _, column := range []string{"item_id_checkpoint", "change_checkpoint"} {
			stmt := "SELECT " + column + " FROM zimbra.mailbox WHERE account_id = ?"
			require.GreaterOrEqual(t, number(t, m.dstRoot, stmt, m.account.ID), number(t, m.srcRoot, stmt, m.account.ID), "%s: %s", mu.name, column)
		}
		require.NoError(t, c.Unpublish(ctx, nil), mu.name)
		m.unpublished(t, mu.name)
	}
	_, after := m.bystanders(t)
	require.Equal(t, before, after, "everybody else at the destination")
	require.NoError(t, c.Remove(ctx, elsewhere))
}
