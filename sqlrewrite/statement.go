package sqlrewrite

import (
	"maps"
	"slices"
	"strings"
)

// A ref is the table that a statement names.
type ref struct {
	database []byte // by its name in the input
	known    bool   // there is a database
	table    []byte
}

// columns are what CREATE TABLE says of a table that a rule names.
type columns struct {
	names     []string // folded
	types     []*columnType
	invisible bool // some columns take no part in an INSERT without a list
	dropped   bool // perhaps, because not every server executes the DROP
}

// reserved are words that stand where a name could stand in statements that are not understood. No server takes them for names.
var reserved = strings.Fields("AS DELAYED EXISTS FROM HIGH_PRIORITY IF IGNORE INTO JOIN LATERAL LIKE LOW_PRIORITY NOT ON PARTITION SELECT SET TABLE UPDATE USING VALUES WHERE WITH")

// qualified reads a name of one or two parts that begins with t into ref, and renames its database. All servers must read the same one.
func (s *scanner) qualified(t token) {
	if t.kind != word && t.kind != name || s.isOne(t, reserved...) {
		s.unexpected(t, "the place of a name")
	}
	s.certain(t)
	r := &s.ref
	r.table = s.identifier(r.table[:0], t)
	if !s.dotFollows() {
		r.database, r.known = append(r.database[:0], s.database...), s.selected
		return
	}
	s.rename(t, r.table)
	r.database, r.known = append(r.database[:0], r.table...), true
	s.certain(s.next())
	if t = s.next(); t.kind != word && t.kind != name {
		s.unexpected(t, "the place of a name")
	}
	s.certain(t)
	r.table = s.identifier(r.table[:0], t)
}

// rename replaces the name of a database.
func (s *scanner) rename(t token, database []byte) {
	if s.rw.taken[string(database)] {
		s.fail(t.from, "a database by the name that another one gets")
	}
	to, ok := s.rw.databases[string(database)]
	if !ok || to == string(database) {
		return
	}
	if !s.charset.holds(to) {
		s.fail(t.from, "the new name of a database is not ASCII, and the charset is %s", s.charset.name)
	}
	q := "`"
	if t.kind == name {
		q = string(s.bytes(t)[:1])
	}
	s.edits = append(s.edits, edit{t.from, t.to, q + strings.ReplaceAll(to, q, q+q) + q, string(database)})
}

// rules finds the rules of the table in ref, and says whether there are any. fills says that the statement makes, alters or fills the table.
func (s *scanner) rules(t token, fills bool) bool {
	s.nameTable()
	s.settled(t)
	s.plan.rules = s.plan.rules[:0]
	for _, i := range s.rw.tables[string(s.ref.table)] {
		database := s.rw.rules[i].Database
		if database != "" && !s.ref.known {
			s.fail(t.from, "a rule names this table in a database, and no database is known here")
		}
		if database == "" || database == string(s.ref.database) {
			s.plan.rules = append(s.plan.rules, i)
		}
	}
	if len(s.plan.rules) == 0 && fills && s.rw.unknown == Refuse {
		s.fail(t.from, "a table that no rule names")
	}
	return len(s.plan.rules) > 0
}

// maxNames bounds how many names of a kind are remembered.
const maxNames = 10000

// nameTable notes the table in ref for errors. It makes a string only for a table that is new.
func (s *scanner) nameTable() {
	b := s.scratch[:0]
	if s.ref.known {
		b = append(append(b, s.ref.database...), '.')
	}
	s.scratch = append(b, s.ref.table...)
	name, ok := s.tables[string(s.scratch)]
	if !ok {
		if len(s.tables) == maxNames {
			clear(s.tables)
		}
		name = strings.ToValidUTF8(strings.Trim(string(s.scratch), "\x00"), "?")
		s.tables[string(s.scratch)] = name
	}
	s.table, s.plan.table = name, name
}

// key is where the columns of the table in ref are kept.
func (s *scanner) key() []byte {
	b := append(s.scratch[:0], s.ref.database...)
	if !s.ref.known {
		b = append(b, 0)
	}
	s.scratch = append(append(b, 0), s.ref.table...)
	return s.scratch
}

// given returns the columns that the Context has for the table in ref.
func (s *scanner) given() []string {
	lists := s.rw.given[string(s.ref.table)]
	if c := lists[string(s.ref.database)]; c != nil && s.ref.known {
		return c
	}
	return lists[""]
}

