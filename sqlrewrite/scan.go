package sqlrewrite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	bufferSize = 128 << 10 // what is copied and read again should be near the CPU
	outputSize = 128 << 10
	// maxHeld bounds what is held back, which is a statement without its rows.
	maxHeld = 8 << 20
	// maxPreface is how much of leading comments is held back until a first statement shows that the input is SQL.
	maxPreface = 64 << 10
)

// A failure is thrown through the scanner's calls and caught in Rewrite: every one of them may meet the end of the input, and most callers
// have nothing to add.
type failure struct{ err error }

// A scanner reads the input once, byte by byte where it must and string by string where it can, and copies to the output what it has
// understood.
//
// buf[:end] is input. Everything before out has been copied or replaced, everything before pos has been scanned. Two marks keep bytes from
// leaving the buffer: hold, the first byte that must not be copied yet, and tok, the beginning of a token that is still needed. Indexes move
// when more is called; what outlives such a call is an offset in the input.
type scanner struct {
	ctx context.Context
	src io.Reader
	dst io.Writer

	buf       []byte
	out, pos  int
	end       int
	hold, tok int // -1: none
	base      int64
	lines     int // line breaks before end
	eof       bool
	ahead     *ahead // nil: src is read by the scanner itself
	obuf      []byte
	edits     []edit // of what is held back, in order

	version bool   // inside /*! */, whose text is code
	always  bool   // and that of every server
	opened  int    // how many of these comments began so far
	alone   int    // the comment in which the whole statement must stand, because not every server executes its first word; 0: none
	unsure  bool   // the statement has a token that not every server executes
	parens  int    // which are open in such a comment
	delim   []byte // what ends a statement
	charset *charset
	ansi    bool // ANSI_QUOTES
	literal bool // NO_BACKSLASH_ESCAPES
	oracle  bool // ORACLE, in which routines are written in another language
	// emptyNull is EMPTY_STRING_IS_NULL, in which '' is no string.
	emptyNull bool
	inBody    bool // in a text that stays whatever it says

	table   string // for errors
	scratch []byte
	// canonical is apart from scratch, which may hold what is made canonical.
	canonical []byte
	written   []byte // the new value that was written last, until scratch is used again

	rw       *Rewriter
	trace    *tracer
	stats    Stats
	complete bool // the last line so far is a dump's closing line
	preface  bool // no statement has been seen yet
	whole    bool // the statement's delimiter has been read
	start    int64
	database []byte // the current one, by its name in the input
	selected bool   // there is one
	ref      ref
	plan     plan
	head     head
	created  map[string]*columns
	views    map[string]bool   // by key
	tables   map[string]string // for errors
	user     map[string]string // user variables whose values are known
	bodies   map[string]bool   // and those that bodies mention, up to their first dot
	assigned map[string]bool   // by the SET under way: servers differ in whether its later parts see that
}

// An edit replaces input in a statement that is held back.
type edit struct {
	from, to int64
	text     string
	was      string // the name that is replaced
}

// fail stops the scan at an offset. Where nothing follows what is not understood, it may be half a word, or half a comment's mark.
func (s *scanner) fail(offset int64, format string, args ...any) {
	if !s.whole && s.pos == s.end && !s.more() {
		s.truncated("a statement")
	}
	s.throw(offset, fmt.Sprintf(format, args...))
}

func (s *scanner) throw(offset int64, msg string) {
	line := s.lines + 1 - bytes.Count(s.buf[max(0, min(int(offset-s.base), s.end)):s.end], []byte{'\n'})
	panic(failure{&SyntaxError{Offset: offset, Line: line, Table: s.table, Msg: msg}})
}

// limit stops at a statement that would have to be held back and is too long for that.
func (s *scanner) limit() {
	if s.hold >= 0 && s.pos-s.hold > maxHeld {
		s.throw(s.start, fmt.Sprintf("a statement without its rows is longer than %d MiB", maxHeld>>20))
	}
}

// failHere stops the scan where it is.
func (s *scanner) failHere(format string, args ...any) { s.fail(s.offset(), format, args...) }

// truncated stops the scan because the input ended too early.
func (s *scanner) truncated(inside string) {
	panic(failure{&SyntaxError{Offset: s.base + int64(s.end), Line: s.lines + 1, Table: s.table, Msg: "the input ends inside " + inside, err: ErrTruncated}})
}

func (s *scanner) offset() int64 { return s.base + int64(s.pos) }

