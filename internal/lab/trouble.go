package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// An Undo takes planted trouble away again: afterwards the store is as it was. It may be called once.
type Undo = func(context.Context) error

// asRoot runs statements in one session of the superuser, without foreign key checks.
func (s *Store) asRoot(ctx context.Context, statements ...string) error {
	return s.withRoot(func(db *sql.DB) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, statement := range append([]string{"SET SESSION foreign_key_checks = 0"}, statements...) {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) exec(ctx context.Context, statement string, args ...any) error {
	return s.withRoot(func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, statement, args...)
		return err
	})
}

// SetDBVersion makes the store claim another db.version.
func (s *Store) SetDBVersion(ctx context.Context, version string) (Undo, error) {
	var before string
	err := s.withRoot(func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT value FROM zimbra.config WHERE name = 'db.version'").Scan(&before)
	})
	if err != nil {
		return nil, err
	}
	// modified stays, so that nothing remains of it.
	const set = "UPDATE zimbra.config SET value = ?, modified = modified WHERE name = 'db.version'"
	return func(ctx context.Context) error { return s.exec(ctx, set, before) }, s.exec(ctx, set, version)
}

// PlantTable makes a table that Zimbra does not have, with a mailbox_id column and a row of the mailbox, in the given
// database (zimbra or a mailbox group's).
func (s *Store) PlantTable(ctx context.Context, database, table string, mailboxID uint32) (Undo, error) {
	name := "`" + database + "`.`" + table + "`"
	err := s.asRoot(ctx, "CREATE TABLE "+name+" (mailbox_id INT UNSIGNED NOT NULL, value TEXT) ENGINE = InnoDB",
		fmt.Sprintf("INSERT INTO %s VALUES (%d, 'of an extension')", name, mailboxID))
	return func(ctx context.Context) error { return s.asRoot(ctx, "DROP TABLE "+name) }, err
}

// PlantLeftovers makes rows under an id that has no mailbox, as a half-deleted mailbox leaves them, in the group that goes
// with the id: some with the ids of system folders, some in tables that no foreign key guards.
func (s *Store) PlantLeftovers(ctx context.Context, mailboxID uint32) (Undo, error) {
	group := (int(mailboxID)-1)%s.Groups + 1
	if err := s.CreateGroup(ctx, group); err != nil {
		return nil, err
	}
	g := GroupDatabase(group)
	err := s.asRoot(ctx,
		fmt.Sprintf("INSERT INTO %s.mail_item (mailbox_id, id, type, parent_id, folder_id, date, size, name, mod_metadata, mod_content) VALUES (%[2]d, 11, 1, 11, 11, 0, 0, 'ROOT', 1, 1), (%[2]d, 700, 5, NULL, 11, 0, 0, NULL, 1, 1)", g, mailboxID),
		fmt.Sprintf("INSERT INTO %s.tag (mailbox_id, id, name, sequence) VALUES (%d, 64, 'left', 1)", g, mailboxID),
		fmt.Sprintf("INSERT INTO %s.watch (mailbox_id, target, item_id) VALUES (%d, 'left', 1)", g, mailboxID),
		fmt.Sprintf("INSERT INTO zimbra.volume_blobs (volume_id, mailbox_id, item_id, revision) VALUES (%d, %d, 700, 1)", s.site.current[0], mailboxID),
	)
	return func(ctx context.Context) error {
		var statements []string
		for _, table := range []string{g + ".mail_item", g + ".tag", g + ".watch", "zimbra.volume_blobs"} {
			statements = append(statements, fmt.Sprintf("DELETE FROM %s WHERE mailbox_id = %d", table, mailboxID))
		}
		return s.asRoot(ctx, statements...)
	}, err
}

// PlantMailbox makes a mailbox row for the account without anything else, under an id of the counter: what a store has that
// the account lived on before, or that autocreated an empty mailbox.
func (s *Store) PlantMailbox(ctx context.Context, accountID string) (mailboxID uint32, undo Undo, err error) {
	err = s.withRoot(func(db *sql.DB) (err error) {
		mailboxID, err = nextMailboxID(ctx, db)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	group := (int(mailboxID)-1)%s.Groups + 1
	if err := s.CreateGroup(ctx, group); err != nil {
		return 0, nil, err
	}
	err = s.exec(ctx, `INSERT INTO zimbra.mailbox (id, group_id, account_id, index_volume_id, item_id_checkpoint, version, comment)
		VALUES (?, ?, ?, ?, 255, '2.7', 'planted')`, mailboxID, group, accountID, s.site.current[2])
	return mailboxID, func(ctx context.Context) error {
		return s.asRoot(ctx, fmt.Sprintf("DELETE FROM zimbra.mailbox WHERE id = %d", mailboxID))
	}, err
}

// PlantDeletedAccount makes the row that deleting a mailbox of that address once left; undo removes it where it still is.
func (s *Store) PlantDeletedAccount(ctx context.Context, email, accountID string, mailboxID uint32) (Undo, error) {
	return func(ctx context.Context) error {
			return s.exec(ctx, "DELETE FROM zimbra.deleted_account WHERE email = ?", email)
		}, s.exec(ctx, "INSERT INTO zimbra.deleted_account (email, account_id, mailbox_id, deleted_at) VALUES (?, ?, ?, ?)",
			email, accountID, mailboxID, generated.Unix())
}

// AddVolume adds a volume of the given type (1 message, 2 secondary message, 10 index) in the directory dir below Home, with
// the bits of the store's others. It is not a current one. undo removes the row and the directory.
func (s *Store) AddVolume(ctx context.Context, kind int, dir string) (id int, undo Undo, err error) {
	if dir == "" || strings.ContainsAny(dir, "/.") {
		return 0, nil, fmt.Errorf("lab: volume directory %q is not a plain name", dir)
	}
	full := s.Home + "/" + dir
	const script = `mkdir "$1" && chmod 755 "$1" && { [ "$(id -u)" != 0 ] || chown "$2:$2" "$1"; }`
	if err := s.Run(ctx, []string{"sh", "-c", script, "sh", full, fmt.Sprint(s.owner)}, nil, nil); err != nil {
		return 0, nil, err
	}
	b := s.site.bits
	err = s.withRoot(func(db *sql.DB) error {
		// The next free id; AUTO_INCREMENT would remember volumes that are gone.
		if err := db.QueryRowContext(ctx, "SELECT MAX(id) + 1 FROM zimbra.volume").Scan(&id); err != nil {
			return err
		}
		_, err := db.ExecContext(ctx, `INSERT INTO zimbra.volume (id, type, name, path, file_bits, file_group_bits, mailbox_bits, mailbox_group_bits,
			compress_blobs, compression_threshold) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 4096)`, id, kind, dir, full, b.File, b.FileGroup, b.Mailbox, b.MailboxGroup)
		return err
	})
	return id, func(ctx context.Context) error {
		return errors.Join(
			s.exec(ctx, "DELETE FROM zimbra.volume WHERE id = ?", id),
			s.Run(ctx, []string{"rm", "-rf", full}, nil, nil))
	}, err
}

func (s *Store) withRoot(f func(*sql.DB) error) error {
	db, err := s.rootWork()
	if err != nil {
		return err
	}
	defer db.Close()
	if err := f(db); err != nil {
		return fmt.Errorf("lab: %s: %w", s.Host, err)
	}
	return nil
}
