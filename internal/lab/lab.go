package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// The back ends, values of [Options].Backend, [Lab].Backend and the environment variable ZMLIFT_LAB.
const (
	Processes  = "processes"
	Containers = "containers"
	off        = "off" // only in ZMLIFT_LAB
)

// EnvBackend is the environment variable that chooses the back end where the program does not.
const EnvBackend = "ZMLIFT_LAB"

// ErrOff says that the environment variable ZMLIFT_LAB forbids the lab.
var ErrOff = errors.New("lab: not wanted by " + EnvBackend)

// ErrUnavailable says that this machine can run no lab. The error that wraps it names what is missing.
var ErrUnavailable = errors.New("lab: no back end available")

// startTimeout bounds the way from nothing to three servers that answer; it takes 2 s on an idle machine.
const startTimeout = 90 * time.Second

// Options are the knobs of [Start]. The zero value is sensible.
type Options struct {
	// Backend is Processes or Containers; "" asks ZMLIFT_LAB, then takes what the machine can run, processes first.
	Backend string
	// Dir is where the lab makes its own temporary directory; "" is /dev/shm where that is writable, else os.TempDir().
	// It holds the servers' data with Processes, keys and certificates with both; in containers data is in memory.
	Dir string
	// Bits are the directory bits of the volumes of mail1 and mail2; zero values are what an installation has: 12, 8, 12, 8.
	Bits [2]Bits
	// Log gets what the lab does, a line at a time; nil is silent.
	Log io.Writer
}

// Bits say how a volume spreads mailboxes and items over directories (zimbra.volume, volume/Volume.getMailboxDir).
type Bits struct{ File, FileGroup, Mailbox, MailboxGroup int }

var installedBits = Bits{File: 12, FileGroup: 8, Mailbox: 12, MailboxGroup: 8}

// A Lab is two mailstores and a directory, up and answering until Close.
type Lab struct {
	Stores  [2]*Store // mail1.lab, mail2.lab
	LDAP    *LDAP
	Backend string // Processes or Containers
	Dir     string // on this machine: keys, certificates, logs; gone after Close

	be  backend
	dir *labDir
}

// A backend places the servers. Everything on a mailstore but its sshd is then set up through that sshd, so that both
// back ends walk the same path.
type backend interface {
	// machine makes the host called name, with an sshd that answers and two free ports.
	machine(ctx context.Context, name string, s *sshFiles) (*machine, error)
	// directory runs slapd with the given files; it may not answer yet.
	directory(ctx context.Context, d *directoryFiles) (port int, err error)
	// close ends everything the back end started. It may be repeated.
	close() error
}

// Start starts a lab and returns when all servers answer a login. After an error nothing is left running. ctx bounds the
// start only; the servers run until Close, or until this process ends.
func Start(ctx context.Context, opts *Options) (*Lab, error) {
	if opts == nil {
		opts = &Options{}
	}
	logw := opts.Log
	if logw == nil {
		logw = io.Discard
	}
	name, err := chooseBackend(ctx, opts.Backend, logw)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	l, err := start(ctx, name, opts, logw)
	if err != nil {
		return nil, fmt.Errorf("lab: start %s: %w", name, err)
	}
	return l, nil
}

func start(ctx context.Context, backendName string, opts *Options, logw io.Writer) (_ *Lab, err error) {
	began := time.Now()
	dir, err := makeLabDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	l := &Lab{Backend: backendName, Dir: dir.path, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	keys, err := makeSSHKeys(dir.path)
	if err != nil {
		return nil, err
	}
	switch backendName {
	case Containers:
		l.be, err = newContainers(ctx, dir.path, logw)
	default:
		l.be = newProcesses(dir.path)
	}
	if err != nil {
		return nil, err
	}

	dirFiles, err := makeDirectoryFiles(dir.path)
	if err != nil {
		return nil, err
	}
	port, err := l.be.directory(ctx, dirFiles)
	if err != nil {
		return nil, err
	}
	l.LDAP = dirFiles.ldap(port)

	g, gctx := errgroup.WithContext(ctx)
	for i, site := range sites(opts.Bits) {
		g.Go(func() (err error) {
			l.Stores[i], err = startStore(gctx, l.be, keys, site, l.LDAP)
			return err
		})
	}
	g.Go(func() error { return l.LDAP.wait(gctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	hosts := []string{l.Stores[0].knownHost, l.Stores[1].knownHost}
	if err := os.WriteFile(keys.knownHostsFile, []byte(hosts[0]+hosts[1]), 0o644); err != nil {
		return nil, err
	}
	fmt.Fprintf(logw, "lab: %s and %s, directory %s, on %s, up in %.1f s\n",
		l.Stores[0].Host, l.Stores[1].Host, l.LDAP.URL, backendName, time.Since(began).Seconds())
	return l, nil
}

// Close ends every server and removes the lab's directory. It may be repeated.
func (l *Lab) Close() error {
	var err error
	if l.be != nil {
		err = l.be.close()
	}
	return errors.Join(err, l.dir.remove())
}

// Available says whether a lab can be started here on this back end, Processes or Containers; nil: it can. Otherwise the error is
// [ErrOff] when ZMLIFT_LAB forbids it, by "off" or by naming the other one, or else [ErrUnavailable]. For containers it makes
// what is missing: where the image has to be built, the first call takes minutes.
func Available(ctx context.Context, backend string) error {
	_, err := permitted(ctx, backend, io.Discard)
	return err
}

// permitted is chooseBackend for those who leave the last word to the environment.
func permitted(ctx context.Context, backend string, logw io.Writer) (string, error) {
	if env := os.Getenv(EnvBackend); backend != "" && env != "" && env != backend {
		return "", fmt.Errorf("%w: it is %s", ErrOff, env)
	}
	return chooseBackend(ctx, backend, logw)
}

// chooseBackend turns the wish of the program, then that of the environment, into a back end that can run here. Nobody's wish
// goes against off.
func chooseBackend(ctx context.Context, want string, logw io.Writer) (string, error) {
	env := os.Getenv(EnvBackend)
	if want == "" {
		want = env
	}
	checks := map[string]func() error{
		Processes:  checkPrograms,
		Containers: func() error { return checkContainers(ctx, logw) },
	}
	candidates := []string{Processes, Containers}
	switch {
	case env == off:
		return "", fmt.Errorf("%w: it is off", ErrOff)
	case want == "":
	case slices.Contains(candidates, want):
		candidates = []string{want}
	default:
		return "", fmt.Errorf("lab: unknown back end %q: use %s, %s or %s", want, Processes, Containers, off)
	}
	var why []error
	for _, c := range candidates {
		err := checks[c]()
		if err == nil {
			return c, nil
		}
		why = append(why, fmt.Errorf("%s: %w", c, err))
	}
	return "", fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(why...))
}