// more reads at least one byte, and returns false at the end of the input. It moves what is in the buffer.
func (s *scanner) more() bool {
	if s.eof {
		return false
	}
	if err := s.ctx.Err(); err != nil {
		panic(failure{err})
	}
	before := s.base + int64(s.end)
	switch err := s.fill(); {
	case err == io.EOF:
		s.eof = true
		return s.base+int64(s.end) > before
	case err != nil:
		panic(failure{fmt.Errorf("read: %w", err)})
	}
	return true
}

// fill reads more into the buffer.
func (s *scanner) fill() error {
	if s.ahead != nil {
		return s.ahead.next(s)
	}
	if s.end == len(s.buf) {
		s.room()
	}
	n, err := read(s.src, s.buf[s.end:])
	s.lines += bytes.Count(s.buf[s.end:s.end+n], []byte{'\n'})
	s.end += n
	return err
}

// room makes room behind the input: it copies out what may go, moves the rest to the front, and takes a larger buffer when that is much.
func (s *scanner) room() {
	keep := s.retire()
	to := s.buf
	if s.end-keep > len(s.buf)/2 {
		to = make([]byte, 2*len(s.buf))
	}
	copy(to, s.buf[keep:s.end])
	s.buf = to
	s.move(keep)
}

// retire copies out what may go, and returns the index of the first byte that must stay in the buffer.
func (s *scanner) retire() int {
	if s.hold >= 0 && s.pos-s.hold > maxHeld && s.preface {
		s.release() // comments as long as that are no reason to give up
	}
	s.limit()
	keep := s.kept()
	s.copyTo(keep)
	return keep
}

// move follows the input, whose first n bytes have left the buffer.
func (s *scanner) move(n int) {
	s.base += int64(n)
	s.out, s.pos, s.end = s.out-n, s.pos-n, s.end-n
	if s.tok >= 0 {
		s.tok -= n
	}
	if s.hold >= 0 {
		s.hold -= n
	}
}

// need says whether n bytes from pos on can be had.
func (s *scanner) need(n int) bool {
	for s.end-s.pos < n {
		if !s.more() {
			return false
		}
	}
	return true
}

// peek returns the byte n places after pos, and false when the input ends before it.
func (s *scanner) peek(n int) (byte, bool) {
	if s.pos+n >= s.end && !s.need(n+1) {
		return 0, false
	}
	return s.buf[s.pos+n], true
}

// write appends to the output.
func (s *scanner) write(b []byte) {
	if len(s.obuf)+len(b) > cap(s.obuf) {
		s.flush()
		if len(b) >= cap(s.obuf)/2 {
			s.send(b)
			return
		}
	}
	s.obuf = append(s.obuf, b...)
}

func (s *scanner) flush() {
	if len(s.obuf) > 0 {
		b := s.obuf
		s.obuf = s.obuf[:0]
		s.send(b)
	}
}

func (s *scanner) send(b []byte) {
	n, err := s.dst.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		panic(failure{fmt.Errorf("write: %w", err)})
	}
}

// copyTo copies the input before index i to the output, as far as that has not been done.
func (s *scanner) copyTo(i int) {
	if i > s.out {
		s.write(s.buf[s.out:i])
		s.out = i
	}
}

// replace puts text in the place of the token that began at tok and has n bytes.
func (s *scanner) replace(n int, text []byte) {
	s.copyTo(s.tok)
	s.write(text)
	s.out = s.tok + n
}

// release lets what is held back go, with the changes in it.
func (s *scanner) release() {
	for _, e := range s.edits {
		s.trace.database(s, e)
		s.copyTo(int(e.from - s.base))
		s.write([]byte(e.text))
		s.out = int(e.to - s.base)
	}
	s.edits = s.edits[:0]
	s.hold = -1
}

// Classes of bytes outside of strings.
const (
	bad    = iota
	space  // white space
	plain  // of words and numbers
	op     // operators, and what else has no meaning here
	quote  // ' " `
	open   // (
	shut   // )
	comma  // ,
	slash  // / may begin a comment
	dash   // - may begin a comment
	hash   // # begins a comment
	semi   // ;
	period // .
	colon  // : assigns to variables
)

