package ldapattr

import (
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/zmlift/zmlift/ldapattr/internal/ldapfilter"
)

// badFilter is what the filter functions return for what cannot be a filter. It matches nothing and is refused as a *FilterError
// wherever it is used, alone or inside another: a mistake in the program must not become a search for everything.
const badFilter = "()"

// Equal returns the filter that matches entries whose attribute has the value. The value is escaped: it may hold any bytes. An
// attribute name that is none gives a filter that is refused where it is used.
func Equal(attr, value string) string {
	if !ldapfilter.ValidAttr(attr) {
		return badFilter
	}
	return "(" + attr + "=" + ldap.EscapeFilter(value) + ")"
}

// Present returns the filter that matches entries that have the attribute, with whatever value.
func Present(attr string) string {
	if !ldapfilter.ValidAttr(attr) {
		return badFilter
	}
	return "(" + attr + "=*)"
}

// And returns the filter that matches what all of the filters match. Without any it gives a filter that is refused.
func And(filters ...string) string { return join("&", filters) }

// Or returns the filter that matches what one of the filters matches. Without any it gives a filter that is refused.
func Or(filters ...string) string { return join("|", filters) }

// Not returns the filter that matches what the filter does not match.
func Not(filter string) string { return "(!" + filter + ")" }

func join(op string, filters []string) string {
	switch len(filters) {
	case 0:
		return badFilter
	case 1:
		return filters[0]
	}
	return "(" + op + strings.Join(filters, "") + ")"
}

// A FilterError is a filter (RFC 4515) that cannot be read. Nothing was sent.
type FilterError struct {
	Filter string
	Err    error
}

func (e *FilterError) Error() string { return fmt.Sprintf("ldapattr: filter %q: %v", e.Filter, e.Err) }

// Unwrap returns the reason.
func (e *FilterError) Unwrap() error { return e.Err }
