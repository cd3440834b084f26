// Package mboxdbtest makes mailstores and mailboxes in database servers of the caller's, for tests of code that works with mboxdb, and has the
// suite of tests that two servers and a function for rewriting must pass before mailboxes are copied with them.
//
//	src, err := mboxdbtest.Install(ctx, pool1, nil)
//	dst, err := mboxdbtest.Install(ctx, pool2, &mboxdbtest.StoreOptions{Groups: 7, NextMailboxID: 5000})
//	m, err := src.AddMailbox(ctx, accountID, "alice@example.test")
//	db := mboxdb.New(src.Pool, &src.Options)
//
// # Which databases
//
// The databases of a mailstore have fixed names, which are in mailboxd, in the tables' foreign keys and in mboxdb: zimbra, mboxgroup1 and
// so on. So what a test chooses is the server and the numbers of its groups, and two mailstores are two servers; both may be one small
// MariaDB or MySQL of the oldest or the newest kind, for example two containers:
//
//	docker run --rm -e MARIADB_ROOT_PASSWORD=secret -p 127.0.0.1:3307:3306 mariadb:10.6
//
// Take servers for tests. [Install] never touches a mailstore that it did not make: it is [ErrOccupied] then. What it made it knows by a
// database zmlift_mboxdbtest, and [Store.Remove] drops all of it.
//
// # The suite
//
// [Exercise] tests what mboxdb promises on any two servers with any function for rewriting: real ones, with copies of real mailboxes, too,
// as it changes subjects and tags of the one that it gets. It copies a mailbox while its rows change, proves, publishes and removes the copy,
// ends in the middle and begins again, backs it up and restores it; and it compares everything row by row, by means of its own.
package mboxdbtest
