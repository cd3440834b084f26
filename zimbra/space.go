package zimbra

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// defaultReserve is what stays free on a store's volumes where StoreConfig does not say otherwise.
const defaultReserve = 256 << 20

// diskBlock is what a file takes at least, and in steps of what.
const diskBlock = 4096

// onDisk is about what a file of that size takes.
func onDisk(size int64) int64 { return (size + diskBlock - 1) / diskBlock * diskBlock }

// space compares what will be copied to each of the destination's file systems with the room there.
func (pf *preflight) space() {
	p := pf.plan
	need := map[mboxdb.VolumeID]int64{}
	for from, to := range p.Volumes {
		need[to] += pf.src.Need[from]
	}
	if !p.NoIndex {
		need[p.IndexVolume] += pf.src.IndexBytes
	}
	r := room{pf.dst.Free, pf.dst.FileSystems, pf.dst.Reserve}
	pf.all = append(pf.all, r.lacks(p.Dest.Host, need)...)
}

// A room is what is free on a store's volumes, which may share it.
type room struct {
	free        map[mboxdb.VolumeID]int64
	fileSystems map[mboxdb.VolumeID]uint64
	reserve     int64 // is to stay free
}

// lacks are the problems of a store that gets so many bytes on each volume.
func (r room) lacks(host string, need map[mboxdb.VolumeID]int64) []Problem {
	bytes := map[uint64]int64{} // by file system
	on := map[uint64][]mboxdb.VolumeID{}
	for to, n := range need {
		fs, ok := r.fileSystems[to]
		if !ok {
			fs = 1<<63 | uint64(to) // not known: one of its own
		}
		bytes[fs] += n
		on[fs] = append(on[fs], to)
	}
	var problems []Problem
	for fs, volumes := range on {
		slices.Sort(volumes)
		free, ok := r.free[volumes[0]]
		if !ok || free-r.reserve >= bytes[fs] {
			continue
		}
		object := fmt.Sprintf("%s volume %d", host, volumes[0])
		for _, id := range volumes[1:] {
			object += fmt.Sprintf(", %d", id)
		}
		problems = append(problems, Problem{
			Code: CodeSpace, Object: object, Hint: "make room, or map the volume elsewhere",
			Message: fmt.Sprintf("%d bytes are free, of which %d are to stay free, and the move brings %d", free, r.reserve, bytes[fs]),
		})
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Object, b.Object) })
	return problems
}

// forecast compares what is still to be copied with the room at the destination, as it is now: the plan may be old, and a part of it done.
// What does not fit is a *PreflightError with the code of a plan.
func (f *files) forecast(ctx context.Context) error {
	need, err := f.need(ctx)
	if err != nil {
		return err
	}
	r := room{map[mboxdb.VolumeID]int64{}, map[mboxdb.VolumeID]uint64{}, max(f.dst.Reserve, 0)}
	for _, v := range f.volumes() {
		tree := f.dst.Files.Tree(v.Path)
		free, err := filesync.Free(ctx, tree)
		if err != nil {
			return err
		}
		top, err := filesync.Stat(ctx, tree, ".")
		if err != nil {
			return err
		}
		r.free[v.ID], r.fileSystems[v.ID] = free, top.Device
	}
	if problems := r.lacks(f.plan.Dest.Host, need); len(problems) > 0 {
		return &PreflightError{Account: f.plan.Account.Name, Problems: problems}
	}
	return nil
}

