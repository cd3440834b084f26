package sqlrewrite_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/sqlrewrite"
)

// evasions put a statement, UPDATE, where a client might see code and a rewriter might not. Whatever is let through, the real client must not
// execute it.
var evasions = []string{
	"/*!999999 ; UPDATE */;",
	"/*!999999\\- ; UPDATE */;",
	"/*!999999 \n; UPDATE\n */;",
	"/*M!999999 ; UPDATE */;",
	"/*M!999999\\- ; UPDATE */;",
	"/*!50000 SET @x=1 /* ; UPDATE */ */;",
	"/*!50000 SET @x=1 ; UPDATE */;",
	"/*!50000 SET @x='*/' */; UPDATE",
	"/*!50000 SET @x=1 -- */ ; UPDATE\n */;",
	"/*!50000 SET @x=1 # */ ; UPDATE\n */;",
	"/*T! ; UPDATE */;",
	"/*T![x] ; UPDATE */;",
	"/* ; UPDATE */;",
	"/*+ ; UPDATE */;",
	"/*/ ; UPDATE */;",
	"/*! ; UPDATE */;",
	"/*!5 SET @x=1 ; UPDATE */;",
	"/*!99999 SET @x=1 */; /*!99999 ; UPDATE */;",
	"/*!999999 it's */ SET @x=1; UPDATE /*!999999 it's */;",
	"/*!999999 ' */ SET @x='; UPDATE ';",
	"/*!999999 \" */ SET @x='\"; UPDATE ';",
	"/*!999999 ` */ SET @x='`; UPDATE ';",
	"/*!999999 -- */ SET @x=1; UPDATE\n */;",
	"/*!999999 # */ SET @x=1; UPDATE\n */;",
	"/*!999999 /* */ SET @x=1; UPDATE */;",
	"/*!999999 \\' */ SET @x=1; UPDATE",
	"/* ' */ SET @x=1; /* ' ; UPDATE */;",
	"SET @x=1 /* it's */, @y=2; SET @z='; UPDATE ';",
	"SET @x=1 -- it's ; UPDATE\n, @y=2;",
	"SET @x=1 # it's ; UPDATE\n, @y=2;",
	"SET @x=1 --it's ; UPDATE\n;",
	"SET @x='-- '; SET @y='\n; UPDATE -- ';",
	"-- x\\\n; UPDATE",
	"--\n; SET @x=1;",
	"--\t'\n SET @x='; UPDATE ';",
	"--\x01'\nSET @x='; UPDATE ';",
	"--\xc2\xa0'\nSET @x='; UPDATE ';",
	"-- '\rSET @x=1; UPDATE",
	"# '\rSET @x=1; UPDATE",
	"SET @x='\\\\'; SET @y='; UPDATE \\'';",
	"SET @x=\"'\"; SET @y='\"; UPDATE ';",
	"SET @x='\n'; SET @y='\\\n; UPDATE ';",
	"SET sql_mode='NO_BACKSLASH_ESCAPES'; SET @x='\\'; SET @y='; UPDATE ';",
	"SET sql_mode='ANSI_QUOTES'; SET @`a\"b`='; UPDATE ';",
	"SET sql_mode='ANSI_QUOTES'; SET @\"a\\\"='; UPDATE ';",
	"SET @m='NO_BACKSLASH_ESCAPES', sql_mode=@m; SET @x='\\'; SET @y='; UPDATE ';",
	"/*!99999 SET sql_mode='NO_BACKSLASH_ESCAPES' */; SET @x='\\'; SET @y='; UPDATE ';",
	"/*!60000 SET sql_mode='NO_BACKSLASH_ESCAPES' */; SET @x='\\'; SET @y='; UPDATE ';",
	"/*M!110000 SET sql_mode='NO_BACKSLASH_ESCAPES' */; SET @x='\\'; SET @y='; UPDATE ';",
	"/*!50000 SET sql_mode='NO_BACKSLASH_ESCAPES' */; SET @x='\\'; SET @y='; UPDATE ';",
	"SET NAMES gbk; SET @x='\x81\\'; SET @y='; UPDATE ';",
	"SET NAMES gbk; SET @x='\x81'; SET @y='; UPDATE ';",
	"SET NAMES sjis; SET @x='\x83\\'; SET @y='; UPDATE ';",
	"/*!40101 SET NAMES gbk */; SET @x='\x81\\'; SET @y='; UPDATE ';",
	"/*!99999 SET NAMES gbk */; SET @x='\x81\\'; SET @y='; UPDATE ';",
	"SET character_set_client=gbk; SET @x='\x81\\'; SET @y='; UPDATE ';",
	"DELIMITER ;;\nSET @x=1;; UPDATE ;;\nDELIMITER ;\n",
	"DELIMITER ;;\nSET @x='a' ;; \nDELIMITER ;\nSET @x='; UPDATE ';",
	"DELIMITER x\nSET @y=1x UPDATE x\nDELIMITER ;\n",
	"DELIMITER ;; -- x\nSET @y=1;;\nUPDATE ;;\nDELIMITER ;\n",
	"/*\nDELIMITER ;;\n*/ SET @x=1; UPDATE",
	"SET @x='\nDELIMITER ;;\n'; SET @y='; UPDATE ';",
	"CREATE TABLE d1 (a int, delimiter int); SET @x='; UPDATE ';",
	"CREATE TABLE d2 (a int,\ndelimiter int\n); UPDATE",
	"CREATE TABLE d3 (a int,\ndelimiter ;; \n); SET @x=';; UPDATE ;;';",
	"SET @x=1,\nuse=1; UPDATE",
	"CREATE TABLE s1 (a int,\nsource int); UPDATE",
	"SET @x=1 \\g UPDATE",
	"SET @x=1 \\; UPDATE",
	"SET @x=1\\G UPDATE",
	"SET @x=`a\\`; UPDATE",
	"\\d ;;\nSET @x=1; UPDATE ;;",
	"INSERT INTO other VALUES (1,'\\');UPDATE ('');",
	"INSERT INTO other VALUES (1,_gbk'\x81\\'); SET @y='; UPDATE ';",
	"INSERT INTO other VALUES (1,N'\\''); SET @y='; UPDATE ';",
	"INSERT INTO other VALUES (1,/*!50000 'x' */); SET @y='; UPDATE ';",
	"INSERT INTO other VALUES (1,/*! 'x'); UPDATE -- */ 'y');",
	"INSERT INTO other VALUES (1,'x' -- ');UPDATE\n);",
	"INSERT INTO other VALUES (1,'x' --');UPDATE\n);",
	"CREATE TABLE e1 (a int) COMMENT '; UPDATE ' AS SELECT 1;",
	"INSERT INTO other VALUES (1,'\x00'); SET @y='\x00; UPDATE ';",
	"/*!99999 SET @x='*/; UPDATE -- ' */;",
	"/*!99999 FLUSH TABLES */ UPDATE",
	"/*!99999 FLUSH TABLES */ /*!50000 UPDATE */;",
	"/*!99999 SET @x=1 -- */; UPDATE\n */;",
	"/*!99999 SET @x=1 # */; UPDATE\n */;",
	"/*!99999 SET @x=1 /* */ UPDATE */;",
	"SET @x=/*!99999 1, sql_mode=*/ /*!50000 'NO_BACKSLASH_ESCAPES'*/; SET @x='\\'; SET @y='; UPDATE ';",
	"CREATE /*!99999 DATABASE x */ TABLE u1 (a int); UPDATE",
	"DELIMITER ;;\nSET @x=1; UPDATE ;;\n",
	"DELIMITER ;;\nFLUSH TABLES; UPDATE ;;\n",
	"DELIMITER ;;\nCREATE PROCEDURE p1() SELECT 1; UPDATE ;;\n",
	"DELIMITER ;;\nCREATE VIEW v1 AS SELECT 1; UPDATE ;;\n",
	"DELIMITER ;;\nCREATE PROCEDURE p2() BEGIN SELECT 1; END; UPDATE ;;\n",
	"DELIMITER ;;\nCREATE PROCEDURE p3() IF 1 THEN SELECT 1; END IF; UPDATE ;;\n",
	"DELIMITER;;\nSET @x=1; UPDATE ;;\n",
}

