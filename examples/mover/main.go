// Mover moves mailboxes from one mailstore of a Zimbra cluster to another. It is a thin caller of package zimbra: it reads a configuration
// file, makes a Mover of it, and prints what that says.
//
//	mover plan alice@example.com --to mail2.example.com      # what would be done, and what stands against it
//	mover presync alice@example.com --to mail2.example.com   # copy ahead while the user works
//	mover move alice@example.com --to mail2.example.com      # all of it, or what is left of it
//	mover rollback alice@example.com                         # undo a move that is not committed
//	mover resume alice@example.com                           # go on after a crash
//	mover status                                             # where every move stands
//
// mover --help explains the verbs and the exit codes, mover.example.toml the configuration.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A closed pipe or terminal must not end a move half-way: writing to it just fails.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	a := &app{out: os.Stdout, err: os.Stderr, terminal: isTerminal(os.Stderr), getenv: os.Getenv, signals: signals, exit: os.Exit}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// isTerminal says whether somebody may be looking.
func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
