package tunnel

import (
	"bufio"
	"net"
	"sync"
)

// readAhead is how much is taken from the network at a time; golang.org/x/crypto/ssh alone would ask the kernel twice for a packet of 32 KiB.
// From the last host it is much more than the kernel ever has, of which the rest is never touched. That keeps the collector away: each packet
// becomes a slice of its own there, and in a process that holds little else every few dozen of them were a reason to collect, which took as
// long as everything else about them.
const (
	readAhead     = 256 << 10
	readAheadLast = 8 << 20
)

// batch is how much goes through a wire before those who wait for more are called.
const batch = 256 << 10

// A wire is the connection below SSH. It reads ahead, writes behind, and knows whether anything comes.
type wire struct {
	net.Conn
	out   *outbox
	ahead *bufio.Reader
	since int // bytes since the last call of those who wait

	mu    sync.Mutex
	reads int           // from the network
	busy  bool          // there is more to be read without waiting for the network
	over  bool          // closed
	more  chan struct{} // closed, and replaced, when a batch has gone through, or all that had come
}

func newWire(c net.Conn, ahead int) *wire {
	return &wire{Conn: c, out: newOutbox(c), ahead: bufio.NewReaderSize(c, ahead), more: make(chan struct{})}
}

// Read is called by one goroutine at a time.
func (w *wire) Read(p []byte) (int, error) {
	if w.ahead.Buffered() == 0 {
		w.since = 0
		w.call(false)
		_, err := w.ahead.Peek(1) // waits for the network
		w.mu.Lock()
		w.reads++
		w.busy = err == nil && !w.over
		w.mu.Unlock()
	} else if w.since >= batch {
		w.since = 0
		w.call(true)
	}
	n, err := w.ahead.Read(p)
	w.since += n
	return n, err
}

func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

// Close also lets go of those who wait: SSH may have ended with half of a batch unread.
func (w *wire) Close() error {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.call(false)
	w.out.close()
	return w.Conn.Close()
}

func (w *wire) call(busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = busy && !w.over
	close(w.more)
	w.more = make(chan struct{})
}

// wait lets more come, if more is on its way already: whoever is woken for every single packet spends more on waking up than on the packet.
func (w *wire) wait() {
	w.mu.Lock()
	busy, more := w.busy, w.more
	w.mu.Unlock()
	if busy {
		<-more
	}
}

// heard is how often something came.
func (w *wire) heard() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
}
