package filesync

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// remoteHost carries out a host's work by commands.
type remoteHost struct {
	run      Runner
	prefix   []string
	priority *Priority
	ssh      *SSH // for rsync

	// A runner may let only so many commands run at once. Those that wait for others are bounded, so that the others come through.
	batches chan struct{}
	listing chan struct{}
}

// call runs a script at root. Its error has the path and what the command said.
func (h *remoteHost) call(ctx context.Context, script, root string, g *Guard, args []string, stdin io.Reader, stdout io.Writer) error {
	var stderr tail
	err := h.exec(ctx, script, root, g, args, stdin, stdout, &stderr)
	return describe(root, err, stderr.String())
}

func (h *remoteHost) exec(ctx context.Context, script, root string, g *Guard, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var mark, content string
	if g != nil {
		mark, content = g.Name, g.Content
	}
	argv := slices.Concat(h.prefix, h.priority.argv(), []string{"sh", "-c", script, "filesync", root, mark, content}, args)
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	if stdout == nil {
		stdout = io.Discard
	}
	err := h.run.Run(ctx, argv, stdin, stdout, stderr)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = errors.Join(ctx.Err(), err)
	}
	return err
}

// exitCode is the status of a command that ran and failed; ok is false when that is not what happened.
func exitCode(err error) (code int, ok bool) {
	var exit interface{ ExitCode() int }
	if !errors.As(err, &exit) {
		return 0, false
	}
	return exit.ExitCode(), true
}

func describe(root string, err error, stderr string) error {
	if err == nil {
		return nil
	}
	code, _ := exitCode(err)
	switch code {
	case exitNoRoot:
		return fmt.Errorf("filesync: %s: %w", root, fs.ErrNotExist)
	case exitGuard:
		return fmt.Errorf("%w: %s", ErrGuard, root)
	case exitExists:
		return fmt.Errorf("filesync: %s: %w", root, fs.ErrExist)
	case exitNotExist:
		return fmt.Errorf("filesync: %s: %w", root, fs.ErrNotExist)
	}
	if code == exitNoSpace {
		err = syscall.ENOSPC
	}
	if stderr == "" {
		return fmt.Errorf("filesync: %s: %w", root, err)
	}
	return fmt.Errorf("filesync: %s: %s: %w", root, stderr, err)
}

// A tail keeps the end of what is written to it: the last lines say what a command died of.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 2048
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-keep):]
	return len(p), nil
}

func (t *tail) String() string {
	return strings.Join(strings.Split(strings.TrimSpace(string(t.b)), "\n"), "; ")
}

// records cuts a stream into pieces ended by sep and gives each to f. The last one must be the end mark.
type records struct {
	sep   byte
	f     func([]byte) error
	rest  []byte
	ended bool
	err   error
}

func (r *records) Write(p []byte) (int, error) {
	n := len(p)
	for r.err == nil {
		i := bytes.IndexByte(p, r.sep)
		if i < 0 {
			r.rest = append(r.rest, p...)
			return n, nil
		}
		rec := p[:i]
		if len(r.rest) > 0 {
			r.rest = append(r.rest, rec...)
			rec = r.rest
		}
		p = p[i+1:]
		switch {
		case r.ended:
			r.err = errors.New("output after its end")
		case string(rec) == endMark:
			r.ended = true
		default:
			r.err = r.f(rec)
		}
		r.rest = r.rest[:0]
	}
	return 0, r.err
}

// close says whether all went well, given the command's error.
func (r *records) close(root string, err error) error {
	switch {
	case r.err != nil:
		return r.err // that is why the command failed
	case err != nil:
		return err
	case !r.ended || len(r.rest) > 0:
		return fmt.Errorf("filesync: %s: output cut short: %w", root, io.ErrUnexpectedEOF)
	}
	return nil
}

func (h *remoteHost) entries(yield func(Entry) error) *records {
	return &records{sep: 0, f: func(rec []byte) error {
		e, err := parseEntry(rec)
		if err != nil {
			return err
		}
		return yield(e)
	}}
}

