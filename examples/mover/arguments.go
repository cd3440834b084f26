package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/zmlift/zmlift/zimbra"
)

const defaultConfig = "/etc/zmlift/mover.toml"

// Arguments are a command line that was understood.
type arguments struct {
	verb    *verb
	account string
	all     bool
	to      string
	config  string
	accept  []string
	bad     string // a file with bad blobs that are accepted
	limit   int    // of bad blobs that a scan looks for
	noIndex bool
	keep    bool
	json    bool
}

// A verb is what mover can do.
type verb struct {
	name  string
	run   func(*session, context.Context) int
	keep  bool // takes --keep
	all   bool // takes --all instead of an account
	many  bool // may go without an account
	to    bool // needs --to
	short string
	long  string
}

func verbs() []*verb {
	return []*verb{
		{name: "plan", run: (*session).plan, to: true,
			short: "say what a move would do and what stands against it; changes nothing",
			long:  helpPlan},
		{name: "scan", run: (*session).scan,
			short: "compare every blob of an account with its row, where it lives; changes nothing",
			long:  helpScan},
		{name: "presync", run: (*session).presync, to: true,
			short: "begin a move: copy files and rows ahead while the user works",
			long:  helpPresync},
		{name: "move", run: (*session).move, to: true, keep: true,
			short: "move the mailbox, or go on with a move that was interrupted",
			long:  helpMove},
		{name: "rollback", run: (*session).rollback,
			short: "undo a move that is not committed",
			long:  helpRollback},
		{name: "resume", run: (*session).resume, all: true,
			short: "go on with a move, or with a rollback, that was interrupted",
			long:  helpResume},
		{name: "status", run: (*session).status, many: true,
			short: "show where a move stands, or every move",
			long:  helpStatus},
	}
}

// A helpError is no error: somebody asked.
type helpError struct{ text string }

func (e *helpError) Error() string { return e.text }

// parse reads a command line: the verb first, then flags and the account in any order.
func parse(argv []string) (*arguments, error) {
	if len(argv) == 0 {
		return nil, errors.New("no verb; `mover --help` lists them")
	}
	switch argv[0] {
	case "help":
		if len(argv) == 1 {
			return nil, &helpError{help()}
		}
		argv = []string{argv[1], "--help"}
	case "-h", "-help", "--help":
		return nil, &helpError{help()}
	}
	v := verbNamed(argv[0])
	if v == nil {
		return nil, fmt.Errorf("no verb %q; `mover --help` lists them", argv[0])
	}
	args, err := v.parse(argv[1:])
	if err != nil {
		var help *helpError
		if errors.As(err, &help) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w; see `mover %s --help`", v.name, err, v.name)
	}
	return args, nil
}

func verbNamed(name string) *verb {
	all := verbs()
	if i := slices.IndexFunc(all, func(v *verb) bool { return v.name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

func (v *verb) parse(argv []string) (*arguments, error) {
	args := &arguments{verb: v}
	words, err := interspersed(v.flags(args), argv)
	if errors.Is(err, flag.ErrHelp) {
		return nil, &helpError{v.help()}
	}
	if err != nil {
		return nil, err
	}
	if len(words) > 1 {
		return nil, fmt.Errorf("one account at a time, not %s", strings.Join(words, ", "))
	}
	if len(words) == 1 {
		args.account = words[0]
	}
	switch {
	case args.all && args.account != "":
		return nil, errors.New("an account or --all, not both")
	case args.account == "" && len(words) == 1:
		return nil, errors.New("the account is empty")
	case args.account == "" && !args.all && !v.many:
		return nil, errors.New("no account")
	case args.to == "" && v.to:
		return nil, errors.New("no --to STORE")
	case v.name == "scan" && args.limit < 1:
		return nil, errors.New("--limit is less than 1")
	case args.config == "":
		return nil, errors.New("--config is empty")
	}
	return args, nil
}

func (v *verb) flags(args *arguments) *flag.FlagSet {
	fs := flag.NewFlagSet(v.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the error says it
	fs.Usage = func() {}
	fs.StringVar(&args.to, "to", "", "")
	fs.StringVar(&args.config, "config", defaultConfig, "")
	fs.BoolVar(&args.json, "json", false, "")
	fs.Func("accept", "", func(code string) error {
		if code == "" || strings.ContainsAny(code, ", \t") {
			return errors.New("want the code of one problem; repeat --accept for more")
		}
		args.accept = append(args.accept, code)
		return nil
	})
	if v.to {
		fs.StringVar(&args.bad, "accept-bad", "", "")
		fs.BoolVar(&args.noIndex, "no-index", false, "")
	}
	if v.name == "scan" {
		fs.IntVar(&args.limit, "limit", zimbra.ScanLimit, "")
	}
	if v.keep {
		fs.BoolVar(&args.keep, "keep", false, "")
	}
	if v.all {
		fs.BoolVar(&args.all, "all", false, "")
	}
	return fs
}

// interspersed parses flags wherever they stand, up to a "--", and returns the other words.
func interspersed(fs *flag.FlagSet, argv []string) ([]string, error) {
	var words []string
	for len(argv) > 0 {
		if err := fs.Parse(argv); err != nil {
			return nil, err
		}
		rest := fs.Args()
		if n := len(argv) - len(rest); n > 0 && argv[n-1] == "--" {
			return append(words, rest...), nil
		}
		if len(rest) == 0 {
			break
		}
		words = append(words, rest[0])
		argv = rest[1:]
	}
	return words, nil
}
