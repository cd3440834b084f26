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

// An Item is one file to be copied, or to be removed.
type Item struct {
	From   string // its name in the source tree; empty with Delete
	To     string // its name in the destination tree
	Delete bool   // the destination's file is removed
}

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

// SyncList makes the files that list names equal to the source's, removes those that it marks with Item.Delete, and leaves the rest of dst
// alone, or removes it too with Options.Delete. Without that neither tree is walked: what it takes depends on the list alone.
//
// Directories are made where they are missing, with the mode of dst's root. A file that dst has in the same size is taken as equal,
// unless Options.Mutable says that times count too. Everything else is as with [Sync].
//
// Removals come last. A file that is marked and not there is fine, a directory of that name is an error, and so is a name that is both to be
// copied and to be removed. Directories that become empty stay.
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
	batchBytes = 128 << 20 // or so many bytes, and before a new directory with half of either
	rsyncFiles = 4 * batchFiles
	rsyncBytes = 4 * batchBytes
	inFlight   = 5      // batches that are copied at once; with a listing that makes six commands on a host
	maxWaiting = 50_000 // files with several names whose other names are still looked for
	maxTries   = 3      // of a batch whose files change while they are read
	listChunk  = 1024   // entries of a listing that are handed on together
	listAhead  = 256    // chunks that the source's listing may be ahead of the destination's
)

// A run is one sync. One goroutine compares and makes batches, others copy them.
type run struct {
	dst, src  Tree
	opts      *Options
	del       bool // remove what is not named
	immutable bool
	dirs      bool // directories are made equal too
	owner     Owner
	top       Entry // dst's root
	srcTop    Entry
	rsync     *rsyncer // nil for the stream
	meter     meter
	limit     limits
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
	list     wish    // of SyncList
	keep     dirsSet // directories of dst that have something in them that is left out
}

type inode struct{ dev, ino uint64 }

func (e Entry) inode() inode { return inode{e.Device, e.Inode} }

// A dirState is a directory of dst.
type dirState struct {
	entry Entry
	seen  bool   // the source or the list has it
	dirty bool   // something in it was changed by us
	made  *batch // makes it; nil when it was there
}

