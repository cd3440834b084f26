package filesync

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// localHost carries out a host's work on this machine. An os.Root keeps every path inside the tree; symlinks inside it, which an os.Root
// follows, are looked for before each use.
type localHost struct{}

// openRoot opens the root and compares the guard's mark.
func openRoot(root string, g *Guard) (*os.Root, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("filesync: %w", err)
	}
	if err := checkGuard(r, root, g); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func checkGuard(r *os.Root, root string, g *Guard) error {
	if g == nil {
		return nil
	}
	content, err := plainFile(r, root, g.Name, int64(len(g.Content))+1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || string(content) != g.Content {
		return fmt.Errorf("%w: %s", ErrGuard, root)
	}
	return nil
}

// way returns an error when a directory above name is a symlink, or no directory.
func way(r *os.Root, root, name string) error {
	for dir := range ancestors(name) {
		if err := isDir(r, root, dir); err != nil {
			return err
		}
	}
	return nil
}

func isDir(r *os.Root, root, dir string) error {
	if dir == "" {
		return nil
	}
	fi, err := r.Lstat(dir)
	if err != nil {
		return pathError(root, err)
	}
	if !fi.IsDir() {
		return &FileTypeError{path.Join(root, dir), fi.Mode(), "a directory"}
	}
	return nil
}

// pathError puts the root before the name that an os.Root's error has.
func pathError(root string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("filesync: in %s: %w", root, err)
}

// plainFile reads up to limit bytes of a regular file.
func plainFile(r *os.Root, root, name string, limit int64) ([]byte, error) {
	if err := way(r, root, name); err != nil {
		return nil, err
	}
	fi, err := r.Lstat(name)
	if err != nil {
		return nil, pathError(root, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, &FileTypeError{path.Join(root, name), fi.Mode(), "a regular file"}
	}
	f, err := r.Open(name)
	if err != nil {
		return nil, pathError(root, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return b, pathError(root, err)
}

func entryOf(name string, fi fs.FileInfo) Entry {
	st := fi.Sys().(*syscall.Stat_t)
	return Entry{
		Name: name, Mode: fi.Mode(), Size: fi.Size(), ModTime: fi.ModTime(),
		Inode: st.Ino, Device: st.Dev, Links: uint64(st.Nlink), UID: int(st.Uid), GID: int(st.Gid),
	}
}

func changed(fi fs.FileInfo) time.Time {
	return time.Unix(fi.Sys().(*syscall.Stat_t).Ctim.Unix())
}

func (h localHost) look(ctx context.Context, root string, stale time.Duration, all bool, names []string, yield func(Entry) error) error {
	if err := sweep(ctx, root, stale); err != nil {
		return err
	}
	if all {
		return h.list(ctx, root, yield)
	}
	return h.stat(ctx, root, slices.Concat([]string{"."}, names), yield)
}

// sweep removes what earlier writers left unfinished, if all of it is older than stale.
func sweep(ctx context.Context, root string, stale time.Duration) error {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	top, err := r.Open(".")
	if err != nil {
		return pathError(root, err)
	}
	defer top.Close()
	for {
		names, err := top.Readdirnames(512)
		for _, name := range names {
			if !isStage(name) {
				continue
			}
			if young, err := touchedSince(ctx, r, name, time.Now().Add(-stale)); stale > 0 && (young || err != nil) {
				if err != nil {
					return pathError(root, err)
				}
				continue
			}
			if err := r.RemoveAll(name); err != nil {
				return pathError(root, err)
			}
		}
		if err == io.EOF {
			return ctx.Err()
		}
		if err != nil {
			return pathError(root, err)
		}
	}
}

// touchedSince says whether name or anything below it was changed after t.
func touchedSince(ctx context.Context, r *os.Root, name string, t time.Time) (bool, error) {
	fi, err := r.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || changed(fi).After(t) || !fi.IsDir() {
		return err == nil && changed(fi).After(t), err
	}
	young := false
	sub, err := r.OpenRoot(name)
	if err != nil {
		return false, err
	}
	defer sub.Close()
	err = fs.WalkDir(sub.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		var fi fs.FileInfo
		if err == nil {
			fi, err = d.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return ctx.Err()
		case err == nil && changed(fi).After(t):
			young = true
			return fs.SkipAll
		}
		return errors.Join(err, ctx.Err())
	})
	return young, err
}

func (localHost) list(ctx context.Context, root string, yield func(Entry) error) error {
	w, err := openWalker(root, nil)
	if err != nil {
		return err
	}
	defer w.close()
	top, err := statFD(int(w.top.Fd()), ".")
	if err != nil {
		return w.err("stat", ".", err)
	}
	if err := yield(top); err != nil {
		return err
	}
	return w.walk(ctx, int(w.top.Fd()), "", yield)
}

// walk yields everything below the open directory; what vanishes meanwhile is left out.
func (w *walker) walk(ctx context.Context, dir int, name string, yield func(Entry) error) error {
	prefix := name
	if name != "" {
		prefix += "/"
	}
	// Another descriptor, with a position of its own.
	fd, err := openDir(dir, ".")
	if err != nil {
		return w.err("open", name, err)
	}
	d := os.NewFile(uintptr(fd), path.Join(w.root, name))
	defer d.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := d.Readdirnames(1024)
		for _, base := range names {
			if prefix == "" && isStage(base) {
				continue
			}
			e, err := statAt(fd, base)
			if err == unix.ENOENT {
				continue
			}
			e.Name = prefix + base
			if err != nil {
				return w.err("lstat", e.Name, err)
			}
			if err := yield(e); err != nil {
				return err
			}
			if !e.IsDir() {
				continue
			}
			sub, err := openDir(fd, base)
			if err == unix.ENOENT {
				continue
			}
			if err == unix.ENOTDIR {
				return w.notDir(fd, e.Name)
			}
			if err != nil {
				return w.err("open", e.Name, err)
			}
			err = w.walk(ctx, sub, e.Name, yield)
			unix.Close(sub)
			if err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return pathError(w.root, err)
		}
	}
}

func (localHost) stat(ctx context.Context, root string, names []string, yield func(Entry) error) error {
	w, err := openWalker(root, nil)
	if err != nil {
		return err
	}
	defer w.close()
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := w.lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

func (localHost) read(ctx context.Context, root string, names []string, emit func(int, Entry, io.Reader) error) error {
	w, err := openWalker(root, nil)
	if err != nil {
		return err
	}
	defer w.close()
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := w.readOne(ctx, name, func(e Entry, content io.Reader) error { return emit(i, e, content) })
		if err != nil && err != errUnread {
			return err
		}
	}
	return nil
}

func (w *walker) readOne(ctx context.Context, name string, emit func(Entry, io.Reader) error) error {
	fd, e, err := w.openFile(name)
	if err != nil {
		return err
	}
	defer unix.Close(int(fd))
	counted := &countReader{ctx: ctx, r: fd}
	if err := emit(e, counted); err != nil {
		if counted.n < e.Size && errors.Is(err, io.ErrUnexpectedEOF) {
			return changedError(w.root, name)
		}
		return err
	}
	after, err := statFD(int(fd), name)
	if err != nil {
		return w.err("stat", name, err)
	}
	if after.Size != e.Size || !after.ModTime.Equal(e.ModTime) {
		return changedError(w.root, name)
	}
	return nil
}

// A countReader counts what was read, and stops with its context.
type countReader struct {
	ctx context.Context
	r   io.Reader
	n   int64
}

func (c *countReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (localHost) prepare(_ context.Context, root, stage string, g *Guard) error {
	w, err := openWalker(root, g)
	if err != nil {
		return err
	}
	defer w.close()
	dir, err := makeDir(int(w.top.Fd()), stage)
	if err != nil {
		return w.err("mkdir", stage, err)
	}
	defer unix.Close(dir)
	return w.err("mkdir", path.Join(stage, rsyncDir), unix.Mkdirat(dir, rsyncDir, 0o700))
}

func (localHost) put(ctx context.Context, root, stage string, prepared bool, _ Owner, g *Guard, fill func(stager) ([]string, error)) error {
	w, err := openWalker(root, g)
	if err != nil {
		return err
	}
	defer w.close()
	make := makeDir
	if prepared {
		make = openDir
	}
	dir, err := make(int(w.top.Fd()), stage)
	if err != nil {
		return w.err("mkdir", stage, err)
	}
	defer unix.Close(dir)
	s := &localStager{w: w, stage: dir}
	defer s.close()
	dirs, err := fill(s)
	if err != nil {
		return err
	}
	if err := unix.Syncfs(dir); err != nil {
		return w.err("syncfs", stage, err)
	}
	return commit(ctx, root, w, s, g, stage, dirs)
}

// commit renames the files of the stage's directories into dirs, if the guard still lets it.
func commit(ctx context.Context, root string, w *walker, s *localStager, g *Guard, stage string, dirs []string) error {
	r, err := openRoot(root, g)
	if err != nil {
		return err
	}
	defer r.Close()
	// Should the tree have been removed and made anew meanwhile, this one is not the one that was filled.
	if _, err := r.Lstat(stage); err != nil {
		return pathError(root, err)
	}
	for i, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.renameAll(i, dir); err != nil {
			return err
		}
	}
	return pathError(root, r.RemoveAll(stage))
}

// force writes the whole file system that r is on to disk.
func force(r *os.Root) error {
	d, err := r.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: r.Name(), Err: err}
	}
	return nil
}

