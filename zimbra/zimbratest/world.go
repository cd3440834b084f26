package zimbratest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/ldapattr/ldapattrtest"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// The world's cast.
const (
	Source = "mail1.test"
	Dest   = "mail2.test"

	Alice   = "alice@test.example" // she moves
	AliceID = "a0000000-0000-4000-8000-000000000001"
	Bob     = "bob@test.example" // her neighbour on the source
	BobID   = "b0000000-0000-4000-8000-000000000002"
	Carol   = "carol@test.example" // her neighbour at the destination
	CarolID = "c0000000-0000-4000-8000-000000000003"
)

const (
	effectTime   = 50 * time.Millisecond   // that goes by with each effect
	proofAge     = 1500 * time.Millisecond // the lockout must have been proven this shortly before the commit
	cacheAge     = 15 * time.Minute        // localconfig ldap_cache_account_maxage
	leaseTimeout = time.Minute             // wait_timeout of the sessions with the named locks
)

// A World is a cluster in memory: a directory with a lagging replica, two mailstores with a mailboxd each, and a mail server
// that sends Alice a message with every effect. It belongs to one goroutine. It is deterministic: the same faults give the same history.
type World struct {
	Log []string // every effect, in order: the history of the run

	now      time.Time
	dir      *ldapattrtest.Directory
	replica  replica
	stores   map[string]*store
	journals map[string]*journal
	late     []*lateEffect
	down     map[string]time.Time // servers that answer nobody until then
	stalled  time.Time            // the replica follows from here on
	leases   map[string]lease     // by store: who holds the named lock of Alice's account there

	every    int           // effects from one message to the next
	lag      time.Duration // of the replica
	ticks    int           //
	sent     int           //
	accepted []string      // messages that a mailstore took: each must be in the mailbox at the end
	bounced  []string      // answered with a permanent error: there must be none
	status   string        // what Alice's status is to be at the end
	broken   []string      // what must never happen, and did
	proven   time.Time     // when a mover last saw the lockout at the source
	strays   []string      // mailboxes that came into being by themselves: there must be none
	before   neighbours
	entries  map[seen]ldapattr.Entry // what copies of the directory say: they do not change
}

// A lease is a named lock on one store. A session whose process ended or slept is ended by the server.
type lease struct {
	p     *Process
	until time.Time // when the server notices that nobody is there any more; zero: somebody is
}

func (l lease) live(now time.Time) bool {
	return l.p != nil && !l.p.dead && !l.p.expired && (l.until.IsZero() || now.Before(l.until))
}

// A store is one mailstore: its database, its disk and its mailboxd.
type store struct {
	host    string
	nextID  mboxdb.MailboxID
	homes   map[string]mboxdb.MailboxID            // zimbra.mailbox: account → id
	rows    map[mboxdb.MailboxID]map[string]string // item → content
	blobs   map[mboxdb.MailboxID]map[string]string // file → content
	index   map[mboxdb.MailboxID]string            //
	marks   map[mboxdb.MailboxID]mark              // in the directories that a mover made
	fences  map[string]fenceRow                    // zmlift.moves
	deleted map[string]mboxdb.DeletedAccount       // by address
	daemon  mailboxd
}

type mark struct {
	move  string
	fence uint64
}

type fenceRow struct {
	move  string
	fence uint64
	open  bool
	id    mboxdb.MailboxID
}

// New makes a world in which Alice lives on Source with some mail, Bob beside her, and Carol at Dest.
func New() *World {
	w := &World{
		now:      time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC),
		dir:      newDirectory(),
		stores:   map[string]*store{},
		journals: map[string]*journal{},
		status:   "active",
		leases:   map[string]lease{},
		down:     map[string]time.Time{},
		entries:  map[seen]ldapattr.Entry{},
		every:    1,
		lag:      800 * time.Millisecond,
	}
	src, dst := newStore(Source, 40), newStore(Dest, 900)
	w.stores[Source], w.stores[Dest] = src, dst
	src.settle(AliceID, 34, 6)
	src.settle(BobID, 35, 4)
	dst.settle(CarolID, 899, 5)
	dst.deleted[Alice] = mboxdb.DeletedAccount{Email: Alice, AccountID: AliceID, MailboxID: 12, DeletedAt: 1600000000}
	w.replica = replica{{at: w.now.Add(-time.Hour), dir: w.dir.Snapshot()}}
	for range 3 { // mailboxds have seen everybody before the move begins
		w.deliver()
		w.advance(time.Second)
	}
	w.before = w.neighbours()
	return w
}

