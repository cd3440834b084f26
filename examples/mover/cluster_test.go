package main

import (
	"net"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// A connection that was made and never taken by the server.
func TestDatabaseThatSaysNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c := mysql.NewConfig()
	c.Net, c.Addr, c.Timeout = "tcp", l.Addr().String(), 50*time.Millisecond
	pool, err := openPool(c)
	require.NoError(t, err)
	defer pool.Close()
	require.EqualError(t, pool.PingContext(t.Context()),
		"connecting to the database server "+c.Addr+": it did not let us in within 50ms")
}
