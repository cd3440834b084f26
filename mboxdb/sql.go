package mboxdb

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Every SQL statement of the package is in this file. They are written for the oldest servers that Zimbra came with: MySQL 5.6 and
// MariaDB 10.1 parse them all.
//
// Not to be found here: common table expressions, window functions, what a statement returns beside rows, locks that skip,
// statements that overwrite a row when a key exists (on mail_item they hit another row than the one meant, or cascade), anything
// that sets a global variable, and EXISTS as a value: MariaDB says that it is false when the statement was killed in the inner query.

// sqlMode makes a value that does not fit an error instead of another value, and takes any date that a source may have stored.
const sqlMode = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO"

// sqlSession are the settings of every session. Unique checks stay on: without them InnoDB may let a duplicate into a secondary index
// unnoticed, and newer servers load an empty table under an exclusive lock on all of it. idle ends what a paused mover left open. A server's own
// limit for a statement's time would end every reading of a large table; MariaDB and MySQL name it differently, and the oldest not at all.
func sqlSession(lockWait, idle time.Duration) string {
	seconds := int(lockWait / time.Second)
	return fmt.Sprintf("SET SESSION sql_mode='%s', time_zone='+00:00', character_set_client=utf8mb4, character_set_connection=utf8mb4,"+
		" character_set_results=utf8mb4, foreign_key_checks=0, unique_checks=1, autocommit=1, sql_safe_updates=0, sql_auto_is_null=0,"+
		" sql_big_selects=1, sql_select_limit=18446744073709551615, group_concat_max_len=%d, wait_timeout=%d, net_write_timeout=600,"+
		" /*M!100101 max_statement_time=0,*/ /*!50708 max_execution_time=0,*/ lock_wait_timeout=%d, innodb_lock_wait_timeout=%d", sqlMode,
		packed, idle/time.Second, seconds, seconds)
}

const (
	sqlReadOnly      = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY"
	sqlReadCommitted = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
	sqlReadSnapshot  = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
	sqlSnapshot      = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
	sqlRollback      = "ROLLBACK"
	sqlPacket        = "SELECT @@max_allowed_packet"
	sqlConnectionID  = "SELECT CONNECTION_ID()"
	sqlDDLSession    = "SET SESSION wait_timeout=60, lock_wait_timeout=%d"
	sqlPinnedSession = "SET SESSION wait_timeout=%d"
)

// Mailboxes and volumes.
const (
	sqlMailboxColumns = "SELECT id, group_id, account_id, index_volume_id, comment, item_id_checkpoint, change_checkpoint, size_checkpoint, version" +
		" FROM zimbra.mailbox"
	sqlMailboxByAccount = sqlMailboxColumns + " WHERE account_id = ?"
	sqlMailboxByID      = sqlMailboxColumns + " WHERE id = ?"

	sqlVolumeStoreColumns = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = 'zimbra' AND table_name = 'volume'" +
		" AND column_name IN ('store_type', 'store_manager_class')"
	sqlVolumes = "SELECT id, type, name, path, file_bits, file_group_bits, mailbox_bits, mailbox_group_bits, compress_blobs, compression_threshold," +
		" 0, NULL FROM zimbra.volume ORDER BY id"
	sqlVolumesStore = "SELECT id, type, name, path, file_bits, file_group_bits, mailbox_bits, mailbox_group_bits, compress_blobs, compression_threshold," +
		" store_type, store_manager_class FROM zimbra.volume ORDER BY id"
	sqlCurrentVolumes = "SELECT message_volume_id, secondary_message_volume_id, index_volume_id FROM zimbra.current_volumes"
)

