package zimbra

import (
	"context"
	"time"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/mboxdb"
)

// The core of a move does no I/O of its own. Every effect goes through the interfaces of this file, so that the whole protocol runs
// in memory (package zimbratest) with every effect failing in every way. NewStore and the leaves are their real implementations.

// A DirectoryReader answers questions about LDAP entries. *ldapattr.Client is one.
type DirectoryReader interface {
	// Lookup returns the one entry that filter matches below base, or ldapattr.ErrNotFound, or ldapattr.ErrAmbiguous.
	Lookup(ctx context.Context, base, filter string, attrs ...string) (ldapattr.Entry, error)
}

// A Directory is the LDAP server that takes the writes of a move. *ldapattr.Client is one.
type Directory interface {
	DirectoryReader
	// ModifyIf applies all changes at once, or none: ldapattr.ErrConflict when the assertion, a filter, does not match the entry, or
	// when an old value is not there. After any other error the outcome is unknown.
	ModifyIf(ctx context.Context, dn, assertion string, changes ...ldapattr.Change) error
}

// Holder says who holds an account on a destination, as its fence row tells.
type Holder struct {
	Move  string `json:"move"`
	Fence uint64 `json:"fence"`
	Open  bool   `json:"open"` // false: that move has ended, only the reserved id is kept
}

// A Fence keeps movers apart: a counter at the destination which every write of a move compares in its own transaction, and one named
// lock on either database server, held by a pinned session.
type Fence interface {
	// Holder reads the account's fence row; the zero Holder when there is none.
	Holder(ctx context.Context) (Holder, error)
	// Claim takes the row for this move, or raises its fence. A fence that is not above the stored one, or a row that another open move
	// holds, is ErrFenced. From here on the writes of this move's Rows and Files carry the new fence.
	Claim(ctx context.Context, fence uint64) error
	// Hold takes the named locks on both servers. ErrBusy: another mover has one, or a store carries as many moves as it can. Held
	// already: no error.
	Hold(ctx context.Context) error
	// Held says whether locks and fence are still ours: nil, ErrLeaseLost, or ErrFenced. A lock that was lost means also that the
	// server may have restarted since Hold.
	Held(ctx context.Context) error
	// Release frees the locks and keeps the fence row. Not held: no error.
	Release(ctx context.Context) error
	// End marks this move's row as ended, so that the account's next move may claim it. Ended already: no error.
	End(ctx context.Context) error
}

// Reservation is a mailbox id at the destination that no one else can get.
type Reservation struct {
	ID    mboxdb.MailboxID   `json:"mailbox_id"`
	Group int                `json:"group"`
	Burnt []mboxdb.MailboxID `json:"burnt,omitempty"` // ids skipped because rows lay under them already
}

// TableProof says that one table's rows are equal on both sides through the map.
type TableProof = mboxdb.TableProof

// Rows are one move's rows: read at the source, written at the destination under the reserved id. Every method may be repeated.
// Those that write compare the fence in their own transaction and answer ErrFenced when it is no longer ours.
type Rows interface {
	// Reserve takes the id, the same one whenever this account asks again.
	Reserve(ctx context.Context) (Reservation, error)
	// Quiet waits until no transaction that changed rows and began before the call is open at the source.
	Quiet(ctx context.Context) error
	// Presync copies the rows of the group database under the reserved id, while the user works. It promises no consistency. Nothing can
	// see them before Publish. Rows there that are not as this move left them are a *mboxdb.ForeignWriterError.
	Presync(ctx context.Context) (mboxdb.Presynced, error)
	// Load makes the rows of the group database under the reserved id equal to the source's: what differs from them is deleted and
	// written. The mailbox is locked. Errors are those of Presync.
	Load(ctx context.Context) (mboxdb.Applied, error)
	// Verify proves by digest that every table of the group database is equal on both sides; *mboxdb.MismatchError when one is not. What
	// Load found equal under this lock may count as compared, but only where a lockout keeps writers away.
	Verify(ctx context.Context) ([]TableProof, error)
	// Publish writes the rows of the zimbra database, the mailbox row last, in one transaction, and forces them to disk. The returned
	// bytes are what Unpublish needs to put back; they are the same when Publish is repeated.
	Publish(ctx context.Context) (Published, error)
	// Unpublish takes the published rows away again and puts back what publishing removed. Nothing published: no error.
	Unpublish(ctx context.Context, undo Undo) error
	// Remove deletes what this move wrote, a published mailbox too, and proves that nothing is left under the id. Nothing there: no error. It is
	// called only when the directory has said, under this move's fence, that the account lives at the source.
	Remove(ctx context.Context, undo Undo) error
	// Home returns the id of the mailbox row that the destination has for the account; false when it has none.
	Home(ctx context.Context) (mboxdb.MailboxID, bool, error)
	// Undoable reads what publishing would remove, so that it is journalled before it is gone.
	Undoable(ctx context.Context) (Undo, error)
}

// Undo is what publishing removes at the destination: the deleted_account row of the address, if there was one.
type Undo struct {
	DeletedAccount *mboxdb.DeletedAccount `json:"deleted_account,omitempty"`
}

// Published is what Publish proved before it committed.
type Published struct {
	Tables []TableProof `json:"tables"`
}

