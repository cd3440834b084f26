package filesync

import (
	"bytes"
	"cmp"
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

func (localHost) begin(ctx context.Context, root string, stale time.Duration) (Entry, error) {
	r, err := openRoot(root, nil)
	if err != nil {
		return Entry{}, err
	}
	defer r.Close()
	top, err := r.Open(".")
	if err != nil {
		return Entry{}, pathError(root, err)
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
					return Entry{}, pathError(root, err)
				}
				continue
			}
			if err := r.RemoveAll(name); err != nil {
				return Entry{}, pathError(root, err)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return Entry{}, pathError(root, err)
		}
	}
	fi, err := r.Stat(".")
	if err != nil {
		return Entry{}, pathError(root, err)
	}
	return entryOf(".", fi), ctx.Err()
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
	err = walk(ctx, sub, "", func(_ string, fi fs.FileInfo) error {
		if changed(fi).After(t) {
			young = true
			return fs.SkipAll
		}
		return nil
	})
	if err == fs.SkipAll {
		err = nil
	}
	return young, err
}

// walk calls f for everything below r, directories before their content; what vanishes meanwhile is left out.
func walk(ctx context.Context, r *os.Root, prefix string, f func(name string, fi fs.FileInfo) error) error {
	d, err := r.Open(".")
	if err != nil {
		return err
	}
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
			fi, err := r.Lstat(base)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := f(prefix+base, fi); err != nil {
				return err
			}
			if !fi.IsDir() {
				continue
			}
			sub, err := r.OpenRoot(base)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			err = walk(ctx, sub, prefix+base+"/", f)
			sub.Close()
			if err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (localHost) list(ctx context.Context, root string, yield func(Entry) error) error {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	var stopped error
	err = walk(ctx, r, "", func(name string, fi fs.FileInfo) error {
		stopped = yield(entryOf(name, fi))
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return pathError(root, err)
}

func (localHost) stat(ctx context.Context, root string, names []string, yield func(Entry) error) error {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		fi, err := r.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return cmp.Or(way(r, root, name), pathError(root, err)) // an os.Root refuses without a name the symlink that leads out of it
		}
		if err := yield(entryOf(name, fi)); err != nil {
			return err
		}
	}
	return nil
}

func (localHost) read(ctx context.Context, root string, names []string, emit func(int, Entry, io.Reader) error) error {
	r, err := openRoot(root, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := readOne(ctx, r, root, name, func(e Entry, content io.Reader) error { return emit(i, e, content) }); err != nil {
			return err
		}
	}
	return nil
}

func readOne(ctx context.Context, r *os.Root, root, name string, emit func(Entry, io.Reader) error) error {
	fi, err := r.Lstat(name)
	if err == nil && !fi.Mode().IsRegular() {
		return &FileTypeError{path.Join(root, name), fi.Mode(), "a regular file"}
	}
	var f *os.File
	if err == nil {
		f, err = r.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return pathError(root, err)
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil {
		return pathError(root, err)
	}
	counted := &countReader{ctx: ctx, r: f}
	if err := emit(entryOf(name, fi), counted); err != nil {
		if counted.n < fi.Size() && errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %s", ErrChanged, path.Join(root, name))
		}
		return err
	}
	after, err := f.Stat()
	if err != nil {
		return pathError(root, err)
	}
	if after.Size() != fi.Size() || !after.ModTime().Equal(fi.ModTime()) {
		return fmt.Errorf("%w: %s", ErrChanged, path.Join(root, name))
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

func (localHost) stage(ctx context.Context, root, stage string, g *Guard, fill func(stager) error) error {
	r, err := openRoot(root, g)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Mkdir(stage, 0o700); err != nil {
		return pathError(root, err)
	}
	sr, err := r.OpenRoot(stage)
	if err != nil {
		return pathError(root, err)
	}
	defer sr.Close()
	s := &localStager{root: root, name: stage, tree: r, stage: sr, dir: -1}
	err = fill(s)
	s.closeDir()
	if err != nil {
		return err
	}
	return pathError(root, force(sr))
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

// A localStager keeps the stage's directory that was used last open.
type localStager struct {
	root, name  string
	tree, stage *os.Root
	dir         int
	sub         *os.Root
	buf         []byte
}

func (s *localStager) closeDir() {
	if s.sub != nil {
		s.sub.Close()
		s.sub = nil
	}
}

func (s *localStager) enter(dir int) error {
	if s.sub != nil && s.dir == dir {
		return nil
	}
	s.closeDir()
	name := strconv.Itoa(dir)
	if err := s.stage.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return pathError(s.root, err)
	}
	sub, err := s.stage.OpenRoot(name)
	if err != nil {
		return pathError(s.root, err)
	}
	s.dir, s.sub = dir, sub
	return nil
}

func (s *localStager) mkdir(e Entry) error {
	if err := way(s.tree, s.root, e.Name); err != nil {
		return err
	}
	if err := s.tree.Mkdir(e.Name, 0o700); errors.Is(err, fs.ErrExist) {
		return isDir(s.tree, s.root, e.Name)
	} else if err != nil {
		return pathError(s.root, err)
	}
	return pathError(s.root, dress(s.tree, e))
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
	f, err := s.sub.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return pathError(s.root, err)
	}
	if s.buf == nil {
		s.buf = make([]byte, 256<<10)
	}
	// An os.File on its own would take a new buffer for every file.
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(content, e.Size), s.buf)
	if err == nil && n < e.Size {
		err = io.ErrUnexpectedEOF
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	e.Name = base
	return pathError(s.root, dress(s.sub, e))
}

func (s *localStager) link(dir int, base string, targetDir int, target string, _ int64) error {
	if err := s.enter(dir); err != nil {
		return err
	}
	to := path.Join(s.name, strconv.Itoa(dir), base)
	if targetDir >= 0 {
		target = path.Join(s.name, strconv.Itoa(targetDir), target)
	} else if err := way(s.tree, s.root, target); err != nil {
		return err
	}
	return pathError(s.root, s.tree.Link(target, to))
}

func (localHost) commit(ctx context.Context, root, stage string, g *Guard, dirs []string) error {
	r, err := openRoot(root, g)
	if err != nil {
		return err
	}
	defer r.Close()
	for i, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := way(r, root, dir+"/"); err != nil {
			return err
		}
		if err := renameAll(r, root, path.Join(stage, strconv.Itoa(i)), dir); err != nil {
			return err
		}
	}
	return pathError(root, r.RemoveAll(stage))
}

func renameAll(r *os.Root, root, from, to string) error {
	d, err := r.Open(from)
	if err != nil {
		return pathError(root, err)
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return pathError(root, err)
	}
	for _, base := range names {
		final := path.Join(to, base)
		if fi, err := r.Lstat(final); err == nil && fi.IsDir() {
			return &FileTypeError{path.Join(root, final), fi.Mode(), "a regular file"}
		}
		if err := r.Rename(path.Join(from, base), final); err != nil {
			return pathError(root, err)
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

func (h localHost) sums(ctx context.Context, root, algo string, names []string, yield func(string, []byte) error) error {
	return h.read(ctx, root, names, func(i int, _ Entry, content io.Reader) error {
		d := hashes[algo]()
		if _, err := io.Copy(d, content); err != nil {
			return pathError(root, err)
		}
		return yield(names[i], d.Sum(nil))
	})
}

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
