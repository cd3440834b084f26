package mboxdb_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxverify"
)

// flip is another value of a column, by its type, that fits whatever the value was and is never equal to it.
func flip(c mboxdb.Column) string {
	var other string
	dataType, _, _ := strings.Cut(strings.Fields(c.Type)[0], "(")
	switch dataType {
	case "tinyint", "int", "bigint", "smallint", "mediumint":
		other = "IF(%[1]s > 0, %[1]s - 1, %[1]s + 1)"
	case "datetime", "timestamp":
		other = "IF(%[1]s > '2000-01-01', %[1]s - INTERVAL 1 SECOND, %[1]s + INTERVAL 1 SECOND)"
	case "enum":
		other = "IF(%[1]s = 'Admin', 'User', 'Admin')" // there is one
	case "date":
		other = "IF(%[1]s > '2000-01-01', %[1]s - INTERVAL 1 DAY, '2000-01-02')"
	case "varchar", "char", "text", "mediumtext":
		other = "IF(LENGTH(%[1]s) > 0, INSERT(%[1]s, CHAR_LENGTH(%[1]s), 1, IF(BINARY RIGHT(%[1]s, 1) = 'q', 'Q', 'q')), 'q')"
	default:
		return ""
	}
	other = fmt.Sprintf(other, "`"+c.Name+"`")
	if c.Nullable {
		return fmt.Sprintf("IF(`%s` IS NULL, %s, %s)", c.Name, map[bool]string{true: "0", false: "''"}[strings.HasSuffix(dataType, "int")], other)
	}
	return other
}

// A flipper changes single values of one table on one side, and puts them back.
type flipper struct {
	t     *testing.T
	conn  *sql.Conn
	table mboxdb.Table
	from  string // and the condition for the mailbox's rows
	rows  [][]sql.NullString

	column   string // what is flipped, "" nothing
	was, row []sql.NullString
}

