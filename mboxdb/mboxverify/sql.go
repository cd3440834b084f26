package mboxverify

import (
	"fmt"
	"strings"
)

// Every SQL statement of the package is in this file. MySQL 5.6 and MariaDB 10.1 parse them all.

// What the two sessions are. The limit of rows is set because a session that had one would end every table early, and both alike. A
// limit for a statement's time has two names, and none on the oldest servers. Keys of InnoDB have up to 3,072 bytes, all of which count when they
// are sorted.
const (
	sqlSession = "SET SESSION sql_mode='', time_zone='+00:00', character_set_client=utf8mb4, character_set_connection=utf8mb4," +
		" character_set_results=utf8mb4, sql_select_limit=18446744073709551615, sql_big_selects=1, max_sort_length=8192," +
		" /*M!100101 max_statement_time=0,*/ /*!50708 max_execution_time=0,*/ net_write_timeout=600, wait_timeout=600, lock_wait_timeout=10"
	sqlReadOnly = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY"

	sqlFind  = "SELECT id, group_id FROM zimbra.mailbox WHERE account_id = ?"
	sqlGroup = "SELECT group_id FROM zimbra.mailbox WHERE id = ?"

	// Joined, these two take a server a hundred times as long.
	sqlTables     = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'"
	sqlColumns    = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = ?"
	sqlUniqueKeys = "SELECT table_name, index_name, column_name, sub_part IS NOT NULL FROM information_schema.statistics" +
		" WHERE table_schema = ? AND non_unique = 0 ORDER BY table_name, index_name <> 'PRIMARY', index_name, seq_in_index"
)

// sqlFrom selects a mailbox's rows. The id stands in the text: a statement without arguments is answered in text, and needs no prepared one.
func sqlFrom(t *table, id uint32) string {
	return fmt.Sprintf(" FROM %s.%s WHERE %s = %d", quote(t.database), quote(t.name), quote(t.id), id)
}

func sqlCount(t *table, id uint32) string { return "SELECT COUNT(*)" + sqlFrom(t, id) }

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// sqlRows reads a mailbox's rows, in an order that Go can follow: numbers as such, everything else by its bytes. Times and decimals come as
// text, whatever the caller's driver is told to make of them; texts and bytes come as they are, as a function's value may not be longer than
// a packet.
func sqlRows(t *table, id uint32, sel selected) string {
	exprs := []string{"1"} // a table may have no other column
	for _, f := range sel.columns {
		expr := quote(f.name)
		if f.kind == shown {
			expr = "CAST(" + expr + " AS CHAR)"
		}
		exprs = append(exprs, expr)
	}
	stmt := "SELECT " + strings.Join(exprs, ",") + sqlFrom(t, id)
	var order []string
	for _, i := range sel.key {
		expr := exprs[i+1]
		switch f := sel.columns[i]; {
		case f.kind == integer:
		case f.kind == shown || f.text:
			expr = "CAST(CONVERT(" + expr + " USING utf8mb4) AS BINARY)"
		default:
			expr = "CAST(" + expr + " AS BINARY)"
		}
		order = append(order, expr)
	}
	if len(order) > 0 {
		stmt += " ORDER BY " + strings.Join(order, ",")
	}
	return stmt
}
