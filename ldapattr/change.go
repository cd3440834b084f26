package ldapattr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zmlift/zmlift/ldapattr/internal/ldapfilter"
)

// A Change replaces values of one attribute: it deletes Old and adds New.
//
//   - Every value of Old must be there, none of New may be there already unless Old has it too; otherwise [ErrConflict].
//   - Old without values means "absent": the attribute must have no value at all, otherwise ErrConflict.
//   - New without values deletes Old and adds nothing. With Old absent as well, the Change only asserts the absence.
//   - Old equal to New asserts that the values are there. The server counts this as a write: entryCSN changes.
//
// For a single-valued attribute this is a compare-and-swap of the whole attribute. Of an attribute with several values it replaces
// those named and leaves the others: Old asserts that these values are there, not that they are the only ones. To assert the whole
// set, pass what was read to [Client.ModifyIf] as a filter on entryCSN.
//
// Values are compared by the attribute's own rule in the server's schema. Many rules ignore case: there, Old "Active" finds "active".
// Whether Old may name one value twice in different spellings is up to the server.
type Change struct {
	Attr     string
	Old, New []string
}

// A ChangeError is a Change that can mean nothing, found before anything is sent.
type ChangeError struct {
	Index int // among the changes of the call, from 0; -1: the call as a whole
	Attr  string
	Msg   string
}

func (e *ChangeError) Error() string {
	if e.Index < 0 {
		return "ldapattr: " + e.Msg
	}
	return fmt.Sprintf("ldapattr: change %d of attribute %q: %s", e.Index, e.Attr, e.Msg)
}

// CheckChanges reports the first mistake in the changes of one modify, as a [*ChangeError]: a bad attribute name, an empty value (an
// absent attribute is an Old without values, not with an empty one), a value that is given twice, an attribute that is named by two
// changes, or no change that writes anything. Every implementation of a directory refuses the same ones before it does anything.
func CheckChanges(changes ...Change) error {
	writes := false
	for i, c := range changes {
		bad := func(msg string) error { return &ChangeError{Index: i, Attr: c.Attr, Msg: msg} }
		if !ldapfilter.ValidAttr(c.Attr) {
			return bad("not an attribute name")
		}
		for _, earlier := range changes[:i] {
			if strings.EqualFold(earlier.Attr, c.Attr) {
				return bad("named by two changes")
			}
		}
		for _, values := range [][]string{c.Old, c.New} {
			if slices.Contains(values, "") {
				return bad("empty value (an absent attribute has no values)")
			}
			for j, v := range values {
				if slices.Contains(values[:j], v) {
					return bad("value given twice")
				}
			}
		}
		writes = writes || len(c.Old)+len(c.New) > 0
	}
	if !writes {
		return &ChangeError{Index: -1, Msg: "modify without a change that writes"}
	}
	return nil
}
