package sqlrewrite

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxVariables bounds how many user variables are remembered, and maxVariable how long a value of them.
const (
	maxVariables = 256
	maxVariable  = 1024
)

// set passes over SET, behind that word, and follows what it does to the session: sql_mode and the charset decide how everything after it
// is read. Of user variables it remembers text, because dumps save such settings in them.
func (s *scanner) set() {
	t := s.next()
	clear(s.assigned)
	switch {
	case s.is(t, "STATEMENT"):
		s.fail(t.from, "SET STATEMENT is not understood")
	case s.isOne(t, "PASSWORD", "TRANSACTION", "ROLE", "DEFAULT"):
		s.settled(t)
		s.toComma()
		return
	}
	for global := false; ; t = s.next() {
		switch {
		case s.is(t, "NAMES"):
			t = s.setNames(s.next())
		case s.is(t, "CHARSET"):
			t = s.characterSet(s.next())
		case s.is(t, "CHARACTER"):
			if t = s.next(); !s.is(t, "SET") {
				s.unexpected(t, "SET CHARACTER")
			}
			t = s.characterSet(s.next())
		default:
			t = s.assignment(t, &global)
		}
		if t.kind == delimiter {
			return
		}
		if !isMark(t, ',') {
			s.unexpected(t, "SET")
		}
	}
}

// toComma passes over the rest of a SET that assigns no variable. Some servers let assignments follow behind a comma.
func (s *scanner) toComma() {
	for {
		t := s.next()
		switch {
		case t.kind == delimiter:
			return
		case isMark(t, ','):
			s.unexpected(t, "SET")
		}
		s.pass(t)
	}
}

// assignment follows one assignment that begins with t, and returns the token behind it. global notes that GLOBAL stood in the statement: a
// bare name behind that is global too in some servers, and the session's in others.
func (s *scanner) assignment(t token, global *bool) token {
	a := assignment{at: t}
	t = s.variable(t, &a)
	if isMark(t, ':') {
		t = s.next()
	}
	if !isMark(t, '=') {
		s.unexpected(t, "SET")
	}
	s.settled(t)
	*global = *global || a.scope == globally
	value, known, t := s.expression(s.next())
	s.assign(a, value, known, *global)
	return t
}

// A scope says whose variable it is.
type scope uint8

const (
	bare     scope = iota // no word: the session's
	session               // SESSION, LOCAL
	globally              // GLOBAL, PERSIST
	user                  // a user variable
)

type assignment struct {
	at    token
	scope scope
	name  string // in lower case
}

// variable reads the name of a variable that begins with t, and returns the token behind it.
func (s *scanner) variable(t token, a *assignment) token {
	if isMark(t, '@') {
		at := t
		if t = s.next(); !isMark(t, '@') {
			if t.from != at.to {
				s.unexpected(t, "the name of a variable")
			}
			a.scope = user
			return s.userVariable(t, a)
		}
		at = t
		if t = s.next(); t.from != at.to {
			s.unexpected(t, "the name of a variable")
		}
		if s.isScope(t, a) {
			if t = s.next(); !isMark(t, '.') {
				s.unexpected(t, "the name of a variable")
			}
			t = s.next()
		}
	} else if s.isScope(t, a) {
		t = s.next()
	}
	if t.kind != word && t.kind != name {
		s.unexpected(t, "the name of a variable")
	}
	a.name = strings.ToLower(string(s.identifier(nil, t)))
	if t = s.next(); isMark(t, '.') { // a part of a structured variable, as in hot_cache.key_buffer_size
		t = s.next()
		a.name += "."
		t = s.next()
	}
	return t
}

// isScope says whether a token says whose variable follows, and notes it.
func (s *scanner) isScope(t token, a *assignment) bool {
	switch {
	case s.isOne(t, "SESSION", "LOCAL"):
		a.scope = session
	case s.isOne(t, "GLOBAL", "PERSIST", "PERSIST_ONLY"):
		a.scope = globally
	default:
		return false
	}
	return true
}

