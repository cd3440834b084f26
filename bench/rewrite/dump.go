package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
)

// rulesJSON is what a move of a mailbox needs of these tables.
const rulesJSON = `{"rules":[
	{"table":"mail_item","column":"mailbox_id","map":{"1234":"91234"}},
	{"table":"mail_item","column":"locator","map":{"1":"5","3":"5"}},
	{"table":"open_conversation","column":"mailbox_id","map":{"1234":"91234"}},
	{"table":"long_rows","column":"mailbox_id","map":{"1234":"91234"}}
],"unknown":"refuse"}`

const (
	head = "-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)\n" +
		"/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n/*!40101 SET NAMES utf8mb4 */;\n" +
		"/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n"
	tail = "/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;\n" +
		"-- Dump completed on 2026-11-24 12:00:00\n"

	mailItem = "CREATE TABLE `mail_item` (\n  `mailbox_id` int(10) unsigned NOT NULL,\n  `id` int(10) unsigned NOT NULL,\n  `type` tinyint(4) NOT NULL,\n" +
		"  `parent_id` int(10) unsigned DEFAULT NULL,\n  `folder_id` int(10) unsigned DEFAULT NULL,\n  `prev_folders` text DEFAULT NULL,\n" +
		"  `index_id` int(10) unsigned DEFAULT NULL,\n  `imap_id` int(10) unsigned DEFAULT NULL,\n  `date` int(10) unsigned NOT NULL,\n" +
		"  `size` bigint(20) unsigned NOT NULL,\n  `locator` varchar(1024) DEFAULT NULL,\n  `blob_digest` varchar(44) DEFAULT NULL,\n" +
		"  `unread` int(10) unsigned DEFAULT NULL,\n  `flags` int(11) NOT NULL DEFAULT 0,\n  `tags` bigint(20) NOT NULL DEFAULT 0,\n" +
		"  `tag_names` text DEFAULT NULL,\n  `sender` varchar(128) DEFAULT NULL,\n  `recipients` varchar(128) DEFAULT NULL,\n  `subject` text DEFAULT NULL,\n" +
		"  `name` varchar(255) DEFAULT NULL,\n  `metadata` mediumtext DEFAULT NULL,\n  `mod_metadata` int(10) unsigned NOT NULL,\n" +
		"  `change_date` int(10) unsigned DEFAULT NULL,\n  `mod_content` int(10) unsigned NOT NULL,\n  `uuid` varchar(127) DEFAULT NULL,\n" +
		"  PRIMARY KEY (`mailbox_id`,`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;\n"
	conversation = "CREATE TABLE `open_conversation` (\n  `mailbox_id` int(10) unsigned NOT NULL,\n  `hash` char(28) NOT NULL,\n  `conv_id` int(10) unsigned NOT NULL,\n" +
		"  PRIMARY KEY (`mailbox_id`,`hash`)\n) ENGINE=InnoDB;\n"
)

// generate writes a dump of about size bytes: messages, one in twenty with a long text in its metadata, and one conversation for every four of them. statement is how
// many bytes of rows a statement has; 0 is one row. The same arguments give the same dump.
func generate(name string, statement, size int) (length int64, rows int, err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, 0, err
	}
	w := &counter{w: bufio.NewWriterSize(f, 1<<20)}
	g := &generator{Rand: rand.New(rand.NewPCG(1234, 4321)), w: w, statement: statement}
	fmt.Fprint(w, head)
	g.table("mail_item", mailItem, size/64*63, g.message)
	g.table("open_conversation", conversation, size/64, func(id int) string {
		return fmt.Sprintf("(1234,'%s',%d)", g.digest(28), id+300)
	})
	fmt.Fprint(w, tail)
	if err := w.w.Flush(); err != nil {
		return 0, 0, err
	}
	return w.n, g.rows, f.Close()
}

