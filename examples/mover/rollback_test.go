package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/zimbra"
)

// TestRolledBackAtEveryStep stops a move right before each of its steps, by the hook, and right after each, when the journal's disk takes
// no more entries, and has it rolled back: every step in one of the two ways, with ZMLIFT_SOAK=1 in both. Every time both servers and the
// account's entry are what they were.
func TestRolledBackAtEveryStep(t *testing.T) {
	s := newLocalSite(t, lab.Shared(t))
	steps := s.stops(t)
	_, err := s.AddAccount(t.Context(), s.Stores[1], lab.AccountSpec{Name: "carol-rollback@lab.example", Items: 30})
	require.NoError(t, err)
	// A status that is not the usual one has to come back as well.
	closed, err := s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: "closed-rollback@lab.example", Items: 25, Status: "locked", MailStatus: "disabled"})
	require.NoError(t, err)
	accounts := []*lab.Account{s.account(t, 25), closed}
	for i, a := range accounts { // publishing removes these rows
		undo, err := s.Stores[1].PlantDeletedAccount(t.Context(), a.Name, a.ID, uint32(i+1))
		require.NoError(t, err)
		defer func() { require.NoError(t, undo(context.Background())) }()
	}

	began, n := time.Now(), 0
	before := s.look(t, accounts...)
	for w, way := range []struct {
		when     string
		rollBack func(t *testing.T, a *lab.Account, step string)
	}{{"before", s.vetoed}, {"after", s.unwritten}} {
		for i, step := range steps {
			if way.when == "after" && i == len(steps)-1 {
				continue // then it is committed
			}
			if os.Getenv(soakEnv) == "" && i%2 != w {
				continue
			}
			a := accounts[n%2]
			n++
			ok := t.Run(way.when+" "+step, func(t *testing.T) {
				way.rollBack(t, a, step)
				require.Equal(t, before, s.look(t, accounts...))
			})
			require.True(t, ok, "what was left is left for the next one")
		}
	}
	lab.Note("rolled back before or after each of the %d steps of a move up to its commit: %d rollbacks of %d, %.0f s (make soak tries all)",
		len(steps), n, 2*len(steps)-1, time.Since(began).Seconds())

	for i, a := range accounts {
		r := s.runHere(t, &app{}, "move", a.Name, "--to", s.Stores[1].Host)
		require.Zero(t, r.code, r.err)
		copied, err := a.At(t.Context(), s.Stores[1])
		require.NoError(t, err)
		require.NoError(t, s.Stores[1].CheckBlobs(t.Context(), copied.MailboxID))
		before.Entries[i]["zimbraMailHost"] = []string{s.Stores[1].Host}
		before.Entries[i]["zimbraMailTransport"] = []string{"lmtp:" + s.Stores[1].Host + ":7025"}
	}
	after := s.look(t, accounts...)
	require.Equal(t, before.Entries, after.Entries)
	require.Equal(t, before.Stores[0], after.Stores[0], "the source")
}

// stops returns the steps before which a move that nothing stops calls its hook, and fails unless those are all up to the commit.
func (s *site) stops(t *testing.T) (steps []string) {
	t.Helper()
	a := &app{world: func(c *zimbra.Config) {
		c.Hooks.BeforeStep = func(_ context.Context, _ string, _ zimbra.Phase, step string) error {
			steps = append(steps, step)
			return nil
		}
	}}
	r := s.runHere(t, a, "move", s.account(t, 25).Name, "--to", s.Stores[1].Host)
	require.Zero(t, r.code, r.err)
	names := zimbra.StepNames()
	commit := slices.Index(names, "commit")
	require.Positive(t, commit, names)
	// The question whether a commit has happened is not asked before there was one.
	want := slices.DeleteFunc(names[:commit+1], func(name string) bool { return name == "ask-directory" })
	require.Equal(t, want, steps, "the steps of a move up to its commit")
	return steps
}