// ident quotes a name.
func ident(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// The server's description of itself.
const (
	sqlDatabaseExists = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?"
	sqlGroups         = "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'mboxgroup%'"
	sqlTables         = "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'"
	sqlColumns        = "SELECT table_name, column_name, data_type, column_type, character_set_name, collation_name, is_nullable, extra" +
		" FROM information_schema.columns WHERE table_schema = ? ORDER BY table_name, ordinal_position"
	sqlKeys = "SELECT table_name, index_name, column_name, sub_part, non_unique FROM information_schema.statistics" +
		" WHERE table_schema = ? ORDER BY table_name, index_name, seq_in_index"
	sqlForeignKeys = "SELECT table_name, constraint_name, column_name, referenced_table_schema, referenced_table_name, referenced_column_name" +
		" FROM information_schema.key_column_usage WHERE table_schema = ? AND referenced_table_name IS NOT NULL" +
		" ORDER BY table_name, constraint_name, ordinal_position"
	sqlDeleteRules = "SELECT table_name, constraint_name, delete_rule FROM information_schema.referential_constraints WHERE constraint_schema = ?"
)

// The fence. The names are ours; the engine is named because a server without InnoDB would take another in silence.
const (
	sqlMovesFormat = "SELECT table_comment FROM information_schema.tables WHERE table_schema = 'zmlift' AND table_name = 'moves'"

	sqlMakeDatabase = "CREATE DATABASE IF NOT EXISTS zmlift"
	sqlMakeMoves    = "CREATE TABLE IF NOT EXISTS zmlift.moves (" +
		"account_id VARCHAR(127) CHARACTER SET ascii COLLATE ascii_bin NOT NULL," +
		" move_id VARCHAR(127) CHARACTER SET ascii COLLATE ascii_bin NOT NULL," +
		" fence BIGINT UNSIGNED NOT NULL, is_open TINYINT NOT NULL," +
		" mailbox_id INT UNSIGNED NULL, group_id INT UNSIGNED NULL, is_clean TINYINT NOT NULL DEFAULT 0," +
		" PRIMARY KEY (account_id), UNIQUE KEY i_mailbox_id (mailbox_id)) ENGINE=InnoDB COMMENT='" + movesFormat + "'"
	sqlMakeBurnt = "CREATE TABLE IF NOT EXISTS zmlift.burnt (" +
		"mailbox_id INT UNSIGNED NOT NULL, account_id VARCHAR(127) CHARACTER SET ascii COLLATE ascii_bin NOT NULL," +
		" move_id VARCHAR(127) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, KEY i_account_id (account_id, move_id)) ENGINE=InnoDB"

	// What a copy has written: the digest of each bucket as it left it. NULL: it was being rewritten.
	sqlBucketsThere = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'zmlift' AND table_name = 'buckets'"
	sqlMakeBuckets  = "CREATE TABLE IF NOT EXISTS zmlift.buckets (" +
		"account_id VARCHAR(127) CHARACTER SET ascii COLLATE ascii_bin NOT NULL," +
		" table_name VARCHAR(80) CHARACTER SET utf8 COLLATE utf8_bin NOT NULL, bucket BIGINT NOT NULL," +
		" digest VARCHAR(96) CHARACTER SET ascii COLLATE ascii_bin NULL," +
		" PRIMARY KEY (account_id, table_name, bucket)) ENGINE=InnoDB"
	sqlBuckets   = "SELECT table_name, bucket, digest FROM zmlift.buckets WHERE account_id = ?"
	sqlForget    = "DELETE FROM zmlift.buckets WHERE account_id = ?"
	sqlRemembers = "SELECT 1 FROM zmlift.buckets WHERE account_id = ? LIMIT 1"
	// With a hint: of a small table the optimizer reads every row, and waits for those that others have locked.
	sqlForgetBuckets    = "DELETE zmlift.buckets FROM zmlift.buckets FORCE INDEX (PRIMARY) WHERE account_id = ?"
	sqlRemembersBuckets = "SELECT 1 FROM zmlift.buckets WHERE account_id = ?"
	sqlRecordBucket     = "INSERT INTO zmlift.buckets (account_id, table_name, bucket, digest) VALUES %s"

	sqlMove          = "SELECT move_id, fence, is_open, mailbox_id, group_id, is_clean FROM zmlift.moves WHERE account_id = ?"
	sqlMoveShared    = sqlMove + " LOCK IN SHARE MODE"
	sqlMoveForUpdate = sqlMove + " FOR UPDATE"
	sqlInsertMove    = "INSERT INTO zmlift.moves (account_id, move_id, fence, is_open) VALUES (?, ?, ?, 1)"
	sqlUpdateMove    = "UPDATE zmlift.moves SET move_id = ?, fence = ?, is_open = 1 WHERE account_id = ?"
	sqlEndMove       = "UPDATE zmlift.moves SET is_open = 0 WHERE account_id = ?"
)

// sqlBucketsOf narrows a statement to buckets of tables: buckets has those of each table, whose names are its arguments.
func sqlBucketsOf(buckets [][]string) string {
	var parts []string
	for _, numbers := range buckets {
		parts = append(parts, "table_name = ? AND bucket IN ("+strings.Join(numbers, ",")+")")
	}
	return " AND (" + strings.Join(parts, " OR ") + ")"
}

// Ids. The counter is the row that mailboxd counts in.
const (
	sqlCounterForUpdate = "SELECT next_mailbox_id FROM zimbra.current_volumes FOR UPDATE"
	sqlSetCounter       = "UPDATE zimbra.current_volumes SET next_mailbox_id = ?"
	sqlReservedByOthers = "SELECT COUNT(*) FROM zmlift.moves WHERE mailbox_id = ? AND account_id <> ?"
	sqlReserve          = "UPDATE zmlift.moves SET mailbox_id = ?, group_id = ?, is_clean = 0 WHERE account_id = ?"
	sqlMarkClean        = "UPDATE zmlift.moves SET is_clean = 1 WHERE account_id = ?"
	sqlBurn             = "INSERT INTO zmlift.burnt (mailbox_id, account_id, move_id) VALUES (?, ?, ?)"
	sqlBurnt            = "SELECT DISTINCT mailbox_id FROM zmlift.burnt WHERE account_id = ? AND move_id = ? ORDER BY mailbox_id"
	sqlCountRows        = "SELECT COUNT(*) FROM %s WHERE %s = ?"
	sqlDeletedAccount   = "SELECT email, account_id, mailbox_id, deleted_at FROM zimbra.deleted_account WHERE email = ?"
)

// Named locks and open transactions.
const (
	sqlGetLock      = "SELECT GET_LOCK(?, ?)"
	sqlLockHolder   = "SELECT CONNECTION_ID(), IS_USED_LOCK(?)"
	sqlReleaseLock  = "SELECT RELEASE_LOCK(?)"
	sqlTransactions = "SELECT trx_id, trx_mysql_thread_id, trx_started, trx_rows_modified, trx_is_read_only FROM information_schema.innodb_trx"
)

// The server itself. The second and the fourth day tell Europe's zones from America's.
const (
	sqlServerVariables = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'hostname', 'port', 'datadir', 'server_id', 'version'," +
		" 'sql_mode', 'max_connections')"
	sqlDBVersion     = "SELECT value FROM zimbra.config WHERE name = 'db.version'"
	sqlZimbraCharset = "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = 'zimbra'"
	sqlSystemZone    = "SET SESSION time_zone = 'SYSTEM'"
	sqlZoneOffsets   = "SELECT TIMESTAMPDIFF(SECOND, '2021-01-15 12:00:00', FROM_UNIXTIME(1610712000))," +
		" TIMESTAMPDIFF(SECOND, '2021-03-20 12:00:00', FROM_UNIXTIME(1616241600))," +
		" TIMESTAMPDIFF(SECOND, '2021-07-15 12:00:00', FROM_UNIXTIME(1626350400))," +
		" TIMESTAMPDIFF(SECOND, '2021-11-03 12:00:00', FROM_UNIXTIME(1635940800))"
)

// Dumps, digests and copies. Mailbox ids stand in the text: a statement without arguments needs no prepared one, and its answer comes as text.

// sqlWhere selects the rows of one mailbox.
func sqlWhere(t Table, group int, id MailboxID) string {
	return fmt.Sprintf(" FROM %s WHERE %s = %d", t.quoted(group), ident(t.idColumn()), id)
}

// sqlRange is sqlWhere with sqlSpans, by the index that leads there. Left to itself a server reads all of a mailbox's rows for a range that has a
// fifth of them, and does so for each fifth; and the rows come in the order of another index.
func sqlRange(t Table, group int, id MailboxID, spans []span) string {
	where, narrowed := sqlWhere(t, group, id), sqlSpans(t, spans)
	if name := t.rangeIndex(); name != "" && narrowed != "" {
		where = strings.Replace(where, " WHERE ", " FORCE INDEX ("+ident(name)+") WHERE ", 1)
	}
	return where + narrowed
}

// sqlSpans narrows a statement to rows whose bucket column lies in one of the spans; none: to nothing.
func sqlSpans(t Table, spans []span) string {
	if len(spans) == 0 || t.bucket == "" {
		return ""
	}
	column := ident(t.bucket)
	var parts, single []string
	for _, s := range spans {
		switch {
		case s == everything:
			return ""
		case s.lo == s.hi:
			single = append(single, strconv.FormatInt(s.lo, 10))
		case s.lo == everything.lo:
			parts = append(parts, fmt.Sprintf("%s <= %d", column, s.hi))
		case s.hi == everything.hi:
			parts = append(parts, fmt.Sprintf("%s >= %d", column, s.lo))
		default:
			parts = append(parts, fmt.Sprintf("%s BETWEEN %d AND %d", column, s.lo, s.hi))
		}
	}
	if len(single) > 0 {
		parts = append(parts, column+" IN ("+strings.Join(single, ",")+")")
	}
	return " AND (" + strings.Join(parts, " OR ") + ")"
}

// sqlColumnList names columns.
func sqlColumnList(columns []Column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = ident(c.Name)
	}
	return strings.Join(names, ",")
}

