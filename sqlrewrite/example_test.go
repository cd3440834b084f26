package sqlrewrite_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/zmlift/zmlift/sqlrewrite"
)

func Example() {
	r, err := sqlrewrite.Compile(sqlrewrite.Rules{
		Columns: []sqlrewrite.Column{
			{Table: "mail_item", Column: "mailbox_id", Map: map[string]string{"1234": "1052700"}},
			{Table: "mail_item", Column: "locator", Map: map[string]string{"1": "5", "3": "5"}},
		},
		Databases: map[string]string{"mboxgroup34": "mboxgroup7"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	dump := strings.NewReader("INSERT INTO `mboxgroup34`.`mail_item` (`mailbox_id`,`id`,`locator`,`subject`) VALUES\n" +
		"(1234,257,'1','Re: (1234,257) isn\\'t me'),\n" +
		"(1234,1234,NULL,NULL);\n" +
		"-- Dump completed on 2024-02-29 12:00:00\n")
	stats, err := r.Rewrite(context.Background(), os.Stdout, dump)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stats.Rows, "rows; changed values by rule:", stats.Changed, "complete:", stats.Complete)
	// Output:
	// INSERT INTO `mboxgroup7`.`mail_item` (`mailbox_id`,`id`,`locator`,`subject`) VALUES
	// (1052700,257,'5','Re: (1234,257) isn\'t me'),
	// (1052700,1234,NULL,NULL);
	// -- Dump completed on 2024-02-29 12:00:00
	// 2 rows; changed values by rule: [2 1] complete: true
}

// All mistakes come at once.
func ExampleCompile() {
	_, err := sqlrewrite.Compile(sqlrewrite.Rules{
		Columns: []sqlrewrite.Column{
			{Table: "mail_item", Column: "mailbox_id"},
			{Table: "mail_item", Map: map[string]string{"1": "2"}},
		},
		Context: sqlrewrite.Context{Charset: "utf16"},
	})
	fmt.Println(err)
	// Output:
	// sqlrewrite: rule 1 (mail_item.mailbox_id): neither a map of values nor a function
	// sqlrewrite: rule 2 (mail_item.): no column
	// sqlrewrite: context: the charset "utf16" is not known, or cannot be a connection's
}

// Rules are data, and may come from a file.
func ExampleReadRules() {
	rules, err := sqlrewrite.ReadRules(strings.NewReader(`{
		"rules": [{"database": "shop", "table": "orders", "column": "customer", "map": {"7": "1007"}, "unmapped": "pass"}],
		"context": {"database": "shop", "columns": {"orders": ["id", "customer"]}}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := sqlrewrite.Compile(rules)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := r.Rewrite(context.Background(), os.Stdout, strings.NewReader("INSERT INTO orders VALUES (7,7),(8,8);\n")); err != nil {
		fmt.Println(err)
	}
	// Output: INSERT INTO orders VALUES (7,1007),(8,8);
}

// A function decides where a map would be too large.
func ExampleColumn_func() {
	r, err := sqlrewrite.Compile(sqlrewrite.Rules{Columns: []sqlrewrite.Column{{
		Table: "account", Column: "mail",
		Func: func(mail string) (string, bool) {
			local, ok := strings.CutSuffix(mail, "@old.example")
			return local + "@new.example", ok
		},
		Unmapped: sqlrewrite.Pass,
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	in := strings.NewReader("INSERT INTO account (id, mail) VALUES (1,'alice@old.example'),(2,'bob@elsewhere.example');\n")
	if _, err := r.Rewrite(context.Background(), os.Stdout, in); err != nil {
		fmt.Println(err)
	}
	// Output: INSERT INTO account (id, mail) VALUES (1,'alice@new.example'),(2,'bob@elsewhere.example');
}

// What is not understood is an error, and so is an input that was cut short.
func ExampleRewriter_Rewrite() {
	r, err := sqlrewrite.Compile(sqlrewrite.Rules{Columns: []sqlrewrite.Column{{Table: "t", Column: "id", Map: map[string]string{"1": "2"}}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, in := range []string{
		"UPDATE t SET id = 1;\n",
		"INSERT INTO t (id) VALUES (1),\n(3);\n",
		"INSERT INTO t (id) VALUES (1),\n(1)",
	} {
		_, err := r.Rewrite(context.Background(), io.Discard, strings.NewReader(in))
		var where *sqlrewrite.SyntaxError
		if errors.As(err, &where) {
			fmt.Printf("line %d, cut short %t: %s\n", where.Line, errors.Is(err, sqlrewrite.ErrTruncated), where.Msg)
		}
	}
	// Output:
	// line 1, cut short false: a statement about rows that are not in the input, for a table that a rule names
	// line 2, cut short false: column "id": a value without an entry in the rule's map
	// line 2, cut short true: the input ends inside a statement
}

// Before anything is written: what would change?
func ExampleRewriter_Changes() {
	r, err := sqlrewrite.Compile(sqlrewrite.Rules{
		Columns:   []sqlrewrite.Column{{Table: "tag", Column: "mailbox_id", Map: map[string]string{"1234": "91234"}}},
		Databases: map[string]string{"mboxgroup34": "mboxgroup7"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	dump := strings.NewReader("INSERT INTO mboxgroup34.tag (mailbox_id, name) VALUES (1234,'a'),(1234,'b');\n")
	for c, err := range r.Changes(context.Background(), dump) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if c.Column == "" {
			fmt.Printf("database %s: %s\n", c.Old, c.NewSQL)
			continue
		}
		fmt.Printf("%s row %d, %s: %s becomes %s\n", c.Table, c.Row, c.Column, c.Old, c.New)
	}
	// Output:
	// database mboxgroup34: `mboxgroup7`
	// mboxgroup34.tag row 1, mailbox_id: 1234 becomes 91234
	// mboxgroup34.tag row 2, mailbox_id: 1234 becomes 91234
}
