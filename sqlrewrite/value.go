package sqlrewrite

import (
	"bytes"
	"encoding/hex"
	"strconv"
)

// value passes over a value that a rule names, to before the comma or the parenthesis behind it, and replaces it.
func (s *scanner) value(tg *target) {
	if s.repeatedValue(tg) {
		return
	}
	c, ok := s.gap()
	if !ok {
		s.truncated("a statement")
	}
	if s.version {
		s.failHere("a version comment in a row")
	}
	s.tok = s.pos
	prefix, form := 0, literal(c)
	switch {
	case c == '\'' || c == '"' && !s.ansi:
		s.pos++
		s.str(c)
	case class[c] == plain || c == '-' || c == '+' || c == '.':
		s.wordValue()
		w := s.buf[s.tok:s.pos]
		next, _ := s.peek(0)
		switch {
		case equalFold(w, "_BINARY"):
			if next, _ = s.gap(); next != '\'' && (next != '"' || s.ansi) {
				s.failHere("no string behind _binary")
			}
			prefix, form = s.pos-s.tok, literal(next)
			s.pos++
			s.str(next)
		case len(w) == 1 && w[0]|0x20 == 'x' && next == '\'':
			form = 'x'
			prefix = 2
			s.pos++
			s.str(next)
		case equalFold(w, "NULL"):
			form = 'N'
		case len(w) > 2 && w[0] == '0' && w[1] == 'x':
			form, prefix = 'x', 2
		default:
			form = '0'
		}
	default:
		s.failHere("no literal where a rule names the column %q", s.rw.rules[tg.rule].Column.Column)
	}
	n := s.pos - s.tok
	if c, ok = s.gap(); !ok {
		s.truncated("a statement")
	}
	if c != ',' && c != ')' || s.version {
		s.fail(s.base+int64(s.tok), "no literal where a rule names the column %q", s.rw.rules[tg.rule].Column.Column)
	}
	b, changed := s.buf[s.tok:s.tok+n], s.stats.Changed[tg.rule]
	switch form {
	case 'N':
	case 'x':
		s.hexValue(tg, b, prefix)
	case '0':
		s.numberValue(tg, b)
	default:
		s.stringValue(tg, b, prefix)
	}
	s.rememberValue(tg, b, s.stats.Changed[tg.rule] > changed)
	s.tok = -1
}

// repeatedValue says whether the value is one of the latest of its column, and passes over it.
func (s *scanner) repeatedValue(tg *target) bool {
	b := s.buf[s.pos:s.end]
	for i := range tg.latest {
		l := &tg.latest[i]
		if !l.known || len(b) <= l.in || string(b[:l.in]) != string(l.old[:l.in]) || b[l.in] != ',' && b[l.in] != ')' {
			continue
		}
		if l.changed {
			s.tok = s.pos
			s.replace(l.in, l.new[:l.out])
			s.tok = -1
			s.stats.Changed[tg.rule]++
		}
		s.pos += l.in
		return true
	}
	return false
}

// rememberValue notes what became of value b, unless somebody wants to know of each value.
func (s *scanner) rememberValue(tg *target, b []byte, changed bool) {
	l := &tg.latest[tg.next]
	if s.trace != nil || s.rw.rules[tg.rule].Func != nil || len(b) > len(l.old) || changed && len(s.written) > len(l.new) {
		return
	}
	tg.next = (tg.next + 1) % len(tg.latest)
	l.known, l.changed, l.in = true, changed, copy(l.old[:], b)
	if changed {
		l.out = copy(l.new[:], s.written)
	}
}

// A literal is the first byte of a quoted value, or x, 0 or N for hexadecimal bytes, a number and NULL.
type literal byte

// wordValue passes over a number or a word with its sign, point and exponent.
func (s *scanner) wordValue() {
	for {
		c, ok := s.peek(0)
		if !ok {
			s.truncated("a statement")
		}
		first := s.pos == s.tok
		switch {
		case class[c] == plain || c == '.':
		case (c == '-' || c == '+') && (first || s.exponentSign()):
		default:
			return
		}
		s.pos++
	}
}

