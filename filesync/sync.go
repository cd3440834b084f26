package filesync

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// An Item is one file to be copied: From is its name in the source tree, To its name in the destination tree.
type Item struct{ From, To string }

// Sync makes dst equal to src: the same files with the same content, mode and time, the same directories, the same hard links among them,
// and nothing else. It lists both, sends what is missing or has another size or time, then removes what the source does not have.
//
// A file appears at its final name whole or not at all, and replaces an older one in one instant. Files that are also known by names
// outside of dst are not changed under those names. After an error dst holds some of the new files and all that was there before,
// unless the removals had begun; Sync may be repeated after any error, and a repetition with nothing to do changes nothing. The
// content of files is on disk before they get their names; for the names themselves call [SyncFS].
func Sync(ctx context.Context, dst, src Tree, opts *Options) (Stats, error) {
	s, err := newRun(ctx, dst, src, opts)
	if err != nil {
		return Stats{}, err
	}
	s.del, s.immutable, s.dirs = true, s.opts.Immutable, true
	return s.run(ctx, s.compareTrees)
}

// SyncList makes the files that list names equal to the source's, and leaves the rest of dst alone, or removes it with Options.Delete.
// Directories are made where they are missing, with the mode of dst's root. A file that dst has in the same size is taken as equal,
// unless Options.Mutable says that times count too. Everything else is as with [Sync].
//
// Hard links are kept among the files of one list. An error in list ends the sync, and then nothing is removed.
func SyncList(ctx context.Context, dst, src Tree, list iter.Seq2[Item, error], opts *Options) (Stats, error) {
	s, err := newRun(ctx, dst, src, opts)
	if err != nil {
		return Stats{}, err
	}
	s.del, s.immutable = s.opts.Delete, !s.opts.Mutable
	return s.run(ctx, func(ctx context.Context) error { return s.compareList(ctx, list) })
}

const (
	batchFiles = 8192      // a batch ends with so many files
	batchBytes = 256 << 20 // or so many bytes
	maxWaiting = 50_000    // files with several names whose other names are still looked for
	maxTries   = 3         // of a batch whose files change while they are read
)

// A run is one sync. One goroutine compares and makes batches, another one copies them.
type run struct {
	dst, src  Tree
	opts      *Options
	del       bool // remove what is not named
	immutable bool
	dirs      bool // directories are made equal too
	owner     Owner
	top       Entry // dst's root
	srcTop    Entry
	meter     meter
	limit     *limiter
	askMu     sync.Mutex // one question to Options.Missing at a time

	// The comparing goroutine's.
	have     *table // dst's files; nil when they are asked for one by one
	haveDirs map[string]*dirState
	srcDirs  []Entry
	srcKnown map[string]bool // directories of the source known to be some, in compareList
	groups   map[inode]*group
	waiting  map[inode][]job
	nWaiting int
	claimed  map[uint64]inode // dst's inodes with several names: whose content they are
	batch    *batch
	out      chan *batch
}

type inode struct{ dev, ino uint64 }

func (e Entry) inode() inode { return inode{e.Device, e.Inode} }

// A dirState is a directory of dst.
type dirState struct {
	entry Entry
	seen  bool // the source or the list has it
	dirty bool // something in it was changed by us
}

// A group is a file of the source with several names. To is a name that dst has, or will have when its batch is done; it belongs to the
// copying goroutine once the batch is on its way.
type group struct {
	to    string
	inode uint64 // dst's, where to was there already
	size  int64  // what dst has, or was sent
}

type job struct {
	Item
	src      Entry
	group    *group // of a link, or of the first name of a group
	accepted bool   // as missing
}

type batch struct {
	unlinkFiles, unlinkDirs []string // in the way
	mkdirs                  []Entry
	files, links            []job
	bytes                   int64
}

func (b *batch) empty() bool {
	return len(b.mkdirs)+len(b.files)+len(b.links)+len(b.unlinkFiles)+len(b.unlinkDirs) == 0
}