// sqlFields are what a row is selected as, in the order of a dump, and the kind of each. Times come as text, whatever the caller's pool makes of
// them. Numbers that stand side by side come as one text, joined as they will stand in a row: that costs the server no more,
// and this end less.
func sqlFields(t Table) (exprs []string, kinds []kind) {
	var numbers []string
	put := func(expr string, k kind) { exprs, kinds = append(exprs, expr), append(kinds, k) }
	join := func() {
		if len(numbers) > 0 {
			put("CONCAT_WS(',',"+strings.Join(numbers, ",")+")", number)
		}
		numbers = nil
	}
	for _, c := range t.dumped() {
		expr := ident(c.Name)
		if c.kind == number {
			if c.Nullable {
				expr = "IFNULL(" + expr + ",'NULL')"
			}
			numbers = append(numbers, expr)
			continue
		}
		join()
		if c.kind == temporal {
			expr = "CAST(" + expr + " AS CHAR)"
		}
		put(expr, c.kind)
	}
	join()
	return exprs, kinds
}

// sqlRows selects whole rows, each in these fields, in the order of the key.
func sqlRows(t Table, group int, id MailboxID, fields []string, spans []span) string {
	stmt := "SELECT " + strings.Join(fields, ",") + sqlWhere(t, group, id) + sqlSpans(t, spans)
	if len(t.Key) > 0 {
		names := make([]string, len(t.Key))
		for i, name := range t.Key {
			names[i] = ident(name)
		}
		stmt += " ORDER BY " + strings.Join(names, ",")
	}
	return stmt
}

