package mboxdb_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

// describe is what a server says about a database, without its number.
func describe(t *testing.T, s *lab.Store, database string) string {
	t.Helper()
	db := s.RootDB(t)
	var name, create string
	require.NoError(t, db.QueryRow("SHOW CREATE DATABASE "+database).Scan(&name, &create))
	out := []string{create}
	rows, err := db.Query("SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY table_name", database)
	require.NoError(t, err)
	defer rows.Close()
	var tables []string
	for rows.Next() {
		require.NoError(t, rows.Scan(&name))
		tables = append(tables, name)
	}
	require.NoError(t, rows.Err())
	for _, table := range tables {
		require.NoError(t, db.QueryRow("SHOW CREATE TABLE "+database+"."+table).Scan(&name, &create))
		out = append(out, create)
	}
	return strings.ReplaceAll(strings.Join(out, "\n"), database, "mboxgroup")
}

// testGroup is a group that no mailbox of the lab is in; its database is dropped after the test.
func testGroup(t *testing.T, s *lab.Store, group int) string {
	t.Helper()
	name := lab.GroupDatabase(group)
	drop := func() { mustExec(t, s.RootDB(t), "DROP DATABASE IF EXISTS "+name) }
	drop()
	t.Cleanup(drop)
	return name
}

func TestEnsureGroup(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	want := testGroup(t, s, 9001)
	require.NoError(t, s.CreateGroup(t.Context(), 9001))
	got := testGroup(t, s, 9002)
	require.NoError(t, db.EnsureGroup(t.Context(), 9002))
	require.Equal(t, describe(t, s, want), describe(t, s, got))
	require.NoError(t, db.EnsureGroup(t.Context(), 9002), "repeated")
	require.NoError(t, db.EnsureGroup(t.Context(), 9001), "mailboxd's")

	for _, group := range []int{0, -1} {
		require.ErrorContains(t, db.EnsureGroup(t.Context(), group), "groups begin with 1")
	}
}

func TestEnsureGroupAtOnce(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	want := testGroup(t, s, 9001)
	require.NoError(t, s.CreateGroup(t.Context(), 9001))
	got := testGroup(t, s, 9002)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = openDB(t, s).EnsureGroup(t.Context(), 9002) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, describe(t, s, want), describe(t, s, got))
}

func TestEnsureGroupCompletes(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	want := testGroup(t, s, 9001)
	require.NoError(t, s.CreateGroup(t.Context(), 9001))
	got := testGroup(t, s, 9002)
	require.NoError(t, s.CreateGroup(t.Context(), 9002))
	// As a crash leaves it.
	mustExec(t, s.RootDB(t), "DROP TABLE mboxgroup9002.watch, mboxgroup9002.event, mboxgroup9002.tagged_item")
	require.NoError(t, db.EnsureGroup(t.Context(), 9002))
	require.Equal(t, describe(t, s, want), describe(t, s, got))
}

func TestEnsureGroupNamesWhatIsMissing(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	testGroup(t, s, 9002)
	script, err := options(s).CreateScript(t.Context())
	require.NoError(t, err)
	broken := regexp.MustCompile(`(?s)(CREATE TABLE \S+\.watch) \(.*`).ReplaceAllString(string(script), "$1 (x INT INT);")
	require.NotEqual(t, string(script), broken)
	db := mboxdb.New(s.DB(t), &mboxdb.Options{CreateScript: func(context.Context) ([]byte, error) { return []byte(broken), nil }})
	err = db.EnsureGroup(t.Context(), 9002)
	requireNumber(t, 1064, errors.Unwrap(err))
	require.ErrorContains(t, err, "ensure mboxgroup9002: half made, mboxgroup9002.watch missing: create mboxgroup9002.watch: ")
	require.NoError(t, openDB(t, s).EnsureGroup(t.Context(), 9002), "with the right script")
}