func (s *scanner) use() {
	t := s.next()
	if t.kind != word && t.kind != name {
		s.unexpected(t, "USE")
	}
	if s.unsure {
		s.fail(t.from, "USE in a comment that not every server executes")
	}
	s.database, s.selected = s.identifier(s.database[:0], t), true
	s.rename(t, s.database)
	s.endsHere("USE")
}

// endsHere passes over the delimiter.
func (s *scanner) endsHere(where string) {
	if t := s.next(); t.kind != delimiter {
		s.unexpected(t, where)
	}
}

// optional passes over words that all stand there or not at all, beginning with t, and returns the next token.
func (s *scanner) optional(t token, keywords ...string) token {
	if !s.is(t, keywords[0]) {
		return t
	}
	for _, k := range keywords[1:] {
		if t = s.next(); !s.is(t, k) {
			s.unexpected(t, "the place of "+k)
		}
	}
	return s.next()
}

func (s *scanner) create() {
	first := s.next()
	t := s.optional(first, "OR", "REPLACE")
	replace := t != first
	first = t
	t = s.optional(t, "TEMPORARY")
	s.settled(t)
	switch {
	case s.is(t, "TABLE"):
		s.createTable(replace, t != first)
	case s.isOne(t, "DATABASE", "SCHEMA"):
		s.databaseName(s.optional(s.next(), "IF", "NOT", "EXISTS"))
		s.toEnd()
	case s.is(t, "SEQUENCE"):
		s.qualified(s.optional(s.next(), "IF", "NOT", "EXISTS"))
		s.toEnd()
	case s.isOne(t, "USER", "ROLE", "SERVER"):
		s.toEnd()
	case s.isOne(t, "UNIQUE", "FULLTEXT", "SPATIAL", "INDEX"):
		s.toEnd()
	default:
		s.createProgram(t)
	}
}

// createProgram passes over the definition of a view, trigger or routine, whose body stays as it is.
func (s *scanner) createProgram(t token) {
	for !s.isOne(t, "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE") {
		switch {
		case s.is(t, "AGGREGATE"):
			t = s.next()
		case s.is(t, "SQL"):
			if t = s.next(); !s.is(t, "SECURITY") {
				s.unexpected(t, "CREATE")
			}
			s.next()
			t = s.next()
		case s.is(t, "ALGORITHM"):
			s.equals()
			s.next()
			t = s.next()
		case s.is(t, "DEFINER"):
			s.equals()
			t = s.definer()
		default:
			s.unexpected(t, "CREATE")
		}
	}
	s.settled(t)
	view, trigger, b := s.is(t, "VIEW"), s.is(t, "TRIGGER"), body{oracle: s.oracle}
	switch {
	case s.is(t, "PACKAGE") && !s.oracle: // it has no AS
		b.depth, b.declare, b.begins, b.started = 1, 1<<1, true, true
	case view:
		b.kind = viewBody
	case trigger:
		b.kind = triggerBody
	case s.is(t, "EVENT"):
		b.kind = eventBody
	}
	t = s.optional(s.next(), "BODY")
	s.qualified(s.optional(t, "IF", "NOT", "EXISTS"))
	if view {
		s.addView(t.from, string(s.key()))
	}
	if trigger {
		for t = s.next(); !s.is(t, "ON"); t = s.next() {
			if t.kind != word {
				s.unexpected(t, "CREATE TRIGGER")
			}
		}
		s.qualified(s.next())
	}
	s.body(&b)
}

// addView notes that rows of a table are those of another one.
func (s *scanner) addView(at int64, key string) {
	if len(s.views) == maxNames {
		s.fail(at, "too many views")
	}
	s.views[key] = true
}

func (s *scanner) equals() {
	if t := s.next(); !isMark(t, '=') {
		s.unexpected(t, "CREATE")
	}
}

// definer passes over the name of a user or a role, and returns the token behind it.
func (s *scanner) definer() token {
	part := func() {
		if t := s.next(); t.kind != word && t.kind != name && t.kind != text {
			s.unexpected(t, "the place of a user")
		}
	}
	part()
	t := s.next()
	switch {
	case isMark(t, '@'):
		part()
		t = s.next()
	case isMark(t, '('): // CURRENT_USER()
		if t = s.next(); !isMark(t, ')') {
			s.unexpected(t, "the place of a user")
		}
		t = s.next()
	}
	return t
}

