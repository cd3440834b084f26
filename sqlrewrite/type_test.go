package sqlrewrite_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/sqlrewrite"
)

// spellings are values of columns by their types: those that dumps write, and those that the server would turn into others.
var spellings = []struct {
	typ           string
	kept, refused string // divided by blanks, of which ~ is one in a value
}{
	{"int(11) NOT NULL DEFAULT '0'", "0 -5 2147483647 -2147483648 7.0 '5' 0005 NULL 12e1", "'' 'abc' '1234x' '~' 1234.4 '1234.4' 2147483648 -2147483649 1e10 0x04d2"},
	{"int(10) unsigned", "0 4294967295", "-1 4294967296 -1234"},
	{"tinyint(1)", "-128 127", "128 -129 1234"},
	{"bigint unsigned", "18446744073709551615", "18446744073709551616 -1"},
	{"bigint(20)", "9223372036854775807 -9223372036854775808", "9223372036854775808"},
	{"serial", "1", "-1"},
	{"decimal(6,2)", "12.35 1.00 0.50 -9999.99 '1.00' 5 5.000", "12.345 10000.00 '' 'x' 0x31"},
	{"decimal(6,2) unsigned", "9999.99", "-1.00"},
	{"decimal", "1234567890", "12345678901 1.5"},
	{"float", "16777200 0.00001 1e15 1.23457e-10 -1.5", "16777216 1234.567 'x' ''"},
	{"float(10,2)", "1234567.88 100000000.00", "1.234"},
	{"double", "1.2345678901234568e17 0.1 1e-16", "0.10000000000000000555 ''"},
	{"double precision", "0.1", "0.10000000000000000555"},
	{"year(4)", "0000 1901 2155 '2024'", "0 69 '69' 1234 2156 20240 '' 0x45"},
	{"year(2)", "69 07 2024", "7 690"},
	{"enum('a','2','it''s','Ä')", "'a' '2' 'it\\'s' '' 'Ä'", "'A' '3' '1' 2 'a~' 'x' 0x33 1234"},
	{"set('a','b','c')", "'' 'a' 'a,c' 'a,b,c' 'Ä'", "'c,a' 'a,a' '3' 'a,' ',' 3"},
	{"date", "'2024-02-29' '0000-00-00'", "'2024-2-29' '20240229' '24-02-29' '2024-13-01' '2024-01-32' '2024-02-29~10:00:00' '' 20240229"},
	{"datetime", "'2024-02-29~10:00:00'", "'2024-02-29' '2024-02-29T10:00:00' '2024-02-29~10:00:00.5' '2024-02-29~24:00:00' '2024-02-29~10:60:00' '2024-02-29~010:00:00' '2024-02-29~10:00:00+02:00' ''"},
	{"timestamp(3) NULL", "'2024-02-29~10:00:00.123' NULL", "'2024-02-29~10:00:00' '2024-02-29~10:00:00.1234'"},
	{"time", "'10:00:00' '-838:59:59'", "'1:00:00' '010:00:00' '10:00' '10:00:60' 100000 '1234'"},
	{"time(2)", "'01:02:03.45'", "'01:02:03'"},
	{"char(5)", "'abc' '' 'äöüßé' 12 234.5 0x61", "'abc~' 'abcdef' 'äöüßéa' 007 1.50 1e3 123456"},
	{"char", "'a'", "'ab'"},
	{"varchar(5)", "'abc~' 'äöüßé'", "'abcdef' 'abc~~~' 00001"},
	{"text", "'abc~' 12", "012 1e1"},
	{"binary(4)", "'a\\0\\0\\0' 0x61000000 _binary~'abcd'", "'a' 0x61 'abcde' 97"},
	{"bit(9)", "'\\0a' 0x0061", "'a' '1234' 1234"},
	{"uuid", "'123e4567-e89b-12d3-a456-426655440000'", "'123E4567-E89B-12D3-A456-426655440000' '123e4567e89b12d3a456426655440000' ''"},
	{"inet6", "'::1' 'fe80::1' '::ffff:1.2.3.4' '::1.2.3.4'", "'0:0:0:0:0:0:0:1' 'FE80::1' '::0001' '::0.0.0.1' 'fe80::1%eth0'"},
	{"inet4", "'1.2.3.4'", "'1.2.3' '01.2.3.4'"},
	{"point", "0x0000 'x' 5", ""},
	{"/*!50000 int */", "'x'", ""},
	{"int /*!50000 unsigned */ zerofill COMMENT '(5'", "00005", "-5"},
}

