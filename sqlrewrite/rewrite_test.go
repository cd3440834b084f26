package sqlrewrite_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/sqlrewrite"
)

// moved are the rules of a mailbox that gets another id, another group and other volumes.
func moved() sqlrewrite.Rules {
	return sqlrewrite.Rules{
		Columns: []sqlrewrite.Column{
			{Database: "mboxgroup34", Table: "mail_item", Column: "mailbox_id", Map: map[string]string{"1234": "1052700"}},
			{Database: "mboxgroup34", Table: "mail_item", Column: "locator", Map: map[string]string{"1": "5", "3": "5"}},
			{Database: "mboxgroup34", Table: "tag", Column: "mailbox_id", Map: map[string]string{"1234": "1052700"}},
		},
		Databases: map[string]string{"mboxgroup34": "mboxgroup7"},
		Unknown:   sqlrewrite.Refuse,
	}
}

const movedIn = "-- zmlift dump, format 1\n" +
	"-- mailbox 1234 of account x in mboxgroup34\n" +
	"SET NAMES utf8mb4;\n" +
	"SET SESSION time_zone='+00:00', foreign_key_checks=0, sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO';\n" +
	"INSERT INTO `mboxgroup34`.`mail_item` (`mailbox_id`,`id`,`locator`,`subject`,`metadata`) VALUES\n" +
	"(1234,257,'1','it''s \\' (1234,x','d1:a\\0\\n\\r\\Z\\\"\\\\'),\n" +
	"(1234,258,NULL,NULL,0x00ff),\n" +
	"(1234,1234,'3','','\\\\');\n" +
	"INSERT INTO `mboxgroup34`.`mail_item` (`mailbox_id`,`id`,`locator`,`subject`,`metadata`) VALUES\n" +
	"(1234,-1.5,'1',1234,'1234');\n" +
	"INSERT INTO `mboxgroup34`.`tag` (`mailbox_id`,`name`) VALUES\n" +
	"(1234,'\xf0\x9f\x92\x8c');\n" +
	"-- Dump completed {\"v\":1}\n"

func rewrite(t *testing.T, rules sqlrewrite.Rules, in string) (string, sqlrewrite.Stats, error) {
	t.Helper()
	r, err := sqlrewrite.Compile(rules)
	require.NoError(t, err)
	var out bytes.Buffer
	stats, err := r.Rewrite(t.Context(), &out, strings.NewReader(in))
	var single bytes.Buffer
	again, serr := r.Rewrite(t.Context(), &single, iotest.OneByteReader(strings.NewReader(in)))
	require.Equal(t, err, serr, "byte by byte")
	require.Equal(t, out.String(), single.String(), "byte by byte")
	require.Equal(t, stats, again, "byte by byte")
	return out.String(), stats, err
}

func TestMovedMailbox(t *testing.T) {
	want := strings.NewReplacer("(1234,x", "(1234,x", "(1234,", "(1052700,", "257,'1'", "257,'5'", ",'3',", ",'5',", "-1.5,'1'", "-1.5,'5'", "`mboxgroup34`", "`mboxgroup7`",
		"(1234,),", "(1234,),").Replace(movedIn)
	out, stats, err := rewrite(t, moved(), movedIn)
	require.NoError(t, err)
	require.Equal(t, want, out)
	require.Equal(t, sqlrewrite.Stats{Rows: 5, Changed: []int64{4, 3, 1}, Complete: true}, stats)
}

// TestCut cuts a dump everywhere: what comes out is a prefix of the right output, and never ends behind a row that no comma follows.
func TestCut(t *testing.T) {
	r, err := sqlrewrite.Compile(moved())
	require.NoError(t, err)
	var whole bytes.Buffer
	_, err = r.Rewrite(t.Context(), &whole, strings.NewReader(movedIn))
	require.NoError(t, err)
	for i := range len(movedIn) {
		var out bytes.Buffer
		stats, err := r.Rewrite(t.Context(), &out, strings.NewReader(movedIn[:i]))
		require.Truef(t, strings.HasPrefix(whole.String(), out.String()), "cut at %d: %q", i, out.String())
		if err == nil {
			require.False(t, stats.Complete && i < len(movedIn)-len(" {\"v\":1}\n"), "cut at %d", i)
			continue
		}
		require.ErrorIsf(t, err, sqlrewrite.ErrTruncated, "cut at %d", i)
		var serr *sqlrewrite.SyntaxError
		require.True(t, errors.As(err, &serr))
		require.EqualValues(t, i, serr.Offset)
		require.Falsef(t, strings.HasSuffix(strings.TrimSpace(out.String()), ")"), "cut at %d: %q", i, out.String())
	}
}
