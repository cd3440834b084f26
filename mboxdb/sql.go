package mboxdb

import (
	"fmt"
	"strings"
	"time"
)

// Every SQL statement of the package is in this file. They are written for the oldest servers that Zimbra came with: MySQL 5.6 and
// MariaDB 10.1 parse them all.
//
// Not to be found here: common table expressions, window functions, what a statement returns beside rows, locks that skip,
// statements that overwrite a row when a key exists (on mail_item they hit another row than the one meant, or cascade), and anything
// that sets a global variable.

// sqlMode makes a value that does not fit an error instead of another value, and takes any date that a source may have stored.
const sqlMode = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO"

// sqlSession are the settings of every session. Unique checks stay on: without them InnoDB may let a duplicate into a secondary index
// unnoticed, and newer servers load an empty table under an exclusive lock on all of it. wait_timeout ends what a paused mover left open.
func sqlSession(lockWait time.Duration) string {
	seconds := int(lockWait / time.Second)
	return fmt.Sprintf("SET SESSION sql_mode='%s', time_zone='+00:00', character_set_client=utf8mb4, character_set_connection=utf8mb4,"+
		" character_set_results=utf8mb4, foreign_key_checks=0, unique_checks=1, autocommit=1, sql_safe_updates=0, sql_auto_is_null=0,"+
		" sql_big_selects=1, sql_select_limit=18446744073709551615, wait_timeout=60, net_write_timeout=600,"+
		" lock_wait_timeout=%d, innodb_lock_wait_timeout=%d", sqlMode, seconds, seconds)
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

// literal quotes a string for the SQL mode of sqlSession.
func literal(s string) string {
	return string(appendString(nil, []byte(s)))
}

// The server's description of itself.
const (
	sqlDatabaseExists = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?"
	sqlTables         = "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'"
	sqlColumns        = "SELECT table_name, column_name, data_type, column_type, character_set_name, collation_name, is_nullable, extra" +
		" FROM information_schema.columns WHERE table_schema = ? ORDER BY table_name, ordinal_position"
	sqlKeys = "SELECT table_name, index_name, column_name, sub_part FROM information_schema.statistics" +
		" WHERE table_schema = ? AND non_unique = 0 ORDER BY table_name, index_name, seq_in_index"
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

	sqlMove          = "SELECT move_id, fence, is_open, mailbox_id, group_id, is_clean FROM zmlift.moves WHERE account_id = ?"
	sqlMoveShared    = sqlMove + " LOCK IN SHARE MODE"
	sqlMoveForUpdate = sqlMove + " FOR UPDATE"
	sqlInsertMove    = "INSERT INTO zmlift.moves (account_id, move_id, fence, is_open) VALUES (?, ?, ?, 1)"
	sqlUpdateMove    = "UPDATE zmlift.moves SET move_id = ?, fence = ?, is_open = 1 WHERE account_id = ?"
	sqlEndMove       = "UPDATE zmlift.moves SET is_open = 0 WHERE account_id = ?"
)

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
