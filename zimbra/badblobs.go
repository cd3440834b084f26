package zimbra

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// acceptedAt are the bad blobs that the plan accepts, by their paths at the destination.
func (f *files) acceptedAt(to mboxdb.MailboxID) map[string]BadItem {
	dst := byID(f.plan.Dest.Volumes)
	m := map[string]BadItem{}
	for _, b := range f.plan.Bad {
		if v, ok := dst[f.plan.Volumes[b.Volume]]; ok {
			m[path.Join(volumePath(v, to), v.BlobName(b.Item, b.ModContent))] = b
		}
	}
	return m
}

// acceptedMissing says of an item of a source volume whether the plan accepts that it is missing.
func (f *files) acceptedMissing(from mboxdb.Volume) func(filesync.Item) bool {
	names := map[string]bool{}
	for _, b := range f.plan.Bad {
		if b.Volume == from.ID && b.Why == BadMissing {
			names[from.BlobName(b.Item, b.ModContent)] = true
		}
	}
	return func(it filesync.Item) bool { return names[it.From] }
}

// notAccepted splits what a check found wrong in a tree of the destination: what the plan accepts for what it is, and the rest.
func (f *files) notAccepted(ctx context.Context, tree filesync.Tree, to mboxdb.MailboxID, wrong []filesync.Bad) (left []filesync.Bad, accepted int64, err error) {
	known := f.acceptedAt(to)
	var names []string
	for _, b := range wrong {
		if _, ok := known[path.Join(tree.String(), b.Name)]; ok && b.Why != filesync.Missing && b.Why != filesync.Unreadable {
			names = append(names, b.Name)
		}
	}
	var sums map[string][]byte
	if len(names) > 0 {
		if sums, err = filesync.Digests(ctx, tree, names, nil); err != nil {
			return nil, 0, fmt.Errorf("look at accepted bad blobs in %s: %w", tree, err)
		}
	}
	for _, b := range wrong {
		item, ok := known[path.Join(tree.String(), b.Name)]
		same := hex.EncodeToString(sums[b.Name]) == item.FoundSHA // both "" for a missing one
		if ok && same && (b.Why == filesync.Missing) == (item.Why == BadMissing) {
			accepted++
		} else {
			left = append(left, b)
		}
	}
	return left, accepted, nil
}

// lost says which of these files of a destination volume are demanded by the source's rows and missing there: rows are read after the files
// were looked for, because a user's delete takes the row first.
func (f *files) lost(ctx context.Context, v mboxdb.Volume, names map[string]bool) ([]string, error) {
	src := byID(f.plan.Source.Volumes)
	missing := map[string]bool{}
	look := func(found func(b blob, file string) error) error {
		for b, err := range f.blobs(ctx) {
			if err != nil {
				return err
			}
			if b.to.ID == v.ID && names[b.relative] {
				if err := found(b, path.Join(volumePath(src[b.Volume], f.plan.Source.Mailbox.ID), b.from)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := look(func(b blob, file string) error {
		vol := src[b.Volume]
		ok, err := exists(ctx, f.src.Files.Tree(vol.Path), path.Join(vol.MailboxDir(f.plan.Source.Mailbox.ID), b.from))
		missing[file] = !ok
		return err
	})
	if err != nil {
		return nil, err
	}
	var lost []string
	err = look(func(_ blob, file string) error {
		if missing[file] {
			lost = append(lost, file)
		}
		return nil
	})
	return lost, err
}
