package sqlrewrite_test

import (
	"bytes"
	"context"
	"errors"
	"io"
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

// ways are the two in which an input is read.
var ways = map[string]func(*sqlrewrite.Rewriter, context.Context, io.Writer, io.Reader) (sqlrewrite.Stats, error){
	"as it comes": (*sqlrewrite.Rewriter).Rewrite,
	"ahead":       (*sqlrewrite.Rewriter).RewriteAhead,
}

func rewrite(t *testing.T, rules sqlrewrite.Rules, in string) (string, sqlrewrite.Stats, error) {
	t.Helper()
	r, err := sqlrewrite.Compile(rules)
	require.NoError(t, err)
	var out bytes.Buffer
	stats, err := r.Rewrite(t.Context(), &out, strings.NewReader(in))
	for name, way := range ways {
		var single bytes.Buffer
		again, serr := way(r, t.Context(), &single, iotest.OneByteReader(strings.NewReader(in)))
		require.Equal(t, err, serr, name)
		require.Equal(t, out.String(), single.String(), name)
		require.Equal(t, stats, again, name)
	}
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

// TestStats: rows in all forms count, and a dump's closing line where one can stand.
func TestStats(t *testing.T) {
	for in, want := range map[string]sqlrewrite.Stats{
		"INSERT INTO x PARTITION (p,`q`) VALUES (1),(2);":      {Rows: 2},
		"REPLACE x PARTITION (p) (a,b) VALUES (1,2);":          {Rows: 1},
		"INSERT INTO x SET a=1, b=2;REPLACE x SET a=1;":        {Rows: 2},
		"INSERT INTO x PARTITION (p) SET a=1;":                 {Rows: 1},
		"INSERT INTO x (a) SELECT 1;":                          {},
		"SET @x=1;\n-- Dump completed on 2024-02-29\n\n \n":    {Complete: true},
		"SET @x=1;\n -- Dump completed\n":                      {},
		"SET @x=1;-- Dump completed\n":                         {},
		"SET @x=1;\n/**/-- Dump completed\n":                   {},
		"SET @x=1;\n-- Dump completed\n-- and more\n":          {},
		"SET @x=1;\n-- Dump completed\n-- Dump completed on x": {Complete: true},
		"-- Dump completed":                                    {Complete: true},
	} {
		_, got, err := rewrite(t, passRules(), in)
		require.NoError(t, err, in)
		want.Changed = []int64{0}
		require.Equal(t, want, got, in)
	}
}

// TestCutCases cuts all the inputs of TestGood everywhere: what comes out is a beginning of what comes out of the whole.
func TestCutCases(t *testing.T) {
	r := compile(t, caseRules())
	for _, c := range good {
		var whole bytes.Buffer
		_, _ = r.Rewrite(t.Context(), &whole, strings.NewReader(c.in))
		for i := range len(c.in) {
			var out bytes.Buffer
			_, _ = r.Rewrite(t.Context(), &out, strings.NewReader(c.in[:i]))
			require.Truef(t, strings.HasPrefix(whole.String(), out.String()), "%s cut at %d: %q", c.name, i, out.String())
		}
	}
}

// TestCutOutput: what comes out of the beginning of an input also comes out of the whole, when that is not understood behind the cut.
func TestCutOutput(t *testing.T) {
	r := compile(t, caseRules())
	for _, c := range refused {
		in := strings.Replace(c, "§", "", 1)
		for _, in := range []string{in, in + "/*", in + "--x", in + "/", "SET @x=1;--x", "SET @x=1;/x", "SET @x=1;/*!x */;", "SET @x=1;INSERT INTO x VALUES (1--x", "SET @x=1;#x"} {
			var whole bytes.Buffer
			_, _ = r.Rewrite(t.Context(), &whole, strings.NewReader(in))
			for i := range len(in) {
				var out bytes.Buffer
				_, err := r.Rewrite(t.Context(), &out, strings.NewReader(in[:i]))
				require.Truef(t, err == nil || strings.HasPrefix(whole.String(), out.String()), "%q, cut at %d: %q, not cut: %q", in, i, out.String(), whole.String())
			}
		}
	}
}

// TestForeignNames: names that are not ASCII are compared where the charset says what they are, and refused where it does not.
func TestForeignNames(t *testing.T) {
	rules := sqlrewrite.Rules{
		Columns:   []sqlrewrite.Column{{Database: "Büro", Table: "Größe`n", Column: "Länge", Map: map[string]string{"1": "2"}}},
		Databases: map[string]string{"Büro": "Äther"},
	}
	for in, want := range map[string]string{
		"USE `Büro`;INSERT INTO `Größe``n` (`LÄNGE`) VALUES (1);":                    "USE `Äther`;INSERT INTO `Größe``n` (`LÄNGE`) VALUES (2);",
		"INSERT INTO Büro.`Größe``n` (länge) VALUES (1);":                            "INSERT INTO `Äther`.`Größe``n` (länge) VALUES (2);",
		"USE `Büro`;INSERT INTO `größe``n` (x) VALUES (1);":                          "USE `Äther`;INSERT INTO `größe``n` (x) VALUES (1);",
		"SET NAMES utf8;USE `büro`;INSERT INTO `Größe``n` (`Länge`) VALUES (1);":     "SET NAMES utf8;USE `büro`;INSERT INTO `Größe``n` (`Länge`) VALUES (1);",
		"CREATE TABLE Büro.`Größe``n` (länge int);INSERT Büro.`Größe``n` VALUES(1);": "CREATE TABLE `Äther`.`Größe``n` (länge int);INSERT `Äther`.`Größe``n` VALUES(2);",
		"SET NAMES latin1;INSERT INTO x (y) VALUES (1);":                             "SET NAMES latin1;INSERT INTO x (y) VALUES (1);",
	} {
		out, _, err := rewrite(t, rules, in)
		require.NoError(t, err, in)
		require.Equal(t, want, out)
	}
	for _, in := range []string{
		"SET NAMES latin1;USE `B\xfcro`;", "SET NAMES latin1;INSERT INTO x.`Gr\xf6\xdfe``n` (y) VALUES (1);", "SET NAMES sjis;INSERT INTO x.\x83\x5c VALUES (1);",
		"SET NAMES gbk;INSERT INTO x.`\x81`` (y) VALUES (1);", "INSERT INTO `Gr\xf6\xdfe` (y) VALUES (1);",
	} {
		_, _, err := rewrite(t, rules, in)
		require.Error(t, err, "%q", in)
	}
}

// TestSecondBackslash: in sjis and ujis a character of two bytes is a backslash to the server, and a rule may be about that.
func TestSecondBackslash(t *testing.T) {
	rules := passRules()
	rules.Columns[0].Map = map[string]string{`\`: "x"}
	for in, ok := range map[string]bool{
		"SET NAMES sjis;INSERT INTO t (id) VALUES ('\x81\x5f');":   false,
		"SET NAMES ujis;INSERT INTO t (id) VALUES ('\xa1\xc0');":   false,
		"SET NAMES sjis;INSERT INTO t (id) VALUES ('y'),('\\\\');": true,
	} {
		_, _, err := rewrite(t, rules, in)
		require.Equal(t, ok, err == nil, "%q: %v", in, err)
	}
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
