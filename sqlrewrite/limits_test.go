package sqlrewrite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/sqlrewrite"
)

// repeated is a reader of the same text many times over.
func repeated(text string, times int) io.Reader {
	pieces := make([]io.Reader, times)
	for i := range pieces {
		pieces[i] = strings.NewReader(text)
	}
	return io.MultiReader(pieces...)
}

// TestMemory passes values of 128 MB and a statement of a million rows through, and counts every byte that is allocated meanwhile.
func TestMemory(t *testing.T) {
	r := compile(t, caseRules())
	piece := strings.Repeat("it\\'s one of many; ", 1<<10)
	for name, src := range map[string]func() io.Reader{
		"a long string": func() io.Reader {
			return io.MultiReader(strings.NewReader("INSERT INTO t VALUES ('"), repeated(piece, 7<<10), strings.NewReader("',1234,'x');\n"))
		},
		"a long string of another table": func() io.Reader {
			return io.MultiReader(strings.NewReader("INSERT INTO x VALUES ('"), repeated(piece, 7<<10), strings.NewReader("');\n"))
		},
		"a long comment": func() io.Reader {
			return io.MultiReader(strings.NewReader("SET @x=1;/*"), repeated(piece, 7<<10), strings.NewReader("*/"))
		},
		"a long statement": func() io.Reader {
			return io.MultiReader(strings.NewReader("INSERT INTO t VALUES (1,7,2)"), repeated(strings.Repeat(",(1,1234,'x')", 1000), 1000), strings.NewReader(";\n"))
		},
		"many statements": func() io.Reader { return repeated("INSERT INTO t VALUES (1,7,2);\n", 200000) },
	} {
		in := src()
		_, err := r.Rewrite(t.Context(), io.Discard, strings.NewReader(";")) // the buffer of later calls
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = r.Rewrite(t.Context(), io.Discard, in)
		runtime.ReadMemStats(&after)
		require.NoError(t, err, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)
	}
}

// A value that a rule names is held in memory, and other statements than rows are, up to a limit.
func TestHeldBack(t *testing.T) {
	r := compile(t, caseRules())
	long := strings.Repeat("x", 20<<20)
	var out bytes.Buffer
	in := "INSERT INTO t VALUES ('" + long + "',1234,'" + long + "');\n"
	_, err := r.Rewrite(t.Context(), &out, strings.NewReader(in))
	require.NoError(t, err)
	require.True(t, out.String() == strings.Replace(in, "1234", "91234", 1))

	out.Reset()
	in = "SET @x='" + long + "';\n"
	_, err = r.Rewrite(t.Context(), &out, strings.NewReader(in))
	require.ErrorContains(t, err, "longer than 8 MiB")
	require.Zero(t, out.Len())

	out.Reset()
	in = "/* " + long + " */ SET @x=1;\n"
	_, err = r.Rewrite(t.Context(), &out, strings.NewReader(in))
	require.NoError(t, err)
	require.True(t, out.String() == in)
}

// Strings end where they end, wherever the buffer does.
func TestBufferEnds(t *testing.T) {
	r := compile(t, caseRules())
	for _, unit := range []string{`\\`, `\'`, `''`, `\\\'`, `x`, `\\''`} {
		for n := 128<<10 - 80; n < 128<<10+20; n++ {
			long := strings.Repeat(unit, n/len(unit)) + strings.Repeat("y", n%len(unit))
			for _, end := range []string{"", `\'`} {
				in := "INSERT INTO t VALUES ('" + long + end + "',1234,';'),(2,7,'\\\\');\n"
				want := "INSERT INTO t VALUES ('" + long + end + "',91234,';'),(2,0,'\\\\');\n"
				var out bytes.Buffer
				_, err := r.Rewrite(t.Context(), &out, strings.NewReader(in))
				require.NoError(t, err, "%d of %q, %q", n, unit, end)
				require.True(t, out.String() == want, "%d of %q, %q", n, unit, end)
			}
		}
	}
}

