package zimbra

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// markName is the file in a directory of ours that says whose it is.
const markName = ".zmlift-move"

// quietWait is how long the lock waits for transactions that were under way.
const quietWait = 30 * time.Second

// files are a mailbox's blobs and index, copied by filesync. Blobs are named by rows: what must exist at the destination comes from the
// source's database, not from a walk.
type files struct {
	*transfer
	indexed bool // the source had an index in this process
	have    *inventory
}

func newFiles(t *transfer) *files { return &files{transfer: t, have: newInventory()} }

// mark is the content of the mark: the move, and the fence of the run that holds the directory. No two runs have the same one.
func (f *files) mark() string { return fmt.Sprintf("%s %d\n", f.move, f.claim.Fence) }

func (f *files) guard() *filesync.Guard { return &filesync.Guard{Name: markName, Content: f.mark()} }

// ours says whether a mark is this move's, of whatever run.
func (f *files) ours(mark string) bool { return markedBy(mark) == f.move }

// markedBy is the move that wrote a mark; "" when it is no move's.
func markedBy(mark string) string {
	line, whole := strings.CutSuffix(mark, "\n")
	move, fence, ok := strings.Cut(line, " ")
	if _, err := strconv.ParseUint(fence, 10, 64); !whole || !ok || err != nil {
		return ""
	}
	return move
}

// readMark returns the mark in a directory, and whether there is one.
func readMark(ctx context.Context, tree filesync.Tree) (string, bool, error) {
	b, err := filesync.ReadFile(ctx, tree, markName, 1000)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return string(b), err == nil, err
}

// removeMark removes a mark. Another one stays: it is somebody else's. None there, or no directory: no error.
func removeMark(ctx context.Context, tree filesync.Tree, mark string) error {
	err := filesync.Remove(ctx, tree, markName, &filesync.Options{Guard: &filesync.Guard{Name: markName, Content: mark}})
	if errors.Is(err, filesync.ErrGuard) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeMarked removes a mailbox's directory that has that mark. Another mark, or none, is ErrFenced.
func removeMarked(ctx context.Context, volume filesync.Tree, dir, mark string) error {
	guard := &filesync.Guard{Name: path.Join(dir, markName), Content: mark}
	return guarded(filesync.Remove(ctx, volume, dir, &filesync.Options{Guard: guard}))
}

// volumes are the destination's volumes that this move writes to, in the order of their ids.
func (f *files) volumes() []mboxdb.Volume {
	use := map[mboxdb.VolumeID]bool{f.plan.IndexVolume: true}
	for to := range maps.Values(f.plan.Volumes) {
		use[to] = true
	}
	var vs []mboxdb.Volume
	for _, v := range f.plan.Dest.Volumes {
		if use[v.ID] {
			vs = append(vs, v)
		}
	}
	return vs
}

// dest is the mailbox's directory on a volume of the destination.
func (f *files) dest(ctx context.Context, v mboxdb.Volume) (filesync.Tree, error) {
	to, err := f.reserved(ctx)
	return f.dst.Files.Tree(volumePath(v, to.ID)), err
}

// standing says whether the claim stands and the id is still the account's: a directory under an id that became somebody else's is theirs.
func (f *files) standing(ctx context.Context, id mboxdb.MailboxID) error {
	if err := f.dstDB.Held(ctx, f.claim); err != nil {
		return ours(err)
	}
	h, err := f.dstDB.Holder(ctx, f.plan.Account.ID)
	if err == nil && h.Mailbox != id {
		err = fmt.Errorf("%w: mailbox id %d is no longer reserved for %s on %s", ErrUndecided, id, f.plan.Account.Name, f.plan.Dest.Host)
	}
	return err
}

// Make makes each directory and then its mark. An empty directory without one is what a crash in between leaves: the id is reserved for
// this account, so nobody else makes it. A mover may fall asleep anywhere in here, and others may take over, roll back, and move the
// account again meanwhile. So the claim is looked at once more when the mark is written: a mark that was there while the claim stood is
// seen by everybody who comes later.
func (f *files) Make(ctx context.Context, to Reservation) error {
	if err := f.standing(ctx, to.ID); err != nil {
		return err
	}
	for _, v := range f.volumes() {
		if err := f.makeTree(ctx, v, to.ID); err != nil {
			return fmt.Errorf("make %s:%s: %w", f.plan.Dest.Host, volumePath(v, to.ID), err)
		}
	}
	f.have.under = f.mark()
	return nil
}

func (f *files) makeTree(ctx context.Context, v mboxdb.Volume, id mboxdb.MailboxID) error {
	tree := f.dst.Files.Tree(volumePath(v, id))
	found, marked, err := f.enter(ctx, v, id)
	if err == nil && marked && !f.ours(found) {
		if err := f.removeStale(ctx, v, id, found); err != nil {
			return err
		}
		found, marked, err = f.enter(ctx, v, id)
	}
	if found != f.have.under { // somebody was here in between
		f.have.forget()
	}
	switch {
	case err != nil:
		return err
	case !marked:
		empty, err := isEmpty(ctx, tree)
		if err != nil {
			return err
		}
		if !empty {
			return f.unless(ctx, id, errors.New("the directory exists, has files and no mark of a move: move it away"))
		}
		return f.markEmpty(ctx, tree, id)
	case !f.ours(found):
		return fmt.Errorf("%w: the directory was marked by another move", ErrFenced)
	}
	if err := filesync.WriteFile(ctx, tree, markName, []byte(f.mark()), false); err != nil {
		return f.unless(ctx, id, err)
	}
	err = f.standing(ctx, id)
	// Should another mover have come in between, its mark is gone, and it is told so; its next run makes the directory its own again, which
	// it could not without any mark. When that mover is done, the directory is a mailbox.
	var fenced *mboxdb.FencedError
	if errors.As(err, &fenced) && !fenced.Holder.Open {
		err = f.takeBack(ctx, tree, err)
	}
	return err
}

// enter makes the directory if it is not there, and reads its mark.
func (f *files) enter(ctx context.Context, v mboxdb.Volume, id mboxdb.MailboxID) (mark string, marked bool, err error) {
	volume, dir := f.dst.Files.Tree(v.Path), v.MailboxDir(id)
	if level := f.plan.Dest.BlobDir; level != "" { // mailboxd makes it with the first mailbox
		if err := filesync.Mkdir(ctx, f.dst.Files.Tree(path.Dir(v.Path)), level); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", false, err
		}
	}
	if err := filesync.RemoveRest(ctx, volume, dir); err != nil {
		return "", false, err
	}
	for _, name := range []string{path.Dir(dir), dir} {
		if err := filesync.Mkdir(ctx, volume, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", false, err
		}
	}
	return readMark(ctx, f.dst.Files.Tree(volumePath(v, id)))
}

