// Package mboxdb reads, copies, proves and removes the rows of one Zimbra mailbox.
//
// # Where a mailbox lies
//
// A mailstore has a database zimbra and databases mboxgroup1, mboxgroup2 and so on. A mailbox is one row of zimbra.mailbox, named by an
// account id (zimbraId) and numbered by a mailbox id that is valid on this server only; rows in six more tables of zimbra; and rows in
// some eighteen tables of one mailbox group, the one that the row's group_id names. Every one of these tables has a column mailbox_id.
// Which tables there are depends on the version of Zimbra and on extensions, so [DB.Tables] asks the server and refuses what it does
// not know: a table forgotten is data lost, a table copied blindly is worse.
//
// # Copying
//
// A destination gives the mailbox another id, another group and other volumes. The steps, each of which may be repeated:
//
//	dst.Claim(ctx, claim)                     // the fence: from here on older movers of the account are refused
//	res, err := dst.Reserve(ctx, claim, nil)  // an id from the server's own counter
//	c, err := mboxdb.NewCopy(dst, src, res.Mailbox, from, &mboxdb.CopyOptions{Claim: claim, Rewrite: rewrite, ...})
//	c.Load(ctx)                               // the group's tables; nothing can see them yet
//	c.Verify(ctx)                             // equal, by digest
//	c.Publish(ctx)                            // the tables of zimbra, the mailbox row last, in one transaction
//	c.Remove(ctx, elsewhere)                  // or instead: everything this copy wrote is gone again
//
// Rows travel as SQL text, the same text that [DB.Dump] writes to a file. On the way they pass through a function of the caller, which
// replaces the mailbox id, the database name and the locators (package sqlrewrite does that). What comes out is not trusted: it is read
// row by row, and a row that would land in another table or under another mailbox id stops the load.
//
// # A backup
//
// The same text in a file is a backup of the account's rows; the blobs are not in it. It can be loaded under the next id that the account gets,
// on any server of the same db.version and time zone that has the same tables; the file says of which it is:
//
//	src.DumpFile(ctx, "alice.sql.zst", from, nil)           // .sql, .gz or .zst; whole, or no file
//	info, err := mboxdb.CheckDumpFile(ctx, "alice.sql.zst") // whose it is, and that it is whole
//	dst.Claim(ctx, claim)
//	res, err := dst.Reserve(ctx, claim, nil)
//	restored, err := dst.RestoreFile(ctx, "alice.sql.zst", res.Mailbox, &mboxdb.RestoreOptions{Claim: claim, Rewrite: rewrite, ...})
//	dst.Remove(ctx, claim, res.Mailbox, elsewhere)          // or instead: everything is gone again, mailbox and all
//
// A file that was cut or changed is refused before a row is written. What was written is compared with the file's text by digest, and can be
// seen only once it is equal.
//
// Remove takes no mailbox away unless elsewhere, its [RemoveOptions], says that the directory was asked and that the account does not live there.
// This package knows no directory, and a mailbox that was restored may be somebody's.
//
// # The fence
//
// A mover that was paused, or whose journal was copied, must not write any more once another one has taken over. The destination keeps a
// table zmlift.moves with one row per account: which move holds it, a count that every opening of the move raises, and the reserved
// mailbox id. Every transaction of this package that writes at the destination reads that row first, with a share lock, and gives up
// with [ErrFenced] unless it still says what the [Claim] says; [DB.Claim] waits for transactions that hold the lock. The reserved id
// stays in the row when a move is rolled back, and the account's next move gets it again: a mailboxd that has seen an account under one
// id bounces its mail when it turns up under another.
//
// # Digests
//
// A row's digest is the SHA-1 of all its columns, in the order of their names, joined so that no two different rows make the same bytes:
// text as UTF-8, everything else as ASCII, a byte FF in between. Behind each column that may be NULL stands one more value, the byte FE, and
// NULL itself is left out. Neither byte occurs in UTF-8. The mailbox id is left out (it selects the rows), and locators go through the map. A digest of many rows is their number and, for the first and the last 64 bits of each row's SHA-1 as a number, the sum and
// the exclusive or: it takes no order, and counts equal rows of keyless tables. The server makes the digest of a row, 40 digits that travel in
// its place, thousands to an answer; they are added up here. Two sets of rows that differ have equal digests with a probability of about
// 2^-128 if SHA-1 behaves as random; nobody here has a reason to build collisions against their own mailbox. MariaDB computes SHA-1 faster
// than MD5, much faster where the processor has instructions for it.
//
// # Rows ahead, and the difference in the lock
//
// Load copies everything, which takes as long as the mailbox is large. Instead the rows can be copied while the mailbox is in use, and only
// what changed since while it is locked:
//
//	c.Presync(ctx)             // as often as one likes, and again after any kill
//	d, err := c.Diff(ctx)      // locked, from here on
//	c.Apply(ctx, d)
//	proofs, err := c.Prove(ctx, d)
//	c.Publish(ctx)
//
// Diff compares the digests of every row, made on both servers at the same time, and so finds whatever differs, also what mailboxd changes
// without a new change number. What it finds equal is proven; Prove looks at the rest.
//
// What a copy wrote is its own: the table zmlift.buckets has the digest of every 1,024 ids as the copy left them, written in the transaction
// that wrote their rows. When a later Diff finds other rows there, it returns [ErrForeignWriter]. Buckets whose rows were deleted, or that were
// copied for the first time, and that no Diff has looked at since are in flight: nobody is accused, and they are done again.
//
// Where many rows go to one table at a time, they go by LOAD DATA LOCAL INFILE from this process's memory, which costs the server less than
// parsing INSERT. A server that does not allow that (local_infile=OFF) gets INSERTs; nobody need change anything.
//
// # Sessions
//
// Everything runs in sessions of its own, which set time zone, SQL mode, character set and lock waits for themselves and are closed
// instead of going back to the pool: a caller's later query never meets foreign_key_checks=0. No global variable is ever set. Sessions at a
// source are read only. A method uses one connection per server at a time, Presync, Diff and Apply as many as CopyOptions.Streams says, and
// Prove a second one while it looks for the keys of rows that differ; [DB.Lock] keeps one more for as long as it is held.
//
// # Errors
//
// Branch on these with errors.Is: [ErrNotFound], [ErrFenced], [ErrBusy], [ErrLockLost], [ErrPublished], [ErrExists], [ErrNotReserved],
// [ErrNoGroup], [ErrForeignWriter], [ErrTruncated], and fs.ErrExist of DumpFile; and on these with errors.As: [*UnknownTableError], [*SchemaError],
// [*OriginError], [*FencedError], [*LiveError], [*LeftoversError], [*MismatchError], [*ForeignWriterError], [*OpenTransactionsError], [*LocatorError],
// [*DumpError]. A *mysql.MySQLError in the chain has its number and state; where the server's text could quote a value from a row, the text is left
// out.
//
// Package mboxdbtest makes mailstores and mailboxes for the tests of those who use this one.
package mboxdb
