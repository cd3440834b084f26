package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/zimbra"
	"github.com/zmlift/zmlift/zimbra/zimbratest"
)

// These tests run the program on the world of package zimbratest: no server takes part, and everything can go wrong.

// A result is what one run of the program leaves.
type result struct {
	code     int
	out, err string
}

// runIn runs the program in a process of the world.
func runIn(t *testing.T, p *zimbratest.Process, args ...string) result {
	t.Helper()
	return (&app{}).runIn(t, p, args...)
}

func (a *app) runIn(t *testing.T, p *zimbratest.Process, args ...string) result {
	t.Helper()
	var out, err buffer
	a.out, a.err, a.getenv = &out, &err, getenv
	adjust := a.world
	a.world = func(c *zimbra.Config) {
		events := c.OnEvent
		*c = p.Config()
		c.OnEvent = events
		if adjust != nil {
			adjust(c)
		}
	}
	code := a.run(t.Context(), append(args, "--config", writeConfig(t, good)))
	return result{code, out.String(), err.String()}
}

// well is a process in which nothing goes wrong.
func well(w *zimbratest.World) *zimbratest.Process { return w.Process("well", zimbratest.Fault{}) }

// outage is how long a server is down, which is longer than a move tries.
const outage = 15 * time.Minute

// failing is a process in which the effect with that name goes wrong, the first one after another effect if that is given. It is for the
// last of these command lines (the verb move, if there are none), after the others went well.
func failing(t *testing.T, w *zimbratest.World, kind zimbratest.FaultKind, name, after string, lines ...[]string) *zimbratest.Process {
	t.Helper()
	if lines == nil {
		lines = [][]string{move}
	}
	probe := zimbratest.New()
	for i, args := range lines {
		process := well(probe)
		if i == len(lines)-1 {
			process = probe.Process("probe", zimbratest.Fault{})
		}
		require.Zero(t, runIn(t, process, args...).code)
	}
	passed := after == ""
	for _, line := range probe.Log {
		var n int
		if !strings.HasPrefix(line, "probe") {
			continue
		}
		_, err := fmt.Sscanf(strings.TrimPrefix(line, "probe"), "%d", &n)
		require.NoError(t, err, line)
		if passed && strings.HasSuffix(line, " "+name) {
			f := zimbratest.Fault{Kind: kind, At: n}
			if kind == zimbratest.Down {
				f.Delay = int(outage.Seconds())
			}
			return w.Process("mover", f)
		}
		passed = passed || strings.HasSuffix(line, " "+after)
	}
	t.Fatalf("no effect %q after %q", name, after)
	return nil
}

var (
	move    = []string{"move", zimbratest.Alice, "--to", zimbratest.Dest}
	presync = []string{"presync", "--to", zimbratest.Dest, zimbratest.Alice}
)

func TestMove(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, well(w), move...)
	require.Zero(t, r.code, r.err)
	require.True(t, w.Moved())
	require.Empty(t, w.Check())
	for _, want := range []string{"alice@test.example: moved from mail1.test to mail2.test", "locked out for", "mail_item", "cutover", "900"} {
		require.Contains(t, r.out, want)
	}
	require.Contains(t, r.err, "cutover   load-rows")
	require.Contains(t, r.err, "alice@test.example is locked out from here")

	r = runIn(t, well(w), move...)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "nothing to do: alice@test.example was moved to mail2.test already")
	require.Contains(t, r.out, "moved from mail1.test to mail2.test")

	r = runIn(t, well(w), "resume", zimbratest.AliceID)
	require.Zero(t, r.code)
	require.Contains(t, r.err, "nothing to do")

	r = runIn(t, well(w), "rollback", zimbratest.Alice)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "committed")
	require.True(t, w.Moved())

	r = runIn(t, well(w), "status")
	require.Zero(t, r.code)
	require.Contains(t, r.out, "alice@test.example  moved from mail1.test to mail2.test\n")
	require.Empty(t, w.Check())
}