// exponentSign says whether a sign at pos belongs to the exponent of the number before it.
func (s *scanner) exponentSign() bool {
	b := s.buf[s.tok:s.pos]
	if len(b) < 2 || b[len(b)-1]|0x20 != 'e' {
		return false
	}
	var n number
	return n.parse(b[:len(b)-1])
}

// refuse stops at the value under tok.
func (s *scanner) refuse(tg *target, why string) {
	s.fail(s.base+int64(s.tok), "column %q: %s", s.rw.rules[tg.rule].Column.Column, why)
}

// unmapped is called for a value without an entry.
func (s *scanner) unmapped(tg *target) {
	if s.rw.rules[tg.rule].Unmapped == Refuse {
		s.refuse(tg, "a value without an entry in the rule's map")
	}
}

// find looks a value up by its text.
func (s *scanner) find(tg *target, b []byte) (to string, ok bool) {
	ru := &s.rw.rules[tg.rule]
	if ru.Func != nil {
		return ru.Func(string(b))
	}
	to, ok = ru.Map[string(b)]
	return to, ok
}

// findText looks up a value that has the spelling of a number, when the column may be one of numbers. A function gets the spelling that a
// client would print, and where that is not known, it must not matter.
func (s *scanner) findText(tg *target, b []byte) (to string, ok bool) {
	to, ok = s.find(tg, b)
	ru := &s.rw.rules[tg.rule]
	var n number
	if ru.Func == nil || tg.typ.kind != unknownType || !n.parse(bytes.Trim(b, blanks)) {
		return to, ok
	}
	if s.number(tg, &n); string(s.canonical) != string(b) {
		if other, too := ru.Func(string(s.canonical)); too != ok || ok && other != to {
			s.refuse(tg, "a number in a spelling that may not be the one that a client prints")
		}
	}
	return to, ok
}

// blanks may stand around a number.
const blanks = " \t\n\r\v\f"

// number brings a number to its canonical spelling.
func (s *scanner) number(tg *target, n *number) {
	c := n.canonical(s.canonical[:0])
	if c == nil {
		s.refuse(tg, "a number with a great exponent")
	}
	s.canonical = c
}

// spelled stops at a value that a column of its type does not have as it is written. b is the text of a string, or else the number n.
func (s *scanner) spelled(tg *target, b []byte, n *number) {
	t, quoted := tg.typ, n == nil
	if t.kind == unknownType || t.short(b) {
		return
	}
	if !quoted && !t.isNumber() && !t.isText() {
		s.refuse(tg, "a number in a column of another type")
	}
	if why := t.odd(b, s.charset); why != "" {
		s.refuse(tg, why)
	}
	if quoted && !t.isNumber() {
		return
	}
	if quoted {
		if n = new(number); !n.parse(b) {
			s.refuse(tg, "a string that is no number in a column of numbers")
		}
	}
	s.number(tg, n)
	switch {
	case t.isText():
		if string(s.canonical) != string(b) {
			s.refuse(tg, "a number in an odd spelling in a column of text")
		}
	case !t.fits(s.canonical):
		s.refuse(tg, "a number that the column's type does not keep")
	case s.rw.rules[tg.rule].Func != nil && !t.prints(b, n, s.canonical):
		s.refuse(tg, "a number in a spelling that is not the one that a client prints")
	}
}

// findNumber looks up a number by what it means. It returns the key, and false when there is none or more than one.
func (s *scanner) findNumber(tg *target, n *number) (key string, ok bool) {
	s.number(tg, n)
	key, ok = s.rw.rules[tg.rule].numbers[string(s.canonical)]
	if ok && key == "" {
		s.refuse(tg, "a number that two entries of the rule's map spell in two other ways")
	}
	return key, ok
}

// put replaces the value under tok, which has n bytes. from and to are the values as text, for the tracer.
func (s *scanner) put(tg *target, n int, text []byte, from, to string) {
	s.trace.value(s, tg, n, text, from, to)
	s.replace(n, text)
	s.written = text
	s.stats.Changed[tg.rule]++
}