// sqlInsert is the beginning of an INSERT, up to the line with its first row.
func sqlInsert(t Table, group int) string {
	return "INSERT INTO " + t.quoted(group) + " (" + sqlColumnList(t.dumped()) + ") VALUES\n"
}

// sqlLoad reads rows from one of the driver's readers, as an INSERT of ours has them between its parentheses. It is UTF-8, and so is what the
// columns store: told that, servers would still convert it character by character.
func sqlLoad(t Table, group int, reader string) string {
	return "LOAD DATA LOCAL INFILE 'Reader::" + reader + "' INTO TABLE " + t.quoted(group) + ` CHARACTER SET binary FIELDS TERMINATED BY ','` +
		` OPTIONALLY ENCLOSED BY '\'' ESCAPED BY '\\' LINES TERMINATED BY '\n' (` + sqlColumnList(t.dumped()) + ")"
}

const (
	sqlWarnings    = "SELECT @@warning_count"
	sqlShowWarning = "SHOW WARNINGS LIMIT 1"
)

// sqlRowDigest is the SHA-1 of a row's columns, as doc.go describes it; columns in skip are left out. The separator is cast to bytes, which makes bytes
// of everything: no server converts a text on the way. Without the cast it is the separator that some convert. A value of CONCAT_WS that
// would be longer than max_allowed_packet is NULL.
func sqlRowDigest(t Table, skip []string, locators map[VolumeID]VolumeID) string {
	exprs := []string{"CAST(UNHEX('FF') AS BINARY)"}
	for _, c := range t.byName() {
		if strings.EqualFold(c.Name, t.idColumn()) || slices.Contains(skip, c.Name) {
			continue
		}
		value := ident(c.Name)
		switch {
		case c.kind == raw:
			value = "HEX(" + value + ")"
		case c.kind == text && c.Charset != "utf8mb3" && c.Charset != "utf8mb4":
			value = "CONVERT(" + value + " USING utf8mb4)"
		}
		if t.HasLocator() && c.Name == locatorColumn && len(locators) > 0 {
			value = sqlMappedLocator(value, locators)
		}
		exprs = append(exprs, value) // which CONCAT_WS leaves out if it is NULL
		if c.Nullable {
			exprs = append(exprs, "x'FE'") // and not UNHEX, which servers would compute for every row
		}
	}
	if len(exprs) == 1 {
		exprs = append(exprs, "''")
	}
	return "SHA1(CONCAT_WS(" + strings.Join(exprs, ",") + "))"
}

