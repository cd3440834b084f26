package sqlrewritetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zmlift/zmlift/sqlrewrite"
)

// A Change is one value that the rules replace, or one name of a database.
type Change struct {
	Table    string // "database.table", or "table" where no database is known; "" for the name of a database
	Column   string // as the rule spells it; "" for the name of a database
	Row      int64  // which of the table's rows in the input, counted from 1; 0 for the name of a database
	Old, New string // as text, not SQL
}

func (c Change) String() string {
	if c.Table == "" {
		return fmt.Sprintf("database %q: becomes %q", c.Old, c.New)
	}
	return fmt.Sprintf("%s, row %d, column %s: %q becomes %q", c.Table, c.Row, c.Column, c.Old, c.New)
}

// Check rewrites a dump and fails the test unless exactly these changes come about, in this order, and every other byte is as it was. The
// output must also be the same when the input comes byte by byte. It returns the output, and goes on after a difference; after an error of
// the rules or of the dump it ends the test.
func Check(t testing.TB, rules sqlrewrite.Rules, dump string, want ...Change) string {
	t.Helper()
	r, err := sqlrewrite.Compile(rules)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	var out, single bytes.Buffer
	stats, err := r.Rewrite(t.Context(), &out, strings.NewReader(dump))
	if err != nil {
		t.Fatalf("rewrite: %v", err)
	}
	if _, err := r.Rewrite(t.Context(), &single, iotest.OneByteReader(strings.NewReader(dump))); err != nil || !bytes.Equal(out.Bytes(), single.Bytes()) {
		t.Errorf("byte by byte the dump becomes something else, with error %v", err)
	}

	var expected strings.Builder // the dump with the changes
	at, n, values := 0, 0, int64(0)
	for c, err := range r.Changes(t.Context(), strings.NewReader(dump)) {
		if err != nil {
			t.Fatalf("changes: %v", err)
		}
		if got := (Change{c.Table, c.Column, c.Row, c.Old, c.New}); n >= len(want) {
			t.Errorf("unexpected: %v", got)
		} else if got != want[n] {
			t.Errorf("change %d\n got: %v\nwant: %v", n+1, got, want[n])
		}
		if n++; c.Column != "" {
			values++
		}
		offset := int(c.Offset)
		if offset < at || !strings.HasPrefix(dump[offset:], c.OldSQL) {
			t.Fatalf("a change at byte %d, where something else stands", offset)
		}
		expected.WriteString(dump[at:offset] + c.NewSQL)
		at = offset + len(c.OldSQL)
	}
	for _, c := range want[min(n, len(want)):] {
		t.Errorf("missing: %v", c)
	}
	for _, c := range stats.Changed {
		values -= c
	}
	if values != 0 {
		t.Errorf("the counts differ from the changes by %d", values)
	}
	expected.WriteString(dump[at:])
	if got := out.String(); got != expected.String() {
		i := 0
		for i < len(got) && i < expected.Len() && got[i] == expected.String()[i] {
			i++
		}
		t.Errorf("other bytes change, from byte %d of the output on", i)
	}
	return out.String()
}

// Refused rewrites a dump and fails the test unless it is refused. It returns the error, for a closer look.
func Refused(t testing.TB, rules sqlrewrite.Rules, dump string) *sqlrewrite.SyntaxError {
	t.Helper()
	r, err := sqlrewrite.Compile(rules)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	_, err = r.Rewrite(t.Context(), io.Discard, strings.NewReader(dump))
	var syntax *sqlrewrite.SyntaxError
	if !errors.As(err, &syntax) {
		t.Fatalf("the dump was not refused, error: %v", err)
	}
	return syntax
}
