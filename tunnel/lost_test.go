package tunnel_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/tunnel"
)

// Reconnecting to a server that is away for a moment, also for many at once; and nothing is run twice.
func TestServerRestarts(t *testing.T) {
	s := newSSHD(t, "MaxStartups 2:100:2") // a second handshake at a time is turned away
	s.Reconnects = 100
	tun := open(t, s.Host)
	runs := s.file("runs")
	for range 2 {
		s.kill()
		var g errgroup.Group
		for range 4 {
			g.Go(func() error {
				return tun.Run(soon(t), []string{"sh", "-c", `echo ran >> "$1"`, "sh", runs}, nil, nil, nil)
			})
			g.Go(func() error {
				c, err := tun.DialContext(soon(t), "tcp", s.Addr)
				return errors.Join(err, closeIf(c))
			})
		}
		time.Sleep(300 * time.Millisecond) // the first attempts fail
		s.start(t)
		require.NoError(t, g.Wait())
	}
	text, err := os.ReadFile(runs)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("ran\n", 8), string(text))
}

func closeIf(c io.Closer) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// Who waits for somebody else's attempt gets its error and does not make the host's silence last longer.
func TestServerStaysAway(t *testing.T) {
	s := newSSHD(t, "")
	s.Reconnects = 1
	tun := open(t, s.Host)
	s.kill()
	results := make(chan error)
	var attempts atomic.Int32
	l, err := net.Listen("tcp", s.Addr) // somebody who hangs up on everybody
	require.NoError(t, err)
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			attempts.Add(1)
			c.Close()
		}
	}()
	for range 50 {
		go func() { results <- tun.Run(soon(t), []string{"true"}, nil, nil, nil) }()
	}
	for range 50 {
		err := <-results
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
	require.Less(t, int(attempts.Load()), 50, "each made its own")
	l.Close()
	// Closing does not wait for the attempts to end.
	s.start(t)
	s.Reconnects = 1000
	tun = open(t, s.Host)
	s.kill()
	go func() { results <- tun.Run(soon(t), []string{"true"}, nil, nil, nil) }()
	time.Sleep(50 * time.Millisecond)
	require.NoError(t, tun.Close())
	require.ErrorIs(t, <-results, tunnel.ErrClosed)
}

// A changed host key is no outage.
func TestServerComesBackAsAnother(t *testing.T) {
	s := newSSHD(t, "")
	s.Reconnects = 1000
	tun := open(t, s.Host)
	s.kill()
	s.key(t, "host", "")
	s.start(t)
	err := tun.Run(soon(t), []string{"true"}, nil, nil, nil)
	require.ErrorIs(t, err, tunnel.ErrHostKey)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "tried again")
}

// A peer that hangs while its TCP connection stays up is given up, and what was under way is lost; at the end of a chain too.
func TestDeadPeer(t *testing.T) {
	s, gate := newSSHD(t, ""), newSSHD(t, "")
	s.KeepAlive = 50 * time.Millisecond
	for name, hosts := range map[string][]tunnel.Host{"direct": {s.Host}, "behind another": {gate.Host, s.Host}} {
		t.Run(name, func(t *testing.T) {
			tun := open(t, hosts...)
			c, err := tun.DialContext(t.Context(), "tcp", gate.Addr)
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Read(make([]byte, 1))
			require.NoError(t, err, "sshd's greeting")
			running, ended := background(t.Context(), tun, nil)
			pids := <-running
			time.Sleep(4 * s.KeepAlive) // silent, but alive
			select {
			case err := <-ended:
				t.Fatalf("a live peer was given up: %v", err)
			default:
			}

			s.signal(syscall.SIGSTOP)
			require.ErrorIs(t, <-ended, tunnel.ErrLost)
			_, err = io.Copy(io.Discard, c)
			require.ErrorIs(t, err, tunnel.ErrLost)
			s.signal(syscall.SIGKILL)
			output(t, tun, "sh", "-c", `kill -KILL "$@" || :`, "sh", strings.Fields(pids)[0], strings.Fields(pids)[1]) // by a new connection
		})
	}
}

// The same with a network that swallows everything, while as much is being sent as goes.
func TestDeadNetwork(t *testing.T) {
	p := newProxy(t, store(t))
	p.Host.KeepAlive = 50 * time.Millisecond
	tun := open(t, p.Host)
	ended := make(chan error)
	go func() { ended <- tun.Run(t.Context(), []string{"sh", "-c", "cat > /dev/null"}, zeros(1<<40), nil, nil) }()
	time.Sleep(200 * time.Millisecond)
	close(p.frozen)
	require.ErrorIs(t, <-ended, tunnel.ErrLost)
}

// A peer that may not send, because nobody takes what it sent before, is not taken for dead.
func TestBusyPeer(t *testing.T) {
	s := newSSHD(t, "")
	s.KeepAlive = 200 * time.Millisecond
	tun := open(t, s.Host)
	r, w := io.Pipe()
	go func() {
		time.Sleep(4 * s.KeepAlive)
		io.Copy(io.Discard, r)
	}()
	require.NoError(t, tun.Run(t.Context(), []string{"head", "-c", "20000000", "/dev/zero"}, nil, w, nil))
}