// makeDir makes a directory that only its owner can use, and opens it.
func makeDir(at int, base string) (int, error) {
	if err := retry(func() error { return unix.Mkdirat(at, base, 0o700) }); err != nil {
		return -1, err
	}
	return openDir(at, base)
}

// A localStager keeps the stage's directory that was used last open.
type localStager struct {
	w     *walker // for the tree
	stage int
	dir   int
	fd    int // of dir; 0 when there is none
	made  []bool
	buf   []byte
}

func (s *localStager) close() {
	if s.fd > 0 {
		unix.Close(s.fd)
		s.fd = 0
	}
}

func (s *localStager) enter(dir int) (err error) {
	if s.fd > 0 && s.dir == dir {
		return nil
	}
	s.close()
	for dir >= len(s.made) {
		s.made = append(s.made, false)
	}
	var fd int
	name := strconv.Itoa(dir)
	if s.made[dir] {
		fd, err = openDir(s.stage, name)
	} else {
		fd, err = makeDir(s.stage, name)
	}
	if err != nil {
		return s.w.err("mkdir", name, err)
	}
	s.dir, s.fd, s.made[dir] = dir, fd, true
	return nil
}

func (s *localStager) mkdir(dir int, name string, e Entry) error {
	if err := s.enter(dir); err != nil {
		return err
	}
	at := s.fd
	if above := path.Dir(name); above != "." {
		// Nobody else can have put a symlink into the stage.
		err := retry(func() (err error) {
			at, err = unix.Openat(s.fd, above, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return s.w.err("open", path.Dir(e.Name), err)
		}
		defer unix.Close(at)
	}
	fd, err := makeDir(at, path.Base(name))
	if err != nil {
		return s.w.err("mkdir", e.Name, err)
	}
	defer unix.Close(fd)
	return s.w.err("mkdir", e.Name, dressFD(fd, e))
}

// dressFD gives an open file or directory its owner and mode.
func dressFD(fd int, e Entry) error {
	if err := unix.Fchown(fd, e.UID, e.GID); err != nil {
		return err
	}
	return unix.Fchmod(fd, toUnix(e.Mode))
}

// dress gives a file or directory its owner, mode and, if there is one, time. Changing the owner takes setuid bits away: mode comes second.
func dress(r *os.Root, e Entry) error {
	if err := r.Lchown(e.Name, e.UID, e.GID); err != nil {
		return err
	}
	if err := r.Chmod(e.Name, e.Mode&modeBits); err != nil {
		return err
	}
	if e.ModTime.IsZero() {
		return nil
	}
	return r.Chtimes(e.Name, e.ModTime, e.ModTime)
}

func (s *localStager) file(dir int, base string, e Entry, content io.Reader) error {
	if err := s.enter(dir); err != nil {
		return err
	}
	if s.buf == nil {
		s.buf = make([]byte, 256<<10)
	}
	err := create(s.fd, base, e, content, s.buf)
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathError(s.w.root, err)
	}
	return err
}

func (s *localStager) link(dir int, base string, targetDir int, target string, _ int64) error {
	at := s.stage
	var err error
	switch targetDir {
	case inTree:
		at, err = s.w.enter(parent(target))
		target = path.Base(target)
	case inStage:
	default:
		target = path.Join(strconv.Itoa(targetDir), target)
	}
	if err == nil {
		err = s.enter(dir)
	}
	if err != nil {
		return err
	}
	return s.w.err("link", base, unix.Linkat(at, target, s.fd, base, 0))
}

// renameAll renames what is in a directory of the stage into one of the tree.
func (s *localStager) renameAll(i int, dir string) error {
	if err := s.enter(i); err != nil {
		return err
	}
	to, err := s.w.enter(dir)
	if err != nil {
		return err
	}
	fd, err := openDir(s.fd, ".")
	if err != nil {
		return s.w.err("open", dir, err)
	}
	d := os.NewFile(uintptr(fd), path.Join(s.w.root, dir))
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return pathError(s.w.root, err)
	}
	for _, base := range names {
		err := retry(func() error { return unix.Renameat(s.fd, base, to, base) })
		if err == unix.EISDIR {
			return &FileTypeError{path.Join(s.w.root, dir, base), fs.ModeDir, "a regular file"}
		}
		if err != nil {
			return s.w.err("rename", path.Join(dir, base), err)
		}
	}
	return nil
}

