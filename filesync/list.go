package filesync

import (
	"context"
	"hash/maphash"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"
)

// itemsChunk is how many items of a list are asked for at once.
const itemsChunk = 4096

// A wish is what a list said so far.
type wish struct {
	seed   maphash.Seed
	copied []uint64        // hashes of the names that are to be copied to
	marked []string        // for deletion, and there
	marks  map[string]bool // for deletion: true until it was looked for and found
}

func (l *wish) hash(name string) uint64 { return maphash.String(l.seed, name) }

func (s *run) compareList(ctx context.Context, list iter.Seq2[Item, error]) error {
	s.list.seed, s.list.marks = maphash.MakeSeed(), map[string]bool{}
	chunk, first := make([]Item, 0, itemsChunk), true
	for it, err := range list {
		if err != nil {
			return err
		}
		if err := s.checkItem(it); err != nil {
			return err
		}
		if chunk = append(chunk, it); len(chunk) < itemsChunk {
			continue
		}
		if err := s.compareItems(ctx, chunk, first); err != nil {
			return err
		}
		chunk, first = chunk[:0], false
	}
	if err := s.compareItems(ctx, chunk, first); err != nil {
		return err
	}
	return s.checkMarks()
}

func (s *run) checkItem(it Item) error {
	if err := checkName(it.To); err != nil {
		return err
	}
	if s.opts.excluded(it.To) {
		return &NameError{it.To, "in the list and excluded"}
	}
	if it.Delete {
		if it.From != "" {
			return &NameError{it.From, "to be copied from, and the item is marked for deletion"}
		}
		if _, again := s.list.marks[it.To]; !again {
			s.list.marks[it.To] = true
		}
		return nil
	}
	s.list.copied = append(s.list.copied, s.list.hash(it.To))
	return checkName(it.From)
}

const bothWays = "to be copied to, and marked for deletion"

// checkMarks refuses names that are to be there and not to be there.
func (s *run) checkMarks() error {
	if len(s.list.marks) == 0 {
		return nil
	}
	slices.Sort(s.list.copied)
	for name := range s.list.marks {
		if _, ok := slices.BinarySearch(s.list.copied, s.list.hash(name)); ok {
			return &NameError{name, bothWays}
		}
	}
	return nil
}

// deleteMarked removes what the list marked.
func (s *run) deleteMarked(ctx context.Context) error {
	slices.Sort(s.list.marked)
	for names := range slices.Chunk(s.list.marked, unlinkBatch) {
		for _, name := range names {
			s.touch(parent(name))
		}
		if err := s.unlink(ctx, names, nil); err != nil {
			return err
		}
	}
	return nil
}

// compareItems asks both sides at once for the files of some items, and for the directories above them: none of those may be a symlink. The
// first time it looks at the roots as well.
func (s *run) compareItems(ctx context.Context, items []Item, first bool) error {
	if len(items) == 0 && !first {
		return ctx.Err()
	}
	from := map[string]*Entry{}
	to := map[string]string{} // From, "" for a deletion
	var fromNames, toNames []string
	askTo := map[string]bool{}
	unique := items[:0]
	for _, it := range items {
		if before, ok := to[it.To]; ok {
			if before != it.From {
				why := "two different files of the list are to have this name"
				if before == "" || it.Delete {
					why = bothWays
				}
				return &NameError{it.To, why}
			}
			continue
		}
		to[it.To] = it.From
		unique = append(unique, it)
		if it.Delete {
			toNames = s.askTo(askTo, toNames, it.To)
			continue
		}
		for name := range ancestors(it.From) {
			if _, asked := from[name]; !asked && !s.srcKnown[name] {
				from[name] = nil
				fromNames = append(fromNames, name)
			}
		}
		if _, asked := from[it.From]; !asked {
			from[it.From] = nil
			fromNames = append(fromNames, it.From)
		}
		toNames = s.askTo(askTo, toNames, it.To)
	}
	have := s.have
	if have == nil {
		have = newTable()
	}
	g, gctx := errgroup.WithContext(ctx)
	if first {
		fromNames = append(fromNames, ".")
	}
	g.Go(func() error {
		return s.src.h.stat(gctx, s.src.root, fromNames, func(e Entry) error {
			if e.Name == "." {
				s.srcTop = e
			} else {
				from[e.Name] = &e
			}
			return nil
		})
	})
	g.Go(func() error {
		if first {
			return s.look(gctx, have, s.del, toNames)
		}
		if s.have != nil {
			return nil
		}
		return s.dst.h.stat(gctx, s.dst.root, toNames, func(e Entry) error { return s.found(have, e) })
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for _, it := range unique {
		if err := s.compareItem(ctx, it, from, have); err != nil {
			return err
		}
	}
	return nil
}

// askTo adds the names to ask the destination for: to, and the directories above it that are not known.
func (s *run) askTo(asked map[string]bool, names []string, to string) []string {
	if s.have != nil {
		return names
	}
	for name := range ancestors(to) {
		if s.haveDirs[name] == nil && !asked[name] {
			asked[name] = true
			names = append(names, name)
		}
	}
	return append(names, to)
}

// mark has a file removed when all others are in place.
func (s *run) mark(name string, have *table) error {
	if d := s.haveDirs[name]; d != nil {
		return &FileTypeError{s.dst.path(name), d.entry.Mode, "a regular file"}
	}
	if r := have.find(name); r != nil && s.list.marks[name] {
		r.seen = true // by Options.Delete it is not to be removed again
		s.list.marks[name] = false
		s.list.marked = append(s.list.marked, name)
	}
	return nil
}

func (s *run) compareItem(ctx context.Context, it Item, from map[string]*Entry, have *table) error {
	if it.Delete {
		return s.mark(it.To, have)
	}
	src := from[it.From]
	for name := range ancestors(it.From) {
		switch e := from[name]; {
		case s.srcKnown[name]:
		case e == nil:
			src = nil
		case !e.IsDir():
			return &FileTypeError{s.src.path(name), e.Mode, "a directory"}
		default:
			if err := checkEntry(s.src, *e, s.srcTop.Device); err != nil {
				return err
			}
			s.srcKnown[name] = true
		}
	}
	dst := have.find(it.To)
	for name := range ancestors(it.To) {
		if d := s.haveDirs[name]; d != nil {
			d.seen = true
			continue
		}
		if r := have.find(name); r != nil && (s.have == nil || r.seen) {
			return &FileTypeError{s.dst.path(name), 0, "a directory"}
		}
		if src == nil {
			continue // nothing is made for a file that will not come
		}
		if err := s.needDir(ctx, name, s.top.Mode); err != nil {
			return err
		}
	}
	if src == nil {
		if dst != nil {
			dst.seen = true
		}
		return s.missing(it)
	}
	if !src.Mode.IsRegular() {
		return &FileTypeError{s.src.path(it.From), src.Mode, "a regular file"}
	}
	return s.consider(ctx, it, *src, dst)
}