// What a rewriter lets through, the real client reads as the rewriter did.
func TestClientReadsAlike(t *testing.T) {
	l := lab.Shared(t)
	s := l.Stores[0]
	host, port, err := net.SplitHostPort(s.MySQLAddr)
	require.NoError(t, err)
	conf := filepath.Join(t.TempDir(), "client.cnf")
	require.NoError(t, os.WriteFile(conf, []byte("[client]\nhost="+host+"\nport="+port+"\nuser="+s.MySQLUser+"\npassword="+s.MySQLPassword+"\n"), 0o600))
	r, err := sqlrewrite.Compile(sqlrewrite.Rules{Columns: []sqlrewrite.Column{{Table: "t", Column: "id", Map: map[string]string{"1": "2"}}}})
	require.NoError(t, err)
	db := s.DB(t)
	passed := 0
	for _, c := range evasions {
		in := strings.ReplaceAll(c, "UPDATE", "UPDATE t SET id=666;")
		var out bytes.Buffer
		if _, err := r.Rewrite(t.Context(), &out, strings.NewReader(in)); err != nil {
			continue
		}
		passed++
		for _, stmt := range []string{
			"DROP DATABASE IF EXISTS mboxgroup98", "CREATE DATABASE mboxgroup98", "CREATE TABLE mboxgroup98.t (id INT)", "INSERT INTO mboxgroup98.t VALUES (2)",
			"CREATE TABLE mboxgroup98.other (a INT, b VARCHAR(99))",
		} {
			_, err := db.ExecContext(t.Context(), stmt)
			require.NoError(t, err)
		}
		charset := "utf8mb4" // a dump is loaded in the charset it was made in
		for _, other := range []string{"gbk", "sjis"} {
			if strings.Contains(in, other) {
				charset = other
			}
		}
		cmd := exec.CommandContext(t.Context(), "mariadb", "--defaults-file="+conf, "--force", "--default-character-set="+charset, "mboxgroup98")
		cmd.Stdin = &out
		said, err := cmd.CombinedOutput()
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM mboxgroup98.t WHERE id<>2").Scan(&n))
		if n > 0 {
			t.Errorf("%q goes through, and a client executes the UPDATE in it: %v %s", in, err, said)
		}
	}
	_, err = db.ExecContext(t.Context(), "DROP DATABASE IF EXISTS mboxgroup98")
	require.NoError(t, err)
	require.Positive(t, passed)
	t.Log(passed, "of", len(evasions), "went through")
}