// parseEntry reads what find prints for entryFormat. There are millions of them: nothing but the name is allocated.
func parseEntry(rec []byte) (Entry, error) {
	f := fields{rest: rec}
	typ, known := findType(f.next())
	e := Entry{Size: f.number(10), ModTime: f.time(), Inode: uint64(f.number(10)), Device: uint64(f.number(10)), Links: uint64(f.number(10))}
	e.Mode = fromUnix(uint32(f.number(8))) | typ
	e.UID, e.GID = int(f.number(10)), int(f.number(10))
	name, _ := bytes.CutPrefix(f.rest, []byte("./"))
	if e.Name = string(name); f.bad || !known || len(name) == 0 {
		return Entry{}, fmt.Errorf("filesync: unexpected output of find: %q", rec)
	}
	return e, nil
}

// fields takes a record apart at its spaces. Once something was not what it should be, bad stays true.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) next() []byte {
	i := bytes.IndexByte(f.rest, ' ')
	if i < 0 {
		f.bad = true
		return nil
	}
	field := f.rest[:i]
	f.rest = f.rest[i+1:]
	return field
}

func (f *fields) number(base int64) int64 {
	field := f.next()
	n, ok := parseNumber(field, base)
	f.bad = f.bad || !ok
	return n
}

// parseNumber reads a number that fits into an int64, or, for an inode that does not, into a uint64.
func parseNumber(b []byte, base int64) (int64, bool) {
	b, negative := bytes.CutPrefix(b, []byte("-"))
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d >= uint64(base) || n > (math.MaxUint64-d)/uint64(base) {
			return 0, false
		}
		n = n*uint64(base) + d
	}
	if negative {
		return -int64(n), n <= math.MaxInt64
	}
	return int64(n), true
}

// time reads seconds with ten decimals. Find prints the two numbers of a timespec: before 1970 the decimals still count upwards.
func (f *fields) time() time.Time {
	secs, frac, _ := bytes.Cut(f.next(), []byte("."))
	sec, ok := parseNumber(secs, 10)
	var nsec int64
	for i := range 9 {
		nsec *= 10
		if i < len(frac) {
			d := int64(frac[i] - '0')
			ok = ok && d >= 0 && d <= 9
			nsec += d
		}
	}
	f.bad = f.bad || !ok
	return time.Unix(sec, nsec)
}

func findType(b []byte) (typ fs.FileMode, known bool) {
	if len(b) != 1 {
		return 0, false
	}
	switch b[0] {
	case 'f':
		return 0, true
	case 'd':
		return fs.ModeDir, true
	case 'l':
		return fs.ModeSymlink, true
	case 'p':
		return fs.ModeNamedPipe, true
	case 's':
		return fs.ModeSocket, true
	case 'c':
		return fs.ModeDevice | fs.ModeCharDevice, true
	case 'b', 'D':
		return fs.ModeDevice, true
	}
	return 0, false
}

func (h *remoteHost) look(ctx context.Context, root string, stale time.Duration, all bool, names []string, yield func(Entry) error) error {
	args := []string{"-1", "names"}
	if stale > 0 {
		args[0] = strconv.Itoa(int((stale + time.Minute - 1) / time.Minute))
	}
	if all {
		args[1] = "all"
	}
	return h.ask(ctx, lookScript, root, args, names, yield)
}

func (h *remoteHost) list(ctx context.Context, root string, yield func(Entry) error) error {
	out := h.entries(yield)
	return out.close(root, h.call(ctx, listScript, root, nil, nil, nil, out))
}

func (h *remoteHost) stat(ctx context.Context, root string, names []string, yield func(Entry) error) error {
	return h.ask(ctx, statScript, root, nil, names, yield)
}

// ask runs a script that prints entries and complains about names that do not exist.
func (h *remoteHost) ask(ctx context.Context, script, root string, args, names []string, yield func(Entry) error) error {
	out := h.entries(yield)
	errs := &lines{accept: isAbsence}
	err := h.exec(ctx, script, root, nil, args, nameReader(names), out, errs)
	errs.close()
	if err == nil && len(errs.other.b) > 0 {
		return fmt.Errorf("filesync: %s: %s", root, errs.other.String())
	}
	return out.close(root, describe(root, err, errs.other.String()))
}