// sqlMappedLocator is what a source's locator must be at the destination. One that the map does not have gets a value that no row may have.
func sqlMappedLocator(value string, locators map[VolumeID]VolumeID) string {
	var b strings.Builder
	b.WriteString("(CASE CAST(" + value + " AS BINARY)")
	for _, from := range slices.Sorted(maps.Keys(locators)) {
		fmt.Fprintf(&b, " WHEN '%d' THEN '%d'", from, locators[from])
	}
	b.WriteString(" ELSE CONCAT('?'," + value + ") END)")
	return b.String()
}

// sqlHashes are the digests of a table's rows, each behind the value of the bucket column, or 0 in a table that has none. To add
// them up would cost the server half as much again as making them: it has no cheap way from a digest to numbers.
func sqlHashes(t Table, group int, id MailboxID, skip []string, locators map[VolumeID]VolumeID, spans []span) string {
	return "SELECT " + sqlBucketValue(t) + "," + sqlRowDigest(t, skip, locators) + sqlRange(t, group, id, spans)
}

// sqlPackedHashes are the number of rows and all their digests in one text. The server cuts a text that is too long for it, and leaves out
// rows whose digest is NULL.
func sqlPackedHashes(t Table, group int, id MailboxID, skip []string, locators map[VolumeID]VolumeID, spans []span) string {
	return "SELECT COUNT(*),GROUP_CONCAT(" + sqlBucketValue(t) + "," + sqlRowDigest(t, skip, locators) + ",';' SEPARATOR '')" + sqlRange(t, group, id, spans)
}

func sqlBucketValue(t Table) string {
	if t.bucket == "" {
		return "0"
	}
	return ident(t.bucket)
}

// sqlCensus counts a table's rows by cell.
func sqlCensus(t Table, group int, id MailboxID, width int64) string {
	return fmt.Sprintf("SELECT %s DIV %d AS cell, COUNT(*)%s GROUP BY cell", ident(t.bucket), width, sqlWhere(t, group, id))
}

// sqlAny selects the places of those tables where the mailbox has rows.
func sqlAny(tables []Table, group int, id MailboxID) string {
	var parts []string
	for i, t := range tables {
		parts = append(parts, fmt.Sprintf("(SELECT %d%s LIMIT 1)", i, sqlWhere(t, group, id)))
	}
	return strings.Join(parts, " UNION ALL ")
}

// sqlAnySpans looks for a row of some ids.
func sqlAnySpans(t Table, group int, id MailboxID, spans []span) string {
	return "SELECT 1" + sqlWhere(t, group, id) + sqlSpans(t, spans) + " LIMIT 1"
}

// sqlRowDigests selects each row's key without the mailbox id and its digest, in an order that Go can follow: numbers as numbers, everything
// else by its bytes. What is not a number is shown by its MD5 only, as it may be somebody's address.
func sqlRowDigests(t Table, group int, id MailboxID, locators map[VolumeID]VolumeID, spans []span) string {
	digest := sqlRowDigest(t, nil, locators)
	where := sqlWhere(t, group, id) + sqlSpans(t, spans)
	if len(t.Key) == 0 {
		return "SELECT " + digest + " AS h" + where + " ORDER BY h"
	}
	var exprs, order []string
	for _, c := range t.keyColumns() {
		name := ident(c.Name)
		if c.kind != number {
			exprs, order = append(exprs, "HEX("+name+")", "MD5("+name+")"), append(order, "HEX("+name+")")
			continue
		}
		exprs, order = append(exprs, name), append(order, name)
	}
	stmt := "SELECT " + strings.Join(append(exprs, digest), ",") + where
	if len(order) > 0 {
		stmt += " ORDER BY " + strings.Join(order, ",")
	}
	return stmt
}

// sqlOrphans counts the rows of a mailbox whose foreign key refers to nothing.
func sqlOrphans(t, parent Table, fk ForeignKey, group int, id MailboxID) string {
	stmt := fmt.Sprintf("SELECT COUNT(*) FROM %s c WHERE c.%s = %d", t.quoted(group), ident(t.idColumn()), id)
	var join []string
	for i, name := range fk.Columns {
		stmt += " AND c." + ident(name) + " IS NOT NULL"
		join = append(join, "p."+ident(fk.References[i])+" = c."+ident(name))
	}
	return stmt + " AND NOT EXISTS (SELECT 1 FROM " + parent.quoted(group) + " p WHERE " + strings.Join(join, " AND ") + ")"
}

