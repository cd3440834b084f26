package main

import (
	"fmt"
	"strings"

	"github.com/zmlift/zmlift/zimbra"
)

// help is what mover --help prints.
func help() string {
	var b strings.Builder
	b.WriteString(`mover moves a mailbox from one mailstore of a Zimbra cluster to another.

Usage:
  mover VERB ACCOUNT [flags]

Verbs:
`)
	for _, v := range verbs() {
		fmt.Fprintf(&b, "  %-9s %s\n", v.name, v.short)
	}
	b.WriteString(`
ACCOUNT is an address, an alias or a zimbraId. Flags may stand before or after it.
  mover VERB --help   says more about a verb, with examples

Examples:
  mover plan alice@example.com --to mail2.example.com
  mover move alice@example.com --to mail2.example.com
  mover status

` + helpCodes)
	return b.String()
}

// help is what mover VERB --help prints.
func (v *verb) help() string {
	usage := "mover " + v.name + " ACCOUNT"
	switch {
	case v.all:
		usage = "mover " + v.name + " ACCOUNT|--all"
	case v.many:
		usage = "mover " + v.name + " [ACCOUNT]"
	}
	if v.to {
		usage += " --to STORE"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mover %s: %s.\n\nUsage:\n  %s [flags]\n\n%s\nFlags:\n", v.name, v.short, usage, v.long)
	if v.to {
		b.WriteString("  --to STORE      the destination, by its name in [stores] (its zimbraMailHost)\n")
	} else if v.name != "scan" {
		b.WriteString("  --to STORE      only moves to this store\n")
	} else {
		b.WriteString("  --to STORE      taken, so that a script can pass the same flags to every verb; has no effect here\n")
		fmt.Fprintf(&b, "  --limit N       stop after so many bad blobs; default %d\n", zimbra.ScanLimit)
	}
	fmt.Fprintf(&b, "  --config FILE   the configuration; default %s\n", defaultConfig)
	if v.to {
		b.WriteString("  --accept CODE   go on in spite of an acceptable problem, by its code; may be repeated\n")
		b.WriteString("  --accept-bad FILE  carry the bad blobs in this list as they are; a list is what mover scan --json prints\n")
		b.WriteString("  --no-index      leave the search index behind; the destination makes a new one afterwards\n")
	} else {
		b.WriteString("  --accept CODE   taken, so that a script can pass the same flags to every verb; has no effect here\n")
	}
	if v.keep {
		b.WriteString("  --keep          after a failure keep what was copied, for `mover resume`, instead of rolling back\n")
	}
	if v.all {
		b.WriteString("  --all           every move in state_dir that is not ended, one after the other\n")
	}
	b.WriteString("  --json          " + v.jsonHelp() + "\n\n" + helpCodes)
	return b.String()
}

func (v *verb) jsonHelp() string {
	switch v.name {
	case "plan":
		return `one object on standard output: {"v":1,"plan":...,"problems":[...]}`
	case "scan":
		return "the list on standard output, one object a line; --accept-bad takes it, with or without some of its lines"
	case "status":
		return "one object a line on standard output"
	}
	return "on standard output events, one a line, and the report as the last; text goes to standard error"
}

const helpCodes = `Exit codes:
  0  done, also when there was nothing to do
  1  failed: nothing was changed, or all of it was rolled back; or a rollback came after the commit
  2  wrong usage or configuration
  3  a person must decide; the user may be locked out
  4  the plan has problems, or a scan found bad blobs; nothing was changed
  5  not finished, and safe: the user works at the source; the same command goes on
  6  moved and in service, but a cache or a server could not be told: run mover resume
`

const helpPlan = `All problems are reported at once, each with a code and what helps against it. One that is marked
acceptable can be accepted with --accept CODE.

Examples:
  mover plan alice@example.com --to mail2.example.com
  mover plan alice@example.com --to mail2.example.com --accept no-mailboxd --json
`

const helpScan = `Every blob that a row names is compared with it, at the store where the account lives, while the user
works. Nothing leaves the store but digests. Bad is one that is missing, empty, short, of another size, or
has another digest. A move refuses such blobs before it locks anyone out. Repair them; or take the list,
leave in it what may be carried as it is, and give it to plan, presync or move with --accept-bad. A blob
that became worse or different since is not accepted.

Examples:
  mover scan alice@example.com
  mover scan alice@example.com --json > bad.jsonl
  mover move alice@example.com --to mail2.example.com --accept-bad bad.jsonl
`

const helpPresync = `The user notices nothing. "mover move" goes on from here, and "mover rollback" takes it back.

Examples:
  mover presync alice@example.com --to mail2.example.com
`

const helpMove = `A move of this account to this store that was begun and not ended is gone on with. After a failure
before the commit everything is rolled back, unless --keep says otherwise or the lock only took too long.
SIGUSR1 has rates and priorities follow the configuration file as it is then.
Ctrl-C before the commit lets the user in again and keeps what was copied; after it the move goes on until
the user is in service.

Examples:
  mover move alice@example.com --to mail2.example.com
  mover move alice@example.com --to mail2.example.com --accept no-mailboxd --keep
  mover move 8d0d5f1c-2f5a-4e3c-9a6b-0f6b6f0f3c11 --to mail2.example.com --json
`

const helpRollback = `The user is let in at the source first, then everything that the move made at the destination is removed.
The source was never changed. After the commit there is no way back: exit code 1, and nothing is changed.

Examples:
  mover rollback alice@example.com
`

const helpResume = `The journal says where the move stands; a commit whose answer was lost is asked of the directory. A move
whose rollback was begun is rolled back further. What was copied is kept when it fails again.

Examples:
  mover resume alice@example.com
  mover resume --all
`

const helpStatus = `It reads journals only and asks no server. ACCOUNT is compared with the addresses that the account had when
its move was planned, and with its zimbraId.

Examples:
  mover status
  mover status alice@example.com --json
`
