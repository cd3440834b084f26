package mboxdb_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mutator changes a mailbox as mailboxd does while it is in use, with foreign keys checked and their cascades running.
type mutator struct {
	t      testing.TB
	db     *sql.DB
	group  string
	id     uint32
	rng    *rand.Rand
	item   int64 // the last item id
	change int64 // the last change number
}

func (m *move) mutator(t testing.TB, seed uint64) *mutator {
	t.Helper()
	u := &mutator{t: t, db: m.src.RootDB(t), group: fmt.Sprintf("mboxgroup%d", m.from.Group), id: uint32(m.from.ID), rng: rand.New(rand.NewPCG(seed, 5))}
	u.db.SetMaxOpenConns(1)
	mustExec(u.t.(*testing.T), u.db, "SET SESSION sql_mode='STRICT_ALL_TABLES', time_zone='+00:00'")
	u.item = u.number("SELECT GREATEST(MAX(id), (SELECT MAX(id) FROM G.mail_item_dumpster WHERE mailbox_id = M)) FROM G.mail_item WHERE mailbox_id = M")
	u.change = u.number("SELECT GREATEST(MAX(mod_metadata), MAX(mod_content)) FROM G.mail_item WHERE mailbox_id = M") + 1000
	return u
}

var mailboxPlaceholder = regexp.MustCompile(`\bM\b`)

// sql fills in the mailbox: G is its group's database, M its id.
func (u *mutator) sql(stmt string) string {
	return mailboxPlaceholder.ReplaceAllString(strings.ReplaceAll(stmt, "G.", u.group+"."), fmt.Sprint(u.id))
}

func (u *mutator) number(stmt string, args ...any) (n int64) {
	u.t.Helper()
	require.NoError(u.t, u.db.QueryRow(u.sql(stmt), args...).Scan(&n), stmt)
	return n
}

// exec returns how many rows it changed.
func (u *mutator) exec(stmt string, args ...any) int64 {
	u.t.Helper()
	res, err := u.db.Exec(u.sql(stmt), args...)
	require.NoError(u.t, err, stmt)
	n, err := res.RowsAffected()
	require.NoError(u.t, err)
	return n
}

// pick returns a number that a query finds, by chance; 0 when it finds none.
func (u *mutator) pick(stmt string, args ...any) int64 {
	u.t.Helper()
	rows, err := u.db.Query(u.sql(stmt), args...)
	require.NoError(u.t, err, stmt)
	defer rows.Close()
	var all []int64
	for rows.Next() {
		var n int64
		require.NoError(u.t, rows.Scan(&n))
		all = append(all, n)
	}
	require.NoError(u.t, rows.Err())
	if len(all) == 0 {
		return 0
	}
	return all[u.rng.IntN(len(all))]
}

func (u *mutator) next() int64 { u.change++; return u.change }

func (u *mutator) message() int64 {
	return u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND type = 5")
}

func (u *mutator) anyItem() int64 {
	return u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND id > 256")
}

// A mutation changes something and says how many rows; 0: there was nothing to change.
type mutation struct {
	name    string
	visible bool // to a delta that goes by mod_metadata
	f       func(u *mutator) int64
}

// hardDelete deletes an item and the comments on it as mailboxd does: rows of other tables go by the cascades of the keys.
func hardDelete(u *mutator, id int64) int64 {
	u.exec("DELETE FROM G.mail_item WHERE mailbox_id = M AND parent_id = ? AND type = 17", id)
	return u.exec("DELETE FROM G.mail_item WHERE mailbox_id = M AND id = ?", id)
}

const itemColumns = "type, parent_id, folder_id, prev_folders, index_id, imap_id, date, size, locator, blob_digest, unread, flags, tags, tag_names, sender, recipients, subject," +
	" name, metadata"

func deliver(u *mutator) int64 {
	u.item++
	like := u.message()
	if like == 0 {
		return 0
	}
	return u.exec("INSERT INTO G.mail_item (mailbox_id, id, "+itemColumns+", mod_metadata, change_date, mod_content, uuid) SELECT M, ?, "+itemColumns+
		", ?, change_date, ?, uuid FROM G.mail_item WHERE mailbox_id = M AND id = ?", u.item, u.next(), u.change, like)
}

// upload makes a document with a revision.
func upload(u *mutator) int64 {
	u.item++
	return u.exec("INSERT INTO G.mail_item (mailbox_id, id, type, folder_id, date, size, locator, flags, tags, name, metadata, mod_metadata, mod_content) VALUES"+
		" (M, ?, 8, 16, 1, 2, '1', 0, 0, ?, 'd', ?, ?)", u.item, fmt.Sprint("document ", u.item), u.next(), u.change) +
		u.exec("INSERT INTO G.revision (mailbox_id, item_id, version, date, size, locator, mod_metadata, mod_content) VALUES (M, ?, 1, 1, 2, '3', 1, 1)", u.item)
}