// userVariable reads the name of a user variable behind its @. In letters beyond ASCII, and with blanks at its end, different names are one
// variable to the server.
func (s *scanner) userVariable(t token, a *assignment) token {
	at, b := t.from, []byte(nil)
	if t.kind == name || t.kind == text {
		b = bytes.Clone(s.unquoted(t)) // next may move it
		t = s.next()
	} else {
		for last := t.from; (t.kind == word || isMark(t, '.')) && t.from == last; t = s.next() {
			b = append(b, s.bytes(t)...)
			last = t.to
		}
	}
	if len(b) == 0 {
		s.unexpected(t, "the name of a user variable")
	}
	for _, c := range b {
		if c >= utf8.RuneSelf || class[c] != plain && c != '.' {
			s.fail(at, "the name of a user variable is not understood")
		}
	}
	a.name = strings.ToLower(string(b))
	return t
}

// unquoted returns what stands between the quotes of a token, as it is spelled.
func (s *scanner) unquoted(t token) []byte {
	b := s.bytes(t)
	return b[1 : len(b)-1]
}

// forget notes that the user variable whose name begins with a token may have any value from here on, whatever SET says.
func (s *scanner) forget(t token) {
	b := s.bytes(t)
	if t.kind == name || t.kind == text {
		b = s.unquoted(t)
	}
	first, _, _ := strings.Cut(strings.ToLower(string(b)), ".") // of a name with dots, which may be several tokens
	if s.bodies[first] {
		return
	}
	if len(s.bodies) == maxNames {
		s.fail(t.from, "too many user variables in bodies")
	}
	s.bodies[first] = true
	maps.DeleteFunc(s.user, func(known, _ string) bool { return s.inBodies(known) })
}

// inBodies says whether a body mentions a user variable, or may do.
func (s *scanner) inBodies(variable string) bool {
	first, _, _ := strings.Cut(variable, ".")
	return s.bodies[first]
}

// expression reads the right side of an assignment from t on, and returns its value where that is text which is known.
func (s *scanner) expression(t token) (value string, known bool, after token) {
	first := t
	switch {
	case t.kind == text:
		if b := s.bytes(t); len(b) <= maxVariable {
			q := b[0]
			value, known = string(s.unescape(b[1:len(b)-1], q)), true
		}
		t = s.next()
	case t.kind == word:
		s.pass(t)
		// A bare word is text on the right side of SET; a number is a number.
		value, known = string(s.bytes(t)), !s.isOne(t, "DEFAULT", "NULL", "ON", "OFF", "TRUE", "FALSE")
		if value[0] >= '0' && value[0] <= '9' {
			known = value == "0"
			if known {
				value = ""
			}
		}
		t = s.next()
	case isMark(t, '@'):
		var a assignment
		t = s.variable(t, &a)
		switch {
		case a.scope == user:
			value, known = s.user[a.name]
			known = known && !s.assigned["@"+a.name]
		case a.scope == globally:
		case a.name == "sql_mode":
			value, known = s.mode(), !s.assigned[a.name]
		case a.name == "character_set_client":
			value, known = s.charset.name, !s.assigned[a.name]
		}
	}
	depth, last := 0, first.to
	for ; t.kind != delimiter && (depth > 0 || !isMark(t, ',')); t = s.next() {
		known, last = false, t.to // an expression of more than that
		switch {
		case t.kind == end:
			s.truncated("a statement")
		case isMark(t, '('):
			depth++
		case isMark(t, ')'):
			depth--
		}
		s.pass(t)
	}
	if t.from == first.from {
		s.unexpected(t, "SET")
	}
	if slices.Contains(bulkLoads, string(s.buf[first.from-s.base:last-s.base])) {
		value, known = bulkLoad, true
	}
	return value, known, t
}

// assign follows one assignment.
func (s *scanner) assign(a assignment, value string, known, global bool) {
	if a.scope == user {
		s.assigned["@"+a.name] = true
		if known && !s.unsure && !s.inBodies(a.name) && len(value) <= maxVariable && (len(s.user) < maxVariables || s.user[a.name] != "") {
			s.user[a.name] = value
		} else {
			delete(s.user, a.name)
		}
		return
	}
	if a.name != "sql_mode" && a.name != "character_set_client" || a.scope == globally {
		return
	}
	s.assigned[a.name] = true
	switch {
	case a.scope == bare && global && !isMark(a.at, '@'):
		s.fail(a.at.from, "%s behind GLOBAL: whose it is depends on the server", a.name)
	case !known:
		s.fail(a.at.from, "%s is set to something that cannot be followed", a.name)
	case a.name == "sql_mode":
		s.setMode(a.at, value)
	default:
		s.setCharset(a.at, value)
	}
}

