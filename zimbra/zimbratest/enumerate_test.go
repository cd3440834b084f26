package zimbratest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zmlift/zmlift/zimbra"
	"github.com/zmlift/zmlift/zimbra/zimbratest"
)

// How a run is recovered from, on a busy day or in a quiet night.
type recovery string

const (
	resume        recovery = "resume"
	rollback      recovery = "rollback"
	quietResume   recovery = "quiet-resume"
	quietRollback recovery = "quiet-rollback"
)

func (how recovery) back() bool  { return how == rollback || how == quietRollback }
func (how recovery) quiet() bool { return how == quietResume || how == quietRollback }

// start runs a whole move in a process; it ends at the first error.
func start(p *zimbratest.Process) error {
	ctx := context.Background()
	m, err := zimbra.New(p.Config())
	if err != nil {
		return err
	}
	plan, err := m.Plan(ctx, zimbra.Request{Account: zimbratest.Alice, To: zimbratest.Dest})
	if err != nil {
		return err
	}
	mv, err := m.Start(ctx, plan)
	if err != nil {
		return err
	}
	return errors.Join(mv.Run(ctx, zimbra.PhaseFinish), mv.Close())
}

// recoverAll ends every move there is, with one fresh process for each try. It fails when that takes more than a few. The fault, if any,
// happens in the first process.
func recoverAll(w *zimbratest.World, how recovery, name string, f zimbratest.Fault) error {
	const tries = 7
	for _, move := range w.Moves() {
		var err error
		for n := range tries {
			p := w.Process(fmt.Sprintf("%s%d", name, n+1), f)
			p.WhilePaused(func() { _ = recoverAll(w, how, "other", zimbratest.Fault{}) }) // a home of its own is found later
			f = zimbratest.Fault{}
			if err = recoverOnce(p, move, how); err == nil {
				break
			}
			w.Wait(20 * time.Second << n) // a person who tries again, for some twenty minutes
		}
		if err != nil {
			return fmt.Errorf("%s of %s does not end: %w", how, move, err)
		}
	}
	return nil
}

func recoverOnce(p *zimbratest.Process, move string, how recovery) error {
	ctx := context.Background()
	m, err := zimbra.New(p.Config())
	if err != nil {
		return err
	}
	mv, err := m.Open(ctx, move)
	if errors.Is(err, zimbra.ErrJournal) {
		return nil // died before the plan was in it: there is no move
	}
	if err != nil {
		return err
	}
	defer mv.Close()
	if how.back() || mv.Status().Rollback {
		if err := mv.Rollback(ctx); !errors.Is(err, zimbra.ErrCommitted) {
			return err
		}
	}
	err = mv.Run(ctx, zimbra.PhaseFinish)
	if errors.Is(err, zimbra.ErrPlanStale) { // another move went ahead: what its hint says
		return mv.Rollback(ctx)
	}
	return err
}

// history runs a move with a fault and recovers, with another fault in that if there is one, and returns the world and what is wrong
// with it.
func history(f, second zimbratest.Fault, how recovery) (*zimbratest.World, *zimbratest.Process, []string) {
	w := zimbratest.New()
	if how.quiet() {
		w.Quiet()
	}
	p := w.Process("mover", f)
	var bad []string
	p.WhilePaused(func() {
		if err := recoverAll(w, how, "second", zimbratest.Fault{}); err != nil {
			bad = append(bad, "second mover: "+err.Error())
		}
		if len(w.Moves()) == 0 { // nothing to take over yet: the other one makes a move of its own
			if err := start(w.Process("second", zimbratest.Fault{})); err != nil {
				bad = append(bad, "second mover: "+err.Error())
			}
		}
	})
	_ = start(p) // what it says is not the point: what it leaves is
	if f.Passes() {
		bad = append(bad, w.CheckService()...)
	}
	if err := recoverAll(w, how, "third", second); err != nil {
		bad = append(bad, err.Error())
	}
	return w, p, append(bad, w.Check()...)
}

// delays are those with which a fault of the kind is tried: late by every number of effects, servers down for a short and for a long time.
func delays(kind zimbratest.FaultKind) []int {
	switch kind {
	case zimbratest.Late:
		var all []int
		for delay := 0; delay <= 40; delay++ {
			all = append(all, delay)
		}
		return all
	case zimbratest.Down, zimbratest.LostDown, zimbratest.Stall:
		return []int{20, 45, 900}
	}
	return []int{0}
}

// faults are all of them: each effect of a move without faults, in every way.
func faults(effects int) []zimbratest.Fault {
	var all []zimbratest.Fault
	for at := 1; at <= effects; at++ {
		for _, kind := range zimbratest.Kinds {
			for _, delay := range delays(kind) {
				all = append(all, zimbratest.Fault{Kind: kind, At: at, Delay: delay})
			}
		}
	}
	return all
}

// TestMoveWithoutFault is the move as it should be.
func TestMoveWithoutFault(t *testing.T) {
	w, p, bad := history(zimbratest.Fault{}, zimbratest.Fault{}, resume)
	if len(bad) > 0 || !w.Moved() {
		t.Fatalf("moved: %v, wrong: %q\n%s", w.Moved(), bad, strings.Join(w.Log, "\n"))
	}
	t.Logf("%d effects", p.Effects())
}

