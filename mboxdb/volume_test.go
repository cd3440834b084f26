package mboxdb_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

func TestVolumePaths(t *testing.T) {
	installed := mboxdb.Volume{FileBits: 12, FileGroupBits: 8, MailboxBits: 12, MailboxGroupBits: 8}
	tests := []struct {
		v    mboxdb.Volume
		id   mboxdb.MailboxID
		item uint32
		dir  string
		blob string
	}{
		{installed, 1, 1, "0/1", "msg/0/1-7.msg"},
		{installed, 4095, 4095, "0/4095", "msg/0/4095-7.msg"},
		{installed, 4096, 4096, "1/4096", "msg/1/4096-7.msg"},
		{installed, 1<<20 - 1, 1<<20 - 1, "255/1048575", "msg/255/1048575-7.msg"},
		{installed, 1 << 20, 1 << 20, "0/1048576", "msg/0/1048576-7.msg"}, // shifted alone it would be 256
		{installed, 1052700, 1052700, "1/1052700", "msg/1/1052700-7.msg"},
		{installed, 1<<32 - 1, 1<<32 - 1, "255/4294967295", "msg/255/4294967295-7.msg"},
		{mboxdb.Volume{FileBits: 20, FileGroupBits: 4, MailboxBits: 8, MailboxGroupBits: 2}, 1052700, 1 << 24, "0/1052700", "msg/0/16777216-7.msg"},
		{mboxdb.Volume{FileBits: 20, FileGroupBits: 4, MailboxBits: 8, MailboxGroupBits: 2}, 1052700 + 768, 5 << 20, "3/1053468", "msg/5/5242880-7.msg"},
	}
	for _, tt := range tests {
		require.Equal(t, tt.dir, tt.v.MailboxDir(tt.id), "%+v", tt)
		require.Equal(t, tt.blob, tt.v.BlobName(tt.item, 7), "%+v", tt)
	}
	for store, files := range map[int]bool{0: true, 1: true, 2: false, 3: false} {
		require.Equal(t, files, mboxdb.Volume{StoreType: store}.Files(), store)
	}
}

func TestVolumes(t *testing.T) {
	l := lab.Shared(t)
	db := openDB(t, l.Stores[0])
	vs, err := db.Volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, vs, 3)
	require.Equal(t, mboxdb.Volume{
		ID: 3, Type: mboxdb.Secondary, Name: "hsm1", Path: l.Stores[0].Home + "/hsm", FileBits: vs[0].FileBits, FileGroupBits: vs[0].FileGroupBits,
		MailboxBits: vs[0].MailboxBits, MailboxGroupBits: vs[0].MailboxGroupBits, Compress: true, CompressionThreshold: 4096, StoreType: vs[0].StoreType,
		StoreManager: vs[0].StoreManager,
	}, vs[2])
	require.True(t, vs[2].Files())
	current, err := db.CurrentVolumes(t.Context())
	require.NoError(t, err)
	require.Equal(t, mboxdb.CurrentVolumes{Message: 1, Secondary: 3, Index: 2}, current)
	current, err = openDB(t, l.Stores[1]).CurrentVolumes(t.Context())
	require.NoError(t, err)
	require.Equal(t, mboxdb.CurrentVolumes{Message: 5, Index: 7}, current, "no secondary volume")
}

// Such a row would be shifted by, which panics.
func TestVolumeWithNegativeBits(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	for column, bits := range map[string]int{"file_bits": -1, "file_group_bits": -1, "mailbox_bits": -8, "mailbox_group_bits": 32} {
		var before int
		require.NoError(t, s.RootDB(t).QueryRow("SELECT "+column+" FROM zimbra.volume WHERE id = 3").Scan(&before))
		mustExec(t, s.RootDB(t), fmt.Sprintf("UPDATE zimbra.volume SET %s = %d WHERE id = 3", column, bits))
		_, err := openDB(t, s).Volumes(t.Context())
		mustExec(t, s.RootDB(t), fmt.Sprintf("UPDATE zimbra.volume SET %s = %d WHERE id = 3", column, before))
		var volume *mboxdb.VolumeError
		require.ErrorAs(t, err, &volume, column)
		require.EqualError(t, volume, fmt.Sprintf("volume 3 (hsm1): %s is %d, and must be 0 to 31", column, bits))
	}
}

func ExampleVolume_MailboxDir() {
	v := mboxdb.Volume{Path: "/opt/zimbra/store", FileBits: 12, FileGroupBits: 8, MailboxBits: 12, MailboxGroupBits: 8}
	fmt.Println(v.Path + "/" + v.MailboxDir(1052700) + "/" + v.BlobName(257, 3))
	// Output: /opt/zimbra/store/1/1052700/msg/0/257-3.msg
}
