package mboxdbtest_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxdbtest"
)

// A test of what happens to an odd row edits it on its way.
func ExampleRewriter() {
	r := mboxdbtest.Rewriter{
		To: mboxdb.Mailbox{ID: 5000, Group: 2}, From: mboxdb.Mailbox{ID: 1234, Group: 34},
		Edit: func(table string, row []string) []string {
			if row[1] == "8" {
				row[2] = "NULL"
			}
			return row
		},
	}
	dump := "INSERT INTO `mboxgroup34`.`watch` (`mailbox_id`,`item_id`,`target`) VALUES\n(1234,7,'(1234,'),\n(1234,8,'two');\n"
	if err := r.Rewrite(context.Background(), os.Stdout, strings.NewReader(dump)); err != nil {
		fmt.Println(err)
	}
	// Output:
	// INSERT INTO `mboxgroup2`.`watch` (`mailbox_id`,`item_id`,`target`) VALUES
	// (5000,7,'(1234,'),
	// (5000,8,NULL);
}