var class = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z' && c < 0x80, c == '_', c == '$', c >= 0x80:
			t[c] = plain
		case strings.IndexByte(" \t\n\r\v\f", byte(c)) >= 0:
			t[c] = space
		case strings.IndexByte("+*%&|^~<>=!@", byte(c)) >= 0:
			t[c] = op
		}
	}
	t['\''], t['"'], t['`'], t['('], t[')'], t[','] = quote, quote, quote, open, shut, comma
	t['/'], t['-'], t['#'], t[';'], t['.'], t[':'] = slash, dash, hash, semi, period, colon
	return t
}()

// names says whether this quote encloses names.
func (s *scanner) names(q byte) bool { return q == '`' || q == '"' && s.ansi }

// str passes over a string or a quoted name, whose opening quote stands before pos, to behind its closing quote. Bytes leave the buffer
// meanwhile unless tok or hold keeps them.
func (s *scanner) str(q byte) {
	escapes := !s.literal && !s.names(q) // a backslash means nothing in a name
	if s.charset.double != nil {
		s.strDouble(q, escapes)
	} else {
		s.until(q, escapes)
	}
}

// until passes over a string in a charset whose ASCII bytes are always characters.
func (s *scanner) until(q byte, escapes bool) {
	for {
		var closed bool
		if s.pos, closed = s.stringEnd(s.pos, q, escapes); closed {
			return
		}
		if !s.more() {
			if s.pos < s.end && s.buf[s.pos] == q {
				s.pos++ // the string is whole; what it stands in is not
				return
			}
			s.pos = s.end
			s.truncated("a string")
		}
	}
}

// stringEnd looks for the end of a string, in a charset whose ASCII bytes are always characters. From index i on stands what follows the
// opening quote. It returns the index behind the closing quote and true, or false and the index before which everything is the string's: what
// is escaped, or a second quote, may follow.
//
// Strings are most of a dump, and one search for the quote is all that most of them need: whether it is escaped is said by the backslashes
// before it, which escape each other in pairs.
func (s *scanner) stringEnd(i int, q byte, escapes bool) (n int, closed bool) {
	b := s.buf[:s.end]
	for {
		k := bytes.IndexByte(b[i:], q)
		if k < 0 {
			k = len(b)
			if escapes && escaped(b[i:]) {
				k--
			}
			return k, false
		}
		k += i
		switch {
		case escapes && escaped(b[i:k]):
			i = k + 1
		case k+1 == len(b):
			return k, false
		case b[k+1] != q:
			return k + 1, true
		default:
			i = k + 2
		}
	}
}

// escaped says whether b, which begins with no part of an escape sequence, ends with a backslash that escapes what follows.
func escaped(b []byte) bool {
	n := len(b)
	for n > 0 && b[n-1] == '\\' {
		n--
	}
	return (len(b)-n)%2 != 0
}

// strDouble passes over a string in a charset where a quote, a backslash or a backtick may be the second half of a character.
func (s *scanner) strDouble(q byte, escapes bool) {
	for {
		c, ok := s.peek(0)
		if !ok {
			s.truncated("a string")
		}
		next, ok := s.peek(1)
		switch {
		case ok && s.charset.double(c, next), ok && escapes && c == '\\', ok && c == q && next == q:
			s.pos += 2
		case c == q:
			s.pos++
			return
		default:
			s.pos++
		}
	}
}

// dashes says whether the two dashes at pos begin a comment: white space must follow. Of control characters, and of what is beyond ASCII,
// servers and clients say different things.
func (s *scanner) dashes() bool {
	third, ok := s.peek(2)
	if !ok {
		s.truncated("a comment") // if it is one: nothing of it goes out
	}
	if class[third] != space && (third < ' ' || third >= 0x7f) {
		s.failHere("two dashes before a byte that may or may not make them a comment")
	}
	return class[third] == space
}

// comment passes over a comment if one begins at pos, and says so. In the comments /*! */ and /*M! */ is code: of these it passes over the
// opening and the closing marks only.
func (s *scanner) comment() bool {
	c, _ := s.peek(0)
	switch c {
	case '#':
		s.sure()
		s.lineComment()
		return true
	case '-':
		if next, _ := s.peek(1); next != '-' {
			return false
		}
		if !s.dashes() {
			return false
		}
		s.sure()
		s.lineComment()
		return true
	case '*':
		if next, _ := s.peek(1); next != '/' || !s.version {
			return false
		}
		if s.parens != 0 {
			s.oddParens(s.offset())
		}
		s.version = false
		s.pos += 2
		return true
	case '/':
		next, ok := s.peek(1)
		if !ok {
			s.truncated("a statement") // as in versionComment
		}
		if next != '*' {
			return false
		}
		if code, digits := s.versionComment(); code {
			if s.version {
				s.failHere("a version comment in a version comment")
			}
			s.version = true
			s.opened++
			s.always = everyServer(s.buf[s.pos : s.pos+digits])
			s.pos += digits
		} else {
			s.sure()
			s.blockComment(digits)
		}
		return true
	}
	return false
}

