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
//     column is) is an error and is never passed. So is everything that is not a literal: DEFAULT, a function, a variable.
//   - A server brings values to the form of the column's type: it makes 1.4 into 1 in a column of integers, 69 into 2069 in one of years, '2'
//     into the second member of an ENUM. Where CREATE TABLE has said the type, a value that is not in that form is an error. Dumps have none.
//   - A function is given what a client would print, or else nothing: where only the type could say whether 007 is 7, and the function makes a
//     difference between them, that is an error.
//   - In the sql_mode EMPTY_STRING_IS_NULL an empty string is an error, as the old value and as the new one.
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
// Statements that could change the rows of such a table in another way are errors: UPDATE, DELETE, INSERT from a query, INSERT with SET or
// PARTITION, RENAME, ALTER of its columns, CREATE TABLE from a query or from another table or as a temporary one, CREATE TABLE a second time
// with other columns, and ON DUPLICATE KEY UPDATE of the column. So are, for every table, statements about rows of a view or a MERGE table that the input made.
// The definitions of views, triggers, routines and events stay as they are, whatever they mention. Other tables' rows are read, to find their
// ends, and stay.
//
// Understood are INSERT, REPLACE, UPDATE and DELETE of one table, TRUNCATE, RENAME TABLE, CREATE, DROP, ALTER of tables, databases and users,
// SET, USE, LOCK, UNLOCK, BEGIN, START, COMMIT, ROLLBACK, FLUSH, CHANGE, STOP, GRANT, REVOKE, INSTALL, UNINSTALL, ANALYZE TABLE, DO SETVAL, the
// client's DELIMITER, and what dumps of MariaDB and of Percona Server have with SELECT, PREPARE and EXECUTE. Every other statement is an error, LOAD
// DATA and CALL among them.
//
// Where databases are renamed, the name of one stays nowhere but in definitions and strings: a place where it is not replaced is an error. So
// is a database in the input that has the new name of another, and keeps it.
//
// # The session
//
// SET is followed where it decides how text is read: the client character set (utf8mb4 until the dump says otherwise, or [Context].Charset),
// and in sql_mode the words ANSI_QUOTES, NO_BACKSLASH_ESCAPES, ORACLE and EMPTY_STRING_IS_NULL; also through user variables, in which dumps keep
// the settings they found, but not through one that a definition in the input mentions. Where the new setting cannot be known, that is an
// error. Where the input begins, sql_mode is taken to have none of these words: with a client that starts in another mode, the output means
// something else. In sjis, cp932, gbk, gb18030 and big5 a backslash or a backtick can be the second half of a character, and strings are read
// so. A client has a character set of its own, --default-character-set, and must be given that of the dump; and it takes the carriage return from
// a line's end, in strings too, unless it is told --binary-mode. Text that is not ASCII can be compared
// only where the character set is UTF-8; in another one it is an error if the rules mention such text, and otherwise has no entry. Without quotes
// it may be white space there, and is an error; letters of single bytes may stand in definitions.
//
// The comments of the form /*!40101 ... */ and /*M!100100 ... */ are code, for every version number but 999999. What not every server executes
// (numbers above 50503, and M) may stand there when nothing here depends on it; names of tables, USE, a change of the session, a half of a
// statement or of two parentheses, and a piece of a body under another delimiter may not. DELIMITER is followed. Clients send what stands behind a semicolon under another delimiter, and servers execute it: except in the
// body of a trigger, a routine or an event, that is an error.
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
// There is no form that is a reader or a writer itself: only what Rewrite returns, the error and the Stats, says whether the output may be used.
// An [io.Pipe] makes one, if the error goes into its CloseWithError.
//
// # Limits
//
// What the server has already is not known: tables that a CREATE TABLE IF NOT EXISTS finds there, views, and triggers that fill another table.
// Neither is what triggers, functions and events of the input do when they are executed, nor what engines do that keep a table's rows elsewhere, as
// FEDERATED and SPIDER. Names of tables that differ in case are different tables.
//
// The end of a body under another delimiter is found by counting its blocks. Where begin or end may be a name, or a block stands in a place
// that is not expected, it counts as none, and what follows is an error when the count then says that the body has ended.
//
// Of types these are not held against their values: JSON and geometry; TEXT and BLOB by their length; members of ENUM and SET that are not ASCII;
// FLOAT(M,D) and DOUBLE(M,D), which round the last digits. NULL and 0 stay in a column with AUTO_INCREMENT, where the server may make a number of
// them.
//
// # Errors
//
//   - [*SyntaxError] says where something stands that is not understood or not allowed. Of the input it has the names of the table and its database,
//     and at most one byte that has no place, but no word, number or string: even outside of rows, what is not understood may be somebody's.
//     Columns are called as in the rules.
//   - [ErrTruncated]: the input ended too early; the error is a *SyntaxError too.
//   - The errors of the reader, the writer and the context are wrapped.
//   - [Compile] returns all mistakes of the rules at once, [ReadRules] the first slip in their JSON.
//
// Package sqlrewritetest checks rules in the tests of those who write them.
package sqlrewrite
