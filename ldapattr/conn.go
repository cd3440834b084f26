package ldapattr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// StartTLS says what to do with an ldap:// connection before anything secret crosses it.
type StartTLS int

const (
	// StartTLSRequire encrypts the connection or fails.
	StartTLSRequire StartTLS = iota
	// StartTLSNever leaves it in clear. Allowed for loopback addresses only, such as the end of a tunnel; elsewhere Dial returns
	// ErrInsecure, also without a password: what is read decides where somebody's mail goes.
	StartTLSNever
)

// Options are the settings of a Client. Nil and the zero value ask anonymously, over TLS, trusting the system's CAs.
type Options struct {
	BindDN   string // who asks; "": nobody, no bind is sent
	Password Secret // of BindDN; required with it

	StartTLS   StartTLS       // for ldap:// URLs; ldaps:// is always encrypted
	CAFile     string         // PEM; these CAs instead of the system's, read once by Dial
	RootCAs    *x509.CertPool // the same as a pool; CAFile's are used when both are given
	ServerName string         // in the server's certificate; "": the URL's host

	// DialContext makes the connections, for example through a tunnel; nil: a net.Dialer.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	DialTimeout time.Duration // for connecting, encryption and bind together; 0: 15 s
	Timeout     time.Duration // for the answer to one operation, or one page of a search; 0: 30 s
	PageSize    int           // entries in a page of a search; 0: 500
	Idle        int           // connections that are kept when not in use; 0: 4
}

// maxIdle is how long an idle connection is trusted to be alive.
const maxIdle = time.Minute

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.DialContext == nil {
		out.DialContext = new(net.Dialer).DialContext
	}
	if out.DialTimeout <= 0 {
		out.DialTimeout = 15 * time.Second
	}
	if out.Timeout <= 0 {
		out.Timeout = 30 * time.Second
	}
	if out.PageSize <= 0 {
		out.PageSize = 500
	}
	if out.Idle <= 0 {
		out.Idle = 4
	}
	return out
}

// A target is a server's URL.
type target struct{ scheme, host, port string }

func (t *target) String() string { return t.scheme + "://" + net.JoinHostPort(t.host, t.port) }

// parseURL accepts what names a server and nothing else. Its errors do not quote the URL: somebody may have put a password there.
func parseURL(s string) (*target, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("ldapattr: not a URL")
	}
	ports := map[string]string{"ldap": ldap.DefaultLdapPort, "ldaps": ldap.DefaultLdapsPort}
	t := &target{scheme: u.Scheme, host: u.Hostname(), port: u.Port()}
	switch {
	case ports[t.scheme] == "":
		return nil, errors.New("ldapattr: URL must begin with ldap:// or ldaps://")
	case t.host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("ldapattr: URL must have a host, may have a port, and nothing else")
	}
	if t.port == "" {
		t.port = ports[t.scheme]
	}
	return t, nil
}

// loopback says whether what is sent to the host stays on this machine.
func (t *target) loopback() bool {
	addr, err := netip.ParseAddr(t.host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(t.host, "localhost")
}

// A dialer makes connections that are protected and bound.
type dialer struct {
	target *target
	opts   *Options
	tls    *tls.Config // nil: in clear
}

func newDialer(t *target, o *Options) (*dialer, error) {
	d := &dialer{target: t, opts: o}
	if (o.BindDN == "") != (o.Password.Reveal() == "") {
		// A bind with a DN and no password succeeds, as nobody (RFC 4513, section 5.1.2).
		return nil, errors.New("ldapattr: bind DN and password go together")
	}
	switch {
	case t.scheme == "ldaps" || o.StartTLS == StartTLSRequire:
	case o.StartTLS != StartTLSNever:
		return nil, fmt.Errorf("ldapattr: StartTLS policy %d", o.StartTLS)
	case t.loopback():
		return d, nil
	default:
		return nil, ErrInsecure
	}
	d.tls = &tls.Config{RootCAs: o.RootCAs, ServerName: o.ServerName, MinVersion: tls.VersionTLS12}
	if d.tls.ServerName == "" {
		d.tls.ServerName = t.host
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		d.tls.RootCAs = x509.NewCertPool()
		if !d.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate", o.CAFile)
		}
	}
	return d, nil
}

// A conn is one connection. One operation uses it at a time.
type conn struct {
	ldap   *ldap.Conn
	wire   *wire
	broken bool      // its state is not known any more
	held   bool      // by a search that wants the next page
	since  time.Time // when it became idle
}

func (conn *conn) close() {
	_ = conn.wire.Close() // first: go-ldap's Close waits for its goroutines, which may be stuck in a write
	_ = conn.ldap.Close()
}

// A wire counts the bytes that left.
type wire struct {
	net.Conn
	written atomic.Int64
}

func (w *wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.written.Add(int64(n))
	return n, err
}

func (d *dialer) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := withTimeout(ctx, d.opts.DialTimeout)
	defer cancel()
	c, err := d.connect(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("connect: %w", ended(ctx))
	}
	return c, err
}

func (d *dialer) connect(ctx context.Context) (*conn, error) {
	raw, err := d.opts.DialContext(ctx, "tcp", net.JoinHostPort(d.target.host, d.target.port))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	w := &wire{Conn: raw}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	c, err := d.prepare(ctx, w)
	if !stop() && err == nil {
		c.close()
		err = ctx.Err()
	}
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	return c, nil
}

// prepare encrypts the connection and binds. The end of ctx closes w.
func (d *dialer) prepare(ctx context.Context, w *wire) (*conn, error) {
	var secure net.Conn = w
	if d.tls != nil {
		if d.target.scheme == "ldap" {
			if err := startTLS(w); err != nil {
				return nil, fmt.Errorf("StartTLS: %w", err)
			}
		}
		// Not by go-ldap: its handshake takes no context and makes text of the error.
		t := tls.Client(w, d.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		secure = t
	}
	c := &conn{ldap: ldap.NewConn(secure, d.tls != nil), wire: w}
	c.ldap.Start()
	if d.opts.BindDN == "" {
		return c, nil
	}
	if err := c.ldap.Bind(d.opts.BindDN, d.opts.Password.Reveal()); err != nil {
		c.close()
		if answer, ok := asResult(err); ok {
			err = answer
		}
		return nil, fmt.Errorf("bind %s: %w", d.opts.BindDN, err)
	}
	return c, nil
}

// startTLS asks the server to begin a handshake (RFC 4511, section 4.14) and reads its answer, not a byte more.
func startTLS(c net.Conn) error {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationExtendedRequest, nil, "StartTLS")
	op.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, "1.3.6.1.4.1.1466.20037", "name"))
	msg := ber.NewSequence("message")
	msg.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, int64(1), "id"))
	msg.AppendChild(op)
	if _, err := c.Write(msg.Bytes()); err != nil {
		return err
	}
	answer, err := ber.ReadPacket(io.LimitReader(c, 1<<16))
	if err != nil {
		return err
	}
	if len(answer.Children) < 2 || answer.Children[1].Tag != ldap.ApplicationExtendedResponse {
		return errors.New("not an LDAP answer")
	}
	err = ldap.GetLDAPError(answer)
	if refusal, ok := asResult(err); ok {
		return refusal
	}
	return err
}