// stringValue replaces a quoted value whose quote is behind prefix bytes.
func (s *scanner) stringValue(tg *target, b []byte, prefix int) {
	ru := &s.rw.rules[tg.rule]
	q := b[prefix]
	v := s.unescape(b[prefix+1:len(b)-1], q)
	binary := prefix > 0
	s.spelled(tg, v, nil)
	if len(v) == 0 {
		s.notEmpty(tg)
	}
	if !binary && !s.charset.utf8 && !ascii(v) {
		if ru.nonASCII || ru.Func != nil {
			s.refuse(tg, "a value that is not ASCII, and the charset is "+s.charset.name)
		}
		s.unmapped(tg)
		return
	}
	to, ok := s.findText(tg, v)
	if !ok {
		s.oddString(tg, v)
		s.unmapped(tg)
		return
	}
	if to == string(v) {
		return
	}
	if to == "" {
		s.notEmpty(tg)
	}
	if !binary && !s.charset.holds(to) {
		s.refuse(tg, "the new value is not ASCII, and the charset is "+s.charset.name)
	}
	from := s.trace.text(v)
	s.scratch = append(s.scratch[:0], b[:prefix+1]...)
	s.scratch = append(s.escape(s.scratch, to, q), q)
	s.put(tg, len(b), s.scratch, from, to)
}

// notEmpty stops at an empty string where that is NULL.
func (s *scanner) notEmpty(tg *target) {
	if s.emptyNull {
		s.refuse(tg, "an empty string, which is NULL in this sql_mode")
	}
}

// oddString stops at a string that would be a number of the map in a column of numbers, when it may stand in one.
func (s *scanner) oddString(tg *target, v []byte) {
	var n number
	if tg.typ.kind != unknownType && !tg.typ.isNumber() || s.rw.rules[tg.rule].Func != nil || !n.parse(bytes.Trim(v, blanks)) {
		return
	}
	if _, ok := s.findNumber(tg, &n); ok {
		s.refuse(tg, "a string that is an entry's number in another spelling")
	}
}

// unescape returns the text of a string literal without its quotes, which is b itself where nothing is escaped.
func (s *scanner) unescape(b []byte, q byte) []byte {
	if bytes.IndexByte(b, q) < 0 && (s.literal || bytes.IndexByte(b, '\\') < 0) {
		return b
	}
	v := s.scratch[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case i+1 < len(b) && s.charset.double != nil && s.charset.double(c, b[i+1]):
			v = append(v, c)
			i++
			c = b[i]
		case c == q:
			i++ // doubled
		case c == '\\' && !s.literal:
			i++
			switch c = b[i]; c {
			case '0':
				c = 0
			case 'b':
				c = '\b'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'Z':
				c = 0x1a
			case '%', '_':
				v = append(v, '\\')
			}
		}
		v = append(v, c)
	}
	s.scratch = v
	return v
}

