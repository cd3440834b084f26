package mboxdb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/zmlift/zmlift/mboxdb"
)

// A rewriter gets a dump as this package writes it: each row is one line, the mailbox id is its first value, and columns are named where
// an INSERT begins. Package sqlrewrite makes such functions from rules; this one maps no locators.
func ExampleCopyOptions() {
	opts := &mboxdb.CopyOptions{
		Rewrite: func(ctx context.Context, dst io.Writer, src io.Reader) error {
			dump, err := io.ReadAll(src) // a real one reads line by line
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(dump)) {
				switch {
				case strings.HasPrefix(line, "INSERT INTO "):
					line = strings.Replace(line, "`mboxgroup34`", "`mboxgroup7`", 1)
				case strings.HasPrefix(line, "(1234,"):
					line = "(1052700," + strings.TrimPrefix(line, "(1234,")
				}
				if _, err := io.WriteString(dst, line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	dump := "INSERT INTO `mboxgroup34`.`watch` (`mailbox_id`,`item_id`,`target`) VALUES\n" +
		"(1234,7,'what is not first on its line stays: (1234,'),\n(1234,8,'\\n(1234,');\n"
	if err := opts.Rewrite(context.Background(), os.Stdout, strings.NewReader(dump)); err != nil {
		fmt.Println(err)
	}
	// Output:
	// INSERT INTO `mboxgroup7`.`watch` (`mailbox_id`,`item_id`,`target`) VALUES
	// (1052700,7,'what is not first on its line stays: (1234,'),
	// (1052700,8,'\n(1234,');
}

// Everything that is wrong with a copy's arguments is said at once, before anything is opened.
func ExampleNewCopy() {
	src, dst := mboxdb.New(nil, nil), mboxdb.New(nil, nil)
	from := mboxdb.Mailbox{ID: 1234, Group: 34, AccountID: "5c7e2b1a-0d1f-4a5b-9a31-1f0c3d2e4b5a"}
	to := mboxdb.Mailbox{ID: 1052700, Group: 7, AccountID: from.AccountID}
	_, err := mboxdb.NewCopy(dst, src, to, from, &mboxdb.CopyOptions{
		Claim:   mboxdb.Claim{Move: "20260102T030405Z", AccountID: from.AccountID, Fence: 1},
		Rewrite: func(context.Context, io.Writer, io.Reader) error { return nil },
		Volumes: map[mboxdb.VolumeID]mboxdb.VolumeID{1: 5},
	})
	fmt.Println(err)
	// Output:
	// mboxdb: copy: IndexVolume is required
	// mboxdb: copy: Address is required
}

// What is not equal is named by its key. A key that is text is shown by its MD5, as it may be somebody's address.
func ExampleMismatchError() {
	err := fmt.Errorf("verify: %w", &mboxdb.MismatchError{Tables: []mboxdb.TableMismatch{{
		Table: "mboxgroup.revision", Source: 12, Dest: 11,
		Keys: []mboxdb.KeyMismatch{{Key: "item_id=257,version=2", Kind: "missing"}},
	}}})
	var mismatch *mboxdb.MismatchError
	if errors.As(err, &mismatch) {
		for _, t := range mismatch.Tables {
			fmt.Println(t.Table, t.Keys)
		}
	}
	fmt.Println(err)
	// Output:
	// mboxgroup.revision [{item_id=257,version=2 missing}]
	// verify: the copy is not equal: mboxgroup.revision (12 rows at the source, 11 at the destination): item_id=257,version=2 missing
}

// The volume and the name of a blob's file follow from its row and from the server's volumes.
func ExampleBlob() {
	b := mboxdb.Blob{Volume: 5, Item: 257, ModContent: 3, Table: "mboxgroup.mail_item"}
	v := mboxdb.Volume{ID: 5, Path: "/opt/zimbra/store", FileBits: 12, FileGroupBits: 8, MailboxBits: 12, MailboxGroupBits: 8}
	fmt.Println(v.Path + "/" + v.MailboxDir(1052700) + "/" + v.BlobName(b.Item, b.ModContent))
	// Output: /opt/zimbra/store/1/1052700/msg/0/257-3.msg
}

// Rows under the reserved id that are not as the copy left them are somebody else's work. A person decides; Load and Remove begin anew.
func ExampleForeignWriterError() {
	err := fmt.Errorf("presync: diff: %w", &mboxdb.ForeignWriterError{Buckets: []mboxdb.ForeignBucket{{
		Table: "mboxgroup.mail_item", From: 0, To: 1023, Left: 301, Is: 300,
		Keys: []mboxdb.KeyMismatch{{Key: "id=257", Kind: "missing"}},
	}}})
	if errors.Is(err, mboxdb.ErrForeignWriter) {
		fmt.Println(err)
	}
	// Output:
	// presync: diff: mboxdb: somebody else wrote under the reserved id: mboxgroup.mail_item ids 0 to 1023 (301 rows were left, 300 are there): id=257 missing
}