// isAbsence says whether find or tar tells of a name that does not exist.
func isAbsence(line string) bool {
	return strings.HasSuffix(line, ": No such file or directory") || strings.HasSuffix(line, ": Not a directory") ||
		strings.HasSuffix(line, ": File removed before we read it")
}

// isChange says whether tar tells of a file that was written while it was read, or readScript of a directory.
func isChange(line string) bool {
	return strings.HasSuffix(line, ": file changed as we read it") || strings.Contains(line, ": File shrank by ") ||
		strings.HasSuffix(line, replaced)
}

// lines sorts what a command writes to stderr: accepted lines are dropped, the others kept.
type lines struct {
	accept func(string) bool
	rest   []byte
	other  tail
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.line(l.rest[:i+1])
		l.rest = l.rest[i+1:]
	}
}

func (l *lines) line(b []byte) {
	if line := strings.TrimSpace(string(b)); line != "" && !l.accept(line) {
		l.other.Write(b)
	}
}

func (l *lines) close() { l.line(l.rest); l.rest = nil }

// nameReader gives names to a command. The ./ in front keeps a leading dash from being an option.
func nameReader(names []string) *bytes.Buffer {
	b := new(bytes.Buffer)
	for _, n := range names {
		b.WriteString("./")
		b.WriteString(n)
		b.WriteByte(0)
	}
	return b
}

func (h *remoteHost) read(ctx context.Context, root string, names []string, emit func(int, Entry, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newPipe()
	type outcome struct {
		err     error
		changed string
		stderr  string
	}
	done := make(chan outcome, 1)
	dirs, files := nameReader(dirsAbove(names)), nameReader(names)
	args := []string{strconv.Itoa(dirs.Len()), strconv.Itoa(files.Len())}
	stdin := io.MultiReader(bytes.NewReader(dirs.Bytes()), files, bytes.NewReader(dirs.Bytes()))
	go func() {
		var o outcome
		errs := &lines{accept: func(line string) bool {
			if isChange(line) {
				o.changed = line
			}
			return isChange(line) || isAbsence(line) || strings.HasSuffix(line, "Exiting with failure status due to previous errors")
		}}
		o.err = h.exec(ctx, readScript, root, nil, args, stdin, p, errs)
		errs.close()
		if err := p.flush(); o.err == nil {
			o.err = err
		}
		o.stderr = errs.other.String()
		code, exited := exitCode(o.err)
		if exited && (code == 1 || code == 2) && o.stderr == "" && o.err != nil {
			o.err = nil // what is absent and what changed is all it complained of
		}
		o.err = describe(root, o.err, o.stderr)
		p.closeWrite(o.err) // nil is the end of the stream, which must then be a whole one
		done <- o
	}()
	err := untar(ctx, root, p, names, emit)
	p.closeRead(errStopped)
	if err != nil {
		cancel()
	}
	o := <-done
	switch {
	case o.err != nil && (err == nil || errors.Is(err, o.err)):
		return o.err
	case err != nil:
		return err
	case o.changed != "":
		return fmt.Errorf("%w: %s: %s", ErrChanged, root, o.changed)
	}
	return nil
}

// errStopped is what a pipe says to its writer when its reader has gone.
var errStopped = errors.New("filesync: stopped reading")

// untar gives the files of a tar stream to emit, with their indices in names, which has the same order.
func untar(ctx context.Context, root string, r io.Reader, names []string, emit func(int, Entry, io.Reader) error) error {
	whole := &endReader{r: r}
	tr := tar.NewReader(whole)
	next := 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			// archive/tar takes an end at a block boundary for the end of the archive. Tar writes at least two blocks of zeros there.
			if !whole.zeros() {
				return fmt.Errorf("filesync: %s: tar stream cut short: %w", root, io.ErrUnexpectedEOF)
			}
			_, err = io.Copy(io.Discard, whole)
			return err
		}
		if err != nil {
			return fmt.Errorf("filesync: %s: tar stream: %w", root, err)
		}
		name := strings.TrimPrefix(hdr.Name, "./")
		i := next
		for i < len(names) && names[i] != name {
			i++
		}
		if i == len(names) {
			return fmt.Errorf("filesync: %s: tar sent %q, which was not asked for", root, name)
		}
		next = i + 1
		e := Entry{Name: name, Mode: hdr.FileInfo().Mode(), Size: hdr.Size, ModTime: hdr.ModTime, UID: hdr.Uid, GID: hdr.Gid}
		if hdr.Typeflag != tar.TypeReg {
			return &FileTypeError{Path: root + "/" + name, Mode: e.Mode.Type(), Want: "a regular file"}
		}
		if err := emit(i, e, tr); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, tr); err != nil {
			return fmt.Errorf("filesync: %s/%s: tar stream: %w", root, name, err)
		}
		whole.n = 0 // zeros of the content do not count
	}
}

