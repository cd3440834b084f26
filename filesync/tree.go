package filesync

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// A Runner runs one command on another machine: argv as it stands, without a shell in between. It returns nil when the command exited
// with status 0 and all of its output was written; a command that exited with another status is an error that has a method
// ExitCode() int somewhere in its chain. When reading stdin fails the command must not be left waiting. At the end of ctx it returns.
// Commands of one sync run side by side, four at most.
type Runner interface {
	Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error
}

// RemoteOptions are the knobs of [Remote]; nil is sensible.
type RemoteOptions struct {
	// Prefix is put before every command, for example "sudo", "-n". Default: nothing.
	Prefix []string
}

// A Host is a machine with files on it. Make one with [Local] or [Remote].
type Host struct{ h host }

// Local is this machine.
func Local() Host { return Host{localHost{}} }

// Remote is the machine that r runs commands on. It needs sh, GNU find, xargs, tar and coreutils there, and nothing else.
func Remote(r Runner, opts *RemoteOptions) Host {
	h := &remoteHost{run: r}
	if opts != nil {
		h.prefix = opts.Prefix
	}
	return Host{h}
}

// A Tree is one directory on a Host, and everything below it on the same file system. The directory itself must exist when the tree
// is used, and is never made or removed.
type Tree struct {
	h    host
	root string
}

// Tree names the directory root; it does no I/O. Root must be absolute on a remote host. A symlink on the way to root, or at root, is
// followed as the administrator meant it; below root none is.
func (h Host) Tree(root string) Tree {
	if _, ok := h.h.(localHost); ok {
		if abs, err := filepath.Abs(root); err == nil {
			root = abs
		}
	}
	return Tree{h.h, root}
}

// String is the root directory.
func (t Tree) String() string { return t.root }

func (t Tree) path(name string) string {
	if name == "." {
		return t.root
	}
	return path.Join(t.root, name)
}

func (t Tree) check() error {
	switch {
	case t.h == nil:
		return &NameError{t.root, "a tree without a host"}
	case !path.IsAbs(t.root) || strings.ContainsRune(t.root, 0):
		return &NameError{t.root, "the root of a tree must be an absolute path"}
	case path.Clean(t.root) == "/":
		return &NameError{t.root, "the root directory of a machine is no tree"}
	}
	return nil
}

// An Entry is one file or directory of a tree.
type Entry struct {
	Name    string // relative to the tree's root, with slashes; "." is the root itself
	Mode    fs.FileMode
	Size    int64
	ModTime time.Time
	Inode   uint64
	Device  uint64
	Links   uint64 // names of the file, those outside the tree included
	UID     int
	GID     int
}

// IsDir says whether the entry is a directory; if not, it is a regular file.
func (e Entry) IsDir() bool { return e.Mode.IsDir() }

// stagePrefix starts the names of what is not finished yet, at the top of a tree.
const stagePrefix = ".filesync-"

// checkName refuses names that are not plain paths below a root.
func checkName(name string) error {
	switch {
	case name == "":
		return &NameError{name, "empty"}
	case strings.ContainsRune(name, 0):
		return &NameError{name, "has a NUL"}
	case name[0] == '/':
		return &NameError{name, "absolute"}
	case strings.HasPrefix(name, stagePrefix):
		return &NameError{name, "reserved for unfinished work"}
	}
	for elem := range strings.SplitSeq(name, "/") {
		switch elem {
		case "", ".", "..":
			return &NameError{name, "not a plain path below the root"}
		}
	}
	return nil
}

func isStage(name string) bool { return strings.HasPrefix(name, stagePrefix) }

// parent is the directory that holds name; "" is the root.
func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}

// ancestors are the directories above name, the outermost first, the root not among them.
func ancestors(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(name) {
			if name[i] == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}

// A host carries out the few things that a sync is made of. Names given to it have been checked. Its errors name the path.
type host interface {
	// begin looks at the root and removes what earlier writers left unfinished, if all of it is older than stale.
	begin(ctx context.Context, root string, stale time.Duration) (Entry, error)
	// list yields everything below root but unfinished work, directories before what is in them. What vanishes meanwhile is left out.
	list(ctx context.Context, root string, yield func(Entry) error) error
	// stat yields those of names that exist, in any order.
	stat(ctx context.Context, root string, names []string, yield func(Entry) error) error
	// read calls emit for the files of names that exist, in their order, with the index in names. Emit need not read to the end.
	read(ctx context.Context, root string, names []string, emit func(i int, e Entry, content io.Reader) error) error
	// stage makes the directory stage at the root, has fill put files into it, forces them to disk and counts them. When it fails
	// the caller discards the stage.
	stage(ctx context.Context, root, stage string, g *Guard, fill func(stager) error) error
	// commit renames dirs[i]'s files from the stage's directory i, and removes the stage.
	commit(ctx context.Context, root, stage string, g *Guard, dirs []string) error
	// discard removes the stage.
	discard(ctx context.Context, root, stage string) error
	// setDirs gives existing directories their mode, owner and time.
	setDirs(ctx context.Context, root string, g *Guard, dirs []Entry) error
	// unlink removes files, which may be gone, and empty directories, in the given order.
	unlink(ctx context.Context, root string, g *Guard, files, dirs []string) error
	// sums yields digests of the named files, those that exist.
	sums(ctx context.Context, root string, algo string, names []string, yield func(name string, sum []byte) error) error

	remove(ctx context.Context, root, name, stage string, g *Guard) error
	free(ctx context.Context, root string) (int64, error)
	sync(ctx context.Context, root string) error
	readFile(ctx context.Context, root, name string, limit int64) ([]byte, error)
	writeFile(ctx context.Context, root, name, stage string, content []byte, exclusive bool) error
	mkdir(ctx context.Context, root, name string) error
}

// A stager fills a stage.
type stager interface {
	// mkdir makes a directory of the tree, not of the stage; its parent exists. It may exist.
	mkdir(e Entry) error
	// file puts a file into the stage's directory dir. E has its final owner, mode, time and size, which content must have.
	file(dir int, base string, e Entry, content io.Reader) error
	// link makes a hard link in the stage's directory dir to a file of the given size in the stage, or, if targetDir is negative, in the tree.
	link(dir int, base string, targetDir int, target string, size int64) error
}
