package filesync

import (
	"fmt"
	"io"
	"io/fs"
	"strconv"
)

// A tarWriter writes a tar stream for GNU tar. The one of archive/tar does not fit: it can say nanoseconds only in a header that has the
// name too, as UTF-8, and names here are bytes. This one puts the time alone in an extended header, and the name where names belong.
type tarWriter struct {
	w   *pipe
	blk [512]byte
}

// header starts an entry of the given type flag: '0' a file, '1' a hard link, '5' a directory.
func (t *tarWriter) header(name, link string, flag byte, e Entry) error {
	if nsec := e.ModTime.Nanosecond(); nsec != 0 && flag != '1' {
		rec := fmt.Sprintf("mtime=%d.%09d\n", e.ModTime.Unix(), nsec)
		if e.ModTime.Unix() < 0 {
			rec = fmt.Sprintf("mtime=-%d.%09d\n", -e.ModTime.Unix()-1, 1_000_000_000-nsec)
		}
		size := len(rec) + 3 // its own two digits and a space
		if err := t.long(fmt.Sprintf("%d %s", size, rec), 'x'); err != nil {
			return err
		}
	}
	if len(link) > 100 {
		if err := t.long(link+"\x00", 'K'); err != nil {
			return err
		}
	}
	if len(name) > 100 {
		if err := t.long(name+"\x00", 'L'); err != nil {
			return err
		}
	}
	return t.block(name, link, flag, e)
}

// long writes an entry whose content says something about the next one.
func (t *tarWriter) long(content string, flag byte) error {
	if err := t.block("././@LongLink", "", flag, Entry{Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := t.w.Write([]byte(content)); err != nil {
		return err
	}
	return t.pad(int64(len(content)))
}

func (t *tarWriter) block(name, link string, flag byte, e Entry) error {
	b := t.blk[:]
	clear(b)
	copy(b[:100], name)
	number(b[100:108], int64(toUnix(e.Mode)))
	number(b[108:116], int64(e.UID))
	number(b[116:124], int64(e.GID))
	size := e.Size
	if flag == '1' || flag == '5' {
		size = 0
	}
	number(b[124:136], size)
	if !e.ModTime.IsZero() {
		number(b[136:148], e.ModTime.Unix())
	} else {
		number(b[136:148], 0)
	}
	copy(b[148:156], "        ")
	b[156] = flag
	copy(b[157:257], link)
	copy(b[257:265], "ustar  \x00")
	var sum int64
	for _, c := range b {
		sum += int64(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	_, err := t.w.Write(b)
	return err
}

// number writes n in octal digits, or, where they do not suffice, in GNU's binary form.
func number(b []byte, n int64) {
	if s := strconv.FormatInt(n, 8); n >= 0 && len(s) < len(b) {
		for i := range b[:len(b)-1] {
			b[i] = '0'
		}
		copy(b[len(b)-1-len(s):], s)
		return
	}
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	b[0] |= 0x80
}

// content writes exactly size bytes of r. Less is an error.
func (t *tarWriter) content(r io.Reader, size int64) error {
	n, err := t.w.ReadFrom(io.LimitReader(r, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return t.pad(size)
}

var zeros [10240]byte

func (t *tarWriter) pad(size int64) error {
	_, err := t.w.Write(zeros[:-size&511])
	return err
}

// close writes the end of the archive. It does not close what is below.
func (t *tarWriter) close() error {
	if _, err := t.w.Write(zeros[:1024]); err != nil {
		return err
	}
	return t.w.flush()
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func toUnix(m fs.FileMode) uint32 {
	u := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		u |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		u |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		u |= 0o1000
	}
	return u
}

func fromUnix(u uint32) fs.FileMode {
	m := fs.FileMode(u & 0o777)
	if u&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if u&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if u&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}
