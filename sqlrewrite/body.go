package sqlrewrite

// A body is what is known of a trigger's, routine's, event's or view's text so far. The text stays, whatever it mentions. Under another
// delimiter it may hold semicolons, and then a client also sends on what stands behind the text: a server executes that, so that it must be
// known where the text ends, which is where all its blocks have been closed. In parentheses blocks neither begin nor end.
//
// Whether a word begins or ends a block depends on its place. Where that is in doubt it does not begin one: then the end is found too early,
// and what follows it is refused.
type body struct {
	kind    bodyKind
	oracle  bool   // sql_mode is ORACLE: declarations stand before BEGIN
	depth   int    // blocks that are open
	declare uint64 // of these, by depth, those whose declarations have not ended
	cases   int    // expressions with CASE that are open
	parens  int    // parentheses that are open
	loop    bool   // a WHILE or a FOR whose DO has not been seen; in the sql_mode ORACLE they have LOOP
	started bool   // the one statement has begun that a body is
	returns bool   // the type stands here that a function returns
	header  bool   // of a routine in another one's declarations
	label   bool   // << stood where a statement begins
	handler int    // how many of the words have been seen that stand before its statement
	place
}

// A place is what the token before says of the next one.
type place struct {
	begins  bool // a statement may begin here
	over    bool // END has closed a block
	bare    bool // END that has not
	operand bool // something must follow, so that END is a name
	part    bool // of a name, behind a dot or @
}

type bodyKind uint8

const (
	routineBody bodyKind = iota
	viewBody
	triggerBody
	eventBody
)

// maxDepth bounds how many blocks of a body are open at a time.
const maxDepth = 60

// body passes over the rest of a statement that keeps its text. A user variable in it may have another value from there on: a function or a
// trigger is executed by the rows that follow.
func (s *scanner) body(b *body) {
	s.inBody = true
	var at token // the mark that was last
	for {
		t := s.next()
		switch t.kind {
		case delimiter:
			return
		case end:
			s.truncated("a statement")
		case mark:
			at = t
		default:
			if isMark(at, '@') && at.to == t.from {
				s.forget(t)
			}
		}
		s.block(b, t)
	}
}

// block follows the blocks of a body over one token.
func (s *scanner) block(b *body, t token) {
	before := b.place
	b.place = place{}
	if b.kind != viewBody && len(s.delim) > 1 {
		s.certain(t) // a block there could be one to some servers only
	}
	switch {
	case isMark(t, ';'):
		if b.depth <= 0 && !s.endFollows() {
			s.goesOn(t)
		}
		b.begins, b.cases, b.parens, b.handler, b.loop, b.header, b.label = true, 0, 0, 0, false, false, false
	case b.kind == viewBody: // has no blocks
	case t.kind == mark:
		b.mark(t.mark, before)
	case b.parens > 0:
	case t.kind != word:
		b.begins = b.depth == 0 && !b.started || b.condition() // a comment before the body
	case before.part:
	case before.over && s.isOne(t, "IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR"): // what was closed
	case before.bare && s.is(t, "REPEAT"): // UNTIL stands before its END
		b.close()
	case s.is(t, "END"):
		switch {
		case before.begins:
			b.close()
			b.over = true
		case b.cases > 0 && !before.operand:
			b.cases--
		default:
			b.bare = true
		}
	default:
		s.blockWord(b, t, before)
	}
}

// mark follows a mark other than a semicolon.
func (b *body) mark(c byte, before place) {
	b.operand, b.part = c != ')', c == '.' || c == '@'
	switch {
	case c == '(':
		b.parens++
	case c == ')': // of a procedure's parameters
		b.parens = max(b.parens-1, 0)
		b.begins = b.parens == 0 && b.depth == 0 && !b.started
	case b.parens > 0:
	case c == ':': // of a label
		b.begins = b.cases == 0
	case c == '<' && before.begins:
		b.label = true
	case c == '>' && b.label:
		b.begins = true
	case c == ',' && b.handler == len(handlerWords):
		b.handler-- // one more condition
	}
}

// operators stand before an operand, so that END behind them is a name.
var operators = []string{"WHEN", "THEN", "ELSE", "UNTIL", "AND", "OR", "XOR", "NOT", "DIV", "MOD", "LIKE", "REGEXP", "RLIKE", "BETWEEN", "BINARY", "ESCAPE", "COLLATE", "INTERVAL", "FOR", "OVER"}

