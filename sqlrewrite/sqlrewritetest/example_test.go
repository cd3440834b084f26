package sqlrewritetest_test

import (
	"fmt"
	"testing"

	"github.com/zmlift/zmlift/sqlrewrite"
	"github.com/zmlift/zmlift/sqlrewrite/sqlrewritetest"
)

// In a test function t is its parameter.
func ExampleCheck() {
	run := func(t testing.TB) {
		rules := sqlrewrite.Rules{Columns: []sqlrewrite.Column{{Table: "tag", Column: "mailbox_id", Map: map[string]string{"1234": "91234"}}}}
		out := sqlrewritetest.Check(t, rules, "INSERT INTO tag (mailbox_id,name) VALUES (1234,'1234'),(1234,NULL);",
			sqlrewritetest.Change{Table: "tag", Column: "mailbox_id", Row: 1, Old: "1234", New: "91234"},
			sqlrewritetest.Change{Table: "tag", Column: "mailbox_id", Row: 2, Old: "1234", New: "91234"},
		)
		fmt.Println(out)
	}
	run(inExample{})
	// Output: INSERT INTO tag (mailbox_id,name) VALUES (91234,'1234'),(91234,NULL);
}