func newStore(host string, next mboxdb.MailboxID) *store {
	return &store{
		host: host, nextID: next,
		homes:   map[string]mboxdb.MailboxID{},
		rows:    map[mboxdb.MailboxID]map[string]string{},
		blobs:   map[mboxdb.MailboxID]map[string]string{},
		index:   map[mboxdb.MailboxID]string{},
		marks:   map[mboxdb.MailboxID]mark{},
		fences:  map[string]fenceRow{},
		deleted: map[string]mboxdb.DeletedAccount{},
		daemon:  newMailboxd(),
	}
}

// settle gives an account a mailbox of n items.
func (s *store) settle(account string, id mboxdb.MailboxID, n int) {
	s.homes[account] = id
	s.rows[id], s.blobs[id], s.index[id] = map[string]string{}, map[string]string{}, "index of "+account
	for i := range n {
		item := fmt.Sprint(257 + i)
		s.rows[id][item] = "(" + fmt.Sprint(id) + ", mail of " + account
		s.blobs[id][item] = "blob " + item + " of " + account
	}
	s.daemon.ids[account] = id
}

// Process starts a mover's process in which the fault will happen; the zero Fault is none.
func (w *World) Process(name string, f Fault) *Process { return &Process{w: w, name: name, fault: f} }

// WhilePaused says what happens while the process sleeps (Pause).
func (p *Process) WhilePaused(f func()) { p.takeover = f }

// Config is what the process's Mover works with.
func (p *Process) Config() zimbra.Config {
	cfg := zimbra.Config{
		Directory:     directory{p},
		DirectoryName: "ldap://ldap.test",
		Replicas:      []zimbra.DirectoryReader{replicaReader{p}},
		Stores:        map[string]*zimbra.Store{},
		Copier:        copier{p},
		Journals:      journals{p},
		Clock:         clock{p},
		Limits:        zimbra.Limits{Replicas: 30 * time.Second, Others: 2 * time.Second, Settle: 70 * time.Second, PresyncPasses: 2},
	}
	for host := range p.w.stores {
		cfg.Stores[host] = &zimbra.Store{Survey: surveyor{p, host}, Mailboxd: daemon{p, host}, Caches: caches{p, host}}
	}
	return cfg
}

// Quiet makes it a quiet night: Alice gets a message with every ninth effect of a mover only, so that caches are not filled again at once,
// and the replica lags longer.
func (w *World) Quiet() { w.every, w.lag = 9, 1300*time.Millisecond }

// tick is what goes on in the world while a mover has an effect: time passes, a message arrives, and what is late may come.
func (w *World) tick() {
	w.advance(effectTime)
	if w.ticks++; w.ticks%w.every == 0 {
		w.deliver()
	}
	for _, l := range w.late {
		l.in--
	}
	w.arrive(func(l *lateEffect) bool { return l.in < 0 })
}

// arrive has late effects happen.
func (w *World) arrive(due func(*lateEffect) bool) {
	for i := 0; i < len(w.late); {
		l := w.late[i]
		if !due(l) {
			i++
			continue
		}
		w.late = slices.Delete(w.late, i, i+1)
		err := l.do()
		w.Log = append(w.Log, fmt.Sprintf("late %s: %v", l.name, err))
	}
}

// advance passes time. Nothing stays under way for longer than a minute.
func (w *World) advance(d time.Duration) {
	w.now = w.now.Add(d)
	if d >= time.Minute {
		w.arrive(func(*lateEffect) bool { return true })
	}
	w.replica = w.replica.shown(w.now)
}

// modify writes to the directory; the replica follows.
func (w *World) modify(ctx context.Context, dn, assertion string, changes ...ldapattr.Change) error {
	before, _ := lookupID(w.dir, AliceID)
	if err := w.dir.ModifyIf(context.WithoutCancel(ctx), dn, assertion, changes...); err != nil {
		return err
	}
	shows := w.now
	if w.stalled.After(shows) {
		shows = w.stalled
	}
	w.replica = append(w.replica, copyOf{at: shows.Add(w.lag), dir: w.dir.Snapshot()})
	after, _ := lookupID(w.dir, AliceID)
	never := func(what string) { w.broken = append(w.broken, what) }
	status := after.Value("zimbraAccountStatus")
	if before.Value("zimbraMailHost") != after.Value("zimbraMailHost") {
		if status != "maintenance" {
			never("the home changed while the status was " + status)
		}
		if w.now.Sub(w.proven) > proofAge {
			never("the home changed without a fresh proof of the lockout")
		}
	}
	if before.Value("zimbraAccountStatus") != status && status == "maintenance" && !w.stores[Dest].fences[AliceID].open {
		never("the account was locked by a mover whose move is over")
	}
	return nil
}

