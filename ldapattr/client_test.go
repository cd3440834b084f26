package ldapattr_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/ldapattr/ldapattrtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// options are what a client of the lab's directory needs.
func options(d *lab.LDAP) *ldapattr.Options {
	return &ldapattr.Options{BindDN: d.BindDN, Password: ldapattr.NewSecret(d.Password), CAFile: d.CAFile, PageSize: 10}
}

func dial(t *testing.T, url string, opts *ldapattr.Options) *ldapattr.Client {
	t.Helper()
	c, err := ldapattr.Dial(t.Context(), url, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// newBase makes an empty place in the lab's directory, which goes with the test.
func newBase(t *testing.T, conn *ldap.Conn) string {
	t.Helper()
	name := fmt.Sprintf("test%d", bases.Add(1))
	base := "ou=" + name + ",dc=lab,dc=example"
	add := ldap.NewAddRequest(base, nil)
	add.Attribute("objectClass", []string{"organizationalUnit"})
	add.Attribute("ou", []string{name})
	require.NoError(t, conn.Add(add))
	return base
}

var bases atomic.Int32

func addEntry(t *testing.T, conn *ldap.Conn, dn string, attrs map[string][]string) {
	t.Helper()
	add := ldap.NewAddRequest(dn, nil)
	for name, values := range attrs {
		add.Attribute(name, values)
	}
	require.NoError(t, conn.Add(add))
}

// addPerson adds an entry and returns its DN.
func addPerson(t *testing.T, conn *ldap.Conn, base, uid string) string {
	t.Helper()
	dn := "uid=" + uid + "," + base
	addEntry(t, conn, dn, map[string][]string{
		"objectClass": {"inetOrgPerson"}, "uid": {uid}, "cn": {uid}, "sn": {uid}, "displayName": {"old"}})
	return dn
}

func TestOpenLDAP(t *testing.T) {
	d := lab.Shared(t).LDAP
	c := dial(t, d.URL, options(d))
	ldapattrtest.Exercise(t, func(t *testing.T) ldapattrtest.Fixture {
		conn := d.Conn(t)
		return ldapattrtest.Fixture{
			Directory: c,
			Base:      newBase(t, conn),
			Add: func(t *testing.T, dn string, attrs map[string][]string) {
				t.Helper()
				addEntry(t, conn, dn, attrs)
			},
		}
	})
}

func TestTrust(t *testing.T) {
	d := lab.Shared(t).LDAP
	pem, err := os.ReadFile(d.CAFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	with := func(change func(*ldapattr.Options)) error {
		o := options(d)
		o.CAFile = ""
		change(o)
		c, err := ldapattr.Dial(t.Context(), d.URL, o)
		if err == nil {
			err = c.Close()
		}
		return err
	}
	require.NoError(t, with(func(o *ldapattr.Options) { o.RootCAs = pool }))
	require.NoError(t, with(func(o *ldapattr.Options) { o.RootCAs, o.ServerName = pool, "localhost" }))

	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, with(func(*ldapattr.Options) {}), &unknown, "the system's CAs do not know it")
	var hostname x509.HostnameError
	require.ErrorAs(t, with(func(o *ldapattr.Options) { o.RootCAs, o.ServerName = pool, "ldap.test" }), &hostname)

	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	require.ErrorContains(t, with(func(o *ldapattr.Options) { o.CAFile = empty }), "no certificate")
	require.ErrorIs(t, with(func(o *ldapattr.Options) { o.CAFile = empty + "x" }), os.ErrNotExist)
}

func TestCredentials(t *testing.T) {
	d := lab.Shared(t).LDAP
	o := options(d)
	o.Password = ldapattr.NewSecret("wr0ng-and-secret")
	_, err := ldapattr.Dial(t.Context(), d.URL, o)
	require.ErrorIs(t, err, ldapattr.ErrCredentials)
	require.NotContains(t, err.Error(), "wr0ng")
	var answer *ldapattr.ResultError
	require.ErrorAs(t, err, &answer)

	o.Password = ldapattr.Secret{}
	_, err = ldapattr.Dial(t.Context(), d.URL, o)
	require.ErrorContains(t, err, "bind DN and password go together", "a bind without a password would succeed as nobody")

	c := dial(t, d.URL, &ldapattr.Options{CAFile: d.CAFile})
	_, err = c.Lookup(t.Context(), "cn=servers,cn=zimbra", ldapattr.Present("zimbraServiceHostname"))
	require.Error(t, err, "nobody sees nothing")
}

func TestNewConnectsAtFirstUse(t *testing.T) {
	_, err := ldapattr.New("http://ldap.example.com", nil)
	require.ErrorContains(t, err, "ldap://")
	_, err = ldapattr.New("ldap://ldap.example.com", &ldapattr.Options{StartTLS: ldapattr.StartTLSNever})
	require.ErrorIs(t, err, ldapattr.ErrInsecure)

	d := lab.Shared(t).LDAP
	o, dials, down := options(d), 0, errors.New("down")
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials == 1 {
			return nil, down
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	c, err := ldapattr.New(d.URL, o)
	require.NoError(t, err)
	defer c.Close()
	require.Zero(t, dials)
	base := newBase(t, d.Conn(t))
	_, err = c.Lookup(t.Context(), base, ldapattr.Equal("objectClass", "organizationalUnit"))
	require.ErrorIs(t, err, down)
	_, err = c.Lookup(t.Context(), base, ldapattr.Equal("objectClass", "organizationalUnit"))
	require.NoError(t, err, "each operation tries again")

	o.Password = ldapattr.NewSecret("wrong")
	wrong, err := ldapattr.New(d.URL, o)
	require.NoError(t, err)
	defer wrong.Close()
	_, err = wrong.Lookup(t.Context(), base, ldapattr.Equal("objectClass", "organizationalUnit"))
	require.ErrorIs(t, err, ldapattr.ErrCredentials)
}

func TestInsecureIsRefusedBeforeDialling(t *testing.T) {
	never := func(url string) (err error, dialled bool) {
		_, err = ldapattr.Dial(t.Context(), url, &ldapattr.Options{
			StartTLS: ldapattr.StartTLSNever,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				dialled = true
				return nil, io.EOF
			},
		})
		return err, dialled
	}
	for _, url := range []string{"ldap://ldap.test", "ldap://192.0.2.1:389", "ldap://[2001:db8::1]", "ldap://127.0.0.1.example", "ldap://0.0.0.0"} {
		err, dialled := never(url)
		require.ErrorIs(t, err, ldapattr.ErrInsecure, url)
		require.False(t, dialled, url)
	}
	for _, url := range []string{"ldap://127.0.0.1", "ldap://[::1]:3890", "ldap://localhost/", "ldaps://ldap.test"} {
		err, dialled := never(url)
		require.ErrorIs(t, err, io.EOF, url)
		require.True(t, dialled, url)
	}
	for _, url := range []string{"", "ldap.test", "http://ldap.test", "ldap://", "ldap://u:s3cret@ldap.test", "ldap://ldap.test/dc=x", "ldap://h/??sub", "ldap://h:s3cret"} {
		err, dialled := never(url)
		require.Error(t, err, url)
		require.False(t, dialled, url)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

func TestNeverOnLoopback(t *testing.T) {
	d := lab.Shared(t).LDAP
	o := options(d)
	o.CAFile, o.StartTLS = "", ldapattr.StartTLSNever
	c := dial(t, d.URL, o)
	_, err := c.Lookup(t.Context(), "", ldapattr.Equal("zimbraDomainName", lab.Domain))
	require.NoError(t, err)
}

// A server that accepts and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return "ldap://" + l.Addr().String()
}

func TestDialOfASilentServer(t *testing.T) {
	url := silent(t)
	for name, o := range map[string]*ldapattr.Options{
		"StartTLS": {},
		"bind":     {StartTLS: ldapattr.StartTLSNever, BindDN: "cn=a", Password: ldapattr.NewSecret("b")},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := ldapattr.Dial(ctx, url, o)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, name)

		cause := errors.New("the operator said so")
		cctx, fail := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { fail(cause) })
		_, err = ldapattr.Dial(cctx, url, o)
		require.ErrorIs(t, err, context.Canceled, name)
		require.ErrorIs(t, err, cause, name)

		o.DialTimeout = 50 * time.Millisecond
		_, err = ldapattr.Dial(t.Context(), url, o)
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
	}
}

func TestOperationsOnASilentServer(t *testing.T) {
	for name, tt := range map[string]struct {
		opts ldapattr.Options
		ctx  time.Duration
	}{
		"ctx":     {ctx: 50 * time.Millisecond},
		"timeout": {opts: ldapattr.Options{Timeout: 50 * time.Millisecond}, ctx: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			tt.opts.StartTLS = ldapattr.StartTLSNever
			c := dial(t, silent(t), &tt.opts)
			run := func(f func(ctx context.Context) error) error {
				ctx, cancel := context.WithTimeout(t.Context(), tt.ctx)
				defer cancel()
				return f(ctx)
			}
			err := run(func(ctx context.Context) error {
				_, err := c.Lookup(ctx, "", "(uid=a)")
				return err
			})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			err = run(func(ctx context.Context) error {
				for _, err := range c.Search(ctx, "", "(uid=a)") {
					return err
				}
				return nil
			})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			err = run(func(ctx context.Context) error {
				return c.Modify(ctx, "uid=a", ldapattr.Change{Attr: "mail", New: []string{"b"}})
			})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, ldapattr.ErrUnknownOutcome)
		})
	}
}

