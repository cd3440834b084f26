package tunnel

import (
	"net"
	"sync"
	"time"
)

// An outbox is what SSH has written and the network has not taken yet. golang.org/x/crypto/ssh writes each packet of 32 KiB in two pieces; here what
// is written while the network takes one piece goes out with the next.
type outbox struct {
	conn net.Conn

	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte
	spare   []byte // memory of what has gone out
	sending bool   // a goroutine is, until nothing waits
	err     error  // why no more goes out
}

const (
	// outboxSize is how much may wait before a Write does.
	outboxSize = 256 << 10
	// lastWords is how long Close waits for what was written before.
	lastWords = time.Second
)

func newOutbox(c net.Conn) *outbox {
	o := &outbox{conn: c}
	o.changed = sync.NewCond(&o.mu)
	return o
}

// Write takes all of p, and waits where too much is there already. An error of the network is that of the next Write.
func (o *outbox) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) >= outboxSize && o.err == nil {
		o.changed.Wait()
	}
	if o.err != nil {
		return 0, o.err
	}
	o.waiting = append(o.waiting, p...)
	if !o.sending {
		o.sending = true
		go o.send()
	}
	return len(p), nil
}

func (o *outbox) send() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) > 0 && o.err == nil {
		b := o.waiting
		o.waiting, o.spare = o.spare[:0], nil
		o.mu.Unlock()
		_, err := o.conn.Write(b)
		o.mu.Lock()
		o.spare = b
		if o.err == nil {
			o.err = err
		}
		o.changed.Broadcast()
	}
	o.sending = false
	o.changed.Broadcast()
}

// close lets what was written go out, as far as the network takes it at once, and has every later Write fail.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sending {
		_ = o.conn.SetWriteDeadline(time.Now().Add(lastWords)) // where that is not possible, its end is Close's
		late := time.AfterFunc(lastWords, func() { o.fail(net.ErrClosed) })
		defer late.Stop()
	}
	for o.sending && o.err == nil {
		o.changed.Wait()
	}
	if o.err == nil {
		o.err = net.ErrClosed
	}
	o.changed.Broadcast()
}

func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	o.changed.Broadcast()
}