func newRun(ctx context.Context, dst, src Tree, opts *Options) (*run, error) {
	opts = opts.or()
	if err := errors.Join(dst.check(), src.check(), opts.check()); err != nil {
		return nil, err
	}
	s := &run{
		dst: dst, src: src, opts: opts, limit: newLimiter(opts.Rate),
		haveDirs: map[string]*dirState{}, groups: map[inode]*group{}, waiting: map[inode][]job{}, claimed: map[uint64]inode{},
		srcKnown: map[string]bool{}, batch: &batch{}, out: make(chan *batch),
	}
	s.meter.f = opts.Progress
	top, err := dst.h.begin(ctx, dst.root, opts.stale())
	if err != nil {
		return nil, err
	}
	s.top, s.owner = top, Owner{top.UID, top.GID}
	if opts.Owner != nil {
		s.owner = *opts.Owner
	}
	return s, src.h.stat(ctx, src.root, []string{"."}, func(e Entry) error { s.srcTop = e; return nil })
}

func (s *run) run(ctx context.Context, compare func(context.Context) error) (Stats, error) {
	err := s.runAll(ctx, compare)
	if err != nil {
		return s.meter.now(), err
	}
	return s.meter.done(), nil
}

func (s *run) runAll(ctx context.Context, compare func(context.Context) error) error {
	if s.del {
		s.have = newTable()
		if err := s.listDest(ctx); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(s.out)
		if err := compare(gctx); err != nil {
			return err
		}
		if err := s.resolve(gctx); err != nil {
			return err
		}
		return s.flush(gctx)
	})
	g.Go(func() error {
		for b := range s.out {
			if err := s.copy(gctx, b); err != nil {
				return err
			}
		}
		return gctx.Err()
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if s.del {
		if err := s.delete(ctx); err != nil {
			return err
		}
	}
	if s.dirs {
		return s.finishDirs(ctx)
	}
	return ctx.Err()
}

func (s *run) listDest(ctx context.Context) error {
	return s.dst.h.list(ctx, s.dst.root, func(e Entry) error {
		if s.opts.excluded(e.Name) {
			return nil
		}
		if err := checkEntry(s.dst, e, s.top.Device); err != nil {
			return err
		}
		if e.IsDir() {
			s.haveDirs[e.Name] = &dirState{entry: e}
		} else {
			s.have.add(e)
		}
		return nil
	})
}

// checkEntry refuses what is neither a file nor a directory, and other file systems. Only directories show where those begin: a file on
// an overlay may have a device number of its own.
func checkEntry(t Tree, e Entry, device uint64) error {
	if !e.IsDir() && !e.Mode.IsRegular() {
		return &FileTypeError{t.path(e.Name), e.Mode, "a regular file or a directory"}
	}
	if e.IsDir() && e.Device != device {
		return fmt.Errorf("filesync: %s is on another file system than %s", t.path(e.Name), t.root)
	}
	return nil
}

func (s *run) compareTrees(ctx context.Context) error {
	return s.src.h.list(ctx, s.src.root, func(e Entry) error {
		if s.opts.excluded(e.Name) {
			return nil
		}
		if err := checkEntry(s.src, e, s.srcTop.Device); err != nil {
			return err
		}
		if !e.IsDir() {
			return s.consider(ctx, Item{e.Name, e.Name}, e, s.have.find(e.Name))
		}
		s.srcDirs = append(s.srcDirs, e)
		s.needDir(e.Name, e.Mode)
		return nil
	})
}

// needDir has the directory made when dst does not have it.
func (s *run) needDir(name string, mode fs.FileMode) {
	if d := s.haveDirs[name]; d != nil {
		d.seen = true
		return
	}
	if s.have != nil {
		if r := s.have.find(name); r != nil {
			r.seen = true
			s.batch.unlinkFiles = append(s.batch.unlinkFiles, name)
		}
	}
	// Only its owner may use it until everything is in it; a directory that is copied gets its mode at the end.
	e := Entry{Name: name, Mode: mode | 0o700, UID: s.owner.UID, GID: s.owner.GID}
	s.batch.mkdirs = append(s.batch.mkdirs, e)
	s.haveDirs[name] = &dirState{entry: e, seen: true, dirty: true}
	s.touch(parent(name))
}

func (s *run) touch(dir string) {
	if d := s.haveDirs[dir]; d != nil {
		d.dirty = true
	}
}

// consider decides what is to be done about one file.
func (s *run) consider(ctx context.Context, it Item, src Entry, dst *record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.meter.add(func(st *Stats) { st.TotalFiles++; st.TotalBytes += src.Size })
	if err := s.clear(it.To); err != nil {
		return err
	}
	equal := false
	if dst != nil {
		dst.seen = true
		equal = dst.size == src.Size && (s.immutable || sameTime(dst.mtime, src.ModTime.UnixNano()))
	}
	if equal && dst.linked { // dst may have one file where the source has two
		if of, ok := s.claimed[dst.inode]; ok && of != src.inode() {
			equal = false
		} else {
			s.claimed[dst.inode] = src.inode()
		}
	}
	j := job{Item: it, src: src}
	if src.Links < 2 {
		if equal {
			return nil
		}
		return s.content(ctx, j)
	}
	key := src.inode()
	g := s.groups[key]
	switch {
	case g == nil && equal:
		s.groups[key] = &group{to: it.To, inode: dst.inode, size: dst.size}
		return nil
	case g == nil:
		s.waiting[key] = append(s.waiting[key], j)
		if s.nWaiting++; s.nWaiting > maxWaiting {
			return s.resolve(ctx)
		}
		return nil
	case equal && g.inode == dst.inode:
		return nil
	}
	j.group = g
	return s.link(ctx, j)
}

// sameTime compares times in nanoseconds; a destination may keep seconds only.
func sameTime(dst, src int64) bool {
	return dst == src || dst%int64(time.Second) == 0 && dst/int64(time.Second) == floorDiv(src, int64(time.Second))
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return (a - b + 1) / b
	}
	return a / b
}