func TestPlan(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, well(w), "plan", zimbratest.Alice, "--to", strings.ToUpper(zimbratest.Dest))
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, "No problem was found")
	r = runIn(t, well(w), "plan", zimbratest.Alice, "--to", zimbratest.Source)
	require.Equal(t, exitProblems, r.code)
	require.Contains(t, r.out, "already-there (alice@test.example): lives on mail1.test already\n    what helps:")
	require.Empty(t, w.Moves(), "a plan begins nothing")

	for _, verb := range []string{"presync", "move"} {
		r = runIn(t, well(w), verb, "nobody@test.example", "--to", zimbratest.Dest)
		require.Equal(t, exitProblems, r.code)
		require.Contains(t, r.err, "no-such-account (nobody@test.example)")
	}
	require.Empty(t, w.Moves())
}

func TestAccept(t *testing.T) {
	mute := func(c *zimbra.Config) {
		for _, s := range c.Stores {
			s.Mailboxd = nil
		}
	}
	w := zimbratest.New()
	r := (&app{world: mute}).runIn(t, well(w), move...)
	require.Equal(t, exitProblems, r.code)
	require.Contains(t, r.err, "or go on in spite of it: --accept no-mailboxd")
	require.Empty(t, w.Moves())
	r = (&app{world: mute}).runIn(t, well(w), "plan", "--accept", "no-mailboxd", zimbratest.Alice, "--to", zimbratest.Dest)
	require.Zero(t, r.code, r.err)
	require.Regexp(t, `accepted +no-mailboxd`, r.out)
}

func TestJSON(t *testing.T) {
	w := zimbratest.New()
	var plan struct {
		V        int
		Plan     *zimbra.Plan
		Problems []zimbra.Problem
	}
	r := runIn(t, well(w), "plan", zimbratest.Alice, "--to", zimbratest.Dest, "--json")
	require.Zero(t, r.code)
	require.NoError(t, json.Unmarshal([]byte(r.out), &plan))
	require.Equal(t, 1, plan.V)
	require.Equal(t, zimbratest.AliceID, plan.Plan.Account.ID)
	require.Contains(t, r.out, `"problems":[]`, "a list, also when there are none")
	for _, verb := range []string{"plan", "move"} {
		r = runIn(t, well(w), verb, "nobody@test.example", "--to", zimbratest.Dest, "--json")
		require.Equal(t, exitProblems, r.code)
		require.Contains(t, r.out, `"plan":null`)
		require.NoError(t, json.Unmarshal([]byte(r.out), &plan))
		require.Equal(t, zimbra.CodeNoAccount, plan.Problems[0].Code)
	}

	r = runIn(t, well(w), append(move, "--json")...)
	require.Zero(t, r.code)
	require.NotContains(t, r.err, "load-rows", "no progress for people")
	lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	kinds := map[zimbra.EventKind]bool{}
	for _, line := range lines[:len(lines)-1] {
		var e zimbra.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		require.Equal(t, zimbra.EventVersion, e.V)
		kinds[e.Kind] = true
	}
	require.True(t, kinds[zimbra.EventLocked] && kinds[zimbra.EventCommitted] && kinds[zimbra.EventDone], kinds)
	var report zimbra.Report
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &report))
	require.Equal(t, zimbra.OutcomeMoved, report.Outcome)

	r = runIn(t, well(w), "status", "--json")
	var st zimbra.Status
	require.NoError(t, json.Unmarshal([]byte(r.out), &st))
	require.Equal(t, report.Move, st.Move)
}

// A failure before the commit is undone, or kept when that is wanted.
func TestFailure(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, failing(t, w, zimbratest.Fail, "files.Copy", ""), move...)
	require.Equal(t, exitFailed, r.code, r.err)
	require.Contains(t, r.err, "copy-blobs: injected fault")
	require.Contains(t, r.out, "not moved from mail1.test to mail2.test: rolled back")
	require.False(t, w.Moved())
	require.Empty(t, w.Check())
	r = runIn(t, well(w), "rollback", zimbratest.Alice)
	require.Zero(t, r.code)
	require.Contains(t, r.err, "nothing to do")

	w = zimbratest.New()
	r = runIn(t, failing(t, w, zimbratest.Fail, "files.Copy", ""), append(move, "--keep")...)
	require.Equal(t, exitUnfinished, r.code, r.err)
	require.Contains(t, r.err, "to go on: mover resume alice@test.example --config ")
	require.NotContains(t, r.err, "rolling back,")
	r = runIn(t, well(w), "status", zimbratest.Alice)
	require.Zero(t, r.code)
	require.Contains(t, r.out, "on the way from mail1.test to mail2.test")
	require.NotContains(t, r.out, "locked out")
	r = runIn(t, well(w), "resume", zimbratest.Alice)
	require.Zero(t, r.code, r.err)
	require.True(t, w.Moved())
	require.Empty(t, w.Check())
}