// TestFaultsInPairs has a second thing go wrong while the first is recovered from. There are millions of pairs; a sample is tried, the same
// each time, and more of them with ZMLIFT_SOAK=1.
func TestFaultsInPairs(t *testing.T) {
	_, clean, _ := history(zimbratest.Fault{}, zimbratest.Fault{}, resume)
	n := 10_000
	if os.Getenv("ZMLIFT_SOAK") != "" {
		n = 200_000
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(effects int) zimbratest.Fault {
		f := zimbratest.Fault{Kind: zimbratest.Kinds[rnd.IntN(len(zimbratest.Kinds))], At: 1 + rnd.IntN(effects)}
		d := delays(f.Kind)
		f.Delay = d[rnd.IntN(len(d))]
		return f
	}
	all := make([]result, n)
	for i := range all {
		all[i] = result{fault: pick(clean.Effects()), second: pick(60), how: []recovery{resume, rollback, quietResume, quietRollback}[rnd.IntN(4)]}
	}
	failures := 0
	for r := range histories(all) {
		if len(r.bad) == 0 {
			continue
		}
		t.Errorf("ZMLIFT_FAULT=%q at %s:\n  %s", r, r.hit, strings.Join(r.bad, "\n  "))
		if failures++; failures == 3 {
			t.Fatal("stopped: the rest would say the same")
		}
	}
	t.Logf("%d pairs of millions", n)
}

// TestEveryFault has each effect of a move go wrong in every way, and recovers forward and back. ZMLIFT_FAULT="resume late@31+4" runs one.
func TestEveryFault(t *testing.T) {
	if one := os.Getenv("ZMLIFT_FAULT"); one != "" {
		words := strings.Fields(one)
		var faults [2]zimbratest.Fault
		for i, expr := range words[1:] {
			var err error
			if faults[i], err = zimbratest.ParseFault(expr); err != nil {
				t.Fatal(err)
			}
		}
		w, _, bad := history(faults[0], faults[1], recovery(words[0]))
		t.Logf("moved: %v, wrong: %q\n%s", w.Moved(), bad, strings.Join(w.Log, "\n"))
		if len(bad) > 0 {
			t.Fail()
		}
		return
	}
	_, clean, _ := history(zimbratest.Fault{}, zimbratest.Fault{}, resume)
	reached := map[string]map[zimbratest.FaultKind]bool{}
	runs, failures, moved := 0, 0, 0
	var all []result
	for _, f := range faults(clean.Effects()) {
		all = append(all, result{fault: f, how: resume}, result{fault: f, how: rollback})
		if f.Kind != zimbratest.Late { // there are many, and a cache makes no difference to what arrives
			all = append(all, result{fault: f, how: quietResume}, result{fault: f, how: quietRollback})
		}
	}
	for r := range histories(all) {
		runs++
		if r.moved {
			moved++
		}
		if r.hit == "" {
			t.Errorf("%s met no effect", r)
		}
		if reached[r.hit] == nil {
			reached[r.hit] = map[zimbratest.FaultKind]bool{}
		}
		reached[r.hit][r.fault.Kind] = true
		if len(r.bad) == 0 {
			continue
		}
		t.Errorf("ZMLIFT_FAULT=%q at %s:\n  %s", r, r.hit, strings.Join(r.bad, "\n  "))
		if failures++; failures == 3 {
			t.Fatalf("stopped after %d of %d histories: the rest would say the same", runs, len(all))
		}
	}
	for _, name := range zimbra.StepNames() {
		if forwardOnly(name) && reached["journal.Append "+name+" begun"] == nil {
			t.Errorf("step %s was never reached", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(reached)) {
		for _, kind := range zimbratest.Kinds {
			if !reached[name][kind] {
				t.Errorf("effect %s was not tried with %s", name, kind)
			}
		}
	}
	if moved == 0 || moved == runs {
		t.Errorf("%d of %d runs ended moved: the enumeration does not reach both ends", moved, runs)
	}
	t.Logf("%d runs, %d ended moved, %d kinds of effect", runs, moved, len(reached))
}

// A result is one history, and how it ended.
type result struct {
	fault  zimbratest.Fault
	second zimbratest.Fault // in the recovery
	how    recovery
	hit    string
	moved  bool
	bad    []string
}

func (r result) String() string {
	if r.second.Kind == "" {
		return string(r.how) + " " + r.fault.String()
	}
	return string(r.how) + " " + r.fault.String() + " " + r.second.String()
}

// histories runs all of them, on every CPU: no world knows of another.
func histories(all []result) iter.Seq[result] {
	return func(yield func(result) bool) {
		jobs, results, stop := make(chan result), make(chan result), make(chan struct{})
		var workers sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for r := range jobs {
					w, p, bad := history(r.fault, r.second, r.how)
					r.hit, r.moved, r.bad = p.Hit, w.Moved(), bad
					select {
					case results <- r:
					case <-stop:
					}
				}
			})
		}
		workers.Go(func() {
			defer close(jobs)
			for _, r := range all {
				select {
				case jobs <- r:
				case <-stop:
					return
				}
			}
		})
		defer workers.Wait()
		defer close(stop)
		for range all {
			if !yield(<-results) {
				return
			}
		}
	}
}

// forwardOnly says whether a step belongs to a move that nothing stops.
func forwardOnly(name string) bool {
	for _, s := range []string{"ask-directory", "reopen-account", "unlock-mailbox", "wait-directory-reopened", "flush-reopened", "settle", "take-over-rollback", "remove-rows", "remove-files", "end-rollback"} {
		if name == s {
			return false
		}
	}
	return true
}