// vetoed stops a move before the step; the program takes it back by itself.
func (s *site) vetoed(t *testing.T, a *lab.Account, step string) {
	reached := false
	r := s.runHere(t, &app{world: func(c *zimbra.Config) {
		c.Hooks.BeforeStep = func(_ context.Context, _ string, _ zimbra.Phase, name string) error {
			if name != step {
				return nil
			}
			reached = true
			return errors.New("stopped by the test")
		}
	}}, "move", a.Name, "--to", s.Stores[1].Host)
	require.True(t, reached, "never came to %s: %s", step, r.err)
	require.Equal(t, exitFailed, r.code, r.err)
	require.Contains(t, r.err, step+": stopped by the test")
	require.Contains(t, r.out, zimbra.OutcomeRolledBack)
}

// unwritten stops a move after the step has acted, and before its journal says so. The user is let in all the same; whoever comes when the
// disk is well again takes the move back.
func (s *site) unwritten(t *testing.T, a *lab.Account, step string) {
	entry := s.attributes(t, a)
	full := &fullJournals{step: step}
	r := s.runHere(t, &app{journals: func(js zimbra.Journals) zimbra.Journals {
		full.Journals = js
		return full
	}}, "move", a.Name, "--to", s.Stores[1].Host, "--keep")
	require.True(t, full.reached, "never came to the end of %s: %s", step, r.err)
	require.Equal(t, exitUnfinished, r.code, r.err)
	require.Contains(t, r.err, step+": "+errDiskFull.Error())
	require.Equal(t, entry, s.attributes(t, a), "before the rollback")
	r = s.runHere(t, &app{}, "rollback", a.Name)
	require.Equal(t, exitDone, r.code, r.err)
	require.Contains(t, r.out, zimbra.OutcomeRolledBack)
}

var errDiskFull = errors.New("no space left, says the test")

// fullJournals lie on a disk that is full when the end of a step is to be written, and from then on.
type fullJournals struct {
	zimbra.Journals
	step    string
	reached bool
}

func (js *fullJournals) Create(ctx context.Context, accountID, move string) (zimbra.Journal, error) {
	j, err := js.Journals.Create(ctx, accountID, move)
	return &fullJournal{j, js}, err
}

type fullJournal struct {
	zimbra.Journal
	on *fullJournals
}

func (j *fullJournal) Append(ctx context.Context, e zimbra.Entry) error {
	if j.on.reached = j.on.reached || e.Step == j.on.step && e.Is == zimbra.Done; j.on.reached {
		return errDiskFull
	}
	return j.Journal.Append(ctx, e)
}

// runHere runs the program in this process, so that the test can take part.
func (s *site) runHere(t testing.TB, a *app, args ...string) result {
	t.Helper()
	var out, err buffer
	a.out, a.err, a.getenv = &out, &err, os.Getenv
	code := a.run(t.Context(), append(args, "--config", s.config, "--accept", "no-mailboxd"))
	return result{code, out.String(), err.String()}
}

// A sight is everything that a rollback must leave as it was.
type sight struct {
	Stores  [2]map[string]string // every row and file of both, those of the accounts among them
	Entries []map[string][]string
}

// look looks at both servers. What may differ afterwards is left out: the destination's counter, as an id that was handed out stays so.
func (s *site) look(t testing.TB, accounts ...*lab.Account) (v sight) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	for i, st := range s.Stores {
		g.Go(func() (err error) {
			v.Stores[i], err = st.Bystanders(ctx)
			return err
		})
	}
	require.NoError(t, g.Wait())
	delete(v.Stores[1], lab.KeyNextMailboxID)
	for _, a := range accounts {
		v.Entries = append(v.Entries, s.attributes(t, a))
	}
	return v
}

// attributes are all of the account's entry but those that say when and by whom it was written last.
func (s *site) attributes(t testing.TB, a *lab.Account) map[string][]string {
	t.Helper()
	c, err := ldapattr.Dial(t.Context(), s.LDAP.URL, &ldapattr.Options{BindDN: s.LDAP.BindDN, Password: ldapattr.NewSecret(s.LDAP.Password), CAFile: s.LDAP.CAFile})
	require.NoError(t, err)
	defer c.Close()
	e, err := c.Lookup(t.Context(), "", ldapattr.Equal("zimbraId", a.ID), "*", "+")
	require.NoError(t, err)
	attrs := maps.Collect(e.All())
	for _, name := range []string{"entryCSN", "modifyTimestamp", "modifiersName"} {
		require.Contains(t, attrs, name)
		delete(attrs, name)
	}
	for _, values := range attrs {
		slices.Sort(values)
	}
	return attrs
}