// setval passes over SETVAL(sequence, number, number), behind that word.
func (s *scanner) setval() {
	t := s.next()
	if !isMark(t, '(') {
		s.unexpected(t, "SETVAL")
	}
	s.qualified(s.next())
	for t = s.next(); !isMark(t, ')'); t = s.next() {
		if t.kind != word && !isMark(t, ',') && !isMark(t, '-') {
			s.unexpected(t, "SETVAL")
		}
	}
	s.endsHere("SETVAL")
}

// databaseName reads the name of a database and renames it.
func (s *scanner) databaseName(t token) {
	if t.kind != word && t.kind != name {
		s.unexpected(t, "the place of a database")
	}
	s.settled(t)
	s.scratch = s.identifier(s.scratch[:0], t)
	s.rename(t, s.scratch)
}

// createTable passes over CREATE TABLE, behind that. replace says that a table of that name makes room for the new one, temporary that it
// comes back some day.
func (s *scanner) createTable(replace, temporary bool) {
	t := s.optional(s.next(), "IF", "NOT", "EXISTS")
	s.qualified(t)
	target, at := s.rules(t, true), t.from
	switch {
	case target && temporary:
		s.fail(at, "a temporary table with the name of a table that a rule names")
	case target && s.unsure: // which columns the others' table has is not known
		s.fail(at, "a table that a rule names, and that not every server makes")
	}
	t = s.next()
	if !isMark(t, '(') {
		if target {
			s.fail(t.from, "CREATE TABLE without a list of columns")
		}
		if t.kind != delimiter {
			s.pass(t)
			s.toEnd()
		}
		return
	}
	key := string(s.key())
	given := s.given()
	cols := s.definitions(target)
	if others := s.tableOptions(target); others {
		s.addView(at, key)
	}
	if !target {
		return
	}
	for _, i := range s.plan.rules {
		if !slices.Contains(cols.names, s.rw.rules[i].folded) {
			s.fail(at, "the table has no column %q, which a rule names", s.rw.rules[i].Column.Column)
		}
	}
	if given != nil && !slices.Equal(given, cols.names) {
		s.fail(at, "the columns are not those that were given")
	}
	old := s.created[key]
	if old != nil && !replace && (old.dropped || !slices.Equal(old.names, cols.names)) {
		s.fail(at, "the table was created before, with other columns, or is dropped by some servers only")
	}
	if old == nil || replace {
		s.created[key] = cols // else the server has done nothing
	}
}

// definitions passes over the columns and keys of CREATE TABLE, behind the opening parenthesis. Columns are collected for a target only.
func (s *scanner) definitions(target bool) *columns {
	cols := &columns{}
	begins, typed := true, true   // a definition begins here; the type of its column has been seen
	column := false               // it is that of a column of the target
	var typ *columnType           // that type, where it is described
	named, inside := false, false // its name stands before the token; the token is in its parentheses
	for depth := 1; depth > 0; {
		t, opens := s.next(), named
		named = false
		if target && depth == 1 && (begins || isMark(t, ',') || isMark(t, ')')) {
			s.certain(t)
		}
		switch {
		case t.kind == end || t.kind == delimiter:
			s.unexpected(t, "CREATE TABLE")
		case begins:
			begins, column = false, false
			if t.kind != name && t.kind != word {
				s.unexpected(t, "the place of a column")
			}
			if t.kind == word && s.isOne(t, "PRIMARY", "KEY", "INDEX", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN", "CONSTRAINT", "CHECK") {
				break
			}
			if t.kind == word && target && s.isOne(t, "PERIOD", "VECTOR") {
				if t = s.next(); !s.isOne(t, "FOR", "KEY", "INDEX") {
					s.unexpected(t, "PERIOD or VECTOR: a column of that name needs quotes")
				}
				break
			}
			if t.kind == word && s.isOne(t, "LIKE", "SELECT", "WITH", "VALUES", "TABLE") {
				if target {
					s.fail(t.from, "CREATE TABLE from another table")
				}
				break
			}
			if !target {
				break
			}
			if t.version {
				s.fail(t.from, "a column in a version comment: some servers have it, some do not")
			}
			s.scratch = s.identifier(s.scratch[:0], t)
			cols.names = append(cols.names, fold(string(s.scratch)))
			cols.types = append(cols.types, unknown)
			typed, column = false, true
		case !typed:
			typed = true
			if t.kind == word && !t.version {
				typ, named = newType(s.bytes(t)), true
				cols.types[len(cols.types)-1] = typ
			}
		case isMark(t, '('):
			depth++
			inside = opens
		case isMark(t, ')'):
			depth--
			inside = false
		case isMark(t, ',') && depth == 1:
			begins, typ = true, nil
		case s.is(t, "INVISIBLE") && depth == 1 && column:
			cols.invisible = true
		case s.is(t, "REFERENCES") && depth == 1:
			s.otherTable(s.next())
		case s.isOne(t, "NEXTVAL", "LASTVAL") && s.parenFollows(): // of a sequence, in a default
			s.next()
			depth++
			s.otherTable(s.next())
		default:
			if typ != nil && (inside || depth == 1) {
				typ.describe(s, t, inside)
			}
			s.pass(t)
		}
	}
	return cols
}

