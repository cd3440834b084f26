package sqlrewrite

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
)

// A number is a decimal number in pieces, as it is spelled.
type number struct {
	sign        byte // '-', '+' or 0
	whole, frac []byte
	point       bool
	exponent    []byte // nil: none
}

// parse says whether b is a number and nothing else, and takes it apart.
func (n *number) parse(b []byte) bool {
	*n = number{}
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		n.sign, b = b[0], b[1:]
	}
	n.whole, b = digits(b)
	if len(b) > 0 && b[0] == '.' {
		n.point = true
		n.frac, b = digits(b[1:])
	}
	if len(n.whole)+len(n.frac) == 0 {
		return false
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		n.exponent = b[1:]
		b = b[1:]
		if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
			b = b[1:]
		}
		var d []byte
		if d, b = digits(b); len(d) == 0 {
			return false
		}
	}
	return len(b) == 0
}

// plain says whether the number is what a client prints for an integer or a decimal: no plus sign, no exponent, digits before the point
// and after it.
func (n *number) plain() bool {
	return n.sign != '+' && n.exponent == nil && len(n.whole) > 0 && n.point == (len(n.frac) > 0)
}

// integer says whether the number is spelled as an integer, with or without a fraction of zeros.
func (n *number) integer() bool { return n.plain() && len(bytes.Trim(n.frac, "0")) == 0 }

// canonical appends the one spelling that equal numbers share. It returns nil for exponents beyond reason.
func (n *number) canonical(dst []byte) []byte {
	start, exp := len(dst), 0
	if n.exponent != nil {
		var err error
		if exp, err = strconv.Atoi(string(n.exponent)); err != nil || exp > 1000 || exp < -1000 {
			return nil
		}
	}
	// The digits without a point, which stands behind the first p of them.
	dst = append(append(dst, n.whole...), n.frac...)
	p := len(n.whole) + exp
	for p > len(dst)-start {
		dst = append(dst, '0')
	}
	if p < 0 {
		zeros := bytes.Repeat([]byte{'0'}, -p)
		dst = append(dst[:start], append(zeros, dst[start:]...)...)
		p = 0
	}
	whole := bytes.TrimLeft(dst[start:start+p], "0")
	frac := bytes.TrimRight(dst[start+p:], "0")
	neg := n.sign == '-' && len(whole)+len(frac) > 0
	w, f := len(whole), len(frac)
	at := start + p - w // of the whole digits; those after the point follow them
	dst = dst[:start+p+f]
	if f > 0 {
		dst = append(dst, 0)
		copy(dst[start+p+1:], dst[start+p:])
		dst[start+p] = '.'
		f++
	}
	copy(dst[start:], dst[at:at+w+f])
	dst = dst[:start+w+f]
	if w == 0 {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '0'
	}
	if neg {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '-'
	}
	return dst
}

// digits divides b after its leading digits.
func digits(b []byte) (head, tail []byte) {
	i := 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return b[:i], b[i:]
}

// leadingDigits returns how many digits b begins with, up to eight, at once: a byte is no digit where it differs from '0' in more than the
// numbers to 9 do, which leaves its top bit set. The lowest of these bits is always right.
func leadingDigits(b []byte) int {
	if len(b) < 8 {
		return 0 // for the caller to count
	}
	x := binary.LittleEndian.Uint64(b) ^ 0x3030303030303030
	return bits.TrailingZeros64((x+0x7676767676767676|x)&0x8080808080808080) >> 3
}
