package lab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"
)

// hostile are texts that break whatever handles a dump without reading it: as SQL, as lines, as a search for an id. None has
// characters beyond three bytes: those never reach Zimbra's columns (db/DbMailItem.normalize).
func hostile(mailboxID uint32, accountID string) []string {
	return []string{
		fmt.Sprintf("(%d,'x'),(%d,7,NULL),\n(%d,", mailboxID, mailboxID, mailboxID),
		fmt.Sprintf("x,'%s',1 and (%d,'%s')", accountID, mailboxID, accountID),
		fmt.Sprintf("'); INSERT INTO `mail_item` (`mailbox_id`) VALUES (%d);", mailboxID),
		`O'Brien said "no" \ and \\' and \" and '' and \`,
		"first\nsecond\r\nthird\rfourth",
		"\n-- Dump completed on 2025-03-01 12:00:00\n",
		"-- Dump completed",
		"Ctrl-Z \x1a then tab \t, bell \a, backspace \b, delete \x7f, escape \x1b",
		"-- a comment\n# another\n/*!50003 DROP TABLE mail_item */; /* open",
		"*/ end; `backticks` `; DROP DATABASE zimbra; -- ",
		"Grüße aus Köln, ÄÖÜ ß; ελληνικά; 日本語; \u2028\ufeff",
		"%s %d %% ? :name @x ${DATABASE_NAME} $1 &amp; <b>",
		"ends with spaces   ",
		"   begins with spaces",
		`\N`, "NULL", "0x41", "'", `\`, ``, " ", ";", "DELIMITER ;;\n", "\\0 \\Z \\n",
	}
}

// limit cuts s to n characters, as a column of that length holds.
func limit(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// longest is a value that fills a column of n characters, in 3-byte characters.
func longest(n int, last string) string {
	return strings.Repeat("界", n-utf8.RuneCountInString(last)) + last
}

var words = strings.Fields(`Angebot Rechnung Termin morgen gestern Büro Straße München Zürich café naïve résumé the quick brown fox jumps
	over lazy dogs and meets every invoice reply attached please find report quarterly budget (1,2) it's "quoted" back\slash
	schöne Grüße project deadline lunch server storage migration weekend 100% <html> &nbsp; semi;colon -- dash # hash`)

// text appends about n bytes of words and line ends.
func text(b []byte, rng *rand.Rand, n int) []byte {
	for end := len(b) + n; len(b) < end; {
		r := rng.Uint32()
		b = append(b, words[int(r>>8)%len(words)]...)
		if r&0x0f == 0 {
			b = append(b, "\r\n"...)
		} else {
			b = append(b, ' ')
		}
	}
	return append(b, "\r\n"...)
}

// sentence is a few words, as a subject has.
func sentence(rng *rand.Rand) string {
	n := 1 + rng.IntN(6)
	s := make([]string, n)
	for i := range s {
		s[i] = words[rng.IntN(len(words))]
	}
	return strings.Join(s, " ")
}

// message is a mail as a blob holds it.
func message(rng *rand.Rand, from, to, subject, messageID string, size int) []byte {
	b := make([]byte, 0, size+512)
	b = fmt.Appendf(b, "Return-Path: %s\r\nReceived: from mx.lab.example (LHLO mx) by mail.lab with LMTP\r\nFrom: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s>\r\n\r\n",
		from, from, to, strings.NewReplacer("\r", " ", "\n", " ").Replace(subject), messageID)
	return text(b, rng, size)
}

// newsletter is one message that every account has got, the same on every store: a store keeps it once, linked.
var newsletter = append([]byte("From: news@lab.example\r\nTo: all@lab.example\r\nSubject: To everyone\r\nMessage-ID: <everyone@lab.example>\r\n\r\n"),
	bytes.Repeat([]byte("The canteen opens at noon. (1,'x'),\r\n-- Dump completed\r\n"), 40)...)

// bencoded is a metadata column: Zimbra's own encoding of a map with text in it.
func bencoded(key, value string) string {
	return fmt.Sprintf("d%d:%s%d:%s1:vi10ee", len(key), key, len(value), value)
}
