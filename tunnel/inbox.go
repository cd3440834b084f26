package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
)

// An inbox is what has come through a channel and was not read yet: one goroutine fills it, a buffer at a time, and readers with a deadline
// empty it. It holds two buffers, which grow only where much comes at once.
type inbox struct {
	full   chan []byte   // filled; closed at the end
	empty  chan []byte   // to be filled
	closed chan struct{} // nobody reads any more
	once   sync.Once
	until  *deadline

	reading sync.Mutex
	rest    []byte // of the buffer being read
	buffer  []byte // that buffer
	end     error  // what closed full; set before that
}

const (
	smallBuffer = 8 << 10
	largeBuffer = 256 << 10
)

func newInbox() *inbox {
	b := &inbox{full: make(chan []byte, 2), empty: make(chan []byte, 2), closed: make(chan struct{}), until: newDeadline()}
	b.empty <- nil
	b.empty <- nil
	return b
}

// fill takes everything from r, until r or the inbox ends. wait is called where more is waited for; explain says what it means that r has
// ended.
func (b *inbox) fill(r io.Reader, wait func(), explain func(error) error) {
	defer close(b.full)
	size := smallBuffer
	for {
		var buf []byte
		select {
		case buf = <-b.empty:
		case <-b.closed:
			return
		}
		if len(buf) < size {
			buf = make([]byte, size)
		}
		n, err := r.Read(buf)
		if n == len(buf) {
			size = min(2*size, largeBuffer)
		}
		if n > 0 {
			b.full <- buf[:n] // there is room for all that are not empty
		}
		if err != nil {
			b.end = explain(err)
			return
		}
		if n < len(buf) {
			wait()
		}
	}
}

func (b *inbox) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	select {
	case <-b.closed:
		return 0, net.ErrClosed
	default:
	}
	if b.until.isOver() {
		return 0, os.ErrDeadlineExceeded
	}
	if len(b.rest) == 0 {
		select {
		case got, ok := <-b.full:
			if !ok {
				return 0, b.end
			}
			b.rest, b.buffer = got, got[:cap(got)]
		case <-b.until.wait():
			return 0, os.ErrDeadlineExceeded
		case <-b.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		b.empty <- b.buffer // it came from there
		b.buffer = nil
	}
	return n, nil
}

// close may be repeated.
func (b *inbox) close() { b.once.Do(func() { close(b.closed) }) }
