package zimbra

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zmlift/zmlift/mboxdb"
)

// PlanVersion is the version of the plan's JSON form. Another one is refused.
const PlanVersion = 1

// A Request says what is wanted.
type Request struct {
	Account string   // an address, an alias or a zimbraId
	To      string   // the destination's zimbraMailHost
	Accept  []string // codes of acceptable problems that the caller accepts
	// Volumes overrides where a source volume's blobs go. By default primary volumes go to the destination's current primary, secondary
	// ones to its current secondary, or to the primary where it has none.
	Volumes map[mboxdb.VolumeID]mboxdb.VolumeID
	// Tables says what to do with tables that zmlift does not know, by name: copy or skip. Without a policy they stop the plan.
	Tables map[string]mboxdb.TablePolicy
	// Bad are blobs that a scan found to be bad, and that the move carries as they are: a missing one stays missing, another one comes with the
	// content that it has. The plan keeps them; see BadItem for what counts. Every other bad blob stops the move before anyone is locked out.
	Bad *Scan
	// NoIndex leaves the search index behind. Searches find nothing at the destination until its mailboxd has made one anew, which
	// is asked for when the user is in service, if Store.Mailboxd is a Reindexer, and else is for a person to do; the report says so.
	NoIndex bool
}

// An Account is what a move needs to know of the account's entry.
type Account struct {
	ID        string   `json:"id"`        // zimbraId
	Name      string   `json:"name"`      // the primary address
	DN        string   `json:"dn"`        //
	Addresses []string `json:"addresses"` // every address and alias that a login may use
}

// An End is one side of a move as the plan found it.
type End struct {
	Host      string          `json:"host"`      // zimbraMailHost
	Transport string          `json:"transport"` // zimbraMailTransport
	Mailbox   *mboxdb.Mailbox `json:"mailbox,omitempty"`
	Server    mboxdb.Server   `json:"server"`
	Schema    string          `json:"schema"` // digest of every table's columns, types and keys
	Volumes   []mboxdb.Volume `json:"volumes"`
	BlobDir   string          `json:"blob_dir,omitempty"` // the server id, where it is a level below each volume's path; Volumes have it
	Groups    int             `json:"groups"`             // zimbra_mailbox_groups
}

// A Forecast is an estimate; it is no decision and not part of the plan's hash.
type Forecast struct {
	Rows  int64         `json:"rows"`
	Blobs int64         `json:"blobs"`
	Bytes int64         `json:"bytes"`
	Lock  time.Duration `json:"lock_ns"` // how long the user will be locked out
}

// A Plan is a decision: what will be moved, from where to where, through which maps. It is data, it can be kept and printed, and making one
// changes nothing. Starting or resuming it compares the fingerprints of both ends again.
type Plan struct {
	V           int                                 `json:"v"`
	Account     Account                             `json:"account"`
	Source      End                                 `json:"source"`
	Dest        End                                 `json:"dest"`
	KeepRoute   bool                                `json:"keep_transport,omitempty"` // an accepted custom transport stays
	Directory   string                              `json:"directory"`                // the LDAP server that takes this move's writes
	Volumes     map[mboxdb.VolumeID]mboxdb.VolumeID `json:"volumes"`
	IndexVolume mboxdb.VolumeID                     `json:"index_volume"`
	NoIndex     bool                                `json:"no_index,omitempty"` // the search index is left behind
	Tables      map[string]mboxdb.TablePolicy       `json:"tables,omitempty"`
	Accepted    []string                            `json:"accepted,omitempty"`
	Bad         []BadItem                           `json:"bad,omitempty"`         // accepted as they are
	NoMailboxd  bool                                `json:"no_mailboxd,omitempty"` // accepted: nobody can be told to flush or to lock
	Forecast    Forecast                            `json:"forecast"`
	Made        time.Time                           `json:"made"`
	Hash        string                              `json:"hash"` // of the decisions, not of sizes or times
}

// Sum returns the hash over the decisions. It is equal for two plans that decide the same.
func (p *Plan) Sum() string {
	d := *p
	d.Forecast, d.Made, d.Hash = Forecast{}, time.Time{}, ""
	if m := d.Source.Mailbox; m != nil { // its counters go on while the user works
		d.Source.Mailbox = &mboxdb.Mailbox{ID: m.ID, Group: m.Group, AccountID: m.AccountID, IndexVolume: m.IndexVolume}
	}
	d.Accepted = slices.Sorted(slices.Values(p.Accepted))
	b, err := json.Marshal(d) // map keys come out sorted
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Locators maps the locator values of the source's rows to the destination's.
func (p *Plan) Locators() map[string]string {
	m := make(map[string]string, len(p.Volumes))
	for from, to := range p.Volumes {
		m[fmt.Sprint(from)] = fmt.Sprint(to)
	}
	return m
}

// check refuses a plan that was made by another version, or that was altered.
func (p *Plan) check() error {
	if p.V != PlanVersion {
		return fmt.Errorf("%w: version %d of a plan, this zmlift reads %d: make the plan again", ErrPlanStale, p.V, PlanVersion)
	}
	if p.Hash != p.Sum() {
		return fmt.Errorf("%w: its hash does not fit its content: make the plan again", ErrPlanStale)
	}
	return nil
}

// transport is what MailHost's callback would write for a server (account/callback/MailHost).
func transport(host string, lmtpPort string) string {
	return "lmtp:" + strings.ToLower(host) + ":" + lmtpPort
}
