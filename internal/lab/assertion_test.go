package lab_test

import (
	ber "github.com/go-asn1-ber/asn1-ber"
)

// assertionControl is RFC 4528's, which go-ldap lacks: the operation fails unless the filter matches the entry.
type assertionControl struct{ filter *ber.Packet }

const assertionOID = "1.3.6.1.1.12"

func (c *assertionControl) GetControlType() string { return assertionOID }
func (c *assertionControl) String() string         { return "assertion" }

func (c *assertionControl) Encode() *ber.Packet {
	p := ber.NewSequence("Control")
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, assertionOID, "type"))
	p.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, "criticality"))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, string(c.filter.Bytes()), "value"))
	return p
}