// otherTable reads the name of a table, or a sequence, that is not the statement's.
func (s *scanner) otherTable(t token) { s.qualified(t) }

// parenFollows says whether the next byte that is neither white space nor comment is an opening parenthesis.
func (s *scanner) parenFollows() bool {
	c, _ := s.gap()
	return c == '('
}

// tableOptions passes over what follows the columns of CREATE TABLE, and says whether the table's rows are those of others, as with MERGE.
func (s *scanner) tableOptions(target bool) (others bool) {
	for depth := 0; ; {
		t := s.next()
		switch {
		case t.kind == delimiter:
			return others
		case isMark(t, '('):
			depth++
		case isMark(t, ')'):
			depth--
		case s.is(t, "UNION") && depth == 0:
			others = true
		case target && (depth == 0 && s.isOne(t, "AS", "LIKE", "VALUES") || s.isOne(t, "SELECT", "TABLE")):
			s.fail(t.from, "CREATE TABLE from another table")
		case target && s.is(t, "VALUES"):
			at := t.from
			if t = s.next(); !s.isOne(t, "LESS", "IN") { // of a partition
				s.fail(at, "CREATE TABLE from another table")
			}
		default:
			s.pass(t)
		}
	}
}

func (s *scanner) drop() {
	first := s.next()
	t := s.optional(first, "TEMPORARY")
	s.settled(t)
	forget, view := t == first && s.isOne(t, "TABLE", "TABLES"), s.is(t, "VIEW")
	switch {
	case s.isOne(t, "TABLE", "TABLES", "VIEW", "SEQUENCE"):
		t = s.optional(s.next(), "IF", "EXISTS")
		for {
			s.qualified(t)
			switch key := string(s.key()); {
			case s.unsure && s.created[key] != nil:
				s.created[key].dropped = true
			case s.unsure:
			case forget:
				delete(s.created, key)
			case view:
				delete(s.views, key)
			}
			if t = s.next(); !isMark(t, ',') {
				break
			}
			t = s.next()
		}
		if s.isOne(t, "RESTRICT", "CASCADE") {
			t = s.next()
		}
		if t.kind != delimiter {
			s.unexpected(t, "DROP")
		}
	case s.isOne(t, "DATABASE", "SCHEMA"):
		s.databaseName(s.optional(s.next(), "IF", "EXISTS"))
		in := string(s.scratch) + "\x00"
		maps.DeleteFunc(s.created, func(key string, c *columns) bool {
			here := strings.HasPrefix(key, in)
			c.dropped = c.dropped || here && s.unsure
			return here && !s.unsure
		})
		maps.DeleteFunc(s.views, func(key string, _ bool) bool { return strings.HasPrefix(key, in) && !s.unsure })
		s.endsHere("DROP DATABASE")
	case s.isOne(t, "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"):
		t = s.optional(s.next(), "BODY")
		s.qualified(s.optional(t, "IF", "EXISTS"))
		s.endsHere("DROP")
	case s.isOne(t, "USER", "ROLE", "SERVER", "INDEX"):
		s.toEnd()
	default:
		s.unexpected(t, "DROP")
	}
}