// need is about what the files take that rows name and the destination does not have yet, by its volumes; hard links on a volume of the source
// count once.
func (f *files) need(ctx context.Context) (map[mboxdb.VolumeID]int64, error) {
	there, index := map[blobFile]int64{}, map[string]int64{} // sizes
	for _, v := range f.volumes() {
		tree, err := f.dest(ctx, v)
		if err != nil {
			return nil, err
		}
		for e, err := range filesync.List(ctx, tree, &filesync.Options{Guard: f.guard()}) {
			if err != nil {
				return nil, err
			}
			if file, ok := fileNamed(v, e.Name); ok {
				there[file] = e.Size
			} else if v.ID == f.plan.IndexVolume {
				index[e.Name] = e.Size
			}
		}
	}
	type inode struct {
		volume mboxdb.VolumeID
		inode  uint64 // 0: the file has no other name
	}
	type found struct {
		size  int64
		inode inode
	}
	have := map[blobFile]found{} // at the source
	for _, from := range f.plan.Source.Volumes {
		tree, ok, err := f.src.mailboxTree(ctx, from, f.plan.Source.Mailbox.ID)
		if err != nil {
			return nil, err
		}
		if _, blobs := f.plan.Volumes[from.ID]; !ok || !blobs {
			continue
		}
		for e, err := range filesync.List(ctx, tree, nil) {
			if err != nil {
				return nil, err
			}
			if file, ok := fileNamed(from, e.Name); ok {
				have[file] = found{size: e.Size}
				if e.Links > 1 {
					have[file] = found{e.Size, inode{from.ID, e.Inode}}
				}
			}
		}
	}
	need := map[mboxdb.VolumeID]int64{}
	missing, copied := map[inode]mboxdb.VolumeID{}, map[inode]bool{}
	sizes := map[inode]int64{}
	for b, err := range f.blobs(ctx) {
		if err != nil {
			return nil, err
		}
		src, ok := have[blobFile{b.Volume, b.Item, b.ModContent}]
		size, has := there[b.file()]
		switch has = has && size == src.size; {
		case !ok:
		case src.inode.inode == 0 && !has:
			need[b.to.ID] += onDisk(src.size)
		case src.inode.inode != 0 && has:
			copied[src.inode] = true
		case src.inode.inode != 0:
			missing[src.inode], sizes[src.inode] = b.to.ID, src.size
		}
	}
	for in, to := range missing {
		if !copied[in] {
			need[to] += onDisk(sizes[in])
		}
	}
	src, ok, err := f.sourceIndex(ctx)
	if err != nil || !ok || f.plan.NoIndex {
		return need, err
	}
	for e, err := range filesync.List(ctx, src, nil) {
		if err != nil {
			return nil, err
		}
		if size, has := index[path.Join("index", e.Name)]; !e.IsDir() && (!has || size != e.Size) {
			need[f.plan.IndexVolume] += onDisk(e.Size)
		}
	}
	return need, nil
}

// watched calls do, which copies to a volume of the destination, with a limit that pauses while the volume has less room than is to stay free.
// A pause ends when there is room again, or with ctx. Where the user waits, not live, nothing is paused: little is left to copy, and what does
// not fit ends the cutover.
func (f *files) watched(ctx context.Context, v mboxdb.Volume, live bool, do func(room *filesync.Limit) error) error {
	if f.dst.Reserve < 0 || !live {
		return do(nil)
	}
	room := &filesync.Limit{}
	w := &watch{files: f, volume: v, room: room}
	next := w.look(ctx)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for sleep(ctx, next) == nil {
			next = w.look(ctx)
		}
	})
	defer wg.Wait()
	defer cancel()
	return do(room)
}

func sleep(ctx context.Context, d time.Duration) error { return realClock{}.Sleep(ctx, d) }

// A watch looks at the room on one volume.
type watch struct {
	*files
	volume mboxdb.Volume
	room   *filesync.Limit
	paused bool
	failed int // times in a row that nobody knew
}

// look pauses or resumes, and returns when to look again. Nothing copies faster than a gigabyte a second: the less room, the sooner.
func (w *watch) look(ctx context.Context) time.Duration {
	const often, seldom, paused = 100 * time.Millisecond, 5 * time.Second, time.Second
	free, err := filesync.Free(ctx, w.dst.Files.Tree(w.volume.Path))
	if err != nil {
		// The copy says what is wrong with the store; while it is paused it does not even notice.
		if w.failed++; w.failed < 3 || !w.paused {
			return paused
		}
		w.resume()
		return seldom
	}
	w.failed = 0
	reserve := w.dst.Reserve
	if w.paused {
		reserve += reserve / 8 // or it would go on and stop again at every file
	}
	room := free - reserve
	switch {
	case room < 0 && !w.paused:
		w.paused = true
		w.room.Pause()
		w.progress(Progress{Paused: fmt.Sprintf("%s volume %d in %s has %d bytes free, and %d are to stay free: make room",
			w.plan.Dest.Host, w.volume.ID, w.volume.Path, free, w.dst.Reserve)})
	case room >= 0 && w.paused:
		w.resume()
	}
	if w.paused {
		return paused
	}
	return min(max(time.Duration(room/2)*time.Nanosecond, often), seldom)
}

func (w *watch) resume() {
	w.paused = false
	w.room.Resume()
	w.progress(Progress{Resumed: true})
}
