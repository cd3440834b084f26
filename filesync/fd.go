package filesync

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// A walker reaches the files of a tree on this machine by their directories: it keeps the one that was used last open. On the way from the root
// every directory is opened by its name in the one above, and a symlink is refused, so that none leads out of the tree, not even one that is put
// there meanwhile.
type walker struct {
	root string
	top  *os.File
	name string // of dir; "" is the root
	dir  int    // an open directory; -1 when it is the root
}

func openWalker(root string, g *Guard) (*walker, error) {
	r, err := openRoot(root, g)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	top, err := r.Open(".")
	if err != nil {
		return nil, pathError(root, err)
	}
	return &walker{root: root, top: top, dir: -1}, nil
}

func (w *walker) close() {
	w.leave()
	w.top.Close()
}

func (w *walker) leave() {
	if w.dir >= 0 {
		unix.Close(w.dir)
	}
	w.dir, w.name = -1, ""
}

// enter opens the directory name, below the root, and returns a descriptor that is good until the next call. The error is fs.ErrNotExist when
// there is none, or a file on the way, and *FileTypeError for a symlink.
func (w *walker) enter(name string) (int, error) {
	if w.name == name {
		if w.dir < 0 {
			return int(w.top.Fd()), nil
		}
		return w.dir, nil
	}
	w.leave()
	fd := int(w.top.Fd())
	if name == "" {
		return fd, nil
	}
	for dir := range ancestors(name + "/") {
		next, err := openDir(fd, path.Base(dir))
		if err == unix.ENOTDIR {
			err = w.notDir(fd, dir)
		} else if err != nil {
			err = w.err("open", dir, err)
		}
		if w.dir >= 0 {
			unix.Close(w.dir)
		}
		w.dir = -1
		if err != nil {
			return -1, err
		}
		w.dir, fd = next, next
	}
	w.name = name
	return fd, nil
}

// notDir says what stands at dir, in the open directory above.
func (w *walker) notDir(above int, dir string) error {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(above, path.Base(dir), &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return w.err("lstat", dir, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return &FileTypeError{path.Join(w.root, dir), fs.ModeSymlink, "a directory"}
	}
	return w.err("open", dir, unix.ENOENT) // a file on the way: there is nothing below it
}

// err puts the root before the name, as pathError does.
func (w *walker) err(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return pathError(w.root, &fs.PathError{Op: op, Path: name, Err: err})
}

// lstat returns the entry of name; the error is fs.ErrNotExist when there is none.
func (w *walker) lstat(name string) (Entry, error) {
	dir, err := w.enter(parent(name))
	if err != nil {
		return Entry{}, err
	}
	e, err := statAt(dir, path.Base(name))
	e.Name = name
	return e, w.err("lstat", name, err)
}

func openDir(at int, base string) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(at, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

func statAt(at int, base string) (Entry, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return entryOfStat(base, &st), err
}

func entryOfStat(name string, st *unix.Stat_t) Entry {
	return Entry{
		Name: name, Mode: fromUnix(st.Mode&0o7777) | fileTypes[st.Mode&unix.S_IFMT], Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()),
		Inode: st.Ino, Device: st.Dev, Links: uint64(st.Nlink), UID: int(st.Uid), GID: int(st.Gid),
	}
}

var fileTypes = map[uint32]fs.FileMode{
	unix.S_IFREG: 0, unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe, unix.S_IFSOCK: fs.ModeSocket,
	unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
}

// retry repeats a system call that a signal interrupted.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// A descriptor is an open file without what an os.File adds for pipes and sockets.
type descriptor int

func (d descriptor) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	err = retry(func() error { n, err = unix.Read(int(d), p); return err })
	switch {
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// An output is a file that is written. Its errors have its name, those of what it is copied from do not.
type output struct {
	fd   int
	name string
}

func (o output) Write(p []byte) (written int, err error) {
	for written < len(p) {
		var n int
		err := retry(func() (err error) { n, err = unix.Write(o.fd, p[written:]); return err })
		if err != nil {
			return written, &fs.PathError{Op: "write", Path: o.name, Err: err}
		}
		written += n
	}
	return written, nil
}

// create makes a file with the content and everything else that e says, in the directory at. After an error something of it may be there.
func create(at int, base string, e Entry, content io.Reader, buf []byte) (err error) {
	var fd int
	err = retry(func() error {
		fd, err = unix.Openat(at, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return &fs.PathError{Op: "create", Path: base, Err: err}
	}
	defer func() {
		if cerr := unix.Close(fd); err == nil && cerr != nil {
			err = &fs.PathError{Op: "close", Path: base, Err: cerr}
		}
	}()
	n, err := io.CopyBuffer(output{fd, base}, io.LimitReader(content, e.Size), buf)
	if err == nil && n < e.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	// Changing the owner takes setuid bits away: the mode comes second.
	times := []unix.Timespec{unix.NsecToTimespec(e.ModTime.UnixNano()), unix.NsecToTimespec(e.ModTime.UnixNano())}
	for _, step := range []struct {
		op string
		f  func() error
	}{
		{"chown", func() error { return unix.Fchown(fd, e.UID, e.GID) }},
		{"chmod", func() error { return unix.Fchmod(fd, toUnix(e.Mode)) }},
		{"chtimes", func() error { return unix.UtimesNanoAt(at, base, times, unix.AT_SYMLINK_NOFOLLOW) }},
	} {
		if err := retry(step.f); err != nil {
			return &fs.PathError{Op: step.op, Path: base, Err: err}
		}
	}
	return nil
}

// errUnread says that a name does not exist any more.
var errUnread = errors.New("filesync: nothing to read")

// openFile opens a regular file for reading. errUnread says that there is none.
func (w *walker) openFile(name string) (descriptor, Entry, error) {
	dir, err := w.enter(parent(name))
	if errors.Is(err, fs.ErrNotExist) {
		return -1, Entry{}, errUnread
	}
	if err != nil {
		return -1, Entry{}, err
	}
	var fd int
	err = retry(func() (err error) {
		fd, err = unix.Openat(dir, path.Base(name), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	switch {
	case err == unix.ENOENT:
		return -1, Entry{}, errUnread
	case err == unix.ELOOP:
		return -1, Entry{}, &FileTypeError{path.Join(w.root, name), fs.ModeSymlink, "a regular file"}
	case err != nil:
		return -1, Entry{}, w.err("open", name, err)
	}
	e, err := statFD(fd, name)
	if err != nil {
		err = w.err("stat", name, err)
	} else if !e.Mode.IsRegular() {
		err = &FileTypeError{path.Join(w.root, name), e.Mode.Type(), "a regular file"}
	}
	if err != nil {
		unix.Close(fd)
		return -1, Entry{}, err
	}
	return descriptor(fd), e, nil
}

func statFD(fd int, name string) (Entry, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(fd, &st) })
	return entryOfStat(name, &st), err
}

func changedError(root, name string) error {
	return fmt.Errorf("%w: %s", ErrChanged, path.Join(root, name))
}