func (s *scanner) setNames(t token) token {
	t = s.characterSet(t)
	if s.is(t, "COLLATE") {
		if t = s.next(); t.kind != word && t.kind != text {
			s.unexpected(t, "COLLATE")
		}
		t = s.next()
	}
	return t
}

// characterSet reads the name of a charset and takes it for the session's.
func (s *scanner) characterSet(t token) token {
	if isMark(t, '=') { // a client's spelling
		t = s.next()
	}
	var b []byte
	switch t.kind {
	case word:
		b = s.bytes(t)
	case text:
		b = s.bytes(t)
		b = b[1 : len(b)-1]
	default:
		s.unexpected(t, "the place of a charset")
	}
	s.setCharset(t, string(b))
	return s.next()
}

func (s *scanner) setCharset(t token, name string) {
	c := findCharset(name)
	if c == nil {
		s.fail(t.from, "a charset that is not known, or cannot be a connection's")
	}
	if s.unsure && (c != s.charset || s.alone == 0) {
		s.fail(t.from, "a charset in a comment that not every server executes")
	}
	s.charset = c
}

// modes are the words of sql_mode, with what they say of quotes and backslashes. Some are short for several.
var modes = func() map[string][2]bool {
	m := map[string][2]bool{"ANSI_QUOTES": {true, false}, "NO_BACKSLASH_ESCAPES": {false, true}}
	for w := range strings.FieldsSeq("ANSI DB2 MAXDB MSSQL ORACLE POSTGRESQL") {
		m[w] = [2]bool{true, false}
	}
	for w := range strings.FieldsSeq("REAL_AS_FLOAT PIPES_AS_CONCAT IGNORE_SPACE IGNORE_BAD_TABLE_OPTIONS ONLY_FULL_GROUP_BY NO_UNSIGNED_SUBTRACTION " +
		"NO_DIR_IN_CREATE NO_KEY_OPTIONS NO_TABLE_OPTIONS NO_FIELD_OPTIONS MYSQL323 MYSQL40 NO_AUTO_VALUE_ON_ZERO STRICT_TRANS_TABLES " +
		"STRICT_ALL_TABLES NO_ZERO_IN_DATE NO_ZERO_DATE ALLOW_INVALID_DATES ERROR_FOR_DIVISION_BY_ZERO TRADITIONAL NO_AUTO_CREATE_USER " +
		"HIGH_NOT_PRECEDENCE NO_ENGINE_SUBSTITUTION PAD_CHAR_TO_FULL_LENGTH EMPTY_STRING_IS_NULL SIMULTANEOUS_ASSIGNMENT TIME_ROUND_FRACTIONAL TIME_TRUNCATE_FRACTIONAL") {
		m[w] = [2]bool{}
	}
	return m
}()

func (s *scanner) setMode(t token, list string) {
	before := s.mode()
	s.ansi, s.literal, s.oracle, s.emptyNull = false, false, false, false
	for w := range strings.SplitSeq(list, ",") {
		w = strings.ToUpper(strings.Trim(w, " "))
		m, ok := modes[w]
		if !ok && w != "" {
			s.fail(t.from, "a word in sql_mode that is not known")
		}
		s.ansi, s.literal = s.ansi || m[0], s.literal || m[1]
		s.oracle, s.emptyNull = s.oracle || w == "ORACLE", s.emptyNull || w == "EMPTY_STRING_IS_NULL"
	}
	if s.unsure && before != s.mode() {
		s.fail(t.from, "an sql_mode that changes how text is read, in a comment that not every server executes")
	}
}

// mode is what @@sql_mode says, as far as it is followed.
func (s *scanner) mode() string {
	var words []string
	if s.oracle {
		words = append(words, "ORACLE")
	} else if s.ansi {
		words = append(words, "ANSI_QUOTES")
	}
	if s.literal {
		words = append(words, "NO_BACKSLASH_ESCAPES")
	}
	if s.emptyNull {
		words = append(words, "EMPTY_STRING_IS_NULL")
	}
	return strings.Join(words, ",")
}
