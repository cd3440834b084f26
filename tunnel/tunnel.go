package tunnel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/zmlift/zmlift/internal/backoff"
)

// A Tunnel is a way to a host. Many goroutines may use it.
type Tunnel struct {
	hosts    []Host
	commands chan struct{} // a token for each command that runs
	kills    chan struct{} // and for each that ends one
	closed   chan struct{}
	once     sync.Once

	lock     chan struct{} // guards what follows, also while dialling; a channel, because those who wait have contexts
	link     *link         // nil: none yet, or none any more
	linked   bool          // there was one
	outage   outage
	unlocked keyring
}

// An outage is an attempt to connect that failed.
type outage struct {
	ended time.Time
	err   error
}

// The server allows ten sessions on a connection; eight commands leave these two.
const maxKills = 2

// Open connects to the last of the hosts, each through the one before, and returns when it has let us in. Mistakes in every Host are
// reported before anything is dialled. ctx bounds the opening only. It tries once.
func Open(ctx context.Context, hosts ...Host) (*Tunnel, error) {
	t, err := New(hosts...)
	if err != nil {
		return nil, err
	}
	if _, err := t.connected(ctx, nil); err != nil {
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
	t := &Tunnel{
		closed: make(chan struct{}), lock: make(chan struct{}, 1), kills: make(chan struct{}, maxKills), unlocked: keyring{},
	}
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

// Close ends the connection and every [Listener]; what is under way fails. It may be repeated. Connections from DialContext must be closed
// too.
func (t *Tunnel) Close() error {
	t.once.Do(func() { close(t.closed) }) // whoever dials holds the lock, and stops
	t.lock <- struct{}{}
	defer func() { <-t.lock }()
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

// whileOpen is ctx, which also ends when the tunnel is closed.
func (t *Tunnel) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with ctx
		select {
		case <-t.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// connected returns the link, or a fresh one if there is none that lives or if it is the one that failed the caller.
func (t *Tunnel) connected(ctx context.Context, failed *link) (*link, error) {
	began := time.Now()
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case t.isClosed():
		return nil, ErrClosed
	case t.link != nil && t.link != failed && !t.link.isDead():
		return t.link, nil
	case t.outage.ended.After(began):
		return nil, t.outage.err // somebody tried while this call waited for its turn
	case t.link != nil:
		t.link.close()
		t.link = nil
	}
	l, err := t.dialPatiently(ctx)
	switch {
	case err == nil:
		t.link, t.linked = l, true
		return l, nil
	case ctx.Err() != nil:
		return nil, err // says nothing about the host
	case t.isClosed():
		return nil, ErrClosed
	}
	t.outage = outage{time.Now(), err}
	return nil, err
}

// dialPatiently dials, and again if there was a connection before: then the hosts and their keys were right, and a server that is restarted
// comes back.
func (t *Tunnel) dialPatiently(ctx context.Context) (l *link, err error) {
	ctx, cancel := t.whileOpen(ctx)
	defer cancel()
	policy := backoff.Policy{Tries: 1, First: 250 * time.Millisecond}
	if t.linked && t.last().Reconnects > 0 {
		policy.Tries += t.last().Reconnects
	}
	passes := func(err error) bool {
		return ctx.Err() == nil && !errors.Is(err, ErrHostKey) && !errors.Is(err, ErrAuth)
	}
	err = backoff.Retry(ctx, policy, passes, func(ctx context.Context) error {
		l, err = t.dial(ctx)
		return err
	})
	return l, err
}

// maxUses is how many connections one call may find dead.
const maxUses = 3

// use calls f with a link, and again with a fresh one if the link turned out to be dead. f must not have had an effect when it fails.
func (t *Tunnel) use(ctx context.Context, f func(*link) error) error {
	var failed *link
	for try := 1; ; try++ {
		l, err := t.connected(ctx, failed)
		if err != nil {
			if failed != nil {
				err = fmt.Errorf("connect again: %w", err)
			}
			return err
		}
		err = f(l)
		var refused *ssh.OpenChannelError
		switch {
		case err == nil || ctx.Err() != nil || errors.As(err, &refused) || l.alive():
			return err
		case try == maxUses:
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		failed = l
	}
}