// escape appends text as the inside of a literal in quotes q, as mysqldump does.
func (s *scanner) escape(b []byte, v string, q byte) []byte {
	for i := range len(v) {
		c := v[i]
		if s.literal {
			if c == q {
				b = append(b, q)
			}
			b = append(b, c)
			continue
		}
		switch c {
		case 0:
			b = append(b, '\\', '0')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case 0x1a:
			b = append(b, '\\', 'Z')
		case '\'', '"', '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}

// hexValue replaces a value in hexadecimal digits, which stand behind prefix bytes.
func (s *scanner) hexValue(tg *target, b []byte, prefix int) {
	digits := b[prefix:]
	quoted := b[0]|0x20 == 'x'
	if quoted {
		digits = digits[:len(digits)-1]
	}
	if tg.typ.isNumber() {
		s.refuse(tg, "hexadecimal digits in a column of numbers")
	}
	v := s.scratch[:0]
	if len(digits)%2 != 0 {
		if quoted || tg.typ.kind == unknownType && s.rw.rules[tg.rule].Func != nil {
			s.refuse(tg, "an odd number of hexadecimal digits")
		}
		v = append(v, '0')
	}
	v = append(v, digits...)
	n, err := hex.Decode(v, v)
	if err != nil {
		s.refuse(tg, "digits that are not hexadecimal")
	}
	s.scratch = v
	s.spelled(tg, v[:n], nil)
	to, ok := s.find(tg, v[:n])
	if !ok {
		s.oddHex(tg, digits)
		s.unmapped(tg)
		return
	}
	if to == string(v[:n]) {
		return
	}
	from := s.trace.text(v[:n])
	if to == "" && !quoted {
		s.notEmpty(tg)
		s.scratch = append(s.scratch[:0], "''"...) // no digits are no literal
		s.put(tg, len(b), s.scratch, from, to)
		return
	}
	upper := bytes.ContainsAny(digits, "ABCDEF") || len(bytes.Trim(digits, "0123456789")) == 0
	s.scratch = append(s.scratch[:0], b[:prefix]...)
	alphabet := "0123456789abcdef"
	if upper {
		alphabet = "0123456789ABCDEF"
	}
	for i := range len(to) {
		s.scratch = append(s.scratch, alphabet[to[i]>>4], alphabet[to[i]&15])
	}
	if quoted {
		s.scratch = append(s.scratch, '\'')
	}
	s.put(tg, len(b), s.scratch, from, to)
}

// oddHex stops at hexadecimal digits that would be a number of the map in a column of numbers, when they may stand in one.
func (s *scanner) oddHex(tg *target, digits []byte) {
	if digits = bytes.TrimLeft(digits, "0"); tg.typ.kind != unknownType || len(digits) > 16 {
		return
	}
	var v uint64
	for _, c := range digits {
		d := c - '0'
		if c > '9' {
			d = c | 0x20 - 'a' + 10
		}
		v = v<<4 | uint64(d)
	}
	s.canonical = strconv.AppendUint(s.canonical[:0], v, 10)
	ru := &s.rw.rules[tg.rule]
	_, ok := ru.numbers[string(s.canonical)]
	if ru.Func != nil {
		_, ok = ru.Func(string(s.canonical))
	}
	if ok {
		s.refuse(tg, "hexadecimal digits that may be an entry's number")
	}
}

// numberValue replaces a value without quotes. Equal numbers are one value; what is written in place of one has its form.
func (s *scanner) numberValue(tg *target, b []byte) {
	ru := &s.rw.rules[tg.rule]
	var n, m number
	if !n.parse(b) {
		s.refuse(tg, "no literal")
	}
	s.spelled(tg, b, &n)
	if to, ok := s.findText(tg, b); ok {
		s.scratch = append(s.scratch[:0], to...)
		switch {
		case to == string(b):
		case !m.parse(s.scratch) || m.sign == '+':
			s.refuse(tg, "the new value is no number, and the old one has no quotes")
		default:
			s.put(tg, len(b), s.scratch, s.trace.text(b), to)
		}
		return
	}
	key, ok := "", false
	if ru.Func == nil && !tg.typ.isText() {
		key, ok = s.findNumber(tg, &n)
	}
	if !ok {
		s.unmapped(tg)
		return
	}
	to := ru.Map[key]
	if to == key {
		return
	}
	s.canonical = append(s.canonical[:0], to...)
	if !m.parse(s.canonical) || !m.integer() || !n.integer() {
		s.refuse(tg, "an entry's number in a spelling that the new value cannot take")
	}
	width := 0
	if n.whole[0] == '0' {
		width = len(n.whole)
	}
	if width > 1 && (n.sign != 0 || m.sign != 0) {
		s.refuse(tg, "a sign and leading zeros")
	}
	v := s.scratch[:0]
	if m.sign != 0 {
		v = append(v, m.sign)
	}
	for range width - len(m.whole) {
		v = append(v, '0')
	}
	v = append(v, m.whole...)
	if n.point {
		v = append(append(v, '.'), n.frac...)
	}
	s.scratch = v
	s.put(tg, len(b), v, s.trace.text(b), s.trace.text(v))
}
