package ldapattr

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/zmlift/zmlift/internal/backoff"
	"github.com/zmlift/zmlift/ldapattr/internal/ldapfilter"
)

// A Client works with one server. It may be used by many goroutines: every operation has a connection of its own while it lasts, and
// connections are kept for the next. Printed, it says the server's URL only.
type Client struct {
	url    *target
	opts   Options
	dialer *dialer

	mu     sync.Mutex
	closed bool
	idle   []*conn
	all    map[*conn]bool // idle or in use, to be closed with the Client
}

// Dial connects to the server at the URL, ldap://host:port or ldaps://host:port (389 and 636 when no port is given), protects the
// connection and binds. The Client that it returns has done so once; close it.
//
// The error is [ErrInsecure] when the options ask for something that is not safe with this URL, then nothing was dialled;
// [ErrCredentials] when the server refused the bind; ctx's error when ctx ended. ctx bounds the call, not the Client's life. A server
// that is busy is asked a few times.
func Dial(ctx context.Context, url string, opts *Options) (*Client, error) {
	c, err := New(url, opts)
	if err != nil {
		return nil, err
	}
	err = backoff.Retry(ctx, backoff.Policy{}, passes, func(ctx context.Context) error {
		conn, err := c.take(ctx)
		if err == nil {
			c.release(conn)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// New is [Dial] without the connection, which is made by the first operation: what Dial would have said of the server is then that
// operation's error, and the next one tries again. The URL and the options are checked, and CAFile is read: the error is as Dial's.
func New(url string, opts *Options) (*Client, error) {
	t, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	o := opts.withDefaults()
	d, err := newDialer(t, &o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return &Client{url: t, opts: o, dialer: d, all: make(map[*conn]bool)}, nil
}

// Close closes the connections, also those in use: their operations fail with [ErrClosed], a modify among them possibly with
// [ErrUnknownOutcome] as well. It may be repeated.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.all {
		_ = conn.wire.Close()
	}
	c.idle, c.all = nil, nil
	return nil
}

// String returns the server's URL.
func (c *Client) String() string { return c.url.String() }

// GoString returns the server's URL.
func (c *Client) GoString() string { return c.url.String() }

// Lookup returns the one entry at or below base that the filter matches, with the attributes that are named; without names with all
// but the operational ones. An operational attribute, such as entryCSN, must be named.
//
// The error is [ErrNotFound] when nothing matches or the base does not exist, [ErrAmbiguous] when more than one entry matches, a
// [*FilterError] when the filter cannot be read.
func (c *Client) Lookup(ctx context.Context, base, filter string, attrs ...string) (Entry, error) {
	e, err := c.lookup(ctx, base, filter, attrs)
	if err != nil {
		return Entry{}, fmt.Errorf("lookup %s: %w", filter, err)
	}
	return e, nil
}

func (c *Client) lookup(ctx context.Context, base, filter string, attrs []string) (Entry, error) {
	if _, err := compile(filter); err != nil {
		return Entry{}, err
	}
	req := searchRequest(base, filter, attrs)
	req.SizeLimit = 2
	var res *ldap.SearchResult
	err := c.read(ctx, func(conn *conn) (err error) {
		res, err = conn.search(req)
		return err
	})
	switch {
	case res != nil && len(res.Entries) > 1: // then the server may say sizeLimitExceeded
		return Entry{}, ErrAmbiguous
	case err != nil:
		return Entry{}, err
	case len(res.Entries) == 0:
		return Entry{}, ErrNotFound
	}
	return fromLDAP(res.Entries[0]), nil
}

// Search walks the entries at or below base that the filter matches, in the server's order, with the attributes as for [Client.Lookup].
// It asks for one page at a time and holds no more than that; what changes while it walks may or may not show.
//
// An error is the last thing that it yields, with the zero Entry; a walk without an error saw everything that this identity may see.
// Among the errors are ctx's when ctx ended, [ErrNotFound] when the base does not exist, a limit of the server, and a part of the tree
// that is kept on another server. A connection that breaks is replaced before the first page only.
func (c *Client) Search(ctx context.Context, base, filter string, attrs ...string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		stopped, err := c.walk(ctx, base, filter, attrs, func(e Entry) bool { return yield(e, nil) })
		if err != nil && !stopped {
			yield(Entry{}, fmt.Errorf("search %s: %w", filter, err))
		}
	}
}

func (c *Client) walk(ctx context.Context, base, filter string, attrs []string, yield func(Entry) bool) (stopped bool, err error) {
	if _, err := compile(filter); err != nil {
		return false, err
	}
	paging := ldap.NewControlPaging(uint32(c.opts.PageSize))
	req := searchRequest(base, filter, attrs)
	req.Controls = []ldap.Control{paging}

	// The server keeps the walk's state with the connection, so all pages come through the one that brought the first.
	var held *conn
	var page *ldap.SearchResult
	err = c.read(ctx, func(conn *conn) (err error) {
		if page, err = conn.search(req); err == nil {
			held, conn.held = conn, true
		}
		return err
	})
	if err != nil {
		return false, err
	}
	defer func() { c.release(held) }()
	for {
		for _, e := range page.Entries {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if !yield(fromLDAP(e)) {
				return true, nil
			}
		}
		next, ok := ldap.FindControl(page.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return false, ctx.Err()
		}
		paging.SetCookie(next.Cookie)
		err := c.on(ctx, held, func() (err error) {
			page, err = held.search(req)
			return err
		})
		if err != nil {
			return false, err
		}
	}
}

// Modify applies all changes to the entry, or none of them. It is an error to give none that writes.
//
// After nil all changes were made. After [ErrUnknownOutcome] they may have been made, or may still be; that is also what comes back,
// together with ctx's error, when ctx ends after the request left. After every other error nothing was changed: [ErrConflict] when the
// entry is not as the changes assume, [ErrNotFound] when there is no such entry, a [*ResultError] for the server's other reasons.
// A second call with the same changes gives ErrConflict, unless Old equals New.
func (c *Client) Modify(ctx context.Context, dn string, changes ...Change) error {
	return c.modify(ctx, dn, nil, changes)
}

// ModifyIf is Modify, provided that the entry matches the assertion, a filter, at the instant of the change; [ErrConflict] when it
// does not. With the entryCSN that was read before, the modify succeeds only when nothing touched the entry in between:
//
//	c.ModifyIf(ctx, e.DN, ldapattr.Equal("entryCSN", e.Value("entryCSN")), changes...)
//
// A server that does not know the assertion control refuses the modify, with a [*ResultError].
func (c *Client) ModifyIf(ctx context.Context, dn, assertion string, changes ...Change) error {
	if _, err := compile(assertion); err != nil {
		return fmt.Errorf("modify %s: %w", dn, err)
	}
	return c.modify(ctx, dn, []string{assertion}, changes)
}

func (c *Client) modify(ctx context.Context, dn string, assertions []string, changes []Change) error {
	req, err := modifyRequest(dn, assertions, changes)
	if err == nil {
		err = c.write(ctx, req)
	}
	if err != nil {
		return fmt.Errorf("modify %s: %w", dn, err)
	}
	return nil
}

// write sends the request once, and anew only when not a byte of it had left.
func (c *Client) write(ctx context.Context, req *ldap.ModifyRequest) error {
	for try := 1; ; try++ {
		conn, err := c.take(ctx)
		if err != nil {
			return err
		}
		before := conn.wire.written.Load()
		err = c.on(ctx, conn, func() error { return conn.ldap.Modify(req) })
		c.release(conn)
		var lost *lostError
		switch {
		case !errors.As(err, &lost):
			return err
		case conn.wire.written.Load() != before:
			return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		case ctx.Err() != nil || errors.Is(err, ErrClosed) || try == 2:
			return err
		}
	}
}

// read runs f, which asks the server without changing anything: once more on a new connection when the one it had is lost, and a few
// times when the server is busy. f's connection goes back when f returns, unless f holds it.
func (c *Client) read(ctx context.Context, f func(*conn) error) error {
	return backoff.Retry(ctx, backoff.Policy{}, passes, func(ctx context.Context) error {
		for try := 1; ; try++ {
			conn, err := c.take(ctx)
			if err != nil {
				return err
			}
			err = c.on(ctx, conn, func() error { return f(conn) })
			if !conn.held {
				c.release(conn)
			}
			var lost *lostError
			if try == 2 || !errors.As(err, &lost) || ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return err
			}
		}
	})
}

// passes says whether the server only said that it has no time: busy and unavailable.
func passes(err error) bool {
	var answer *ResultError
	return errors.As(err, &answer) && (answer.Code == ldap.LDAPResultBusy || answer.Code == ldap.LDAPResultUnavailable)
}

// on runs one operation on a connection and says what its error means: a *ResultError is the server's answer, a *lostError is none,
// and the connection is broken. go-ldap's calls take no context, so the end of ctx closes the connection under them.
func (c *Client) on(ctx context.Context, conn *conn, f func() error) error {
	ctx, cancel := withTimeout(ctx, c.opts.Timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.wire.Close() })
	err := f()
	if !stop() {
		conn.broken = true
	}
	if err == nil {
		return nil
	}
	if answer, ok := asResult(err); ok {
		return answer
	}
	conn.broken = true
	switch {
	case ctx.Err() != nil:
		err = ended(ctx)
	case c.isClosed():
		err = ErrClosed
	}
	return &lostError{err}
}