// removeStale removes what an ended move of the account left under its reserved id: while our claim stands there is no other move, and none
// that comes later has this mark. Where the account has a mailbox, or the mark is no move's, nothing is removed.
func (f *files) removeStale(ctx context.Context, v mboxdb.Volume, id mboxdb.MailboxID, mark string) error {
	// After the mark was read: the mover that wrote it may be the one that took over from us.
	if err := f.standing(ctx, id); err != nil {
		return err
	}
	move := markedBy(mark)
	if move == "" {
		return errors.New("the directory has a mark that is no move's: move it away")
	}
	m, err := f.dstDB.Find(ctx, f.plan.Account.ID)
	if err == nil {
		return fmt.Errorf("%w: the directory is marked by move %s, and %s has mailbox %d there", ErrUndecided, move, f.plan.Account.Name, m.ID)
	}
	if !errors.Is(err, mboxdb.ErrNotFound) {
		return err
	}
	return removeMarked(ctx, f.dst.Files.Tree(v.Path), v.MailboxDir(id), mark)
}

// markEmpty marks an empty directory. When the claim is found not to stand any more, it takes that mark away again and leaves the directory:
// by now it may be a mailbox.
func (f *files) markEmpty(ctx context.Context, tree filesync.Tree, id mboxdb.MailboxID) error {
	if err := filesync.WriteFile(ctx, tree, markName, []byte(f.mark()), true); err != nil {
		return f.unless(ctx, id, err)
	}
	err := f.standing(ctx, id)
	if over(err) {
		err = f.takeBack(ctx, tree, err)
	}
	return err
}