// What becomes of a value does not depend on the values before it.
func TestRepeatedValues(t *testing.T) {
	values := []string{"1", "'1'", `"1"`, "01", "1.0", "'x'", "x''", "NULL", "2", "'AB'", "0x4142", "12.50", "'1' ", "1 ", "_binary '1'", "0x65", "'" + strings.Repeat("z", 30) + "'"}
	become := []string{"5", "'5'", `"5"`, "05", "5.0", "'y'", "x''", "NULL", "2", "'CD'", "0x4344", "13", "'5' ", "5 ", "_binary '5'", "''", "'" + strings.Repeat("z", 30) + "'"}
	in, want := "INSERT INTO t VALUES (1,7,1)", "INSERT INTO t VALUES (1,0,5)"
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		i := rnd.IntN(1 + rnd.IntN(len(values)))
		in, want = in+",(1,7,"+values[i]+")", want+",(1,0,"+become[i]+")"
	}
	out, _, err := rewrite(t, caseRules(), in+";")
	require.NoError(t, err)
	require.Equal(t, want+";", out)
}

// What is not SQL at all gives an error and no output, also behind comments.
func TestNothingComesOut(t *testing.T) {
	for _, in := range []string{"1,2\n", "<?xml?>", "\x1f\x8b\x08", "# id,name\n1,2\n", "-- x\n-- y\nhello world", "/* x */\x00", "\xff\xfeS\x00E\x00", "1234\t5\t\\N\n"} {
		out, _, err := rewrite(t, caseRules(), in)
		require.Error(t, err, in)
		require.Empty(t, out, in)
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

var errDisk = errors.New("disk full")

func TestOtherErrors(t *testing.T) {
	r := compile(t, moved())
	in := dump(2000, 100, rowColumns)
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			_, err := way(r, t.Context(), &failing{100 << 10}, bytes.NewReader(in))
			require.ErrorIs(t, err, errDisk)

			_, err = way(r, t.Context(), io.Discard, io.MultiReader(bytes.NewReader(in[:70000]), iotest.ErrReader(errDisk)))
			require.ErrorIs(t, err, errDisk)
			require.NotErrorIs(t, err, sqlrewrite.ErrTruncated)

			_, err = way(r, t.Context(), io.Discard, io.MultiReader(bytes.NewReader(in[:70000]), iotest.ErrReader(io.ErrUnexpectedEOF)))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)

			_, err = way(r, t.Context(), io.Discard, silent{})
			require.ErrorIs(t, err, io.ErrNoProgress)

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = way(r, ctx, io.Discard, bytes.NewReader(in))
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

// A silent reader has nothing, and does not say so.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// A file is read ahead: blocks larger than any buffer, values longer than a block with their beginning kept and without, a statement that is
// held back, an error far behind the first block.
func TestFile(t *testing.T) {
	r := compile(t, sqlrewrite.Rules{
		Columns: []sqlrewrite.Column{{Table: "t", Column: "b", Map: map[string]string{"1": "5", strings.Repeat("k", 700<<10): "9"}}},
		Context: sqlrewrite.Context{Database: "d", Columns: map[string][]string{"t": {"a", "b"}}},
	})
	var in, want bytes.Buffer
	rnd := rand.New(rand.NewPCG(3, 4))
	both := func(s string) { in.WriteString(s); want.WriteString(s) }
	for i := range 400 {
		both("CREATE TABLE `u" + strconv.Itoa(i) + "` (\n  `id` int COMMENT '" + strings.Repeat("held ", rnd.IntN(4000)) + "'\n);\nINSERT INTO `t` VALUES\n")
		for range rnd.IntN(30) {
			both("('" + strings.Repeat("it''s (1,1)\\n\n", rnd.IntN(300)) + "',")
			in.WriteString("'1'),\n")
			want.WriteString("'5'),\n")
		}
		if i%100 == 99 {
			both("('" + strings.Repeat("long ", 400<<10) + "',")
			in.WriteString("'" + strings.Repeat("k", 700<<10) + "'),")
			want.WriteString("'9'),")
		}
		both("(NULL,NULL);\n")
	}
	name := filepath.Join(t.TempDir(), "dump.sql")
	rewriteFile := func(in []byte) (string, sqlrewrite.Stats, error) {
		require.NoError(t, os.WriteFile(name, in, 0o600))
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		var out bytes.Buffer
		stats, err := r.Rewrite(t.Context(), &out, f)
		return out.String(), stats, err
	}
	out, stats, err := rewriteFile(in.Bytes())
	require.NoError(t, err)
	require.True(t, out == want.String(), "another output")
	var pieces bytes.Buffer
	again, err := r.Rewrite(t.Context(), &pieces, bytes.NewReader(in.Bytes()))
	require.NoError(t, err)
	require.Equal(t, again, stats)

	at := bytes.LastIndex(in.Bytes(), []byte("(NULL,NULL)"))
	wrong := slices.Concat(in.Bytes()[:at], []byte("(NULL,)"), in.Bytes()[at:])
	var serr *sqlrewrite.SyntaxError
	out, _, err = rewriteFile(wrong)
	require.ErrorAs(t, err, &serr)
	require.Equal(t, bytes.Count(wrong[:serr.Offset], []byte("\n"))+1, serr.Line)
	require.InDelta(t, at, serr.Offset, 10)
	require.True(t, strings.HasPrefix(want.String(), out), "no prefix of the right output")
	_, _, err = rewriteFile(in.Bytes()[:at+5])
	require.ErrorIs(t, err, sqlrewrite.ErrTruncated)
}

// One Rewriter serves many goroutines.
func TestConcurrent(t *testing.T) {
	r := compile(t, moved())
	in := dump(300, 7, rowColumns)
	var want bytes.Buffer
	_, err := r.Rewrite(t.Context(), &want, bytes.NewReader(in))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var out bytes.Buffer
			stats, err := r.Rewrite(t.Context(), &out, bytes.NewReader(in))
			if err != nil || !bytes.Equal(out.Bytes(), want.Bytes()) || stats.Rows != 300 {
				t.Errorf("%v, %v", stats, err)
			}
		})
	}
	wg.Wait()
}

