package sqlrewrite

import (
	"bytes"
	"unicode/utf8"
)

type kind uint8

const (
	end       kind = iota // of the input
	delimiter             // of the statement
	word                  // a name, a keyword or a number without a point
	name                  // in backticks, or in double quotes where those are for names
	text                  // a string
	mark                  // one byte of punctuation
)

// A token is a piece of a statement that is held back: its bytes stay in the buffer until the statement is released.
type token struct {
	kind     kind
	mark     byte
	version  bool // inside a version comment
	from, to int64
}

func (s *scanner) bytes(t token) []byte { return s.buf[t.from-s.base : t.to-s.base] }

// next returns the next token of the statement.
func (s *scanner) next() token {
	c, ok := s.gap()
	t := token{from: s.offset(), version: s.version}
	switch {
	case !ok:
		t.kind = end
	case s.atDelimiter():
		if s.version {
			s.failHere("the statement ends inside a version comment")
		}
		s.pos += len(s.delim)
		t.kind = delimiter
	case class[c] == quote:
		s.pos++
		t.kind = text
		if s.names(c) {
			t.kind = name
		}
		s.str(c)
	case class[c] == plain:
		t.kind = word
		for ok && class[c] == plain && (s.delim[0] == ';' || !s.atDelimiter()) {
			if c >= utf8.RuneSelf {
				s.letter(c)
			}
			s.pos++
			c, ok = s.peek(0)
		}
	case class[c] == bad:
		s.failHere("unexpected byte 0x%02x", c)
	default:
		s.pos++
		t.kind, t.mark = mark, c
	}
	t.to = s.offset()
	s.whole = t.kind == delimiter
	s.limit()
	if t.kind > delimiter && (t.version && !s.always || s.alone > 0) {
		s.conditional(t)
	}
	return t
}

// letter stops at a byte beyond ASCII that is not quoted and may be something else than a letter to a server: white space, a half of a
// character, or nothing at all. What only a body mentions in a charset of single bytes may be a letter, and old bodies have such names.
func (s *scanner) letter(c byte) {
	if s.charset.unicode() || s.inBody && s.charset.double == nil && !s.charset.utf8 && c != s.charset.blank {
		return
	}
	s.failHere("a byte that is not ASCII and not quoted, and the charset is %s", s.charset.name)
}

// conditional notes a token that not every server executes. A server that does not looks for the comment's end in strings, too, and
// executes what follows it.
func (s *scanner) conditional(t token) {
	switch {
	case s.alone > 0 && (!t.version || s.alone != s.opened):
		s.fail(t.from, "a statement that begins in a comment which not every server executes, and does not end there")
	case bytes.Contains(s.bytes(t), []byte("*/")):
		s.fail(t.from, "the end of a comment in a name or a string, in a comment that not every server executes")
	case isMark(t, '('):
		s.parens++
	case isMark(t, ')'):
		s.parens--
	}
	if s.parens < 0 {
		s.oddParens(t.from)
	}
	s.unsure = true
}

// oddParens stops at a comment with one parenthesis of a pair, which to other servers is that of another one.
func (s *scanner) oddParens(offset int64) {
	s.fail(offset, "one of two parentheses in a comment that not every server executes")
}

// settled stops at a token on which it depends what the statement does, when not every server executes what has been read of it.
func (s *scanner) settled(t token) {
	if s.unsure && s.alone == 0 {
		s.partly(t)
	}
}

// certain stops at a token that only some servers execute, while they all execute the statement.
func (s *scanner) certain(t token) {
	if t.version && !s.always && s.alone == 0 {
		s.partly(t)
	}
}

func (s *scanner) partly(t token) {
	s.fail(t.from, "a part of the statement in a comment that not every server executes")
}

func (s *scanner) atDelimiter() bool {
	for i, c := range s.delim {
		if b, ok := s.peek(i); !ok || b != c {
			return false
		}
	}
	return true
}

