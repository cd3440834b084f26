package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/zmlift/zmlift/zimbra"
)

// An app is the program and everything that it touches.
type app struct {
	out, err io.Writer
	terminal bool // err is one: progress may overwrite itself
	getenv   func(string) string
	signals  <-chan os.Signal // nil: none
	exit     func(int)        // for a second Ctrl-C

	// What tests put in between: something around the journals, and another world in place of the servers.
	journals func(zimbra.Journals) zimbra.Journals
	world    func(*zimbra.Config)

	args     *arguments
	mu       sync.Mutex
	goOn     string // the command that goes on with what is under way
	stores   map[string]*storeConfig
	progress *progress
}

// run is the program. It returns the exit code.
func (a *app) run(ctx context.Context, argv []string) int {
	args, err := parse(argv)
	var help *helpError
	switch {
	case errors.As(err, &help):
		fmt.Fprint(a.out, help.text)
		return exitDone
	case err != nil:
		a.say("%v", err)
		return exitUsage
	}
	a.args = args
	ctx, stop := a.interruptible(ctx)
	defer stop()

	s, err := a.open()
	if err != nil {
		a.say("%v", err)
		return exitUsage
	}
	defer s.close()
	return args.verb.run(s, ctx)
}

// say tells a person.
func (a *app) say(format string, args ...any) {
	if a.progress != nil {
		a.progress.clear()
	}
	fmt.Fprintf(a.err, "mover: "+format+"\n", args...)
}

// underWay notes what is to be told when a second Ctrl-C ends the program at once.
func (a *app) underWay(account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.goOn = a.command("resume", account)
}

// command is a command line of this program, for the configuration in use.
func (a *app) command(verb, account string) string {
	s := "mover " + verb + " " + account
	if a.args.config != defaultConfig {
		s += " --config " + a.args.config
	}
	return s
}

// interruptible ends ctx at the first signal, and the program at the second. A hang-up ends ctx only, however often it comes: the terminal
// of somebody who has gone sends several. SIGUSR1 only has the configuration read again.
func (a *app) interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		stopping := false
		for {
			select {
			case <-end:
				return
			case sig := <-a.signals:
				switch {
				case sig == syscall.SIGUSR1:
					a.reread()
				case !stopping:
					fmt.Fprintf(a.err, "\nmover: %v: stopping; a user who is locked out is let in first (once more: stop at once)\n", sig)
					cancel()
					stopping = true
				case sig != syscall.SIGHUP:
					a.abandon()
				}
			}
		}
	})
	return ctx, func() { close(end); wg.Wait(); cancel() }
}

// reread has rates and priorities follow the configuration file as it is now. Where that has mistakes, everything stays as it is.
func (a *app) reread() {
	a.mu.Lock()
	stores := a.stores
	a.mu.Unlock()
	if stores == nil {
		return // the file is about to be read
	}
	c, err := readConfig(a.args.config, a.getenv)
	if err != nil {
		fmt.Fprintf(a.err, "\nmover: rates and priorities stay as they are: %v\n", err)
		return
	}
	for host, s := range stores {
		if now := c.stores[host]; now != nil {
			s.spare(now.spares)
		}
	}
	fmt.Fprintf(a.err, "\nmover: rates and priorities are now those of %s\n", a.args.config)
}

// abandon ends the program at once. The journal knows everything that the next run must know.
func (a *app) abandon() {
	a.mu.Lock()
	goOn := a.goOn
	a.mu.Unlock()
	if goOn == "" {
		fmt.Fprintln(a.err, "mover: stopped; nothing was changed")
		a.exit(exitFailed)
		return
	}
	fmt.Fprintf(a.err, "mover: stopped; the user may be locked out until you run: %s\n", goOn)
	a.exit(exitDecide)
}
