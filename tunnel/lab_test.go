package tunnel_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/tunnel"
)

func TestMain(m *testing.M) { lab.Main(m) }

func store(t testing.TB) *lab.Store { return lab.Shared(t).Stores[0] }

func hostOf(s *lab.Store) tunnel.Host {
	return tunnel.Host{Addr: s.SSHAddr, User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile}
}

func open(t testing.TB, hosts ...tunnel.Host) *tunnel.Tunnel {
	t.Helper()
	tun, err := tunnel.Open(t.Context(), hosts...)
	require.NoError(t, err)
	t.Cleanup(func() { tun.Close() })
	return tun
}

// output is what a command writes to standard output.
func output(t testing.TB, tun *tunnel.Tunnel, argv ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, tun.Run(t.Context(), argv, nil, &out, nil), argv[0])
	return out.String()
}

// A proxy stands between us and a store's sshd, and breaks things.
type proxy struct {
	Host tunnel.Host // the store, seen through the proxy

	listener net.Listener
	to       string

	mu     sync.Mutex
	conns  []net.Conn
	frozen chan struct{} // closed: nothing gets through any more, and nobody is told
	dials  int
}

func newProxy(t *testing.T, s *lab.Store) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Host: hostOf(s), listener: l, to: s.SSHAddr, frozen: make(chan struct{})}
	p.Host.Addr = l.Addr().String()
	p.Host.KnownHostsFile = writeFile(t, knownhosts.Line([]string{knownhosts.Normalize(p.Host.Addr)}, hostKey(t, s))+"\n")
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", p.to)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.dials++
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			wg.Go(func() { p.copy(near, far) })
			wg.Go(func() { p.copy(far, near) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-p.frozen:
			if err == nil {
				continue
			}
		default:
		}
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

// hostKey is the key of the store's sshd.
func hostKey(t testing.TB, s *lab.Store) ssh.PublicKey {
	t.Helper()
	text, err := os.ReadFile(s.KnownHostsFile)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		_, hosts, key, _, _, err := ssh.ParseKnownHosts([]byte(line))
		require.NoError(t, err)
		if hosts[0] == knownhosts.Normalize(s.SSHAddr) {
			return key
		}
	}
	t.Fatalf("%s is not in %s", s.SSHAddr, s.KnownHostsFile)
	return nil
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, writeTo(file, text))
	return file
}

func writeTo(file, text string) error { return os.WriteFile(file, []byte(text), 0o600) }

// soon is a context that is over before a test that hangs is worth waiting for.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// zeros is a reader of n bytes of nothing.
func zeros(n int64) io.Reader { return io.LimitReader(nothing{}, n) }

type nothing struct{}

func (nothing) Read(p []byte) (int, error) { clear(p); return len(p), nil }