func (s *scanner) alter() {
	t := s.next()
	s.settled(t)
	if s.isOne(t, "DATABASE", "SCHEMA") {
		s.databaseName(s.next())
		s.toEnd()
		return
	}
	if s.is(t, "USER") {
		s.toEnd()
		return
	}
	if !s.is(t, "TABLE") {
		s.unexpected(t, "ALTER: only TABLE, DATABASE and USER are understood")
	}
	t = s.optional(s.next(), "IF", "EXISTS")
	s.qualified(t)
	target := s.rules(t, true)
	begins := true
	for depth := 0; ; {
		t = s.next()
		switch {
		case t.kind == end:
			s.truncated("a statement")
		case t.kind == delimiter:
			return
		case begins && target:
			s.alterTarget(t)
			begins = false
		case isMark(t, '('):
			depth++
		case isMark(t, ')'):
			depth--
		case isMark(t, ',') && depth == 0:
			begins = true
		case s.isOne(t, "RENAME", "EXCHANGE") && depth == 0:
			s.fail(t.from, "ALTER TABLE that gives a table another name")
		case s.is(t, "CONVERT") && depth == 0:
			if to := s.next(); !s.is(to, "TO") { // a charset
				s.fail(t.from, "ALTER TABLE that makes a table of a partition, or the reverse")
			}
		case s.is(t, "UNION") && depth == 0:
			s.fail(t.from, "ALTER TABLE of a table that has its rows in others")
		case s.is(t, "REFERENCES") && depth == 0:
			s.otherTable(s.next())
		default:
			s.pass(t)
		}
	}
}

// alterTarget looks at the beginning of a clause of ALTER TABLE for a table that a rule names: keys may come and go, columns stay.
func (s *scanner) alterTarget(t token) {
	s.certain(t)
	switch {
	case s.isOne(t, "DISABLE", "ENABLE"):
		if t = s.next(); s.is(t, "KEYS") {
			return
		}
	case s.is(t, "ADD"):
		t = s.next()
		s.certain(t)
		if s.isOne(t, "KEY", "INDEX", "UNIQUE", "PRIMARY", "FULLTEXT", "SPATIAL", "FOREIGN", "CONSTRAINT") {
			return
		}
	case s.is(t, "AUTO_INCREMENT"):
		return
	}
	s.fail(t.from, "ALTER of a table that a rule names, other than of its keys")
}

func (s *scanner) lock() {
	if t := s.next(); !s.isOne(t, "TABLES", "TABLE") {
		s.unexpected(t, "LOCK")
	}
	for {
		s.qualified(s.next())
		t := s.next()
		for t.kind == word || t.kind == name {
			t = s.next()
		}
		if t.kind == delimiter {
			return
		}
		if !isMark(t, ',') {
			s.unexpected(t, "LOCK TABLES")
		}
	}
}

// The statements below change rows that are in the server already, of which nothing is known here.

func (s *scanner) update() {
	t := s.optional(s.optional(s.next(), "LOW_PRIORITY"), "IGNORE")
	s.onlyOthers(t)
	if t = s.next(); !s.is(t, "SET") {
		s.unexpected(t, "UPDATE: one table and SET are understood")
	}
	s.settled(t)
	s.toEnd()
}

func (s *scanner) delete() {
	t := s.next()
	for s.isOne(t, "LOW_PRIORITY", "QUICK", "IGNORE") {
		t = s.next()
	}
	if !s.is(t, "FROM") {
		s.unexpected(t, "DELETE: one table behind FROM is understood")
	}
	s.onlyOthers(s.next())
	if t = s.next(); t.kind == delimiter {
		return
	}
	if !s.isOne(t, "WHERE", "ORDER", "LIMIT") {
		s.unexpected(t, "DELETE: one table behind FROM is understood")
	}
	s.settled(t)
	s.toEnd()
}

func (s *scanner) truncate() {
	s.qualified(s.optional(s.next(), "TABLE"))
	s.endsHere("TRUNCATE")
}

func (s *scanner) renameTable() {
	if t := s.next(); !s.isOne(t, "TABLE", "TABLES") {
		s.unexpected(t, "RENAME")
	}
	for {
		s.onlyOthers(s.next())
		if t := s.next(); !s.is(t, "TO") {
			s.unexpected(t, "RENAME TABLE")
		}
		s.onlyOthers(s.next())
		t := s.next()
		if t.kind == delimiter {
			return
		}
		if !isMark(t, ',') {
			s.unexpected(t, "RENAME TABLE")
		}
	}
}

// onlyOthers reads the name of a table, and stops at one that a rule names.
func (s *scanner) onlyOthers(t token) {
	s.qualified(t)
	s.noView(t)
	if s.rules(t, true) {
		s.fail(t.from, "a statement about rows that are not in the input, for a table that a rule names")
	}
}

// noView stops at the name of a view, whose rows are those of another table.
func (s *scanner) noView(t token) {
	if len(s.views) > 0 && s.views[string(s.key())] {
		s.fail(t.from, "rows of a view")
	}
}
