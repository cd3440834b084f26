package sqlrewrite

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// A plan says what the rows of a statement hold.
type plan struct {
	table   string // for errors
	rules   []int  // about the table
	columns int    // in a row; -1: not known, and of no interest
	targets []target
}

// A target is a column that a rule names.
type target struct {
	column int // its place in a row
	rule   int
	typ    *columnType
	latest [4]replacement
	next   int // which of them is overwritten next
}

// A replacement is what became of a short value. In a dump of one mailbox the next value is mostly one of the latest.
type replacement struct {
	known, changed bool
	in, out        int // lengths
	old, new       [24]byte
}

// A head is everything of an INSERT before its first row. Dumps repeat it before every row or every megabyte, and what was understood once
// need not be read again.
type head struct {
	known   bool
	edited  bool // out is another text than in
	in, out []byte
}

// maxHead is the length of the longest head that is remembered.
const maxHead = 16 << 10

// repeatedHead says whether the statement begins like the one before, and passes over that.
func (s *scanner) repeatedHead() bool {
	h := &s.head
	if !h.known || !s.need(len(h.in)+1) || !bytes.Equal(s.buf[s.pos:s.pos+len(h.in)], h.in) || s.buf[s.pos+len(h.in)] != '(' {
		return false
	}
	if h.edited {
		s.copyTo(s.pos)
		s.write(h.out)
		s.out = s.pos + len(h.in)
	}
	s.pos += len(h.in)
	s.table = s.plan.table
	return true
}

// rememberHead notes the head of the statement that is held back, which ends here.
func (s *scanner) rememberHead() {
	b := s.buf[s.start-s.base : s.pos]
	if len(b) > maxHead || s.trace != nil {
		return
	}
	s.head.known, s.head.edited = true, len(s.edits) > 0
	s.head.in, s.head.out = append(s.head.in[:0], b...), s.head.out[:0]
	at := 0
	for _, e := range s.edits {
		s.head.out = append(append(s.head.out, b[at:e.from-s.start]...), e.text...)
		at = int(e.to - s.start)
	}
	s.head.out = append(s.head.out, b[at:]...)
}

// insert passes over INSERT or REPLACE, behind that word.
func (s *scanner) insert() {
	t := s.next()
	for s.isOne(t, "LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE") {
		t = s.next()
	}
	if s.is(t, "INTO") {
		t = s.next()
	}
	s.qualified(t)
	s.noView(t)
	named := s.rules(t, true)
	s.plan.columns, s.plan.targets = -1, s.plan.targets[:0]
	t = s.next()
	if s.is(t, "PARTITION") && !named {
		t = s.partitions()
	}
	list := false
	if isMark(t, '(') {
		if t = s.next(); s.isOne(t, "SELECT", "WITH", "VALUES", "TABLE") || isMark(t, '(') {
			s.insertOther(t, named)
			return
		}
		s.settled(t)
		s.columnList(t)
		list = true
		t = s.next()
	}
	s.settled(t)
	if !s.isOne(t, "VALUES", "VALUE") {
		s.insertOther(t, named)
		return
	}
	if named && !list {
		s.columnOrder(t)
	}
	if named && len(s.plan.targets) < len(s.plan.rules) {
		s.fail(t.from, "%s is not among the columns, and a rule names it", s.missing())
	}
	slices.SortFunc(s.plan.targets, func(a, b target) int { return a.column - b.column })
	c, ok := s.gap()
	switch {
	case !ok:
		s.truncated("a statement")
	case c != '(':
		s.unexpected(s.next(), "the place of a row")
	case s.version:
		s.failHere("rows in a version comment")
	case s.delim[0] != ';':
		s.failHere("rows under a delimiter that may be part of them")
	}
	s.rememberHead()
	s.release()
	s.rows()
}

// partitions passes over the list of them in an INSERT, and returns the token behind it.
func (s *scanner) partitions() token {
	if t := s.next(); !isMark(t, '(') {
		s.unexpected(t, "PARTITION")
	}
	for {
		if t := s.next(); t.kind != word && t.kind != name {
			s.unexpected(t, "PARTITION")
		}
		t := s.next()
		if isMark(t, ')') {
			return s.next()
		}
		if !isMark(t, ',') {
			s.unexpected(t, "PARTITION")
		}
	}
}

