package zimbra

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// Config says what a Mover works with. Directory, Stores and one of StateDir and Journals are required.
type Config struct {
	Directory     Directory         // where writes go; one server, never a pool
	DirectoryName string            // names that server in plans and journals; a move is not continued on another
	Replicas      []DirectoryReader // the servers that mailstores read, if others
	Stores        map[string]*Store // by zimbraMailHost: every mailstore of the cluster, also those that only need flushing
	Copier        Copier            // makes the copies; nil is NewCopier(Stores), for stores made by NewStore
	StateDir      string            // where journals lie, as DirJournals
	Journals      Journals          // instead of StateDir
	Hooks         Hooks
	OnEvent       func(Event)  // called by one goroutine while Run or Rollback run; may be slow, and cannot fail a move
	Logger        *slog.Logger // nil is silent
	Limits        Limits
	Clock         Clock // nil is the real one
}

// A Store is one mailstore.
type Store struct {
	Survey   Surveyor // reads; all that Plan is given
	Scan     Scanner  // reads; nil: Mover.Scan is a *ConfigError
	Mailboxd Mailboxd // its admin service; nil: problem no-mailboxd
	Caches   Caches   // memcached servers beside it; nil: none

	real *mailstore // behind a Store that NewStore made
}

// Hooks let a program take part.
type Hooks struct {
	// BeforeStep is called before each step up to the commit; an error stops the move there as a failed step does. After the commit
	// nothing stands between a locked-out user and service.
	BeforeStep func(ctx context.Context, move string, phase Phase, step string) error
}

// Limits bound a move. The zero value of each field means its default.
type Limits struct {
	LockBudget    time.Duration // longest lock before the commit; over it the user is let in again. Default 5 m
	Release       time.Duration // longest time for letting the user in again after a failure, tries included. Default 3 m
	Finish        time.Duration // longest time for one step between commit and service, tries included. Default 2 m
	Replicas      time.Duration // longest wait for an LDAP replica while nobody, or only this user, waits. Default 1 m
	Others        time.Duration // longest wait for an LDAP replica between commit and service. Default 5 s
	Settle        time.Duration // how long an unanswered lock request may still be under way; above zimbra_mailbox_lock_timeout. Default 75 s
	PresyncFiles  int64         // presync ends with a pass that copied no more than this. Default 100
	PresyncPasses int           // or after this many passes. Default 5
	LockAttempts  int           // how often a lost lockout is tried again within one Run. Default 2
}

func (l Limits) withDefaults() Limits {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&l.LockBudget, 5*time.Minute)
	def(&l.Release, 3*time.Minute)
	def(&l.Finish, 2*time.Minute)
	def(&l.Replicas, time.Minute)
	def(&l.Others, 5*time.Second)
	def(&l.Settle, 75*time.Second)
	if l.PresyncFiles == 0 {
		l.PresyncFiles = 100
	}
	if l.PresyncPasses == 0 {
		l.PresyncPasses = 5
	}
	if l.LockAttempts == 0 {
		l.LockAttempts = 2
	}
	return l
}

// A Mover makes plans and carries out moves between the stores of one cluster. It may be used by many goroutines.
type Mover struct {
	cfg      Config
	hosts    []string // of Stores, sorted: the order in which they are told
	steps    []step
	journals Journals
	clock    Clock
	log      *slog.Logger
	limits   Limits
}

