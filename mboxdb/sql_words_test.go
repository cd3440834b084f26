package mboxdb_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// forbidden is what MySQL 5.6 or MariaDB 10.1 do not parse, what damages other rows or other sessions, and what is false when it is killed.
var forbidden = regexp.MustCompile(`(?i)\bWITH\s+(RECURSIVE\b|\w+\s*(\([^)]*\)\s*)?AS\s*\()|\bOVER\s*\(|\bRETURNING\b|\bJSON_\w|\bSKIP\s+LOCKED\b|\bNOWAIT\b` +
	`|\bREPLACE\s+(INTO|LOW_PRIORITY|DELAYED)\b|\bON\s+DUPLICATE\s+KEY\b|\bSET\s+(GLOBAL|PERSIST)\b|@@(global|persist)\.\w+\s*:?=|\bLIKE\s+\w+\.\w+\s*$` +
	`|(^|SELECT|,)\s*EXISTS\s*\(`)

func TestForbiddenWordsAreFound(t *testing.T) {
	for _, stmt := range []string{
		"WITH t AS (SELECT 1) SELECT * FROM t", "with recursive t as (select 1) select 1", "SELECT ROW_NUMBER() OVER (ORDER BY id)",
		"INSERT INTO t VALUES (1) RETURNING id", "SELECT JSON_EXTRACT(a, '$')", "SELECT 1 FOR UPDATE SKIP LOCKED", "SELECT 1 FOR UPDATE NOWAIT",
		"REPLACE INTO t VALUES (1)", "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1", "set global foreign_key_checks=0",
		"SET @@global.x = 1", "CREATE TABLE mboxgroup2.tag LIKE mboxgroup1.tag", "SELECT EXISTS (SELECT 1 FROM t)", "EXISTS (SELECT 1",
	} {
		require.Regexp(t, forbidden, stmt)
	}
	for _, stmt := range []string{"START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT REPLACE(a, 'x', 'y')", "CREATE TABLE IF NOT EXISTS t (a INT)", " AND NOT EXISTS (SELECT 1 FROM ", "SHOW GLOBAL VARIABLES WHERE a = 1"} {
		require.NotRegexp(t, forbidden, stmt)
	}
}

// Statements are put together from several literals, so whole expressions are looked at.
func TestSQLWords(t *testing.T) {
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	others, err := filepath.Glob("mboxverify/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, others)
	names = append(names, others...)
	seen := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := literals(e)
			if !ok {
				return true
			}
			seen++
			require.NotRegexp(t, forbidden, text, name)
			return true // calls in between have literals of their own
		})
	}
	require.Greater(t, seen, 100, "where are the statements?")
}

// literals joins the string literals of a concatenation.
func literals(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		a, okA := literals(e.X)
		b, okB := literals(e.Y)
		return a + b, e.Op == token.ADD && (okA || okB)
	}
	return "", false
}