// handlerWords are those before the condition of one, where it stands for EXIT, CONTINUE and UNDO.
var handlerWords = []string{"DECLARE", "", "HANDLER", "FOR", "condition"}

// condition says whether a handler's statement may follow, because its condition stands before.
func (b *body) condition() bool {
	if b.handler == len(handlerWords)-1 {
		b.handler++
	}
	return b.handler == len(handlerWords)
}

// blockWord follows a word that ends no block.
func (s *scanner) blockWord(b *body, t token, before place) {
	first := before.begins || b.returns && !b.started
	declares := b.declare&(1<<b.depth) != 0
	switch {
	case b.oracle && s.isOne(t, "AS", "IS") && (b.kind == routineBody && b.depth == 0 && !b.started || b.header):
		b.open(s, t)
		b.declare |= 1 << b.depth
		b.begins, b.header = true, false
	case declares && before.begins && s.isOne(t, "PROCEDURE", "FUNCTION"):
		b.header, b.operand = true, true // a name follows
	case b.oracle && !declares && before.begins && s.is(t, "DECLARE"):
		b.open(s, t)
		b.declare |= 1 << b.depth
		b.begins = true
	case (first || b.header && !before.operand) && s.is(t, "BEGIN"):
		if b.begins = true; declares && !b.header {
			b.declare &^= 1 << b.depth
		} else {
			b.open(s, t)
		}
		b.header = false
	case first && b.cases == 0 && s.isOne(t, "IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR"):
		b.open(s, t)
		b.begins, b.loop, b.operand = s.isOne(t, "LOOP", "REPEAT"), !b.oracle && s.isOne(t, "WHILE", "FOR"), true
	case s.is(t, "CASE"):
		b.cases++
		b.operand = true
	case s.isOne(t, "THEN", "ELSE", "LOOP"):
		b.begins = b.cases == 0
	case s.is(t, "DO") && b.cases == 0 && (b.loop || b.kind == eventBody && !b.started): // else it is a statement, or a name
		b.begins, b.loop, b.started = true, false, true
	case s.is(t, "NOT"):
		b.begins = b.handler > 0 && b.condition()
	case b.depth == 0 && !b.started:
		s.characteristic(b, t, before)
	case before.begins && s.is(t, "DECLARE"):
		b.handler = 1
	case b.handler == 1 && s.isOne(t, "EXIT", "CONTINUE", "UNDO"), b.handler > 1 && b.handler < len(handlerWords)-1 && s.is(t, handlerWords[b.handler]):
		b.handler++
	case b.handler == len(handlerWords) && before.begins && !s.isOne(t, "FOUND", "VALUE"): // the statement
		b.handler = 0
	case b.handler >= len(handlerWords)-1:
		b.begins = b.condition()
	default:
		b.handler = 0
	}
	b.operand = b.operand || s.isOne(t, operators...)
	b.started = b.started || b.depth > 0
	b.label = b.label && !before.begins
}

// characteristic follows a word before the body's statement, or its first one.
func (s *scanner) characteristic(b *body, t token, before place) {
	switch {
	case s.is(t, "RETURNS") && before.begins, b.oracle && s.is(t, "RETURN") && !b.returns:
		b.returns = true
	case s.isOne(t, "FOLLOWS", "PRECEDES"):
		s.next()
		b.begins = true
	case s.isOne(t, "ROW", "LANGUAGE", "SQL", "NO", "CONTAINS", "READS", "MODIFIES", "DATA", "DETERMINISTIC", "SECURITY", "DEFINER", "INVOKER", "COMMENT"):
		b.begins = true
	case s.is(t, "RETURN"), before.begins && !b.returns && b.kind != eventBody:
		b.started = true
	}
}

// open counts a block that begins. It may be the statement of a handler.
func (b *body) open(s *scanner, t token) {
	b.handler = 0
	if b.depth = max(b.depth, 0) + 1; b.depth > maxDepth {
		s.fail(t.from, "too many blocks in one another")
	}
}

// close counts a block that ends.
func (b *body) close() {
	if b.depth > 0 {
		b.declare &^= 1 << b.depth
		b.depth--
	}
}

// endFollows says whether the delimiter follows, or the end of a version comment and then the delimiter.
func (s *scanner) endFollows() bool {
	s.gap()
	return s.atDelimiter()
}