// intervene is an administrator who locks the account's logins, through a mailboxd that then forgets what it had cached.
func (w *World) intervene() {
	e, err := lookupID(w.dir, AliceID)
	if err == nil {
		err = w.modify(context.Background(), e.DN, byID[AliceID],
			ldapattr.Change{Attr: "zimbraAccountStatus", Old: e.Values("zimbraAccountStatus"), New: []string{"locked"}})
	}
	if err != nil {
		panic(err) // a world of our own
	}
	w.status = "locked"
	w.advance(2 * w.lag)
	for _, s := range w.stores {
		delete(s.daemon.accounts, AliceID)
	}
}

// Wait passes time, as a person does who tries again later.
func (w *World) Wait(d time.Duration) { w.advance(d) }

// deliver is the MTA: it asks LDAP for Alice's transport and hands the next message to that mailstore. What is deferred it sends again.
func (w *World) deliver() {
	w.sent++
	msg := fmt.Sprintf("%d", 1000+w.sent)
	e, err := w.shown(AliceID)
	if err != nil {
		return
	}
	host := strings.Split(e.Value("zimbraMailTransport"), ":")[1]
	switch w.lmtp(host, AliceID, msg, 0) {
	case 250:
		w.accepted = append(w.accepted, msg)
	case 554:
		w.bounced = append(w.bounced, fmt.Sprintf("%s on %s at %s", msg, host, w.now.Format(time.TimeOnly)))
	}
}

// neighbours is everything that is nobody's business but its owners'.
type neighbours struct {
	rows, blobs map[string]string
	entries     map[string]string
}

func (w *World) neighbours() neighbours {
	n := neighbours{map[string]string{}, map[string]string{}, map[string]string{}}
	for _, acct := range []struct{ id, host string }{{BobID, Source}, {CarolID, Dest}} {
		s := w.stores[acct.host]
		id := s.homes[acct.id]
		n.rows[acct.id] = fmt.Sprint(id, s.rows[id])
		n.blobs[acct.id] = fmt.Sprint(s.blobs[id], s.index[id])
		e, _ := lookupID(w.dir, acct.id)
		n.entries[acct.id] = fmt.Sprint(e.DN, e.Values("zimbraMailHost"), e.Values("zimbraAccountStatus"), e.Values("entryCSN"))
	}
	return n
}

// Check says what is wrong with the world when a move is over: wherever Alice lives now, she has one home, all her mail, her status, and
// nothing of the move is left anywhere. Every finding is one line.
func (w *World) Check() []string {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }

	w.advance(2 * time.Minute) // whatever is under way arrives
	e, err := lookupID(w.dir, AliceID)
	if err != nil {
		return append(bad, err.Error())
	}
	home, other := w.stores[Source], w.stores[Dest]
	if e.Value("zimbraMailHost") == Dest {
		home, other = other, home
	}
	if want := "lmtp:" + home.host + ":7025"; e.Value("zimbraMailHost") != home.host || e.Value("zimbraMailTransport") != want {
		say("home %q with transport %q", e.Value("zimbraMailHost"), e.Value("zimbraMailTransport"))
	}
	if got := e.Value("zimbraAccountStatus"); got != w.status {
		say("status is %q, was %q", got, w.status)
	}
	bad = append(bad, w.broken...)
	if got := e.Value("zimbraMailStatus"); got != "enabled" {
		say("mail status is %q, was enabled", got)
	}
	id, ok := home.homes[AliceID]
	if !ok {
		say("no mailbox row on %s, her home", home.host)
	}
	for i := range 3 { // she gets mail again, at once and later
		n := len(w.accepted)
		w.deliver()
		if len(w.accepted) == n {
			say("her mail is not taken at try %d after the end", i+1)
		}
		w.advance(20 * time.Minute)
	}
	for _, msg := range w.accepted {
		if _, ok := home.rows[id][msg]; !ok {
			say("message %s was taken and is not in her mailbox", msg)
		}
	}
	for item := range home.rows[id] {
		if home.blobs[id][item] == "" {
			say("item %s has no blob", item)
		}
	}
	if len(home.rows[id]) != 6+len(w.accepted) {
		say("%d items in her mailbox, want %d", len(home.rows[id]), 6+len(w.accepted))
	}
	if home.index[id] == "" {
		say("no index")
	}
	if len(w.bounced) > 0 {
		say("bounced: %v", w.bounced)
	}
	if len(w.strays) > 0 {
		say("mailboxes that came by themselves: %v", w.strays)
	}
	if home.daemon.locked[AliceID] {
		say("her mailbox is locked out on %s", home.host)
	}
	if home.host == Source {
		w.nothingLeft(other, say)
	} else {
		if len(home.marks) > 0 {
			say("marks left at home: %v", home.marks)
		}
		if _, ok := home.deleted[Alice]; ok {
			say("deleted_account row of a living account")
		}
		if other.homes[AliceID] != 34 || len(other.rows[34]) == 0 || len(other.blobs[34]) == 0 {
			say("the source's copy was changed")
		}
		if other.daemon.loaded[34] && !other.daemon.locked[AliceID] {
			say("the source still serves the old copy")
		}
	}
	for account, f := range w.stores[Source].fences {
		say("fence row of %s on the source: %v", account, f)
	}
	for account, f := range w.stores[Dest].fences {
		if f.open {
			say("fence row of %s is open: %v", account, f)
		}
	}
	for host, l := range w.leases {
		if l.live(w.now) {
			say("named lock on %s is held by %s", host, l.p.name)
		}
	}
	if now := w.neighbours(); fmt.Sprint(now) != fmt.Sprint(w.before) {
		say("neighbours changed: %v, were %v", now, w.before)
	}
	return bad
}

