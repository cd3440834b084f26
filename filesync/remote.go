package filesync

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// remoteHost carries out a host's work by commands.
type remoteHost struct {
	run    Runner
	prefix []string
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
	argv := slices.Concat(h.prefix, []string{"sh", "-c", script, "filesync", root, mark, content}, args)
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
		e, err := parseEntry(string(rec))
		if err != nil {
			return err
		}
		return yield(e)
	}}
}

// parseEntry reads what find prints for entryFormat.
func parseEntry(rec string) (Entry, error) {
	bad := func() (Entry, error) { return Entry{}, fmt.Errorf("filesync: unexpected output of find: %q", rec) }
	var f [9]string
	rest := rec
	for i := range f {
		var ok bool
		if f[i], rest, ok = strings.Cut(rest, " "); !ok {
			return bad()
		}
	}
	var e Entry
	var errs [7]error
	var mode uint64
	e.Size, errs[0] = strconv.ParseInt(f[1], 10, 64)
	e.ModTime, errs[1] = parseTime(f[2])
	e.Inode, errs[2] = strconv.ParseUint(f[3], 10, 64)
	e.Device, errs[3] = strconv.ParseUint(f[4], 10, 64)
	e.Links, errs[4] = strconv.ParseUint(f[5], 10, 64)
	mode, errs[5] = strconv.ParseUint(f[6], 8, 32)
	e.UID, errs[6] = strconv.Atoi(f[7])
	gid, err := strconv.Atoi(f[8])
	if err := errors.Join(append(errs[:], err)...); err != nil {
		return bad()
	}
	e.GID = gid
	typ, ok := findTypes[f[0]]
	if !ok {
		return bad()
	}
	e.Mode = fromUnix(uint32(mode)) | typ
	if e.Name = strings.TrimPrefix(rest, "./"); e.Name == "" {
		return bad()
	}
	return e, nil
}

var findTypes = map[string]fs.FileMode{
	"f": 0, "d": fs.ModeDir, "l": fs.ModeSymlink, "p": fs.ModeNamedPipe, "s": fs.ModeSocket,
	"b": fs.ModeDevice, "c": fs.ModeDevice | fs.ModeCharDevice, "D": fs.ModeDevice,
}