// clear has a directory removed that stands where a file is to be.
func (s *run) clear(name string) error {
	d := s.haveDirs[name]
	if d == nil {
		return nil
	}
	if s.have == nil || d.seen || s.opts.holdsExcluded(name) {
		return &FileTypeError{s.dst.path(name), d.entry.Mode, "a regular file"}
	}
	if err := s.have.unseen(func(n string, r *record) error {
		if within(n, name) {
			r.seen = true
			s.batch.unlinkFiles = append(s.batch.unlinkFiles, n)
		}
		return nil
	}); err != nil {
		return err
	}
	for n := range s.haveDirs {
		if within(n, name) {
			s.batch.unlinkDirs = append(s.batch.unlinkDirs, n)
			delete(s.haveDirs, n)
		}
	}
	slices.SortFunc(s.batch.unlinkDirs, func(a, b string) int { return cmp.Compare(b, a) })
	return nil
}

// resolve decides about files with several names none of which dst had: the first is copied, the others become links to it.
func (s *run) resolve(ctx context.Context) error {
	for key, jobs := range s.waiting {
		g := s.groups[key]
		if g == nil {
			g = &group{to: jobs[0].To}
			s.groups[key] = g
			jobs[0].group = g
			if err := s.content(ctx, jobs[0]); err != nil {
				return err
			}
			jobs = jobs[1:]
		}
		for _, j := range jobs {
			j.group = g
			if err := s.link(ctx, j); err != nil {
				return err
			}
		}
	}
	clear(s.waiting)
	s.nWaiting = 0
	return nil
}

func (s *run) content(ctx context.Context, j job) error {
	s.touch(parent(j.To))
	s.batch.files = append(s.batch.files, j)
	s.batch.bytes += j.src.Size
	return s.full(ctx)
}

func (s *run) link(ctx context.Context, j job) error {
	s.touch(parent(j.To))
	s.batch.links = append(s.batch.links, j)
	return s.full(ctx)
}

func (s *run) full(ctx context.Context) error {
	if len(s.batch.files)+len(s.batch.links) < batchFiles && s.batch.bytes < batchBytes {
		return nil
	}
	return s.flush(ctx)
}

