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

// A rowReader is a dump of n rows.
type rowReader struct {
	head, row, between, tail string
	n                        int
}

func (r *rowReader) Read(p []byte) (int, error) {
	for r.head == "" {
		switch {
		case r.n == 0:
			return 0, io.EOF
		case r.n == 1:
			r.head, r.n = r.row+r.tail, 0
		default:
			r.head, r.n = r.between, r.n-1
		}
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

// rowForms are rows of table t, whose second and third columns have rules, in the forms that a dump can have.
func rowForms(n int) map[string]*rowReader {
	const (
		insert = "INSERT INTO `t` VALUES "
		row    = `(256,1234,1,'it\'s one',NULL,-1.5,0x4142)`
		other  = "INSERT INTO `o` VALUES "
		two    = "INSERT INTO `here`.`m` (`x`,`id`) VALUES (7,7);\n"
		values = `(256,1234,1,'',1,1,''),(1,001234,'x','',1,1,''),(1,'7','y','',1,1,''),(1,-7,'n\no','',1,1,''),(1,'7',0x4142,'',1,1,''),(1,7.00,0x65,'',1,1,''),(1,7,_binary 'e','',1,1,'')`
		list   = "INSERT INTO `t` (`a`,`id`,`n`,`s`,`x`,`y`,`z`) VALUES "
	)
	create := "CREATE TABLE `t` (`a` int, `id` int, `n` varchar(9), `s` text, `x` int, `y` double, `z` blob);\n"
	return map[string]*rowReader{
		"multi-row":    {create + insert, row, row + ",\n", ";\n", n},
		"one-row":      {create + insert, row, row + ";\n" + insert, ";\n", n},
		"with lists":   {list, row, row + ";\n" + list, ";\n", n},
		"many values":  {create + insert, values, values + ",", ";\n", n},
		"two tables":   {create + insert, row, row + ";\n" + two + insert, ";\n", n},
		"other tables": {other, row, row + ";\n" + other, ";\n", n},
	}
}

func rowRules() sqlrewrite.Rules {
	rules := caseRules()
	rules.Context.Columns = nil
	return rules
}

// BenchmarkRow has a row for an operation: what it allocates, every row does.
func BenchmarkRow(b *testing.B) {
	r := compile(b, rowRules())
	for name := range rowForms(1) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			if _, err := r.Rewrite(b.Context(), io.Discard, rowForms(b.N)[name]); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// TestAllocations: a row more is no allocation more.
func TestAllocations(t *testing.T) {
	r := compile(t, rowRules())
	for name := range rowForms(1) {
		allocations := func(n int) float64 {
			return testing.AllocsPerRun(5, func() {
				if _, err := r.Rewrite(t.Context(), io.Discard, rowForms(n)[name]); err != nil {
					t.Fatal(name, err)
				}
			})
		}
		if few, many := allocations(100), allocations(10100); many-few > 20 { // buffers that grow
			t.Errorf("%s: 100 rows make %.0f allocations, and 10,000 more make %.0f", name, few, many)
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