// insertOther passes over an INSERT without VALUES, from t on.
func (s *scanner) insertOther(t token, named bool) {
	switch {
	case t.kind == end, t.kind == delimiter:
		s.unexpected(t, "INSERT")
	case named:
		s.fail(t.from, "INSERT other than of rows behind VALUES")
	case t.kind == text, t.kind == name:
		s.unexpected(t, "INSERT")
	}
	one := s.is(t, "SET")
	s.pass(t)
	s.toEnd()
	if one {
		s.stats.Rows++
	}
}

// columnList reads the column list of an INSERT, from t to the closing parenthesis.
func (s *scanner) columnList(t token) {
	n := 0
	for !isMark(t, ')') {
		if t.kind != word && t.kind != name {
			s.unexpected(t, "the list of columns")
		}
		at := t
		t = s.next()
		for isMark(t, '.') { // a table's name before the column's
			if s.renamed(at) {
				s.stays(at)
			}
			if at = s.next(); at.kind != word && at.kind != name {
				s.unexpected(at, "the list of columns")
			}
			if len(s.plan.rules) > 0 {
				s.fail(at.from, "a qualified name in the list of columns")
			}
			t = s.next()
		}
		if len(s.plan.rules) > 0 {
			s.scratch = s.identifier(s.scratch[:0], at)
			s.columnIs(n, s.scratch, at)
		}
		n++
		if isMark(t, ',') {
			if t = s.next(); isMark(t, ')') {
				s.unexpected(t, "the list of columns")
			}
		} else if !isMark(t, ')') {
			s.unexpected(t, "the list of columns")
		}
	}
	if len(s.plan.rules) > 0 {
		s.plan.columns = n
	}
	if cols := s.created[string(s.key())]; cols != nil {
		for i := range s.plan.targets {
			tg := &s.plan.targets[i]
			if j := slices.Index(cols.names, s.rw.rules[tg.rule].folded); j >= 0 {
				tg.typ = cols.types[j]
			}
		}
	}
}

// columnIs notes that column n has this name.
func (s *scanner) columnIs(n int, column []byte, t token) {
	for _, i := range s.plan.rules {
		ru := &s.rw.rules[i]
		if !sameColumn(column, ru) {
			continue
		}
		for _, tg := range s.plan.targets {
			if tg.rule == i {
				s.fail(t.from, "column %q twice", ru.Column.Column)
			}
		}
		s.plan.targets = append(s.plan.targets, target{column: n, rule: i, typ: unknown})
	}
}

// sameColumn compares a column's name with a rule's, ignoring case.
func sameColumn(b []byte, ru *rule) bool {
	return string(b) == ru.Column.Column || string(b) == ru.folded || bytes.EqualFold(b, []byte(ru.folded)) && fold(string(b)) == ru.folded
}

// columnOrder takes the order of the columns from CREATE TABLE or from the Context.
func (s *scanner) columnOrder(t token) {
	names, cols := s.given(), s.created[string(s.key())]
	if cols != nil {
		if cols.invisible {
			s.fail(t.from, "no list of columns, and some columns are invisible")
		}
		names = cols.names
	}
	if names == nil {
		s.fail(t.from, "the order of the columns is not known: there is neither a list nor CREATE TABLE, and none was given")
	}
	s.plan.columns = len(names)
	for _, i := range s.plan.rules {
		j := slices.Index(names, s.rw.rules[i].folded)
		if j < 0 {
			continue // reported by the caller
		}
		tg := target{column: j, rule: i, typ: unknown}
		if cols != nil {
			tg.typ = cols.types[j]
		}
		s.plan.targets = append(s.plan.targets, tg)
	}
}

// missing names the columns that have no place in the rows.
func (s *scanner) missing() string {
	var names []string
	for _, i := range s.plan.rules {
		if !slices.ContainsFunc(s.plan.targets, func(tg target) bool { return tg.rule == i }) {
			names = append(names, s.rw.rules[i].Column.Column)
		}
	}
	return strings.Join(names, ", ")
}

