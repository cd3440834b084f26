package sqlrewritetest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/sqlrewrite"
	"github.com/zmlift/zmlift/sqlrewrite/sqlrewritetest"
)

var rules = sqlrewrite.Rules{
	Columns: []sqlrewrite.Column{
		{Database: "shop", Table: "orders", Column: "customer", Map: map[string]string{"7": "1007", "8": "8"}},
		{Database: "shop", Table: "notes", Column: "Text", Map: map[string]string{"it's": "is"}, Unmapped: sqlrewrite.Pass},
	},
	Databases: map[string]string{"shop": "store"},
	Unknown:   sqlrewrite.Refuse,
}

const dump = "USE `shop`;\n" +
	"INSERT INTO `orders` (`id`,`customer`) VALUES (7,7),(8,8),(9,007);\n" +
	"INSERT INTO shop.notes (`text`) VALUES ('7'),('it\\'s');\n" +
	"INSERT INTO shop.notes (`text`) VALUES (0x69742773);\n"

var changes = []sqlrewritetest.Change{
	{Old: "shop", New: "store"},
	{Table: "shop.orders", Column: "customer", Row: 1, Old: "7", New: "1007"},
	{Table: "shop.orders", Column: "customer", Row: 3, Old: "007", New: "1007"},
	{Old: "shop", New: "store"},
	{Table: "shop.notes", Column: "Text", Row: 2, Old: "it's", New: "is"},
	{Old: "shop", New: "store"},
	{Table: "shop.notes", Column: "Text", Row: 3, Old: "it's", New: "is"},
}

func TestCheck(t *testing.T) {
	out := sqlrewritetest.Check(t, rules, dump, changes...)
	require.Equal(t, "USE `store`;\n"+
		"INSERT INTO `orders` (`id`,`customer`) VALUES (7,1007),(8,8),(9,1007);\n"+
		"INSERT INTO `store`.notes (`text`) VALUES ('7'),('is');\n"+
		"INSERT INTO `store`.notes (`text`) VALUES (0x6973);\n", out)
}

func TestRefused(t *testing.T) {
	err := sqlrewritetest.Refused(t, rules, "INSERT INTO shop.orders (customer) VALUES (7),\n(9);\n")
	require.Equal(t, 2, err.Line)
	require.Equal(t, "shop.orders", err.Table)
	sqlrewritetest.Refused(t, rules, "INSERT INTO other VALUES (7);\n")
}

// A recorder is a test that notes its failures.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// record returns what f's test said.
func record(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	func() {
		defer func() {
			if e := recover(); e != nil && e != any(r) {
				panic(e)
			}
		}()
		f(r)
	}()
	return strings.Join(r.said, "\n")
}

// TestFailures: each thing that is wrong fails a test.
func TestFailures(t *testing.T) {
	check := func(rules sqlrewrite.Rules, dump string, want ...sqlrewritetest.Change) string {
		return record(t, func(t testing.TB) { sqlrewritetest.Check(t, rules, dump, want...) })
	}
	require.Empty(t, check(rules, dump, changes...))
	require.Contains(t, check(rules, dump, changes[:6]...), `unexpected: shop.notes, row 3, column Text: "it's" becomes "is"`)
	require.Contains(t, check(rules, dump, append(changes[:7:7], changes[0])...), `missing: database "shop": becomes "store"`)
	other := append([]sqlrewritetest.Change(nil), changes...)
	other[1].Row = 2
	require.Contains(t, check(rules, dump, other...), `change 2`)
	require.Contains(t, check(rules, "UPDATE"), "rewrite: line 1")
	require.Contains(t, check(sqlrewrite.Rules{Unknown: "x"}, ""), "compile:")
	require.Contains(t, record(t, func(t testing.TB) { sqlrewritetest.Refused(t, rules, dump) }), "not refused")
}

// inExample stands for a test in the example, which has none.
type inExample struct{ testing.TB }

func (inExample) Helper()                           {}
func (inExample) Context() context.Context          { return context.Background() }
func (inExample) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (inExample) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
