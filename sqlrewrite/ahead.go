package sqlrewrite

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
)

const (
	blockSize = 256 << 10
	blocks    = 4
	// headroom is where what is left of one block goes, in front of the next one: the input itself is not copied again.
	headroom = 8 << 10
)

// An ahead reads a file ahead of the scanner: what the kernel copies takes nearly as long as understanding it.
type ahead struct {
	full chan block  // in order; closed after one with an error
	free chan []byte // without what the scanner holds
	stop chan struct{}
	done sync.WaitGroup
	held []byte // the block that the scanner's buffer is a part of, nil: none
	pool *[blocks][headroom + blockSize]byte
}

var aheads = sync.Pool{New: func() any { return new([blocks][headroom + blockSize]byte) }}

// A block holds n bytes of input behind its headroom, lines of which end in it.
type block struct {
	b        []byte
	n, lines int
	err      error // what came after them
}

// worthwhile says whether reading src ahead is possible and of use: a regular file keeps nobody waiting who wants to stop.
func worthwhile(src io.Reader) bool {
	f, ok := src.(*os.File)
	if !ok || runtime.GOMAXPROCS(0) == 1 {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

func newAhead(src io.Reader) *ahead {
	a := &ahead{full: make(chan block, blocks), free: make(chan []byte, blocks), stop: make(chan struct{})}
	a.pool = aheads.Get().(*[blocks][headroom + blockSize]byte)
	for i := range a.pool {
		a.free <- a.pool[i][:]
	}
	a.done.Go(func() { // ends with the input or by close
		defer close(a.full)
		for {
			select {
			case b := <-a.free:
				blk := block{b: b}
				blk.n, blk.err = read(src, b[headroom:])
				blk.lines = bytes.Count(b[headroom:headroom+blk.n], []byte{'\n'})
				a.full <- blk // has room for all
				if blk.err != nil {
					return
				}
			case <-a.stop:
				return
			}
		}
	})
	return a
}

// close returns when nothing is read any more. Nobody may use the scanner's buffer after it.
func (a *ahead) close() {
	close(a.stop)
	a.done.Wait()
	aheads.Put(a.pool)
}

// next makes the next block the scanner's buffer, with what is left of the last one in front. It returns io.EOF after the last one.
func (a *ahead) next(s *scanner) error {
	var blk block
	select {
	case blk = <-a.full:
	case <-s.ctx.Done():
		panic(failure{s.ctx.Err()})
	}
	keep := s.retire()
	rest := s.buf[keep:s.end]
	if at := headroom - len(rest); at >= 0 {
		copy(blk.b[at:], rest)
		s.buf = blk.b[at : headroom+blk.n : headroom+blk.n]
		a.held, blk.b = blk.b, a.held
	} else { // a long token
		s.buf = append(rest, blk.b[headroom:headroom+blk.n]...)
		if a.held != nil {
			a.free <- a.held // has been copied from, as its capacity was used up
			a.held = nil
		}
	}
	if blk.b != nil {
		a.free <- blk.b
	}
	s.move(keep)
	s.end = len(s.buf)
	s.lines += blk.lines
	return blk.err
}

// read reads at least one byte or returns an error.
func read(src io.Reader, b []byte) (int, error) {
	for range 100 {
		n, err := src.Read(b)
		switch {
		case n < 0 || n > len(b):
			return 0, errors.New("a wrong count from the reader")
		case n > 0 || err != nil:
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}
