package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/internal/backoff"
)

// patience is how long Run waits for a command to be gone that it ends.
const patience = 5 * time.Second

// Run runs argv on the last host and returns when it has exited and its output has been written. argv is no shell text: every argument
// reaches the command as it is. Any of stdin, stdout and stderr may be nil; then there is no input, and output goes nowhere, but for the
// end of standard error, which is kept for the error.
//
// An exit status other than 0 is an [*ExitError]. If ctx ends, stdin fails or a writer fails, the command and whatever it started in its
// process group are ended (TERM, and KILL a second later), and Run returns that error; it then returns within ten seconds even when
// the host does not answer. The command's input is closed only when stdin has returned io.EOF, or after the command was killed. A
// command that exits without reading all of stdin is no error.
//
// After Run has returned nothing is written to stdout and stderr any more; Run waits for a Write that is under way. It does not wait for a
// Read of stdin: one that is under way when the command has exited goes on, and what it brings is lost.
//
// At most [Host].Commands run at once; Run waits its turn.
func (t *Tunnel) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	line, err := commandLine(argv)
	if err != nil {
		return err
	}
	select {
	case t.commands <- struct{}{}:
		defer func() { <-t.commands }()
	case <-ctx.Done():
		return fmt.Errorf("%s on %s: %w", argv[0], t.last(), ctx.Err())
	}
	c, err := t.start(ctx, line)
	if err == nil {
		err = c.run(ctx, stdin, stdout, stderr)
	}
	var exit *ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		err = ctx.Err()
	case errors.As(err, &exit):
		exit.Argv0, exit.Host = argv[0], t.last().String()
		return exit
	case t.isClosed():
		err = ErrClosed
	}
	return fmt.Errorf("%s on %s: %w", argv[0], t.last(), err)
}

// A command is one that the host has been told to run.
type command struct {
	t              *Tunnel
	link           *link
	session        *ssh.Session
	stdin          io.WriteCloser
	stdout, stderr io.Reader
	pid            chan int      // gets the process id, 0 if it is not known
	over           chan struct{} // closed when the command has exited and nobody holds its output open
}

// start opens a session and sends the line. After an error no command runs, unless the error is ErrLost or ctx's.
func (t *Tunnel) start(ctx context.Context, line string) (*command, error) {
	c := &command{t: t, pid: make(chan int, 1), over: make(chan struct{})}
	err := t.use(ctx, func(l *link) (err error) {
		c.link = l
		c.session, err = openSession(ctx, l)
		return err
	})
	if err != nil {
		return nil, err
	}
	var errs [3]error
	c.stdin, errs[0] = c.session.StdinPipe()
	c.stdout, errs[1] = c.session.StdoutPipe()
	c.stderr, errs[2] = c.session.StderrPipe()
	if err := errors.Join(errs[:]...); err != nil {
		panic(err) // only a session that is in use already refuses
	}
	started := make(chan error, 1)
	go func() { started <- c.session.Start(line) }() // ends with the server's answer or the connection
	select {
	case err = <-started:
	case <-ctx.Done():
		// The command may be on its way. One that runs is ended by run, as any other.
		select {
		case err = <-started:
		case <-time.After(patience):
			err = ctx.Err()
		}
	}
	if err == nil {
		return c, nil
	}
	go c.session.Close() // may hang as long as the connection does
	if ctx.Err() == nil && !c.link.alive() {
		err = ErrLost
	}
	return nil, err
}

// openSession opens a session. It asks again for a second when the server says that there are too many: sshd counts a session until some
// time after it has told us that it is closed.
func openSession(ctx context.Context, l *link) (session *ssh.Session, err error) {
	full := func(err error) bool {
		var refused *ssh.OpenChannelError
		return errors.As(err, &refused) && (refused.Reason == ssh.ConnectionFailed || refused.Reason == ssh.ResourceShortage)
	}
	err = backoff.Retry(ctx, backoff.Policy{Tries: 9, First: 5 * time.Millisecond}, full, func(ctx context.Context) error {
		session, err = newSession(ctx, l)
		return err
	})
	return session, err
}

