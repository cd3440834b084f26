package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// DialContext connects to addr as seen from the last host; networks are those of the host's sshd: tcp, and unix for a socket file there.
// ctx bounds the dialling only. Deadlines of the connection work as those of any network connection do; its Read returns io.EOF only
// if the far end finished, and an error that is [ErrLost] if the connection to the host broke. It has a CloseWrite.
//
// Close sends what was written, in the background, for at most ten seconds.
func (t *Tunnel) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var c net.Conn
	err := t.use(ctx, func(l *link) error {
		far, err := l.client().DialContext(ctx, network, addr)
		if err != nil {
			return err
		}
		c = newConn(l, far, namedAddr{network, t.last().Addr}, namedAddr{network, addr})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s from %s: %w", addr, t.last(), err)
	}
	return c, nil
}

// linger is how long a closed connection may take to get rid of what was written to it.
const linger = 10 * time.Second

// A conn is a channel with deadlines. Reads and writes of a channel cannot be interrupted, not even by closing it when the network
// hangs; so two goroutines do them, and the caller talks to those through an inbox and a pipe, which have deadlines.
type conn struct {
	in            *inbox
	out           net.Conn // the caller's end of the pipe
	local, remote net.Addr
	channel       halfCloser
	sent          chan struct{} // closed when the last that was written has been sent

	lost   atomic.Bool // the connection to the host broke
	closed atomic.Bool
	once   sync.Once
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

func newConn(l *link, far net.Conn, local, remote net.Addr) *conn {
	out, outFar := net.Pipe()
	c := &conn{in: newInbox(), out: out, local: local, remote: remote, channel: far.(halfCloser), sent: make(chan struct{})}
	go c.in.fill(c.channel, l.wire.wait, func(err error) error { // ends with the channel, or when the caller has closed c
		if err == io.EOF && !c.closed.Load() && !l.alive() {
			c.lost.Store(true) // a channel ends the same way whether the far end finished or the link died
			return ErrLost
		}
		return err
	})
	go func() { // ends with the channel, or when the caller has closed c
		defer close(c.sent)
		if _, err := io.Copy(c.channel, outFar); err == nil {
			c.channel.CloseWrite()
		} else if !c.closed.Load() && !l.alive() {
			c.lost.Store(true)
		}
		outFar.Close()
	}()
	return c
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if err != nil && err != io.EOF {
		err = c.failed("read", err)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	var pipe *net.OpError
	switch {
	case err == nil:
		return n, nil
	case errors.As(err, &pipe): // a deadline
		err = pipe.Err
	case c.closed.Load():
		err = net.ErrClosed
	case c.lost.Load():
		err = ErrLost
	case errors.Is(err, io.ErrClosedPipe):
		err = syscall.EPIPE
	}
	return n, c.failed("write", err)
}

// failed makes of err one of a network connection.
func (c *conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// CloseWrite tells the far end that nothing more will be written. Reading goes on.
func (c *conn) CloseWrite() error { return c.out.Close() }

func (c *conn) Close() error {
	c.once.Do(func() {
		c.closed.Store(true)
		c.in.close()
		c.out.Close()
		go func() { // ends within linger, or with the connection
			select {
			case <-c.sent:
			case <-time.After(linger):
			}
			c.channel.Close()
		}()
	})
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.until.at(t)
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// A namedAddr is an address as the caller gave it; only the host knows what it resolves to.
type namedAddr struct{ network, addr string }

func (a namedAddr) Network() string { return a.network }
func (a namedAddr) String() string  { return a.addr }