func (localHost) discard(_ context.Context, root, stage string) error {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	return pathError(root, r.RemoveAll(stage))
}

func (localHost) setDirs(ctx context.Context, root string, g *Guard, dirs []Entry) error {
	r, err := openRoot(root, g)
	if err != nil {
		return err
	}
	defer r.Close()
	// What is inside comes first: a directory may become one that cannot be searched.
	for _, d := range slices.Backward(dirs) {
		if err := errors.Join(ctx.Err(), way(r, root, d.Name+"/")); err != nil {
			return err
		}
		if err := dress(r, d); err != nil {
			return pathError(root, err)
		}
	}
	return nil
}

func (localHost) unlink(ctx context.Context, root string, g *Guard, files, dirs []string) error {
	r, err := openRoot(root, g)
	if err != nil {
		return err
	}
	defer r.Close()
	last := ""
	for i, name := range slices.Concat(files, dirs) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if dir := parent(name); dir != last || i == len(files) {
			if err := way(r, root, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			last = dir
		}
		fi, err := r.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && fi.IsDir() != (i >= len(files)) {
			return &FileTypeError{path.Join(root, name), fi.Mode(), "what it was when it was listed"}
		}
		if err == nil {
			err = r.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return pathError(root, err)
		}
	}
	return nil
}

var hashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha1": sha1.New}

func (localHost) remove(_ context.Context, root, name, stage string, g *Guard) error {
	r, err := openRoot(root, g)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.RemoveAll(stage); err != nil {
		return pathError(root, err)
	}
	if err := way(r, root, name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := r.Rename(name, stage); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return pathError(root, err)
	}
	return pathError(root, r.RemoveAll(stage))
}

func (localHost) free(_ context.Context, root string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: root, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func (localHost) sync(_ context.Context, root string) error {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	return pathError(root, force(r))
}

func (localHost) readFile(_ context.Context, root, name string, limit int64) ([]byte, error) {
	r, err := openRoot(root, nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return plainFile(r, root, name, limit+1)
}

func (localHost) writeFile(_ context.Context, root, name, stage string, content []byte, exclusive bool) (err error) {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := way(r, root, name); err != nil {
		return err
	}
	top, err := r.Stat(".")
	if err != nil {
		return pathError(root, err)
	}
	defer func() {
		if rerr := r.Remove(stage); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, pathError(root, rerr))
		}
	}()
	if err := writeStage(r, stage, content, entryOf(".", top)); err != nil {
		return pathError(root, err)
	}
	if exclusive {
		return pathError(root, r.Link(stage, name))
	}
	return pathError(root, r.Rename(stage, name))
}

func writeStage(r *os.Root, stage string, content []byte, top Entry) error {
	f, err := r.OpenFile(stage, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(content))
	return errors.Join(err, f.Chown(top.UID, top.GID), f.Sync(), f.Close())
}

func (localHost) mkdir(_ context.Context, root, name string) error {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := way(r, root, name); err != nil {
		return err
	}
	top, err := r.Stat(".")
	if err != nil {
		return pathError(root, err)
	}
	if err := r.Mkdir(name, 0o700); err != nil {
		return pathError(root, err)
	}
	e := entryOf(name, top)
	e.ModTime = time.Time{}
	return pathError(root, dress(r, e))
}

func (localHost) rmdir(_ context.Context, root, name string) error {
	w, err := openWalker(root, nil)
	if err != nil {
		return err
	}
	defer w.close()
	dir, err := w.enter(parent(name))
	if err != nil {
		return err
	}
	err = retry(func() error { return unix.Unlinkat(dir, path.Base(name), unix.AT_REMOVEDIR) })
	if err == unix.ENOTEMPTY || err == unix.EEXIST {
		return nil
	}
	return w.err("rmdir", name, err)
}
