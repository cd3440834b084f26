package ldapattrtest

import (
	"strconv"
	"strings"
	"sync"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/ldapattr/internal/ldapfilter"
)

// A matcher is a filter that was read.
type matcher struct {
	op          ber.Tag
	parts       []*matcher // of and, or, not
	attr        string     // in lower case
	value       string     // as values are compared
	subs        substrings
	unsupported bool // somewhere inside is a match that this directory does not know
}

type substrings struct {
	initial, final string
	any            []string
}

func (m *matcher) match(e *entry) bool {
	switch m.op {
	case ldap.FilterAnd:
		for _, p := range m.parts {
			if !p.match(e) {
				return false
			}
		}
		return true
	case ldap.FilterOr:
		for _, p := range m.parts {
			if p.match(e) {
				return true
			}
		}
		return false
	case ldap.FilterNot:
		return !m.parts[0].match(e)
	}
	a := e.find(m.attr)
	if a == nil {
		return false
	}
	if m.op == ldap.FilterPresent {
		return true
	}
	for _, v := range a.folded {
		if m.matchValue(v) {
			return true
		}
	}
	return false
}

func (m *matcher) matchValue(v string) bool {
	switch m.op {
	case ldap.FilterEqualityMatch, ldap.FilterApproxMatch:
		return v == m.value
	case ldap.FilterGreaterOrEqual:
		return compare(v, m.value) >= 0
	case ldap.FilterLessOrEqual:
		return compare(v, m.value) <= 0
	}
	return m.subs.match(v)
}

// compare orders integers by size and everything else as text.
func compare(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	switch {
	case errX != nil || errY != nil:
		return strings.Compare(a, b)
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func (s substrings) match(v string) bool {
	v, ok := strings.CutPrefix(v, s.initial)
	if !ok {
		return false
	}
	if v, ok = strings.CutSuffix(v, s.final); !ok {
		return false
	}
	for _, part := range s.any {
		if _, v, ok = strings.Cut(v, part); !ok {
			return false
		}
	}
	return true
}

func newMatcher(p *ber.Packet) *matcher {
	m := &matcher{op: p.Tag}
	switch p.Tag {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		for _, child := range p.Children {
			part := newMatcher(child)
			m.parts = append(m.parts, part)
			m.unsupported = m.unsupported || part.unsupported
		}
	case ldap.FilterPresent:
		m.attr = strings.ToLower(ldapfilter.String(p))
	case ldap.FilterExtensibleMatch:
		m.unsupported = true
	case ldap.FilterSubstrings:
		m.attr = strings.ToLower(ldapfilter.String(p.Children[0]))
		for _, part := range p.Children[1].Children {
			text := fold(ldapfilter.String(part))
			switch part.Tag {
			case ldap.FilterSubstringsInitial:
				m.subs.initial = text
			case ldap.FilterSubstringsFinal:
				m.subs.final = text
			default:
				m.subs.any = append(m.subs.any, text)
			}
		}
	default:
		m.attr = strings.ToLower(ldapfilter.String(p.Children[0]))
		m.value = fold(ldapfilter.String(p.Children[1]))
	}
	return m
}

// compile reads a filter; the error is an *ldapattr.FilterError.
func compile(filter string) (*matcher, error) {
	m, err := filters.get(filter)
	if err != nil {
		return nil, &ldapattr.FilterError{Filter: filter, Err: err}
	}
	return m, nil
}

// endRDN ends each part of a key. No part contains it.
const endRDN = 0

// dnKey is the form of a DN that is equal for equal names, and of which the key of every name above is a suffix. The error is the
// answer that a server gives.
func dnKey(dn string) (string, error) {
	key, err := dns.get(dn)
	if err != nil {
		return "", result(ldap.LDAPResultInvalidDNSyntax, "invalid DN")
	}
	return key, nil
}

// The memos outlive a Directory, because a test that enumerates faults makes a new world, and asks it the same questions, some hundred
// thousand times. What they hold depends on the key alone.
var (
	filters = memo[*matcher]{compute: func(filter string) (*matcher, error) {
		p, err := ldapfilter.Compile(filter)
		if err != nil {
			return nil, err
		}
		return newMatcher(p), nil
	}}
	dns = memo[string]{compute: func(dn string) (string, error) {
		parsed, err := ldap.ParseDN(dn)
		if err != nil {
			return "", err
		}
		var key strings.Builder
		for _, rdn := range parsed.RDNs {
			key.WriteString(strings.ReplaceAll(fold(rdn.String()), "\x00", `\00`))
			key.WriteByte(endRDN)
		}
		return key.String(), nil
	}}
)

// A memo remembers what compute returned, for some thousand keys.
type memo[V any] struct {
	compute func(string) (V, error)
	mu      sync.RWMutex
	known   map[string]V
}

func (m *memo[V]) get(key string) (V, error) {
	m.mu.RLock()
	v, ok := m.known[key]
	m.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := m.compute(key)
	if err != nil {
		return v, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= 4096 {
		m.known = make(map[string]V)
	}
	m.known[key] = v
	return v, nil
}
