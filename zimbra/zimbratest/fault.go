package zimbratest

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A FaultKind says how an effect goes wrong.
type FaultKind string

// The ways in which an effect goes wrong.
const (
	Fail       FaultKind = "fail"        // it returns an error and nothing happened
	Lost       FaultKind = "lost"        // it happened, and the answer was lost
	Late       FaultKind = "late"        // the answer was lost, and it happens Delay effects later, during the recovery
	KillBefore FaultKind = "kill-before" // the process dies, and nothing happened
	KillAfter  FaultKind = "kill-after"  // it happened, and the process dies
	Pause      FaultKind = "pause"       // the process sleeps just before it; another one takes over; then it wakes and goes on
	Intervene  FaultKind = "intervene"   // just before it an administrator gives the account another status
	Restart    FaultKind = "restart"     // just before it the source's mailboxd restarts
	Down       FaultKind = "down"        // the server that it speaks to answers nobody from here on, for a while
	LostDown   FaultKind = "lost-down"   // it happened, the answer was lost, and then that server answers nobody for a while
	Stall      FaultKind = "stall"       // just before it the LDAP replica stops to follow, for a while
)

// Kinds are all of them.
var Kinds = []FaultKind{Fail, Lost, Late, KillBefore, KillAfter, Pause, Intervene, Restart, Down, LostDown, Stall}

// delayed says whether a fault of the kind has a Delay.
func (k FaultKind) delayed() bool { return k == Late || k == Down || k == LostDown || k == Stall }

// A Fault is one thing that goes wrong in a process. Its String is what a failing test prints, and ParseFault takes it back.
type Fault struct {
	Kind  FaultKind
	At    int // the process's effect, counted from 1
	Delay int // Late: how many effects later; Down, LostDown, Stall: for how many seconds
}

// Passes says whether the fault is over before a move gives up on letting its user in: when it returns, the user must be in.
func (f Fault) Passes() bool {
	switch f.Kind {
	case Fail, Lost:
		return true
	case Down, LostDown, Stall:
		return f.Delay <= 60
	}
	return false
}

func (f Fault) String() string {
	if f.Kind.delayed() {
		return fmt.Sprintf("%s@%d+%d", f.Kind, f.At, f.Delay)
	}
	return fmt.Sprintf("%s@%d", f.Kind, f.At)
}

// over is when a fault that begins now has passed.
func (f Fault) over(now time.Time) time.Time { return now.Add(time.Duration(f.Delay) * time.Second) }

// ParseFault reads what Fault.String wrote.
func ParseFault(s string) (Fault, error) {
	for _, k := range Kinds {
		f := Fault{Kind: k}
		if k.delayed() {
			if n, _ := fmt.Sscanf(s, string(k)+"@%d+%d", &f.At, &f.Delay); n == 2 && f.String() == s {
				return f, nil
			}
			continue
		}
		if n, _ := fmt.Sscanf(s, string(k)+"@%d", &f.At); n == 1 && f.String() == s {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("zimbratest: %q is no fault; want KIND@EFFECT, or KIND@EFFECT+DELAY", s)
}

var (
	errFault = errors.New("injected fault")
	errDead  = errors.New("the process is dead")
)

// A Process is one running mover. Effects of a process that died do nothing.
type Process struct {
	w        *World
	name     string
	fault    Fault
	takeover func() // what the other mover does while this one sleeps

	n       int // effects so far
	dead    bool
	expired bool   // its named locks were freed by the servers while it slept
	Hit     string // the effect that the fault met
}

// Effects returns how many effects the process has had.
func (p *Process) Effects() int { return p.n }

// effect passes one effect of the core to the world, or has it go wrong. It is where time goes by.
func (p *Process) effect(name string, do func() error) error {
	if p.dead {
		return errDead
	}
	p.n++
	w := p.w
	w.tick()
	w.Log = append(w.Log, fmt.Sprintf("%s %3d %s", p.name, p.n, name))
	if w.now.Before(w.down[server(name)]) {
		w.Log[len(w.Log)-1] += " <- down"
		return errFault
	}
	if p.fault.At != p.n || p.fault.Kind == "" {
		return do()
	}
	p.Hit = name
	w.Log[len(w.Log)-1] += " <- " + p.fault.String()
	switch p.fault.Kind {
	case Fail:
		return errFault
	case Lost:
		return errors.Join(errFault, do())
	case Late:
		w.late = append(w.late, &lateEffect{in: p.fault.Delay, name: name, do: do})
		return errFault
	case KillBefore:
		p.dead = true
		return errDead
	case KillAfter:
		_ = do()
		p.dead = true
		return errDead
	case Pause:
		p.expired = true // its sessions time out while it sleeps
		w.advance(2 * leaseTimeout)
		p.takeover()
		w.Log = append(w.Log, p.name+" wakes")
		return do()
	case Intervene:
		w.intervene()
		return do()
	case Restart:
		w.restart(Source)
		return do()
	case Down:
		w.down[server(name)] = p.fault.over(w.now)
		return errFault
	case LostDown:
		w.down[server(name)] = p.fault.over(w.now)
		return errors.Join(errFault, do())
	case Stall:
		w.stalled = p.fault.over(w.now)
		return do()
	}
	panic("unknown fault " + p.fault.Kind)
}

// server names what an effect speaks to.
func server(effect string) string {
	words := strings.Fields(effect)
	kind, _, _ := strings.Cut(words[0], ".")
	switch kind {
	case "fence", "rows", "files", "survey":
		return "stores"
	case "mailboxd", "caches":
		return kind + " " + words[len(words)-1]
	}
	return kind
}

// local is an effect on this machine's own disk: there is no answer that could come late.
func (p *Process) local(name string, do func() error) error {
	if p.fault.Kind == Late {
		f := p.fault
		p.fault.Kind = Lost
		defer func() { p.fault = f }()
	}
	return p.effect(name, do)
}

// A lateEffect is under way: its sender has given up on it.
type lateEffect struct {
	in   int
	name string
	do   func() error
}
