package tunnel_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/tunnel"
)

// echo answers everybody with what they sent, once they have sent it all.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				text, _ := io.ReadAll(c)
				c.Write(text)
			}()
		}
	}()
	return l.Addr().String()
}

func TestListen(t *testing.T) {
	tun := here(t)
	l, err := tun.Listen(t.Context(), "127.0.0.1:0", echo(t))
	require.NoError(t, err)
	defer l.Close()
	text := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{3}).Read(text)
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		go func() {
			c.Write(text)
			c.(*net.TCPConn).CloseWrite() // only then the answer comes
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(text, got))
		c.Close()
	}
	require.Eventually(t, func() bool { return l.Conns() == 0 }, 10*time.Second, time.Millisecond)

	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool { return l.Conns() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, l.Close())
	require.Zero(t, l.Conns())
	_, err = io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET, "what was cut must not look like an end")
	require.NoError(t, l.Close(), "twice")
	refused(t, l)
}

func refused(t *testing.T, l *tunnel.Listener) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond, "the port is still open")
}

func TestListenEnds(t *testing.T) {
	tun := here(t)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := tun.Listen(ctx, "localhost:0", echo(t))
	require.NoError(t, err)
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	cancel()
	refused(t, l)
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, l.Close())

	l, err = tun.Listen(t.Context(), "127.0.0.1:0", echo(t))
	require.NoError(t, err)
	require.NoError(t, tun.Close())
	refused(t, l)
	require.NoError(t, l.Close())
	_, err = tun.Listen(t.Context(), "127.0.0.1:0", echo(t))
	require.ErrorIs(t, err, tunnel.ErrClosed)
}

// Several ports are opened together, or none of them.
func TestListenAllOrNone(t *testing.T) {
	tun, to := here(t), echo(t)
	var free []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		free = append(free, l.Addr().String())
		l.Close()
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()

	_, err = tun.ListenAll(t.Context(), tunnel.Forward{Local: free[0], Remote: to}, tunnel.Forward{Local: taken.Addr().String(), Remote: to},
		tunnel.Forward{Local: free[1], Remote: to})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, taken.Addr().String())
	ls, err := tun.ListenAll(t.Context(), tunnel.Forward{Local: free[0], Remote: to}, tunnel.Forward{Local: free[1], Remote: to})
	require.NoError(t, err, "the free ones were left open")
	require.Len(t, ls, 2)
	for i, l := range ls {
		require.Equal(t, free[i], l.Addr().String())
		require.NoError(t, l.Close())
	}
}

func TestListenForThisMachineOnly(t *testing.T) {
	tun, to := here(t), echo(t)
	for _, local := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "nowhere", "127.0.0.1"} {
		_, err := tun.Listen(t.Context(), local, to)
		require.ErrorContains(t, err, strconv.Quote(local))
	}
	ls, err := tun.ListenAll(t.Context(), tunnel.Forward{Local: "0.0.0.0:0", Remote: to, Exposed: true})
	require.NoError(t, err)
	require.NoError(t, ls[0].Close())
	_, err = tun.Listen(t.Context(), "127.0.0.1:0", "nowhere")
	require.ErrorContains(t, err, `"nowhere"`)
}

// A connection that cannot be made, or breaks, is reset, and OnError knows why.
func TestListenReports(t *testing.T) {
	p := newProxy(t, store(t))
	tun := open(t, p.Host)
	errs := make(chan error, 10)
	ls, err := tun.ListenAll(t.Context(),
		tunnel.Forward{Local: "127.0.0.1:0", Remote: "127.0.0.1:1", OnError: func(err error) { errs <- err }},
		tunnel.Forward{Local: "127.0.0.1:0", Remote: store(t).MySQLAddr, OnError: func(err error) { errs <- err }})
	require.NoError(t, err)
	defer ls[0].Close()
	defer ls[1].Close()

	c, err := net.Dial("tcp", ls[0].Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.ErrorContains(t, <-errs, "127.0.0.1:1")

	c, err = net.Dial("tcp", ls[1].Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 5))
	require.NoError(t, err, "MySQL's greeting")
	p.cut()
	_, err = io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.ErrorIs(t, <-errs, tunnel.ErrLost)
}
