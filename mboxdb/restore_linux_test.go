package mboxdb_test

import (
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The disk is full, in the way that a process can have it for itself: no file may grow further.
func TestDumpFileOnAFullDisk(t *testing.T) {
	m := newMove(t, 600)
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	for _, kind := range kinds {
		dir := t.TempDir()
		var old unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: old.Max}))
		_, err := m.srcDB.DumpFile(t.Context(), filepath.Join(dir, kind), m.from, nil)
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
		require.ErrorIs(t, err, unix.EFBIG, kind)
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, files, kind)
	}
}