// takeBack takes our mark away again, because of err.
func (f *files) takeBack(ctx context.Context, tree filesync.Tree, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(err, removeMark(ctx, tree, f.mark()))
}

// unless returns err, or the reason why a directory is another one than was expected: the claim does not stand any more.
func (f *files) unless(ctx context.Context, id mboxdb.MailboxID, err error) error {
	if serr := f.standing(ctx, id); over(serr) {
		return serr
	}
	return err
}

// over says whether standing gave an answer, and the answer is no.
func over(err error) bool { return errors.Is(err, ErrFenced) || errors.Is(err, ErrUndecided) }

func isEmpty(ctx context.Context, t filesync.Tree) (bool, error) {
	for e, err := range filesync.List(ctx, t, nil) {
		if err != nil {
			return false, err
		}
		if e.Name != "." {
			return false, nil
		}
	}
	return true, nil
}

// Presync copies blobs and index, and compares what it copied with the digests in the rows. A blob that vanishes meanwhile was deleted by
// its user. When it comes to its end, the pass in the lock has only to do with what differs from then on.
func (f *files) Presync(ctx context.Context) (FileStats, error) {
	if err := f.standing(ctx, f.to.ID); err != nil {
		return FileStats{}, err
	}
	if !f.have.whole { // this process begins, or failed
		if err := f.forecast(ctx); err != nil {
			return FileStats{}, err
		}
	}
	f.have.whole = false
	sum, err := f.copyBlobs(ctx, true)
	if err != nil {
		return sum, err
	}
	st, err := f.index(ctx, true)
	if err != nil {
		return sum, err
	}
	st.Total += sum.Total
	sum.add(st)
	st, err = f.check(ctx, true)
	sum.Checked, sum.Accepted = st.Checked, st.Accepted
	f.have.whole = err == nil
	return sum, err
}

// Copy looks only at blobs that were not proven before. Those that were need no second look: a blob never changes, its file was on disk when it
// was compared with what the row says still, and nobody but this move writes in directories that have its mark. Where no pass before
// the lock came to its end, it looks at every file.
func (f *files) Copy(ctx context.Context) (FileStats, error) {
	if !f.have.whole {
		return f.copyBlobs(ctx, false)
	}
	return f.copyDifference(ctx)
}

