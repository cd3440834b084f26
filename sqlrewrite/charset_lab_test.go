package sqlrewrite_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/sqlrewrite"
)

// TestCharsets asks the server about every charset that Compile accepts. Its ASCII must be ASCII, nothing else may be (except for a second
// backslash, of which the rules know), and strings and names must end where the server says that they end.
func TestCharsets(t *testing.T) {
	db := lab.Shared(t).Stores[0].RootDB(t)
	rows, err := db.QueryContext(t.Context(), "SELECT character_set_name FROM information_schema.character_sets ORDER BY 1")
	require.NoError(t, err)
	defer rows.Close()
	var accepted []string
	for rows.Next() {
		var charset string
		require.NoError(t, rows.Scan(&charset))
		rules := sqlrewrite.Rules{
			Columns: []sqlrewrite.Column{{Table: "t", Column: "b", Map: map[string]string{"1234": "91234"}}},
			Context: sqlrewrite.Context{Charset: charset, Columns: map[string][]string{"t": {"a", "b", "c"}}},
		}
		if r, err := sqlrewrite.Compile(rules); err == nil {
			accepted = append(accepted, charset)
			t.Run(charset, func(t *testing.T) { checkCharset(t, charset, r) })
		} else {
			require.ErrorContains(t, err, charset)
		}
	}
	require.NoError(t, rows.Err())
	require.Greater(t, len(accepted), 30)
	require.NotContains(t, accepted, "swe7")
	require.Subset(t, accepted, []string{"utf8mb4", "latin1", "sjis", "gbk", "big5", "cp932", "binary"})
}

func checkCharset(t *testing.T, charset string, r *sqlrewrite.Rewriter) {
	conn, err := lab.Shared(t).Stores[0].RootDB(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()

	var odd []string
	rows, err := conn.QueryContext(t.Context(), fmt.Sprintf(`SELECT HEX(seq), HEX(u) FROM (SELECT seq, CONVERT(CONVERT(UNHEX(HEX(seq)) USING %s) USING utf8mb4) u FROM mysql.seq_0_to_65535) x
		WHERE seq >= 128 AND LENGTH(u) = 1 AND seq NOT BETWEEN 256 AND 32767 AND u <> '?' OR seq < 128 AND CONVERT(u USING binary) <> CHAR(seq)`, charset))
	require.NoError(t, err)
	for rows.Next() {
		var code, char string
		require.NoError(t, rows.Scan(&code, &char))
		odd = append(odd, code+" is "+char)
	}
	require.NoError(t, rows.Close())
	want := map[string][]string{"sjis": {"815F is 5C"}, "ujis": {"A1C0 is 5C"}}
	require.Equal(t, want[charset], odd, "codes that are not ASCII and characters that are, or the reverse")

	_, err = conn.ExecContext(t.Context(), "SET NAMES "+charset)
	require.NoError(t, err)
	for c := 0x80; c <= 0xff; c++ {
		// White space to the server is none in the text of a body.
		if _, err := conn.ExecContext(t.Context(), "SELECT"+string([]byte{byte(c)})+"1"); err == nil {
			_, err := r.Rewrite(t.Context(), io.Discard, strings.NewReader("CREATE VIEW v AS SELECT"+string([]byte{byte(c)})+"1;"))
			require.Error(t, err, "%s %x", charset, c)
		}
	}
	var double []byte
	for lead := 0x80; lead <= 0xff; lead++ {
		for _, q := range []string{`'`, "`"} {
			// Either the quote ends what the first one began, and there are three values, or it does not, and a comment ends the statement.
			values := fmt.Sprintf("'%c\\',1234,'-- '", 'L')
			if q == "`" {
				values = "`L`,1234,`-- `"
			}
			values = strings.Replace(values, "L", string([]byte{byte(lead)}), 1)
			columns := 0
			if q == "'" {
				rows, err := conn.QueryContext(t.Context(), "SELECT "+values)
				require.NoError(t, err)
				names, err := rows.Columns()
				require.NoError(t, err)
				require.NoError(t, rows.Close())
				columns = len(names)
			} else {
				_, err := conn.ExecContext(t.Context(), "SELECT 1 AS "+values)
				var merr *mysql.MySQLError
				switch {
				case err == nil:
					columns = 1
				case errors.As(err, &merr) && merr.Number == 1054: // there is no column of the last name
					columns = 3
				default:
					continue // not a name at all, and the server does not say where it ended
				}
			}
			var out bytes.Buffer
			_, err = r.Rewrite(t.Context(), &out, strings.NewReader("INSERT INTO t VALUES ("+values+");\n"))
			if columns == 3 {
				require.NoError(t, err, "%s %x %s", charset, lead, q)
				require.Contains(t, out.String(), "91234", "%s %x %s", charset, lead, q)
			} else {
				require.ErrorIs(t, err, sqlrewrite.ErrTruncated, "%s %x %s", charset, lead, q)
			}
			if (columns == 3) == (q == "'") {
				double = append(double, byte(lead))
			}
		}
	}
	require.Equal(t, slices.Contains([]string{"sjis", "cp932", "gbk", "big5"}, charset), len(double) > 50, "%x", double)
}