// FileStats counts what a pass over files did.
type FileStats struct {
	Files   int64 `json:"files"`   // copied
	Bytes   int64 `json:"bytes"`   // copied
	Deleted int64 `json:"deleted"` // removed at the destination because the source no longer has them
	Checked int64 `json:"checked"` // compared with their digest
	// Accepted is how many are bad and were accepted as they are; they count as checked too.
	Accepted int64 `json:"accepted,omitempty"`
	Total    int64 `json:"total"` // that the mailbox has
}

// Files are one move's blobs and index. Writes compare the mark in each of our directories, which carries the fence: another mark, or
// none, is ErrFenced. Every method may be repeated.
type Files interface {
	// Make makes the mailbox's directories on the destination's volumes for the reserved id, each with our mark in it, or takes over
	// the ones that an earlier run of this move made. What an ended move of the account left under the id is made anew. A directory
	// with files that is no move's is an error.
	Make(ctx context.Context, to Reservation) error
	// Presync copies and checks what is there now, while the user works. It promises no consistency. It may refuse to begin where what is left to
	// copy does not fit: a *PreflightError with CodeSpace.
	Presync(ctx context.Context) (FileStats, error)
	// Copy makes the blobs at the destination the ones that the source's rows name. The mailbox is locked. What Presync proved need not be
	// looked at again, if its last pass came to its end.
	Copy(ctx context.Context) (FileStats, error)
	// Index makes the search index at the destination equal to the source's, or there is none when the plan leaves it behind. The mailbox
	// is locked.
	Index(ctx context.Context) (FileStats, error)
	// Check proves that each blob that the source's rows name is at the path where the destination looks for it, with the digest of
	// its row. What Presync checked is not read again: a blob never changes.
	Check(ctx context.Context) (FileStats, error)
	// Durable forces the destination's file systems to disk.
	Durable(ctx context.Context) error
	// Unmark takes the marks away; from then on the directories are mailboxd's.
	Unmark(ctx context.Context) error
	// Remove deletes the directories that carry this move's mark. None there: no error.
	Remove(ctx context.Context, to Reservation) error
}

// Mailboxd is one mailstore's admin service.
type Mailboxd interface {
	// Flush drops the account from that server's cache; the next use reads LDAP (service/admin/FlushCache).
	Flush(ctx context.Context, account string) error
	// Lock locks the mailbox out and waits for transactions that run (service/admin/LockoutMailbox). Locked already: no error.
	// After the move the account's host is another: ErrWrongHost. A restart of mailboxd lifts the lock in silence.
	Lock(ctx context.Context, account string) error
	// Unlock ends the lockout. Not locked: no error.
	Unlock(ctx context.Context, account string) error
	// Locked says whether the mailbox is locked out now. In status maintenance it answers as well.
	Locked(ctx context.Context, account string) (bool, error)
	// Load has the mailbox loaded and returns its id. An account that lives elsewhere is ErrWrongHost; one that lives here and has no
	// row gets an empty mailbox: look before you call.
	Load(ctx context.Context, account string) (mboxdb.MailboxID, error)
}

// A Reindexer is a Mailboxd that can have a search index made anew.
type Reindexer interface {
	// Reindex has the mailbox indexed from its first item on, and does not wait for the end (service/admin/ReIndex, action start). Under
	// way already: no error.
	Reindex(ctx context.Context, account string) error
}

// A CacheKind names the keys that Caches forgets.
type CacheKind string

const (
	// MailboxKeys are what mailboxd itself keeps in memcached for an account (folders and tags, ACLs, calendars).
	MailboxKeys CacheKind = "mailbox"
	// RouteKeys are the proxy's routes of an account's logins.
	RouteKeys CacheKind = "routes"
)

// Caches are the memcached servers near one mailstore. Only keys of the one account are deleted.
type Caches interface {
	// Forget deletes the account's keys of that kind on every server. Absent keys: no error.
	Forget(ctx context.Context, a Account, kind CacheKind) error
}

// A Clock tells and passes time.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or earlier with ctx's error.
	Sleep(ctx context.Context, d time.Duration) error
}

// A Surveyor reads everything about one mailstore that a plan needs, and changes nothing.
type Surveyor interface {
	// Survey reads the store as it is for this account. What cannot be read is a Problem in the answer, not an error: a plan reports all
	// problems at once.
	Survey(ctx context.Context, r SurveyRequest) Survey
}

// A SurveyRequest says what to look at.
type SurveyRequest struct {
	AccountID string
	Tables    map[string]mboxdb.TablePolicy // for tables that zmlift does not know
	// BlobDir is the directory below each volume's path in which the store's mailboxes lie: a server may have a level for its own id there.
	// "" is the path itself. The volumes of the answer have it in their paths.
	BlobDir string
	Content bool // count the mailbox's rows and look for its blobs too, which takes time
}

// A Copier makes the parts of a copy from one store to another.
type Copier interface {
	// Copy returns the effects of one move. It does no I/O. The caller closes the Copy. progress may be called from any goroutine and
	// returns at once.
	Copy(p *Plan, move string, progress func(Progress)) (*Copy, error)
}

// Progress is how far a step has come. A Total of 0 is not known yet.
type Progress struct {
	Done, Total int64
	Unit        string // "rows", "files" or "bytes"

	Paused  string // not "": nothing goes on from here, and why; Done and Total mean nothing
	Resumed bool   // a pause is over
}

// A Copy is one move's effects on the two stores.
type Copy struct {
	Fence Fence
	Rows  Rows
	Files Files
	Close func() error // may be nil
}