func TestClose(t *testing.T) {
	c := dial(t, silent(t), &ldapattr.Options{StartTLS: ldapattr.StartTLSNever})
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	wg.Go(func() {
		errs <- c.Modify(t.Context(), "uid=a", ldapattr.Change{Attr: "mail", New: []string{"b"}})
	})
	time.Sleep(50 * time.Millisecond) // mostly enough for the modify to leave; if it was not, it must not leave any more
	require.NoError(t, c.Close())
	wg.Wait()
	require.ErrorIs(t, <-errs, ldapattr.ErrClosed)
	_, err := c.Lookup(t.Context(), "", "(uid=a)")
	require.ErrorIs(t, err, ldapattr.ErrClosed)
	require.NoError(t, c.Close())
}

// A proxy stands between a client and a server and can break what goes through it.
type proxy struct {
	addr   string
	target string

	mu      sync.Mutex
	pairs   []net.Conn
	dialled int
	deaf    bool // the server's answers do not come through; the connection breaks instead
}

func newProxy(t *testing.T, url string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: l.Addr().String(), target: strings.TrimPrefix(url, "ldap://")}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.dialled++
			p.pairs = append(p.pairs, client, server)
			p.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(server, client); server.Close() })
			wg.Go(func() { p.answers(client, server); client.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); p.cut(); wg.Wait() })
	return p
}

