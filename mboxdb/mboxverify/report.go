package mboxverify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Kind says how a row differs.
type Kind string

const (
	Missing   Kind = "missing"   // at the destination
	Extra     Kind = "extra"     // there
	Different Kind = "different" // in some of its columns
)

// A Table is what Compare found in one table.
type Table struct {
	Name    string   `json:"table"`             // "zimbra.mailbox", "mboxgroup.mail_item"
	Source  int64    `json:"source"`            // rows
	Dest    int64    `json:"dest"`              // rows
	Columns []string `json:"columns,omitempty"` // that one side alone has
	Rows    []Row    `json:"rows,omitempty"`    // the first that differ
	More    bool     `json:"more,omitempty"`    // others differ too
}

// A Row is one that differs.
type Row struct {
	// Key is the table's key without the mailbox id, as in "item_id=257,version=2". What is not a whole number is shown by its SHA-256, as in
	// "sha256(uid)=...". In tables without a key it is what the row has of ids and change numbers, and its SHA-256, which tells it from others.
	Key     string   `json:"key"`
	Kind    Kind     `json:"kind"`
	Columns []string `json:"columns,omitempty"` // Different: those whose values are not what they should be
}

func (r Row) String() string {
	s := r.Key + " " + string(r.Kind)
	if len(r.Columns) > 0 {
		s += " in " + strings.Join(r.Columns, ", ")
	}
	return s
}

// Equal says whether the table is the same on both sides, up to what a move changes on purpose.
func (t Table) Equal() bool { return t.Source == t.Dest && len(t.Columns)+len(t.Rows) == 0 && !t.More }

func (t Table) String() string {
	s := fmt.Sprintf("%s (%d rows at the source, %d at the destination)", t.Name, t.Source, t.Dest)
	sep := ": "
	if len(t.Columns) > 0 {
		s, sep = s+sep+"only one side has "+strings.Join(t.Columns, ", "), "; "
	}
	for _, r := range t.Rows {
		s, sep = s+sep+r.String(), "; "
	}
	if t.More {
		s += sep + "..."
	}
	return s
}

// A MismatchError names what differs, by key and never by content.
type MismatchError struct {
	Tables []Table          // those that differ
	Strays map[string]int64 // Options.Unpublished: rows at the destination in tables that should have none, by table
}

func (e *MismatchError) Error() string {
	var parts []string
	for _, t := range e.Tables {
		parts = append(parts, t.String())
	}
	for _, name := range slices.Sorted(maps.Keys(e.Strays)) {
		parts = append(parts, fmt.Sprintf("%s (%d rows where none should be)", name, e.Strays[name]))
	}
	return "not equal: " + strings.Join(parts, "; ")
}