// A lostError says that an answer did not come.
type lostError struct{ err error }

func (e *lostError) Error() string { return "no answer: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// withTimeout gives ctx an end of its own, whose cause tells it from the caller's.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("within %v: %w", d, context.DeadlineExceeded))
}

// ended is the error of a context that has ended, with its cause.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// take returns a connection that nobody else uses: the one that was used last, or a new one.
func (c *Client) take(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if conn, err := c.takeIdle(); conn != nil || err != nil {
		return conn, err
	}
	conn, err := c.dialer.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.url, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.close()
		return nil, ErrClosed
	}
	c.all[conn] = true
	return conn, nil
}

func (c *Client) takeIdle() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	for len(c.idle) > 0 {
		conn := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		// A connection that was idle for long may be dead without a sign: a modify on it would end as an unknown outcome.
		if !conn.ldap.IsClosing() && time.Since(conn.since) < maxIdle {
			return conn, nil
		}
		delete(c.all, conn)
		conn.close()
	}
	return nil, nil
}

// release puts the connection back, or closes it.
func (c *Client) release(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.held = false
	if c.closed || conn.broken || len(c.idle) >= c.opts.Idle {
		delete(c.all, conn)
		conn.close()
		return
	}
	conn.since = time.Now()
	c.idle = append(c.idle, conn)
}

