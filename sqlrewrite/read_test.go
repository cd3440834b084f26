package sqlrewrite_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/sqlrewrite"
)

func TestReadRules(t *testing.T) {
	rules, err := sqlrewrite.ReadRules(strings.NewReader(`{
		"rules": [{"database": "", "table": "t", "column": "C", "map": {"A": "1", "a": "2", "map": "map", "Ü": "ß\n"}, "unmapped": "pass"}],
		"databases": {"D": "d"}, "context": {"database": "D", "charset": "utf8", "columns": {"D.T": ["A", "b"]}}, "unknown": "refuse"}
	`))
	require.NoError(t, err)
	require.Equal(t, sqlrewrite.Rules{
		Columns:   []sqlrewrite.Column{{Table: "t", Column: "C", Map: map[string]string{"A": "1", "a": "2", "map": "map", "Ü": "ß\n"}, Unmapped: sqlrewrite.Pass}},
		Databases: map[string]string{"D": "d"},
		Context:   sqlrewrite.Context{Database: "D", Charset: "utf8", Columns: map[string][]string{"D.T": {"A", "b"}}},
		Unknown:   sqlrewrite.Refuse,
	}, rules)
}

func TestReadRulesRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "unexpected EOF"},
		{"{", "line 1: unexpected EOF"},
		{"[]", "cannot"},
		{"{}\n{}", "line 1: something behind the rules"},
		{"{} x", "something behind the rules"},
		{`{"rules":[{"table":"t","colum":"c"}]}`, `unknown field "colum"`},
		{"{\n\"Rules\":[]}", `line 2: unknown field "Rules"`},
		{`{"rules":[{"Table":"t"}]}`, `unknown field "Table"`},
		{`{"context":{"Database":"t"}}`, `unknown field "Database"`},
		{`{"rules":[{"map":{"1":"2","2":"3","1":"3"}}]}`, `"1" stands twice`},
		{`{"rules":[{"map":{"1":"2","\u0031":"3"}}]}`, `"1" stands twice`},
		{`{"rules":[],"rules":[]}`, `"rules" stands twice`},
		{`{"databases":{"a":"b","a":"b"}}`, `"a" stands twice`},
		{"{\"rules\":[{\n\"map\":{\"1\":2}}]}", `line 2: "rules.map" cannot be a number`},
		{"{\"unknown\":\"\xff\"}", "not UTF-8"},
	} {
		rules, err := sqlrewrite.ReadRules(strings.NewReader(c.in))
		require.ErrorContains(t, err, c.want, c.in)
		require.True(t, strings.HasPrefix(err.Error(), "sqlrewrite: rules: "), err.Error())
		require.Zero(t, rules, c.in)
	}
	_, err := sqlrewrite.ReadRules(iotest.ErrReader(errDisk))
	require.True(t, errors.Is(err, errDisk), err)
}
