package mboxverify_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/zmlift/zmlift/mboxdb/mboxverify"
)

// A difference, and a comparison that did not come to its end, are two things: only the first says something of the rows.
func ExampleCompare() {
	ctx := context.Background()
	source := &fakeServer{id: 1234, account: "5c7e2b1a", items: [][]driver.Value{{int64(257), "lunch"}, {int64(258), nil}, {int64(300), "re: lunch"}}}
	destination := &fakeServer{id: 1052700, account: "5c7e2b1a", items: [][]driver.Value{{int64(257), "lunch"}, {int64(258), ""}}}
	src, dst := source.db(nil), destination.db(nil) // from sql.Open
	defer src.Close()
	defer dst.Close()

	from, err := mboxverify.Find(ctx, src, "5c7e2b1a")
	if err != nil {
		fmt.Println(err)
		return
	}
	to, err := mboxverify.Find(ctx, dst, "5c7e2b1a")
	if err != nil {
		fmt.Println(err)
		return
	}
	tables, err := mboxverify.Compare(ctx, dst, src, to, from, &mboxverify.Options{Volumes: map[uint8]uint8{1: 5, 3: 5}})
	var mismatch *mboxverify.MismatchError
	switch {
	case err == nil:
		fmt.Println(len(tables), "tables are equal")
	case errors.As(err, &mismatch):
		for _, t := range mismatch.Tables {
			fmt.Println(t)
		}
	default:
		fmt.Println("it is not known whether they are equal:", err)
	}
	// Output:
	// mboxgroup.mail_item (3 rows at the source, 2 at the destination): id=258 different in subject; id=300 missing
}

// An error names rows by their keys, and the columns that differ, but no value.
func ExampleMismatchError() {
	err := fmt.Errorf("compare mailbox 1052700 with 1234: %w", &mboxverify.MismatchError{
		Tables: []mboxverify.Table{{
			Name: "mboxgroup.event", Source: 3, Dest: 3,
			Rows: []mboxverify.Row{{Key: "folder_id=2,item_id=257,sha256=1f0c", Kind: mboxverify.Different, Columns: []string{"ts"}}},
		}},
		Strays: map[string]int64{"zimbra.mailbox": 1},
	})
	var mismatch *mboxverify.MismatchError
	if errors.As(err, &mismatch) {
		fmt.Println(mismatch.Tables[0].Rows[0].Columns, mismatch.Strays)
	}
	fmt.Println(err)
	// Output:
	// [ts] map[zimbra.mailbox:1]
	// compare mailbox 1052700 with 1234: not equal: mboxgroup.event (3 rows at the source, 3 at the destination): folder_id=2,item_id=257,sha256=1f0c different in ts; zimbra.mailbox (1 rows where none should be)
}