func TestFailureBeforeTheMove(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, failing(t, w, zimbratest.Fail, "journals.Create", ""), move...)
	require.Equal(t, exitFailed, r.code, r.err)
	require.Empty(t, w.Check())
}

// Whoever died right after making a journal has begun nothing.
func TestEmptyJournal(t *testing.T) {
	w := zimbratest.New()
	runIn(t, failing(t, w, zimbratest.KillAfter, "journals.Create", ""), move...)
	require.Len(t, w.Moves(), 1)
	r := runIn(t, well(w), "status")
	require.Zero(t, r.code)
	require.Equal(t, "no moves\n", r.out)
	require.Zero(t, runIn(t, well(w), "resume", "--all").code)
	require.Zero(t, runIn(t, well(w), move...).code)
	require.Empty(t, w.Check())
}

func TestOverBudget(t *testing.T) {
	w := zimbratest.New()
	a := &app{world: func(c *zimbra.Config) { c.Limits.LockBudget = 1 }}
	r := a.runIn(t, well(w), move...)
	require.Equal(t, exitUnfinished, r.code, r.err)
	require.NotContains(t, r.err, "rolling back,")
	require.Zero(t, runIn(t, well(w), move...).code, "move goes on with it")
	require.Len(t, w.Moves(), 1)
	require.Empty(t, w.Check())
}

func TestAfterTheCommit(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, failing(t, w, zimbratest.Fail, "mailboxd.Load mail2.test", ""), move...)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "again in 1.0 s: ")
	require.Empty(t, w.Check())

	w = zimbratest.New()
	r = runIn(t, failing(t, w, zimbratest.Down, "mailboxd.Load mail2.test", ""), move...)
	require.Equal(t, exitDecide, r.code, r.err)
	require.Contains(t, r.err, "may be locked out; run: mover resume alice@test.example")
	w.Wait(outage)
	r = runIn(t, well(w), "rollback", zimbratest.Alice)
	require.Equal(t, exitFailed, r.code, r.err)
	require.Contains(t, r.err, "committed")
	require.Zero(t, runIn(t, well(w), "resume", "--all").code)
	require.Empty(t, w.Check())

	w = zimbratest.New()
	r = runIn(t, failing(t, w, zimbratest.Fail, "files.Unmark", ""), move...)
	require.Equal(t, exitPending, r.code, r.err)
	require.Contains(t, r.out, "in service")
	require.Zero(t, runIn(t, well(w), move...).code)
	require.Empty(t, w.Check())
}

// A commit whose answer was lost is asked for; it is neither repeated nor rolled back.
func TestLostCommit(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, failing(t, w, zimbratest.Lost, "directory.ModifyIf", "journal.Append commit begun"), move...)
	require.Zero(t, r.code, r.err)
	require.True(t, w.Moved())
	require.Empty(t, w.Check())
}

func TestKilled(t *testing.T) {
	for _, verb := range [][]string{move, {"resume", zimbratest.Alice}, {"resume", "--all"}, {"rollback", zimbratest.Alice}} {
		w := zimbratest.New()
		r := runIn(t, failing(t, w, zimbratest.KillBefore, "rows.Load", ""), move...)
		require.NotZero(t, r.code)
		r = runIn(t, well(w), "status")
		require.Contains(t, r.out, "locked out", "whoever was killed could let nobody in")
		w.Wait(2 * time.Minute) // the servers notice that nobody is there
		require.Zero(t, runIn(t, well(w), verb...).code, verb)
		require.Equal(t, verb[0] != "rollback", w.Moved())
		require.Empty(t, w.Check())
	}
}

func TestPresync(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, well(w), presync...)
	require.Zero(t, r.code, r.err)
	require.NotContains(t, r.err, "locked out")
	require.Contains(t, r.out, "on the way from mail1.test to mail2.test; presync: presync-rows done")
	r = runIn(t, well(w), "plan", zimbratest.Alice, "--to", zimbratest.Dest)
	require.Equal(t, exitProblems, r.code)
	require.Contains(t, r.out, "unfinished-move")
	require.Zero(t, runIn(t, well(w), move...).code)
	require.Len(t, w.Moves(), 1)
	require.Empty(t, w.Check())
}

