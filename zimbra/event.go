package zimbra

import (
	"sync"
	"time"
)

// EventVersion is the version of an Event's JSON form.
const EventVersion = 1

// An EventKind says what an Event is about. More kinds may come; a program ignores those it does not know.
type EventKind string

const (
	EventBegun     EventKind = "begun"     // a step begins
	EventDone      EventKind = "done"      // a step is done
	EventFailed    EventKind = "failed"    // a step failed
	EventAgain     EventKind = "again"     // it stands between the user and service, and is done again after a pause
	EventProgress  EventKind = "progress"  // how far a step has come; at most some per second
	EventPaused    EventKind = "paused"    // a step waits, for room on a volume, and goes on by itself
	EventResumed   EventKind = "resumed"   // it goes on
	EventLocked    EventKind = "locked"    // the user is locked out from here
	EventUnlocked  EventKind = "unlocked"  // the user is let in from here
	EventCommitted EventKind = "committed" // the account lives at the destination from here
)

// An Event tells what a move does. It holds no content of anybody's mail.
type Event struct {
	V       int       `json:"v"`
	T       time.Time `json:"t"`
	Move    string    `json:"move"`
	Account string    `json:"account"`
	Kind    EventKind `json:"kind"`
	Phase   Phase     `json:"phase,omitempty"`
	Step    string    `json:"step,omitempty"`
	Done    int64     `json:"done,omitempty"`
	Total   int64     `json:"total,omitempty"` // absent: not known
	Unit    string    `json:"unit,omitempty"`
	ETAms   int64     `json:"eta_ms,omitempty"`   // absent: not known
	PauseMs int64     `json:"pause_ms,omitempty"` // again: for how long
	Error   string    `json:"error,omitempty"`    // again and paused: why
}

// events hands a move's events to the program's function: by one goroutine, which a run starts and waits for. Progress that the function
// is too slow for is replaced by newer progress; the other events are few and all kept.
type events struct {
	call    func(Event)
	clock   Clock
	move    string
	account string

	mu       sync.Mutex
	queue    []Event
	last     *Event // progress not yet handed over
	wake     chan struct{}
	phase    Phase
	stepName string
	began    time.Time
}

func newEvents(call func(Event), clock Clock, move, account string) *events {
	return &events{call: call, clock: clock, move: move, account: account, wake: make(chan struct{}, 1)}
}

// run starts handing over, and returns the function that ends it after everything that is queued was handed over.
func (ev *events) run() (stop func()) {
	if ev.call == nil {
		return func() {}
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ev.wake:
				ev.drain()
			case <-end:
				ev.drain()
				return
			}
		}
	})
	return func() { close(end); wg.Wait() }
}

func (ev *events) drain() {
	for {
		ev.mu.Lock()
		batch := ev.queue
		if ev.last != nil {
			batch = append(batch, *ev.last)
		}
		ev.queue, ev.last = nil, nil
		ev.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, e := range batch {
			ev.safely(e)
		}
	}
}

// safely keeps a panic of the program's function from ending a move half-way.
func (ev *events) safely(e Event) {
	defer func() { _ = recover() }()
	ev.call(e)
}

func (ev *events) step(e Entry, _ *state) {
	kind := map[string]EventKind{Begun: EventBegun, Done: EventDone, Failed: EventFailed}[e.Is]
	ev.mu.Lock()
	if e.Is == Begun {
		ev.phase, ev.stepName, ev.began = e.Phase, e.Step, e.T
	}
	ev.mu.Unlock()
	ev.put(Event{Kind: kind, Phase: e.Phase, Step: e.Step, T: e.T})
}

func (ev *events) plain(kind EventKind) { ev.put(Event{Kind: kind}) }

func (ev *events) put(e Event) {
	if ev.call == nil {
		return
	}
	ev.mu.Lock()
	if ev.last != nil { // keep the order: progress that came before goes first
		ev.queue = append(ev.queue, *ev.last)
		ev.last = nil
	}
	ev.queue = append(ev.queue, ev.fill(e))
	ev.mu.Unlock()
	ev.signal()
}

// progress may be called from any goroutine.
func (ev *events) progress(p Progress) {
	if ev.call == nil {
		return
	}
	if p.Paused != "" || p.Resumed {
		ev.mu.Lock()
		e := Event{Kind: EventPaused, Phase: ev.phase, Step: ev.stepName, Error: p.Paused}
		ev.mu.Unlock()
		if p.Resumed {
			e.Kind = EventResumed
		}
		ev.put(e)
		return
	}
	ev.mu.Lock()
	e := ev.fill(Event{Kind: EventProgress, Phase: ev.phase, Step: ev.stepName, Done: p.Done, Total: p.Total, Unit: p.Unit})
	if p.Total > p.Done && p.Done > 0 {
		spent := e.T.Sub(ev.began)
		e.ETAms = (spent * time.Duration(p.Total-p.Done) / time.Duration(p.Done)).Milliseconds()
	}
	ev.last = &e
	ev.mu.Unlock()
	ev.signal()
}

func (ev *events) fill(e Event) Event {
	e.V, e.Move, e.Account = EventVersion, ev.move, ev.account
	if e.T.IsZero() {
		e.T = ev.clock.Now().UTC()
	}
	return e
}

func (ev *events) signal() {
	select {
	case ev.wake <- struct{}{}:
	default:
	}
}