func (p *proxy) answers(client, server net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		p.mu.Lock()
		deaf := p.deaf
		p.mu.Unlock()
		if err != nil || deaf {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.pairs {
		c.Close()
	}
	p.pairs = nil
}

func (p *proxy) setDeaf(deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = deaf
}

func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialled
}

func TestLostConnections(t *testing.T) {
	d := lab.Shared(t).LDAP
	conn := d.Conn(t)
	base := newBase(t, conn)
	dn := addPerson(t, conn, base, "alice")
	p := newProxy(t, d.URL)
	c := dial(t, "ldap://"+p.addr, options(d))
	swap := ldapattr.Change{Attr: "displayName", Old: []string{"old"}, New: []string{"new"}}
	name := func() string {
		t.Helper()
		e, err := c.Lookup(t.Context(), base, ldapattr.Equal("uid", "alice"))
		require.NoError(t, err)
		return e.Value("displayName")
	}

	require.Equal(t, "old", name())
	require.Equal(t, 1, p.count(), "connections are used again")
	p.cut()
	require.Equal(t, "old", name(), "a read is asked again")
	require.Equal(t, 2, p.count())

	p.setDeaf(true)
	err := c.Modify(t.Context(), dn, swap)
	require.ErrorIs(t, err, ldapattr.ErrUnknownOutcome)
	require.NotErrorIs(t, err, ldapattr.ErrConflict, "it was not sent twice")
	require.Equal(t, 2, p.count(), "nor was anybody dialled")
	_, err = c.Lookup(t.Context(), base, ldapattr.Equal("uid", "alice"))
	require.Error(t, err, "nothing comes through")
	p.setDeaf(false)
	require.Equal(t, "new", name(), "it had happened")
	require.ErrorIs(t, c.Modify(t.Context(), dn, swap), ldapattr.ErrConflict)
}

func TestSearchThatIsCut(t *testing.T) {
	d := lab.Shared(t).LDAP
	conn := d.Conn(t)
	base := newBase(t, conn)
	for i := range 25 {
		addPerson(t, conn, base, fmt.Sprint("user", i))
	}
	p := newProxy(t, d.URL)
	c := dial(t, "ldap://"+p.addr, options(d))
	n := 0
	var last error
	for _, err := range c.Search(t.Context(), base, ldapattr.Present("uid"), "uid") {
		if n++; n == 5 {
			p.cut()
		}
		last = err
	}
	require.Equal(t, 11, n, "a page and an error")
	require.Error(t, last)

	n = 0
	for _, err := range c.Search(t.Context(), base, ldapattr.Present("uid"), "uid") {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 25, n, "three pages")
}

// scripted is a server in clear whose answers come from a function: the result codes for the n-th request, or nil to hang up.
func scripted(t *testing.T, answer func(n int, op ber.Tag) *ber.Packet) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for { // one connection at a time
				req, err := ber.ReadPacket(c)
				if err != nil || len(req.Children) < 2 {
					break
				}
				n++
				op := answer(n, req.Children[1].Tag)
				if op == nil {
					break
				}
				msg := ber.NewSequence("message")
				msg.AppendChild(req.Children[0])
				msg.AppendChild(op)
				if _, err := c.Write(msg.Bytes()); err != nil {
					break
				}
			}
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "ldap://" + l.Addr().String()
}

