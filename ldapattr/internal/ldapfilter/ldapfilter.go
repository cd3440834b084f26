package ldapfilter

import (
	"fmt"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// Compile returns the filter in the form in which it is sent (RFC 4511, section 4.5.1). Unlike go-ldap's own function it refuses
// attribute names that are none: those would otherwise be sent, and answered with "matches nothing".
func Compile(filter string) (*ber.Packet, error) {
	p, err := ldap.CompileFilter(filter)
	if err != nil {
		return nil, err
	}
	return p, check(p)
}

func check(p *ber.Packet) error {
	var attr string
	switch p.Tag {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		for _, child := range p.Children {
			if err := check(child); err != nil {
				return err
			}
		}
		if len(p.Children) == 0 {
			return fmt.Errorf("%s of nothing", ldap.FilterMap[uint64(p.Tag)])
		}
		return nil
	case ldap.FilterPresent:
		attr = String(p)
	case ldap.FilterExtensibleMatch:
		return nil
	default:
		attr = String(p.Children[0])
	}
	if !ValidAttr(attr) {
		return fmt.Errorf("%q is not an attribute name", attr)
	}
	return nil
}

// String returns the text in a primitive part of a filter.
func String(p *ber.Packet) string { return ber.DecodeString(p.Data.Bytes()) }

// ValidAttr says whether name can be an attribute description (RFC 4512, section 2.5): a name or a dotted number, with options.
func ValidAttr(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		switch {
		case letter || digit:
		case i > 0 && (c == '-' || c == ';' || c == '.'):
		default:
			return false
		}
	}
	return name != ""
}
