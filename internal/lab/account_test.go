package lab_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

// moved are the tables a move carries, 7 of zimbra and 18 of the group.
var moved = []string{
	"zimbra.mailbox", "zimbra.mailbox_metadata", "zimbra.out_of_office", "zimbra.scheduled_task", "zimbra.mobile_devices", "zimbra.pending_acl_push", "zimbra.zmg_devices",
	"mail_item", "mail_item_dumpster", "revision", "revision_dumpster", "tag", "tagged_item", "open_conversation", "appointment", "appointment_dumpster",
	"tombstone", "pop3_message", "imap_folder", "imap_message", "data_source_item", "purged_conversations", "purged_messages", "event", "watch",
}

func TestAddAccountFillsEveryTable(t *testing.T) {
	l := lab.Shared(t)
	for i, s := range l.Stores {
		a, err := l.AddAccount(t.Context(), s, lab.AccountSpec{Name: []string{"tables1", "tables2"}[i] + "@lab.example"})
		require.NoError(t, err)
		_ = a
	}
}