// parseTime reads seconds with ten decimals. Find prints the two numbers of a timespec: before 1970 the decimals still count upwards.
func parseTime(s string) (time.Time, error) {
	secs, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(secs, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	frac = (frac + "000000000")[:9]
	nsec, err := strconv.ParseInt(frac, 10, 64)
	return time.Unix(sec, nsec), err
}

func (h *remoteHost) begin(ctx context.Context, root string, stale time.Duration) (Entry, error) {
	minutes := "-1"
	if stale > 0 {
		minutes = strconv.Itoa(int((stale + time.Minute - 1) / time.Minute))
	}
	var out bytes.Buffer
	if err := h.call(ctx, beginScript, root, nil, []string{minutes}, nil, &out); err != nil {
		return Entry{}, err
	}
	return parseEntry(strings.TrimSuffix(out.String(), "\x00"))
}

func (h *remoteHost) list(ctx context.Context, root string, yield func(Entry) error) error {
	out := h.entries(yield)
	return out.close(root, h.call(ctx, listScript, root, nil, nil, nil, out))
}

func (h *remoteHost) stat(ctx context.Context, root string, names []string, yield func(Entry) error) error {
	out := h.entries(yield)
	errs := &lines{accept: isAbsence}
	err := h.exec(ctx, statScript, root, nil, nil, nameReader(names), out, errs)
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

// isChange says whether tar tells of a file that was written while it was read.
func isChange(line string) bool {
	return strings.HasSuffix(line, ": file changed as we read it") || strings.Contains(line, ": File shrank by ")
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
func nameReader(names []string) io.Reader {
	var b bytes.Buffer
	for _, n := range names {
		b.WriteString("./")
		b.WriteString(n)
		b.WriteByte(0)
	}
	return &b
}

func (h *remoteHost) read(ctx context.Context, root string, names []string, emit func(int, Entry, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	type outcome struct {
		err     error
		changed string
		stderr  string
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		errs := &lines{accept: func(line string) bool {
			if isChange(line) {
				o.changed = line
			}
			return isChange(line) || isAbsence(line) || strings.HasSuffix(line, "Exiting with failure status due to previous errors")
		}}
		buf := bufio.NewWriterSize(pw, 256<<10)
		o.err = h.exec(ctx, readScript, root, nil, nil, nameReader(names), buf, errs)
		errs.close()
		if err := buf.Flush(); o.err == nil {
			o.err = err
		}
		o.stderr = errs.other.String()
		code, exited := exitCode(o.err)
		if exited && (code == 1 || code == 2) && o.stderr == "" && o.err != nil {
			o.err = nil // absent and changed files are all it complained of
		}
		o.err = describe(root, o.err, o.stderr)
		pw.CloseWithError(o.err) // nil is the end of the stream, which must then be a whole one
		done <- o
	}()
	err := untar(ctx, root, pr, names, emit)
	pr.CloseWithError(errStopped)
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
	whole := &endReader{r: bufio.NewReaderSize(r, 256<<10)}
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

func (h *remoteHost) stage(ctx context.Context, root, stage string, g *Guard, fill func(stager) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var files, bytes int64
	counts := &records{sep: '\n', f: func(rec []byte) error {
		size, err := strconv.ParseInt(string(rec), 10, 64)
		files, bytes = files+1, bytes+size
		return err
	}}
	w := &tarStager{up: "../", stage: "./"}
	err := h.feed(ctx, cancel, func(stdin io.Reader) error {
		return counts.close(root, h.call(ctx, stageScript, root, g, []string{stage}, stdin, counts))
	}, w, func() error { return fill(w) })
	if err != nil {
		return err
	}
	if files != w.files || bytes != w.bytes {
		return fmt.Errorf("filesync: %s: %d files with %d bytes were sent, %d with %d arrived", root, w.files, w.bytes, files, bytes)
	}
	return nil
}

// feed runs a command whose standard input is the tar stream that fill writes through w.
func (h *remoteHost) feed(ctx context.Context, cancel func(), command func(io.Reader) error, w *tarStager, fill func() error) error {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := command(pr)
		if err == nil {
			pr.CloseWithError(errStopped)
		} else {
			pr.CloseWithError(err)
		}
		done <- err
	}()
	w.w = newTarWriter(bufio.NewWriterSize(pw, 256<<10))
	err := fill()
	if err == nil {
		err = w.w.close()
	}
	pw.CloseWithError(err)
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
	up, stage    string
	files, bytes int64
}

func (s *tarStager) mkdir(e Entry) error { return s.w.header(s.up+e.Name+"/", "", '5', e) }

func (s *tarStager) file(dir int, base string, e Entry, content io.Reader) error {
	if err := s.w.header(s.stage+strconv.Itoa(dir)+"/"+base, "", '0', e); err != nil {
		return err
	}
	s.files, s.bytes = s.files+1, s.bytes+e.Size
	return s.w.content(content, e.Size)
}

func (s *tarStager) link(dir int, base string, targetDir int, target string, size int64) error {
	if targetDir >= 0 {
		target = s.stage + strconv.Itoa(targetDir) + "/" + target
	} else {
		target = s.up + target
	}
	s.files, s.bytes = s.files+1, s.bytes+size
	return s.w.header(s.stage+strconv.Itoa(dir)+"/"+base, target, '1', Entry{})
}

func (h *remoteHost) commit(ctx context.Context, root, stage string, g *Guard, dirs []string) error {
	var b bytes.Buffer
	for i, d := range dirs {
		fmt.Fprintf(&b, "%d/%s\x00", i, d)
	}
	return h.call(ctx, commitScript, root, g, []string{stage}, &b, nil)
}

func (h *remoteHost) discard(ctx context.Context, root, stage string) error {
	return h.call(ctx, discardScript, root, nil, []string{stage}, nil, nil)
}

func (h *remoteHost) setDirs(ctx context.Context, root string, g *Guard, dirs []Entry) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &tarStager{up: "./"}
	return h.feed(ctx, cancel, func(stdin io.Reader) error {
		return h.call(ctx, setDirsScript, root, g, nil, stdin, nil)
	}, w, func() error {
		for _, d := range dirs {
			if err := w.mkdir(d); err != nil {
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

func (h *remoteHost) sums(ctx context.Context, root, algo string, names []string, yield func(string, []byte) error) error {
	out := &records{sep: '\n', f: func(rec []byte) error {
		name, sum, err := parseSum(string(rec))
		if err != nil {
			return err
		}
		return yield(name, sum)
	}}
	errs := &lines{accept: isAbsence}
	err := h.exec(ctx, sumsScript, root, nil, []string{algo + "sum"}, nameReader(names), out, errs)
	errs.close()
	if err == nil && len(errs.other.b) > 0 {
		return fmt.Errorf("filesync: %s: %s", root, errs.other.String())
	}
	return out.close(root, describe(root, err, errs.other.String()))
}

// parseSum reads a line of sha256sum: the digest, two characters, the name. A backslash in front says that the name is escaped.
func parseSum(line string) (name string, sum []byte, err error) {
	hex, name, ok := strings.Cut(line, " ")
	rest, escaped := strings.CutPrefix(hex, `\`)
	if escaped {
		hex = rest
	}
	if sum, err = unhex(hex); err != nil || !ok || len(name) < 2 {
		return "", nil, fmt.Errorf("filesync: unexpected output of a digest command: %q", line)
	}
	name = name[1:] // the asterisk of binary mode
	if escaped {
		name = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(name)
	}
	return strings.TrimPrefix(name, "./"), sum, nil
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
