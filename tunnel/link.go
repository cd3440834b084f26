package tunnel

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// A link is one connection: a client for each host, the last of which is the one to use.
type link struct {
	clients []*ssh.Client
	wire    *wire         // below the last client
	wires   []*wire       // below each
	dead    chan struct{} // closed when the last client has ended
}

// dial makes a link.
func (t *Tunnel) dial(ctx context.Context) (*link, error) {
	l := &link{dead: make(chan struct{})}
	dial := (&net.Dialer{}).DialContext
	for i := range t.hosts {
		h := &t.hosts[i]
		ahead := readAhead
		if h == t.last() {
			ahead = readAheadLast
		}
		client, wire, err := h.login(ctx, dial, t.unlocked, ahead)
		if err != nil {
			l.close()
			if i > 0 {
				return nil, fmt.Errorf("ssh to %s through %s: %w", h, &t.hosts[i-1], err)
			}
			return nil, fmt.Errorf("ssh to %s: %w", h, err)
		}
		l.clients, l.wires, l.wire = append(l.clients, client), append(l.wires, wire), wire
		dial = client.DialContext
	}
	go func() { // ends with the connection
		l.client().Wait()
		l.close()
		close(l.dead)
	}()
	go l.watch(t.last().KeepAlive) // the same
	return l, nil
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

// watch closes the link when the last host has said nothing for three intervals, although it was asked. TCP cannot tell: it may stay up
// while the host's sshd hangs, and it ends at the first host of a chain. Anything that comes is a sign of life; an answer to our question
// alone would be too much to ask where megabytes wait to be sent before it.
func (l *link) watch(interval time.Duration) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	answered := make(chan struct{}, 1)
	answered <- struct{}{}
	for seen, silent := -1, 0; ; timer.Reset(interval) {
		select {
		case <-timer.C:
		case <-l.dead:
			return
		}
		if heard := l.wire.heard(); heard != seen {
			seen, silent = heard, 0
		} else if silent++; silent == 2 {
			for _, w := range l.wires {
				w.out.fail(net.ErrClosed) // which nobody takes any more, and close need not wait for
			}
			l.close()
			return
		}
		select {
		case <-answered:
			go func() { // ends with the answer, or with the connection
				l.alive()
				answered <- struct{}{}
			}()
		default: // asked already
		}
	}
}

// close may be repeated. The first client goes first: what is closed through a connection that hangs would wait for it.
func (l *link) close() {
	for _, c := range l.clients {
		c.Close()
	}
}
