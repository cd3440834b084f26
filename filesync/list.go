package filesync

import (
	"context"
	"errors"
	"iter"
)

// itemsChunk is how many items of a list are asked for at once.
const itemsChunk = 4096

func (s *run) compareList(ctx context.Context, list iter.Seq2[Item, error]) error {
	chunk := make([]Item, 0, itemsChunk)
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
		if err := s.compareItems(ctx, chunk); err != nil {
			return err
		}
		chunk = chunk[:0]
	}
	return s.compareItems(ctx, chunk)
}

func (s *run) checkItem(it Item) error {
	if err := errors.Join(checkName(it.From), checkName(it.To)); err != nil {
		return err
	}
	if s.opts.excluded(it.To) {
		return &NameError{it.To, "in the list and excluded"}
	}
	return nil
}

// compareItems asks both sides for the files of some items, and for the directories above them: none of those may be a symlink.
func (s *run) compareItems(ctx context.Context, items []Item) error {
	if len(items) == 0 {
		return ctx.Err()
	}
	from := map[string]*Entry{}
	to := map[string]string{}
	var fromNames, toNames []string
	askTo := map[string]bool{}
	unique := items[:0]
	for _, it := range items {
		if before, ok := to[it.To]; ok {
			if before != it.From {
				return &NameError{it.To, "two different files of the list are to have this name"}
			}
			continue
		}
		to[it.To] = it.From
		unique = append(unique, it)
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
		if s.have != nil {
			continue
		}
		for name := range ancestors(it.To) {
			if s.haveDirs[name] == nil && !askTo[name] {
				askTo[name] = true
				toNames = append(toNames, name)
			}
		}
		toNames = append(toNames, it.To)
	}
	if err := s.src.h.stat(ctx, s.src.root, fromNames, func(e Entry) error { from[e.Name] = &e; return nil }); err != nil {
		return err
	}
	have := s.have
	if have == nil {
		have = newTable()
		err := s.dst.h.stat(ctx, s.dst.root, toNames, func(e Entry) error {
			if err := checkEntry(s.dst, e, s.top.Device); err != nil {
				return err
			}
			if e.IsDir() {
				s.haveDirs[e.Name] = &dirState{entry: e}
				return nil
			}
			have.add(e)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, it := range unique {
		if err := s.compareItem(ctx, it, from, have); err != nil {
			return err
		}
	}
	return nil
}

func (s *run) compareItem(ctx context.Context, it Item, from map[string]*Entry, have *table) error {
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
		s.needDir(name, s.top.Mode)
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
