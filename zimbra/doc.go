// Package zimbra moves mailboxes from one mailstore of a Zimbra cluster to another.
//
// # Words
//
// An account has an entry in LDAP: its id (zimbraId), its addresses, its status (zimbraAccountStatus) and the mailstore that it lives on,
// its mail host (zimbraMailHost). On that mailstore it has a mailbox: rows in a database under a mailbox id that is valid on that server
// only, a file for each message (a blob) on one of the store's volumes, and a search index. To move a mailbox is to make a copy of all
// that on another mailstore under an id of that server, prove it, and change the mail host.
//
// # A move
//
// [Mover.Plan] finds out everything and changes nothing; it returns all problems at once. The plan is data. [Mover.Start] writes it into
// a journal, and [Move.Run] carries it out:
//
//	Plan ─▶ presync ─▶ ready ─▶ cutover ─▶ commit ─▶ finish
//	           │          │         │         └ one LDAP modify: zimbraMailHost and zimbraMailTransport
//	           └──────────┴─────────┴──▶ rollback, until then
//
// In presync the user works while blobs and rows are copied. In the cutover the user is locked out: what changed since is copied and
// everything is compared. Before the commit the account lives at the source, whatever happens; after it at the destination. [Move.Rollback] takes a move
// back that is not committed, and removes everything it made. Nothing at the source is ever changed or deleted.
//
// # Bad blobs
//
// [Mover.Scan] compares every blob of an account with the digest of its row, where it lies, and lists those that are missing, empty, short or
// other than the row says. Nobody is to find out in the cutover: a move refuses bad blobs while the user works, and carries only those that
// its [Request] accepts, each by item, volume and content. [Scan.Write] and [ReadScan] keep the list in a file that a person can shorten.
//
//	scan, err := mover.Scan(ctx, zimbra.ScanRequest{Account: "alice@example.com"})
//	scan.Bad = approved(scan.Bad) // what may be carried as it is
//	plan, err := mover.Plan(ctx, zimbra.Request{Account: "alice@example.com", To: "mail2.example.com", Bad: scan})
//
// # The journal
//
// A move is a list of named steps (steps.go), each of which may be done again. Every step is written down, and forced to disk, before it
// acts and after it has acted; only the steps that let a user in again are done even when the journal's disk is broken. The journal replayed is the state of the move; there is no other. So a process that was killed at any
// instant is continued by [Mover.Open] and Run, or taken back by Rollback, from another process, on another day. Whether a commit whose
// answer was lost has happened is asked of the directory, never guessed.
//
// Two movers that work on one account are kept apart by the journal's lock, by a named lock on both database servers, and by a fence: a
// number at the destination that each run of a move raises. Rows are written in transactions that compare it, files by commands that compare
// a mark in the directory, and what is done in LDAP is a compare-and-swap on the entry as it was read.
//
// # Effects
//
// The Mover does no I/O of its own. It works through the small interfaces in effects.go: [Directory], [Fence], [Rows], [Files], [Mailboxd],
// [Caches], [Journal] and [Clock]. [NewStore] and [NewCopier] make the real ones from a database pool and a host with files; package zimbratest
// has an in-memory world behind the same interfaces, in which every effect of a move is made to fail in every way.
//
// # Embedding
//
// Make a [Store] of each mailstore, give all of them to [New], then Plan, Start, Run. The program in examples/mover is such a caller and
// uses nothing but exported names. [Config].OnEvent gets what a move does as it does it; [Move.Report] tells afterwards what it did.
//
// # Errors
//
// A plan with problems is a [*PreflightError]; each [Problem] has a stable code and says what helps. A move that stopped is a [*StepError] around one
// of the conditions to branch on with errors.Is: [ErrCommitted], [ErrRolledBack], [ErrBusy], [ErrFenced], [ErrLeaseLost], [ErrLockLost],
// [ErrOverBudget], [ErrPlanStale], [ErrMaintenance], [ErrUndecided], [ErrCleanupPending], [ErrNoMove], [ErrJournal]; or a [*BlobError]; or an error of the
// package that did the work, such as [*github.com/zmlift/zmlift/mboxdb.MismatchError]. A [Mailboxd] says [ErrWrongHost]. Mistakes of a Config are a
// [*ConfigError], those of a localconfig.xml a [*LocalconfigError].
package zimbra
