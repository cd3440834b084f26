package mboxdbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/zmlift/zmlift/internal/schema"
	"github.com/zmlift/zmlift/mboxdb"
)

// ErrOccupied: the server has databases of a mailstore that Install did not make.
var ErrOccupied = errors.New("mboxdbtest: the server has a mailstore of its own")

// marker is a database that says that the others are ours. It is made before them and dropped after them.
const marker = "zmlift_mboxdbtest"

// StoreOptions say what mailstore to make. The zero value is sensible.
type StoreOptions struct {
	// Groups is zimbra_mailbox_groups: over how many databases mailboxes are spread. Default 100. None is made before it has a mailbox.
	Groups int
	// NextMailboxID is the first id that is handed out. Default 1.
	NextMailboxID mboxdb.MailboxID
	// Volumes are its volumes; the first of each type is the current one. Default: 1 for blobs, 2 for indexes, 3 secondary. Nothing here makes
	// or reads directories.
	Volumes []mboxdb.Volume
}

// A Store is a mailstore's databases on a server of the caller's.
type Store struct {
	Pool    *sql.DB        // the caller's to close
	Options mboxdb.Options // for mboxdb.New

	current mboxdb.CurrentVolumes
}

// Volume returns a volume as a fresh mailstore has it.
func Volume(id mboxdb.VolumeID, kind mboxdb.VolumeType) mboxdb.Volume {
	name := fmt.Sprint("volume", id)
	return mboxdb.Volume{
		ID: id, Type: kind, Name: name, Path: "/opt/zimbra/" + name, FileBits: 12, FileGroupBits: 8, MailboxBits: 12, MailboxGroupBits: 8, CompressionThreshold: 4096,
	}
}

// Install makes the database zimbra of an empty mailstore, as of Zimbra 10, on a server that has none. What an earlier Install left there, it
// removes first, with all mailboxes. Any other mailstore is ErrOccupied, and stays as it is.
//
// The pool's user must be allowed to make and drop databases. One program at a time may use a server.
func Install(ctx context.Context, pool *sql.DB, opts *StoreOptions) (*Store, error) {
	var o StoreOptions
	if opts != nil {
		o = *opts
	}
	if o.Groups < 1 {
		o.Groups = 100
	}
	if o.NextMailboxID == 0 {
		o.NextMailboxID = 1
	}
	if o.Volumes == nil {
		o.Volumes = []mboxdb.Volume{Volume(1, mboxdb.Primary), Volume(2, mboxdb.Index), Volume(3, mboxdb.Secondary)}
	}
	s := &Store{Pool: pool, Options: mboxdb.Options{
		Groups: o.Groups, CreateScript: func(context.Context) ([]byte, error) { return []byte(schema.CreateDatabase), nil },
	}}
	for _, v := range o.Volumes {
		for kind, id := range map[mboxdb.VolumeType]*mboxdb.VolumeID{
			mboxdb.Primary: &s.current.Message, mboxdb.Secondary: &s.current.Secondary, mboxdb.Index: &s.current.Index,
		} {
			if v.Type == kind && *id == 0 {
				*id = v.ID
			}
		}
	}
	if s.current.Message == 0 || s.current.Index == 0 {
		return nil, errors.New("mboxdbtest: a mailstore needs a volume for blobs and one for indexes")
	}
	if err := s.install(ctx, o); err != nil {
		return nil, fmt.Errorf("install a mailstore: %w", err)
	}
	return s, nil
}

func (s *Store) install(ctx context.Context, o StoreOptions) error {
	if err := s.Remove(ctx); err != nil {
		return err
	}
	return s.session(ctx, func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, "CREATE DATABASE "+marker); err != nil {
			return err
		}
		for _, stmt := range statements(schema.Zimbra + schema.Config) {
			if _, err := c.ExecContext(ctx, stmt); err != nil {
				return err
			}
		}
		for _, v := range o.Volumes {
			_, err := c.ExecContext(ctx, "INSERT INTO zimbra.volume (id, type, name, path, file_bits, file_group_bits, mailbox_bits, mailbox_group_bits,"+
				" compress_blobs, compression_threshold) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
				v.ID, v.Type, v.Name, v.Path, v.FileBits, v.FileGroupBits, v.MailboxBits, v.MailboxGroupBits, v.Compress, v.CompressionThreshold)
			if err != nil {
				return err
			}
		}
		_, err := c.ExecContext(ctx, "INSERT INTO zimbra.current_volumes (message_volume_id, secondary_message_volume_id, index_volume_id, next_mailbox_id)"+
			" VALUES (?, NULLIF(?, 0), ?, ?)", s.current.Message, s.current.Secondary, s.current.Index, o.NextMailboxID)
		return err
	})
}

// Remove drops everything that Install and the mailboxes since have made on the server, the database zmlift included. Nothing there: no error.
// ErrOccupied says that Install did not make it.
func (s *Store) Remove(ctx context.Context) error {
	return s.session(ctx, func(c *sql.Conn) error {
		rows, err := c.QueryContext(ctx, "SELECT schema_name FROM information_schema.schemata")
		if err != nil {
			return err
		}
		defer rows.Close()
		var names []string
		ours := false
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			switch {
			case name == marker:
				ours = true
			case name == "zimbra", name == "zmlift", strings.HasPrefix(name, "mboxgroup"):
				names = append(names, name)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if !ours && len(names) > 0 {
			return fmt.Errorf("%w: %s", ErrOccupied, strings.Join(names, ", "))
		}
		if !ours {
			return nil
		}
		if _, err := c.ExecContext(ctx, "SET SESSION foreign_key_checks=0"); err != nil {
			return err
		}
		for _, name := range append(names, marker) {
			if _, err := c.ExecContext(ctx, "DROP DATABASE `"+name+"`"); err != nil {
				return err
			}
		}
		return nil
	})
}

// session runs f in a connection that does not go back to the pool.
func (s *Store) session(ctx context.Context, f func(*sql.Conn) error) error {
	c, err := s.Pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	defer c.Raw(func(any) error { return driver.ErrBadConn })
	return f(c)
}

// statements cuts a script of ours, or a dump: their statements end with the line.
func statements(script string) []string {
	var out []string
	var b strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "--") || strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		b.WriteString(line)
		if strings.HasSuffix(line, ";\n") {
			out = append(out, strings.TrimSuffix(b.String(), ";\n"))
			b.Reset()
		}
	}
	return out
}
