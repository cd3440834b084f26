package sqlrewrite

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
)

// Stats count what a Rewrite did.
type Stats struct {
	Rows     int64   `json:"rows"`     // rows of all tables, except those of INSERT from a query
	Changed  []int64 `json:"changed"`  // values that became others, by rule in the order of Rules.Columns
	Complete bool    `json:"complete"` // the last line of the input begins with "-- Dump completed", as that of a dump does
}

// Rewrite copies the dump from src to dst, with the values and names replaced that the rules name; every other byte stays. It returns nil
// only when the whole input was understood and copied. Whether the dump itself was whole, Stats.Complete says.
//
// After an error dst holds a prefix of the right output of which no client can execute more than whole statements: statements without rows
// are held back until their end, and a row's closing parenthesis until the comma or semicolon after it. (The mariadb client executes an
// unterminated last statement at the end of its input.) Stats are then those of the part that was read.
//
// A src that is a regular file is read ahead by another goroutine, which has ended when Rewrite returns; after an error the file's position is
// somewhere behind what was understood.
//
// Errors are *SyntaxError where the input is at fault, with ErrTruncated in them where it was cut short; ctx's error when that ended; and
// the errors of src and dst.
func (r *Rewriter) Rewrite(ctx context.Context, dst io.Writer, src io.Reader) (Stats, error) {
	return r.rewrite(ctx, dst, src, worthwhile(src), nil)
}

func (r *Rewriter) rewrite(ctx context.Context, dst io.Writer, src io.Reader, ahead bool, changes func(Change)) (stats Stats, err error) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	s := &scanner{
		ctx: ctx, src: src, dst: dst, rw: r,
		buf:      b.in[:],
		obuf:     b.out[:0],
		tok:      -1,
		delim:    []byte{';'},
		charset:  r.charset,
		stats:    Stats{Changed: make([]int64, len(r.rules))},
		preface:  true,
		trace:    newTracer(changes),
		database: []byte(r.database),
		selected: r.database != "",
		created:  map[string]*columns{},
		views:    map[string]bool{},
		tables:   map[string]string{},
		user:     map[string]string{},
		bodies:   map[string]bool{},
		assigned: map[string]bool{},
	}
	if ahead {
		s.ahead, s.buf = newAhead(src), nil
		defer s.ahead.close()
	}
	defer func() {
		stats = s.stats
		if e := recover(); e != nil {
			f, ok := e.(failure)
			if !ok {
				panic(e)
			}
			err = f.err
		}
	}()
	defer func() {
		if e := recover(); e != nil {
			// What was understood goes out, so that the output depends on the input alone and not on the pieces in which it came.
			if f, ok := e.(failure); ok && errors.As(f.err, new(*SyntaxError)) {
				s.copyTo(s.kept())
				s.flush()
			}
			panic(e)
		}
	}()
	s.byteOrder()
	for s.statement() {
	}
	s.flush()
	s.stats.Complete = s.complete
	return s.stats, nil
}

// A buffer is what a Rewrite needs of memory, as long as no token is larger.
type buffer struct {
	in  [bufferSize]byte
	out [outputSize]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// byteOrder looks at the first bytes: UTF-8's mark stays, UTF-16 is refused.
func (s *scanner) byteOrder() {
	s.need(3)
	b := s.buf[:s.end]
	switch {
	case bytes.HasPrefix(b, []byte{0xef, 0xbb, 0xbf}):
		s.pos = 3
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}), bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		s.failHere("the input is UTF-16")
	}
}

// statement passes over what stands before a statement and over the statement, and returns false at the end of the input.
func (s *scanner) statement() bool {
	s.table = ""
	line, ok := s.between()
	if !ok {
		s.release()
		s.copyTo(s.pos)
		return false
	}
	s.complete, s.whole, s.unsure, s.inBody, s.alone = false, false, false, false, 0
	s.start = s.offset()
	if s.repeatedHead() {
		s.rows()
		return true
	}
	s.head.known = false
	if !s.preface {
		s.hold = s.pos
	}
	s.preface = false
	t := s.next()
	if s.unsure {
		s.alone = s.opened
	}
	switch t.kind {
	case word:
		s.keyword(t, line && !t.version)
	case delimiter:
	default:
		s.unexpected(t, "the place of a statement")
	}
	s.release()
	return true
}

// between passes over white space and comments between statements. It returns false at the end of the input, and says whether what follows
// begins a line.
func (s *scanner) between() (line, ok bool) {
	line = s.base == 0 && s.pos == 0
	for first := line; ; { // first: the byte that follows is a line's first
		if s.preface && s.base+int64(s.pos) > maxPreface {
			s.preface = false
			s.release()
		}
		c, ok := s.peek(0)
		if !ok {
			return line, false
		}
		next, _ := s.peek(1)
		switch {
		case class[c] == space:
			line, first = line && c != '\r' || c == '\n', c == '\n'
			s.pos++
		case c == '-' && next == '-':
			if !s.dashes() {
				return line, true
			}
			s.complete = s.lineComment() && first
			line, first = true, true
		case c == '#':
			s.lineComment()
			s.complete, line, first = false, true, true
		case c == '/' && next == '*':
			code, n := s.versionComment()
			if code {
				return line, true
			}
			s.blockComment(n)
			s.complete, line, first = false, false, false
		default:
			return line, true
		}
	}
}

