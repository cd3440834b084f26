package lab

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// GroupDatabase is the name of a mailbox group's database.
func GroupDatabase(group int) string { return fmt.Sprintf("mboxgroup%d", group) }

// CreateGroup makes the group's database from the store's own create_database.sql, as mailboxd does for the first mailbox of
// a group. One that exists is left as it is.
func (s *Store) CreateGroup(ctx context.Context, group int) error {
	db, err := s.open(s.MySQLUser, s.MySQLPassword, func(c *mysql.Config) { c.MultiStatements = true })
	if err != nil {
		return err
	}
	defer db.Close()
	if err := s.createGroup(ctx, db, group); err != nil {
		return fmt.Errorf("%s: create %s: %w", s.Host, GroupDatabase(group), err)
	}
	return nil
}

func (s *Store) createGroup(ctx context.Context, db *sql.DB, group int) error {
	name := GroupDatabase(group)
	var found string
	err := db.QueryRowContext(ctx, "SELECT schema_name FROM information_schema.schemata WHERE schema_name = ?", name).Scan(&found)
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var script bytes.Buffer
	if err := s.Run(ctx, []string{"cat", s.CreateDatabaseFile}, nil, &script); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, strings.ReplaceAll(script.String(), "${DATABASE_NAME}", name))
	var exists *mysql.MySQLError
	if errors.As(err, &exists) && exists.Number == 1007 {
		return waitGroup(ctx, db, name) // another goroutine was first: its tables follow
	}
	return err
}

// waitGroup waits for the script's last table.
func waitGroup(ctx context.Context, db *sql.DB, name string) error {
	return poll(ctx, func() error {
		_, err := db.ExecContext(ctx, "SELECT 1 FROM "+name+".watch LIMIT 1")
		return err
	})
}
