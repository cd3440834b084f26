package filesync

import "hash/maphash"

// A table holds the files of a listing in about 45 bytes each plus the name: a tree has millions.
type table struct {
	seed  maphash.Seed
	slots []uint32 // open addressing; number of the record plus one
	recs  [][]record
	n     uint32
	names [][]byte
}

type record struct {
	size, mtime int64 // mtime in nanoseconds
	inode       uint64
	name        uint64 // chunk and offset
	length      uint16
	linked      bool // has several names
	seen        bool
}

const (
	recordsChunk = 4096
	namesChunk   = 1 << 20
)

func newTable() *table { return &table{seed: maphash.MakeSeed(), slots: make([]uint32, 64)} }

func (t *table) at(i uint32) *record { return &t.recs[i/recordsChunk][i%recordsChunk] }

func (t *table) name(r *record) []byte {
	off := r.name % namesChunk
	return t.names[r.name/namesChunk][off : off+uint64(r.length)]
}

func (t *table) add(e Entry) {
	if int(t.n)+int(t.n)/3 >= len(t.slots) {
		t.grow()
	}
	last := len(t.names) - 1
	if last < 0 || len(t.names[last])+len(e.Name) > namesChunk {
		t.names = append(t.names, make([]byte, 0, namesChunk))
		last++
	}
	if t.n%recordsChunk == 0 {
		t.recs = append(t.recs, make([]record, recordsChunk))
	}
	off := len(t.names[last])
	t.names[last] = append(t.names[last], e.Name...)
	*t.at(t.n) = record{
		size: e.Size, mtime: e.ModTime.UnixNano(), inode: e.Inode, linked: e.Links > 1,
		name: uint64(last)*namesChunk + uint64(off), length: uint16(len(e.Name)),
	}
	t.n++
	t.slots[t.free(maphash.String(t.seed, e.Name))] = t.n
}

func (t *table) free(hash uint64) uint64 {
	i := hash % uint64(len(t.slots))
	for t.slots[i] != 0 {
		i = (i + 1) % uint64(len(t.slots))
	}
	return i
}

func (t *table) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	for i := range t.n {
		t.slots[t.free(maphash.Bytes(t.seed, t.name(t.at(i))))] = i + 1
	}
}

// find returns the record of name, nil when there is none.
func (t *table) find(name string) *record {
	i := maphash.String(t.seed, name) % uint64(len(t.slots))
	for ; t.slots[i] != 0; i = (i + 1) % uint64(len(t.slots)) {
		if r := t.at(t.slots[i] - 1); string(t.name(r)) == name {
			return r
		}
	}
	return nil
}

// unseen calls f for the records that were not marked as seen, until it fails.
func (t *table) unseen(f func(name string, r *record) error) error {
	for i := range t.n {
		r := t.at(i)
		if r.seen {
			continue
		}
		if err := f(string(t.name(r)), r); err != nil {
			return err
		}
	}
	return nil
}
