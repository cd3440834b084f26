package filesync

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
)

// List yields every file and directory of t, directories before what is in them, in no other order. What appears or vanishes meanwhile may
// be yielded or not. Options.Exclude and the guard's mark are left out. Anything that is neither a file nor a directory ends the
// listing with *FileTypeError, and so does every other error: a listing that ended without one is complete.
func List(ctx context.Context, t Tree, opts *Options) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		opts := opts.or()
		if err := errors.Join(t.check(), opts.check()); err != nil {
			yield(Entry{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var top Entry
		err := t.h.list(ctx, t.root, func(e Entry) error {
			if e.Name == "." {
				top = e
				return nil
			}
			if opts.excluded(e.Name) {
				return nil
			}
			if err := checkEntry(t, e, top.Device); err != nil {
				return err
			}
			if !yield(e, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(Entry{}, err)
		}
	}
}

// Stat returns the entry of name; "." is the root. An error is fs.ErrNotExist when there is no such name. Symlinks are not followed.
func Stat(ctx context.Context, t Tree, name string) (Entry, error) {
	if name != "." {
		if err := checkName(name); err != nil {
			return Entry{}, err
		}
	}
	if err := t.check(); err != nil {
		return Entry{}, err
	}
	names := []string{name}
	for dir := range ancestors(name) {
		names = append(names, dir)
	}
	var found *Entry
	err := t.h.stat(ctx, t.root, names, func(e Entry) error {
		if e.Name == name {
			found = &e
		} else if !e.IsDir() {
			return &FileTypeError{t.path(e.Name), e.Mode, "a directory"}
		}
		return nil
	})
	if err != nil {
		return Entry{}, err
	}
	if found == nil {
		return Entry{}, fmt.Errorf("filesync: %s: %w", t.path(name), fs.ErrNotExist)
	}
	return *found, nil
}

// Remove removes name and everything below it. That it is absent is no error. It is renamed first, so that after an error or a crash
// there is nothing or everything under that name; a repetition removes the rest. Options.Guard is looked at before that; its mark may lie
// within name, and when both are gone that is no error either.
func Remove(ctx context.Context, t Tree, name string, opts *Options) error {
	opts = opts.or()
	if err := errors.Join(t.check(), checkName(name), opts.check()); err != nil {
		return err
	}
	stage := removedStage(name)
	err := t.h.remove(ctx, t.root, name, stage, opts.Guard)
	if errors.Is(err, ErrGuard) && within(opts.Guard.Name, name) {
		if _, serr := Stat(ctx, t, name); errors.Is(serr, fs.ErrNotExist) {
			err = t.h.discard(ctx, t.root, stage) // what the guard let be renamed before
		}
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", t.path(name), err)
	}
	return nil
}

// removedStage is what name is called while it is being removed.
func removedStage(name string) string {
	sum := sha256.Sum256([]byte(name))
	return stagePrefix + "removed-" + hex.EncodeToString(sum[:16])
}

// RemoveRest removes what a [Remove] of name left when it was cut short. What is called name now stays. That there is no rest, or no tree, is no
// error.
func RemoveRest(ctx context.Context, t Tree, name string) error {
	if err := errors.Join(t.check(), checkName(name)); err != nil {
		return err
	}
	if err := t.h.discard(ctx, t.root, removedStage(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the rest of %s: %w", t.path(name), err)
	}
	return nil
}

// Rmdir removes one directory if it is empty. One that has something in it stays, which is no error, and neither is it that it is absent.
func Rmdir(ctx context.Context, t Tree, name string) error {
	if err := errors.Join(t.check(), checkName(name)); err != nil {
		return err
	}
	if err := t.h.rmdir(ctx, t.root, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rmdir %s: %w", t.path(name), err)
	}
	return nil
}

// Free returns how many bytes an unprivileged user could still write to t's file system.
func Free(ctx context.Context, t Tree) (int64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	return t.h.free(ctx, t.root)
}

// SyncFS forces t's whole file system to disk: content, names, removals. What an earlier call on t did survives a crash after it.
func SyncFS(ctx context.Context, t Tree) error {
	if err := t.check(); err != nil {
		return err
	}
	return t.h.sync(ctx, t.root)
}

// ReadFile reads a small file. More than limit bytes is ErrTooLarge, absence fs.ErrNotExist, a symlink *FileTypeError or an error that
// names it.
func ReadFile(ctx context.Context, t Tree, name string, limit int64) ([]byte, error) {
	if err := errors.Join(t.check(), checkName(name)); err != nil {
		return nil, err
	}
	b, err := t.h.readFile(ctx, t.root, name, limit)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", t.path(name), err)
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("read %s: %w", t.path(name), ErrTooLarge)
	}
	return b, nil
}

// WriteFile writes a small file, mode 0600, owned as t's root is. It appears whole or not at all, its content on disk first. With exclusive
// it must be new, else fs.ErrExist; of several callers at once exactly one succeeds. Without, it replaces another file.
// The directory must exist.
func WriteFile(ctx context.Context, t Tree, name string, content []byte, exclusive bool) error {
	if err := errors.Join(t.check(), checkName(name)); err != nil {
		return err
	}
	if err := t.h.writeFile(ctx, t.root, name, stagePrefix+rand.Text(), content, exclusive); err != nil {
		return fmt.Errorf("write %s: %w", t.path(name), err)
	}
	return nil
}

// Mkdir makes one directory with the mode and owner of t's root. Something that has the name already is fs.ErrExist; of several callers at
// once exactly one succeeds. The directory above must exist.
func Mkdir(ctx context.Context, t Tree, name string) error {
	if err := errors.Join(t.check(), checkName(name)); err != nil {
		return err
	}
	if err := t.h.mkdir(ctx, t.root, name); err != nil {
		return fmt.Errorf("mkdir %s: %w", t.path(name), err)
	}
	return nil
}
