package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Blob is a file that a row of a mailbox demands.
type Blob struct {
	Table      string // without its database
	ItemID     uint32
	ModContent uint32
	VolumeID   int
	Volume     string // the volume's path on the store
	File       string // the file's name below it
	Digest     string // blob_digest; "" when the row has none
	Size       uint64 // of the content, uncompressed
}

// Path is the file's absolute path on the store.
func (b Blob) Path() string { return b.Volume + "/" + b.File }

// Blobs are the files that the mailbox's rows demand: one for each row with a locator in mail_item, revision and both
// dumpsters, where the store's own volume table says it lies.
func (a *Account) Blobs(ctx context.Context) ([]Blob, error) {
	blobs, err := a.Store.blobs(ctx, a.MailboxID)
	if err != nil {
		return nil, fmt.Errorf("lab: blobs of %s on %s: %w", a.Name, a.Store.Host, err)
	}
	return blobs, nil
}

func (s *Store) blobs(ctx context.Context, mailboxID uint32) ([]Blob, error) {
	db, err := s.rootWork()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	volumes, err := readVolumes(ctx, db)
	if err != nil {
		return nil, err
	}
	var group int
	if err := db.QueryRowContext(ctx, "SELECT group_id FROM zimbra.mailbox WHERE id = ?", mailboxID).Scan(&group); err != nil {
		return nil, fmt.Errorf("mailbox %d: %w", mailboxID, err)
	}
	var blobs []Blob
	for _, t := range []struct{ table, id string }{
		{"mail_item", "id"}, {"revision", "item_id"}, {"mail_item_dumpster", "id"}, {"revision_dumpster", "item_id"},
	} {
		rows, err := db.QueryContext(ctx, fmt.Sprintf(`SELECT %s, mod_content, locator, COALESCE(blob_digest, ''), size FROM %s.%s
			WHERE mailbox_id = ? AND locator IS NOT NULL`, t.id, GroupDatabase(group), t.table), mailboxID)
		if err != nil {
			return nil, err
		}
		if blobs, err = appendBlobs(blobs, rows, t.table, mailboxID, volumes); err != nil {
			return nil, fmt.Errorf("%s: %w", t.table, err)
		}
	}
	return blobs, nil
}

func appendBlobs(blobs []Blob, rows *sql.Rows, table string, mailboxID uint32, volumes []volumeRow) ([]Blob, error) {
	defer rows.Close()
	for rows.Next() {
		b := Blob{Table: table}
		var locator string
		if err := rows.Scan(&b.ItemID, &b.ModContent, &locator, &b.Digest, &b.Size); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(volumes, func(v volumeRow) bool { return strconv.Itoa(v.id) == locator && v.holdsBlobs() })
		if i < 0 {
			return nil, fmt.Errorf("item %d: locator %q is no volume for blobs", b.ItemID, locator)
		}
		v := volumes[i]
		b.VolumeID, b.Volume, b.File = v.id, v.path, v.blobFile(mailboxID, b.ItemID, b.ModContent)
		blobs = append(blobs, b)
	}
	return blobs, rows.Err()
}

// CheckBlobs verifies that every blob that the mailbox's rows demand lies where the store's volume table implies, and that
// its content, uncompressed, has the size and the digest of the row. The error names every file that does not. Files that no
// row demands do not matter.
func (s *Store) CheckBlobs(ctx context.Context, mailboxID uint32) error {
	if err := s.checkBlobs(ctx, mailboxID); err != nil {
		return fmt.Errorf("lab: check blobs of mailbox %d on %s: %w", mailboxID, s.Host, err)
	}
	return nil
}

func (s *Store) checkBlobs(ctx context.Context, mailboxID uint32) error {
	blobs, err := s.blobs(ctx, mailboxID)
	if err != nil {
		return err
	}
	want := map[string][]Blob{} // by path
	dirs := map[string][]string{}
	for _, b := range blobs {
		want[b.Path()] = append(want[b.Path()], b)
		// <H>/<mailbox id>/msg
		if dir := "./" + path.Dir(path.Dir(b.File)); !slices.Contains(dirs[b.Volume], dir) {
			dirs[b.Volume] = append(dirs[b.Volume], dir)
		}
	}
	var wrong []error
	for volume, trees := range dirs {
		err := s.readFiles(ctx, volume, trees, nil, func(h *tar.Header, r io.Reader) error {
			full := volume + "/" + path.Clean(h.Name)
			rows := want[full]
			if h.Typeflag != tar.TypeReg || rows == nil {
				return nil
			}
			delete(want, full)
			content, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			for _, b := range rows {
				if err := b.check(content); err != nil {
					wrong = append(wrong, fmt.Errorf("%s: %w", full, err))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for full, rows := range want {
		wrong = append(wrong, fmt.Errorf("%s: missing, %s demands it", full, rows[0].Table))
	}
	return errors.Join(wrong...)
}

// check compares a file's content with its row. Compressed is what begins as gzip does and has another size than the row
// says (store/Blob.isCompressed).
func (b Blob) check(content []byte) error {
	if uint64(len(content)) != b.Size && bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err == nil {
			content, err = io.ReadAll(z)
		}
		if err != nil {
			return err
		}
	}
	if uint64(len(content)) != b.Size {
		return fmt.Errorf("%d bytes, %s says %d", len(content), b.Table, b.Size)
	}
	switch len(b.Digest) {
	case 0:
		return nil
	case 28:
		if digestSHA1(content) == b.Digest {
			return nil
		}
	default:
		if digestSHA256(content) == b.Digest {
			return nil
		}
	}
	return fmt.Errorf("digest is not that of %s", b.Table)
}

// RemoveBlob hides the blob of one of the mailbox's messages, as a lost file would be; undo puts it back as it was.
func (s *Store) RemoveBlob(ctx context.Context, a *Account) (file string, undo Undo, err error) {
	blobs, err := a.Blobs(ctx)
	if err != nil {
		return "", nil, err
	}
	i := slices.IndexFunc(blobs, func(b Blob) bool { return b.Table == "mail_item" && b.ItemID != newsletterItem })
	if i < 0 {
		return "", nil, fmt.Errorf("lab: %s has no blob", a.Name)
	}
	file = blobs[i].Path()
	hidden := s.Home + "/data/tmp/" + strings.ReplaceAll(s.below(file), "/", "_")
	move := func(ctx context.Context, from, to string) error {
		return s.Run(ctx, []string{"mv", "-n", from, to}, nil, nil)
	}
	if err := move(ctx, file, hidden); err != nil {
		return "", nil, err
	}
	return file, func(ctx context.Context) error { return move(ctx, hidden, file) }, nil
}
