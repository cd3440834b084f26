package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/zmlift/zmlift/ldapattr"
)

// A reader reads a TOML file key by key, so that one mistake does not hide the next.
type reader struct {
	md       toml.MetaData
	getenv   func(string) string
	mistakes []mistake
}

type mistake struct {
	line int // 0: of the file as a whole
	text string
}

func (m mistake) String() string {
	if m.line == 0 {
		return m.text
	}
	return fmt.Sprintf("line %d: %s", m.line, m.text)
}

// A configError names every mistake of a configuration file. It holds no value of a secret.
type configError struct {
	file     string
	mistakes []mistake
}

func (e *configError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "configuration %s:", e.file)
	for _, m := range e.mistakes {
		b.WriteString("\n  " + m.String())
	}
	return b.String()
}

// err returns the mistakes in the order of the file.
func (r *reader) err(file string) error {
	if len(r.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(r.mistakes, func(a, b mistake) int { return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.text, b.text)) })
	return &configError{file, slices.Compact(r.mistakes)}
}

// A table is a part of the file: [ldap], or the file itself.
type table struct {
	r     *reader
	path  toml.Key
	line  int
	keys  map[string]toml.Primitive
	known []string // that somebody asked for
}

// newReader reads the file as a whole. A syntax error is all that can be said about the file then.
func newReader(text string, getenv func(string) string) (*reader, *table, error) {
	r := &reader{getenv: getenv}
	t := &table{r: r}
	md, err := toml.Decode(text, &t.keys)
	var syntax toml.ParseError
	switch {
	case errors.As(err, &syntax):
		m := mistake{syntax.Position.Line, "not TOML: " + quoted.ReplaceAllString(syntax.Message, "…")}
		return nil, nil, &configError{mistakes: []mistake{m}}
	case err != nil:
		return nil, nil, &configError{mistakes: []mistake{{text: "not TOML"}}}
	}
	r.md = md
	return r, t, nil
}

// quoted is where a syntax error shows what stands in the file: it may be a password that somebody forgot to quote.
var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"|'[^']'`)

// name is a key of the table as a person writes it.
func (t *table) name(key string) string { return append(slices.Clone(t.path), key).String() }

// lineOf is where the key stands; the table's own line when it is not there.
func (t *table) lineOf(key string) int {
	p, ok := t.keys[key]
	if !ok {
		return t.line
	}
	// The library knows positions and tells them only with an error.
	var at toml.ParseError
	if errors.As(t.r.md.PrimitiveDecode(p, new(refuser)), &at) && at.Position.Line > 0 {
		return at.Position.Line
	}
	return t.line
}

type refuser struct{}

func (*refuser) UnmarshalTOML(any) error { return errors.New("refused") }

// wrong notes a mistake about a key.
func (t *table) wrong(key, format string, args ...any) {
	t.r.mistakes = append(t.r.mistakes, mistake{t.lineOf(key), t.name(key) + ": " + fmt.Sprintf(format, args...)})
}

func (t *table) has(key string) bool {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
	}
	_, ok := t.keys[key]
	return ok
}

// value decodes a key; false when it is absent or no such value.
func (t *table) value(key, want string, v any) bool {
	if !t.has(key) {
		return false
	}
	if err := t.r.md.PrimitiveDecode(t.keys[key], v); err != nil {
		t.wrong(key, "want %s", want)
		return false
	}
	return true
}

// text returns a string; "" when it is absent.
func (t *table) text(key string) (s string) {
	t.value(key, "a string", &s)
	return s
}

// required returns a string that must be there.
func (t *table) required(key string) (s string) {
	if !t.has(key) {
		t.wrong(key, "missing")
		return ""
	}
	if t.value(key, "a string", &s) && s == "" {
		t.wrong(key, "is empty")
	}
	return s
}

// list returns a list of strings.
func (t *table) list(key string) (s []string) {
	t.value(key, `a list of strings, ["a", "b"]`, &s)
	return s
}

// file returns the name of a file; "" when it is absent.
func (t *table) file(key string) string {
	name := t.text(key)
	if name != "" && !filepath.IsAbs(name) {
		t.wrong(key, "want an absolute path, so that it does not matter where mover is started")
		return ""
	}
	return name
}

// secret returns x, which is given as x, x_file or x_env. The zero Secret after a mistake.
func (t *table) secret(key string) (s ldapattr.Secret) {
	var given []string
	for _, k := range []string{key, key + "_file", key + "_env"} {
		if t.has(k) {
			given = append(given, k)
		}
	}
	switch len(given) {
	case 0:
		t.wrong(key, "missing: give %s, %[1]s_file or %[1]s_env", key)
		return s
	case 1:
	default:
		t.wrong(given[1], "%s are given; give one of them", strings.Join(given, " and "))
		return s
	}
	text, ok := t.reveal(key, given[0])
	if ok && text == "" {
		t.wrong(given[0], "is empty")
		return s
	}
	return ldapattr.NewSecret(text)
}

// reveal follows a secret to where it is kept.
func (t *table) reveal(key, given string) (text string, ok bool) {
	switch given {
	case key + "_file":
		name := t.file(given)
		if name == "" {
			return "", false
		}
		b, err := readPrivate(name)
		if err != nil {
			t.wrong(given, "%v", err)
			return "", false
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if strings.ContainsAny(text, "\r\n") {
			t.wrong(given, "%s has more than one line", name)
			return "", false
		}
		return text, true
	case key + "_env":
		name := t.text(given)
		if name == "" {
			return "", false
		}
		if text = t.r.getenv(name); text == "" {
			t.wrong(given, "the environment variable %s is not set", name)
			return "", false
		}
		return text, true
	}
	ok = t.value(key, "a string", &text)
	return text, ok
}

// table returns the part of the file with that name; nil when it is absent.
func (t *table) table(key string) *table {
	sub := &table{r: t.r, path: append(slices.Clone(t.path), key), line: t.lineOf(key)}
	if !t.has(key) {
		return nil
	}
	// Decoding something else into a map is no error to the library. A table that is only implied has no type.
	if is := t.r.md.Type(sub.path...); is != "Hash" && is != "" {
		t.wrong(key, "want a table, [%s]", sub.path)
		return nil
	}
	if !t.value(key, "a table", &sub.keys) {
		return nil
	}
	return sub
}

// rest notes every key that nobody asked for.
func (t *table) rest() {
	slices.Sort(t.known)
	for _, key := range slices.Sorted(maps.Keys(t.keys)) {
		if !slices.Contains(t.known, key) {
			t.wrong(key, "unknown key; known are %s", strings.Join(t.known, ", "))
		}
	}
}

// readPrivate reads a file that nobody else may read.
func readPrivate(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := private(f.Stat()); err != nil {
		return nil, fmt.Errorf("%s %w: chmod go= %[1]s", name, err)
	}
	return io.ReadAll(f)
}

// private refuses a file that group or others may do anything with.
func private(fi os.FileInfo, err error) error {
	if err != nil {
		return err
	}
	if mode := fi.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("is open to others (mode %04o)", mode)
	}
	return nil
}