// rows passes over rows and the end of their statement. At pos is the first row's opening parenthesis. What follows a closing parenthesis
// decides whether a client would execute the row, so the parenthesis waits for it.
func (s *scanner) rows() {
	for {
		s.row()
		s.hold = s.pos
		s.pos++
		c, ok := s.gap()
		switch {
		case !ok:
			s.truncated("a statement")
		case c == ',':
			s.hold = -1
			s.stats.Rows++
			s.pos++
			if c, ok = s.gap(); !ok {
				s.truncated("a statement")
			}
			if c != '(' || s.version {
				s.failHere("no row behind a comma")
			}
		default:
			s.afterRows()
			s.stats.Rows++
			s.release()
			return
		}
	}
}

// afterRows passes over what follows the last row.
func (s *scanner) afterRows() {
	if s.buf[s.pos] == ';' && len(s.delim) == 1 && !s.version { // rows are understood only where a semicolon begins the delimiter
		s.pos++
		s.whole = true
		return
	}
	t := s.next()
	if t.kind == delimiter {
		return
	}
	if len(s.plan.rules) == 0 {
		s.pass(t)
		s.toEnd()
		return
	}
	for i, k := range []string{"ON", "DUPLICATE", "KEY", "UPDATE"} {
		if i > 0 {
			t = s.next()
		}
		if !s.is(t, k) {
			s.unexpected(t, "what follows the rows")
		}
	}
	s.assignments()
}

// assignments passes over those of ON DUPLICATE KEY UPDATE, none of which may be to a target.
func (s *scanner) assignments() {
	for {
		t := s.next()
		column := t
		for {
			if column.kind != word && column.kind != name {
				s.unexpected(column, "ON DUPLICATE KEY UPDATE")
			}
			s.pass(column)
			if t = s.next(); !isMark(t, '.') {
				break
			}
			column = s.next()
		}
		if !isMark(t, '=') {
			s.unexpected(t, "ON DUPLICATE KEY UPDATE")
		}
		s.scratch = s.identifier(s.scratch[:0], column)
		for _, i := range s.plan.rules {
			if sameColumn(s.scratch, &s.rw.rules[i]) {
				s.fail(column.from, "ON DUPLICATE KEY UPDATE sets %q, which a rule names", s.rw.rules[i].Column.Column)
			}
		}
		depth := 0
		for t = s.next(); ; t = s.next() {
			if t.kind == delimiter && depth == 0 {
				return
			}
			if t.kind == delimiter || t.kind == end {
				s.unexpected(t, "ON DUPLICATE KEY UPDATE")
			}
			if isMark(t, ',') && depth == 0 {
				break
			}
			if isMark(t, '(') {
				depth++
			} else if isMark(t, ')') {
				depth--
			}
			s.pass(t)
		}
	}
}

// row passes over one row, from its opening parenthesis to before its closing one.
func (s *scanner) row() {
	s.trace.row(s.table)
	s.pos++
	column := 0
	for i := range s.plan.targets {
		tg := &s.plan.targets[i]
		if n := tg.column - column; n > 0 {
			if got := s.skip(n); got < n {
				s.failHere("a row of %d values where %d are expected", column+got+1, s.plan.columns)
			}
			column = tg.column
		}
		s.value(tg)
		if s.buf[s.pos] == ')' {
			break
		}
		s.pos++
		column++
		if i+1 == len(s.plan.targets) {
			column += s.skip(1 << 30)
		}
	}
	if len(s.plan.targets) == 0 {
		s.skip(1 << 30)
	} else if column+1 != s.plan.columns {
		s.failHere("a row of %d values where %d are expected", column+1, s.plan.columns)
	}
}

