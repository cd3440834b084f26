package mboxdb

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A packing is how a file's text is compressed.
type packing struct {
	pack   func(io.Writer) (io.WriteCloser, error)
	unpack func(io.Reader) (io.ReadCloser, error)
}

// zstdWindow is the largest that a reader must take, and what zstd uses up to its level 19.
const zstdWindow = 8 << 20

// packings by the end of a file's name.
var packings = map[string]packing{
	".sql": {
		func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil },
		func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	},
	".gz": {
		func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
	},
	".zst": {
		func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		},
		func(r io.Reader) (io.ReadCloser, error) {
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return nil, err
			}
			return d.IOReadCloser(), nil
		},
	},
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func packingOf(name string) (packing, error) {
	p, ok := packings[filepath.Ext(name)]
	if !ok {
		return p, fmt.Errorf("mboxdb: %s: the name of a dump ends in .sql, .gz or .zst", name)
	}
	return p, nil
}

// DumpFile writes what Dump writes to a new file: plain when its name ends in .sql, compressed with gzip for .gz, with zstd for .zst. Only its
// owner may read it. A file under that name is whole, and on disk: the text is written to one beside it, whose name begins with a dot, and
// which a kill leaves there; after an error there is neither. A name that is taken is fs.ErrExist, and what has it stays as it is.
func (d *DB) DumpFile(ctx context.Context, name string, m Mailbox, opts *DumpOptions) (Summary, error) {
	var sum Summary
	err := createFile(name, func(w io.Writer) (err error) {
		sum, err = d.Dump(ctx, w, m, opts)
		return err
	})
	if err != nil {
		return sum, fmt.Errorf("dump to file: %w", err)
	}
	return sum, nil
}

// createFile makes a file of what write writes, or none.
func createFile(name string, write func(io.Writer) error) (err error) {
	p, err := packingOf(name)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
		}
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	w, err := p.pack(f)
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		_ = w.Close()
		return err
	}
	for _, end := range []func() error{w.Close, f.Sync, f.Close} {
		if err := end(); err != nil {
			return err
		}
	}
	if err := rename(f.Name(), name); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return errors.Join(err, os.Remove(name)) // a crash could still take it away
	}
	return nil
}

// rename replaces nothing.
func rename(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		_ = os.Remove(from) // at worst the whole file has another name
		return nil
	case errors.Is(err, fs.ErrExist):
		return err
	}
	// A file system without links. Somebody who makes the same file within this instant loses it.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// CheckDumpFile is CheckDump for a file that DumpFile wrote, or that was compressed since in the way its name says. Of a compressed file every
// cut is refused. A changed bit that leaves the text as it was, in the time stamp of gzip for example, is not.
func CheckDumpFile(ctx context.Context, name string) (DumpInfo, error) {
	f, err := openFile(name)
	if err != nil {
		return DumpInfo{}, fmt.Errorf("check dump: %w", err)
	}
	defer f.Close()
	return CheckDump(ctx, f)
}

// RestoreFile is Restore from a file, as CheckDumpFile reads it.
func (d *DB) RestoreFile(ctx context.Context, name string, to Mailbox, opts *RestoreOptions) (Restored, error) {
	return d.restore(ctx, to, opts, func() (io.ReadCloser, error) { return openFile(name) })
}

func openFile(name string) (io.ReadCloser, error) {
	p, err := packingOf(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &unpacker{f: f, unpack: p.unpack}, nil
}

// An unpacker reads a file's text. It tells a disk that fails from a file that was cut, and that from one that was changed.
type unpacker struct {
	f      *os.File
	unpack func(io.Reader) (io.ReadCloser, error)
	text   io.ReadCloser // nil: not begun
	off    int64         // in the text
	err    error         // of f
}

func (u *unpacker) Read(p []byte) (n int, err error) {
	if u.text == nil {
		if u.text, err = u.unpack(bufio.NewReaderSize(readerFunc(u.read), 256<<10)); err != nil {
			u.text = nil
			return 0, u.reason(err)
		}
	}
	n, err = u.text.Read(p)
	u.off += int64(n)
	return n, u.reason(err)
}

func (u *unpacker) read(p []byte) (int, error) {
	n, err := u.f.Read(p)
	if err != nil && err != io.EOF {
		u.err = err
	}
	return n, err
}

func (u *unpacker) reason(err error) error {
	switch {
	case err == nil, err == io.EOF:
		return err
	case u.err != nil:
		return u.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the compressed text ends behind offset %d", ErrTruncated, u.off)
	}
	return &DumpError{Offset: u.off, Msg: "it cannot be unpacked: " + strings.TrimSpace(err.Error())}
}

func (u *unpacker) Close() error {
	if u.text != nil {
		_ = u.text.Close()
	}
	return u.f.Close()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
