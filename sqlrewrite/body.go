package sqlrewrite

// A body is what is known of a trigger's, routine's, event's or view's text so far. The text stays, whatever it mentions. Under another
// delimiter it may hold semicolons, and then a client also sends on what stands behind the text: a server executes that, so that it must be
// known where the text ends.
//
// Whether a word begins or ends a block depends on its place. Where that is in doubt, what is counted here is rather one block too many: then
// the end is not found, and nothing is refused.
type body struct {
	free   bool // in a language whose blocks are not known here
	depth  int  // blocks that are open
	begins bool // a statement may begin here
	over   bool // END behind a statement: the block has been closed
	bare   bool // END behind something else
	part   bool // the token before is a dot, or what else stands before a name and not before a block
}

// body passes over the rest of a statement that keeps its text.
func (s *scanner) body(b *body) {
	for {
		t := s.next()
		switch t.kind {
		case delimiter:
			return
		case end:
			s.truncated("a statement")
		}
		if !b.free {
			s.block(b, t)
		}
	}
}

// block follows the blocks of a body over one token.
func (s *scanner) block(b *body, t token) {
	begins, over, bare, part := b.begins, b.over, b.bare, b.part
	b.begins, b.over, b.bare, b.part = false, false, false, false
	switch {
	case isMark(t, ';'):
		if b.depth <= 0 && !s.endFollows() {
			s.goesOn(t)
		}
		b.begins = true
	case isMark(t, ':'): // a label
		b.begins = true
	case t.kind == mark:
		b.part = t.mark != ')'
		b.begins = t.mark == ')' && b.depth == 0 // the parameters of a procedure
	case t.kind == text:
		b.begins = b.depth == 0 // a comment before the body
	case t.kind != word:
	case over && s.isOne(t, "IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR"): // what was closed
	case bare && s.is(t, "REPEAT"): // UNTIL stands before its END
		b.depth--
	case s.is(t, "END"):
		if b.over, b.bare = begins, !begins; begins {
			b.depth--
		}
	case s.is(t, "BEGIN"):
		if b.begins = true; !part {
			b.depth++
		}
	case begins && s.isOne(t, "IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR"):
		b.depth++
		b.begins = s.isOne(t, "LOOP", "REPEAT")
	case s.isOne(t, "THEN", "ELSE", "DO", "LOOP"):
		b.begins = true
	case b.depth == 0:
		b.begins = s.isOne(t, "ROW", "DETERMINISTIC", "SQL", "DATA", "DEFINER", "INVOKER")
		if s.isOne(t, "FOLLOWS", "PRECEDES") {
			s.next()
			b.begins = true
		}
	}
}

// endFollows says whether the delimiter follows, or the end of a version comment and then the delimiter.
func (s *scanner) endFollows() bool {
	s.gap()
	return s.atDelimiter()
}
