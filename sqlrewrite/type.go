package sqlrewrite

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A typeKind says how a column's type spells values.
type typeKind uint8

const (
	unknownType typeKind = iota
	textType             // values are equal when their bytes are
	charType             // loses blanks at its end
	bytesType            // of one length: what is shorter is filled up
	integerType
	decimalType
	floatType
	doubleType
	yearType
	enumType
	setType
	dateType
	datetimeType
	timeType
	uuidType
	inetType
)

// A columnType is what CREATE TABLE says of a column's type. The server brings values to the form that the type has: what is written as 1.4
// is 1 in a column of integers. Dumps write values in that form, and in another one no rule would find them.
type columnType struct {
	kind             typeKind
	bits             int // of an integer
	size, scale      int // in parentheses, or what the type has without them; 0: none
	params           int // how many of these have been seen
	unsigned, filled bool
	members          []string // of ENUM and SET
}

var unknown = &columnType{}

// integers have their bits.
var integers = map[string]int{"TINYINT": 8, "BOOL": 8, "BOOLEAN": 8, "SMALLINT": 16, "MEDIUMINT": 24, "INT": 32, "INTEGER": 32, "BIGINT": 64}

// newType returns the type of this name.
func newType(b []byte) *columnType {
	t := &columnType{}
	switch name := strings.ToUpper(string(b)); name {
	case "VARCHAR", "VARBINARY", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "JSON":
		t.kind = textType
	case "CHAR", "CHARACTER":
		t.kind, t.size = charType, 1
	case "BINARY":
		t.kind, t.size = bytesType, 1
	case "BIT":
		t.kind, t.bits = bytesType, 1
	case "TINYINT", "BOOL", "BOOLEAN", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT":
		t.kind, t.bits = integerType, integers[name]
	case "SERIAL":
		t.kind, t.bits, t.unsigned = integerType, 64, true
	case "DECIMAL", "NUMERIC", "DEC", "FIXED":
		t.kind, t.size = decimalType, 10
	case "FLOAT":
		t.kind = floatType
	case "DOUBLE", "REAL":
		t.kind = doubleType
	case "YEAR":
		t.kind, t.size = yearType, 4
	case "ENUM":
		t.kind = enumType
	case "SET":
		t.kind = setType
	case "DATE":
		t.kind = dateType
	case "DATETIME", "TIMESTAMP":
		t.kind = datetimeType
	case "TIME":
		t.kind = timeType
	case "UUID":
		t.kind = uuidType
	case "INET4", "INET6":
		t.kind = inetType
	}
	return t
}

// describe takes in a token behind the type's name, in its parentheses or behind them.
func (t *columnType) describe(s *scanner, tok token, inside bool) {
	switch {
	case inside && tok.version:
		*t = *unknown
	case inside && tok.kind == text:
		t.members = append(t.members, string(s.unescape(s.unquoted(tok), s.bytes(tok)[0])))
	case inside && tok.kind == word:
		n, err := strconv.Atoi(string(s.bytes(tok)))
		switch {
		case err != nil:
			*t = *unknown
		case t.params > 0:
			t.scale = n
		case t.kind == bytesType && t.bits > 0:
			t.bits = n
		default:
			t.size = n
		}
		t.params++
	case s.is(tok, "UNSIGNED"):
		t.unsigned = true
	case s.is(tok, "ZEROFILL"):
		t.unsigned, t.filled = true, true
	}
}

