package filesync

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"iter"
)

// A Want says what a file must hold.
type Want struct {
	Name   string
	Size   int64  // 0 is unknown
	SHA256 []byte // nil is unknown; SHA1 is looked at only then
	SHA1   []byte
	// Gunzip allows the file to hold the content compressed by gzip; Size and digest are then those of the uncompressed content. Whether
	// it is compressed is seen from the file. One that matches as it stands, a genuine gzip file, is right too.
	Gunzip bool
}

// Why says what is wrong with a file.
type Why string

// What [Check] finds.
const (
	Missing   Why = "missing"
	BadSize   Why = "size"
	BadDigest Why = "digest"
)

// A Bad is a file that does not hold what it must.
type Bad struct {
	Name string
	Why  Why
}

// Check yields the files that do not hold what they must, in no particular order, and at the end an error, if there was one: only a check
// that ends without an error has looked at all of want. A file without size and digest must only exist.
//
// Digests of uncompressed files are computed where the files are. Compressed ones are read from there and judged here. Check changes nothing.
func Check(ctx context.Context, t Tree, want iter.Seq2[Want, error], opts *Options) iter.Seq2[Bad, error] {
	return func(yield func(Bad, error) bool) {
		opts := opts.or()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		c := &checker{t: t, dirs: map[string]bool{}, limit: newLimiter(opts.Rate), bad: func(name string, why Why) error {
			if !yield(Bad{name, why}, nil) {
				return errStopped
			}
			return nil
		}}
		err := errors.Join(t.check(), opts.check())
		if err == nil {
			err = c.all(ctx, want)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(Bad{}, err)
		}
	}
}

const checkChunk = 4096

type checker struct {
	t     Tree
	dirs  map[string]bool // known to be directories
	limit *limiter
	bad   func(string, Why) error
	// streamAll is set when the far side has no command for a digest.
	streamAll bool
}

func (c *checker) all(ctx context.Context, want iter.Seq2[Want, error]) error {
	chunk := make([]Want, 0, checkChunk)
	for w, err := range want {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if err := checkWant(w); err != nil {
			return err
		}
		if chunk = append(chunk, w); len(chunk) < checkChunk {
			continue
		}
		if err := c.some(ctx, chunk); err != nil {
			return err
		}
		chunk = chunk[:0]
	}
	return c.some(ctx, chunk)
}

func checkWant(w Want) error {
	switch {
	case w.SHA256 != nil && len(w.SHA256) != sha256.Size:
		return &NameError{w.Name, "the SHA-256 wanted is not 32 bytes long"}
	case w.SHA1 != nil && len(w.SHA1) != sha1.Size:
		return &NameError{w.Name, "the SHA-1 wanted is not 20 bytes long"}
	}
	return checkName(w.Name)
}

func (w Want) algo() string {
	switch {
	case w.SHA256 != nil:
		return "sha256"
	case w.SHA1 != nil:
		return "sha1"
	}
	return ""
}

func (w Want) digest() []byte {
	if w.SHA256 != nil {
		return w.SHA256
	}
	return w.SHA1
}

// some checks a few files: first what a listing tells, then by digests from the far side, then by content.
func (c *checker) some(ctx context.Context, want []Want) error {
	if len(want) == 0 {
		return ctx.Err()
	}
	found, err := c.stat(ctx, want)
	if err != nil {
		return err
	}
	hash := map[string][]Want{} // by algorithm
	var stream []Want
	for _, w := range want {
		e, ok := found[w.Name]
		sized := w.Size == 0 || ok && w.Size == e.Size
		switch {
		case !ok:
			err = c.bad(w.Name, Missing)
		case !e.Mode.IsRegular():
			err = &FileTypeError{c.t.path(w.Name), e.Mode, "a regular file"}
		case !sized && !w.Gunzip:
			err = c.bad(w.Name, BadSize)
		case sized && w.algo() == "" && w.Size != 0:
		case w.algo() == "" && w.Size == 0:
		case !sized || c.streamAll:
			stream = append(stream, w)
		default:
			hash[w.algo()] = append(hash[w.algo()], w)
		}
		if err != nil {
			return err
		}
	}
	for algo, ws := range hash {
		more, err := c.sums(ctx, algo, ws)
		if err != nil {
			return err
		}
		stream = append(stream, more...)
	}
	return c.stream(ctx, stream)
}