// flippers are those of all tables of one side that have rows to flip.
func (m *move) flippers(t *testing.T, tables []mboxdb.Table, side string) []*flipper {
	t.Helper()
	pool, group, id := m.dstRoot, m.to.Group, m.to.ID
	if side == "source" {
		pool, group, id = m.srcRoot, m.from.Group, m.from.ID
	}
	conn, err := pool.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = conn.ExecContext(t.Context(), "SET SESSION foreign_key_checks=0, sql_mode='STRICT_ALL_TABLES,ALLOW_INVALID_DATES', time_zone='+00:00'")
	require.NoError(t, err)
	var all []*flipper
	for _, table := range tables {
		f := &flipper{t: t, conn: conn, table: table, from: fmt.Sprintf("mboxgroup%d.%s WHERE mailbox_id = %d", group, table.Name, id)}
		switch {
		case table.String() == "zimbra.mailbox":
			f.from = fmt.Sprintf("zimbra.mailbox WHERE id = %d", id)
		case table.Database == "zimbra":
			f.from = fmt.Sprintf("zimbra.%s WHERE mailbox_id = %d", table.Name, id)
		}
		var exprs []string
		for _, c := range table.Columns {
			exprs = append(exprs, "CAST(`"+c.Name+"` AS CHAR)")
		}
		rows, err := conn.QueryContext(t.Context(), "SELECT "+strings.Join(exprs, ",")+" FROM "+f.from)
		require.NoError(t, err)
		for rows.Next() {
			values, dest := make([]sql.NullString, len(exprs)), make([]any, len(exprs))
			for i := range values {
				dest[i] = &values[i]
			}
			require.NoError(t, rows.Scan(dest...))
			f.rows = append(f.rows, values)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		require.NotEmpty(t, f.rows, table)
		all = append(all, f)
	}
	return all
}

// where selects a row, or rows that are equal, by all values.
func (f *flipper) where(row []sql.NullString) string {
	s := f.from
	for i, v := range row {
		if !v.Valid {
			s += fmt.Sprintf(" AND `%s` IS NULL", f.table.Columns[i].Name)
			continue
		}
		s += fmt.Sprintf(" AND BINARY CAST(`%s` AS CHAR) = X'%x'", f.table.Columns[i].Name, v.String)
	}
	return s
}

// set writes one value, and leaves a time alone that would set itself.
func (f *flipper) set(i int, row []sql.NullString, to sql.NullString) error {
	stmt := fmt.Sprintf("`%s` = ?", f.table.Columns[i].Name)
	for j, c := range f.table.Columns {
		if j != i && strings.HasPrefix(c.Type, "timestamp") {
			stmt += fmt.Sprintf(", `%[1]s` = `%[1]s`", c.Name)
		}
	}
	name, where, _ := strings.Cut(f.where(row), " WHERE ")
	res, err := f.conn.ExecContext(f.t.Context(), "UPDATE "+name+" SET "+stmt+" WHERE "+where+" LIMIT 1", to)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	require.NoError(f.t, err)
	require.Equal(f.t, int64(1), n, "%s.%s", f.table, f.table.Columns[i].Name)
	return nil
}

// flip gives a column of one row another value. A key may stand in the way: the next row then.
func (f *flipper) flip(i int) {
	c := f.table.Columns[i]
	name := fmt.Sprintf("%s.%s", f.table, c.Name)
	expr := flip(c)
	require.NotEmpty(f.t, expr, "%s: type %s", name, c.Type)
	if f.table.HasLocator() && c.Name == "locator" {
		expr = "'9'" // a volume that neither side has; two volumes of the source that map to one are equal at the destination
	}
	for n := range f.rows {
		row := f.rows[(i+n)%len(f.rows)]
		if f.table.HasLocator() && c.Name == "locator" && !row[i].Valid {
			continue
		}
		var to sql.NullString
		require.NoError(f.t, f.conn.QueryRowContext(f.t.Context(), fmt.Sprintf("SELECT CAST(%s AS CHAR) FROM %s LIMIT 1", expr, f.where(row))).Scan(&to), name)
		if f.set(i, row, to) == nil {
			f.column, f.was, f.row = c.Name, row, slices.Clone(row)
			f.row[i] = to
			return
		}
	}
	require.Fail(f.t, "no row took another value", name)
}

func (f *flipper) back(i int) {
	if f.column == "" {
		return
	}
	require.NoError(f.t, f.set(i, f.row, f.was[i]))
	f.column = ""
}

// requireNamed wants the second verifier to have found exactly what is flipped: one row of each table, and the column.
func requireNamed(t *testing.T, flipped map[string]*flipper, err error, what string) {
	t.Helper()
	var mismatch *mboxverify.MismatchError
	require.ErrorAs(t, err, &mismatch, what)
	require.Len(t, mismatch.Tables, len(flipped), "%s: %v", what, err)
	for _, found := range mismatch.Tables {
		f := flipped[found.Name]
		require.NotNil(t, f, "%s: %v", what, found)
		if slices.Contains(f.table.Key, f.column) && found.Name != "zimbra.mailbox" {
			kinds := []mboxverify.Kind{found.Rows[0].Kind, found.Rows[len(found.Rows)-1].Kind}
			slices.Sort(kinds)
			require.Equal(t, []mboxverify.Kind{mboxverify.Extra, mboxverify.Missing}, kinds, "%s: %v", what, found)
			continue
		}
		require.Len(t, found.Rows, 1, "%s: %v", what, found)
		require.Equal(t, []string{f.column}, found.Rows[0].Columns, "%s: %v", what, found)
	}
}

// A single value that is another one is found and named, whichever row's and column's it is, on either side, by both verifiers and by Diff. One column of every
// table is flipped at a time.
func TestEveryColumnCounts(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 120)
	c := m.copy(t)
	_, err := c.Load(ctx) // without memory of its writing: else somebody else's would be reported
	require.NoError(t, err)
	tables, err := m.srcDB.Tables(ctx, m.from.Group)
	require.NoError(t, err)
	tables = slices.DeleteFunc(tables, func(t mboxdb.Table) bool { return t.Database != "mboxgroup" })
	total := 0
	for _, side := range []string{"source", "destination"} {
		flippers := m.flippers(t, tables, side)
		for i := 0; ; i++ {
			flipped := map[string]*flipper{}
			for _, f := range flippers {
				if i < len(f.table.Columns) && f.table.Columns[i].Name != "mailbox_id" {
					f.flip(i)
					flipped[f.table.String()] = f
				}
			}
			if total += len(flipped); len(flipped) == 0 && i > 0 {
				break
			}
			what := fmt.Sprintf("column %d, %s", i, side)
			d, err := c.Diff(ctx)
			require.NoError(t, err, what)
			found := d.Tables()
			require.Len(t, found, len(flipped), what)
			if len(flipped) > 0 {
				_, err = c.Verify(ctx)
				_, second := m.second(t)
				requireAgreed(t, err, second, what)
				requireNamed(t, flipped, second, what)
				var mismatch *mboxdb.MismatchError
				require.ErrorAs(t, err, &mismatch, what)
				for _, d := range found {
					require.NotNil(t, flipped[d.Table], "%s: %s", what, d.Table)
					j := slices.IndexFunc(mismatch.Tables, func(m mboxdb.TableMismatch) bool { return m.Table == d.Table })
					require.NotEmpty(t, mismatch.Tables[j].Keys, "%s: %s", what, d.Table)
					if d.Column == "" {
						continue
					}
					require.NotEmpty(t, d.IDs, "%s: %s", what, d.Table)
					for _, k := range mismatch.Tables[j].Keys {
						require.True(t, named(d, k.Key), "%s: %s: %s is not among %v", what, d.Table, k.Key, d.IDs)
					}
				}
				_, err = c.Prove(ctx, d)
				require.ErrorAs(t, err, &mismatch, "%s: not applied", what)
				require.Len(t, mismatch.Tables, len(flipped), what)
			}
			for _, f := range flippers {
				f.back(i)
			}
		}
	}
	require.Equal(t, 2*130, total)
	d, err := c.Diff(ctx)
	require.NoError(t, err)
	require.True(t, d.Empty(), "everything was put back")
	m.requireSame(t, "everything was put back")
	require.NoError(t, c.Remove(ctx, elsewhere))
}