// short says whether b is an integer of few digits in a column of integers, as most are: there is nothing more to look at.
func (t *columnType) short(b []byte) bool {
	if t.kind != integerType || t.filled || len(b) == 0 || len(b) > (t.bits-1)*3/10 || b[0] == '0' {
		return false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// isNumber says whether values are numbers, equal when they are equal as numbers.
func (t *columnType) isNumber() bool { return t.kind >= integerType && t.kind <= yearType }

// isText says whether any text is a value, as far as there is room for it.
func (t *columnType) isText() bool { return t.kind == textType || t.kind == charType }

// odd says what keeps text v, of a string, from being what the column has. A column of numbers is asked of those, with fits.
func (t *columnType) odd(v []byte, c *charset) string {
	ok := true
	switch t.kind {
	case charType:
		if len(v) > 0 && v[len(v)-1] == ' ' {
			return "blanks at the end, which the column's type does not keep"
		}
		fallthrough
	case textType:
		ok = t.size == 0 || len(v) <= t.size || !ascii(v) && (!c.unicode() || utf8.RuneCount(v) <= t.size)
	case bytesType:
		ok = len(v) == max(t.size, (t.bits+7)/8)
	case yearType:
		ok = looksLike(v, "dddd") && (string(v) == "0000" || string(v) > "1900" && string(v) <= "2155") || t.size == 2 && looksLike(v, "dd")
	case enumType:
		ok = len(v) == 0 || !ascii(v) || slices.Contains(t.members, string(v))
	case setType:
		ok = len(v) == 0 || !ascii(v) || t.isSet(v)
	case dateType:
		ok = isDate(v)
	case datetimeType:
		ok = len(v) > 10 && isDate(v[:10]) && v[10] == ' ' && isTime(v[11:], t.size) && string(v[11:13]) < "24" && v[13] == ':'
	case timeType:
		ok = isTime(bytes.TrimPrefix(v, []byte("-")), t.size)
	case uuidType:
		ok = looksLike(v, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
	case inetType:
		ok = isAddress(string(v))
	}
	if !ok {
		return "a spelling that the column's type does not keep"
	}
	return ""
}

// isSet says whether v has members, each once and in order.
func (t *columnType) isSet(v []byte) bool {
	members := t.members
	for m := range bytes.SplitSeq(v, []byte(",")) {
		i := slices.Index(members, string(m))
		if i < 0 {
			return false
		}
		members = members[i+1:]
	}
	return true
}

// fits says whether a column of numbers has a number as it is, which is given in its canonical spelling.
func (t *columnType) fits(canonical []byte) bool {
	digits := bytes.TrimPrefix(canonical, []byte("-"))
	negative := len(digits) < len(canonical)
	whole, frac, _ := bytes.Cut(digits, []byte("."))
	if t.unsigned && negative {
		return false
	}
	switch {
	case t.kind == integerType:
		n, err := strconv.ParseUint(string(whole), 10, 64)
		limit := uint64(1)<<(t.bits-1) - 1
		switch {
		case t.unsigned:
			limit = limit*2 + 1
		case negative:
			limit++
		}
		return err == nil && len(frac) == 0 && n <= limit
	case t.kind == decimalType:
		return len(frac) <= t.scale && (len(whole) <= t.size-t.scale || string(whole) == "0")
	case t.params == 2:
		return len(frac) <= t.scale // the greatest number may round up to one more digit
	case t.kind == floatType:
		return significant(digits) <= 6
	case t.kind == doubleType:
		return significant(digits) <= 17
	}
	return true
}

// significant counts the digits of a number without the zeros at its ends.
func significant(digits []byte) int {
	digits = bytes.Trim(digits, "0.")
	return len(digits) - bytes.Count(digits, []byte("."))
}

// prints says whether a client prints the column's number as b, which is n.
func (t *columnType) prints(b []byte, n *number, canonical []byte) bool {
	switch {
	case n.exponent != nil:
		exp, err := strconv.Atoi(string(n.exponent))
		return t.params < 2 && (t.kind == floatType || t.kind == doubleType) && err == nil && (exp < -4 || exp > 14) &&
			len(n.whole) == 1 && n.whole[0] != '0' && n.point == (len(n.frac) > 0) && !bytes.HasSuffix(n.frac, []byte("0"))
	case t.kind == yearType:
		return true // by its spelling
	case t.filled:
		digits := len(n.whole) + len(n.frac)
		return t.kind <= decimalType && n.sign == 0 && n.plain() && len(n.frac) == t.scale && (digits == t.size || digits > t.size && b[0] != '0')
	case t.kind == decimalType, t.params == 2:
		return n.plain() && len(n.frac) == t.scale && (len(n.whole) == 1 || n.whole[0] != '0') && (n.sign == 0 || canonical[0] == '-')
	}
	return string(b) == string(canonical)
}

// looksLike compares v with a form: d stands for a digit, x for one of the hexadecimal digits in lower case.
func looksLike(v []byte, form string) bool {
	if len(v) != len(form) {
		return false
	}
	for i, c := range v {
		digit := c >= '0' && c <= '9'
		switch form[i] {
		case 'd':
			if !digit {
				return false
			}
		case 'x':
			if !digit && (c < 'a' || c > 'f') {
				return false
			}
		default:
			if c != form[i] {
				return false
			}
		}
	}
	return true
}

func isDate(v []byte) bool {
	return looksLike(v, "dddd-dd-dd") && string(v[5:7]) <= "12" && string(v[8:]) <= "31"
}

// isTime says whether v is hours, of which there may be hundreds, minutes, seconds and so many digits of a fraction.
func isTime(v []byte, fraction int) bool {
	const forms = "ddd:dd:dd.dddddd"
	n := len("ddd:dd:dd")
	if fraction > 0 {
		n += 1 + min(fraction, 6)
	}
	form := forms[:n]
	if len(v) < n {
		form = form[1:]
	} else if len(v) > 0 && v[0] == '0' {
		return false
	}
	i := len(form) - n + len("ddd:")
	return looksLike(v, form) && string(v[i:i+2]) < "60" && string(v[i+3:i+5]) < "60"
}

// isAddress says whether v is an IP address as servers print it, which is as package netip does, but for IPv4 behind zeros.
func isAddress(v string) bool {
	old, compatible := strings.CutPrefix(v, "::")
	if a, err := netip.ParseAddr(old); compatible && err == nil && a.Is4() {
		return a.String() == old && !strings.HasPrefix(old, "0.0.")
	}
	a, err := netip.ParseAddr(v)
	return err == nil && a.String() == v && a.Zone() == ""
}