// keyword passes over the statement that begins with this word.
func (s *scanner) keyword(t token, line bool) {
	var upper [16]byte
	n := copy(upper[:], s.bytes(t))
	if int64(n) < t.to-t.from {
		n = 0
	}
	for i, c := range upper[:n] {
		if c >= 'a' && c <= 'z' {
			upper[i] = c - 'a' + 'A'
		}
	}
	switch kw := string(upper[:n]); kw {
	case "INSERT", "REPLACE":
		s.insert()
	case "SET":
		s.set()
	case "USE":
		s.use()
	case "CREATE":
		s.create()
	case "DROP":
		s.drop()
	case "ALTER":
		s.alter()
	case "LOCK":
		s.lock()
	case "DELIMITER":
		if !line {
			s.fail(t.from, "DELIMITER that does not begin a line")
		}
		s.delimiterLine()
	case "BEGIN":
		if t = s.next(); s.is(t, "WORK") {
			t = s.next()
		}
		if t.kind != delimiter {
			s.unexpected(t, "BEGIN")
		}
	case "START", "COMMIT", "ROLLBACK", "UNLOCK", "FLUSH", "CHANGE", "STOP", "GRANT", "REVOKE", "INSTALL", "UNINSTALL":
		s.toEnd()
	case "ANALYZE":
		if t = s.next(); !s.is(t, "TABLE") { // ANALYZE UPDATE updates
			s.unexpected(t, "ANALYZE: only TABLE is understood")
		}
		s.settled(t)
		s.toEnd()
	case "DO":
		if t = s.next(); !s.is(t, "SETVAL") {
			s.unexpected(t, "DO: only SETVAL is understood")
		}
		s.setval()
	case "UPDATE":
		s.update()
	case "DELETE":
		s.delete()
	case "TRUNCATE":
		s.truncate()
	case "RENAME":
		s.renameTable()
	case "SELECT":
		at := t.from
		if s.wellKnown(t) {
			s.endsHere("SELECT")
			return
		}
		if t = s.next(); !s.is(t, "SETVAL") {
			s.fail(at, "SELECT is not understood")
		}
		s.setval()
	case "EXECUTE":
		if at := t.from; !s.wellKnown(t) {
			s.execute(at)
			return
		}
		s.endsHere("EXECUTE")
	case "PREPARE":
		s.prepare(t)
	case "DEALLOCATE":
		s.deallocate(t.from)
	case "CALL", "EXPLAIN", "HANDLER", "IMPORT", "LOAD", "OPTIMIZE", "PURGE", "REPAIR", "RESET", "SHOW", "VALUES", "WITH", "XA",
		"SOURCE", "SYSTEM", "SAVEPOINT", "SHUTDOWN", "KILL", "TABLE", "IF", "SIGNAL", "BINLOG", "CHECK", "DESCRIBE", "HELP":
		s.fail(t.from, "%s is not understood", strings.Clone(kw)) // kw itself stays where it is
	default:
		s.fail(t.from, "no statement that is understood begins so")
	}
}

// wellKnown are statements that could do anything, in the words in which dumps have them, where they do nothing to rows.
var wellKnown = []string{
	`EXECUTE IMMEDIATE IF(@@LOG_OUTPUT='TABLE' AND (@@LOG_SLOW_QUERY=1 OR @@GENERAL_LOG=1),"SET GLOBAL LOG_OUTPUT='NONE'", "DO 0")`,
	`SELECT COALESCE(CURRENT_ROLE(),'NONE') into @current_role`,
	`EXECUTE IMMEDIATE CONCAT('SET ROLE ', @current_role)`,
	`SELECT COUNT(*) INTO @is_rocksdb_supported FROM INFORMATION_SCHEMA.SESSION_VARIABLES WHERE VARIABLE_NAME='rocksdb_bulk_load'`,
}

// wellKnown passes over such a statement, which begins with t, and says whether it is one.
func (s *scanner) wellKnown(t token) bool {
	for _, w := range wellKnown {
		rest, whole := strings.CutPrefix(w, string(s.bytes(t)))
		if !whole {
			continue
		}
		whole = s.need(len(rest))
		switch b := s.buf[s.pos:min(s.pos+len(rest), s.end)]; {
		case !whole && strings.HasPrefix(rest, string(b)):
			s.pos = s.end
			s.truncated("a statement")
		case string(b) == rest:
			s.pos += len(rest)
			delete(s.user, "current_role") // these are assigned
			delete(s.user, "is_rocksdb_supported")
			return true
		}
	}
	return false
}

// delimiterLine passes over what follows the client's word DELIMITER.
func (s *scanner) delimiterLine() {
	var line []byte
	for {
		c, ok := s.peek(0)
		if !ok {
			s.truncated("DELIMITER")
		}
		if s.pos++; c == '\n' {
			break
		}
		if line = append(line, c); len(line) > 200 {
			s.failHere("a long line after DELIMITER")
		}
		if line[0] != ' ' && line[0] != '\t' {
			s.pos--
			s.failHere("no space after DELIMITER")
		}
	}
	fields := bytes.Fields(line)
	if len(fields) != 1 || len(fields[0]) > 15 || bytes.ContainsAny(fields[0], "'\"`\\/*#-,.()") && string(fields[0]) != "//" || !ascii(fields[0]) {
		s.failHere("a delimiter that is not understood")
	}
	s.delim = append(s.delim[:0], fields[0]...)
}

// kept is the index of the first byte that must stay in the buffer.
func (s *scanner) kept() int {
	k := s.pos
	if s.tok >= 0 {
		k = min(k, s.tok)
	}
	if s.hold >= 0 {
		k = min(k, s.hold)
	}
	return k
}
