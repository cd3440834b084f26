package sqlrewrite

import (
	"errors"
	"fmt"
)

// ErrTruncated: the input ended inside a statement, a string or a comment.
var ErrTruncated = errors.New("sqlrewrite: the input ends inside a statement")

// A SyntaxError says where in the input something stands that is not understood, or that the rules refuse. Of the input it
// has the names of a table and its database, and at most one byte that has no place: nothing else is quoted, because rows belong to somebody. When
// the input was cut short it wraps ErrTruncated.
type SyntaxError struct {
	Offset int64  // bytes before it
	Line   int    // counted from 1
	Table  string // the table of the statement, where one is known: "database.table", or "table" where no database is known
	Msg    string

	err error
}

func (e *SyntaxError) Error() string {
	table := ""
	if e.Table != "" {
		table = e.Table + ": "
	}
	return fmt.Sprintf("line %d (byte %d): %s%s", e.Line, e.Offset, table, e.Msg)
}

// Unwrap returns ErrTruncated when the input was cut short, and nil otherwise.
func (e *SyntaxError) Unwrap() error { return e.err }
