package filesync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// An Engine is how content travels. What holds after a sync is the same with each of them.
type Engine string

const (
	// Automatic is Rsync where Options.Direct asks for it, and Stream otherwise.
	Automatic Engine = ""
	// Stream sends the files of a batch one after the other, through this process, several batches at once. It is the quicker one for many
	// small files, and needs no rsync and no SSH settings.
	Stream Engine = "stream"
	// Rsync has rsync bring the files into the stage, from where they get their names as with Stream. Of a file that the destination has in
	// another version only what differs travels. It needs rsync 3.1 on both hosts. One side is this machine, or there is
	// Options.Direct; the other side has RemoteOptions.SSH.
	Rsync Engine = "rsync"
)

// An SSH says how ssh, the program, gets to a host. It never asks for anything: the key is not encrypted, or an agent has it, and the host
// must be known.
type SSH struct {
	Addr           string   // name or name:port
	User           string   // who to be there
	IdentityFile   string   // the private key; "" is what ssh or an agent has
	KnownHostsFile string   // who Addr must be; "" is ssh's own
	Args           []string // more for ssh, for example "-J", "gateway"
}

// check refuses what rsync or ssh would take apart or read as something else.
func (s *SSH) check(field string) error {
	for _, v := range slices.Concat([]string{s.Addr, s.User, s.IdentityFile, s.KnownHostsFile}, s.Args) {
		if strings.ContainsAny(v, " \t\r\n\x00'\"\\%$") {
			return fmt.Errorf("filesync: %s: %q has white space, quotes, or signs that ssh replaces", field, v)
		}
	}
	if host, _ := s.hostPort(); host == "" || strings.HasPrefix(host, "-") {
		return fmt.Errorf("filesync: %s: no name of a host: %q", field, s.Addr)
	}
	if s.User == "" {
		return fmt.Errorf("filesync: %s: no User", field)
	}
	return nil
}

func (s *SSH) hostPort() (host, port string) {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return strings.Trim(s.Addr, "[]"), ""
	}
	return host, port
}

// command is what rsync starts to get to the host.
func (s *SSH) command() string {
	argv := []string{"ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-l", s.User}
	if _, port := s.hostPort(); port != "" {
		argv = append(argv, "-p", port)
	}
	if s.IdentityFile != "" {
		argv = append(argv, "-o", "IdentitiesOnly=yes", "-i", s.IdentityFile)
	}
	if s.KnownHostsFile != "" {
		argv = append(argv, "-o", "UserKnownHostsFile="+s.KnownHostsFile, "-o", "GlobalKnownHostsFile=/dev/null")
	}
	return strings.Join(append(argv, s.Args...), " ")
}

// place is a path on the host, for rsync.
func (s *SSH) place(dir string) string {
	host, _ := s.hostPort()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + dir
}

// A rsyncer brings files into a stage with rsync.
type rsyncer struct {
	at       *remoteHost // where rsync is started; nil is this machine
	ssh      *SSH        // to the other side; nil is none
	pull     bool        // the other side is the source
	far      *remoteHost // the other side
	src, dst string      // roots
}

// rsyncDir is where rsync writes, in the stage.
const rsyncDir = "r"

