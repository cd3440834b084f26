package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// A Tunnel is a way to a host. Many goroutines may use it.
type Tunnel struct {
	hosts    []Host
	commands chan struct{} // a token for each command that runs
	kills    chan struct{} // and for each that ends one
	closed   chan struct{}

	lock chan struct{} // guards what follows, also while dialling; a channel, because those who wait have contexts
	link *link         // nil: none yet, or none any more
}

// The server allows ten sessions on a connection; eight commands leave these two.
const maxKills = 2

// Open connects to the last of the hosts, each through the one before, and returns when it has let us in. Mistakes in every Host are
// reported before anything is dialled. ctx bounds the opening only.
func Open(ctx context.Context, hosts ...Host) (*Tunnel, error) {
	t, err := New(hosts...)
	if err != nil {
		return nil, err
	}
	if _, _, err := t.connected(ctx, nil); err != nil {
		return nil, err
	}
	return t, nil
}

// New is [Open] without the connection, which is made by the first use: what Open would have said is then that call's error, and the
// next call tries again. Mistakes in every Host are reported at once. No file is read.
func New(hosts ...Host) (*Tunnel, error) {
	if len(hosts) == 0 {
		return nil, errors.New("tunnel: no host")
	}
	t := &Tunnel{closed: make(chan struct{}), lock: make(chan struct{}, 1), kills: make(chan struct{}, maxKills)}
	var mistakes []error
	for _, h := range hosts {
		mistakes = append(mistakes, h.check())
		t.hosts = append(t.hosts, h.withDefaults())
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	t.commands = make(chan struct{}, t.last().Commands)
	return t, nil
}

// Close ends the connection; what is under way on it fails. It may be repeated. Connections from DialContext must be closed too.
func (t *Tunnel) Close() error {
	t.lock <- struct{}{}
	defer func() { <-t.lock }()
	if !t.isClosed() {
		close(t.closed)
	}
	if t.link != nil {
		t.link.close()
		t.link = nil
	}
	return nil
}

func (t *Tunnel) last() *Host { return &t.hosts[len(t.hosts)-1] }

func (t *Tunnel) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// A link is one connection: a client for each host, the last of which is the one to use.
type link struct {
	clients []*ssh.Client
	dead    chan struct{} // closed when the last client has ended
}

func (l *link) client() *ssh.Client { return l.clients[len(l.clients)-1] }

func (l *link) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// alive asks the host for any answer. It tells a dead link from one that refuses something.
func (l *link) alive() bool {
	_, _, err := l.client().SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}

// close may be repeated.
func (l *link) close() {
	for i := len(l.clients) - 1; i >= 0; i-- {
		l.clients[i].Close()
	}
}

// connected returns the link, or a fresh one if there is none that lives or if it is the one that failed the caller.
func (t *Tunnel) connected(ctx context.Context, failed *link) (l *link, fresh bool, err error) {
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	switch {
	case t.isClosed():
		return nil, false, ErrClosed
	case t.link != nil && t.link != failed && !t.link.isDead():
		return t.link, false, nil
	case t.link != nil:
		t.link.close()
		t.link = nil
	}
	t.link, err = t.dial(ctx)
	return t.link, true, err
}

func (t *Tunnel) dial(ctx context.Context) (*link, error) {
	l := &link{dead: make(chan struct{})}
	// A far side that vanished is noticed within a minute, even when nothing is sent.
	dial := (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 20 * time.Second, Interval: 10 * time.Second, Count: 4}}).DialContext
	for i := range t.hosts {
		client, err := t.hosts[i].connect(ctx, dial)
		if err != nil {
			l.close()
			return nil, err
		}
		l.clients = append(l.clients, client)
		dial = client.DialContext
	}
	go func() { // ends with the connection
		l.client().Wait()
		l.close()
		close(l.dead)
	}()
	return l, nil
}

// use calls f with a link, and once more with a fresh one if the link turned out to be dead. f must not have had an effect when it fails.
func (t *Tunnel) use(ctx context.Context, f func(*link) error) error {
	l, fresh, err := t.connected(ctx, nil)
	if err != nil {
		return err
	}
	err = f(l)
	var refused *ssh.OpenChannelError
	if err == nil || fresh || ctx.Err() != nil || errors.As(err, &refused) || l.alive() {
		return err
	}
	if l, _, err = t.connected(ctx, l); err != nil {
		return fmt.Errorf("connect again: %w", err)
	}
	return f(l)
}
