// Package zimbratest is an in-memory world behind the interfaces of package zimbra: a directory with a replica that lags, two mailstores with
// rows, blobs, an index and a mailboxd each, a user named Alice who lives on the first, her neighbours on both, and a mail server that
// sends her a message with every effect that a mover has.
//
// The mailboxds behave as the real ones do where it decides a move: they cache an account's entry for a quarter of an hour, look at the
// mail host only when a mailbox is not in memory, remember mailbox ids for ever, make an empty mailbox for an account that lives there and
// has none, keep lockouts in memory only, and answer a delivery with 250, 450, 451 or, which is mail lost, 554.
//
// # Faults
//
// A [Process] is a mover's process in the world; [Process.Config] is what its Mover works with. One [Fault] may happen in it: an effect
// fails, is done while its answer is lost, is done later, the process dies before or after it or sleeps just before it while another mover
// takes over, an administrator changes the account's status, the source's mailboxd restarts, a server is down for a while, or the LDAP
// replica stands still. A fault is written as KIND@EFFECT or KIND@EFFECT+DELAY, such as "late@37+4", and [ParseFault] reads that: a failing
// history can be run again by its name. The same faults give the same history, which is in [World.Log].
//
// [World.Check] says what is wrong when everything is over: Alice must have one home, every message that was taken, her status, and the way
// in; nothing of the move may be left, and no neighbour may be touched. Programs that put an implementation of their own behind
// one of the interfaces can run it against this world as well.
package zimbratest