func (c *checker) stat(ctx context.Context, want []Want) (map[string]Entry, error) {
	var names []string
	asked := map[string]bool{}
	ask := func(name string) {
		if !asked[name] {
			asked[name] = true
			names = append(names, name)
		}
	}
	for _, w := range want {
		for dir := range ancestors(w.Name) {
			if !c.dirs[dir] {
				ask(dir)
			}
		}
		ask(w.Name)
	}
	found := map[string]Entry{}
	err := c.t.h.stat(ctx, c.t.root, names, func(e Entry) error {
		found[e.Name] = e
		if e.IsDir() {
			c.dirs[e.Name] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, w := range want {
		for dir := range ancestors(w.Name) {
			if e, ok := found[dir]; ok && !e.IsDir() {
				return nil, &FileTypeError{c.t.path(dir), e.Mode, "a directory"}
			}
		}
	}
	return found, nil
}

// sums compares digests from the far side, and returns the files that must be looked at more closely.
func (c *checker) sums(ctx context.Context, algo string, want []Want) (stream []Want, err error) {
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = w.Name
	}
	got := map[string][]byte{}
	err = c.t.h.sums(ctx, c.t.root, algo, names, func(name string, sum []byte) error { got[name] = sum; return nil })
	if code, ok := exitCode(err); ok && code == exitNoCommand {
		c.streamAll = true
		return want, nil
	}
	if err != nil {
		return nil, err
	}
	for _, w := range want {
		switch sum := got[w.Name]; {
		case sum == nil:
			err = c.bad(w.Name, Missing) // vanished since it was listed
		case bytes.Equal(sum, w.digest()):
		case w.Gunzip:
			stream = append(stream, w)
		default:
			err = c.bad(w.Name, BadDigest)
		}
		if err != nil {
			return nil, err
		}
	}
	return stream, nil
}

// stream reads files and judges them here. One that changes while it is read is wrong: it is not what was wanted twice.
func (c *checker) stream(ctx context.Context, want []Want) error {
	if len(want) == 0 {
		return ctx.Err()
	}
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = w.Name
	}
	read := make([]bool, len(want))
	err := c.t.h.read(ctx, c.t.root, names, func(i int, e Entry, content io.Reader) error {
		read[i] = true
		why, err := judge(want[i], e.Size, c.limit.reader(ctx, content))
		if err != nil || why == "" {
			return err
		}
		return c.bad(want[i].Name, why)
	})
	if err != nil {
		return err
	}
	for i, ok := range read {
		if ok {
			continue
		}
		if err := c.bad(want[i].Name, Missing); err != nil {
			return err
		}
	}
	return nil
}

// judge compares content, raw and, where it may be compressed, uncompressed. It reads all of it.
func judge(w Want, size int64, content io.Reader) (Why, error) {
	raw := newVerdict(w)
	source := &errReader{r: io.TeeReader(content, raw)}
	buf := bufio.NewReaderSize(source, 64<<10)
	magic, _ := buf.Peek(2)
	plain := newVerdict(w)
	compressed := false
	if w.Gunzip && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if z, err := gzip.NewReader(buf); err == nil {
			limit := w.Size + 1 // no more than it takes to see that it is too much
			if w.Size == 0 {
				limit = 1 << 62
			}
			_, err = io.Copy(plain, io.LimitReader(z, limit))
			compressed = err == nil
		}
	}
	if _, err := io.Copy(io.Discard, buf); err != nil {
		return "", err
	}
	if source.err != nil {
		return "", source.err
	}
	why := raw.why()
	if why == "" || !compressed {
		return why, nil
	}
	return plain.why(), nil
}

// An errReader remembers what went wrong below, where a decompressor would call it bad data.
type errReader struct {
	r   io.Reader
	err error
}

func (r *errReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// A verdict counts and digests what is written to it.
type verdict struct {
	want Want
	n    int64
	h    hash.Hash
}

func newVerdict(w Want) *verdict {
	v := &verdict{want: w}
	if algo := w.algo(); algo != "" {
		v.h = hashes[algo]()
	}
	return v
}

func (v *verdict) Write(p []byte) (int, error) {
	v.n += int64(len(p))
	if v.h != nil {
		v.h.Write(p)
	}
	return len(p), nil
}

func (v *verdict) why() Why {
	switch {
	case v.want.Size != 0 && v.n != v.want.Size:
		return BadSize
	case v.h != nil && !bytes.Equal(v.h.Sum(nil), v.want.digest()):
		return BadDigest
	}
	return ""
}

func unhex(s string) ([]byte, error) { return hex.DecodeString(s) }