// invite makes an appointment.
func invite(u *mutator) int64 {
	u.item++
	return u.exec("INSERT INTO G.mail_item (mailbox_id, id, type, folder_id, date, size, flags, tags, mod_metadata, mod_content) VALUES (M, ?, 11, 10, 1, 2, 0, 0, ?, ?)",
		u.item, u.next(), u.change) +
		u.exec("INSERT INTO G.appointment (mailbox_id, uid, item_id, start_time) VALUES (M, ?, ?, '2026-01-01')", fmt.Sprint("uid ", u.item), u.item)
}

func toDumpster(u *mutator, id int64) (n int64) {
	n = u.exec("INSERT INTO G.mail_item_dumpster (mailbox_id, id, "+itemColumns+", mod_metadata, change_date, mod_content, uuid) SELECT M, id, "+itemColumns+
		", ?, change_date, mod_content, uuid FROM G.mail_item WHERE mailbox_id = M AND id = ?", u.next(), id)
	n += u.exec("INSERT INTO G.revision_dumpster (mailbox_id, item_id, version, date, size, locator, blob_digest, name, metadata, mod_metadata, change_date, mod_content)"+
		" SELECT M, item_id, version, date, size, locator, blob_digest, name, metadata, mod_metadata, change_date, mod_content FROM G.revision"+
		" WHERE mailbox_id = M AND item_id = ?", id)
	n += u.exec("INSERT INTO G.appointment_dumpster (mailbox_id, uid, item_id, start_time, end_time) SELECT M, uid, item_id, start_time, end_time FROM G.appointment"+
		" WHERE mailbox_id = M AND item_id = ?", id)
	if n == 0 {
		return 0
	}
	return n + hardDelete(u, id)
}

// leaf is an item of those types that no other item has as its parent.
func (u *mutator) leaf(types string) int64 {
	return u.pick("SELECT id FROM G.mail_item i WHERE mailbox_id = M AND id > 256 AND type IN (" + types + ") AND NOT EXISTS (SELECT 1 FROM G.mail_item c" +
		" WHERE c.mailbox_id = M AND c.parent_id = i.id AND c.type <> 17)")
}

