// Package mboxverify compares the rows of one Zimbra mailbox on two servers, without trusting whoever copied them.
//
// Package mboxdb proves its own copies: the servers make a SHA-1 of every row, and equal sums of those are equal tables. A mistake in how it
// lists the tables, joins the columns or maps a locator could be in the copy and in its proof alike, and would not show. This package is the
// other opinion. It imports neither mboxdb nor anything else but the standard library, and a test keeps that so: it asks the servers itself
// which tables and columns there are, has lists and SQL of its own, reads every row of both sides and compares the values here. Use it before
// a commit or after one, on a move by zmlift or by anything else:
//
//	from, err := mboxverify.Find(ctx, src, accountID)
//	to, err := mboxverify.Find(ctx, dst, accountID)
//	tables, err := mboxverify.Compare(ctx, dst, src, to, from, &mboxverify.Options{
//		Volumes: map[uint8]uint8{1: 5}, IndexVolume: 7, Address: "alice@example.com",
//	})
//	var mismatch *mboxverify.MismatchError
//	if errors.As(err, &mismatch) { ... } // what differs; any other error: it is not known whether something does
//
// # What is compared
//
// Every table of the database zimbra and of the mailbox's group that has a column mailbox_id, on either server, and the mailbox's own row:
// also tables that an extension made. Left out are volume_blobs, which each server makes for itself, deleted_account, which is about
// mailboxes that are gone, and what Options.Skip names. Every column of every row must be the same on both sides, NULL and an empty text told apart,
// but for these, which a move changes on purpose:
//
//   - the mailbox id, which selects the rows
//   - locator in mail_item, mail_item_dumpster, revision and revision_dumpster: the volume that Options.Volumes says
//   - in the mailbox row group_id and index_volume_id: the destination's; last_backup_at: NULL, as the destination has no backup of the
//     mailbox; comment: the address of today; item_id_checkpoint and change_checkpoint: never below the source's, nor below a number
//     that a row has
//
// Equal tables have equal references, so foreign keys are not looked at. Nor are a column's type, default and collation, blobs and
// the search index.
//
// # How
//
// A table with a primary key, or with a unique key of columns that cannot be NULL, is read on both sides in the order of that key, and its rows
// are compared value by value: no hash is involved, and a row that differs is named at once, with its columns. The others, such as event
// and tombstone, may have equal rows. Of each of their rows a SHA-256 is taken, and the sums of those are compared, in 4,096 parts by
// the first bits of the hash. A second reading of the parts that differ finds the rows. Memory is two rows, whatever the mailbox has, and a few
// megabytes for the parts.
//
// Rows are named by their key and never by content: whole numbers as they are, anything else by its SHA-256, as it may be somebody's address;
// SHA2(uid, 256) finds the row. A row without a key is named by its SHA-256 and by what numbers it has of items, folders and changes.
//
// # What it does to a server
//
// It reads. Each server has one session, which cannot write, with settings of its own, and which is closed instead of going back to the pool. No
// row is locked and no global variable is touched. There is no snapshot, which would hold back the server's purge for as long as a large
// mailbox takes: both mailboxes must be quiet, or what changes meanwhile is found as a difference. After a move the destination is in
// use, and differs from the source by what happened there since.
//
// A server tells a user of those tables only that it may read: the user must have the rights of Zimbra's own on both databases.
package mboxverify