// newSession is NewSession with a context.
func newSession(ctx context.Context, l *link) (*ssh.Session, error) {
	type result struct {
		session *ssh.Session
		err     error
	}
	opened := make(chan result, 1)
	go func() { // ends with the server's answer or the connection
		s, err := l.client().NewSession()
		opened <- result{s, err}
	}()
	select {
	case r := <-opened:
		return r.session, r.err
	case <-ctx.Done():
		go func() { // as above
			if r := <-opened; r.err == nil {
				r.session.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// run moves the command's input and output until it has exited, or has to be ended.
func (c *command) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	var tail tailWriter
	if stderr == nil {
		stderr = &tail
	}
	if stdout == nil {
		stdout = io.Discard
	}
	// Not the contexts' business: these goroutines end with the session, and stdin's with its Read.
	out, errOut := &gate{w: stdout}, &gate{w: stderr}
	inputFailed, exited := make(chan error, 1), make(chan error, 1)
	outputFailed := make(chan error, 2)
	go func() {
		if err := c.feed(stdin); err != nil {
			inputFailed <- fmt.Errorf("read standard input: %w", err)
		}
	}()
	go func() {
		var g errgroup.Group
		g.Go(func() error {
			err := c.readPID()
			if err == nil {
				buf := outputBuffers.Get().(*[]byte)
				err = out.copyFrom(c.stdout, *buf, c.link.wire.wait)
				outputBuffers.Put(buf)
			}
			return c.drain(c.stdout, err, outputFailed)
		})
		g.Go(func() error {
			return c.drain(c.stderr, errOut.copyFrom(c.stderr, make([]byte, smallBuffer), c.link.wire.wait), outputFailed)
		})
		failed := g.Wait()
		err := c.session.Wait()
		close(c.over)
		if failed == nil {
			exited <- err
		}
	}()

	var err error
	select {
	case err = <-exited:
		select {
		case failed := <-inputFailed: // before the exit, which may even look like success
			err = failed
		default:
			err = c.explain(err)
		}
	case err = <-inputFailed:
		c.abort()
	case err = <-outputFailed:
		c.abort()
	case <-ctx.Done():
		err = ctx.Err()
		c.abort()
	}
	out.close()
	errOut.close()
	go c.session.Close() // may hang as long as the connection does
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Stderr = tail.String()
	}
	return err
}

// drain passes on what became of copying r. Then it takes the rest of r, without which the command's end would not come through.
func (c *command) drain(r io.Reader, err error, failed chan<- error) error {
	if err != nil {
		failed <- err
		io.Copy(io.Discard, r)
	}
	return err
}

// explain says what it means that session.Wait returned err.
func (c *command) explain(err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return ErrLost // no status came: the connection broke, or the server's process for it died
	case exit.Signal() != "":
		return &ExitError{Code: -1, Signal: exit.Signal()}
	default:
		return &ExitError{Code: exit.ExitStatus()}
	}
}

// feed sends stdin, and its end if it had one. It returns stdin's error; that the command takes no more is none.
func (c *command) feed(stdin io.Reader) error {
	if stdin == nil {
		c.stdin.Close()
		return nil
	}
	src := &source{r: stdin}
	_, err := io.Copy(c.stdin, src)
	if src.err != nil {
		return src.err
	}
	if err == nil {
		c.stdin.Close()
	}
	return nil
}

// readPID takes the login shell's line from the front of standard output.
func (c *command) readPID() error {
	var line []byte
	for b := make([]byte, 1); len(line) < 200; {
		n, err := c.stdout.Read(b)
		line = append(line, b[:n]...)
		if err != nil {
			break // no command came to run; the exit status says why
		}
		if b[0] == '\n' {
			break
		}
	}
	text, marked := strings.CutPrefix(strings.TrimSpace(string(line)), pidMark)
	pid, err := strconv.Atoi(text)
	switch {
	case marked && err == nil && pid > 1:
		c.pid <- pid
		return nil
	case len(line) == 0:
		c.pid <- 0
		return nil
	default:
		c.pid <- 0
		return fmt.Errorf("the login shell wrote %q before the command's output: its start-up files must be silent", line)
	}
}

// abort ends the command, if the host can still be told, and then closes its input. It returns when the command is gone, and after
// patience at the latest.
func (c *command) abort() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan struct{})
	go func() { // ends with the answers or the connection
		defer close(done)
		c.session.Signal(ssh.SIGTERM) // all that is possible where no second session is
		select {
		case pid := <-c.pid:
			if pid > 0 {
				c.kill(ctx, pid)
			}
		case <-ctx.Done():
		}
		c.session.Close()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// kill ends a process group by a second command. The server has made the login shell, and so the command, the leader of a group.
func (c *command) kill(ctx context.Context, pid int) {
	select {
	case c.t.kills <- struct{}{}:
		defer func() { <-c.t.kills }()
	case <-ctx.Done():
		return
	}
	session, err := openSession(ctx, c.link)
	if err != nil {
		return
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	const script = `kill -s TERM -- "-$1"; read -r now; kill -s KILL -- "-$1"`
	now, err := session.StdinPipe()
	if err != nil {
		panic(err) // only a session that is in use already refuses
	}
	if session.Start("exec "+quote([]string{"sh", "-c", script, "sh", strconv.Itoa(pid)})) != nil {
		return
	}
	select {
	case <-c.over: // whatever else is in its group gets no second more
	case <-time.After(time.Second):
	}
	now.Close()
	session.Wait()
}

// A source remembers what its reader failed with; io.Copy does not say whose error it returns.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

var errGateClosed = errors.New("gate closed")

// A gate lets writes through until it is closed.
type gate struct {
	mu     sync.Mutex
	w      io.Writer
	closed bool
}

// copyFrom copies r, which does not fail, until it ends. The error is that of the writer, or errGateClosed. wait is called where more is
// waited for.
func (g *gate) copyFrom(r io.Reader, buf []byte, wait func()) error {
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := g.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil // the end
		}
		if n < len(buf) {
			wait()
		}
	}
}

// outputBuffers are large: the fewer the reads, the fewer the messages that open the channel's window again.
var outputBuffers = sync.Pool{New: func() any {
	buf := make([]byte, 512<<10)
	return &buf
}}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0, errGateClosed
	}
	return g.w.Write(p)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// A tailWriter keeps the end of what is written to it.
type tailWriter struct{ b []byte }

func (w *tailWriter) Write(p []byte) (int, error) {
	const keep = 4096
	w.b = append(w.b, p...)
	if excess := len(w.b) - keep; excess > 0 {
		w.b = append(w.b[:0], w.b[excess:]...)
	}
	return len(p), nil
}

func (w *tailWriter) String() string { return string(w.b) }