// A group is a file of the source with several names. To is a name that dst has, or will have when its batch is done. To and size belong to
// whoever copies batch; a later batch that has names of the file waits for it.
type group struct {
	to    string
	inode uint64 // dst's, where to was there already
	size  int64  // what dst has, or was sent
	batch *batch // the last one that has a name of it
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
	after                   []*batch      // must be done before anything of this one gets its name
	done                    chan struct{} // closed when all of it is in place

	dir string // the directory of the last name
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

func (b *batch) isDone() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
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
		dst: dst, src: src, opts: opts, limit: newLimits(opts),
		haveDirs: map[string]*dirState{}, groups: map[inode]*group{}, waiting: map[inode][]job{}, claimed: map[uint64]inode{},
		srcKnown: map[string]bool{}, batch: newBatch(), out: make(chan *batch),
	}
	s.meter.start(opts.Progress)
	var err error
	s.rsync, err = opts.chooseEngine(dst, src)
	return s, err
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
	g.Go(func() error { return s.copyAll(gctx) })
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return err
	}
	if err := s.deleteMarked(ctx); err != nil {
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

// copyAll copies batches, several at once.
func (s *run) copyAll(ctx context.Context) error {
	limit := inFlight
	if s.rsync != nil && len(s.limit) > 0 {
		limit = 1 // the rate is that of each rsync
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for {
		var b *batch
		var ok bool
		select {
		case b, ok = <-s.out:
		case <-gctx.Done():
		}
		if !ok {
			return errors.Join(g.Wait(), ctx.Err())
		}
		alone := len(b.unlinkFiles)+len(b.unlinkDirs) > 0 // what is in the way of this batch may be on the way of another one
		if alone {
			if err := g.Wait(); err != nil {
				return err
			}
			g, gctx = errgroup.WithContext(ctx)
			g.SetLimit(limit)
		}
		release, err := s.turn(gctx)
		if err != nil {
			return errors.Join(g.Wait(), err)
		}
		g.Go(func() error {
			defer release()
			err := s.copy(gctx, b)
			if err == nil {
				close(b.done)
			}
			return err
		})
		if alone {
			if err := g.Wait(); err != nil {
				return err
			}
			g, gctx = errgroup.WithContext(ctx)
			g.SetLimit(limit)
		}
	}
}

// turn waits until each of the two hosts has room for a batch. Batches of one sync get their turn in their order: a later one may wait for an
// earlier one, and never the other way round.
func (s *run) turn(ctx context.Context) (release func(), err error) {
	a, b := batchesOf(s.src), batchesOf(s.dst)
	if a == b {
		b = nil
	}
	if a == nil {
		a, b = b, nil
	}
	// Who holds one and waits for the other may hold up somebody who does it the other way round. So nobody does.
	for a != nil {
		select {
		case a <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if b == nil {
			break
		}
		select {
		case b <- struct{}{}:
			return func() { <-a; <-b }, nil
		default:
			<-a
			a, b = b, a
		}
	}
	return func() {
		if a != nil {
			<-a
		}
	}, nil
}

// batchesOf is nil for this machine.
func batchesOf(t Tree) chan struct{} {
	if h, ok := t.h.(*remoteHost); ok {
		return h.batches
	}
	return nil
}

// look looks at the destination and takes in everything that is there, or those of names.
func (s *run) look(ctx context.Context, have *table, all bool, names []string) error {
	return s.dst.h.look(ctx, s.dst.root, s.opts.stale(), all, names, func(e Entry) error {
		if e.Name != "." {
			return s.found(have, e)
		}
		s.top, s.owner = e, Owner{e.UID, e.GID}
		if s.opts.Owner != nil {
			s.owner = *s.opts.Owner
		}
		return nil
	})
}

// A dirsSet is a set of directories.
type dirsSet map[string]struct{}

func (d *dirsSet) addAbove(name string) {
	if *d == nil {
		*d = dirsSet{}
	}
	for dir := range ancestors(name) {
		(*d)[dir] = struct{}{}
	}
}

func (d dirsSet) has(dir string) bool { _, ok := d[dir]; return ok }

// found takes in an entry of the destination.
func (s *run) found(have *table, e Entry) error {
	if s.opts.excluded(e.Name) {
		s.keep.addAbove(e.Name)
		return nil
	}
	if err := checkEntry(s.dst, e, s.top.Device); err != nil {
		return err
	}
	if e.IsDir() {
		s.haveDirs[e.Name] = &dirState{entry: e}
	} else {
		have.add(e)
	}
	return nil
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

// compareTrees lists both trees at once. The source's entries wait until all of the destination's are known.
func (s *run) compareTrees(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	chunks := make(chan []Entry, listAhead)
	g.Go(func() error {
		defer close(chunks) // after an error, which Wait returns
		chunk := make([]Entry, 0, listChunk)
		send := func() error {
			select {
			case chunks <- chunk:
				chunk = make([]Entry, 0, listChunk)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		leave, err := s.enterListing(ctx)
		if err != nil {
			return err
		}
		defer leave()
		err = s.src.h.list(ctx, s.src.root, func(e Entry) error {
			if s.opts.excluded(e.Name) {
				return nil
			}
			if chunk = append(chunk, e); len(chunk) < listChunk {
				return nil
			}
			return send()
		})
		if err != nil {
			return err
		}
		return send()
	})
	g.Go(func() error {
		if err := s.look(ctx, s.have, true, nil); err != nil {
			return err
		}
		for chunk := range chunks {
			for _, e := range chunk {
				if err := s.compareEntry(ctx, e); err != nil {
					return err
				}
			}
		}
		return ctx.Err()
	})
	return g.Wait()
}

// enterListing waits until no other sync lists a source on the host: while it does, its command waits for batches that need commands too.
func (s *run) enterListing(ctx context.Context) (leave func(), err error) {
	h, ok := s.src.h.(*remoteHost)
	if !ok {
		return func() {}, nil
	}
	select {
	case h.listing <- struct{}{}:
		return func() { <-h.listing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *run) compareEntry(ctx context.Context, e Entry) error {
	if e.Name == "." {
		s.srcTop = e
		return nil
	}
	if err := checkEntry(s.src, e, s.srcTop.Device); err != nil {
		return err
	}
	if !e.IsDir() {
		return s.consider(ctx, Item{From: e.Name, To: e.Name}, e, s.have.find(e.Name))
	}
	s.srcDirs = append(s.srcDirs, e)
	return s.needDir(ctx, e.Name, e.Mode)
}

// needDir has the directory made when dst does not have it.
func (s *run) needDir(ctx context.Context, name string, mode fs.FileMode) error {
	if d := s.haveDirs[name]; d != nil {
		d.seen = true
		return nil
	}
	if err := s.halfFull(ctx); err != nil {
		return err
	}
	if s.have != nil {
		if r := s.have.find(name); r != nil {
			r.seen = true
			s.batch.unlinkFiles = append(s.batch.unlinkFiles, name)
		}
	}
	s.awaitDir(parent(name))
	// Only its owner may use it until everything is in it; a directory that is copied gets its mode at the end.
	e := Entry{Name: name, Mode: mode | 0o700, UID: s.owner.UID, GID: s.owner.GID}
	s.batch.mkdirs = append(s.batch.mkdirs, e)
	s.haveDirs[name] = &dirState{entry: e, seen: true, dirty: true, made: s.batch}
	s.touch(parent(name))
	return nil
}

// awaitDir has the batch come after those that make dir or a directory above it.
func (s *run) awaitDir(dir string) {
	b := s.batch
	if dir == "" || dir == b.dir {
		return
	}
	b.dir = dir
	for name := range ancestors(dir + "/") {
		if d := s.haveDirs[name]; d != nil && d.made != nil {
			b.await(d.made)
		}
	}
}

func (b *batch) await(other *batch) {
	if other != b && !other.isDone() && !slices.Contains(b.after, other) {
		b.after = append(b.after, other)
	}
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
	s.meter.seen(src.Size)
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
			s.meter.same(src.Size)
			return nil
		}
		return s.content(ctx, j)
	}
	key := src.inode()
	g := s.groups[key]
	switch {
	case g == nil && equal:
		s.groups[key] = &group{to: it.To, inode: dst.inode, size: dst.size}
		s.meter.same(src.Size)
		return nil
	case g == nil:
		s.waiting[key] = append(s.waiting[key], j)
		if s.nWaiting++; s.nWaiting > maxWaiting {
			return s.resolve(ctx)
		}
		return nil
	case equal && g.inode == dst.inode:
		s.meter.same(src.Size)
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
	if s.have == nil || d.seen || s.keep.has(name) {
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
	s.awaitDir(parent(j.To))
	if j.group != nil {
		j.group.batch = s.batch
	}
	s.batch.files = append(s.batch.files, j)
	s.batch.bytes += j.src.Size
	return s.full(ctx)
}

func (s *run) link(ctx context.Context, j job) error {
	s.touch(parent(j.To))
	s.awaitDir(parent(j.To))
	if g := j.group; g.batch != s.batch {
		if g.batch != nil {
			s.batch.await(g.batch)
		}
		g.batch = s.batch
	}
	s.batch.links = append(s.batch.links, j)
	return s.full(ctx)
}

// full hands the batch over when it is full.
func (s *run) full(ctx context.Context) error { return s.fuller(ctx, 1) }

// halfFull hands over a batch that is half full, before a directory that is to be made: it comes into the tree as a whole with those of its files
// that are in the same batch, and files of a later one are renamed into it one by one.
func (s *run) halfFull(ctx context.Context) error { return s.fuller(ctx, 2) }

func (s *run) fuller(ctx context.Context, part int) error {
	files, bytes := batchFiles, int64(batchBytes)
	if s.rsync != nil && len(s.limit) == 0 { // it connects anew each time
		files, bytes = rsyncFiles, rsyncBytes
	}
	if s.opts.batch > 0 {
		files = s.opts.batch
	}
	if len(s.batch.files)+len(s.batch.links) < files/part && s.batch.bytes < bytes/int64(part) {
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
		s.batch = newBatch()
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
	f := &filling{run: s, b: b, numbers: map[string]int{}, newDirs: map[string]spot{}, staged: map[*group]spot{}}
	byRsync := s.rsync != nil && len(b.files) > 0
	if byRsync {
		if f.arrived, err = s.rsyncFiles(ctx, stage, b); err != nil {
			return nil, err
		}
	}
	err = s.dst.h.put(ctx, s.dst.root, stage, byRsync, s.owner, s.opts.Guard, func(st stager) ([]string, error) {
		err := f.fill(ctx, st)
		return f.dirs, err
	})
	if err != nil {
		return nil, err
	}
	s.meter.add(func(st *Stats) {
		st.Files, st.Bytes, st.Links = st.Files+f.files, st.Bytes+f.bytes, st.Links+f.links
		st.Dirs, st.LinkedBytes = st.Dirs+int64(len(b.mkdirs)), st.LinkedBytes+f.linked
	})
	return f.again, nil
}

// A filling is one attempt at a batch.
type filling struct {
	*run
	b                   *batch
	numbers             map[string]int // of directories
	dirs                []string
	newDirs             map[string]spot
	staged              map[*group]spot // the first names in this stage
	again               *batch
	files, bytes, links int64
	linked              int64    // bytes behind links
	arrived             []*Entry // by rsync
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
	if err := f.mkdirs(st); err != nil {
		return err
	}
	names := make([]string, len(f.b.files))
	for i, j := range f.b.files {
		names[i] = j.From
	}
	read := make([]bool, len(names))
	switch {
	case f.arrived != nil:
		for i, e := range f.arrived {
			read[i] = e != nil
		}
		if err := f.place(st, f.arrived); err != nil {
			return err
		}
	case len(names) > 0:
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
	// From here on, and when the stage's files get their names, others must be in place.
	for _, before := range f.b.after {
		select {
		case <-before.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, j := range f.b.links {
		if err := f.putLink(st, j); err != nil {
			return err
		}
	}
	return nil
}

// A spot is a place in the stage: a name, maybe with slashes, in the stage's directory dir.
type spot struct {
	dir  int
	name string
}

// spot is where something goes that will be called to. Below a directory that the batch makes it lies there, and comes into the tree with it.
func (f *filling) spot(to string) spot {
	if p, ok := f.newDirs[parent(to)]; ok {
		return spot{p.dir, p.name + "/" + path.Base(to)}
	}
	return spot{f.number(to), path.Base(to)}
}

// mkdirs makes the batch's directories in the stage: one that comes into a directory of the tree with everything below it that is new, for one
// rename, which no symlink turns elsewhere.
func (f *filling) mkdirs(st stager) error {
	for _, e := range f.b.mkdirs {
		p := f.spot(e.Name)
		f.newDirs[e.Name] = p
		if err := st.mkdir(p.dir, p.name, e); err != nil {
			return err
		}
	}
	return nil
}

func (f *filling) put(ctx context.Context, st stager, j *job, e Entry, content io.Reader) error {
	at := f.spot(j.To)
	if j.group != nil {
		j.group.to, j.group.size = j.To, e.Size
		f.staged[j.group] = at
	}
	// A tar stream knows whole seconds, the listing more. Should the file have been written since, the next sync sees a difference and copies it
	// again: of another second its time is one that the source does not have.
	if e.ModTime.Nanosecond() == 0 && j.src.ModTime.Nanosecond() != 0 {
		if e.ModTime.Unix() == j.src.ModTime.Unix() {
			e.ModTime = j.src.ModTime
		} else {
			e.ModTime = e.ModTime.Add(1)
		}
	}
	e.UID, e.GID = f.owner.UID, f.owner.GID
	leave, err := f.limit.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := st.file(at.dir, at.name, e, f.limit.reader(ctx, content)); err != nil {
		return fmt.Errorf("copy %s: %w", f.src.path(j.From), err)
	}
	f.files, f.bytes = f.files+1, f.bytes+e.Size
	return nil
}

func (f *filling) putLink(st stager, j job) error {
	g := j.group
	if g.to == "" { // its file has vanished under the first name
		if f.again == nil {
			f.again = newBatch()
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
	targetDir, target := inTree, g.to
	if first, ok := f.staged[g]; ok {
		targetDir, target = first.dir, first.name
	}
	at := f.spot(j.To)
	if err := st.link(at.dir, at.name, targetDir, target, g.size); err != nil {
		return fmt.Errorf("link %s: %w", f.dst.path(j.To), err)
	}
	f.links, f.linked = f.links+1, f.linked+j.src.Size
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
		f.meter.add(func(st *Stats) { st.TotalFiles--; st.TotalBytes -= j.src.Size })
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
		if !d.seen && !s.keep.has(name) {
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