func (s *run) flush(ctx context.Context) error {
	if s.batch.empty() {
		return ctx.Err()
	}
	select {
	case s.out <- s.batch:
		s.batch = &batch{}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// copy carries out one batch.
func (s *run) copy(ctx context.Context, b *batch) error {
	if len(b.unlinkFiles)+len(b.unlinkDirs) > 0 {
		if err := s.unlink(ctx, b.unlinkFiles, b.unlinkDirs); err != nil {
			return err
		}
	}
	for tries := 1; ; tries++ {
		again, err := s.copyOnce(ctx, b)
		switch {
		case errors.Is(err, ErrChanged) && tries < maxTries:
		case err != nil || again == nil:
			return err
		default:
			b, tries = again, 0
		}
	}
}

// copyOnce brings a batch into a stage and renames it into place. What it returns besides an error is a batch of links whose file vanished
// from the source: one of them is to be copied now.
func (s *run) copyOnce(ctx context.Context, b *batch) (again *batch, err error) {
	stage := stagePrefix + rand.Text()
	defer func() {
		if err == nil {
			return
		}
		// The far side may be slow to notice that nobody listens; the caller is not to wait long for that.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		_ = s.dst.h.discard(ctx, s.dst.root, stage) // what stays is swept later, and err says what matters
	}()
	f := &filling{run: s, b: b, numbers: map[string]int{}, staged: map[*group]int{}}
	if err := s.dst.h.stage(ctx, s.dst.root, stage, s.opts.Guard, func(st stager) error { return f.fill(ctx, st) }); err != nil {
		return nil, err
	}
	if err := s.dst.h.commit(ctx, s.dst.root, stage, s.opts.Guard, f.dirs); err != nil {
		return nil, err
	}
	s.meter.add(func(st *Stats) {
		st.Files, st.Bytes, st.Links = st.Files+f.files, st.Bytes+f.bytes, st.Links+f.links
		st.Dirs += int64(len(b.mkdirs))
	})
	return f.again, nil
}

// A filling is one attempt at a batch.
type filling struct {
	*run
	b                   *batch
	numbers             map[string]int // of directories
	dirs                []string
	staged              map[*group]int // the directories of first names in this stage
	again               *batch
	files, bytes, links int64
}

func (f *filling) number(to string) int {
	dir := parent(to)
	n, ok := f.numbers[dir]
	if !ok {
		n = len(f.dirs)
		f.numbers[dir] = n
		f.dirs = append(f.dirs, dir)
	}
	return n
}

func (f *filling) fill(ctx context.Context, st stager) error {
	for _, e := range f.b.mkdirs {
		if err := st.mkdir(e); err != nil {
			return err
		}
	}
	names := make([]string, len(f.b.files))
	for i, j := range f.b.files {
		names[i] = j.From
	}
	read := make([]bool, len(names))
	if len(names) > 0 {
		err := f.src.h.read(ctx, f.src.root, names, func(i int, e Entry, content io.Reader) error {
			read[i] = true
			return f.put(ctx, st, &f.b.files[i], e, content)
		})
		if err != nil {
			return err
		}
	}
	if err := f.vanished(ctx, names, read); err != nil {
		return err
	}
	for _, j := range f.b.links {
		if err := f.putLink(st, j); err != nil {
			return err
		}
	}
	return nil
}

func (f *filling) put(ctx context.Context, st stager, j *job, e Entry, content io.Reader) error {
	n := f.number(j.To)
	if j.group != nil {
		j.group.to, j.group.size = j.To, e.Size
		f.staged[j.group] = n
	}
	// A tar stream knows whole seconds, the listing more. Should the file have been written since, in the same second, the next sync sees a
	// difference and copies it again.
	if e.ModTime.Nanosecond() == 0 && e.ModTime.Unix() == j.src.ModTime.Unix() {
		e.ModTime = j.src.ModTime
	}
	e.UID, e.GID = f.owner.UID, f.owner.GID
	if err := st.file(n, path.Base(j.To), e, f.limit.reader(ctx, content)); err != nil {
		return fmt.Errorf("copy %s: %w", f.src.path(j.From), err)
	}
	f.files, f.bytes = f.files+1, f.bytes+e.Size
	return nil
}

func (f *filling) putLink(st stager, j job) error {
	g := j.group
	if g.to == "" { // its file has vanished under the first name
		if f.again == nil {
			f.again = &batch{}
		}
		for _, first := range f.again.files {
			if first.group == g {
				f.again.links = append(f.again.links, j)
				return nil
			}
		}
		f.again.files = append(f.again.files, j)
		return nil
	}
	targetDir, target := -1, g.to
	if n, ok := f.staged[g]; ok {
		targetDir, target = n, path.Base(g.to)
	}
	if err := st.link(f.number(j.To), path.Base(j.To), targetDir, target, g.size); err != nil {
		return fmt.Errorf("link %s: %w", f.dst.path(j.To), err)
	}
	f.links++
	return nil
}

// vanished asks about the files that were not read.
func (f *filling) vanished(ctx context.Context, names []string, read []bool) error {
	var gone []string
	for i, ok := range read {
		if !ok {
			gone = append(gone, names[i])
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := f.src.h.stat(ctx, f.src.root, gone, func(e Entry) error {
		return fmt.Errorf("%w: %s was not read, though it exists", ErrChanged, f.src.path(e.Name))
	}); err != nil {
		return err
	}
	for i, ok := range read {
		if ok {
			continue
		}
		j := &f.b.files[i]
		if j.group != nil {
			j.group.to = ""
		}
		if j.accepted {
			continue
		}
		if err := f.missing(j.Item); err != nil {
			return err
		}
		j.accepted = true
	}
	return nil
}

// missing asks whether to go on without a file.
func (s *run) missing(it Item) error {
	s.askMu.Lock()
	defer s.askMu.Unlock()
	if s.opts.Missing == nil || !s.opts.Missing(it) {
		return &MissingError{Item: it, Path: s.src.path(it.From)}
	}
	s.meter.add(func(st *Stats) { st.Missing++ })
	return nil
}

const unlinkBatch = 4096

func (s *run) unlink(ctx context.Context, files, dirs []string) error {
	if err := s.dst.h.unlink(ctx, s.dst.root, s.opts.Guard, files, dirs); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	s.meter.add(func(st *Stats) { st.Deleted += int64(len(files) + len(dirs)) })
	return nil
}

// delete removes what neither the source nor the list has.
func (s *run) delete(ctx context.Context) error {
	var files []string
	err := s.have.unseen(func(name string, _ *record) error {
		s.touch(parent(name))
		if files = append(files, name); len(files) < unlinkBatch {
			return nil
		}
		err := s.unlink(ctx, files, nil)
		files = files[:0]
		return err
	})
	if err != nil {
		return err
	}
	var dirs []string
	for name, d := range s.haveDirs {
		if !d.seen && !s.opts.holdsExcluded(name) {
			dirs = append(dirs, name)
			s.touch(parent(name))
		}
	}
	if len(files)+len(dirs) == 0 {
		return nil
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(b, a) })
	return s.unlink(ctx, files, dirs)
}

// finishDirs gives directories the mode, owner and time of the source's, now that nothing in them changes any more.
func (s *run) finishDirs(ctx context.Context) error {
	var dirs []Entry
	for _, e := range s.srcDirs {
		d := s.haveDirs[e.Name]
		e.UID, e.GID = s.owner.UID, s.owner.GID
		if d.dirty || d.entry.Mode != e.Mode || !sameTime(d.entry.ModTime.UnixNano(), e.ModTime.UnixNano()) ||
			d.entry.UID != e.UID || d.entry.GID != e.GID {
			dirs = append(dirs, e)
		}
	}
	if len(dirs) == 0 {
		return ctx.Err()
	}
	return s.dst.h.setDirs(ctx, s.dst.root, s.opts.Guard, dirs)
}
