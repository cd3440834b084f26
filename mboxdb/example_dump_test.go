package mboxdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/zmlift/zmlift/mboxdb"
)

// A dump says whose it is, which is what rules for rewriting it begin with, and whether it is whole.
func ExampleCheckDump() {
	ctx := context.Background()
	info, err := mboxdb.CheckDumpFile(ctx, "testdata/watch.sql")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("mailbox %s of %s in mboxgroup%d: %d rows\n", info.Mailbox.ID, info.Mailbox.AccountID, info.Mailbox.Group, info.Rows)
	fmt.Printf("from a mailstore with db.version %s, in winter at %.6s\n", info.Server.DBVersion, info.Server.TimeZone)

	text, err := os.ReadFile("testdata/watch.sql")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = mboxdb.CheckDump(ctx, bytes.NewReader(text[:600]))
	fmt.Println(errors.Is(err, mboxdb.ErrTruncated), err)
	_, err = mboxdb.CheckDump(ctx, bytes.NewReader(bytes.Replace(text, []byte("'one'"), []byte("'two'"), 1)))
	var bad *mboxdb.DumpError
	fmt.Println(errors.As(err, &bad), err)
	// Output:
	// mailbox 1234 of 5c7e2b1a-0d1f-4a5b-9a31-1f0c3d2e4b5a in mboxgroup34: 2 rows
	// from a mailstore with db.version 118, in winter at +01:00
	// true check dump: mboxdb: the dump is cut short in the middle of a line at offset 600
	// true check dump: dump: offset 823: the text is not what was dumped: its SHA-256 is another than that in the closing line
}
