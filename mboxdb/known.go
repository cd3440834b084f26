package mboxdb

import "strings"

// known are the tables of a mailbox as of db.version 92 to 118, parents before children, the mailbox row last: the order in which they
// are loaded. A column is named here when any of those versions has it.
var known = []struct {
	database, name string
	class          Class
	bucket         string // the column whose ranges cut the table into pieces
	columns        string
}{
	{groupKind, "mail_item", Bucketed, "id", "mailbox_id id type parent_id folder_id prev_folders index_id imap_id date size locator blob_digest unread flags tags tag_names sender recipients subject name metadata mod_metadata change_date mod_content uuid"},
	{groupKind, "mail_item_dumpster", Bucketed, "id", "mailbox_id id type parent_id folder_id prev_folders index_id imap_id date size locator blob_digest unread flags tags tag_names sender recipients subject name metadata mod_metadata change_date mod_content uuid"},
	{groupKind, "tag", Wholesale, "", "mailbox_id id name color item_count unread listed sequence policy"},
	{groupKind, "tagged_item", Bucketed, "item_id", "mailbox_id tag_id item_id"},
	{groupKind, "revision", Bucketed, "item_id", "mailbox_id item_id version date size locator blob_digest name metadata mod_metadata change_date mod_content"},
	{groupKind, "revision_dumpster", Bucketed, "item_id", "mailbox_id item_id version date size locator blob_digest name metadata mod_metadata change_date mod_content"},
	{groupKind, "open_conversation", Bucketed, "conv_id", "mailbox_id hash conv_id"},
	{groupKind, "appointment", Bucketed, "item_id", "mailbox_id uid item_id start_time end_time"},
	{groupKind, "appointment_dumpster", Bucketed, "item_id", "mailbox_id uid item_id start_time end_time"},
	{groupKind, "tombstone", Bucketed, "sequence", "mailbox_id sequence date type ids"},
	{groupKind, "pop3_message", Bucketed, "item_id", "mailbox_id data_source_id uid item_id"},
	{groupKind, "imap_folder", Wholesale, "", "mailbox_id item_id data_source_id local_path remote_path uid_validity"},
	{groupKind, "imap_message", Bucketed, "item_id", "mailbox_id imap_folder_id uid item_id flags"},
	{groupKind, "data_source_item", Bucketed, "item_id", "mailbox_id data_source_id item_id folder_id remote_id metadata"},
	{groupKind, "purged_conversations", Bucketed, "item_id", "mailbox_id data_source_id item_id hash"},
	{groupKind, "purged_messages", Bucketed, "item_id", "mailbox_id data_source_id item_id parent_id remote_id remote_folder_id purge_date"},
	{groupKind, "event", Bucketed, "item_id", "mailbox_id account_id item_id folder_id op ts version user_agent arg"},
	{groupKind, "watch", Wholesale, "", "mailbox_id target item_id"},
	{zimbraDatabase, "mailbox_metadata", Wholesale, "", "mailbox_id section metadata"},
	{zimbraDatabase, "out_of_office", Wholesale, "", "mailbox_id sent_to sent_on"},
	{zimbraDatabase, "scheduled_task", Wholesale, "", "class_name name mailbox_id exec_time interval_millis metadata"},
	{zimbraDatabase, "mobile_devices", Wholesale, "", "mailbox_id device_id device_type user_agent protocol_version provisionable status policy_key recovery_password first_req_received last_policy_update remote_wipe_req remote_wipe_ack policy_values last_used_date deleted_by_user model imei friendly_name os os_language phone_number unapproved_appl_list approved_appl_list mobile_operator last_updated_by update_time"},
	{zimbraDatabase, "pending_acl_push", Wholesale, "", "mailbox_id item_id date"},
	{zimbraDatabase, "zmg_devices", Wholesale, "", "mailbox_id app_id reg_id push_provider os_name os_version max_payload_size"},
	{zimbraDatabase, "volume_blobs", Never, "", "id volume_id mailbox_id item_id revision blob_digest processed"},
	{zimbraDatabase, "deleted_account", Never, "", "email account_id mailbox_id deleted_at"},
	{zimbraDatabase, "mailbox", Wholesale, "", "id group_id account_id index_volume_id item_id_checkpoint contact_count size_checkpoint change_checkpoint tracking_sync tracking_imap last_backup_at comment last_soap_access new_messages idx_deferred_count highest_indexed version last_purge_at itemcache_checkpoint"},
}

// knownTable returns a table's place in known, or -1.
func knownTable(database, name string) int {
	for i, k := range known {
		if k.database == database && k.name == name {
			return i
		}
	}
	return -1
}

// knownColumn says whether a known table may have the column.
func knownColumn(table int, column string) bool {
	for name := range strings.FieldsSeq(known[table].columns) {
		if name == column {
			return true
		}
	}
	return false
}
