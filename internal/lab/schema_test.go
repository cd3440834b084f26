package lab_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

// The files in testdata are Zimbra 10.1's own schema as MariaDB's information_schema tells it; the lab's SQL is written by
// hand and must come out the same.

func TestSchemaColumns(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	require.NoError(t, s.CreateGroup(t.Context(), 99))
	got := lines(t, s.RootDB(t), `SELECT CONCAT_WS('\t', IF(table_schema = 'zimbra', 'zimbra', 'mboxgroupN'), table_name, column_name,
			column_type, is_nullable, COALESCE(column_default, IF(is_nullable = 'YES', 'NULL', '<none>')), extra, COALESCE(collation_name, ''))
		FROM information_schema.columns WHERE table_schema IN ('zimbra', 'mboxgroup99')`)
	require.Equal(t, expected(t, "testdata/columns.tsv"), got)
}

func TestSchemaKeys(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	require.NoError(t, s.CreateGroup(t.Context(), 99))
	db := s.RootDB(t)
	got := lines(t, db, `SELECT CONCAT_WS('\t', IF(table_schema = 'zimbra', 'zimbra', 'mboxgroupN'), table_name, index_name,
			IF(index_name = 'PRIMARY', 'PRIMARY', IF(non_unique, 'INDEX', 'UNIQUE')),
			GROUP_CONCAT(column_name, IF(sub_part IS NULL, '', CONCAT('(', sub_part, ')')) ORDER BY seq_in_index), '', '', '')
		FROM information_schema.statistics WHERE table_schema IN ('zimbra', 'mboxgroup99') GROUP BY table_schema, table_name, index_name`)
	got = append(got, lines(t, db, `SELECT REPLACE(CONCAT_WS('\t', k.table_schema, k.table_name, k.constraint_name, 'FOREIGN KEY',
			GROUP_CONCAT(k.column_name ORDER BY k.ordinal_position),
			CONCAT(k.referenced_table_schema, '.', k.referenced_table_name),
			GROUP_CONCAT(k.referenced_column_name ORDER BY k.ordinal_position), r.delete_rule), 'mboxgroup99', 'mboxgroupN')
		FROM information_schema.key_column_usage k
		JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
		WHERE k.table_schema IN ('zimbra', 'mboxgroup99') AND k.referenced_table_name IS NOT NULL
		GROUP BY k.table_schema, k.table_name, k.constraint_name`)...)
	slices.Sort(got)
	want := expected(t, "testdata/keys.tsv")
	// MariaDB makes an index of its own for a foreign key that none serves, and names it after the key.
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %q", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) && !strings.Contains(line, "\tfk_") {
			t.Errorf("too much: %q", line)
		}
	}
}

func TestGroupsComeLazily(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := s.DB(t)
	require.NoError(t, s.CreateGroup(t.Context(), 96))
	_, err := db.Exec("INSERT INTO mboxgroup96.watch (mailbox_id, target, item_id) VALUES (1, 't', 2)")
	require.NoError(t, err)
	require.NoError(t, s.CreateGroup(t.Context(), 96), "the second time")
	var n int
	require.NoError(t, db.QueryRow("SELECT COUNT(*) FROM mboxgroup96.watch").Scan(&n))
	require.Equal(t, 1, n, "an existing group was touched")
	_, err = db.Exec("DROP DATABASE mboxgroup96")
	require.NoError(t, err)
	require.Error(t, db.QueryRowContext(context.Background(), "SELECT COUNT(*) FROM mboxgroup96.watch").Scan(&n))
}

// lines are the rows of a query with one column, sorted.
func lines(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		out = append(out, line)
	}
	require.NoError(t, rows.Err())
	slices.Sort(out)
	return out
}

func expected(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var out []string
	for in := bufio.NewScanner(f); in.Scan(); {
		out = append(out, in.Text())
	}
	require.NotEmpty(t, out, fmt.Sprintf("%s is empty", file))
	slices.Sort(out)
	return out
}