// An endReader remembers whether the last two blocks of 512 bytes that it gave were zeros.
type endReader struct {
	r io.Reader
	n int // zeros at the end
}

func (r *endReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if t := bytes.TrimRight(p[:n], "\x00"); len(t) == 0 {
		r.n += n
	} else {
		r.n = n - len(t)
	}
	return n, err
}

func (r *endReader) zeros() bool { return r.n >= 1024 }

func (h *remoteHost) prepare(ctx context.Context, root, stage string, g *Guard) error {
	return h.call(ctx, prepareScript, root, g, []string{stage}, nil, nil)
}

func (h *remoteHost) put(ctx context.Context, root, stage string, prepared bool, owner Owner, g *Guard, fill func(stager) ([]string, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := []string{stage, "0"}
	if prepared {
		args[1] = "1"
	}
	w := &tarStager{way: len(root) + len(stage) + 32}
	return h.feed(ctx, cancel, func(stdin io.Reader) error {
		return h.call(ctx, putScript, root, g, args, stdin, nil)
	}, w, func() error {
		dirs, err := fill(w)
		if err != nil {
			return err
		}
		return w.end(dirs, owner)
	})
}

// feed runs a command whose standard input is the tar stream that fill writes through w.
func (h *remoteHost) feed(ctx context.Context, cancel func(), command func(io.Reader) error, w *tarStager, fill func() error) error {
	p := newPipe()
	done := make(chan error, 1)
	go func() {
		err := command(p)
		if err == nil {
			p.closeRead(errStopped)
		} else {
			p.closeRead(err)
		}
		done <- err
	}()
	w.w = &tarWriter{w: p}
	err := fill()
	if err == nil {
		err = w.w.close()
	}
	p.closeWrite(err)
	if err != nil {
		// The far side sees its input end and goes by itself; when it does not, it is told.
		stop := time.AfterFunc(5*time.Second, cancel)
		defer stop.Stop()
	}
	cerr := <-done
	switch {
	case err == nil || cerr != nil && errors.Is(err, cerr):
		return cerr
	case errors.Is(err, errStopped):
		return errors.Join(err, ctx.Err())
	}
	return err
}

// A tarStager writes what it is given as a tar stream, extracted inside the stage.
type tarStager struct {
	w            *tarWriter
	way          int // how long the name of a directory of the stage is
	files, bytes int64
	dirs         []tarDir
}

// A tarDir says how the files of a directory of the stage may be named by a shell.
type tarDir struct {
	length int // of all their names
	hidden bool
}

// maxGlob is how long the names of a directory's files may be together for a command line, with the way to each of them.
const maxGlob = 64 << 10

func (s *tarStager) mkdir(dir int, name string, e Entry) error {
	s.name(dir, name)
	return s.w.header("./"+strconv.Itoa(dir)+"/"+name+"/", "", '5', e)
}

func (s *tarStager) count(dir int, base string, size int64) {
	s.files, s.bytes = s.files+1, s.bytes+size
	s.name(dir, base)
}

// name notes that the stage's directory dir has something of that name, which a shell will rename.
func (s *tarStager) name(dir int, base string) {
	if strings.Contains(base, "/") {
		return // comes with what it lies in
	}
	for dir >= len(s.dirs) {
		s.dirs = append(s.dirs, tarDir{})
	}
	s.dirs[dir].length += s.way + len(base)
	s.dirs[dir].hidden = s.dirs[dir].hidden || base[0] == '.'
}

func (s *tarStager) file(dir int, base string, e Entry, content io.Reader) error {
	if err := s.w.header("./"+strconv.Itoa(dir)+"/"+base, "", '0', e); err != nil {
		return err
	}
	s.count(dir, base, e.Size)
	return s.w.content(content, e.Size)
}

func (s *tarStager) link(dir int, base string, targetDir int, target string, size int64) error {
	switch targetDir {
	case inTree:
		target = "../" + target
	case inStage:
		target = "./" + target
	default:
		target = "./" + strconv.Itoa(targetDir) + "/" + target
	}
	s.count(dir, base, size)
	return s.w.header("./"+strconv.Itoa(dir)+"/"+base, target, '1', Entry{})
}

// end writes what putScript reads.
func (s *tarStager) end(dirs []string, owner Owner) error {
	var b bytes.Buffer
	for i, d := range dirs {
		how := 'f'
		if s.dirs[i].length <= maxGlob && !s.dirs[i].hidden {
			how = 'g'
		}
		fmt.Fprintf(&b, "%c/%d/%s\x00", how, i, d)
	}
	for _, f := range []struct{ name, content string }{{"dirs", b.String()}, {"end", fmt.Sprintf("%d %d\n", s.files, s.bytes)}} {
		e := Entry{Mode: 0o600, Size: int64(len(f.content)), UID: owner.UID, GID: owner.GID}
		if err := s.w.header("./"+f.name, "", '0', e); err != nil {
			return err
		}
		if err := s.w.content(strings.NewReader(f.content), e.Size); err != nil {
			return err
		}
	}
	return nil
}

func (h *remoteHost) discard(ctx context.Context, root, stage string) error {
	return h.call(ctx, discardScript, root, nil, []string{stage}, nil, nil)
}

func (h *remoteHost) setDirs(ctx context.Context, root string, g *Guard, dirs []Entry) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &tarStager{}
	return h.feed(ctx, cancel, func(stdin io.Reader) error {
		return h.call(ctx, setDirsScript, root, g, nil, stdin, nil)
	}, w, func() error {
		for _, d := range dirs {
			if err := w.w.header("./"+d.Name+"/", "", '5', d); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *remoteHost) unlink(ctx context.Context, root string, g *Guard, files, dirs []string) error {
	for _, u := range []struct {
		names   []string
		command []string
	}{{files, []string{"rm", "-f", "--"}}, {dirs, []string{"rmdir", "--"}}} {
		if len(u.names) == 0 {
			continue
		}
		if err := h.call(ctx, unlinkScript, root, g, u.command, nameReader(u.names), nil); err != nil {
			return err
		}
	}
	return nil
}

func (h *remoteHost) remove(ctx context.Context, root, name, stage string, g *Guard) error {
	return h.call(ctx, removeScript, root, g, []string{name, stage}, nil, nil)
}

func (h *remoteHost) free(ctx context.Context, root string) (int64, error) {
	var out bytes.Buffer
	if err := h.call(ctx, freeScript, root, nil, nil, nil, &out); err != nil {
		return 0, err
	}
	var blocks, size int64
	if _, err := fmt.Sscan(out.String(), &blocks, &size); err != nil {
		return 0, fmt.Errorf("filesync: %s: unexpected output of stat: %q", root, out.String())
	}
	return blocks * size, nil
}

func (h *remoteHost) sync(ctx context.Context, root string) error {
	return h.call(ctx, syncScript, root, nil, nil, nil, nil)
}

func (h *remoteHost) readFile(ctx context.Context, root, name string, limit int64) ([]byte, error) {
	var out bytes.Buffer
	if err := h.call(ctx, readFileScript, root, nil, []string{name, strconv.FormatInt(limit+1, 10)}, nil, &out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (h *remoteHost) writeFile(ctx context.Context, root, name, stage string, content []byte, exclusive bool) error {
	args := []string{name, stage, strconv.Itoa(len(content)), "0"}
	if exclusive {
		args[3] = "1"
	}
	return h.call(ctx, writeFileScript, root, nil, args, bytes.NewReader(content), nil)
}

func (h *remoteHost) mkdir(ctx context.Context, root, name string) error {
	return h.call(ctx, mkdirScript, root, nil, []string{name}, nil, nil)
}

func (h *remoteHost) rmdir(ctx context.Context, root, name string) error {
	return h.call(ctx, rmdirScript, root, nil, []string{name}, nil, nil)
}
