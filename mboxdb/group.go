package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zmlift/zmlift/internal/backoff"
)

const (
	databasePlaceholder = "${DATABASE_NAME}"
	groupPoll           = 250 * time.Millisecond
	groupStill          = 3 * time.Second // how long a half-made group must not have grown before it counts as left behind
)

// EnsureGroup makes a mailbox group's database from the server's own create_database.sql, as mailboxd does for the first mailbox of a group.
// One that has all of the script's tables is left as it is. One that lacks some is given a moment, for mailboxd or another mover may be
// making it, and is then completed. After an error the database may lack tables; the error names them, and another call completes it.
func (d *DB) EnsureGroup(ctx context.Context, group int) error {
	if group < 1 {
		return fmt.Errorf("mboxdb: mailbox group %d: groups begin with 1", group)
	}
	if err := d.ensureGroup(ctx, groupDatabase(group)); err != nil {
		return fmt.Errorf("ensure %s: %w", groupDatabase(group), err)
	}
	return nil
}

func (d *DB) ensureGroup(ctx context.Context, database string) error {
	script, err := d.createScript(ctx, database)
	if err != nil {
		return fmt.Errorf("create script: %w", err)
	}
	seconds := int(d.opt.LockWait / time.Second)
	s, err := d.open(ctx, fmt.Sprintf(sqlDDLSession, seconds)) // the script's defaults are the server's, not ours
	if err != nil {
		return err
	}
	defer s.close()
	missing, err := missingParts(ctx, s, database, script)
	if err != nil || len(missing) == 0 {
		return err
	}
	var got sql.NullInt64
	if err := scan(ctx, s, sqlGetLock, []any{lockPrefix + database, seconds}, &got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return errors.New("another mover has been making it for long")
	}
	if missing, err = settled(ctx, s, database, script); err != nil {
		return err
	}
	var failed error
	for _, part := range missing {
		if _, err := s.ExecContext(ctx, part.sql); err != nil && !serverError(err, 1007, 1050) { // made meanwhile
			failed = fmt.Errorf("create %s: %w", part.name, err) // quotes the script, and never a row
			break
		}
	}
	missing, err = missingParts(ctx, s, database, script)
	switch {
	case err != nil:
		return errors.Join(failed, err)
	case len(missing) == 0:
		return nil
	case failed == nil:
		return fmt.Errorf("half made, %s missing", partNames(missing))
	case missing[0].name == database:
		return failed
	}
	return fmt.Errorf("half made, %s missing: %w", partNames(missing), failed)
}

// settled waits while somebody else is making the database, and returns what is missing then.
func settled(ctx context.Context, q querier, database string, script []scriptPart) ([]scriptPart, error) {
	var since time.Time
	last := -1
	for {
		missing, err := missingParts(ctx, q, database, script)
		if err != nil || len(missing) == 0 || len(missing) == len(script) { // none there at all: nobody is at it
			return missing, err
		}
		if len(missing) != last {
			last, since = len(missing), time.Now()
		}
		if time.Since(since) >= groupStill {
			return missing, nil
		}
		if err := backoff.Sleep(ctx, groupPoll); err != nil {
			return nil, err
		}
	}
}

// A scriptPart is one statement of the create script: the database, or one of its tables.
type scriptPart struct {
	sql, name string
}

func partNames(parts []scriptPart) string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// missingParts returns the script's parts that the server does not have.
func missingParts(ctx context.Context, q querier, database string, script []scriptPart) ([]scriptPart, error) {
	there := map[string]bool{}
	var n int
	if err := scan(ctx, q, sqlDatabaseExists, []any{database}, &n); err != nil {
		return nil, err
	}
	if n > 0 {
		there[database] = true
	}
	err := each(ctx, q, sqlTables, []any{database}, func(rows *sql.Rows) error {
		var name string
		var engine sql.NullString
		err := rows.Scan(&name, &engine)
		there[database+"."+name] = true
		return err
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(script), func(p scriptPart) bool { return there[p.name] }), nil
}

// createScript reads the server's script for one database: first the database, then its tables.
func (d *DB) createScript(ctx context.Context, database string) ([]scriptPart, error) {
	if d.opt.CreateScript == nil {
		return nil, errors.New("mboxdb: Options.CreateScript is not set")
	}
	b, err := d.opt.CreateScript(ctx)
	if err != nil {
		return nil, err
	}
	return parseScript(strings.ReplaceAll(string(b), databasePlaceholder, database), database)
}

var (
	createDatabase = regexp.MustCompile("(?is)^CREATE\\s+(?:DATABASE|SCHEMA)\\s+(?:IF\\s+NOT\\s+EXISTS\\s+)?`?(\\w+)`?(?:\\s|$)")
	createTable    = regexp.MustCompile("(?is)^CREATE\\s+TABLE\\s+(?:IF\\s+NOT\\s+EXISTS\\s+)?`?(\\w+)`?\\s*\\.\\s*`?(\\w+)`?\\s*\\(")
)

// parseScript takes the script apart. It is run piece by piece, so that a half-made database can be completed; a statement that is
// not the making of this database or of a table in it is refused, for nobody can tell whether that may be repeated.
func parseScript(text, database string) ([]scriptPart, error) {
	statements, err := splitScript(text)
	if err != nil {
		return nil, err
	}
	var parts []scriptPart
	for i, stmt := range statements {
		p := scriptPart{sql: stmt, name: database}
		if m := createDatabase.FindStringSubmatch(stmt); i == 0 && m != nil && m[1] == database {
			parts = append(parts, p)
			continue
		}
		m := createTable.FindStringSubmatch(stmt)
		if i == 0 || m == nil || m[1] != database || strings.Contains(stmt, "${") {
			return nil, fmt.Errorf("statement %d is not understood: want CREATE DATABASE %s, then CREATE TABLE %s.name (...)", i+1,
				databasePlaceholder, databasePlaceholder)
		}
		p.name = database + "." + m[2]
		parts = append(parts, p)
	}
	if len(parts) < 2 {
		return nil, errors.New("it makes no tables")
	}
	return parts, nil
}

// splitScript returns the script's statements without comments and semicolons. A semicolon ends a statement outside of strings, quoted
// names and comments only; the last statement needs one too, for without it the script may be cut short.
func splitScript(text string) ([]string, error) {
	var statements []string
	var b strings.Builder
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		switch c := rest[0]; {
		case c == ';':
			if stmt := strings.TrimSpace(b.String()); stmt != "" {
				statements = append(statements, stmt)
			}
			b.Reset()
		case c == '\'' || c == '"' || c == '`':
			if n = quotedLen(rest); n < 0 {
				return nil, errors.New("it ends inside of quotes")
			}
			b.WriteString(rest[:n])
		case c == '#', strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' '):
			if n = strings.IndexByte(rest, '\n'); n < 0 {
				n = len(rest)
			}
		case strings.HasPrefix(rest, "/*!"), strings.HasPrefix(rest, "/*M!"):
			return nil, errors.New("it has a comment that some servers execute")
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return nil, errors.New("it ends inside of a comment")
			}
			n = 2 + end + 2
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
		i += n
	}
	if strings.TrimSpace(b.String()) != "" {
		return nil, errors.New("its last statement does not end")
	}
	return statements, nil
}

// quotedLen is the length of the string or quoted name at the start of s, -1 when it does not end. A doubled quote begins the next piece,
// which makes no difference here.
func quotedLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return i + 1
		case s[i] == '\\' && s[0] != '`':
			i++
		}
	}
	return -1
}
