package mboxdb

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Conditions that callers branch on.
var (
	// ErrNotFound: the server has no mailbox of that account.
	ErrNotFound = errors.New("mboxdb: no mailbox")
	// ErrNoGroup: the mailbox group has no database on that server.
	ErrNoGroup = errors.New("mboxdb: no such mailbox group")
	// ErrFenced: the account's row in zmlift.moves does not say what the claim says: another mover took over, or holds the account.
	// A *FencedError in the chain says who.
	ErrFenced = errors.New("mboxdb: fenced")
	// ErrBusy: another session holds the account's named lock.
	ErrBusy = errors.New("mboxdb: the account is locked by another session")
	// ErrLockLost: the session that held the named lock is gone: a network broke, a query was killed, or the server restarted.
	ErrLockLost = errors.New("mboxdb: the named lock was lost")
	// ErrPublished: the mailbox row is at the destination already, and what was asked for is safe only before.
	ErrPublished = errors.New("mboxdb: the copy is published")
	// ErrExists: the destination has a mailbox of the account under another id, or a mailbox of another account under that id.
	ErrExists = errors.New("mboxdb: the destination has such a mailbox already")
	// ErrNotReserved: the id is not the one that zmlift.moves has for the account.
	ErrNotReserved = errors.New("mboxdb: the mailbox id is not reserved for this account")
	// ErrForeignWriter: rows under the reserved id are not as this copy left them. A *ForeignWriterError in the chain names them.
	ErrForeignWriter = errors.New("mboxdb: somebody else wrote under the reserved id")
	// ErrTruncated: a dump ended before its closing line.
	ErrTruncated = errors.New("mboxdb: the dump is cut short")
)

// An UnknownTableError names everything that carries a mailbox id, or lies in a table that does, and that this package does not know. Copying
// without it would lose data, copying it blindly could damage some.
type UnknownTableError struct {
	Tables []string // "zimbra.ext_notes", or "mboxgroup.mail_item.newcolumn" for a column, with a reason in parentheses where there is one
}

func (e *UnknownTableError) Error() string {
	return "unknown tables or columns of a mailbox: " + strings.Join(e.Tables, ", ") + "; give the table a policy, copy or skip"
}

// A SchemaError names what differs between two servers whose rows should fit each other.
type SchemaError struct{ Differences []string }

func (e *SchemaError) Error() string {
	return "the databases differ: " + strings.Join(e.Differences, "; ")
}

// An OriginError says that a dump's rows would mean something else on this server: it is of another db.version, or of another time zone.
type OriginError struct {
	Dump, Server Server // of Dump only Version, DBVersion and TimeZone are known
}

func (e *OriginError) Error() string {
	var parts []string
	if e.Dump.DBVersion != e.Server.DBVersion {
		parts = append(parts, fmt.Sprintf("db.version is %s in the dump and %s on this server", e.Dump.DBVersion, e.Server.DBVersion))
	}
	if e.Dump.TimeZone != e.Server.TimeZone {
		parts = append(parts, fmt.Sprintf("the time zone is %s in the dump and %s on this server", e.Dump.TimeZone, e.Server.TimeZone))
	}
	return "the dump is of another kind of server: " + strings.Join(parts, "; ")
}

// A FencedError says who holds the account. It is ErrFenced.
type FencedError struct {
	Claim  Claim
	Holder Holder // the zero Holder: nobody has a row for the account
}

func (e *FencedError) Error() string {
	if e.Holder.Move == "" {
		return fmt.Sprintf("%v: account %s: no row in zmlift.moves", ErrFenced, e.Claim.AccountID)
	}
	state := "ended"
	if e.Holder.Open {
		state = "open"
	}
	return fmt.Sprintf("%v: account %s: held by move %s at fence %d (%s), not by %s at %d",
		ErrFenced, e.Claim.AccountID, e.Holder.Move, e.Holder.Fence, state, e.Claim.Move, e.Claim.Fence)
}

func (e *FencedError) Is(target error) bool { return target == ErrFenced }

// A LiveError names a mailbox that Remove was about to take away, and that its account may live in. It is ErrPublished.
type LiveError struct {
	AccountID string
	ID        MailboxID
}

func (e *LiveError) Error() string {
	return fmt.Sprintf("mailbox %d of account %s is there, and may be in use: nobody has said that the account lives elsewhere", e.ID, e.AccountID)
}

func (e *LiveError) Is(target error) bool { return target == ErrPublished }

// A LeftoversError counts rows that lie under a mailbox id and should not.
type LeftoversError struct {
	ID   MailboxID
	Rows map[string]int64 // by "database.table"
}

func (e *LeftoversError) Error() string {
	return fmt.Sprintf("rows under mailbox id %d: %s", e.ID, counts(e.Rows))
}

// An OpenTransactionsError names the server's threads whose older transactions have changed rows and are still open.
type OpenTransactionsError struct{ Threads []uint64 }

func (e *OpenTransactionsError) Error() string {
	return fmt.Sprintf("older transactions with changed rows are still open in threads %v", e.Threads)
}

// A LocatorError names a row whose locator is not the number of a volume: an external store, which this package cannot map.
type LocatorError struct {
	Table string
	Item  uint32
}

func (e *LocatorError) Error() string {
	return fmt.Sprintf("%s: item %d: the locator is not a volume id", e.Table, e.Item)
}

// A VolumeError names a row of zimbra.volume that no paths can be made of.
type VolumeError struct {
	Volume VolumeID
	Name   string
	Msg    string
}

