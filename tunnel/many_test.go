package tunnel_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// listening are the sockets of this process that somebody could connect to: addresses, and names of sockets.
func listening(t *testing.T) []string {
	t.Helper()
	own := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	var found []string
	for file, column := range map[string]struct{ inode, state, name int }{
		"tcp": {9, 3, 1}, "tcp6": {9, 3, 1}, "unix": {6, 3, 7},
	} {
		text, err := os.ReadFile("/proc/self/net/" + file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) <= column.inode || !own[f[column.inode]] {
				continue
			}
			if state := f[column.state]; state == "0A" || file == "unix" && state == "00010000" { // TCP_LISTEN, __SO_ACCEPTCON
				found = append(found, fmt.Sprint(file, " ", append(f, "")[min(column.name, len(f))]))
			}
		}
	}
	return found
}

// 200 connections to a database at once, all through one connection to its host, and no port of ours is open for them.
func TestManyDatabaseConnections(t *testing.T) {
	const many = 200
	s := store(t)
	root := s.RootDB(t)
	var before int
	require.NoError(t, root.QueryRow("SELECT @@GLOBAL.max_connections").Scan(&before))
	_, err := root.Exec("SET GLOBAL max_connections = ?", many+50)
	require.NoError(t, err)
	t.Cleanup(func() { // after those connections are closed
		require.Eventually(t, func() bool {
			var n int
			return root.QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST").Scan(&n) == nil && n < before
		}, time.Minute, 10*time.Millisecond)
		_, err := root.Exec("SET GLOBAL max_connections = ?", before)
		require.NoError(t, err)
	})

	require.Empty(t, listening(t), "left behind by another test")
	p := newProxy(t, s) // counts connections
	tun := open(t, p.Host)
	proxys := listening(t)
	require.Len(t, proxys, 1, "the proxy's: this finds what there is")
	require.NoError(t, p.listener.Close())

	db := mysqlThrough(t, tun, func(*mysql.Config) {})
	db.SetMaxOpenConns(many)
	db.SetMaxIdleConns(many)
	ids := make([]int, many)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ready, g errgroup.Group
	// The server's queue (back_log) has room for 80 that it has not taken yet, and connections beyond may wait for ever.
	ready.SetLimit(40)
	all := make(chan struct{})
	for i := range many {
		ready.Go(func() error {
			c, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			g.Go(func() error {
				defer c.Close()
				<-all
				return c.QueryRowContext(ctx, "SELECT CONNECTION_ID() FROM (SELECT SLEEP(0.05)) s").Scan(&ids[i])
			})
			return nil
		})
	}
	err = ready.Wait()
	sockets, dials := listening(t), p.dialled()
	close(all)
	require.NoError(t, err)
	require.NoError(t, g.Wait())
	require.Empty(t, sockets)
	require.Equal(t, 1, dials, "connections to the host")
	different := map[int]bool{}
	for _, id := range ids {
		different[id] = true
	}
	require.Len(t, different, many, "connections to the database")

	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	require.Len(t, listening(t), 1, "a socket file would have been found too")
}