// is says whether a token is this keyword, which is given in upper case.
func (s *scanner) is(t token, keyword string) bool {
	return t.kind == word && t.to-t.from == int64(len(keyword)) && equalFold(s.bytes(t), keyword)
}

// isOne says whether a token is one of these keywords.
func (s *scanner) isOne(t token, keywords ...string) bool {
	for _, k := range keywords {
		if s.is(t, k) {
			return true
		}
	}
	return false
}

func isMark(t token, c byte) bool { return t.kind == mark && t.mark == c }

func equalFold(b []byte, keyword string) bool {
	if len(b) != len(keyword) {
		return false
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != keyword[i] {
			return false
		}
	}
	return true
}

// unexpected stops the scan at a token that has no place where it stands.
func (s *scanner) unexpected(t token, where string) {
	switch t.kind {
	case end:
		s.truncated("a statement")
	case delimiter:
		s.fail(t.from, "the statement ends in %s", where)
	case mark:
		s.fail(t.from, "unexpected %q in %s", t.mark, where)
	case word:
		s.fail(t.from, "unexpected word in %s", where)
	case name:
		s.fail(t.from, "unexpected name in %s", where)
	default:
		s.fail(t.from, "unexpected string in %s", where)
	}
}

// identifier appends the text of a name to dst. A name that is not ASCII is text only in UTF-8; in another charset it cannot be the same
// as one that is ASCII, which is all that is asked as long as the rules name nothing else.
func (s *scanner) identifier(dst []byte, t token) []byte {
	b := s.bytes(t)
	foreign := !ascii(b)
	if foreign {
		switch {
		case s.charset.utf8 && !utf8.Valid(b):
			s.fail(t.from, "a name that is not UTF-8")
		case !s.charset.utf8 && (t.kind == word || s.rw.nonASCII):
			s.fail(t.from, "a name in charset %s that is not ASCII", s.charset.name)
		case !s.charset.utf8:
			dst = append(dst, 0) // in no name
		}
	}
	if t.kind == name {
		q := b[0]
		b = b[1 : len(b)-1]
		for {
			i := bytes.IndexByte(b, q)
			if i < 0 || s.charset.double != nil && foreign {
				break
			}
			dst = append(dst, b[:i+1]...)
			b = b[i+2:]
		}
	}
	return append(dst, b...)
}

// toEnd passes over the rest of a statement. References to a renamed database in it are refused, because they would stay.
func (s *scanner) toEnd() {
	for {
		t := s.next()
		if t.kind == delimiter {
			return
		}
		s.pass(t)
	}
}

// pass looks at a token that stays as it is, whatever it means.
func (s *scanner) pass(t token) {
	if t.kind == end {
		s.truncated("a statement")
	}
	if isMark(t, ':') {
		s.fail(t.from, "an assignment to a variable, which cannot be followed here")
	}
	s.goesOn(t)
	if (t.kind == word || t.kind == name) && s.renamed(t) && s.dotFollows() {
		s.stays(t)
	}
}

// renamed says whether a token is the name of a renamed database, or the new one of another.
func (s *scanner) renamed(t token) bool {
	if len(s.rw.databases) == 0 {
		return false
	}
	s.scratch = s.identifier(s.scratch[:0], t)
	_, ok := s.rw.databases[string(s.scratch)]
	return ok || s.rw.taken[string(s.scratch)]
}

// stays stops at such a name where it is not replaced.
func (s *scanner) stays(t token) {
	s.fail(t.from, "a renamed database, or its new name, in a place where it is not replaced")
}

// dotFollows says whether the next byte that is neither white space nor comment is a dot.
func (s *scanner) dotFollows() bool {
	c, _ := s.gap()
	return c == '.'
}

// goesOn stops at a semicolon under another delimiter: the client sends on what follows it, and the server executes that as a statement.
func (s *scanner) goesOn(t token) {
	if isMark(t, ';') {
		s.fail(t.from, "a statement behind a semicolon that is not the delimiter")
	}
}
