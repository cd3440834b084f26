package filesync

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"iter"
	"runtime"
	"sync"
	"syscall"
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
	// Unreadable is a file that the disk or its file system gives no more than an error for.
	Unreadable Why = "unreadable"
)

// A Bad is a file that does not hold what it must.
type Bad struct {
	Name string
	Why  Why
	Size int64 // bytes that the file has as it lies there; 0 when it is missing
	// Content is what the file holds in bytes: uncompressed where Want.Gunzip allows that and it is nothing but gzip, and Size else.
	Content int64
}

// Check yields the files that do not hold what they must, in no particular order, and at the end an error, if there was one: only a check
// that ends without an error has looked at all of want. A file without size and digest must only exist.
//
// Digests are computed where the files are, by as many processes at a time as Options.Workers says, and only they travel. That goes for
// compressed files too, with perl where it has its usual modules and with gzip else, which is several times slower. Content is read from
// there only where the far side has no command for a digest, and where gzip alone cannot tell what a file ends with. Check changes nothing,
// and holds a few thousand names at a time, however long want is. Options.Progress is told the files and bytes that were looked at.
func Check(ctx context.Context, t Tree, want iter.Seq2[Want, error], opts *Options) iter.Seq2[Bad, error] {
	return func(yield func(Bad, error) bool) {
		opts := opts.or()
		err := errors.Join(t.check(), opts.check())
		if err == nil {
			c := newChecker(t, opts)
			err = c.all(ctx, want, func(b Bad) bool { return yield(b, nil) })
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(Bad{}, err)
		}
	}
}

// Two chunks are on their way at a time, each with half of the workers: while one is looked up, the other keeps processors busy.
const (
	checkChunk = 8192
	checkAhead = 2
)

type checker struct {
	t     Tree
	opts  *Options
	far   digester // nil: files are read here
	limit limits
	meter meter

	one  sync.Mutex
	mu   sync.Mutex
	dirs map[string]bool // known to be directories
	// streamAll is set when the far side has no command for a digest.
	streamAll bool
}

func newChecker(t Tree, opts *Options) *checker {
	c := &checker{t: t, opts: opts, dirs: map[string]bool{}, limit: newLimits(opts)}
	c.far, _ = t.h.(digester)
	c.meter.f = opts.Progress
	return c
}

// all reads want and yields in the caller's goroutine; the chunks in between are looked at by others, which have ended when it returns.
func (c *checker) all(ctx context.Context, want iter.Seq2[Want, error], yield func(Bad) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		bad []Bad
		err error
	}
	results := make(chan result)
	running := 0
	defer func() {
		cancel()
		for ; running > 0; running-- {
			<-results
		}
	}()
	collect := func() error {
		r := <-results
		running--
		for _, b := range r.bad {
			if !yield(b) {
				return errStopped
			}
		}
		return r.err
	}
	size, ahead := checkChunk, checkAhead
	if c.far == nil { // each chunk has one goroutine
		size, ahead = 512, c.limit.workers(c.opts.workers(runtime.GOMAXPROCS(0)))
	}
	begin := func(chunk []Want) error {
		if running == ahead {
			if err := collect(); err != nil {
				return err
			}
		}
		running++
		go func() {
			k := &chunkCheck{checker: c}
			err := k.some(ctx, chunk)
			results <- result{k.bad, err}
		}()
		return nil
	}
	var chunk []Want
	for w, err := range want {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if err := checkWant(w); err != nil {
			return err
		}
		if chunk = append(chunk, w); len(chunk) < size {
			continue
		}
		if err := begin(chunk); err != nil {
			return err
		}
		chunk = make([]Want, 0, size)
	}
	if len(chunk) > 0 {
		if err := begin(chunk); err != nil {
			return err
		}
	}
	for running > 0 {
		if err := collect(); err != nil {
			return err
		}
	}
	c.meter.done()
	return ctx.Err()
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

// why judges content of which size and digest are known.
func (w Want) why(size int64, digest []byte) Why {
	switch {
	case w.Size != 0 && size != w.Size:
		return BadSize
	case w.algo() != "" && !bytes.Equal(digest, w.digest()):
		return BadDigest
	}
	return ""
}

// A chunkCheck looks at some files: first at what a listing tells, then at digests from the far side, then at content.
type chunkCheck struct {
	*checker
	bad []Bad
}