// CheckService says what keeps Alice from her mail now, whatever else is still to be done.
func (w *World) CheckService() []string {
	e, err := lookupID(w.dir, AliceID)
	if err != nil {
		return []string{err.Error()}
	}
	if got := e.Value("zimbraAccountStatus"); got != w.status {
		return []string{fmt.Sprintf("she is left in status %q, hers is %q", got, w.status)}
	}
	w.advance(time.Minute) // what had a standstill before still has it
	n := len(w.accepted)
	if w.deliver(); len(w.accepted) == n {
		return []string{"she is let in, and her mail is not taken"}
	}
	return nil
}

// nothingLeft looks at a destination to which nobody moved.
func (w *World) nothingLeft(dst *store, say func(string, ...any)) {
	if id, ok := dst.homes[AliceID]; ok {
		say("mailbox row %d left on %s", id, dst.host)
	}
	for id := range dst.rows {
		if id != 899 {
			say("rows left under %d", id)
		}
	}
	for id, blobs := range dst.blobs {
		if id != 899 && len(blobs) > 0 { // an empty directory may be what a mover left that slept
			say("blobs left under %d", id)
		}
	}
	for id := range dst.index {
		if id != 899 {
			say("index left under %d", id)
		}
	}
	if len(dst.marks) > 0 {
		say("marks left: %v", dst.marks)
	}
	if dst.deleted[Alice].MailboxID != 12 {
		say("the deleted_account row is gone")
	}
}

// Moved says whether Alice lives at the destination.
func (w *World) Moved() bool {
	e, _ := lookupID(w.dir, AliceID)
	return e.Value("zimbraMailHost") == Dest
}

// Moves returns the names of all journals, oldest first.
func (w *World) Moves() []string { return slices.Sorted(maps.Keys(w.journals)) }

// byID are the filters of the world's people: they are asked for again and again.
var byID = map[string]string{
	AliceID: ldapattr.Equal("zimbraId", AliceID), BobID: ldapattr.Equal("zimbraId", BobID), CarolID: ldapattr.Equal("zimbraId", CarolID),
}

func lookupID(d *ldapattrtest.Directory, id string) (ldapattr.Entry, error) {
	return d.Lookup(context.Background(), "", byID[id], "*", "entryCSN")
}

// seen names an account in one copy of the directory.
type seen struct {
	dir *ldapattrtest.Directory
	id  string
}

// shown is the account's entry as the replica shows it now.
func (w *World) shown(id string) (ldapattr.Entry, error) {
	key := seen{w.replica.now(), id}
	if e, ok := w.entries[key]; ok {
		return e, nil
	}
	e, err := lookupID(key.dir, id)
	if err == nil {
		w.entries[key] = e
	}
	return e, err
}