// Errors say where, and nothing of what stands there.
func TestErrorsAreSilent(t *testing.T) {
	const secret = "geheimnis"
	for _, in := range []string{
		"INSERT INTO t VALUES (1,'" + secret + "',2);", "INSERT INTO t VALUES (1," + secret + ",2);", "INSERT INTO t VALUES (1,7,2) " + secret + ";",
		secret + " 1;", "'" + secret + "';", "INSERT INTO t VALUES ('" + secret, "SET NAMES " + secret + ";", "SET sql_mode='" + secret + "';", "SET sql_mode=" + secret + "();",
		"DELIMITER '" + secret + "'\n", "USE `" + secret, "BEGIN " + secret + ";", "INSERT INTO t VALUES ('" + secret + "');", "-- " + secret, "UPDATE x, y SET " + secret + "=1;",
	} {
		_, _, err := rewrite(t, caseRules(), in)
		require.Error(t, err, in)
		require.NotContains(t, err.Error(), secret)
	}
	_, _, err := rewrite(t, caseRules(), "SET @x=1;\n\nINSERT INTO t VALUES\n(1,7,2),\n(1,8,2);\n")
	require.EqualError(t, err, `line 5 (byte 44): here.t: column "id": a value without an entry in the rule's map`)
}

func TestMistakes(t *testing.T) {
	_, err := sqlrewrite.Compile(sqlrewrite.Rules{
		Columns: []sqlrewrite.Column{
			{Table: "", Column: "a", Map: map[string]string{"1": "2"}},
			{Table: "t", Column: "A", Map: map[string]string{"1": "2"}},
			{Database: "d", Table: "t", Column: "a", Unmapped: "maybe"},
			{Table: "t", Column: "b\x00", Map: map[string]string{"1": "2"}, Func: func(string) (string, bool) { return "", false }},
		},
		Databases: map[string]string{"x": "", "a": "c", "b": "c"},
		Context:   sqlrewrite.Context{Charset: "utf16", Database: "\xff", Columns: map[string][]string{"t": {"x", "X"}, ".": {}, "d.u": {"x"}}},
		Unknown:   "never",
	})
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		`unknown: "never"`, `rule 1 (.a): no table`, `rule 3 (d.t.a): neither`, `rule 3 (d.t.a): unmapped: "maybe"`, `rule 3 (d.t.a): rule 2 is about the same`,
		`rule 4 (t.b`, `rule 4 (t.b`, `databases: "b": "a" is renamed to "c", too`, `databases: "x": no new name`, `context: the database "\xff"`, `context: the charset "utf16"`,
		`columns of ".": no database`, `columns of ".": no table`, `columns of ".": none`, `columns of "d.u": no rule names the table`, `columns of "t": "X" twice`, `columns of "t": no "A"`, `columns of "t": no "a"`, `columns of "t": no "b`,
	} {
		require.Greater(t, len(lines), i, want)
		require.Contains(t, lines[i], want)
		require.True(t, strings.HasPrefix(lines[i], "sqlrewrite: "), lines[i])
	}
	require.Len(t, lines, 19)

	_, err = sqlrewrite.Compile(sqlrewrite.Rules{Databases: map[string]string{"a": "b"}, Context: sqlrewrite.Context{Database: "b"}})
	require.EqualError(t, err, `sqlrewrite: context: another database is renamed to "b"`)
	_, err = sqlrewrite.Compile(sqlrewrite.Rules{Databases: map[string]string{"a": "b", "b": "a", "c": "c"}, Context: sqlrewrite.Context{Database: "b"}})
	require.NoError(t, err)
}