// A listed is a Want and the size of its file.
type listed struct {
	Want
	size int64
}

func (c *chunkCheck) add(w listed, why Why) { c.addContent(w, why, w.size) }

func (c *chunkCheck) addContent(w listed, why Why, content int64) {
	if why != "" {
		c.bad = append(c.bad, Bad{w.Name, why, w.size, content})
	}
}

func (c *chunkCheck) some(ctx context.Context, want []Want) error {
	found, err := c.stat(ctx, want)
	if err != nil {
		return err
	}
	hash, unzip := map[string][]listed{}, map[string][]listed{} // by algorithm
	var stream []listed
	var bytes int64
	for _, want := range want {
		e, ok := found[want.Name]
		w := listed{want, e.Size}
		bytes += e.Size
		sized := w.Size == 0 || w.Size == e.Size
		switch {
		case !ok:
			c.add(w, Missing)
		case !e.Mode.IsRegular():
			return &FileTypeError{c.t.path(w.Name), e.Mode, "a regular file"}
		case !sized && !w.Gunzip:
			c.add(w, BadSize)
		case sized && w.algo() == "":
		case c.far == nil || c.cannot():
			stream = append(stream, w)
		case sized:
			hash[w.algo()] = append(hash[w.algo()], w)
		default:
			unzip[w.algo()] = append(unzip[w.algo()], w)
		}
	}
	for algo, ws := range hash {
		compressed, home, err := c.sums(ctx, algo, ws)
		if err != nil {
			return err
		}
		unzip[algo] = append(unzip[algo], compressed...)
		stream = append(stream, home...)
	}
	for algo, ws := range unzip {
		home, err := c.unzipped(ctx, algo, ws)
		if err != nil {
			return err
		}
		stream = append(stream, home...)
	}
	if err := c.stream(ctx, stream); err != nil {
		return err
	}
	c.meter.add(func(s *Stats) { s.Files += int64(len(want)); s.Bytes += bytes })
	return ctx.Err()
}

// digesting calls f with how many processes may work on its chunk; 0 leaves that to the far side. Where there may be one in all, the chunks
// take turns.
func (c *checker) digesting(f func(workers int) error) error {
	n := c.limit.workers(c.opts.Workers)
	if n == 1 {
		c.one.Lock()
		defer c.one.Unlock()
		return f(1)
	}
	return f(n / checkAhead)
}

func (c *checker) cannot() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streamAll
}

