package zimbra

import (
	"encoding/binary"
	"hash/maphash"
	"path"
	"strconv"
	"strings"

	"github.com/zmlift/zmlift/mboxdb"
)

// A blobFile is a blob's file at the destination: its name follows from these.
type blobFile struct {
	volume           mboxdb.VolumeID
	item, modContent uint32
}

// An inventory is what this process knows of the blobs' files at the destination, in some 50 bytes for each. It is on no disk: a move that is
// gone on with in another process passes over every file before its lock, as the first one did.
type inventory struct {
	seed  maphash.Seed
	files map[blobFile]known
	round uint32 // counts the readings of the rows
	under string // the mark in the directories while this was found out
	// whole says that the last pass before the lock came to its end: there are no files of blobs but these.
	whole bool
}

type known struct {
	sum   uint64          // of what the row said with which the content was compared; 0: it was not
	round uint32          // the last one in which a row named it
	from  mboxdb.VolumeID // where the source has it
	there bool            // in the listing that is under way
}

func newInventory() *inventory {
	return &inventory{seed: maphash.MakeSeed(), files: map[blobFile]known{}}
}

func (v *inventory) forget() { v.files, v.whole = map[blobFile]known{}, false }

// sum stands for what a row says about its blob; it is never 0.
func (v *inventory) sum(b blob) uint64 {
	return maphash.String(v.seed, string(binary.BigEndian.AppendUint64(nil, uint64(b.Size)))+b.Digest) | 1
}

// named takes in that a row names the blob: its file may be there from now on.
func (v *inventory) named(b blob) {
	k := v.files[b.file()]
	k.round, k.from, k.there = v.round, b.Volume, false
	v.files[b.file()] = k
}

// listed takes in a file that is there, and says whether a row names it.
func (v *inventory) listed(volume mboxdb.Volume, name string) bool {
	file, ok := fileNamed(volume, name)
	if !ok {
		return false
	}
	k, ok := v.files[file]
	if !ok || k.round != v.round {
		return false
	}
	k.there = true
	v.files[file] = k
	return true
}

// settle ends a listing: what it did not see is not there, and was removed where no row names it.
func (v *inventory) settle() {
	for file, k := range v.files {
		switch {
		case k.round != v.round:
			delete(v.files, file)
		case !k.there:
			k.sum = 0
			v.files[file] = k
		}
	}
}

// fileNamed is the blob whose file has that name relative to the mailbox's directory.
func fileNamed(v mboxdb.Volume, name string) (blobFile, bool) {
	item, mod, ok := strings.Cut(strings.TrimSuffix(path.Base(name), ".msg"), "-")
	i, ierr := strconv.ParseUint(item, 10, 32)
	m, merr := strconv.ParseUint(mod, 10, 32)
	f := blobFile{v.ID, uint32(i), uint32(m)}
	return f, ok && ierr == nil && merr == nil && v.BlobName(f.item, f.modContent) == name
}

// prove takes in that the file was compared with what a row says.
func (v *inventory) prove(file blobFile, sum uint64) {
	k := v.files[file]
	k.sum = sum
	v.files[file] = k
}

// proven says whether the blob's file was compared with what the row says now.
func (v *inventory) proven(b blob) bool { return v.files[b.file()].sum == v.sum(b) }

// twins are the files that the destination has with the content of these blobs, by what rows say, all of them from one source volume to one
// of the destination.
func (v *inventory) twins(blobs []blob) []blobFile {
	sums := map[uint64]bool{}
	for _, b := range blobs {
		if b.Digest != "" {
			sums[v.sum(b)] = true
		}
	}
	if len(sums) == 0 {
		return nil
	}
	var files []blobFile
	for file, k := range v.files {
		if sums[k.sum] && k.round == v.round && k.from == blobs[0].Volume && file.volume == blobs[0].to.ID {
			files = append(files, file)
		}
	}
	return files
}

// unnamed are the files on a volume that the rows name no more.
func (v *inventory) unnamed(volume mboxdb.VolumeID) []blobFile {
	var files []blobFile
	for file, k := range v.files {
		if k.round != v.round && file.volume == volume {
			files = append(files, file)
		}
	}
	return files
}