// A rollback that was begun is gone on with, whoever comes: resume ends with it, move begins anew afterwards.
func TestRollbackGoesOn(t *testing.T) {
	for _, verb := range [][]string{{"resume", zimbratest.Alice}, {"resume", "--all"}, {"rollback", zimbratest.Alice}, move} {
		w := zimbratest.New()
		require.Zero(t, runIn(t, well(w), presync...).code)
		undo := []string{"rollback", zimbratest.Alice}
		r := runIn(t, failing(t, w, zimbratest.Fail, "rows.Remove", "", presync, undo), undo...)
		require.Equal(t, exitUnfinished, r.code, r.err)
		require.NotContains(t, r.err, "let in again", "nobody was locked out")
		r = runIn(t, well(w), "status", zimbratest.Alice)
		require.Contains(t, r.out, "being rolled back")
		r = runIn(t, well(w), verb...)
		require.Zero(t, r.code, r.err)
		require.Equal(t, verb[0] == "move", w.Moved())
		require.Empty(t, w.Check())
	}
}

// Ctrl-C before the commit lets the user in again and keeps what there is; a second one ends the program at once.
func TestInterrupt(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		w := zimbratest.New()
		signals := make(chan os.Signal, 1)
		a := &app{signals: signals, world: func(c *zimbra.Config) {
			c.Hooks.BeforeStep = func(ctx context.Context, _ string, _ zimbra.Phase, step string) error {
				if step == "load-rows" {
					signals <- sig
					<-ctx.Done()
				}
				return nil
			}
		}}
		r := a.runIn(t, well(w), move...)
		require.Equal(t, exitUnfinished, r.code, r.err)
		require.Contains(t, r.err, "stopping")
		require.Contains(t, r.err, "alice@test.example is let in again")
		require.NotContains(t, r.err, "rolling back,")
		r = runIn(t, well(w), "status")
		require.NotContains(t, r.out, "locked out")
		require.Zero(t, runIn(t, well(w), "rollback", zimbratest.Alice).code)
		require.Empty(t, w.Check())
	}
}

func TestInterruptTwice(t *testing.T) {
	w := zimbratest.New()
	signals, exits := make(chan os.Signal), make(chan int, 1)
	a := &app{signals: signals, exit: func(code int) { exits <- code }, world: func(c *zimbra.Config) {
		c.Hooks.BeforeStep = func(_ context.Context, _ string, _ zimbra.Phase, step string) error {
			if step == "load-rows" {
				for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGHUP, os.Interrupt} {
					require.Empty(t, exits, "hang-ups come in numbers")
					signals <- sig
				}
				require.Equal(t, exitDecide, <-exits)
			}
			return nil
		}
	}}
	r := a.runIn(t, well(w), move...)
	require.Contains(t, r.err, "stopped; the user may be locked out until you run: mover resume alice@test.example --config ")
}

func TestBusy(t *testing.T) {
	w := zimbratest.New()
	require.Zero(t, runIn(t, well(w), presync...).code)
	m, err := zimbra.New(well(w).Config())
	require.NoError(t, err)
	other, err := m.Open(t.Context(), w.Moves()[0])
	require.NoError(t, err)
	for _, verb := range [][]string{move, {"resume", zimbratest.Alice}, {"rollback", zimbratest.Alice}} {
		r := runIn(t, well(w), verb...)
		require.Equal(t, exitUnfinished, r.code, r.err)
	}
	require.NoError(t, other.Close())
	require.Zero(t, runIn(t, well(w), "rollback", zimbratest.Alice).code)
	require.Empty(t, w.Check())
}

func TestNoMove(t *testing.T) {
	w := zimbratest.New()
	require.Zero(t, runIn(t, well(w), presync...).code)
	for _, verb := range []string{"resume", "rollback", "status"} {
		for _, args := range [][]string{{zimbratest.Bob}, {zimbratest.Alice, "--to", zimbratest.Source}} {
			r := runIn(t, well(w), append([]string{verb}, args...)...)
			require.Equal(t, exitFailed, r.code, r.err)
			require.Contains(t, r.err, "no such move")
		}
	}
}

