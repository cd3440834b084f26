// Package tunnel_test compares bulk through package tunnel with what ssh itself reaches, with the same cipher to the same sshd. make
// bench-tunnel runs it.
package tunnel_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/tunnel"
)

func TestMain(m *testing.M) { lab.Main(m) }

// A way takes the file from the host to nowhere once.
type way struct {
	name string
	take func(ctx context.Context) error
	took []time.Duration
}

// BenchmarkBulk takes a file of ZMLIFT_BENCH_MIB (256) from a host's memory, in ZMLIFT_BENCH_ROUNDS (15) rounds: in each as ssh does with cat, as
// Run does, as DialContext does from a server on the host, and as ssh -W does from the same. All have connected before. The ratios are
// medians of what one round says: a busy machine changes from one round to the next. The ciphers have a round of Run each.
func BenchmarkBulk(b *testing.B) {
	size := int64(number(b, "ZMLIFT_BENCH_MIB", 256)) << 20
	rounds := number(b, "ZMLIFT_BENCH_ROUNDS", 15)
	s := lab.Shared(b).Stores[0]
	host := tunnel.Host{Addr: s.SSHAddr, User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile, Ciphers: []string{ssh.CipherAES128GCM}}
	file := filepath.Join(memory(b), "bulk")
	t := open(b, host)
	require.NoError(b, t.Run(b.Context(), []string{"head", "-c", strconv.FormatInt(size, 10), "/dev/urandom"}, nil, create(b, file), nil))
	addr := serve(b, file)
	name, port, err := net.SplitHostPort(s.SSHAddr)
	require.NoError(b, err)
	master := filepath.Join(b.TempDir(), "m")
	client := []string{"-F", "none", "-S", master, "-c", ssh.CipherAES128GCM, "-p", port, "-l", s.SSHUser, "-i", s.KeyFile,
		"-o", "UserKnownHostsFile=" + s.KnownHostsFile, "-o", "BatchMode=yes"}
	connect(b, master, append([]string{"-M", "-N"}, append(client, name)...))

	ways := []*way{
		{name: "ssh", take: func(ctx context.Context) error {
			return exec.CommandContext(ctx, "ssh", append(client, name, "exec cat "+file)...).Run() // its output goes to /dev/null
		}},
		{name: "run", take: func(ctx context.Context) error {
			return t.Run(ctx, []string{"cat", file}, nil, io.Discard, nil)
		}},
		{name: "dial", take: func(ctx context.Context) error {
			c, err := t.DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return drain(c, size)
		}},
		{name: "ssh -W", take: func(ctx context.Context) error {
			return exec.CommandContext(ctx, "ssh", append(client, "-W", addr, name)...).Run()
		}},
	}
	b.ResetTimer()
	for range rounds {
		for _, w := range ways {
			began := time.Now()
			require.NoError(b, w.take(b.Context()), w.name)
			w.took = append(w.took, time.Since(began))
		}
	}
	b.StopTimer()
	fmt.Printf("RATIO tunnel-bulk %.2f\n", ways[1].against(ways[0]))
	fmt.Printf("RATIO tunnel-bulk-dial %.2f\n", ways[2].against(ways[3]))
	for _, w := range ways {
		slices.Sort(w.took)
		fmt.Printf("%-6s %5.0f MB/s, the median of %d; %.0f to %.0f\n", w.name, rate(size, w.took[rounds/2]), rounds, rate(size, w.took[rounds-1]), rate(size, w.took[0]))
	}
	for _, cipher := range []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR} {
		host.Ciphers = []string{cipher}
		t := open(b, host)
		began := time.Now()
		require.NoError(b, t.Run(b.Context(), []string{"cat", file}, nil, io.Discard, nil), cipher)
		fmt.Printf("run with %-30s %5.0f MB/s\n", cipher, rate(size, time.Since(began)))
	}
}

// against is how many times as fast w is as other, the median of the rounds.
func (w *way) against(other *way) float64 {
	var ratios []float64
	for i := range w.took {
		ratios = append(ratios, other.took[i].Seconds()/w.took[i].Seconds())
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// connect makes the connection that the ssh commands use, so that they need not connect either.
func connect(b *testing.B, socket string, args []string) {
	master := exec.Command("ssh", args...)
	master.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(b, master.Start())
	b.Cleanup(func() {
		master.Process.Kill()
		master.Wait()
	})
	require.Eventually(b, func() bool { _, err := os.Stat(socket); return err == nil }, 20*time.Second, 10*time.Millisecond, "ssh does not connect")
}

func rate(size int64, d time.Duration) float64 { return float64(size) / 1e6 / d.Seconds() }

func number(b *testing.B, variable string, usual int) int {
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err, variable)
	return n
}

func open(b *testing.B, h tunnel.Host) *tunnel.Tunnel {
	t, err := tunnel.Open(b.Context(), h)
	require.NoError(b, err)
	b.Cleanup(func() { t.Close() })
	return t
}

// memory is a directory in memory, where there is one.
func memory(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "tunnel-*")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func create(b *testing.B, name string) *os.File {
	f, err := os.Create(name)
	require.NoError(b, err)
	b.Cleanup(func() { f.Close() })
	return f
}

// serve sends file to everybody who connects.
func serve(b *testing.B, file string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if f, err := os.Open(file); err == nil {
				io.Copy(c, f)
				f.Close()
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

// drain takes all of c, which must be size bytes.
func drain(c net.Conn, size int64) error {
	defer c.Close()
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came", n)
	}
	return err
}