// skip passes over values that stay: over n of them with the commas behind them, or to before the row's closing parenthesis. It returns how
// many commas it passed.
func (s *scanner) skip(n int) int {
	commas, depth := 0, 0
	something := false // the value is not empty
	b, i := s.buf[:s.end], s.pos
	for {
		if !something && depth == 0 && s.charset.double == nil {
			var passed int
			i, passed = s.simple(i, n-commas)
			if commas += passed; commas == n {
				s.pos = i
				return commas
			}
		}
		if i == len(b) {
			s.pos = i
			if !s.more() {
				s.truncated("a statement")
			}
			b, i = s.buf[:s.end], s.pos
		}
		c := b[i]
		switch class[c] {
		case plain:
			something = true
			if c >= utf8.RuneSelf {
				s.pos = i
				s.letter(c)
			}
			for i += max(1, leadingDigits(b[i:])); i < len(b) && class[b[i]] == plain && b[i] < utf8.RuneSelf; i++ {
			}
		case comma:
			if !something {
				s.pos = i
				s.failHere("an empty value")
			}
			something = false
			i++
			if depth == 0 {
				if commas++; commas == n {
					s.pos = i
					return commas
				}
			}
		case quote:
			something = true
			if s.charset.double == nil {
				escapes := !s.literal && !s.names(c)
				var closed bool
				if i, closed = s.stringEnd(i+1, c, escapes); closed {
					break
				}
				s.pos = i
				s.until(c, escapes)
			} else {
				s.pos = i + 1
				s.str(c)
			}
			b, i = s.buf[:s.end], s.pos
		case shut:
			if depth == 0 {
				s.pos = i
				if !something && (commas > 0 || len(s.plan.targets) > 0) {
					s.failHere("an empty value")
				}
				return commas
			}
			depth--
			something = true
			i++
		case open:
			depth++
			something = false
			i++
			// A function may be called without arguments: an empty pair is something.
			s.pos = i
			if c, _ := s.gap(); c == ')' {
				something = true
			}
			b, i = s.buf[:s.end], s.pos
		case space:
			i++
		case op:
			something = true
			i++
		case period:
			something = true
			i++
			if len(s.rw.databases) > 0 && !fraction(b[i:]) {
				s.pos = i
				s.notQualified()
				b, i = s.buf[:s.end], s.pos
			}
		case slash, dash, hash:
			s.pos = i
			version := s.version
			if !s.comment() {
				something = true
				s.pos++
			} else if s.version != version {
				s.failHere("a version comment in a row")
			}
			b, i = s.buf[:s.end], s.pos
		default:
			s.pos = i
			if c == ';' {
				s.failHere("the statement ends in a row")
			}
			s.failHere("unexpected byte 0x%02x", c)
		}
		if something && depth == 0 && i < len(b) && b[i] == ',' { // as above, without another round
			something = false
			i++
			if commas++; commas == n {
				s.pos = i
				return commas
			}
		}
	}
}

// simple passes over values as most of them are, each with the comma behind it: whole numbers, strings, NULL. It stops before the first one that
// is something else, or not all in the buffer, or after n of them, and returns where, and how many it passed.
func (s *scanner) simple(i, n int) (next, passed int) {
	b, escapes := s.buf[:s.end], !s.literal
	for ; passed < n && i+16 < len(b); passed++ {
		end := i
		if b[i] == '\'' {
			var closed bool
			if end, closed = s.stringEnd(i+1, '\'', escapes); !closed {
				break
			}
		} else if digits := leadingDigits(b[i:]); digits == 8 {
			end += 8 + leadingDigits(b[i+8:])
		} else if digits > 0 {
			end += digits
		} else if b[i] == 'N' && string(b[i:i+4]) == "NULL" {
			end += 4
		}
		if end == i || b[end] != ',' {
			break
		}
		i = end + 1
	}
	return i, passed
}

// fraction says whether b begins with the digits behind a point, and a value ends there.
func fraction(b []byte) bool {
	i := 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i < len(b) && (b[i] == ',' || b[i] == ')')
}

// notQualified stops at a name behind a dot, which is before pos: the name before it may be that of a renamed database.
func (s *scanner) notQualified() {
	dot, version := s.offset()-1, s.version
	c, _ := s.gap()
	number, n := true, 0
	for exponent := false; number && class[c] == plain && n < maxName; n++ {
		number = c >= '0' && c <= '9' || c|0x20 == 'e' && !exponent
		exponent = exponent || c|0x20 == 'e'
		c, _ = s.peek(n + 1)
	}
	if number && n > 0 { // or a name that looks like one, but then more of it follows
		s.pos += n
		c, _ = s.gap()
	}
	if !number || class[c] == quote && s.names(c) || n > 0 && (c == '(' || c == '.') || s.version != version {
		s.fail(dot, "a qualified name in a row, and databases are renamed")
	}
}

// maxName is the length of the longest name.
const maxName = 64
