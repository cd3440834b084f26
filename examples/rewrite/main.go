// Rewrite replaces column values and names of databases in a dump, as rules in a file say. It is a thin caller of package sqlrewrite.
//
//	mariadb-dump mboxgroup34 mail_item | rewrite -rules rules.json -database mboxgroup34 > out.sql
//
// rewrite --help explains the rules and the exit codes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/zmlift/zmlift/sqlrewrite"
)

const help = `usage: rewrite -rules FILE [-database NAME] [-complete] < in.sql > out.sql

Copies a dump of mysqldump or mariadb-dump from standard input to standard output, and replaces the values and names that the rules name.
Every other byte stays. What it does not understand is an error.

  -rules FILE      the rules, as JSON
  -database NAME   the current database where the dump begins; it goes before the one in the rules' context
  -complete        without the dump's closing line ("-- Dump completed ...") fail; else that is a warning

A rules file, in which all but table, column and map may be left out:

  {
    "rules": [
      {"database": "mboxgroup34", "table": "mail_item", "column": "mailbox_id",
       "map": {"1234": "1052700"}, "unmapped": "refuse"}
    ],
    "databases": {"mboxgroup34": "mboxgroup7"},
    "context": {"database": "mboxgroup34", "charset": "utf8mb4",
                "columns": {"mboxgroup34.mail_item": ["mailbox_id", "id"]}},
    "unknown": "pass"
  }

  database    of the table; without it the rule is for tables of this name in all databases
  map         old values to new ones, as text
  unmapped    what to do with another value: "refuse" is an error (this is the default), "pass" keeps it; NULL always stays
  databases   databases that get another name
  context     what the dump does not say: its database, its character set, and the order of columns where it has neither
              CREATE TABLE nor lists of columns
  unknown     tables that no rule names: "pass" (the default) or "refuse"

exit codes: 0 the whole input was understood and written · 1 anything else, which standard error explains. The output is then a beginning
of the right one, of which a client executes whole statements only. In a pipeline use the shell's pipefail.
`

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "rewrite:", err)
		os.Exit(1)
	}
}

// run does what the arguments say. A warning goes to stderr; an error is returned and not printed.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("rewrite", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("rules", "", "")
	database := flags.String("database", "", "")
	complete := flags.Bool("complete", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, help)
		return err
	case err != nil:
		return fmt.Errorf("%w (rewrite --help explains)", err)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q: the dump is read from standard input (rewrite --help explains)", flags.Arg(0))
	case *file == "":
		return errors.New("no rules: -rules FILE is needed (rewrite --help explains)")
	}
	r, err := compile(*file, *database)
	if err != nil {
		return err
	}
	stats, err := r.Rewrite(ctx, stdout, stdin)
	if err != nil {
		return err
	}
	if !stats.Complete {
		const missing = `the input has no closing line ("-- Dump completed"): it may be a part of a dump`
		if *complete {
			return errors.New(missing)
		}
		fmt.Fprintln(stderr, "rewrite: warning:", missing)
	}
	return nil
}

// compile compiles the rules in a file. A database goes before the one in them.
func compile(name, database string) (*sqlrewrite.Rewriter, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rules, err := sqlrewrite.ReadRules(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if database != "" {
		rules.Context.Database = database
	}
	r, err := sqlrewrite.Compile(rules)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}
