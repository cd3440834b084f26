package sqlrewrite

import "strings"

// A charset is what must be known of a connection's character set to find the ends of strings, and to compare values.
type charset struct {
	name string
	utf8 bool // text is UTF-8, or bytes that are compared as they are
	max  byte // for UTF-8: the greatest first byte of a character it can hold
	// blank is a byte beyond ASCII that is white space to servers; 0: none. Versions agree on it, on what else is no letter they do not.
	blank byte
	// double says whether two bytes are one character. nil where a byte below 0x80 is always a character of its own. Otherwise a backslash or
	// a backtick may be the second half of a character.
	double func(first, second byte) bool
}

var utf8mb4 = &charset{name: "utf8mb4", utf8: true, max: 0xf4}

// charsets are those that a connection can have. ucs2, utf16, utf16le and utf32 cannot be a connection's, in swe7 a backslash is a letter, and in
// armscii8 a quote has a second code.
var charsets = func() map[string]*charset {
	m := map[string]*charset{
		"utf8mb4": utf8mb4,
		"utf8":    {utf8: true, max: 0xef},
		"utf8mb3": {utf8: true, max: 0xef},
		"binary":  {utf8: true, max: 0xff},
		"sjis":    {double: sjis},
		"cp932":   {double: sjis},
		"gbk":     {double: func(a, b byte) bool { return a >= 0x81 && a <= 0xfe && b >= 0x40 && b <= 0xfe && b != 0x7f }},
		// Of a character of four bytes the second and the fourth are digits, so that reading it byte by byte comes to the same end.
		"gb18030": {double: func(a, b byte) bool { return a >= 0x81 && a <= 0xfe && b >= 0x40 && b <= 0xfe && b != 0x7f }},
		"big5": {double: func(a, b byte) bool {
			return a >= 0xa1 && a <= 0xf9 && (b >= 0x40 && b <= 0x7e || b >= 0xa1 && b <= 0xfe)
		}},
	}
	for name := range strings.FieldsSeq("ascii latin1 latin2 latin5 latin7 cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 dec8 hp8 koi8r koi8u greek " +
		"hebrew tis620 geostd8 keybcs2 macce macroman gb2312 euckr ujis eucjpms") {
		m[name] = &charset{}
	}
	for name := range strings.FieldsSeq("latin1 latin2 latin5 latin7 cp1250 dec8 greek hebrew geostd8") {
		m[name].blank = 0xa0
	}
	for name := range strings.FieldsSeq("cp852 cp866 keybcs2") {
		m[name].blank = 0xff
	}
	for name, c := range m {
		c.name = name
	}
	return m
}()

func sjis(a, b byte) bool {
	return (a >= 0x81 && a <= 0x9f || a >= 0xe0 && a <= 0xfc) && (b >= 0x40 && b <= 0x7e || b >= 0x80 && b <= 0xfc)
}

// findCharset returns nil for a charset that is not known.
func findCharset(name string) *charset { return charsets[strings.ToLower(name)] }

// unicode says whether text is UTF-8 and nothing else.
func (c *charset) unicode() bool { return c.utf8 && c.max < 0xff }

// holds says whether text of the rules can be written in the charset as it is.
func (c *charset) holds(text string) bool {
	if ascii(text) {
		return true
	}
	for i := range len(text) {
		if text[i] > c.max {
			return false
		}
	}
	return c.utf8
}
