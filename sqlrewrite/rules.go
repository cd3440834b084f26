package sqlrewrite

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Policy says what to do with what no rule names. The zero value is a default, which each use documents.
type Policy string

const (
	Refuse Policy = "refuse" // stop with an error
	Pass   Policy = "pass"   // copy it as it is
)

// Rules say which values of which columns to replace. They are data: literals in a test, JSON in a file.
type Rules struct {
	Columns []Column `json:"rules"`
	// Databases renames databases in USE, in CREATE, ALTER and DROP DATABASE, and before the dot of qualified names. The bodies of views,
	// triggers and routines stay as they are. Rules and Context speak of a database by the name that it has in the input. No two databases
	// become one: a database in the input that has another's new name, and keeps it, is an error.
	Databases map[string]string `json:"databases,omitempty"`
	Context   Context           `json:"context,omitzero"`
	// Unknown is the policy for statements that make, alter or fill a table that no rule names. Default: Pass.
	Unknown Policy `json:"unknown,omitempty"`
}

// A Column maps the values of one column. Keys and values are text as a client prints them, not SQL. NULL never matches.
type Column struct {
	Database string `json:"database,omitempty"` // "": this table in every database
	Table    string `json:"table"`              // case matters
	Column   string `json:"column"`             // case does not matter
	// Map says what becomes of a value. A value is mapped once: {"1": "2", "2": "1"} swaps.
	Map map[string]string `json:"map,omitempty"`
	// Func, where there is no Map, is called for values that are not NULL, with their text as a client prints it; ok false says that there is
	// no entry. It must be safe for as many goroutines as use the Rewriter, and answer alike when it is asked again. Where CREATE TABLE has
	// not said the type, it is asked about a number in an odd spelling twice, as it stands and as a number is printed, and two answers are an
	// error: '007' may be 7.
	Func func(value string) (to string, ok bool) `json:"-"`
	// Unmapped is the policy for a value without an entry. Default: Refuse, because an id that stays gives one user's mail to another.
	Unmapped Policy `json:"unmapped,omitempty"`
}

// A Context is what an input does not say itself.
type Context struct {
	Database string `json:"database,omitempty"` // the current database where the input begins
	Charset  string `json:"charset,omitempty"`  // of the connection where the input begins; default utf8mb4
	// Columns names the columns of tables, in order, for data without CREATE TABLE and without column lists. A key is "table", or
	// "database.table", divided at its first dot. Only tables that a rule names need it, and others are a mistake.
	Columns map[string][]string `json:"columns,omitempty"`
}

// A Rewriter applies compiled rules. It keeps no state: many goroutines may use it.
type Rewriter struct {
	rules     []rule
	tables    map[string][]int // indexes of rules, by table
	databases map[string]string
	taken     map[string]bool                // new names of databases, except those that are renamed themselves
	given     map[string]map[string][]string // folded columns by table and database; "" is any database
	unknown   Policy
	database  string
	charset   *charset
	nonASCII  bool // some name in the rules is foreign
}

// A rule is a Column, prepared.
type rule struct {
	Column
	folded   string
	numbers  map[string]string // keys by the number that they are; "" where several are the same
	nonASCII bool              // some key is foreign
}

