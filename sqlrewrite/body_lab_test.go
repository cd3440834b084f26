package sqlrewrite_test

import (
	"database/sql"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

// bodies is a grammar of bodies. A rule's first form ends it.
var bodies = map[string][]string{
	"$name": {"a", "b", "end", "begin", "do", "handler", "condition", "found", "value", "returns", "row", "data", "until", "follows", "x.end", "x.begin", "@end", "@begin", "`if`"},
	"$expr": {"$name", "$name", "1", "'x'", "CASE WHEN $expr THEN $expr ELSE $expr END", "CASE $expr WHEN $expr THEN $expr END", "IF ( $expr , 1 , $expr )", "( SELECT $expr $name FROM x $name )",
		"NOT $expr", "$expr DIV $expr", "$expr AND $expr", "$name = $expr", "NEXT VALUE FOR $name", "BINARY $expr"},
	"$stmt": {"$simple", "$simple", "$block", "$block", "IF $expr THEN $stmts END IF", "IF $expr THEN $stmts ELSE $stmts END IF", "CASE $expr WHEN $expr THEN $stmts END CASE",
		"CASE WHEN $expr THEN $stmts ELSE $stmts END CASE", "LOOP $stmts END LOOP", "REPEAT $stmts UNTIL $expr END REPEAT", "WHILE $expr $do $stmts END $while", "FOR $name IN 1 .. $name $do $stmts END $for"},
	"$simple": {"SET @x = $expr", "SET $name = $expr", "DO $expr", "SELECT $expr $name FROM x", "SELECT $expr AS $name FROM x $name FOR UPDATE", "DELETE FROM x WHERE $expr", "INSERT INTO x ( a ) SELECT 1 $name FROM x"},
	"$stmts":  {"$stmt ;", "$stmt ; $stmts"},
}

// dialects are what differs by sql_mode.
var dialects = map[string]map[string][]string{
	"": {
		"$block": {"BEGIN $stmts END", "BEGIN DECLARE $name INT DEFAULT $expr ; $stmts END", "BEGIN DECLARE $name CURSOR FOR SELECT $expr ; $stmts END",
			"BEGIN DECLARE EXIT HANDLER FOR NOT FOUND $stmt ; $stmts END", "BEGIN DECLARE CONTINUE HANDLER FOR 1062 , SQLSTATE VALUE '23000' $stmt ; $stmts END", "$name : BEGIN $stmts END"},
		"$do": {"DO"}, "$while": {"WHILE"}, "$for": {"FOR"}, "$routine": {"$stmt"},
	},
	"ORACLE": {
		"$block": {"BEGIN $stmts END", "DECLARE $name INT ; BEGIN $stmts END", "BEGIN $stmts EXCEPTION WHEN OTHERS THEN $stmts END", "<< $name >> BEGIN $stmts END"},
		"$do":    {"LOOP"}, "$while": {"LOOP"}, "$for": {"LOOP"}, "$routine": {"AS BEGIN $stmts END", "IS $name INT ; BEGIN $stmts END"},
	},
}

// TestBodyEnds makes bodies, damages some, and puts an UPDATE behind them. Where the server executes that, it must not have gone through.
func TestBodyEnds(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	host, port, err := net.SplitHostPort(s.MySQLAddr)
	require.NoError(t, err)
	db, err := sql.Open("mysql", s.MySQLUser+":"+s.MySQLPassword+"@tcp("+net.JoinHostPort(host, port)+")/?multiStatements=true")
	require.NoError(t, err)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	exec := func(stmt string) {
		t.Helper()
		_, err := conn.ExecContext(t.Context(), stmt)
		require.NoError(t, err, stmt)
	}
	exec("CREATE OR REPLACE DATABASE mboxgroup96; USE mboxgroup96; CREATE TABLE t (id INT); INSERT INTO t VALUES (0); CREATE TABLE x (a INT, `begin` INT, `end` INT, `do` INT)")
	t.Cleanup(func() { _, _ = s.DB(t).Exec("DROP DATABASE mboxgroup96") })

	rnd := rand.New(rand.NewPCG(4, 96))
	executed, kept := 0, 0
	for range 8000 {
		mode := []string{"", "", "ORACLE"}[rnd.IntN(3)]
		var expand func(symbol string, depth int) []string
		expand = func(symbol string, depth int) []string {
			forms := slices.Concat(bodies[symbol], dialects[mode][symbol])
			if forms == nil {
				return []string{symbol}
			}
			form := forms[0]
			if depth > 0 || symbol == "$name" {
				form = forms[rnd.IntN(len(forms))]
			}
			var words []string
			for w := range strings.FieldsSeq(form) {
				words = append(words, expand(w, depth-1)...)
			}
			return words
		}
		head, body := "TRIGGER g BEFORE INSERT ON x FOR EACH ROW", expand("$stmt", rnd.IntN(9))
		switch rnd.IntN(3) {
		case 0:
			head = "EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO"
		case 1:
			head, body = "PROCEDURE p("+expand("$name", 0)[0]+" INT)", expand("$routine", 2+rnd.IntN(8))
		}
		for range rnd.IntN(3) {
			i := rnd.IntN(len(body))
			body[i] = []string{"BEGIN", "END", "IF", "DO", ";", "CASE", "END ;", ": BEGIN", "end", "do", body[rnd.IntN(len(body))], ""}[rnd.IntN(12)]
		}
		exec("SET sql_mode='" + mode + "'")
		stmt := "CREATE OR REPLACE " + head + " " + strings.Join(body, " ")
		_, _ = conn.ExecContext(t.Context(), stmt+"; UPDATE t SET id=1")
		var id int
		require.NoError(t, conn.QueryRowContext(t.Context(), "SELECT id FROM t").Scan(&id))
		if id == 0 {
			continue
		}
		exec("UPDATE t SET id=0")
		executed++
		r := compile(t, passRules())
		set := "SET sql_mode='" + mode + "';\nDELIMITER ;;\n"
		if _, err := r.Rewrite(t.Context(), io.Discard, strings.NewReader(set+stmt+"; UPDATE t SET id=1 ;;\n")); err == nil {
			t.Errorf("sql_mode %q: an UPDATE goes through behind %s", mode, stmt)
		}
		if _, err := r.Rewrite(t.Context(), io.Discard, strings.NewReader(set+stmt+" ;;\n")); err == nil {
			kept++
		}
	}
	t.Log(executed, "bodies; without the UPDATE", kept, "went through")
	require.Greater(t, executed, 500)
	require.Greater(t, kept, executed*9/10)
}
