// Package sqlrewrite replaces the values of chosen columns in a dump of a MySQL or MariaDB database, and not one other byte.
//
// A dump is a program. To find out that the third number of a row is a mailbox id one must know which table the row belongs to, in which
// database, in which order its columns stand, where its strings end, and for that the session's character set and sql_mode, which the dump
// sets and resets as it goes. Text replacement knows none of it: it changes numbers that happen to look alike, in messages too, and misses
// those that are spelled in another way. This package reads the dump as a server and its client would, as a stream, and stops with an error
// at everything it does not understand. What it lets through it has understood.
//
//	r, err := sqlrewrite.Compile(sqlrewrite.Rules{
//		Columns: []sqlrewrite.Column{
//			{Table: "mail_item", Column: "mailbox_id", Map: map[string]string{"1234": "1052700"}},
//		},
//		Databases: map[string]string{"mboxgroup34": "mboxgroup7"},
//	})
//	...
//	stats, err := r.Rewrite(ctx, dst, src)
//
// # Values
//
// Rules speak of text as a client prints it; how a value is spelled in the dump stays its own affair:
//
//   - Strings are compared after their escapes are resolved, and written with those that mysqldump uses, in the quotes they had.
//   - Numbers without quotes are equal when they are equal as numbers, and keep their form: 1234 to 91234 makes 001234 into 091234 and
//     1234.00 into 91234.00. What cannot take the form is an error.
//   - Hexadecimal digits (--hex-blob) are text in hexadecimal.
//   - NULL never matches and stays.
//   - A spelling that may or may not be a number of the map (+1234, '01234' or 0x4D2, where CREATE TABLE has not said of what type the
//     column is) is an error and is never passed. So is a number that the column's type turns into something else: a fraction in a column of
//     integers, '1234x' in one of numbers, a number without quotes in an ENUM or a date. So is everything that is not a literal: DEFAULT, a
//     function, a variable.
//
// A value without an entry is an error, too, unless the rule says [Pass]: an id that was forgotten is somebody else's at the destination.
//
// # Tables and columns
//
// A rule names a table, in one database or in all. The database of a statement is the one before the table's name, else that of the last
// USE, else [Context].Database. The order of columns is that of the statement's list, else that of CREATE TABLE earlier in the input, else
// that in [Context].Columns; where there is none, or the column is missing in it, or a row has another number of values, that is an error.
// Names of tables and databases are compared exactly, those of columns without case.
//
// Statements that could change the rows of such a table in another way are errors: UPDATE, DELETE, LOAD DATA, INSERT from a query, ALTER of
// its columns, CREATE TABLE from a query or from another table, CREATE TABLE a second time with other columns, RENAME. The definitions of
// views, triggers, routines and events stay as they are, whatever they mention. Other tables' rows are read, to find their ends, and stay.
//
// # The session
//
// SET is followed where it decides how text is read: the client character set (utf8mb4 until the dump says otherwise, or [Context].Charset),
// and in sql_mode the words ANSI_QUOTES and NO_BACKSLASH_ESCAPES; also through user variables, in which dumps keep the settings they found. Where
// the new setting cannot be known, that is an error. In sjis, cp932, gbk, gb18030 and big5 a backslash or a backtick can be the
// second half of a character, and strings are read so. A client has a character set of its own, --default-character-set, and must be given
// that of the dump. Text that is not ASCII can be compared only where the character set is UTF-8; in
// another one it is an error if the rules mention such text, and otherwise has no entry.
//
// The comments of the form /*!40101 ... */ and /*M!100100 ... */ are code, for every version number but 999999. What not every server executes
// (numbers above 50503, and M) may stand there when nothing here depends on it; names of tables, USE, a change of the session and a half of a
// statement may not. DELIMITER is followed. Clients send what stands behind a semicolon under another delimiter, and servers execute it: except in the
// body of a routine, that is an error.
//
// # Streams that break
//
// The output can be fed to a client while it is written. A client executes what it has when its input ends, even when the last statement
// has no semicolon, and half a statement may do something else than the whole. So what a client might execute too early is held back: a
// statement without rows until its end, which makes 8 MiB the greatest length for one, and of a statement with rows the closing parenthesis
// of a row until the comma or the semicolon after it. After an error the output is a prefix of the right output of which a client executes
// whole statements only.
//
// An input that ends inside a statement is [ErrTruncated]. One that ends between two statements may still be half a dump: [Stats].Complete says
// whether the dump's closing line was there.
//
// Memory is a fixed buffer, except that a value which a rule names, and a statement that is held back, are in memory as a whole. Other
// values may be of any length. The pieces in which the input arrives make no difference to the output.
//
// # Errors
//
//   - [*SyntaxError] says where something stands that is not understood or not allowed, with the table and the column. It quotes nothing of the
//     input: even outside of strings, what is not understood may be somebody's.
//   - [ErrTruncated]: the input ended too early; the error is a *SyntaxError too.
//   - The errors of the reader, the writer and the context are wrapped.
//   - [Compile] returns all mistakes of the rules at once, [ReadRules] the first slip in their JSON.
//
// Package sqlrewritetest checks rules in the tests of those who write them.
package sqlrewrite