// New checks the config and returns a *ConfigError that names every mistake at once. It does no I/O.
func New(cfg Config) (*Mover, error) {
	var bad []string
	if cfg.Directory == nil {
		bad = append(bad, "Directory is nil")
	}
	if cfg.StateDir == "" && cfg.Journals == nil {
		bad = append(bad, "StateDir is empty")
	}
	if len(cfg.Stores) < 2 {
		bad = append(bad, "Stores has fewer than two mailstores")
	}
	hosts := slices.Sorted(maps.Keys(cfg.Stores))
	for _, host := range hosts {
		if s := cfg.Stores[host]; s == nil || s.Survey == nil {
			bad = append(bad, fmt.Sprintf("Stores[%q] cannot be surveyed", host))
		} else if s.real == nil && cfg.Copier == nil {
			bad = append(bad, fmt.Sprintf("Copier is nil, and Stores[%q] was not made by NewStore", host))
		}
	}
	if bad != nil {
		return nil, &ConfigError{Mistakes: bad}
	}
	if cfg.Copier == nil {
		cfg.Copier = NewCopier(cfg.Stores)
	}
	m := &Mover{cfg: cfg, hosts: hosts, steps: steps(), journals: cfg.Journals, clock: cfg.Clock, log: cfg.Logger, limits: cfg.Limits.withDefaults()}
	if m.journals == nil {
		m.journals = DirJournals(cfg.StateDir)
	}
	if m.clock == nil {
		m.clock = realClock{}
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m, nil
}

// Start begins a move: it writes the plan into a new journal and nothing else. ErrPlanStale when the plan was altered or a server is no
// longer what it was. The caller closes the Move.
func (m *Mover) Start(ctx context.Context, p *Plan) (*Move, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := m.fits(ctx, p); err != nil {
		return nil, err
	}
	if s := m.cfg.Stores[p.Dest.Host].Survey.Survey(ctx, SurveyRequest{AccountID: p.Account.ID, Tables: p.Tables, BlobDir: p.Dest.BlobDir}); s.Mailbox != nil {
		return nil, fmt.Errorf("%w: %s has mailbox %d for %s now", ErrPlanStale, p.Dest.Host, s.Mailbox.ID, p.Account.Name)
	}
	now := m.clock.Now().UTC()
	id := now.Format("20060102T150405Z") + "-" + random()
	j, err := m.journals.Create(ctx, p.Account.ID, id)
	if err != nil {
		return nil, fmt.Errorf("start the journal of %s: %w", p.Account.Name, err)
	}
	data, err := marshal(p)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	e := Entry{V: JournalVersion, N: 1, T: now, Move: id, Phase: PhasePlan, Step: stepPlan, Is: Done, Data: data}
	if err := j.Append(ctx, e); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return m.open(ctx, id, j)
}

// Open returns a move that was started before, after a crash or on another day. It changes nothing. ErrNoMove, ErrBusy, ErrJournal.
func (m *Mover) Open(ctx context.Context, move string) (*Move, error) {
	j, err := m.journals.Open(ctx, move)
	if err != nil {
		return nil, err
	}
	return m.open(ctx, move, j)
}

func (m *Mover) open(ctx context.Context, id string, j Journal) (*Move, error) {
	entries, err := j.Load(ctx)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	st, err := replay(m.steps, entries)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	mv := &Move{m: m, id: id, journal: j, entries: entries, st: st}
	if err := m.knows(st.plan); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	mv.events = newEvents(m.cfg.OnEvent, m.clock, id, st.plan.Account.Name)
	if mv.copy, err = m.cfg.Copier.Copy(st.plan, id, mv.events.progress); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return mv, nil
}

// knows refuses to go on with a move in another cluster than it was planned in.
func (m *Mover) knows(p *Plan) error {
	for _, host := range []string{p.Source.Host, p.Dest.Host} {
		if m.cfg.Stores[host] == nil {
			return &ConfigError{Mistakes: []string{fmt.Sprintf("store %s of the move is not configured", host)}}
		}
	}
	if p.Directory != m.cfg.DirectoryName {
		return &ConfigError{Mistakes: []string{fmt.Sprintf("the move writes to LDAP server %q, configured is %q", p.Directory, m.cfg.DirectoryName)}}
	}
	return nil
}

// Moves returns the status of every move that has a journal, oldest first. A journal that cannot be read is an error with its name; the
// others follow.
func (m *Mover) Moves(ctx context.Context) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		names, err := m.journals.List(ctx)
		if err != nil {
			yield(Status{}, err)
			return
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				yield(Status{Move: name}, err)
				return
			}
			if !yield(m.Status(ctx, name)) {
				return
			}
		}
	}
}

// Status reads a move's journal without its lock: what it says may be old in the next moment.
func (m *Mover) Status(ctx context.Context, move string) (Status, error) {
	entries, err := m.journals.Read(ctx, move)
	if err != nil {
		return Status{Move: move}, err
	}
	st, err := replay(m.steps, entries)
	if err != nil {
		return Status{Move: move}, fmt.Errorf("%s: %w", move, err)
	}
	return statusOf(move, entries, st), nil
}

func random() string {
	b := make([]byte, 4)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