func (e *VolumeError) Error() string {
	return fmt.Sprintf("volume %d (%s): %s", e.Volume, e.Name, e.Msg)
}

// A DumpError says where a dump is not one of ours, or not for this mailbox. It holds no row content.
type DumpError struct {
	Offset int64  // bytes from the start of what was read; -1 where it does not apply
	Table  string // "database.table", "" outside a statement
	Msg    string
}

func (e *DumpError) Error() string {
	s := "dump"
	if e.Offset >= 0 {
		s += fmt.Sprintf(": offset %d", e.Offset)
	}
	if e.Table != "" {
		s += ": " + e.Table
	}
	return s + ": " + e.Msg
}

// A ForeignWriterError names what somebody else changed at the destination since this copy wrote it. It is ErrForeignWriter.
type ForeignWriterError struct {
	Buckets []ForeignBucket // the first ones
	More    bool            // there are others
}

// A ForeignBucket is a range of ids whose rows are not as this copy left them.
type ForeignBucket struct {
	Table    string // "mboxgroup.mail_item"
	From, To int64  // ids, both included; 0 and 0 for a table that is taken as a whole
	Left, Is int64  // rows that this copy left there, and that there are
	// Keys are rows of the bucket that differ from the source's now, named as in KeyMismatch. Among them are rows that the source changed since;
	// there are none when what the other one wrote is what the source has.
	Keys []KeyMismatch
}

func (e *ForeignWriterError) Error() string {
	var parts []string
	for _, b := range e.Buckets {
		s := b.Table
		if b.From != 0 || b.To != 0 {
			s += fmt.Sprintf(" ids %d to %d", b.From, b.To)
		}
		s += fmt.Sprintf(" (%d rows were left, %d are there)", b.Left, b.Is)
		for i, k := range b.Keys {
			sep := ", "
			if i == 0 {
				sep = ": "
			}
			s += sep + k.Key + " " + k.Kind
		}
		parts = append(parts, s)
	}
	if e.More {
		parts = append(parts, "...")
	}
	return ErrForeignWriter.Error() + ": " + strings.Join(parts, "; ")
}

func (e *ForeignWriterError) Is(target error) bool { return target == ErrForeignWriter }

// A MismatchError names what is not equal, by key and never by content.
type MismatchError struct {
	Tables  []TableMismatch
	Orphans map[string]int64 // foreign keys, by "table(columns)", with rows that refer to nothing; the source has fewer
	Strays  map[string]int64 // rows under the id in tables that should have none, by "database.table"
}

// A TableMismatch says how one table differs.
type TableMismatch struct {
	Table  string // "zimbra.mailbox", "mboxgroup.mail_item"
	Source int64  // rows
	Dest   int64  // rows
	Keys   []KeyMismatch
	More   bool // there are further differing keys
}

// A KeyMismatch names a row that differs.
type KeyMismatch struct {
	// Key is the primary key without the mailbox id, as in "item_id=257,version=2". A column that is not a number is shown by its MD5, as
	// in "md5(uid)=...": it may be somebody's address. In tables without a key it is "digest=...".
	Key  string
	Kind string // "missing" at the destination, "extra" there, "different"; for the mailbox row: the columns
}

func (e *MismatchError) Error() string {
	var parts []string
	for _, t := range e.Tables {
		s := fmt.Sprintf("%s (%d rows at the source, %d at the destination)", t.Table, t.Source, t.Dest)
		for i, k := range t.Keys {
			sep := ", "
			if i == 0 {
				sep = ": "
			}
			s += sep + k.Key + " " + k.Kind
		}
		if t.More {
			s += ", ..."
		}
		parts = append(parts, s)
	}
	if len(e.Orphans) > 0 {
		parts = append(parts, "rows that refer to nothing: "+counts(e.Orphans))
	}
	if len(e.Strays) > 0 {
		parts = append(parts, "rows where none should be: "+counts(e.Strays))
	}
	return "the copy is not equal: " + strings.Join(parts, "; ")
}

func counts(m map[string]int64) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

// plain are the server errors whose text names objects and never quotes a value.
var plain = map[uint16]bool{
	1007: true, 1008: true, 1040: true, 1044: true, 1045: true, 1046: true, 1049: true, 1050: true, 1053: true, 1054: true, 1130: true, 1142: true,
	1143: true, 1146: true, 1153: true, 1158: true, 1159: true, 1160: true, 1161: true, 1184: true, 1193: true, 1205: true, 1213: true, 1227: true,
	1290: true, 1317: true, 1370: true, 1451: true, 1452: true, 1568: true, 1665: true, 1792: true, 1927: true, 1969: true, 3024: true,
}

// clean takes row content out of a server's error: "Duplicate entry 'my secret project' for key ..." is somebody's folder.
func clean(err error) error {
	var me *mysql.MySQLError
	if err == nil || !errors.As(err, &me) || plain[me.Number] {
		return err
	}
	c := &mysql.MySQLError{Number: me.Number, SQLState: me.SQLState, Message: "(text withheld: it may quote a row)"}
	if i := strings.LastIndex(me.Message, " for key "); me.Number == 1062 && i >= 0 {
		c.Message = "duplicate entry" + me.Message[i:]
	}
	return c
}

// serverError says whether err is one of these errors of the server.
func serverError(err error, numbers ...uint16) bool {
	var me *mysql.MySQLError
	return errors.As(err, &me) && slices.Contains(numbers, me.Number)
}