// Compile checks the rules and returns a Rewriter for them, or an error that names every mistake in them, joined by errors.Join. The
// Rewriter does not see later changes to the rules.
func Compile(rules Rules) (*Rewriter, error) {
	c := compiler{r: &Rewriter{
		tables:    map[string][]int{},
		databases: maps.Clone(rules.Databases),
		taken:     map[string]bool{},
		given:     map[string]map[string][]string{},
		database:  rules.Context.Database,
		charset:   utf8mb4,
	}}
	c.r.unknown = c.policy("unknown", rules.Unknown, Pass)
	for i := range rules.Columns {
		c.column(i, rules.Columns[i])
	}
	c.databases(rules.Databases)
	if c.r.database != "" {
		c.name("context", "database", c.r.database)
	}
	if c.r.taken[c.r.database] {
		c.mistake("context: another database is renamed to %q", c.r.database)
	}
	if name := rules.Context.Charset; name != "" {
		if c.r.charset = findCharset(name); c.r.charset == nil {
			c.mistake("context: the charset %q is not known, or cannot be a connection's", name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rules.Context.Columns)) {
		c.given(key, rules.Context.Columns[key])
	}
	if len(c.mistakes) > 0 {
		return nil, errors.Join(c.mistakes...)
	}
	return c.r, nil
}

// A compiler collects mistakes.
type compiler struct {
	r        *Rewriter
	mistakes []error
}

func (c *compiler) mistake(format string, args ...any) {
	c.mistakes = append(c.mistakes, fmt.Errorf("sqlrewrite: "+format, args...))
}

func (c *compiler) name(where, what, s string) {
	switch {
	case s == "":
		c.mistake("%s: no %s", where, what)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		c.mistake("%s: the %s %q is not a name", where, what, s)
	case foreign(s):
		c.r.nonASCII = true
	}
}

func (c *compiler) policy(where string, p, standard Policy) Policy {
	switch p {
	case "":
		return standard
	case Pass, Refuse:
	default:
		c.mistake("%s: %q is neither %q nor %q", where, p, Refuse, Pass)
	}
	return p
}

func (c *compiler) column(i int, col Column) {
	where := fmt.Sprintf("rule %d (%s)", i+1, strings.TrimPrefix(col.Database+"."+col.Table+"."+col.Column, "."))
	if col.Database != "" {
		c.name(where, "database", col.Database)
	}
	c.name(where, "table", col.Table)
	c.name(where, "column", col.Column)
	switch {
	case len(col.Map) == 0 && col.Func == nil:
		c.mistake("%s: neither a map of values nor a function", where)
	case col.Map != nil && col.Func != nil:
		c.mistake("%s: both a map of values and a function", where)
	}
	col.Unmapped = c.policy(where+": unmapped", col.Unmapped, Refuse)
	col.Map = maps.Clone(col.Map)
	ru := rule{Column: col, folded: fold(col.Column)}
	ru.index()
	for j, other := range c.r.rules {
		if other.Table == col.Table && other.folded == ru.folded && (other.Database == col.Database || other.Database == "" || col.Database == "") {
			c.mistake("%s: rule %d is about the same column", where, j+1)
		}
	}
	c.r.tables[col.Table] = append(c.r.tables[col.Table], i)
	c.r.rules = append(c.r.rules, ru)
}

// databases looks at the renames. Two databases must not become one.
func (c *compiler) databases(renames map[string]string) {
	by := map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(renames)) {
		to, where := renames[from], fmt.Sprintf("databases: %q", from)
		c.name(where, "old name", from)
		c.name(where, "new name", to)
		if other, ok := by[to]; ok {
			c.mistake("%s: %q is renamed to %q, too", where, other, to)
		}
		by[to] = from
		if _, ok := renames[to]; !ok {
			c.r.taken[to] = true
		}
	}
}

// given adds a list of columns from the Context.
func (c *compiler) given(key string, columns []string) {
	where := fmt.Sprintf("context: columns of %q", key)
	database, table, qualified := strings.Cut(key, ".")
	if qualified {
		c.name(where, "database", database)
	} else {
		database, table = "", key
	}
	c.name(where, "table", table)
	if len(columns) == 0 {
		c.mistake("%s: none", where)
	}
	folded := make([]string, len(columns))
	for i, col := range columns {
		c.name(where, "column", col)
		if folded[i] = fold(col); slices.Contains(folded[:i], folded[i]) {
			c.mistake("%s: %q twice", where, col)
		}
	}
	named := false
	for _, i := range c.r.tables[table] {
		ru := &c.r.rules[i]
		if table == "" || database != "" && ru.Database != "" && ru.Database != database {
			continue
		}
		named = true
		if !slices.Contains(folded, ru.folded) {
			c.mistake("%s: no %q, which rule %d names", where, ru.Column.Column, i+1)
		}
	}
	if !named && table != "" {
		c.mistake("%s: no rule names the table", where)
	}
	if c.r.given[table] == nil {
		c.r.given[table] = map[string][]string{}
	}
	c.r.given[table][database] = folded
}

// index prepares the search for numbers by what they mean.
func (ru *rule) index() {
	ru.numbers = map[string]string{}
	for from := range ru.Map {
		ru.nonASCII = ru.nonASCII || foreign(from)
		var n number
		if !n.parse([]byte(from)) {
			continue
		}
		canonical := n.canonical(nil)
		if canonical == nil {
			continue
		}
		if _, twice := ru.numbers[string(canonical)]; twice {
			from = "" // "1" and "01" are two texts and one number: only the texts can be told apart
		}
		ru.numbers[string(canonical)] = from
	}
}

// fold brings a column's name to the form in which the server compares it.
func fold(s string) string { return strings.ToLower(s) }

// foreign says whether bytes that are not ASCII may be this text in some charset. sjis and ujis have a second backslash.
func foreign(s string) bool { return !ascii(s) || strings.Contains(s, `\`) }

func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
