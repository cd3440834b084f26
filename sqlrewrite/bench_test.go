package sqlrewrite_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/zmlift/zmlift/sqlrewrite"
)

// row is one row of a mailbox as dumps have them.
func row(b *bytes.Buffer, i int) {
	fmt.Fprintf(b, "(1234,%d,5,NULL,2,NULL,%d,%d,%d,%d,'1','%043d',%d,%d,NULL,'Alice Example <alice@example.com>','bob@example.com','Re: it\\'s subject %d',NULL,"+
		"'d1:ai1e1:ei1e1:f%d:%s1:s%d:Alice Example <alice@example.com>1:vi10ee',%d,%d,%d,NULL)",
		i+256, i, i, 1386000000+i, 1000+i%70000, i, i&1, i&7, i, 80+i%200, strings.Repeat("fragment of a body, ", 4+i%10), 35, i*3, 1386000000+i, i*3)
}

const rowColumns = "(`mailbox_id`,`id`,`type`,`parent_id`,`folder_id`,`prev_folders`,`index_id`,`imap_id`,`date`,`size`,`locator`,`blob_digest`,`unread`,`flags`," +
	"`tags`,`sender`,`recipients`,`subject`,`name`,`metadata`,`mod_metadata`,`change_date`,`mod_content`,`uuid`)"

// dump makes rows of mail_item, so many in a statement.
func dump(rows, perStatement int, columns string) []byte {
	var b bytes.Buffer
	for i := range rows {
		switch {
		case i%perStatement == 0:
			b.WriteString("INSERT INTO `mboxgroup34`.`mail_item` " + columns + " VALUES ")
		default:
			b.WriteByte(',')
		}
		row(&b, i)
		if (i+1)%perStatement == 0 || i+1 == rows {
			b.WriteString(";\n")
		}
	}
	return b.Bytes()
}

func benchmark(b *testing.B, in []byte, rules sqlrewrite.Rules) {
	r, err := sqlrewrite.Compile(rules)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Rewrite(b.Context(), io.Discard, bytes.NewReader(in)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMultiRow(b *testing.B) { benchmark(b, dump(50000, 1000, rowColumns), moved()) }

func BenchmarkOneRow(b *testing.B) { benchmark(b, dump(50000, 1, rowColumns), moved()) }

// BenchmarkOtherTable has rows that no rule names.
func BenchmarkOtherTable(b *testing.B) {
	benchmark(b, dump(50000, 1000, rowColumns), sqlrewrite.Rules{Columns: []sqlrewrite.Column{{Table: "t", Column: "c", Map: map[string]string{"1": "2"}}}})
}

// BenchmarkBodies has rows that are mostly long strings with line breaks and quotes.
func BenchmarkBodies(b *testing.B) {
	var in bytes.Buffer
	body := strings.Repeat("a line of some seventy characters, as messages have them, it\\'s long\\r\\n", 2000)
	for range 200 {
		fmt.Fprintf(&in, "INSERT INTO `mboxgroup34`.`tag` (`mailbox_id`,`name`) VALUES (1234,'%s'),(1234,'%s');\n", body, body)
	}
	benchmark(b, in.Bytes(), moved())
}
