// Lab shows a move on real servers. It starts two mailstores and an LDAP directory, fills them, and moves one mailbox from one to the
// other with package zimbra, as any program would that embeds it (move.go), while somebody keeps writing to that mailbox. Then it looks
// at everything that a move promises, with means of its own, and prints what it found.
//
//	lab                  # a mailbox of 5,000 items
//	lab --items 200      # a smaller one
//	lab --keep           # and leave the servers running, with a configuration for examples/mover
//
// Nothing is left running and no file stays, however it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/zmlift/zmlift/internal/lab"
)

const help = `usage: lab [--items N] [--backend processes|containers] [--keep]

Starts two mailstores and a directory, three accounts on each store, and moves one of them to the other store while somebody keeps
writing to it. Then it checks what a move promises, and prints a report.

  --items N     items of the mailbox that is moved (5000); it has 25 at least
  --backend B   where the servers run: as processes of this machine, or in Docker containers.
                Without it ZMLIFT_LAB decides, then what this machine can run, processes first
  --keep        after the move and its report leave the servers running until Ctrl-C, and print the commands that move
                the other accounts with examples/mover; its configuration file is ready, and gone with the servers

The report is on standard output, what happens meanwhile on standard error.

exit codes: 0 moved, and everything as promised (with --keep also after Ctrl-C) · 1 something is not as promised, or failed ·
2 usage · 130 stopped by a signal
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once; the servers end with it
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
		return
	case ctx.Err() != nil && !errors.Is(err, errLeft):
		fmt.Fprintln(os.Stderr, "lab: stopped; nothing is left running")
		os.Exit(130)
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

var (
	errUsage = errors.New("see lab --help")
	errLeft  = errors.New("not all of the lab could be removed")
)

type options struct {
	items   int
	backend string
	keep    bool
}

// run is the program. When it returns nothing is left of it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&o.items, "items", 5000, "")
	flags.StringVar(&o.backend, "backend", "", "")
	flags.BoolVar(&o.keep, "keep", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, help)
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", err, errUsage)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected %q: %w", flags.Arg(0), errUsage)
	case !slices.Contains([]string{"", lab.Processes, lab.Containers}, o.backend):
		return fmt.Errorf("--backend %q: want %s or %s: %w", o.backend, lab.Processes, lab.Containers, errUsage)
	case o.items < 1:
		return fmt.Errorf("--items %d: want one at least: %w", o.items, errUsage)
	}
	return show(ctx, o, stdout, newTalk(stderr))
}
