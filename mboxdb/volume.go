package mboxdb

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strconv"
)

// A VolumeID numbers a volume on one server. On another server the same number may be another path.
type VolumeID uint8

func (id VolumeID) String() string { return strconv.Itoa(int(id)) }

// A VolumeType says what lies on a volume.
type VolumeType int8

const (
	Primary   VolumeType = 1  // blobs
	Secondary VolumeType = 2  // older blobs (HSM)
	Index     VolumeType = 10 // search indexes
)

// A Volume is a row of zimbra.volume. mailboxd reads that table once, when it starts.
type Volume struct {
	ID                   VolumeID   `json:"id"`
	Type                 VolumeType `json:"type"`
	Name                 string     `json:"name"`
	Path                 string     `json:"path"`
	FileBits             int        `json:"file_bits"`
	FileGroupBits        int        `json:"file_group_bits"`
	MailboxBits          int        `json:"mailbox_bits"`
	MailboxGroupBits     int        `json:"mailbox_group_bits"`
	Compress             bool       `json:"compress,omitempty"`
	CompressionThreshold int64      `json:"compression_threshold,omitempty"` // bytes
	StoreType            int        `json:"store_type,omitempty"`            // 1 files, 2 elsewhere; 0 where the server's version has no such column
	StoreManager         string     `json:"store_manager,omitempty"`
}

// Files says whether the volume is a directory of files, not an external store.
func (v Volume) Files() bool { return v.StoreType == 0 || v.StoreType == 1 }

// MailboxDir is the mailbox's directory relative to the volume's path: blobs lie below msg in it, the search index below index
// (volume/Volume.getMailboxDir). A server whose volumes have a level per server id has that level before it.
func (v Volume) MailboxDir(id MailboxID) string {
	return fmt.Sprintf("%d/%d", uint64(id)>>v.MailboxBits&(1<<v.MailboxGroupBits-1), id)
}

// BlobName is a blob's file name relative to the mailbox's directory (volume/Volume.getBlobDir, store/file/FileBlobStore.getFilename).
func (v Volume) BlobName(item, modContent uint32) string {
	return fmt.Sprintf("msg/%d/%d-%d.msg", uint64(item)>>v.FileBits&(1<<v.FileGroupBits-1), item, modContent)
}

// check says whether the bits are some that a directory can be made of.
func (v Volume) check() error {
	for _, b := range []struct {
		column string
		bits   int
	}{{"file_bits", v.FileBits}, {"file_group_bits", v.FileGroupBits}, {"mailbox_bits", v.MailboxBits}, {"mailbox_group_bits", v.MailboxGroupBits}} {
		if b.bits < 0 || b.bits > 31 {
			return &VolumeError{Volume: v.ID, Name: v.Name, Msg: fmt.Sprintf("%s is %d, and must be 0 to 31", b.column, b.bits)}
		}
	}
	return nil
}

// CurrentVolumes are where new content goes.
type CurrentVolumes struct {
	Message   VolumeID `json:"message"`
	Secondary VolumeID `json:"secondary,omitempty"` // 0: none
	Index     VolumeID `json:"index"`
}

// Volumes returns the server's volumes in the order of their ids. A *VolumeError names one that makes no sense. It changes nothing.
func (d *DB) Volumes(ctx context.Context) ([]Volume, error) {
	s, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return volumes(ctx, s)
}

func volumes(ctx context.Context, q querier) ([]Volume, error) {
	var external int // the columns of 10.0 that say what kind of store it is
	if err := scan(ctx, q, sqlVolumeStoreColumns, nil, &external); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	stmt := sqlVolumes
	if external == 2 {
		stmt = sqlVolumesStore
	}
	var vs []Volume
	err := each(ctx, q, stmt, nil, func(rows *sql.Rows) error {
		var v Volume
		var manager sql.NullString
		err := rows.Scan(&v.ID, &v.Type, &v.Name, &v.Path, &v.FileBits, &v.FileGroupBits, &v.MailboxBits, &v.MailboxGroupBits,
			&v.Compress, &v.CompressionThreshold, &v.StoreType, &manager)
		v.StoreManager = manager.String
		vs = append(vs, v)
		return cmp.Or(err, v.check())
	})
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	return vs, nil
}

// CurrentVolumes returns where the server puts new content. It changes nothing.
func (d *DB) CurrentVolumes(ctx context.Context) (CurrentVolumes, error) {
	s, err := d.read(ctx)
	if err != nil {
		return CurrentVolumes{}, err
	}
	defer s.close()
	var c CurrentVolumes
	var secondary sql.NullInt16
	if err := scan(ctx, s, sqlCurrentVolumes, nil, &c.Message, &secondary, &c.Index); err != nil {
		return CurrentVolumes{}, fmt.Errorf("current volumes: %w", err)
	}
	c.Secondary = VolumeID(secondary.Int16)
	return c, nil
}
