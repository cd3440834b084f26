package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tcp are the two ends of a connection.
func tcp(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	near, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// TestOutboxInOrder: everything that was written before Close arrives, in its order, whatever the sizes of the pieces.
func TestOutboxInOrder(t *testing.T) {
	near, far := tcp(t)
	w := newWire(near, 4096)
	var want []byte
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range 3000 {
			piece := bytes.Repeat([]byte{byte(i)}, i%700*3)
			want = append(want, piece...)
			if _, err := w.Write(piece); err != nil {
				t.Error(err)
			}
		}
		w.Close()
	}()
	got, err := io.ReadAll(far)
	require.NoError(t, err)
	<-written
	require.True(t, bytes.Equal(want, got), "%d bytes, and %d arrived", len(want), len(got))
	_, err = w.Write([]byte("more"))
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestOutboxBounded: where nobody reads, Write waits instead of taking ever more, and Close waits for a moment only.
func TestOutboxBounded(t *testing.T) {
	for name, conn := range map[string]func(net.Conn) net.Conn{
		"with deadlines":    func(c net.Conn) net.Conn { return c },
		"without deadlines": func(c net.Conn) net.Conn { return noDeadlines{c} }, // as a connection through another host
	} {
		t.Run(name, func(t *testing.T) {
			near, _ := tcp(t)
			w := newWire(conn(near), 4096)
			ended := make(chan error, 1)
			go func() {
				piece := make([]byte, 64<<10)
				for range 4096 { // 256 MB
					if _, err := w.Write(piece); err != nil {
						ended <- err
						return
					}
				}
				ended <- nil
			}()
			select {
			case err := <-ended:
				require.NoError(t, err)
				t.Fatal("256 MB were taken that nobody read")
			case <-time.After(300 * time.Millisecond):
			}
			closed := make(chan struct{})
			go func() { w.Close(); close(closed) }()
			select {
			case <-closed:
			case <-time.After(20 * lastWords):
				t.Fatal("Close waits for a reader")
			}
			require.Error(t, <-ended)
		})
	}
}

type noDeadlines struct{ net.Conn }

func (noDeadlines) SetWriteDeadline(time.Time) error { return errors.New("no deadlines") }

// TestOutboxError: what the network says is what the next Write says, and nothing is written behind it.
func TestOutboxError(t *testing.T) {
	broken := errors.New("broken")
	near, _ := tcp(t)
	c := &failing{Conn: near, err: broken}
	w := newWire(c, 4096)
	_, err := w.Write([]byte("first"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err = w.Write([]byte("next")); return err != nil }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, err, broken)
	require.Equal(t, 1, c.writes)
	require.NoError(t, w.Close())
}

type failing struct {
	net.Conn
	err    error
	writes int
}

func (f *failing) Write([]byte) (int, error) { f.writes++; return 0, f.err }