func result(op, code int) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ber.Tag(op), nil, "result")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), "code"))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", "matched"))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "in the server's words", "message"))
	return p
}

func TestBusyServer(t *testing.T) {
	var requests atomic.Int32
	url := scripted(t, func(n int, op ber.Tag) *ber.Packet {
		requests.Store(int32(n))
		switch {
		case op == ldap.ApplicationModifyRequest:
			return result(ldap.ApplicationModifyResponse, ldap.LDAPResultBusy)
		case n <= 2:
			return result(ldap.ApplicationSearchResultDone, ldap.LDAPResultUnavailable)
		}
		return result(ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess)
	})
	c := dial(t, url, &ldapattr.Options{StartTLS: ldapattr.StartTLSNever})
	_, err := c.Lookup(t.Context(), "", "(uid=a)")
	require.ErrorIs(t, err, ldapattr.ErrNotFound, "asked until there was an answer")
	require.EqualValues(t, 3, requests.Load())

	err = c.Modify(t.Context(), "uid=a", ldapattr.Change{Attr: "mail", Old: []string{"a"}})
	var answer *ldapattr.ResultError
	require.ErrorAs(t, err, &answer)
	require.Equal(t, 51, answer.Code)
	require.NotErrorIs(t, err, ldapattr.ErrUnknownOutcome, "a definite answer")
	require.EqualValues(t, 4, requests.Load(), "a modify is not repeated")
}

func TestReferralsAreNotFollowed(t *testing.T) {
	url := scripted(t, func(_ int, op ber.Tag) *ber.Packet {
		if op == ldap.ApplicationModifyRequest {
			return result(ldap.ApplicationModifyResponse, ldap.LDAPResultReferral)
		}
		return result(ldap.ApplicationSearchResultDone, ldap.LDAPResultReferral)
	})
	c := dial(t, url, &ldapattr.Options{StartTLS: ldapattr.StartTLSNever})
	var answer *ldapattr.ResultError
	require.ErrorAs(t, c.Modify(t.Context(), "uid=a", ldapattr.Change{Attr: "mail", Old: []string{"a"}}), &answer)
	require.Equal(t, 10, answer.Code)
	require.ErrorContains(t, answer, "replica")
	_, err := c.Lookup(t.Context(), "", "(uid=a)")
	require.ErrorAs(t, err, &answer)
}

func TestHungUp(t *testing.T) {
	var requests atomic.Int32
	url := scripted(t, func(n int, _ ber.Tag) *ber.Packet { requests.Store(int32(n)); return nil })
	c := dial(t, url, &ldapattr.Options{StartTLS: ldapattr.StartTLSNever})
	_, err := c.Lookup(t.Context(), "", "(uid=a)")
	require.Error(t, err)
	require.EqualValues(t, 2, requests.Load(), "once more, not for ever")
	err = c.Modify(t.Context(), "uid=a", ldapattr.Change{Attr: "mail", Old: []string{"a"}})
	require.ErrorIs(t, err, ldapattr.ErrUnknownOutcome)
	require.EqualValues(t, 3, requests.Load())
}

func TestStartTLSRefused(t *testing.T) {
	url := scripted(t, func(_ int, op ber.Tag) *ber.Packet {
		return result(ldap.ApplicationExtendedResponse, ldap.LDAPResultProtocolError)
	})
	_, err := ldapattr.Dial(t.Context(), url, &ldapattr.Options{BindDN: "cn=a", Password: ldapattr.NewSecret("b")})
	var answer *ldapattr.ResultError
	require.ErrorAs(t, err, &answer)
	require.Equal(t, 2, answer.Code)
}

func TestSecretsDoNotPrint(t *testing.T) {
	const text = "s3cret"
	o := ldapattr.Options{BindDN: "cn=a", Password: ldapattr.NewSecret(text)}
	hidden := struct{ o ldapattr.Options }{o}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, format, o.Password)
		fmt.Fprintf(&out, format, o)
		fmt.Fprintf(&out, format, &o)
		fmt.Fprintf(&out, format, hidden)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("dial", "password", o.Password, "pointer", &o.Password)
	}
	require.NoError(t, json.NewEncoder(&out).Encode(map[string]any{"p": o.Password, "in": []ldapattr.Secret{o.Password}}))
	require.NotContains(t, out.String(), text)
	require.NotContains(t, out.String(), fmt.Sprintf("%x", text))
	require.Contains(t, out.String(), "[redacted]")

	var read struct{ Password ldapattr.Secret }
	require.NoError(t, json.Unmarshal([]byte(`{"Password":"`+text+`"}`), &read))
	require.Equal(t, text, read.Password.Reveal())

	d := lab.Shared(t).LDAP
	c := dial(t, d.URL, options(d))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", c, c, c, c), d.Password)
	require.Equal(t, d.URL, c.String())
}