// A counter counts what is written. Errors are the buffer's, and come from Flush.
type counter struct {
	w *bufio.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

type generator struct {
	*rand.Rand
	w         *counter
	statement int
	rows      int
}

// table writes the definition of a table and about size bytes of rows.
func (g *generator) table(name, create string, size int, row func(id int) string) {
	fmt.Fprintf(g.w, "DROP TABLE IF EXISTS `%s`;\n%sLOCK TABLES `%s` WRITE;\n/*!40000 ALTER TABLE `%s` DISABLE KEYS */;\n", name, create, name, name)
	insert := "INSERT INTO `" + name + "` VALUES\n"
	if g.statement == 0 {
		insert = "INSERT INTO `" + name + "` VALUES "
	}
	for end, id := g.w.n+int64(size), 0; g.w.n < end; {
		fmt.Fprint(g.w, insert)
		for start := g.w.n; ; {
			id++
			g.rows++
			fmt.Fprint(g.w, row(id))
			if g.w.n-start >= int64(g.statement) || g.w.n >= end {
				break
			}
			fmt.Fprint(g.w, ",\n")
		}
		fmt.Fprint(g.w, ";\n")
	}
	fmt.Fprintf(g.w, "/*!40000 ALTER TABLE `%s` ENABLE KEYS */;\nUNLOCK TABLES;\n", name)
}

var (
	people = []string{"Alice Example <alice@example.com>", "Zoë Größe <zoe@example.org>", "bob@example.net", "O\\'Brien, Pat <pat@example.com>", "\\\"Support\\\" <support@example.com>", "山田太郎 <taro@example.jp>"}
	words  = strings.Fields("the quarterly report is attached please find minutes of yesterday due on Friday for everybody meeting invoice regards and or done wrote: 1234")
	// Once in a while comes a word that makes work.
	odd = strings.Fields("it\\'s don\\'t für Zürich — 💌 \\\"quoted\\\" C:\\\\share\\\\files (1234,567) http://example.com/a?b=c&d=(1234,x) --")
)

// message is a row of mail_item.
func (g *generator) message(id int) string {
	date := 1386000000 + id*37
	sender, size := people[g.IntN(len(people))], 900+g.IntN(70000)
	locator, name, parent := []string{"'1'", "'3'", "NULL"}[id%3], "NULL", "NULL"
	if id%4 == 0 {
		parent = fmt.Sprint(id + 100)
	}
	if id%50 == 0 {
		name = "'document " + fmt.Sprint(id) + ".odt'"
	}
	fragment := g.text(20 + g.IntN(20))
	to := people[g.IntN(len(people))] + ", " + people[g.IntN(len(people))]
	meta := fmt.Sprintf("d1:ai1e1:ei1e1:f%d:%s1:s%d:%s1:t%d:%s1:vi10ee", len(fragment), fragment, len(sender), sender, len(to), to)
	if id%20 == 0 { // an appointment or a document, with its text
		meta = "d4:defTd1:si1ee3:inv" + g.body(20+g.IntN(200)) + "ee"
	}
	return fmt.Sprintf("(1234,%d,5,%s,%d,NULL,%d,%d,%d,%d,%s,'%s=',%d,%d,%d,NULL,'%s','%s','%s',%s,'%s',%d,%d,%d,'%s')",
		id+256, parent, 2+id%30, id+256, id+256, date, size, locator, g.digest(43), id&1, id&7, 0, sender, people[id%len(people)], "Re: "+g.text(3+g.IntN(8)), name,
		meta, 35+id*3, date+5, 35+id*3, g.digest(36))
}

func (g *generator) text(n int) string {
	var b strings.Builder
	for range n {
		from := words
		if g.IntN(25) == 0 {
			from = odd
		}
		b.WriteString(from[g.IntN(len(from))])
		b.WriteByte(' ')
	}
	return b.String()
}

// body is a text of n lines.
func (g *generator) body(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(g.text(7+g.IntN(8)) + "\\r\\n")
	}
	return b.String()
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func (g *generator) digest(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[g.IntN(len(letters))]
	}
	return string(b)
}

// writeLongRows writes a dump of about size bytes whose rows have up to 16 MB, in ten columns that no rule names.
func writeLongRows(to io.Writer, size int) (int64, error) {
	w := &counter{w: bufio.NewWriterSize(to, 64<<10)}
	g := &generator{Rand: rand.New(rand.NewPCG(1234, 4321)), w: w}
	const columns = 10
	fmt.Fprint(w, head, "CREATE TABLE `long_rows` (`id` int, `mailbox_id` int")
	for i := range columns {
		fmt.Fprintf(w, ", `c%d` longtext", i)
	}
	fmt.Fprint(w, ");\nINSERT INTO `long_rows` VALUES\n")
	piece := g.text(64)
	for id := 0; ; id++ {
		fmt.Fprintf(w, "(%d,1234", id)
		for range columns {
			fmt.Fprint(w, ",'")
			for n := (1 + id%8) * (200 << 10) / len(piece); n > 0; n-- {
				fmt.Fprint(w, piece)
			}
			fmt.Fprint(w, "'")
		}
		if w.n >= int64(size) {
			break
		}
		fmt.Fprint(w, "),\n")
	}
	fmt.Fprint(w, ");\n", tail)
	return w.n, w.w.Flush()
}
