package mboxdb_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// flip is another value of a column, by its type, that fits whatever the value was and is never equal to it.
func flip(column, dataType string, nullable bool) string {
	var other string
	switch dataType {
	case "tinyint", "int", "bigint", "smallint", "mediumint":
		other = "IF(%[1]s > 0, %[1]s - 1, %[1]s + 1)"
	case "datetime":
		other = "IF(%[1]s > '2000-01-01', %[1]s - INTERVAL 1 SECOND, %[1]s + INTERVAL 1 SECOND)"
	case "varchar", "char", "text", "mediumtext":
		other = "IF(LENGTH(%[1]s) > 0, INSERT(%[1]s, CHAR_LENGTH(%[1]s), 1, IF(BINARY RIGHT(%[1]s, 1) = 'q', 'Q', 'q')), 'q')"
	default:
		return ""
	}
	other = fmt.Sprintf(other, "`"+column+"`")
	if nullable {
		return fmt.Sprintf("IF(`%s` IS NULL, %s, %s)", column, map[bool]string{true: "0", false: "''"}[strings.HasSuffix(dataType, "int")], other)
	}
	return other
}

// A single column of a single row that is another one is found and named: every column of every table, on either side in turn.
func TestEveryColumnCounts(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 120)
	c := m.copy(t)
	_, err := c.Load(ctx) // without memory of its writing: else somebody else's would be reported
	require.NoError(t, err)
	d, err := c.Diff(ctx)
	require.NoError(t, err)
	require.True(t, d.Empty())
	tables, err := m.srcDB.Tables(ctx, m.from.Group)
	require.NoError(t, err)
	flipped := 0
	for _, table := range tables {
		if table.Database != "mboxgroup" {
			continue
		}
		for i, column := range table.Columns {
			if column.Name == "mailbox_id" {
				continue
			}
			pool, group, id := m.srcRoot, m.from.Group, m.from.ID
			if flipped++; flipped%2 == 0 {
				pool, group, id = m.dstRoot, m.to.Group, m.to.ID
			}
			name := fmt.Sprintf("%s.%s, side %d", table, column.Name, flipped%2)
			dataType, _, _ := strings.Cut(strings.Fields(column.Type)[0], "(")
			to := flip(column.Name, dataType, column.Nullable)
			require.NotEmpty(t, to, "%s: type %s", name, column.Type)
			if column.Name == "locator" {
				to = "'9'" // a volume that neither side has; two volumes of the source that map to one are equal at the destination
			}
			in := fmt.Sprintf("mboxgroup%d.%s", group, table.Name)
			conn, err := pool.Conn(ctx)
			require.NoError(t, err)
			exec := func(stmt string) int64 {
				res, err := conn.ExecContext(ctx, stmt)
				require.NoError(t, err, "%s: %s", name, stmt)
				n, err := res.RowsAffected()
				require.NoError(t, err)
				return n
			}
			exec("SET SESSION foreign_key_checks=0, sql_mode='STRICT_ALL_TABLES,ALLOW_INVALID_DATES', time_zone='+00:00'")
			exec(fmt.Sprintf("CREATE TEMPORARY TABLE %[1]s_was ENGINE=InnoDB AS SELECT * FROM %[1]s WHERE mailbox_id = %[2]d", in, id))
			// A key may stand in the way of another value: the next row then.
			was := rowsOf(t, conn, in, uint32(id))
			row := i % len(was)
			var done int64
			for range was {
				if column.Name != "locator" || !strings.Contains(was[row].where, "`locator` IS NULL") {
					var res sql.Result
					if res, err = conn.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET `%s` = %s WHERE mailbox_id = %d AND %s LIMIT 1", in, column.Name, to, id, was[row].where)); err == nil {
						done, err = res.RowsAffected()
						require.NoError(t, err)
					}
				}
				if done == 1 {
					break
				}
				row = (row + 1) % len(was)
			}
			require.Equal(t, int64(1), done, "%s: no row took another value", name)

			d, err := c.Diff(ctx)
			require.NoError(t, err, name)
			found := d.Tables()
			require.Len(t, found, 1, name)
			require.Equal(t, table.String(), found[0].Table, name)
			_, err = c.Verify(ctx)
			var mismatch *mboxdb.MismatchError
			require.ErrorAs(t, err, &mismatch, name)
			require.Len(t, mismatch.Tables, 1, name)
			require.NotEmpty(t, mismatch.Tables[0].Keys, name)
			if found[0].Column != "" {
				require.NotEmpty(t, found[0].IDs, name)
				for _, k := range mismatch.Tables[0].Keys {
					require.True(t, named(found[0], k.Key), "%s: %s is not among %v", name, k.Key, found[0].IDs)
				}
			}
			_, err = c.Prove(ctx, d)
			require.ErrorAs(t, err, &mismatch, "%s: not applied", name)

			exec(fmt.Sprintf("DELETE FROM %s WHERE mailbox_id = %d", in, id))
			exec(fmt.Sprintf("INSERT INTO %[1]s SELECT * FROM %[1]s_was", in))
			exec(fmt.Sprintf("DROP TEMPORARY TABLE %s_was", in))
			require.NoError(t, conn.Close())
		}
	}
	require.Equal(t, 130, flipped)
	d, err = c.Diff(ctx)
	require.NoError(t, err)
	require.True(t, d.Empty(), "everything was put back")
	require.NoError(t, c.Remove(ctx, nil))
}

// named says whether a difference has the id of a key: "id=257", or "item_id=257" among other columns.
func named(d mboxdb.TableDifference, key string) bool {
	for part := range strings.SplitSeq(key, ",") {
		var id int64
		if n, _ := fmt.Sscanf(part, d.Column+"=%d", &id); n == 1 {
			for _, r := range d.IDs {
				if r.From <= id && id <= r.To {
					return true
				}
			}
			return false
		}
	}
	return true // the key does not tell
}

// A whereRow is a condition that only one row meets, or rows that are equal.
type whereRow struct{ where string }

func rowsOf(t *testing.T, conn *sql.Conn, table string, id uint32) []whereRow {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), fmt.Sprintf("SELECT * FROM %s WHERE mailbox_id = %d", table, id))
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var out []whereRow
	for rows.Next() {
		values, dest := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		require.NoError(t, rows.Scan(dest...))
		var parts []string
		for i, v := range values {
			if v.Valid {
				parts = append(parts, fmt.Sprintf("BINARY CAST(`%s` AS CHAR) = X'%x'", columns[i], v.String))
				continue
			}
			parts = append(parts, fmt.Sprintf("`%s` IS NULL", columns[i]))
		}
		out = append(out, whereRow{strings.Join(parts, " AND ")})
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, out, table)
	return out
}