// The same for the tables of zimbra, which Publish proves. What it sets on purpose at the destination may be anything at the source.
func TestEveryPublishedColumnCounts(t *testing.T) {
	ctx := t.Context()
	m := loaded(t, 40)
	c := m.copy(t)
	_, err := c.Publish(ctx)
	require.NoError(t, err)
	tables, err := m.srcDB.Tables(ctx, 0)
	require.NoError(t, err)
	tables = slices.DeleteFunc(tables, func(t mboxdb.Table) bool { return !t.Moved() })
	require.Len(t, tables, 7)
	total, free := 0, 0
	for _, side := range []string{"source", "destination"} {
		flippers := m.flippers(t, tables, side)
		for i := 0; ; i++ {
			flipped, any := map[string]*flipper{}, false
			for _, f := range flippers {
				if any = any || i < len(f.table.Columns); i >= len(f.table.Columns) {
					continue
				}
				switch name := f.table.Columns[i].Name; {
				case name == "mailbox_id", f.table.Name == "mailbox" && slices.Contains([]string{"id", "group_id", "account_id"}, name):
					continue // which rows they are: below
				case side == "source" && (name == "item_id_checkpoint" || name == "change_checkpoint"):
					continue // a lower one is below what Publish took, but not below what it may be
				case side == "source" && f.table.Name == "mailbox" && slices.Contains([]string{"index_volume_id", "last_backup_at", "comment"}, name):
					f.flip(i)
					free++
				default:
					f.flip(i)
					flipped[f.table.String()] = f
				}
			}
			if !any {
				break
			}
			total += len(flipped)
			what := fmt.Sprintf("column %d, %s", i, side)
			_, err := c.Publish(ctx)
			_, second := m.second(t)
			requireAgreed(t, err, second, what)
			if len(flipped) > 0 {
				requireNamed(t, flipped, second, what)
			}
			for _, f := range flippers {
				f.back(i)
			}
		}
	}
	require.Equal(t, 113, total)
	require.Equal(t, 3, free)
	_, err = c.Publish(ctx)
	require.NoError(t, err, "everything was put back")
	for _, column := range []string{"group_id", "account_id"} {
		for _, side := range []string{"source", "destination"} {
			f := m.flippers(t, tables, side)[6]
			i := slices.IndexFunc(f.table.Columns, func(c mboxdb.Column) bool { return c.Name == column })
			f.flip(i)
			_, err := c.Publish(ctx)
			require.Error(t, err, "%s, %s", column, side)
			_, err = m.second(t)
			require.Error(t, err, "%s, %s", column, side)
			f.back(i)
		}
	}
	m.leave(t)
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
