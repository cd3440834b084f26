package ldapattrtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/zmlift/zmlift/ldapattr"
)

const (
	csnName  = "entryCSN"
	csnLower = "entrycsn"
)

// An entry never changes once it is in a directory.
type entry struct {
	dn, key string
	attrs   []attribute // none without values
	csn     attribute
}

type attribute struct {
	name, lower    string
	values, folded []string // the values as they were given, and as they are compared
}

func newAttribute(name string, values []string) attribute {
	a := attribute{name: name, lower: strings.ToLower(name), values: values, folded: make([]string, len(values))}
	for i, v := range values {
		a.folded[i] = fold(v)
	}
	return a
}

// fold is the form in which values are compared.
func fold(value string) string { return strings.ToLower(value) }

// below says whether the entry is in the subtree of the base, the base itself included.
func (e *entry) below(base string) bool {
	n := len(e.key) - len(base)
	return n >= 0 && e.key[n:] == base && (n == 0 || base == "" || e.key[n-1] == endRDN)
}

// find returns the attribute, or nil.
func (e *entry) find(lower string) *attribute {
	if lower == csnLower {
		return &e.csn
	}
	for i := range e.attrs {
		if e.attrs[i].lower == lower {
			return &e.attrs[i]
		}
	}
	return nil
}

// read is the entry with the attributes that were asked for. Like a server it gives all but the operational ones when none is named.
func (e *entry) read(names []string) ldapattr.Entry {
	found := make(map[string][]string, len(e.attrs))
	all := len(names) == 0
	for _, name := range names {
		switch name {
		case "*":
			all = true
		case "+":
			found[csnName] = e.csn.values
		default:
			if a := e.find(strings.ToLower(name)); a != nil {
				found[a.name] = a.values
			}
		}
	}
	if all {
		for _, a := range e.attrs {
			found[a.name] = a.values
		}
	}
	return ldapattr.NewEntry(e.dn, found)
}

// apply returns the entry with the changes made, or the answer of a server that refuses them.
func (e *entry) apply(changes []ldapattr.Change, single map[string]bool) (*entry, error) {
	for _, c := range changes {
		if len(c.Old) == 0 && e.find(strings.ToLower(c.Attr)) != nil {
			return nil, result(ldap.LDAPResultAssertionFailed, c.Attr+" is there")
		}
	}
	out := &entry{dn: e.dn, key: e.key, attrs: slices.Clone(e.attrs)}
	for _, c := range changes {
		lower := strings.ToLower(c.Attr)
		if lower == csnLower {
			return nil, result(ldap.LDAPResultConstraintViolation, c.Attr+": no user modification allowed")
		}
		a := attribute{name: c.Attr}
		i := slices.IndexFunc(out.attrs, func(a attribute) bool { return a.lower == lower })
		if i >= 0 {
			a = out.attrs[i]
		}
		values := slices.Clone(a.values)
		for n, old := range c.Old {
			at := slices.IndexFunc(values, func(v string) bool { return fold(v) == fold(old) })
			if at < 0 {
				return nil, result(ldap.LDAPResultNoSuchAttribute, fmt.Sprintf("%s: no such value (number %d)", c.Attr, n))
			}
			values = slices.Delete(values, at, at+1)
		}
		for n, added := range c.New {
			if slices.ContainsFunc(values, func(v string) bool { return fold(v) == fold(added) }) {
				return nil, result(ldap.LDAPResultAttributeOrValueExists, fmt.Sprintf("%s: value exists (number %d)", c.Attr, n))
			}
			values = append(values, added)
		}
		if single[lower] && len(values) > 1 {
			return nil, result(ldap.LDAPResultConstraintViolation, c.Attr+": several values of a single-valued attribute")
		}
		switch {
		case len(values) == 0 && i >= 0:
			out.attrs = slices.Delete(out.attrs, i, i+1)
		case len(values) == 0:
		case i >= 0:
			out.attrs[i] = newAttribute(a.name, values)
		default:
			out.attrs = append(out.attrs, newAttribute(a.name, values))
		}
	}
	return out, nil
}
