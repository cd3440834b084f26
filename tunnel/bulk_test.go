package tunnel_test

import (
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const bulk = 64 << 20

// bulkOf measures f, which moves bulk bytes, also in this process's seconds of processor for a GB: a number that a busy machine changes less.
func bulkOf(b *testing.B, f func() error) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(bulk)
	before := processor(b)
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((processor(b)-before)/(float64(b.N)*bulk/1e9), "cpu-s/GB")
}

func processor(b *testing.B) float64 {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func BenchmarkRun(b *testing.B) {
	tun := open(b, hostOf(store(b)))
	b.Run("true", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := tun.Run(b.Context(), []string{"true"}, nil, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stdout", func(b *testing.B) {
		bulkOf(b, func() error {
			return tun.Run(b.Context(), []string{"head", "-c", strconv.Itoa(bulk), "/dev/zero"}, nil, io.Discard, nil)
		})
	})
	b.Run("stdin", func(b *testing.B) {
		bulkOf(b, func() error {
			return tun.Run(b.Context(), []string{"sh", "-c", "exec cat > /dev/null"}, zeros(bulk), nil, nil)
		})
	})
}

// The far end is a server in this process: the seconds of processor are those of both.
func BenchmarkDialContext(b *testing.B) {
	tun := open(b, hostOf(store(b)))
	through := func(b *testing.B, near, far func(net.Conn) error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		defer l.Close()
		bulkOf(b, func() error {
			ended := make(chan error, 1)
			go func() {
				c, err := l.Accept()
				if err == nil {
					err = far(c)
				}
				ended <- err
			}()
			c, err := tun.DialContext(b.Context(), "tcp", l.Addr().String())
			if err != nil {
				return err
			}
			if err := near(c); err != nil {
				return err
			}
			return <-ended
		})
	}
	send := func(c net.Conn) error {
		defer c.Close()
		_, err := io.Copy(c, zeros(bulk))
		return err
	}
	receive := func(c net.Conn) error {
		defer c.Close()
		_, err := io.Copy(io.Discard, c)
		return err
	}
	b.Run("in", func(b *testing.B) { through(b, receive, send) })
	b.Run("out", func(b *testing.B) { through(b, send, receive) })
}