func sqlCount(t Table, group int, id MailboxID) string {
	return "SELECT COUNT(*)" + sqlWhere(t, group, id)
}

// sqlCountInLock is sqlCount for a table that is looked at while a user waits. volume_blobs has an index that begins with the volume, and none
// that begins with the mailbox id.
func sqlCountInLock(t Table, group int, id MailboxID) string {
	stmt := sqlCount(t, group, id)
	if t.inZimbra() && t.Name == "volume_blobs" {
		stmt += " AND volume_id IN (SELECT id FROM zimbra.volume)"
	}
	return stmt
}

// sqlDeleteSpans deletes the rows of some ids; no spans: all rows of the mailbox.
func sqlDeleteSpans(t Table, group int, id MailboxID, spans []span) string {
	return "DELETE" + sqlWhere(t, group, id) + sqlSpans(t, spans)
}

// sqlDelete deletes some of a mailbox's rows.
func sqlDelete(t Table, group int, id MailboxID, limit int) string {
	return fmt.Sprintf("DELETE%s LIMIT %d", sqlWhere(t, group, id), limit)
}

// sqlLocators counts rows by locator. Bytes, as the column's collation takes '1' and '1 ' for the same.
func sqlLocators(t Table, group int, id MailboxID) string {
	return "SELECT CAST(locator AS BINARY) AS l, COUNT(*)" + sqlWhere(t, group, id) + " AND locator IS NOT NULL GROUP BY l"
}

// sqlBlobPage selects the blobs of one table behind a key.
func sqlBlobPage(t Table, group int, id MailboxID, item, version uint32, limit int) string {
	if t.column("version") == nil {
		return fmt.Sprintf("SELECT id, 0, mod_content, CAST(locator AS BINARY), size, blob_digest%s AND id > %d AND locator IS NOT NULL ORDER BY id LIMIT %d",
			sqlWhere(t, group, id), item, limit)
	}
	return fmt.Sprintf("SELECT item_id, version, mod_content, CAST(locator AS BINARY), size, blob_digest%s"+
		" AND item_id >= %d AND (item_id > %d OR version > %d) AND locator IS NOT NULL ORDER BY item_id, version LIMIT %d",
		sqlWhere(t, group, id), item, item, version, limit)
}

// sqlHighest is the largest value that a mailbox has in any of the columns. What mailboxd hands out is a signed number; a larger one is none
// of its counters'.
func sqlHighest(t Table, group int, id MailboxID, columns []string) string {
	exprs := []string{"0"}
	for _, name := range columns {
		exprs = append(exprs, "COALESCE(MAX(CASE WHEN "+ident(name)+" <= 2147483647 THEN "+ident(name)+" END),0)")
	}
	return "SELECT GREATEST(" + strings.Join(exprs, ",") + ")" + sqlWhere(t, group, id)
}

// sqlMailboxRow selects the mailbox row, each column as text.
func sqlMailboxRow(t Table, id MailboxID) string {
	var exprs []string
	for _, c := range t.byName() {
		exprs = append(exprs, "CAST("+ident(c.Name)+" AS CHAR)")
	}
	return "SELECT " + strings.Join(exprs, ",") + sqlWhere(t, 0, id)
}

// Publishing.
const (
	sqlUptime        = "SHOW GLOBAL STATUS LIKE 'Uptime'"
	sqlIndexVolume   = "SELECT COUNT(*) FROM zimbra.volume WHERE id = ? AND type = 10"
	sqlMessageVolume = "SELECT COUNT(*) FROM zimbra.volume WHERE id = ? AND type <> 10"
	sqlIntendMailbox = "UPDATE zimbra.mailbox SET group_id = ?, index_volume_id = ?, last_backup_at = NULL, comment = ?, item_id_checkpoint = ?," +
		" change_checkpoint = ? WHERE id = ? AND account_id = ?"
	sqlDeleteDeletedAccount = "DELETE FROM zimbra.deleted_account WHERE email = ? AND account_id = ? AND mailbox_id = ?"
	sqlInsertDeletedAccount = "INSERT INTO zimbra.deleted_account (email, account_id, mailbox_id, deleted_at) VALUES (?, ?, ?, ?)"
	sqlMakeFlush            = "CREATE TABLE IF NOT EXISTS %s (dummy_column INT) ENGINE=InnoDB"
	sqlDropFlush            = "DROP TABLE IF EXISTS %s"
)