func (f *files) copyDifference(ctx context.Context) (FileStats, error) {
	var sum FileStats
	// The commands below compare the marks. But there may be nothing to do for them.
	for _, v := range f.volumes() {
		tree, err := f.dest(ctx, v)
		if err != nil {
			return sum, err
		}
		if found, _, err := readMark(ctx, tree); err != nil || found != f.mark() {
			return sum, cmp.Or(err, fmt.Errorf("%w: %s: %w", ErrFenced, tree, filesync.ErrGuard))
		}
	}
	f.have.round++
	changed := map[mboxdb.VolumeID][]blob{} // by volumes of the source
	for b, err := range f.blobs(ctx) {
		if err != nil {
			return sum, err
		}
		f.have.named(b)
		sum.Total++
		if !f.have.proven(b) {
			changed[b.Volume] = append(changed[b.Volume], b)
		}
	}
	for _, from := range f.plan.Source.Volumes {
		blobs := changed[from.ID]
		if len(blobs) == 0 {
			continue
		}
		to := blobs[0].to
		var list []filesync.Item
		for _, b := range blobs {
			list = append(list, b.item())
		}
		// The source may have one file under an old name and a new one, and then so must the destination.
		twins, accepted := map[string]bool{}, f.acceptedMissing(from)
		for _, file := range f.have.twins(blobs) {
			name := to.BlobName(file.item, file.modContent)
			twins[name] = true
			list = append(list, filesync.Item{From: from.BlobName(file.item, file.modContent), To: name})
		}
		missing := func(it filesync.Item) bool { return twins[it.To] || accepted(it) }
		st, err := f.copyVolume(ctx, from, to, false, sure(list), missing)
		sum.Files, sum.Bytes = sum.Files+st.Files, sum.Bytes+st.Bytes
		if err != nil {
			return sum, fmt.Errorf("copy blobs of %s volume %d: %w", f.plan.Source.Host, from.ID, err)
		}
	}
	for _, v := range f.volumes() {
		deleted, err := f.removeUnnamed(ctx, v)
		if sum.Deleted += deleted; err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// removeUnnamed removes what the inventory has on a volume and no row names any more.
func (f *files) removeUnnamed(ctx context.Context, v mboxdb.Volume) (int64, error) {
	tree, err := f.dest(ctx, v)
	if err != nil {
		return 0, err
	}
	var gone []string
	files := f.have.unnamed(v.ID)
	for _, file := range files {
		gone = append(gone, v.BlobName(file.item, file.modContent))
	}
	n, err := removeAll(ctx, tree, gone, f.guard())
	if err != nil {
		return n, err
	}
	for _, file := range files {
		delete(f.have.files, file)
	}
	return n, nil
}

// A blob of the source and where it goes.
type blob struct {
	mboxdb.Blob
	to       mboxdb.Volume
	from     string // relative to the mailbox's directory on the source's volume
	relative string // relative to the mailbox's directory on the destination's
	other    bool   // an earlier row names the same file and says something else of it
}

func (b blob) file() blobFile { return blobFile{b.to.ID, b.Item, b.ModContent} }

func (b blob) item() filesync.Item { return filesync.Item{From: b.from, To: b.relative} }

// sure is a list that is there already.
func sure[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// blobs returns what the source's rows demand, each file once.
func (f *files) blobs(ctx context.Context) iter.Seq2[blob, error] {
	return func(yield func(blob, error) bool) {
		for b, err := range f.said(ctx) {
			if b.other {
				continue
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// said is blobs, with a file once more for another row that says something else of it, as those of an item and of its revision may.
func (f *files) said(ctx context.Context) iter.Seq2[blob, error] {
	src, dst := byID(f.plan.Source.Volumes), byID(f.plan.Dest.Volumes)
	return func(yield func(blob, error) bool) {
		type name struct {
			volume     mboxdb.VolumeID
			modContent uint32
		}
		type says struct {
			size   int64
			digest string
		}
		var item uint32
		seen := map[name]says{} // by the first row, of one item: they come in the order of items
		for b, err := range f.srcDB.Blobs(ctx, *f.plan.Source.Mailbox) {
			if err != nil {
				yield(blob{}, err)
				return
			}
			if b.Item != item {
				item = b.Item
				clear(seen)
			}
			n, is := name{b.Volume, b.ModContent}, says{b.Size, b.Digest}
			first, other := seen[n]
			if other && first == is {
				continue
			}
			if !other {
				seen[n] = is
			}
			to, ok := f.plan.Volumes[b.Volume]
			if !ok {
				yield(blob{}, fmt.Errorf("%w: %s: item %d lies on volume %d, which the plan does not know", ErrPlanStale, b.Table, b.Item, b.Volume))
				return
			}
			out := blob{b, dst[to], src[b.Volume].BlobName(b.Item, b.ModContent), dst[to].BlobName(b.Item, b.ModContent), other}
			if !yield(out, nil) {
				return
			}
		}
	}
}

// copyBlobs copies volume by volume, and removes what no row names any more. A blob that the source does not have is an error, unless the
// plan accepts it or the user works, live.
func (f *files) copyBlobs(ctx context.Context, live bool) (FileStats, error) {
	var sum FileStats
	for _, from := range f.plan.Source.Volumes {
		to, ok := f.plan.Volumes[from.ID]
		if !ok {
			continue
		}
		missing := f.acceptedMissing(from)
		if live {
			missing = func(filesync.Item) bool { return true }
		}
		st, err := f.copyVolume(ctx, from, byID(f.plan.Dest.Volumes)[to], live, f.itemsOn(ctx, from.ID), missing)
		st.Total += sum.Total
		sum.add(st)
		if err != nil {
			return sum, fmt.Errorf("copy blobs of %s volume %d: %w", f.plan.Source.Host, from.ID, err)
		}
	}
	if live {
		// Before anyone looks: what the listing and the check find was on disk then, names and all, and no crash of the destination takes
		// it away from the pass in the lock, which does not look again.
		if err := f.Durable(ctx); err != nil {
			return sum, err
		}
	}
	deleted, err := f.prune(ctx)
	sum.Deleted = deleted
	return sum, err
}

// itemsOn are the blobs of one source volume.
func (f *files) itemsOn(ctx context.Context, from mboxdb.VolumeID) iter.Seq2[filesync.Item, error] {
	return func(yield func(filesync.Item, error) bool) {
		for b, err := range f.blobs(ctx) {
			if err == nil && b.Volume != from {
				continue
			}
			if !yield(b.item(), err) {
				return
			}
		}
	}
}

func (f *files) copyVolume(ctx context.Context, from, to mboxdb.Volume, live bool, list iter.Seq2[filesync.Item, error], missing func(filesync.Item) bool) (FileStats, error) {
	src, ok, err := f.src.mailboxTree(ctx, from, f.plan.Source.Mailbox.ID)
	if err != nil {
		return FileStats{}, err
	}
	if !ok { // no blob ever was on that volume; a row that names one is found below
		for it, err := range list {
			if err != nil {
				return FileStats{}, err
			}
			if !missing(it) {
				return FileStats{}, fmt.Errorf("%s: no such directory, and a row names %s there", src, it.From)
			}
		}
		return FileStats{}, nil
	}
	dst, err := f.dest(ctx, to)
	if err != nil {
		return FileStats{}, err
	}
	var st filesync.Stats
	err = f.watched(ctx, to, live, func(room *filesync.Limit) (err error) {
		st, err = filesync.SyncList(ctx, dst, src, list, &filesync.Options{
			Guard: f.guard(), Missing: missing, Limits: f.src.limits(room),
			Progress: func(s filesync.Stats) {
				f.progress(Progress{Done: s.Files, Total: s.TotalFiles, Unit: "files"})
			},
		})
		return err
	})
	return FileStats{Files: st.Files + st.Links, Bytes: st.Bytes, Total: st.TotalFiles}, guarded(err)
}

// prune removes the blobs that the source's rows no longer name: what the user deleted after an earlier pass. It lists what there is.
func (f *files) prune(ctx context.Context) (int64, error) {
	f.have.round++
	for b, err := range f.blobs(ctx) {
		if err != nil {
			return 0, err
		}
		f.have.named(b)
	}
	var n int64
	for _, v := range f.volumes() {
		tree, err := f.dest(ctx, v)
		if err != nil {
			return n, err
		}
		var gone []string
		for e, err := range filesync.List(ctx, tree, &filesync.Options{Exclude: []string{"index"}, Guard: f.guard()}) {
			if err != nil {
				return n, fmt.Errorf("list %s: %w", tree, err)
			}
			if !e.IsDir() && !f.have.listed(v, e.Name) {
				gone = append(gone, e.Name)
			}
		}
		deleted, err := removeAll(ctx, tree, gone, f.guard())
		if n += deleted; err != nil {
			return n, err
		}
	}
	f.have.settle()
	return n, nil
}

// Index copies the search index until a copy is one of a moment: its files did not change from before the copy to after it. A merge may
// run on after the lockout.
func (f *files) Index(ctx context.Context) (FileStats, error) {
	const tries = 10
	var sum FileStats
	for range tries {
		before, err := f.indexState(ctx)
		if err != nil {
			return sum, err
		}
		st, err := f.index(ctx, false)
		sum.add(st)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, filesync.ErrChanged) {
			return sum, err
		}
		after, serr := f.indexState(ctx)
		if serr != nil {
			return sum, serr
		}
		if err == nil && slices.Equal(before, after) {
			return sum, nil
		}
	}
	return sum, fmt.Errorf("the search index at %s still changes: a merge is running; try again later", f.plan.Source.Host)
}

// index copies the index directory once. While the user works, live, files of it come and go; whatever was copied of it then is made right by
// the copy in the lock.
func (f *files) index(ctx context.Context, live bool) (FileStats, error) {
	st, err := f.indexOnce(ctx, live)
	if live && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, filesync.ErrChanged)) {
		err = nil
	}
	return st, err
}

func (f *files) indexOnce(ctx context.Context, live bool) (FileStats, error) {
	src, ok, err := f.sourceIndex(ctx)
	if err != nil {
		return FileStats{}, err
	}
	if f.plan.NoIndex {
		ok = false
	}
	if !ok && f.indexed {
		return FileStats{}, fmt.Errorf("%s: the search index was there before and is gone: is its volume mounted?", src)
	}
	f.indexed = ok
	to := byID(f.plan.Dest.Volumes)[f.plan.IndexVolume]
	dir, err := f.dest(ctx, to)
	if err != nil {
		return FileStats{}, err
	}
	if !ok { // a mailbox that was never indexed has none, or it is left behind; neither may the copy have one
		return FileStats{}, guarded(filesync.Remove(ctx, dir, "index", &filesync.Options{Guard: f.guard()}))
	}
	if err := filesync.Mkdir(ctx, dir, "index"); err != nil && !errors.Is(err, fs.ErrExist) {
		return FileStats{}, err
	}
	// The guard's mark lies in the directory above, so the index is synced as a part of the mailbox's directory.
	var st filesync.Stats
	err = f.watched(ctx, to, live, func(room *filesync.Limit) (err error) {
		st, err = filesync.SyncList(ctx, dir, src, f.indexList(ctx, src), &filesync.Options{
			Guard: f.guard(), Mutable: true, Limits: f.src.limits(room), Missing: func(filesync.Item) bool { return live },
		})
		return err
	})
	if err != nil {
		return FileStats{}, fmt.Errorf("copy the index: %w", guarded(err))
	}
	deleted, err := f.pruneIndex(ctx, dir, src)
	return FileStats{Files: st.Files + st.Links, Bytes: st.Bytes, Total: st.TotalFiles, Deleted: deleted}, err
}

func (f *files) sourceIndex(ctx context.Context) (filesync.Tree, bool, error) {
	v := byID(f.plan.Source.Volumes)[f.plan.Source.Mailbox.IndexVolume]
	dir, ok, err := f.src.mailboxTree(ctx, v, f.plan.Source.Mailbox.ID)
	if err != nil || !ok {
		return dir, false, err
	}
	ok, err = exists(ctx, dir, "index")
	return f.src.Files.Tree(path.Join(dir.String(), "index")), ok, err
}

// indexList yields the index's files; those that say which of the others count come last (index/LuceneIndex).
func (f *files) indexList(ctx context.Context, src filesync.Tree) iter.Seq2[filesync.Item, error] {
	return func(yield func(filesync.Item, error) bool) {
		var last []string
		for e, err := range filesync.List(ctx, src, nil) {
			switch {
			case err == nil && e.IsDir():
				continue
			case err == nil && strings.HasPrefix(path.Base(e.Name), "segments"):
				last = append(last, e.Name)
				continue
			}
			if !yield(filesync.Item{From: e.Name, To: path.Join("index", e.Name)}, err) {
				return
			}
		}
		slices.SortFunc(last, func(a, b string) int { return cmp.Compare(b, a) }) // segments_N before segments.gen, which points to it
		for _, name := range last {
			if !yield(filesync.Item{From: name, To: path.Join("index", name)}, nil) {
				return
			}
		}
	}
}

func (f *files) pruneIndex(ctx context.Context, dir, src filesync.Tree) (int64, error) {
	want := map[string]struct{}{}
	for item, err := range f.indexList(ctx, src) {
		if err != nil {
			return 0, err
		}
		want[item.To] = struct{}{}
	}
	var gone []string
	for e, err := range filesync.List(ctx, dir, &filesync.Options{Guard: f.guard()}) {
		if err != nil {
			return 0, err
		}
		if _, ok := want[e.Name]; !ok && !e.IsDir() && strings.HasPrefix(e.Name, "index/") {
			gone = append(gone, e.Name)
		}
	}
	return removeAll(ctx, dir, gone, f.guard())
}

// removeAll removes files of a tree together: one by one each of them would take the time of a command.
func removeAll(ctx context.Context, tree filesync.Tree, names []string, guard *filesync.Guard) (int64, error) {
	if len(names) == 0 {
		return 0, nil
	}
	st, err := filesync.SyncList(ctx, tree, tree, func(yield func(filesync.Item, error) bool) {
		for _, name := range names {
			if !yield(filesync.Item{To: name, Delete: true}, nil) {
				return
			}
		}
	}, &filesync.Options{Guard: guard})
	return st.Deleted, guarded(err)
}

// indexState is what tells one state of the index from another: names, sizes and times.
func (f *files) indexState(ctx context.Context) ([]string, error) {
	src, ok, err := f.sourceIndex(ctx)
	if err != nil || !ok {
		return nil, err
	}
	var state []string
	for e, err := range filesync.List(ctx, src, nil) {
		if err != nil {
			return nil, err
		}
		state = append(state, fmt.Sprintf("%s %d %d", e.Name, e.Size, e.ModTime.UnixNano()))
	}
	slices.Sort(state)
	return state, nil
}

func (f *files) Check(ctx context.Context) (FileStats, error) { return f.check(ctx, false) }

// check compares each blob that no pass before the lock compared in this process with the digest of its row; bad ones that the plan accepts must be what
// they were then. While the user works, live, a file may be missing because it was deleted meanwhile, and only then.
func (f *files) check(ctx context.Context, live bool) (FileStats, error) {
	var sum FileStats
	bad := &BlobError{Host: f.plan.Dest.Host}
	lost := &BlobError{Host: f.plan.Source.Host}
	unproven, err := f.unproven(ctx)
	if err != nil {
		return sum, err
	}
	for _, v := range f.volumes() {
		tree, err := f.dest(ctx, v)
		if err != nil {
			return sum, err
		}
		type claim struct {
			file blobFile
			sum  uint64
		}
		var looked []claim
		want := func(yield func(filesync.Want, error) bool) {
			for b, err := range unproven(v.ID) {
				if err != nil {
					yield(filesync.Want{}, err)
					return
				}
				w, err := wanted(b.Blob, b.relative)
				if !b.other { // which is looked at each time; there are few
					looked = append(looked, claim{b.file(), f.have.sum(b)})
				}
				if !yield(w, err) || err != nil {
					return
				}
			}
		}
		var found []filesync.Bad
		wrong := map[string]bool{}
		done := sum.Checked
		opts := &filesync.Options{Limits: f.dst.limits(), Progress: func(st filesync.Stats) {
			f.progress(Progress{Done: done + st.Files, Unit: "files"})
		}}
		for b, err := range filesync.Check(ctx, tree, want, opts) {
			if err != nil {
				return sum, fmt.Errorf("check blobs in %s: %w", tree, err)
			}
			wrong[b.Name] = true
			found = append(found, b)
		}
		left, accepted, err := f.notAccepted(ctx, tree, f.to.ID, found)
		if err != nil {
			return sum, err
		}
		sum.Accepted += accepted
		missing := map[string]bool{}
		for _, b := range left {
			if live && b.Why == filesync.Missing {
				missing[b.Name] = true
				continue
			}
			bad.add(path.Join(tree.String(), b.Name), string(b.Why))
		}
		if len(missing) > 0 {
			names, err := f.lost(ctx, v, missing)
			if err != nil {
				return sum, err
			}
			for _, name := range names {
				lost.add(name, BadMissing)
			}
		}
		for _, c := range looked {
			if len(wrong) == 0 || !wrong[v.BlobName(c.file.item, c.file.modContent)] {
				sum.Checked++
				if live { // in the lock it may not be on disk yet
					f.have.prove(c.file, c.sum)
				}
			}
		}
	}
	sum.Checked += sum.Accepted
	return sum, errors.Join(bad.orNil(), lost.orNil())
}

// unproven yields the blobs on a volume of the destination that are still to be compared. After a whole pass they are few, and the rows are read
// once for all volumes.
func (f *files) unproven(ctx context.Context) (func(mboxdb.VolumeID) iter.Seq2[blob, error], error) {
	if !f.have.whole {
		return func(v mboxdb.VolumeID) iter.Seq2[blob, error] {
			return func(yield func(blob, error) bool) {
				for b, err := range f.said(ctx) {
					if err == nil && (b.to.ID != v || !b.other && f.have.proven(b)) {
						continue
					}
					if !yield(b, err) {
						return
					}
				}
			}
		}, nil
	}
	few := map[mboxdb.VolumeID][]blob{}
	for b, err := range f.said(ctx) {
		if err != nil {
			return nil, err
		}
		if b.other || !f.have.proven(b) {
			few[b.to.ID] = append(few[b.to.ID], b)
		}
	}
	return func(v mboxdb.VolumeID) iter.Seq2[blob, error] { return sure(few[v]) }, nil
}

// wanted is what a row says about its blob, which is the file name (store/Blob.getDigest, common: util/ByteUtil.encodeFSSafeBase64).
func wanted(b mboxdb.Blob, name string) (filesync.Want, error) {
	w := filesync.Want{Name: name, Gunzip: true}
	if b.Digest == "" {
		w.Size = b.Size // all that there is to compare
		return w, nil
	}
	sum, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(b.Digest, ",", "/"))
	switch {
	case err == nil && len(sum) == 32:
		w.SHA256 = sum
	case err == nil && len(sum) == 20:
		w.SHA1 = sum
	default:
		return w, fmt.Errorf("%s: item %d: blob_digest is neither SHA-256 nor SHA-1 in base64", b.Table, b.Item)
	}
	return w, nil
}

func (f *files) Durable(ctx context.Context) error {
	for _, v := range f.volumes() {
		tree, err := f.dest(ctx, v)
		if err == nil {
			err = filesync.SyncFS(ctx, tree)
		}
		if err != nil {
			return fmt.Errorf("sync %s: %w", v.Path, err)
		}
	}
	return nil
}

// Unmark takes away also the mark that a mover of an ended move wrote late over ours.
func (f *files) Unmark(ctx context.Context) error {
	for _, v := range f.volumes() {
		tree, err := f.dest(ctx, v)
		if err != nil {
			return err
		}
		found, marked, err := readMark(ctx, tree)
		if err == nil && marked && !f.ours(found) {
			if markedBy(found) == "" {
				continue
			}
			if err = f.dstDB.Held(ctx, f.claim); errors.Is(err, mboxdb.ErrFenced) {
				continue // that of a later move
			}
		}
		if err == nil && marked {
			err = removeMark(ctx, tree, found)
		} else if err == nil {
			err = filesync.RemoveRest(ctx, tree, markName) // of an earlier run
		}
		if err != nil {
			return fmt.Errorf("unmark %s: %w", tree, err)
		}
	}
	return nil
}

func (f *files) Remove(ctx context.Context, to Reservation) error {
	if err := f.standing(ctx, to.ID); err != nil {
		return err
	}
	f.have.forget()
	for _, v := range f.volumes() {
		err := f.removeTree(ctx, v, to.ID)
		if err == nil {
			err = f.removeLevel(ctx, v, to.ID)
		}
		if err != nil {
			return fmt.Errorf("remove %s:%s: %w", f.plan.Dest.Host, volumePath(v, to.ID), err)
		}
	}
	return nil
}

func (f *files) removeTree(ctx context.Context, v mboxdb.Volume, id mboxdb.MailboxID) error {
	volume, dir := f.dst.Files.Tree(v.Path), v.MailboxDir(id)
	if err := filesync.RemoveRest(ctx, volume, dir); err != nil {
		return err
	}
	ok, err := exists(ctx, volume, dir)
	if err != nil || !ok {
		return err
	}
	tree := f.dst.Files.Tree(volumePath(v, id))
	found, marked, err := readMark(ctx, tree)
	switch {
	case err != nil:
		return err
	case marked && !f.ours(found):
		return nil // another move's
	case marked:
		return removeMarked(ctx, volume, dir, found)
	}
	empty, err := isEmpty(ctx, tree)
	if err != nil {
		return err
	}
	if !empty {
		return f.unless(ctx, id, errors.New("the directory has files and no mark of this move: it is left as it is"))
	}
	// What is removed has a mark: an empty directory may be one in service when the removal comes.
	if err := f.markEmpty(ctx, tree, id); err != nil {
		return err
	}
	return removeMarked(ctx, volume, dir, f.mark())
}

// removeLevel removes the level for the server id from a volume if nobody has anything in it: mailboxd makes it again when it needs it.
func (f *files) removeLevel(ctx context.Context, v mboxdb.Volume, id mboxdb.MailboxID) error {
	if f.plan.Dest.BlobDir == "" {
		return nil
	}
	if err := filesync.Rmdir(ctx, f.dst.Files.Tree(v.Path), path.Dir(v.MailboxDir(id))); err != nil {
		return err
	}
	return filesync.Rmdir(ctx, f.dst.Files.Tree(path.Dir(v.Path)), f.plan.Dest.BlobDir)
}

// guarded turns a mark that is no longer ours into ErrFenced.
func guarded(err error) error {
	if errors.Is(err, filesync.ErrGuard) {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	return err
}
