package filesync

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Runner runs one command on another machine: argv as it stands, without a shell in between. It returns nil when the command exited
// with status 0 and all of its output was written; a command that exited with another status is an error that has a method
// ExitCode() int somewhere in its chain. When reading stdin fails the command must not be left waiting. At the end of ctx it returns.
// Commands run side by side. A Runner that makes some of them wait must let eight run; however many syncs there are on a [Host], no more than
// seven of its commands wait for each other.
type Runner interface {
	Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error
}

// RemoteOptions are the knobs of [Remote]; nil is sensible.
type RemoteOptions struct {
	// Prefix is put before every command, for example "sudo", "-n". Default: nothing.
	Prefix []string
	// Priority is what the commands have there; nil is the same as everybody's.
	Priority *Priority
	// SSH is how rsync gets to the machine, for Options.Engine. Nil: rsync cannot.
	SSH *SSH
}

// A Host is a machine with files on it. Make one with [Local] or [Remote].
type Host struct{ h host }

// Local is this machine.
func Local() Host { return Host{localHost{}} }

// Remote is the machine that r runs commands on. It needs sh, GNU find, xargs, tar and coreutils there, and nothing else.
func Remote(r Runner, opts *RemoteOptions) Host {
	h := &remoteHost{run: r, batches: make(chan struct{}, inFlight), listing: make(chan struct{}, 1)}
	if opts != nil {
		h.prefix, h.priority, h.ssh = opts.Prefix, opts.Priority, opts.SSH
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

// dirsAbove are the directories above names, each once, and after those above it.
func dirsAbove(names []string) []string {
	var above dirsSet
	for i, name := range names {
		if i == 0 || parent(name) != parent(names[i-1]) {
			above.addAbove(name)
		}
	}
	return slices.Sorted(maps.Keys(above))
}

// A host carries out the few things that a sync is made of. Names given to it have been checked. Its errors name the path.
type host interface {
	// look removes what earlier writers left unfinished, if all of it is older than stale. Then it yields the root and, as list or stat do,
	// everything below it or the given names.
	look(ctx context.Context, root string, stale time.Duration, all bool, names []string, yield func(Entry) error) error
	// list yields the root and everything below it but unfinished work, directories before what is in them. What vanishes meanwhile is left
	// out.
	list(ctx context.Context, root string, yield func(Entry) error) error
	// stat yields those of names that exist, in any order.
	stat(ctx context.Context, root string, names []string, yield func(Entry) error) error
	// read calls emit for the files of names that exist, in their order, with the index in names. Emit need not read to the end.
	read(ctx context.Context, root string, names []string, emit func(i int, e Entry, content io.Reader) error) error
	// prepare makes the directory stage at the root, for rsync to write in.
	prepare(ctx context.Context, root, stage string, g *Guard) error
	// put makes the directory stage at the root, unless prepare did, has fill put files into it, forces them to disk and counts them. Then it renames what is in
	// the stage's directory i into dirs[i], which fill returns, and removes the stage. What it needs for itself belongs to owner. When it fails
	// the caller discards the stage.
	put(ctx context.Context, root, stage string, prepared bool, owner Owner, g *Guard, fill func(stager) (dirs []string, err error)) error
	// discard removes the stage.
	discard(ctx context.Context, root, stage string) error
	// setDirs gives existing directories their mode, owner and time.
	setDirs(ctx context.Context, root string, g *Guard, dirs []Entry) error
	// unlink removes files, which may be gone, and empty directories, in the given order.
	unlink(ctx context.Context, root string, g *Guard, files, dirs []string) error
	remove(ctx context.Context, root, name, stage string, g *Guard) error
	free(ctx context.Context, root string) (int64, error)
	sync(ctx context.Context, root string) error
	readFile(ctx context.Context, root, name string, limit int64) ([]byte, error)
	writeFile(ctx context.Context, root, name, stage string, content []byte, exclusive bool) error
	mkdir(ctx context.Context, root, name string) error
	// rmdir removes a directory that is there and empty.
	rmdir(ctx context.Context, root, name string) error
}

// Other places for the target of a link: it is a name in the stage, or in the tree.
const (
	inStage = -1
	inTree  = -2
)

// A stager fills a stage. A name with a slash lies below a directory that mkdir made there.
type stager interface {
	// mkdir makes the directory name in the stage's directory dir.
	mkdir(dir int, name string, e Entry) error
	// file puts a file into the stage's directory dir. E has its final owner, mode, time and size, which content must have.
	file(dir int, name string, e Entry, content io.Reader) error
	// link makes a hard link in the stage's directory dir to a file of the given size: in the stage's directory targetDir, or where inStage and
	// inTree say.
	link(dir int, name string, targetDir int, target string, size int64) error
}
