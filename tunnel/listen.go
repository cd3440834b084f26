package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// A Forward is a port here that leads to a server there.
type Forward struct {
	Local  string // host:port to listen on, a loopback address; port 0 is any free one
	Remote string // host:port as seen from the last host, or the absolute path of a socket there

	// Exposed allows a Local that other machines can reach. Whoever can, is let through.
	Exposed bool

	// OnError is told why a connection could not be made or broke; nil: only the tool sees that. It may be called by several goroutines at
	// once.
	OnError func(error)
}

// A Listener is a port that leads through a Tunnel.
type Listener struct {
	forward  Forward
	t        *Tunnel
	listener net.Listener
	end      context.CancelFunc
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns int
}

// Listen opens a port on this machine that leads to remote: for tools that cannot be given a dialer. Programs that can need none, see
// [Tunnel.DialContext]. local must be a loopback address; anybody on this machine can connect to it. A port that is taken is an
// error that names it. The port is open until ctx ends, or until the Listener or the Tunnel is closed.
func (t *Tunnel) Listen(ctx context.Context, local, remote string) (*Listener, error) {
	ls, err := t.ListenAll(ctx, Forward{Local: local, Remote: remote})
	if err != nil {
		return nil, err
	}
	return ls[0], nil
}

// ListenAll is [Tunnel.Listen] for several ports: all of them or, after an error, none. The connection to the host is made or proven before,
// so that no port is opened that leads nowhere. The error names every port that is taken.
func (t *Tunnel) ListenAll(ctx context.Context, forwards ...Forward) ([]*Listener, error) {
	var mistakes []error
	for i := range forwards {
		mistakes = append(mistakes, forwards[i].check())
	}
	err := errors.Join(mistakes...)
	if err == nil {
		err = t.use(ctx, func(l *link) error {
			_, _, err := l.client().SendRequest("keepalive@openssh.com", true, nil)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	var ls []*Listener
	var taken []error
	for _, f := range forwards {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.Local)
		if err != nil {
			taken = append(taken, fmt.Errorf("tunnel: %w", err))
			continue
		}
		ls = append(ls, &Listener{forward: f, t: t, listener: l})
	}
	if err := errors.Join(taken...); err != nil {
		for _, l := range ls {
			l.listener.Close()
		}
		return nil, err
	}
	for _, l := range ls {
		l.start(ctx)
	}
	return ls, nil
}

func (f *Forward) check() error {
	network, err := net.ResolveTCPAddr("tcp", f.Local)
	if err != nil {
		return fmt.Errorf("tunnel: listen on %q: %w", f.Local, err)
	}
	if !network.IP.IsLoopback() && !f.Exposed {
		return fmt.Errorf("tunnel: listen on %q: others could reach that: use 127.0.0.1 or [::1], or set Exposed", f.Local)
	}
	if !strings.HasPrefix(f.Remote, "/") {
		if _, _, err := net.SplitHostPort(f.Remote); err != nil {
			return fmt.Errorf("tunnel: forward to %q: want HOST:PORT, or the path of a socket: %w", f.Remote, err)
		}
	}
	f.Local = network.String() // what was checked, and not what the name means a moment later
	return nil
}

func (l *Listener) start(ctx context.Context) {
	ctx, l.end = l.t.whileOpen(ctx)
	l.wg.Go(func() {
		stop := context.AfterFunc(ctx, func() { l.listener.Close() })
		defer stop()
		for {
			c, err := l.listener.Accept()
			switch {
			case ctx.Err() != nil:
				if err == nil {
					c.Close()
				}
				return
			case err != nil:
				l.report(fmt.Errorf("listen on %s: %w", l.Addr(), err))
				l.end() // such as too many open files; whoever waits for the port must see it gone
				continue
			}
			l.count(1)
			l.wg.Go(func() {
				defer l.count(-1)
				if err := l.serve(ctx, c.(*net.TCPConn)); err != nil && ctx.Err() == nil {
					l.report(fmt.Errorf("%s to %s: %w", l.Addr(), l.forward.Remote, err))
				}
			})
		}
	})
}

// serve makes one connection. One that breaks is reset, so that the tool does not take what it got for everything.
func (l *Listener) serve(ctx context.Context, near *net.TCPConn) error {
	defer near.Close()
	network := "tcp"
	if strings.HasPrefix(l.forward.Remote, "/") {
		network = "unix"
	}
	far, err := l.t.DialContext(ctx, network, l.forward.Remote)
	if err != nil {
		near.SetLinger(0)
		return err
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() { abort(near, far) })
	defer stop()
	ended := make(chan error, 2)
	copyTo := func(dst net.Conn, src net.Conn) {
		_, err := io.Copy(dst, src)
		if err == nil {
			err = dst.(interface{ CloseWrite() error }).CloseWrite()
		}
		ended <- err // before the other direction gets an error of abort's making
		if err != nil {
			abort(near, far)
		}
	}
	go copyTo(far, near)
	go copyTo(near, far)
	first, second := <-ended, <-ended
	if first == nil {
		return second
	}
	return first
}

func abort(near *net.TCPConn, far net.Conn) {
	near.SetLinger(0)
	near.Close()
	far.Close()
}

func (l *Listener) report(err error) {
	if l.forward.OnError != nil {
		l.forward.OnError(err)
	}
}

func (l *Listener) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns += n
}

// Addr is where the Listener listens.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Conns is how many connections go through the Listener now.
func (l *Listener) Conns() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns
}

// Close closes the port and ends its connections, and returns when they are gone. It may be repeated, and must be called also when ctx has
// ended, by whoever wants to know that they are.
func (l *Listener) Close() error {
	l.end()
	l.listener.Close()
	l.wg.Wait()
	return nil
}