// sure stops at a comment in a version comment that some servers skip: where it ends for those, the comment in it does not tell.
func (s *scanner) sure() {
	if s.version && !s.always {
		s.failHere("a comment in a comment that not every server executes")
	}
}

// lineComment passes over a comment that ends with its line, and says whether it is a dump's closing line.
func (s *scanner) lineComment() bool {
	closing := true // so far the bytes are those of a dump's last line, which counts without its line break, too
	for i := 0; ; {
		b := s.buf[s.pos:s.end]
		k := bytes.IndexByte(b, '\n')
		if k >= 0 {
			b = b[:k+1]
		}
		for _, c := range b {
			if i == len(closingLine) || !closing {
				break
			}
			closing = c == closingLine[i]
			i++
		}
		s.pos += len(b)
		closed := closing && i == len(closingLine)
		if k >= 0 {
			return closed
		}
		if !s.more() {
			if closed {
				return true
			}
			s.truncated("a comment")
		}
	}
}

const closingLine = "-- Dump completed"

// versionComment looks at a comment that begins with /* and says whether its text is code, and how long its opening is.
func (s *scanner) versionComment() (code bool, opening int) {
	at := func(n int) byte {
		c, ok := s.peek(n)
		if !ok {
			s.truncated("a comment") // it is not known yet whose code it is: nothing of it goes out
		}
		return c
	}
	n := 2
	if at(n) == 'M' {
		n++
	}
	if at(n) != '!' {
		return false, 2
	}
	n++
	version := n
	for at(n) >= '0' && at(n) <= '9' {
		if n++; n-version > 6 {
			s.failHere("a version comment with more than six digits")
		}
	}
	// No server has version 99.99.99: the sandbox mark of MariaDB's dumps, and text that only other programs read.
	if string(s.buf[s.pos+version:s.pos+n]) == "999999" {
		return false, n
	}
	// Servers that read five digits take a sixth for code. That of a version which they have would be the first of a name or a number.
	if d := n - version; d != 0 && d != 5 && (d != 6 || at(version) == '0') {
		s.failHere("a version comment with %d digits", d)
	}
	return true, n
}

// everyServer says whether every server executes a version comment with this opening.
func everyServer(opening []byte) bool {
	digits := strings.TrimPrefix(string(opening), "/*!")
	n, _ := strconv.Atoi(digits)
	return len(digits) < len(opening)-2 && n <= 50503
}

// blockComment passes over a comment, whose opening has n bytes. What no server executes is code to clients all the same: they look for quotes and
// delimiters in it, and for comments, about which servers differ. Such comments are refused.
func (s *scanner) blockComment(n int) {
	version := n > 2
	s.pos += n
	if c, _ := s.peek(0); version && c == '\\' {
		if c, _ = s.peek(1); c == '-' { // a command to clients: from here on, no commands
			s.pos += 2
		}
	}
	for {
		if !version {
			if k := bytes.IndexByte(s.buf[s.pos:s.end], '*'); k >= 0 {
				s.pos += k
			} else {
				s.pos = s.end
			}
		}
		c, _ := s.peek(0)
		next, ok := s.peek(1)
		if !ok {
			s.pos = s.end
			s.truncated("a comment")
		}
		switch {
		case c == '*' && next == '/':
			s.pos += 2
			return
		case version && (c == '/' && next == '*' || c == '-' && next == '-'):
			s.failHere("a comment in a version comment that no server executes")
		case version && (strings.IndexByte("'\"`#\\;", c) >= 0 || s.atDelimiter()):
			s.failHere("a version comment that no server executes, and clients read otherwise")
		}
		s.pos++
	}
}

// gap passes over white space and comments, and returns the byte behind them; false at the end of the input.
func (s *scanner) gap() (byte, bool) {
	for {
		if s.pos == s.end && !s.more() {
			return 0, false
		}
		c := s.buf[s.pos]
		switch class[c] {
		case space:
			s.pos++
		case hash, dash, slash, op:
			if c != '*' && class[c] == op || !s.comment() {
				return c, true
			}
		default:
			return c, true
		}
	}
}