// mutations are what happens in a mailbox in use. Most leave some change number as it was.
var mutations = []mutation{
	{"hard delete", false, func(u *mutator) int64 { return hardDelete(u, u.leaf("5")) }},
	{"hard delete of a document with revisions", false, func(u *mutator) int64 { return hardDelete(u, u.leaf("8")) }},
	{"hard delete of an appointment", false, func(u *mutator) int64 { return hardDelete(u, u.leaf("11, 15")) }},
	{"delete from the dumpster", false, func(u *mutator) int64 {
		return u.exec("DELETE FROM G.mail_item_dumpster WHERE mailbox_id = M AND id = ?", u.pick("SELECT id FROM G.mail_item_dumpster WHERE mailbox_id = M"))
	}},
	{"recover from the dumpster", false, func(u *mutator) int64 {
		id := u.pick("SELECT id FROM G.mail_item_dumpster WHERE mailbox_id = M AND name IS NULL")
		u.item++
		n := u.exec("INSERT INTO G.mail_item (mailbox_id, id, "+strings.Replace(itemColumns, "parent_id, ", "", 1)+", mod_metadata, change_date, mod_content, uuid) SELECT M, ?, "+
			strings.Replace(itemColumns, "parent_id, ", "", 1)+", ?, change_date, ?, uuid FROM G.mail_item_dumpster WHERE mailbox_id = M AND id = ?", u.item, u.next(), u.change, id)
		if n == 0 {
			return 0
		}
		return n + u.exec("DELETE FROM G.mail_item_dumpster WHERE mailbox_id = M AND id = ?", id)
	}},
	{"move into the dumpster", false, func(u *mutator) int64 { return toDumpster(u, u.leaf("5, 6")) }},
	{"move into the dumpster with revisions", false, func(u *mutator) int64 { return toDumpster(u, u.leaf("8")) }},
	{"move into the dumpster with an appointment", false, func(u *mutator) int64 { return toDumpster(u, u.leaf("11")) }},
	{"folder counters", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET unread = unread + 1, size = size + 1, metadata = CONCAT(metadata, ?) WHERE mailbox_id = M AND id = 2", fmt.Sprint(u.rng.IntN(10)))
	}},
	{"tag counters", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.tag SET item_count = item_count + 1, unread = unread + 1 WHERE mailbox_id = M AND id = 65")
	}},
	{"system flags set by alterTag", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET flags = CAST(flags ^ ? AS SIGNED) WHERE mailbox_id = M AND id = ?", 1<<u.rng.IntN(12), u.message())
	}},
	{"the flag of a copied original", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET flags = CAST(flags ^ 16 AS SIGNED) WHERE mailbox_id = M AND id = ?", u.anyItem())
	}},
	{"index_id set", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET index_id = id WHERE mailbox_id = M AND id = ?",
			u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND (index_id = 0 OR index_id IS NULL) AND id > 256"))
	}},
	{"index_id reset", false, func(u *mutator) int64 {
		n := u.exec("UPDATE G.mail_item SET index_id = 0 WHERE mailbox_id = M AND index_id > 0")
		return n + u.exec("UPDATE G.mail_item_dumpster SET index_id = NULL WHERE mailbox_id = M")
	}},
	{"a blob moved to another volume", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET locator = IF(locator = '1', '3', '1') WHERE mailbox_id = M AND id = ?",
			u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND locator IS NOT NULL")) +
			u.exec("UPDATE G.mail_item SET blob_digest = CONCAT('z', SUBSTR(blob_digest, 2)), size = size + 1 WHERE mailbox_id = M AND id = ?",
				u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND blob_digest NOT LIKE 'z%'"))
	}},
	{"blobs of revisions and of the dumpster got a digest", false, func(u *mutator) (n int64) {
		for _, t := range []string{"revision", "revision_dumpster", "mail_item_dumpster"} {
			n += u.exec("UPDATE G."+t+" SET blob_digest = ?, size = size + 1 WHERE mailbox_id = M AND locator IS NOT NULL AND size < 1000000 LIMIT 1", fmt.Sprint("d", u.rng.Uint32()))
		}
		return n
	}},
	{"changeType", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET type = 18 - type WHERE mailbox_id = M AND id = ?", u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND type IN (5, 13) AND id > 300"))
	}},
	{"assignUuids", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET uuid = UUID() WHERE mailbox_id = M AND uuid IS NULL AND id > 256 LIMIT 7")
	}},
	{"setPreviousFolder", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET prev_folders = ? WHERE mailbox_id = M AND id = ?", fmt.Sprintf("%d:2;9:3", u.rng.Uint32()), u.anyItem())
	}},
	{"a folder's parent repaired", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET parent_id = IF(parent_id = 1, 11, 1) WHERE mailbox_id = M AND type = 1 AND id = ?", 2+u.rng.IntN(4))
	}},
	{"a new revision with the change number of the version before", false, func(u *mutator) int64 {
		id := u.pick("SELECT DISTINCT item_id FROM G.revision WHERE mailbox_id = M")
		return u.exec("INSERT INTO G.revision (mailbox_id, item_id, version, date, size, locator, blob_digest, name, metadata, mod_metadata, change_date, mod_content)"+
			" SELECT M, item_id, (SELECT MAX(version) + 1 FROM G.revision x WHERE mailbox_id = M AND item_id = ?), date, size, locator, blob_digest, name, metadata, mod_metadata,"+
			" change_date, mod_content FROM G.revision WHERE mailbox_id = M AND item_id = ? LIMIT 1", id, id)
	}},
	{"tagged_item set", false, func(u *mutator) int64 {
		return u.exec("INSERT IGNORE INTO G.tagged_item (mailbox_id, tag_id, item_id) VALUES (M, ?, ?)", u.pick("SELECT id FROM G.tag WHERE mailbox_id = M"), u.message())
	}},
	{"tagged_item taken off", false, func(u *mutator) int64 {
		return u.exec("DELETE FROM G.tagged_item WHERE mailbox_id = M AND item_id = ?", u.pick("SELECT item_id FROM G.tagged_item WHERE mailbox_id = M"))
	}},
	{"open_conversation replaced", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.open_conversation SET conv_id = ? WHERE mailbox_id = M AND conv_id <> 0 LIMIT 1", u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND type = 4")) +
			u.exec("INSERT INTO G.open_conversation (mailbox_id, hash, conv_id) VALUES (M, ?, ?)", fmt.Sprintf("%028x", u.rng.Uint64()), u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND type = 4"))
	}},
	{"open_conversation purged", false, func(u *mutator) int64 {
		return u.exec("DELETE FROM G.open_conversation WHERE mailbox_id = M AND conv_id = ?", u.pick("SELECT conv_id FROM G.open_conversation WHERE mailbox_id = M"))
	}},
	{"appointment moved", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.appointment SET start_time = start_time + INTERVAL 1 HOUR, end_time = NULL WHERE mailbox_id = M AND item_id = ?",
			u.pick("SELECT item_id FROM G.appointment WHERE mailbox_id = M AND start_time < '2030-01-01'"))
	}},
	{"pop3_message", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.pop3_message SET uid = CONCAT(LEFT(uid, 200), ?) WHERE mailbox_id = M LIMIT 1", u.rng.Uint32())
	}},
	{"imap_folder", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.imap_folder SET uid_validity = ? WHERE mailbox_id = M LIMIT 1", u.rng.Uint32())
	}},
	{"imap_message", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.imap_message SET flags = CAST(flags ^ ? AS SIGNED) WHERE mailbox_id = M LIMIT 2", 1+u.rng.IntN(100))
	}},
	{"data_source_item", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.data_source_item SET metadata = ?, folder_id = folder_id + 1 WHERE mailbox_id = M LIMIT 1", fmt.Sprint(u.rng.Uint32()))
	}},
	{"purged_conversations and purged_messages", false, func(u *mutator) int64 {
		return u.exec("INSERT INTO G.purged_conversations (mailbox_id, data_source_id, item_id, hash) VALUES (M, 'ds', 1, ?)", fmt.Sprintf("%028x", u.rng.Uint64())) +
			u.exec("UPDATE G.purged_messages SET purge_date = ? WHERE mailbox_id = M LIMIT 1", u.rng.Uint32())
	}},
	{"event updated in place", false, func(u *mutator) int64 {
		return u.exec("UPDATE G.event SET ts = ts + 1 WHERE mailbox_id = M LIMIT 1")
	}},
	{"an event twice", false, func(u *mutator) int64 {
		return u.exec("INSERT INTO G.event (mailbox_id, account_id, item_id, folder_id, op, ts) VALUES (M, 'a', 1, 2, 3, 4), (M, 'a', 1, 2, 3, 4)")
	}},
	{"watch", false, func(u *mutator) int64 {
		return u.exec("INSERT INTO G.watch (mailbox_id, target, item_id) VALUES (M, 'someone', ?)", u.rng.Int32())
	}},
	{"a tombstone purged", false, func(u *mutator) int64 {
		return u.exec("DELETE FROM G.tombstone WHERE mailbox_id = M LIMIT 1")
	}},
	{"a tombstone", true, func(u *mutator) int64 {
		return u.exec("INSERT INTO G.tombstone (mailbox_id, sequence, date, type, ids) VALUES (M, ?, 1, 5, '1,2,3')", u.next())
	}},
	{"a delivery", true, deliver},
	{"a document", true, upload},
	{"an appointment", true, invite},
	{"a flag of the user's", true, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET unread = 1 - unread, mod_metadata = ? WHERE mailbox_id = M AND id = ?", u.next(), u.message())
	}},
	{"moved to another folder", true, func(u *mutator) int64 {
		return u.exec("UPDATE G.mail_item SET folder_id = 8 - folder_id, mod_metadata = ? WHERE mailbox_id = M AND id = ?", u.next(),
			u.pick("SELECT id FROM G.mail_item WHERE mailbox_id = M AND type = 5 AND folder_id IN (3, 5)"))
	}},
	{"a tag renamed", true, func(u *mutator) int64 {
		return u.exec("UPDATE G.tag SET name = ?, sequence = ? WHERE mailbox_id = M AND id = 66", fmt.Sprint("tag ", u.rng.Uint32()), u.next())
	}},
	{"two documents swap names", true, func(u *mutator) int64 { return u.ring(2) }},
	{"a ring of renames", true, func(u *mutator) int64 { return u.ring(7) }},
}

// ring renames n items of a folder, each to the next one's name.
func (u *mutator) ring(n int) int64 {
	rows, err := u.db.Query(u.sql("SELECT id, name FROM G.mail_item WHERE mailbox_id = M AND folder_id = 16 AND name IS NOT NULL ORDER BY id"))
	require.NoError(u.t, err)
	var ids []int64
	var names []string
	for rows.Next() {
		var id int64
		var name string
		require.NoError(u.t, rows.Scan(&id, &name))
		ids, names = append(ids, id), append(names, name)
	}
	require.NoError(u.t, rows.Close())
	if n = min(n, len(ids)); n < 2 {
		return 0
	}
	change := u.next()
	for i, id := range ids[:n] {
		u.exec("UPDATE G.mail_item SET name = ? WHERE mailbox_id = M AND id = ?", fmt.Sprint("zmlift ring ", i), id)
	}
	for i, id := range ids[:n] {
		u.exec("UPDATE G.mail_item SET name = ?, mod_metadata = ? WHERE mailbox_id = M AND id = ?", names[(i+1)%n], change, id)
	}
	return int64(n)
}