// TestClientExecutesWholeStatements cuts a dump everywhere and feeds what comes out of it to the real client, which executes what it has when its
// input ends. The rows are then those behind one of the statements, however the input was cut.
func TestClientExecutesWholeStatements(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	host, port, err := net.SplitHostPort(s.MySQLAddr)
	require.NoError(t, err)
	conf := filepath.Join(t.TempDir(), "client.cnf")
	require.NoError(t, os.WriteFile(conf, []byte("[client]\nhost="+host+"\nport="+port+"\nuser="+s.MySQLUser+"\npassword="+s.MySQLPassword+"\n"), 0o600))
	r, err := sqlrewrite.Compile(sqlrewrite.Rules{Columns: []sqlrewrite.Column{{Table: "t", Column: "id", Map: map[string]string{"1": "11", "2": "12", "3": "13", "4": "14"}}}})
	require.NoError(t, err)
	db := s.DB(t)
	t.Cleanup(func() {
		_, _ = db.ExecContext(context.WithoutCancel(t.Context()), "DROP DATABASE IF EXISTS mboxgroup97")
	})
	statements := []string{
		"INSERT INTO t (id,b) VALUES (1,1),(2,2)", "INSERT INTO t (id,b) VALUES (3,3)", "INSERT INTO t (id,b) VALUES (1,1) ON DUPLICATE KEY UPDATE b=5, c=6",
		"DELETE FROM o WHERE id=1 AND b=2", "UPDATE o SET b=7 WHERE id=1 AND b=1", "SET @x=1", "INSERT INTO o VALUES (4,4),(5,5)", "REPLACE INTO t (id,b) VALUES (1,9), (4,4)",
	}
	load := func(text string) string {
		for _, stmt := range []string{
			"CREATE OR REPLACE DATABASE mboxgroup97", "CREATE TABLE mboxgroup97.t (id INT PRIMARY KEY, b INT, c INT)", "CREATE TABLE mboxgroup97.o (id INT, b INT)",
			"INSERT INTO mboxgroup97.o VALUES (1,1),(1,2)",
		} {
			_, err := db.ExecContext(t.Context(), stmt)
			require.NoError(t, err)
		}
		cmd := exec.CommandContext(t.Context(), "mariadb", "--defaults-file="+conf, "mboxgroup97")
		cmd.Stdin = strings.NewReader(text)
		_ = cmd.Run() // of a half statement the server says that it is none
		var rows string
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT CONCAT((SELECT GROUP_CONCAT(id,'/',b,'/',c,'/',b IS NULL,',' ORDER BY id,b) FROM (SELECT id,b,IFNULL(c,'-') c FROM mboxgroup97.t UNION ALL SELECT 0,0,0) x),
			(SELECT GROUP_CONCAT(id,'/',b ORDER BY id,b) FROM (SELECT id,b FROM mboxgroup97.o UNION ALL SELECT 0,0) x))`).Scan(&rows))
		return rows
	}
	whole := strings.Join(statements, ";\n") + ";\n"
	allowed := map[string]bool{}
	for n := range len(statements) + 1 {
		var out bytes.Buffer
		_, err := r.Rewrite(t.Context(), &out, strings.NewReader(strings.Join(statements[:n], ";\n")+";\n"))
		require.NoError(t, err)
		allowed[load(out.String())] = true
	}
	require.Len(t, allowed, len(statements), "SET changes no row, the others do")
	seen := map[string]bool{}
	for i := range len(whole) {
		var out bytes.Buffer
		_, _ = r.Rewrite(t.Context(), &out, strings.NewReader(whole[:i]))
		if seen[out.String()] {
			continue
		}
		seen[out.String()] = true
		if got := load(out.String()); !allowed[got] {
			t.Errorf("cut at %d: %q leaves %s", i, out.String(), got)
		}
	}
	require.Greater(t, len(seen), 40)
}
