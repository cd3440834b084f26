package filesync

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrGuard says that the mark of [Options].Guard was not there or had another content: the tree belongs to somebody else now. The
// command that looked changed nothing; batches that were finished before stay.
var ErrGuard = errors.New("filesync: the guard's mark is missing or differs")

// ErrChanged says that a source file was written, or a directory on the way to it replaced, while it was read, again and again. Nothing of
// its batch was kept.
var ErrChanged = errors.New("filesync: file changed while it was read")

// ErrTooLarge says that [ReadFile] met a file beyond its limit.
var ErrTooLarge = errors.New("filesync: file is larger than the limit")

// A NameError is a name that could lead out of a tree, or that this package keeps for itself. Nothing was done with it.
type NameError struct{ Name, Why string }

func (e *NameError) Error() string { return fmt.Sprintf("filesync: name %q: %s", e.Name, e.Why) }

// A FileTypeError is something in a tree that is neither a file nor a directory, or not the one of the two that is needed: a symlink
// above all, which is never followed.
type FileTypeError struct {
	Path string // the root and the name
	Mode fs.FileMode
	Want string // what is needed there
}

func (e *FileTypeError) Error() string {
	return fmt.Sprintf("filesync: %s is %s, not %s", e.Path, typeName(e.Mode), e.Want)
}

// A MissingError is a file of the list, or of the listing, that the source does not have.
type MissingError struct {
	Item Item
	Path string // the root of the source and the name
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("filesync: %s is missing at the source", e.Path)
}

// Unwrap makes errors.Is(err, fs.ErrNotExist) true.
func (e *MissingError) Unwrap() error { return fs.ErrNotExist }

func typeName(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symlink"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}