func TestUnknownStore(t *testing.T) {
	w := zimbratest.New()
	r := runIn(t, well(w), "plan", zimbratest.Alice, "--to", "mail3.test")
	require.Equal(t, exitUsage, r.code)
	require.Equal(t, "mover: --to mail3.test: not in [stores]; there are mail1.test, mail2.test\n", r.err)
}

// renamed is a directory that knows Alice by one more address.
type renamed struct{ zimbra.Directory }

const oldAddress = "al@old.example"

func (d renamed) Lookup(ctx context.Context, base, filter string, attrs ...string) (ldapattr.Entry, error) {
	return d.Directory.Lookup(ctx, base, strings.ReplaceAll(filter, oldAddress, zimbratest.Alice), attrs...)
}

// A move is found again by an address that only LDAP knows.
func TestMoveByAnotherAddress(t *testing.T) {
	w := zimbratest.New()
	require.Zero(t, runIn(t, well(w), presync...).code)
	a := &app{world: func(c *zimbra.Config) { c.Directory = renamed{c.Directory} }}
	r := a.runIn(t, well(w), "move", oldAddress, "--to", zimbratest.Dest)
	require.Zero(t, r.code, r.err)
	require.Len(t, w.Moves(), 1)
	require.Empty(t, w.Check())
}

// A move to another store has to be ended first.
func TestMoveElsewhere(t *testing.T) {
	w := zimbratest.New()
	require.Zero(t, runIn(t, well(w), presync...).code)
	a := &app{world: func(c *zimbra.Config) { c.Stores["mail3.test"] = c.Stores[zimbratest.Dest] }}
	r := a.runIn(t, well(w), "move", zimbratest.Alice, "--to", "mail3.test")
	require.Equal(t, exitProblems, r.code, r.err)
	require.Contains(t, r.err, "unfinished-move ("+w.Moves()[0]+"): a move of this account to mail2.test was begun")
	require.Len(t, w.Moves(), 1)
}

func TestWarnings(t *testing.T) {
	var out, err buffer
	a := &app{out: &out, err: &err, getenv: getenv}
	require.Zero(t, a.run(t.Context(), []string{"status", "--config", writeConfig(t, good+"memcached = [\"a:1\"]\n")}))
	require.Equal(t, "no moves\n", out.String())
	require.Contains(t, err.String(), "mover: warning: stores.\"mail2.example.com\".memcached is not used yet")
}

// A terminal's line is overwritten and wiped before other text comes; elsewhere progress is a line now and then.
func TestProgress(t *testing.T) {
	at := func(ms int) time.Time {
		return time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
	}
	events := []zimbra.Event{
		{Kind: zimbra.EventBegun, T: at(0), Phase: "presync", Step: "presync-files"},
		{Kind: zimbra.EventProgress, T: at(50), Phase: "presync", Step: "presync-files", Done: 1, Unit: "files"},
		{Kind: zimbra.EventProgress, T: at(2000), Phase: "presync", Step: "presync-files", Done: 2000, Total: 4000, Unit: "bytes", ETAms: 2000},
		{Kind: zimbra.EventProgress, T: at(12000), Phase: "presync", Step: "presync-files", Done: 3, Unit: "files"},
		{Kind: zimbra.EventDone, T: at(90000), Phase: "presync", Step: "presync-files"},
		{Kind: zimbra.EventFailed, T: at(90000), Phase: "ready", Step: "ready"},
		{Kind: "of a later version", T: at(90000)},
	}
	for terminal, want := range map[bool]string{
		false: "02:00:12  presync   presync-files        3 files\n" +
			"02:01:30  presync   presync-files        1m30s\n" +
			"02:01:30  ready     ready                failed\n",
		true: "\r\x1b[Kpresync   presync-files        ..." +
			"\r\x1b[Kpresync   presync-files        2.0 kB of 4.0 kB, 2.0 s left" +
			"\r\x1b[Kpresync   presync-files        3 files" +
			"\r\x1b[K02:01:30  presync   presync-files        1m30s\n" +
			"02:01:30  ready     ready                failed\n",
	} {
		var b buffer
		p := newProgress(&b, terminal)
		for _, e := range events {
			p.event(e)
		}
		require.Equal(t, want, b.String())
	}
}