func TestEnsureGroupNeedsRights(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	name := testGroup(t, s, 9002)
	root := s.RootDB(t)
	mustExec(t, root, "CREATE USER 'nogroup'@'%' IDENTIFIED BY 'nogroup'")
	t.Cleanup(func() { mustExec(t, s.RootDB(t), "DROP USER 'nogroup'@'%'") })
	err := mboxdb.New(poolOf(t, s, "nogroup", "nogroup", nil), options(s)).EnsureGroup(t.Context(), 9002)
	requireNumber(t, 1044, err)
	require.ErrorContains(t, err, "ensure mboxgroup9002: create mboxgroup9002: ")
	require.ErrorContains(t, err, "to database 'mboxgroup9002'")
	require.Zero(t, number(t, root, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", name))
}

func TestEnsureGroupRefusesScripts(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	name := testGroup(t, s, 9002)
	const begin = "CREATE DATABASE ${DATABASE_NAME} DEFAULT CHARACTER SET utf8;\n"
	tests := []struct{ name, script, want string }{
		{"empty", "", "it makes no tables"},
		{"no tables", begin, "it makes no tables"},
		{"no placeholder", "CREATE DATABASE mboxgroup1; CREATE TABLE mboxgroup1.a (b INT);", "statement 1 is not understood"},
		{"another database", begin + "CREATE TABLE zimbra.a (b INT);", "statement 2 is not understood"},
		{"the default database", begin + "CREATE TABLE a (b INT);", "statement 2 is not understood"},
		{"a copy", begin + "CREATE TABLE ${DATABASE_NAME}.tag LIKE mboxgroup1.tag;", "statement 2 is not understood"},
		{"another placeholder", begin + "CREATE TABLE ${DATABASE_NAME}.tag (a ${TYPE});", "statement 2 is not understood"},
		{"another statement", begin + "CREATE TABLE ${DATABASE_NAME}.a (b INT); DROP TABLE zimbra.mailbox;", "statement 3 is not understood"},
		{"cut short in a statement", begin + "CREATE TABLE ${DATABASE_NAME}.a (b INT)", "its last statement does not end"},
		{"cut short in a string", begin + "CREATE TABLE ${DATABASE_NAME}.a (b INT COMMENT 'x;", "it ends inside of quotes"},
		{"cut short in a comment", begin + "/* a ;", "it ends inside of a comment"},
		{"a hidden statement", begin + "/*!40000 DROP TABLE zimbra.mailbox */;", "it has a comment that some servers execute"},
	}
	for _, tt := range tests {
		db := mboxdb.New(s.DB(t), &mboxdb.Options{CreateScript: func(context.Context) ([]byte, error) { return []byte(tt.script), nil }})
		require.ErrorContains(t, db.EnsureGroup(t.Context(), 9002), "create script: "+tt.want, tt.name)
	}
	unreadable := errors.New("no such file")
	db := mboxdb.New(s.DB(t), &mboxdb.Options{CreateScript: func(context.Context) ([]byte, error) { return nil, unreadable }})
	require.ErrorIs(t, db.EnsureGroup(t.Context(), 9002), unreadable)
	require.Zero(t, number(t, s.DB(t), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", name), "nothing was made")
}

func TestSplitScript(t *testing.T) {
	script := "-- it's; a comment\n# isn't; one either\n/* nor; 'this */ SELECT 'a;''b\\';', \"c;\\\";\", `d;``e`, 1--1, 2 /*;*/ -3;;\n" +
		"SELECT '/*', '--\n', `#`; -- end\n--"
	got, err := mboxdb.SplitScript(script)
	require.NoError(t, err)
	require.Equal(t, []string{"SELECT 'a;''b\\';', \"c;\\\";\", `d;``e`, 1--1, 2   -3", "SELECT '/*', '--\n', `#`"}, got)
}

func ExampleDB_EnsureGroup() {
	// A script as a mailstore has it, read from wherever that is.
	opts := &mboxdb.Options{CreateScript: func(context.Context) ([]byte, error) {
		return []byte("CREATE DATABASE ${DATABASE_NAME} DEFAULT CHARACTER SET utf8; DROP TABLE zimbra.mailbox;"), nil
	}}
	db := mboxdb.New(nil, opts)
	fmt.Println(db.EnsureGroup(context.Background(), 34)) // the script is read before the server is asked
	// Output: ensure mboxgroup34: create script: statement 2 is not understood: want CREATE DATABASE ${DATABASE_NAME}, then CREATE TABLE ${DATABASE_NAME}.name (...)
}