func compile(filter string) (*ber.Packet, error) {
	p, err := ldapfilter.Compile(filter)
	if err != nil {
		return nil, &FilterError{Filter: filter, Err: err}
	}
	return p, nil
}

func searchRequest(base, filter string, attrs []string) *ldap.SearchRequest {
	return ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attrs, nil)
}

// modifyRequest is the one operation that makes the changes: deletes and adds by value, absence as an assertion.
func modifyRequest(dn string, assertions []string, changes []Change) (*ldap.ModifyRequest, error) {
	if err := CheckChanges(changes...); err != nil {
		return nil, err
	}
	req := ldap.NewModifyRequest(dn, nil)
	for _, c := range changes {
		if len(c.Old) == 0 {
			assertions = append(assertions, Not(Present(c.Attr)))
		} else {
			req.Delete(c.Attr, c.Old)
		}
		if len(c.New) > 0 {
			req.Add(c.Attr, c.New)
		}
	}
	if len(assertions) > 0 {
		p, err := compile(And(assertions...))
		if err != nil {
			return nil, err
		}
		req.Controls = append(req.Controls, assertionControl{p})
	}
	return req, nil
}

func fromLDAP(e *ldap.Entry) Entry {
	out := Entry{DN: e.DN, attrs: make([]attribute, 0, len(e.Attributes))}
	for _, a := range e.Attributes {
		if len(a.Values) > 0 {
			out.attrs = append(out.attrs, attribute{a.Name, a.Values})
		}
	}
	return out
}

// An assertionControl (RFC 4528) makes the operation fail unless the filter matches the entry. It is critical: a server that does not
// know it refuses the operation.
type assertionControl struct{ filter *ber.Packet }

const assertionOID = "1.3.6.1.1.12"

func (assertionControl) GetControlType() string { return assertionOID }
func (assertionControl) String() string         { return "assertion" }

func (c assertionControl) Encode() *ber.Packet {
	p := ber.NewSequence("Control")
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, assertionOID, "type"))
	p.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, "criticality"))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, string(c.filter.Bytes()), "value"))
	return p
}

// search runs one search, or one page of it. Entries that came before an error are in the result.
func (conn *conn) search(req *ldap.SearchRequest) (*ldap.SearchResult, error) {
	res, err := conn.ldap.Search(req)
	if err == nil && len(res.Referrals) > 0 {
		err = &ResultError{
			Code:    ldap.LDAPResultReferral,
			Message: "a part of the tree is at " + strings.Join(res.Referrals, ", "),
		}
	}
	return res, err
}