func TestSpellings(t *testing.T) {
	input := func(typ, v string) string {
		return "CREATE TABLE t (a enum('x','y'), id " + typ + ", KEY (id), CHECK (id > (1)));\nINSERT INTO t VALUES (1," + strings.ReplaceAll(v, "~", " ") + ");"
	}
	for _, c := range spellings {
		for v := range strings.FieldsSeq(c.kept) {
			in := input(c.typ, v)
			out, _, err := rewrite(t, passRules(), in)
			require.NoError(t, err, in)
			require.Equal(t, in, out)
		}
		for v := range strings.FieldsSeq(c.refused) {
			_, _, err := rewrite(t, passRules(), input(c.typ, v))
			var syntax *sqlrewrite.SyntaxError
			require.ErrorAs(t, err, &syntax, "%s: %s", c.typ, v)
			require.Contains(t, syntax.Msg, `column "id": `, "%s: %s", c.typ, v)
		}
	}
}

// TestFuncSpellings: a function is given what a client would print.
func TestFuncSpellings(t *testing.T) {
	rules := sqlrewrite.Rules{Columns: []sqlrewrite.Column{{Table: "t", Column: "id", Unmapped: sqlrewrite.Pass, Func: func(v string) (string, bool) {
		return v + "9", v == strings.TrimLeft(strings.TrimSpace(v), "0\x04") && v != "" && !strings.HasPrefix(v, "77") // as one might write it
	}}}}
	for _, c := range []struct{ typ, kept, refused string }{
		{"", "1234 'ab' -7 '1234' 1.5 'x~' 0077 77.0 0x4142", "01234 1234.00 1.234e3 +7 '1234~' '~1234' '01234' '1e1' 0x4D2 0x04D2 1e20"},
		{"int", "1234 -5 '12'", "01234 12.0 1.2e1 -0 '012' 0xc"},
		{"int(5) unsigned zerofill", "01234 99999 '01234' 123456", "1234 012345"},
		{"decimal(6,2)", "12.50 0.10 -0.10", "12.5 12 012.50 -0.00 1.25e1 .50"},
		{"decimal(6,2) zerofill", "0012.50", "12.50 00012.50"},
		{"double", "12.5 1e20 1.5e-7 0.5", "12.50 1e3 1.50e20 15e20 .5 -0"},
		{"float(10,2)", "12.50", "12.5 1e3"},
		{"year(4)", "2024", "24"},
		{"varchar(9)", "'01234' '1234~' '' 12 0x4D2", "012 12.0"},
	} {
		create := ""
		if c.typ != "" {
			create = "CREATE TABLE t (id " + c.typ + ");"
		}
		for v := range strings.FieldsSeq(c.kept) {
			_, _, err := rewrite(t, rules, create+"INSERT INTO t (id) VALUES ("+strings.ReplaceAll(v, "~", " ")+");")
			require.NoError(t, err, "%s: %s", c.typ, v)
		}
		for v := range strings.FieldsSeq(c.refused) {
			_, _, err := rewrite(t, rules, create+"INSERT INTO t (id) VALUES ("+strings.ReplaceAll(v, "~", " ")+");")
			require.Error(t, err, "%s: %s", c.typ, v)
		}
	}
}

// TestEmptyNull: an empty string is NULL in the sql_mode EMPTY_STRING_IS_NULL.
func TestEmptyNull(t *testing.T) {
	rules := passRules()
	rules.Columns[0].Map = map[string]string{"": "empty", "x": ""}
	for in, ok := range map[string]bool{
		"INSERT INTO t (id) VALUES (''),('x');": true,
		"SET @m=@@sql_mode,sql_mode='EMPTY_STRING_IS_NULL';SET sql_mode=@m;INSERT INTO t (id) VALUES ('');":                     true,
		"SET sql_mode='EMPTY_STRING_IS_NULL';INSERT INTO t (id) VALUES ('y',NULL);INSERT INTO t (a,id) VALUES ('','y');":        false, // two values
		"SET sql_mode='EMPTY_STRING_IS_NULL';INSERT INTO t (id) VALUES ('y'),(NULL);INSERT INTO t (a,id) VALUES ('','y');":      true,
		"SET sql_mode='EMPTY_STRING_IS_NULL';INSERT INTO t (id) VALUES ('');":                                                   false,
		"SET sql_mode='EMPTY_STRING_IS_NULL';INSERT INTO t (id) VALUES (_binary '');":                                           false,
		"SET sql_mode='EMPTY_STRING_IS_NULL';INSERT INTO t (id) VALUES ('x');":                                                  false,
		"SET sql_mode='EMPTY_STRING_IS_NULL';INSERT INTO t (id) VALUES (0x78);":                                                 false,
		"SET sql_mode='EMPTY_STRING_IS_NULL';SET @m=@@sql_mode;SET sql_mode='';SET sql_mode=@m;INSERT INTO t (id) VALUES ('');": false,
	} {
		_, _, err := rewrite(t, rules, in)
		require.Equal(t, ok, err == nil, "%s: %v", in, err)
	}
}
