package ldapattrtest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-ldap/ldap/v3"
	"github.com/zmlift/zmlift/ldapattr"
)

// A Directory is a tree of entries in memory. It may be used by many goroutines; a modify is one instant for all of them.
type Directory struct {
	mu    sync.RWMutex
	state state
}

// A state never changes: whoever writes makes the next one. What a reader or a Snapshot holds stays as it was.
type state struct {
	entries []*entry // in the order in which they came
	single  map[string]bool
	changes int // so far, in this directory and in those it is a Snapshot of
}

// New returns a directory without entries.
func New() *Directory { return new(Directory) }

// Single declares attributes single-valued: a modify that would leave one with several values is refused as a constraint violation.
// It does not look at the values that are there.
func (d *Directory) Single(names ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	single := maps.Clone(d.state.single)
	if single == nil {
		single = make(map[string]bool)
	}
	for _, name := range names {
		single[strings.ToLower(name)] = true
	}
	d.state.single = single
}

// Put adds an entry, or replaces the one with this DN, and gives it a new entryCSN. Entries above it need not exist. It copies attrs,
// and panics when dn is no DN.
func (d *Directory) Put(dn string, attrs map[string][]string) {
	key, err := dns.get(dn)
	if err != nil {
		panic(fmt.Sprintf("ldapattrtest: Put %q: %v", dn, err))
	}
	e := &entry{dn: dn, key: key}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if lower := strings.ToLower(name); lower != csnLower && len(attrs[name]) > 0 {
			e.attrs = append(e.attrs, newAttribute(name, slices.Clone(attrs[name])))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = d.state.with(e)
}

// Snapshot returns a copy of the directory as it is now. Neither sees what is changed in the other later.
func (d *Directory) Snapshot() *Directory { return &Directory{state: d.now()} }

// Lookup is [ldapattr.Client.Lookup].
func (d *Directory) Lookup(ctx context.Context, base, filter string, attrs ...string) (ldapattr.Entry, error) {
	m, key, err := prepare(ctx, base, filter)
	if err != nil {
		return ldapattr.Entry{}, fmt.Errorf("lookup %s: %w", filter, err)
	}
	var found *entry
	exists := key == ""
	for _, e := range d.now().entries {
		if !e.below(key) {
			continue
		}
		exists = true
		if !m.match(e) {
			continue
		}
		if found != nil {
			return ldapattr.Entry{}, fmt.Errorf("lookup %s: %w", filter, ldapattr.ErrAmbiguous)
		}
		found = e
	}
	switch {
	case !exists:
		return ldapattr.Entry{}, fmt.Errorf("lookup %s: %w", filter, noSuchObject)
	case found == nil:
		return ldapattr.Entry{}, fmt.Errorf("lookup %s: %w", filter, ldapattr.ErrNotFound)
	}
	return found.read(attrs), nil
}

// Search is [ldapattr.Client.Search]. It walks the directory as it is when the walk begins.
func (d *Directory) Search(ctx context.Context, base, filter string, attrs ...string) iter.Seq2[ldapattr.Entry, error] {
	return func(yield func(ldapattr.Entry, error) bool) {
		fail := func(err error) { yield(ldapattr.Entry{}, fmt.Errorf("search %s: %w", filter, err)) }
		m, key, err := prepare(ctx, base, filter)
		if err != nil {
			fail(err)
			return
		}
		exists := key == ""
		for _, e := range d.now().entries {
			if err := ctx.Err(); err != nil {
				fail(err)
				return
			}
			if !e.below(key) {
				continue
			}
			exists = true
			if m.match(e) && !yield(e.read(attrs), nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			fail(err)
		} else if !exists {
			fail(noSuchObject)
		}
	}
}

// Modify is [ldapattr.Client.Modify].
func (d *Directory) Modify(ctx context.Context, dn string, changes ...ldapattr.Change) error {
	return d.modify(ctx, dn, nil, changes)
}

// ModifyIf is [ldapattr.Client.ModifyIf].
func (d *Directory) ModifyIf(ctx context.Context, dn, assertion string, changes ...ldapattr.Change) error {
	m, err := compile(assertion)
	if err == nil && m.unsupported {
		err = result(ldap.LDAPResultInappropriateMatching, "extensible match")
	}
	if err != nil {
		return fmt.Errorf("modify %s: %w", dn, err)
	}
	return d.modify(ctx, dn, m, changes)
}

func (d *Directory) modify(ctx context.Context, dn string, assertion *matcher, changes []ldapattr.Change) error {
	if err := ldapattr.CheckChanges(changes...); err != nil {
		return fmt.Errorf("modify %s: %w", dn, err)
	}
	key, err := dnKey(dn)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("modify %s: %w", dn, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.state.entries, func(e *entry) bool { return e.key == key })
	if i < 0 {
		return fmt.Errorf("modify %s: %w", dn, noSuchObject)
	}
	old := d.state.entries[i]
	if assertion != nil && !assertion.match(old) {
		return fmt.Errorf("modify %s: %w", dn, result(ldap.LDAPResultAssertionFailed, "the entry does not match the assertion"))
	}
	changed, err := old.apply(changes, d.state.single)
	if err != nil {
		return fmt.Errorf("modify %s: %w", dn, err)
	}
	d.state = d.state.with(changed)
	return nil
}

func (d *Directory) now() state {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state
}

// with is the state in which e is new, or in the place of the entry of that name.
func (s state) with(e *entry) state {
	s.changes++
	// Changes within one instant of a real server differ in this part of the number.
	csn := fmt.Sprintf("20000101000000.000000Z#%06x#000#000000", s.changes)
	e.csn = newAttribute(csnName, []string{csn})
	i := slices.IndexFunc(s.entries, func(o *entry) bool { return o.key == e.key })
	if i < 0 {
		s.entries = append(slices.Clone(s.entries), e)
		return s
	}
	s.entries = slices.Clone(s.entries)
	s.entries[i] = e
	return s
}

var noSuchObject = result(ldap.LDAPResultNoSuchObject, "")

func result(code uint16, message string) error {
	return &ldapattr.ResultError{Code: int(code), Message: message}
}

// prepare reads what a search is given.
func prepare(ctx context.Context, base, filter string) (*matcher, string, error) {
	m, err := compile(filter)
	if err != nil {
		return nil, "", err
	}
	if m.unsupported {
		return nil, "", result(ldap.LDAPResultInappropriateMatching, "extensible match")
	}
	key, err := dnKey(base)
	if err != nil {
		return nil, "", err
	}
	return m, key, ctx.Err()
}
