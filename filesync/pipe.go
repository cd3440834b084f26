package filesync

import (
	"io"
	"sync"
)

// A pipe is an io.Pipe with buffers in between: its two ends need not meet for every write, which costs more than the copying.
type pipe struct {
	full  chan []byte // from the writer
	empty chan []byte // back to it

	filling []byte // the writer's
	rest    []byte // the reader's, of the buffer whole
	whole   []byte

	mu       sync.Mutex
	writeErr error         // why no more is written, for the reader
	readErr  error         // why no more is read, for the writer
	written  chan struct{} // closed with writeErr
	read     chan struct{} // closed with readErr
}

const (
	pipeBuffers = 4
	pipeBuffer  = 256 << 10
)

func newPipe() *pipe {
	p := &pipe{
		full: make(chan []byte, pipeBuffers), empty: make(chan []byte, pipeBuffers),
		written: make(chan struct{}), read: make(chan struct{}),
	}
	for range pipeBuffers {
		p.empty <- nil // made when it is needed
	}
	return p
}

// Write waits for a buffer that the reader is done with. Its error is what closeRead was given. What it took is read after flush.
func (p *pipe) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if p.filling == nil {
			if p.filling, err = p.buffer(); err != nil {
				return n, err
			}
		}
		k := min(len(b), cap(p.filling)-len(p.filling))
		p.filling = append(p.filling, b[:k]...)
		n, b = n+k, b[k:]
		if len(p.filling) == cap(p.filling) {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// ReadFrom is Write of all that r has, without a copy in between.
func (p *pipe) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		if p.filling == nil {
			if p.filling, err = p.buffer(); err != nil {
				return n, err
			}
		}
		k, err := r.Read(p.filling[len(p.filling):cap(p.filling)])
		p.filling = p.filling[:len(p.filling)+k]
		n += int64(k)
		if len(p.filling) == cap(p.filling) {
			if ferr := p.flush(); ferr != nil && err == nil {
				return n, ferr
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (p *pipe) buffer() ([]byte, error) {
	select {
	case <-p.read:
		return nil, p.failed()
	case b := <-p.empty:
		if b == nil {
			b = make([]byte, 0, pipeBuffer)
		}
		return b[:0], nil
	}
}

// flush gives the reader what it has not seen yet.
func (p *pipe) flush() error {
	if len(p.filling) == 0 {
		return nil
	}
	select {
	case <-p.read:
		return p.failed()
	case p.full <- p.filling:
		p.filling = nil
		return nil
	}
}

func (p *pipe) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readErr
}

// closeWrite ends the stream: the reader gets what was flushed, and then err, or io.EOF for nil. Only the first call counts.
func (p *pipe) closeWrite(err error) {
	if err == nil {
		err = io.EOF
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writeErr == nil {
		p.writeErr = err
		close(p.written)
	}
}

// closeRead has every Write fail with err from now on. Only the first call counts.
func (p *pipe) closeRead(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readErr == nil {
		p.readErr = err
		close(p.read)
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.whole != nil {
			p.empty <- p.whole
			p.whole = nil
		}
		select {
		case p.whole = <-p.full:
		default:
			select {
			case p.whole = <-p.full:
			case <-p.written:
				select {
				case p.whole = <-p.full: // flushed before the end
				default:
					p.mu.Lock()
					defer p.mu.Unlock()
					return 0, p.writeErr
				}
			}
		}
		p.rest = p.whole
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// WriteTo gives whole buffers to w.
func (p *pipe) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if len(p.rest) == 0 {
			if _, err := p.Read(nil); err == io.EOF {
				return n, nil
			} else if err != nil {
				return n, err
			}
		}
		k, err := w.Write(p.rest)
		p.rest = p.rest[k:]
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}