func TestRulesAreData(t *testing.T) {
	var rules sqlrewrite.Rules
	require.NoError(t, json.Unmarshal([]byte(`{"rules":[{"database":"d","table":"t","column":"c","map":{"1":"2"},"unmapped":"pass"}],
		"databases":{"d":"e"},"context":{"database":"d","charset":"latin1","columns":{"d.t":["c"]}},"unknown":"refuse"}`), &rules))
	require.Equal(t, sqlrewrite.Rules{
		Columns:   []sqlrewrite.Column{{Database: "d", Table: "t", Column: "c", Map: map[string]string{"1": "2"}, Unmapped: sqlrewrite.Pass}},
		Databases: map[string]string{"d": "e"},
		Context:   sqlrewrite.Context{Database: "d", Charset: "latin1", Columns: map[string][]string{"d.t": {"c"}}},
		Unknown:   sqlrewrite.Refuse,
	}, rules)
	out, _, err := rewrite(t, rules, "INSERT INTO t VALUES (1),(3);")
	require.NoError(t, err)
	require.Equal(t, "INSERT INTO t VALUES (2),(3);", out)
	_, _, err = rewrite(t, rules, "INSERT INTO x VALUES (1);")
	require.ErrorContains(t, err, "d.x: a table that no rule names")
	rules.Context.Database = ""
	_, _, err = rewrite(t, rules, "INSERT INTO t VALUES (1);")
	require.ErrorContains(t, err, "no database is known")
}

func TestFunc(t *testing.T) {
	rules := sqlrewrite.Rules{Columns: []sqlrewrite.Column{{Table: "t", Column: "c", Func: func(v string) (string, bool) {
		return v + "0", v != "no"
	}}}}
	out, stats, err := rewrite(t, rules, `CREATE TABLE t (c varchar(9));INSERT INTO t (c) VALUES (1),('it''s'),(NULL),(0x41),('007');`)
	require.NoError(t, err)
	require.Equal(t, `CREATE TABLE t (c varchar(9));INSERT INTO t (c) VALUES (10),('it\'s0'),(NULL),(0x4130),('0070');`, out)
	require.Equal(t, []int64{4}, stats.Changed)
	_, _, err = rewrite(t, rules, `INSERT INTO t (c) VALUES ('no');`)
	require.ErrorContains(t, err, "without an entry")
}

func TestChangesEnd(t *testing.T) {
	r := compile(t, caseRules())
	n := 0
	for c, err := range r.Changes(t.Context(), strings.NewReader("INSERT INTO t VALUES (1,7,1),(1,7,1),(1,'x',1);")) {
		if n++; n < 5 {
			require.NoError(t, err)
			require.EqualValues(t, (n+1)/2, c.Row)
			continue
		}
		require.ErrorContains(t, err, "without an entry")
	}
	require.Equal(t, 5, n)
	for c, err := range r.Changes(t.Context(), strings.NewReader("INSERT INTO t VALUES (1,7,1),(1,7,1);")) {
		require.NoError(t, err)
		require.Equal(t, sqlrewrite.Change{Offset: 24, OldSQL: "7", NewSQL: "0", Table: "here.t", Column: "id", Row: 1, Old: "7", New: "0"}, c)
		break
	}
}