// chooseEngine returns nil for the stream.
func (o *Options) chooseEngine(dst, src Tree) (*rsyncer, error) {
	engine := o.Engine
	if engine == Automatic && o.Direct != nil {
		engine = Rsync
	}
	switch engine {
	case Automatic, Stream:
		if o.Direct != nil {
			return nil, fmt.Errorf("filesync: Options.Direct is for rsync, and Options.Engine is %s", o.Engine)
		}
		return nil, nil
	case Rsync:
	default:
		return nil, fmt.Errorf("filesync: Options.Engine: unknown engine %q", o.Engine)
	}
	for _, t := range []Tree{dst, src} {
		if strings.ContainsAny(t.root, `*?[\`) {
			return nil, &NameError{t.root, "Options.Engine is rsync, which takes this for a pattern"}
		}
	}
	r := &rsyncer{src: src.root, dst: dst.root}
	from, fromFar := src.h.(*remoteHost)
	to, toFar := dst.h.(*remoteHost)
	field := "RemoteOptions.SSH of " + dst.root
	switch {
	case o.Direct != nil && !(fromFar && toFar):
		return nil, errors.New("filesync: Options.Direct is for two remote hosts")
	case fromFar && toFar:
		r.at, r.ssh, r.far, field = from, o.Direct, to, "Options.Direct"
	case toFar:
		r.ssh, r.far = to.ssh, to
	case fromFar:
		r.ssh, r.far, r.pull, field = from.ssh, from, true, "RemoteOptions.SSH of "+src.root
	default:
		return r, nil
	}
	if r.ssh == nil {
		return nil, fmt.Errorf("filesync: Options.Engine is rsync, which needs %s", field)
	}
	return r, r.ssh.check(field)
}

// argv is the command that copies the files it reads the names of. Basis is a directory of the tree, with older versions of them.
func (r *rsyncer) argv(stage string, owner Owner, basis string, rate int64) []string {
	argv := []string{
		"rsync", "-s", "-q", "-t", "-p", "-o", "-g", fmt.Sprintf("--chown=%d:%d", owner.UID, owner.GID), "-I",
		"--from0", "--files-from=-", "--no-implied-dirs", "--ignore-missing-args", "--compare-dest=" + path.Join("../..", basis),
	}
	if rate > 0 {
		argv = append(argv, "--bwlimit="+strconv.FormatInt(max(1, rate/1024), 10))
	}
	src, dst := r.src+"/", path.Join(r.dst, stage, rsyncDir)+"/"
	if r.ssh != nil {
		argv = append(argv, "-e", r.ssh.command())
		if before := slices.Concat(r.far.prefix, r.far.priority.argv()); len(before) > 0 {
			argv = append(argv, "--rsync-path="+shellWords(append(before, "rsync")))
		}
		if r.pull {
			src = r.ssh.place(src)
		} else {
			dst = r.ssh.place(dst)
		}
	}
	return append(argv, "--", src, dst)
}

// shellWords makes every argument one word of sh.
func shellWords(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// Exit statuses of rsync.
const (
	fileIO   = 11 // a full disk, for example
	vanished = 24 // files of the source, while rsync ran
)

// fetch brings the named files of the source into the stage, which is there. Those that do not exist are left out.
func (r *rsyncer) fetch(ctx context.Context, stage string, owner Owner, basis string, rate int64, names []string) error {
	var stderr tail
	argv, stdin := r.argv(stage, owner, basis, rate), nameReader(names)
	var err error
	if r.at != nil {
		err = r.at.run.Run(ctx, slices.Concat(r.at.prefix, r.at.priority.argv(), argv), stdin, io.Discard, &stderr)
	} else {
		err = runHere(ctx, argv, stdin, &stderr)
	}
	if code, ok := exitCode(err); ok && code == vanished {
		err = nil
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if said := stderr.String(); said != "" {
		err = fmt.Errorf("%s: %w", said, err)
	}
	return fmt.Errorf("filesync: rsync from %s to %s: %w", r.src, r.dst, err)
}

// runHere runs a command on this machine. It is asked to end when ctx does, so that it can end the ssh that it started.
func runHere(ctx context.Context, argv []string, stdin io.Reader, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stderr = stdin, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd.Run()
}

// rsyncFiles has rsync bring the batch's files into the stage. Of those that arrived it returns the entries, in the order of the batch.
func (s *run) rsyncFiles(ctx context.Context, stage string, b *batch) ([]*Entry, error) {
	names := make([]string, len(b.files))
	basis, at := "", map[string]int{}
	for i, j := range b.files {
		names[i], at[j.From] = j.From, i
		if prefix, ok := strings.CutSuffix(j.To, j.From); ok && (i == 0 || prefix == basis) {
			basis = prefix // the index of a mailbox lies deeper in the destination's tree
		}
	}
	if err := s.dst.h.prepare(ctx, s.dst.root, stage, s.opts.Guard); err != nil {
		return nil, err
	}
	dirs := dirsAbove(names)
	before, err := s.sourceDirs(ctx, dirs)
	if err != nil {
		return nil, err
	}
	leave, err := s.limit.enter(ctx)
	if err != nil {
		return nil, err
	}
	err = s.rsync.fetch(ctx, stage, s.owner, basis, s.limit.rate(), names)
	leave()
	if err != nil {
		// Rsync says so only in words, and has removed the file that it was writing.
		code, _ := exitCode(err)
		if free, ferr := s.dst.h.free(ctx, s.dst.root); code == fileIO && ferr == nil && free < b.bytes {
			err = errors.Join(err, syscall.ENOSPC)
		}
		return nil, err
	}
	arrived := make([]*Entry, len(names))
	err = s.dst.h.list(ctx, path.Join(s.dst.root, stage, rsyncDir), func(e Entry) error {
		i, ok := at[e.Name]
		switch {
		case e.IsDir():
			return nil
		case !ok || !e.Mode.IsRegular():
			return fmt.Errorf("filesync: rsync brought %q, which was not asked for", e.Name)
		case e.UID != s.owner.UID || e.GID != s.owner.GID:
			return fmt.Errorf("filesync: %s: rsync may not give files to %d:%d there", s.dst.root, s.owner.UID, s.owner.GID)
		}
		arrived[i] = &e
		return nil
	})
	if err != nil {
		return nil, err
	}
	after, err := s.sourceDirs(ctx, dirs)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if after[dir] != before[dir] {
			return nil, changedError(s.src.root, dir)
		}
	}
	return arrived, s.unchanged(ctx, b, arrived)
}

// sourceDirs says which directories dirs are, those that exist. Rsync goes through a symlink that takes the place of one, so none may be one.
func (s *run) sourceDirs(ctx context.Context, dirs []string) (map[string]inode, error) {
	found := map[string]inode{}
	err := s.src.h.stat(ctx, s.src.root, dirs, func(e Entry) error {
		if e.Mode.Type() == fs.ModeSymlink {
			return &FileTypeError{s.src.path(e.Name), e.Mode, "a directory"}
		}
		if e.IsDir() {
			found[e.Name] = e.inode()
		}
		return nil
	})
	return found, err
}

// rate is what all of them allow now; 0 is no limit.
func (ls limits) rate() int64 {
	var rate int64
	for _, l := range ls {
		if r := l.Rate(); r > 0 && (rate == 0 || r < rate) {
			rate = r
		}
	}
	return rate
}

// unchanged demands of files that are not what the listing said that they are what the source has now.
func (s *run) unchanged(ctx context.Context, b *batch, arrived []*Entry) error {
	var names []string
	at := map[string]int{}
	for i, e := range arrived {
		if j := &b.files[i]; e != nil && !sameVersion(*e, j.src) {
			names, at[j.From] = append(names, j.From), i
		}
	}
	if len(names) == 0 {
		return nil
	}
	return s.src.h.stat(ctx, s.src.root, names, func(now Entry) error {
		if e := arrived[at[now.Name]]; !sameVersion(*e, now) {
			return changedError(s.src.root, now.Name)
		}
		b.files[at[now.Name]].src = now
		return nil
	})
}

func sameVersion(dst, src Entry) bool {
	return dst.Size == src.Size && sameTime(dst.ModTime.UnixNano(), src.ModTime.UnixNano())
}

// place puts the files that rsync brought into the directories of the stage.
func (f *filling) place(st stager, arrived []*Entry) error {
	for i, e := range arrived {
		if e == nil {
			continue
		}
		j := &f.b.files[i]
		at := f.spot(j.To)
		if j.group != nil {
			j.group.to, j.group.size = j.To, e.Size
			f.staged[j.group] = at
		}
		if err := st.link(at.dir, at.name, inStage, path.Join(rsyncDir, j.From), e.Size); err != nil {
			return err
		}
		f.files, f.bytes = f.files+1, f.bytes+e.Size
	}
	return nil
}