// noCommand says whether err is that the far side cannot digest, and remembers that.
func (c *checker) noCommand(err error) bool {
	code, ok := exitCode(err)
	if !ok || code != exitNoCommand {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streamAll = true
	return true
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
	c.mu.Lock()
	for _, w := range want {
		for dir := range ancestors(w.Name) {
			if !c.dirs[dir] {
				ask(dir)
			}
		}
		ask(w.Name)
	}
	c.mu.Unlock()
	found := map[string]Entry{}
	err := c.t.h.stat(ctx, c.t.root, names, func(e Entry) error {
		found[e.Name] = e
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range want {
		for dir := range ancestors(w.Name) {
			e, ok := found[dir]
			if ok && !e.IsDir() {
				return nil, &FileTypeError{c.t.path(dir), e.Mode, "a directory"}
			}
			if ok {
				c.dirs[dir] = true
			}
		}
	}
	return found, nil
}

func names(want []listed) []string {
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = w.Name
	}
	return names
}

// sums compares digests of the files as they lie there. Compressed may be what fits only so; home cannot be digested there.
func (c *chunkCheck) sums(ctx context.Context, algo string, want []listed) (compressed, home []listed, err error) {
	got := make(map[string][]byte, len(want))
	err = c.digesting(func(workers int) error {
		return c.far.sums(ctx, c.t.root, algo, workers, names(want), func(name string, sum []byte) error { got[name] = sum; return nil })
	})
	if c.noCommand(err) {
		return nil, want, nil
	}
	var broken map[string]bool
	if errors.Is(err, errBroken) {
		broken, err = c.broken(ctx, algo, want, got, err)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, w := range want {
		switch sum := got[w.Name]; {
		case broken[w.Name]:
			c.add(w, Unreadable)
		case sum == nil:
			c.add(listed{w.Want, 0}, Missing) // vanished since it was listed
		case bytes.Equal(sum, w.digest()):
		case w.Gunzip:
			compressed = append(compressed, w)
		default:
			c.add(w, BadDigest)
		}
	}
	return compressed, home, nil
}

// maxBroken is how many unreadable files of a chunk are looked at one by one; where there are more, something else is wrong with the disk.
const maxBroken = 64

// broken finds out which of the files without a digest cannot be read. The others' digests are added to got.
func (c *chunkCheck) broken(ctx context.Context, algo string, want []listed, got map[string][]byte, why error) (map[string]bool, error) {
	broken := map[string]bool{}
	asked := map[string]bool{}
	for _, w := range want {
		if got[w.Name] != nil || asked[w.Name] {
			continue
		}
		if asked[w.Name] = true; len(asked) > maxBroken {
			return nil, why
		}
		err := c.far.sums(ctx, c.t.root, algo, 1, []string{w.Name}, func(name string, sum []byte) error { got[name] = sum; return nil })
		switch {
		case errors.Is(err, errBroken):
			broken[w.Name] = true
		case err != nil:
			return nil, err
		}
	}
	return broken, nil
}

// isBroken says whether a disk or a file system could not give what it has.
func isBroken(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EUCLEAN) || errors.Is(err, syscall.EBADMSG)
}

// unzipped compares digests of what the files hold compressed. As they lie there they do not fit.
func (c *chunkCheck) unzipped(ctx context.Context, algo string, want []listed) (home []listed, err error) {
	if len(want) == 0 {
		return nil, ctx.Err()
	}
	got := make([]unzipped, len(want))
	err = c.digesting(func(workers int) error {
		return c.far.unzip(ctx, c.t.root, algo, workers, names(want), func(i int, u unzipped) error { got[i] = u; return nil })
	})
	if c.noCommand(err) {
		return want, nil
	}
	if err != nil {
		return nil, err
	}
	for i, w := range want {
		switch u := got[i]; u.is {
		case isGzip:
			c.addContent(w, w.why(u.size, u.sum), u.size)
		case isNoGzip:
			c.add(w, w.why(w.size, nil))
		case isUnreadable:
			c.add(w, Unreadable)
		case isOddGzip:
			home = append(home, w)
		default:
			c.add(listed{w.Want, 0}, Missing)
		}
	}
	return home, nil
}

// stream reads files and judges them here. One that changes while it is read is wrong: it is not what was wanted twice.
func (c *chunkCheck) stream(ctx context.Context, want []listed) error {
	if len(want) == 0 {
		return ctx.Err()
	}
	read := make([]bool, len(want))
	err := c.t.h.read(ctx, c.t.root, names(want), func(i int, e Entry, content io.Reader) error {
		read[i] = true
		leave, err := c.limit.enter(ctx)
		if err != nil {
			return err
		}
		defer leave()
		why, held, err := judge(want[i].Want, c.limit.reader(ctx, content))
		if isBroken(err) {
			why, err = Unreadable, nil
		}
		c.addContent(listed{want[i].Want, e.Size}, why, held)
		return err
	})
	if err != nil {
		return err
	}
	for i, ok := range read {
		if !ok {
			c.add(listed{want[i].Want, 0}, Missing)
		}
	}
	return nil
}

// judge compares content, raw and, where it may be compressed, uncompressed. It reads all of it, and
// returns how much it holds.
func judge(w Want, content io.Reader) (Why, int64, error) {
	raw := newVerdict(w)
	source := &errReader{r: io.TeeReader(content, raw)}
	buf := bufio.NewReaderSize(source, 64<<10)
	magic, _ := buf.Peek(2)
	plain := newVerdict(w)
	compressed := false
	if w.Gunzip && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if z, err := gzip.NewReader(buf); err == nil {
			_, err = io.Copy(plain, z)
			compressed = err == nil
		}
	}
	if _, err := io.Copy(io.Discard, buf); err != nil {
		return "", 0, err
	}
	if source.err != nil {
		return "", 0, source.err
	}
	why := raw.why()
	if why == "" || !compressed {
		return why, raw.n, nil
	}
	return plain.why(), plain.n, nil
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
	var sum []byte
	if v.h != nil {
		sum = v.h.Sum(nil)
	}
	return v.want.why(v.n, sum)
}
