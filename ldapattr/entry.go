package ldapattr

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// An Entry is one object of the directory as it was when it was read. It holds the attributes that were asked for and that the
// identity of the Client may see: an attribute that is missing here need not be missing in the directory.
//
// The zero Entry has no attributes. An Entry does not change; it may be copied and used by many goroutines. Printed, it says its DN
// only: values may be secret.
type Entry struct {
	DN    string
	attrs []attribute
}

type attribute struct {
	name   string
	values []string
}

// NewEntry returns an entry with these attributes, for tests and for implementations of a directory. It copies attrs; attributes
// without values are left out.
func NewEntry(dn string, attrs map[string][]string) Entry {
	e := Entry{DN: dn, attrs: make([]attribute, 0, len(attrs))}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if len(attrs[name]) > 0 {
			e.attrs = append(e.attrs, attribute{name, slices.Clone(attrs[name])})
		}
	}
	return e
}

// Value returns the first value of the attribute, or "" when it has none. Which value of several is the first is up to the server.
func (e Entry) Value(name string) string {
	if v := e.find(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Values returns all values of the attribute, in the server's order, or nil when it has none. The slice is the caller's: as the Old of
// a [Change] it says "what I read", and nil, again, "absent".
func (e Entry) Values(name string) []string {
	return slices.Clone(e.find(name))
}

// Has says whether the attribute has this value, case ignored.
func (e Entry) Has(name, value string) bool {
	return slices.ContainsFunc(e.find(name), func(v string) bool { return strings.EqualFold(v, value) })
}

// All walks the attributes, with their names as the server spells them.
func (e Entry) All() iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		for _, a := range e.attrs {
			if !yield(a.name, slices.Clone(a.values)) {
				return
			}
		}
	}
}

// String returns the DN.
func (e Entry) String() string { return e.DN }

// GoString returns the DN.
func (e Entry) GoString() string { return e.DN }

func (e Entry) find(name string) []string {
	for _, a := range e.attrs {
		if strings.EqualFold(a.name, name) {
			return a.values
		}
	}
	return nil
}
