package zimbratest

import (
	"errors"
	"fmt"
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
)

// Kinds are all of them.
var Kinds = []FaultKind{Fail, Lost, Late, KillBefore, KillAfter, Pause, Intervene, Restart}

// A Fault is one thing that goes wrong in a process. Its String is what a failing test prints, and ParseFault takes it back.
type Fault struct {
	Kind  FaultKind
	At    int // the process's effect, counted from 1
	Delay int // Late: how many effects later
}

func (f Fault) String() string {
	if f.Kind == Late {
		return fmt.Sprintf("%s@%d+%d", f.Kind, f.At, f.Delay)
	}
	return fmt.Sprintf("%s@%d", f.Kind, f.At)
}

// ParseFault reads what Fault.String wrote.
func ParseFault(s string) (Fault, error) {
	for _, k := range Kinds {
		f := Fault{Kind: k}
		if k == Late {
			if n, _ := fmt.Sscanf(s, string(k)+"@%d+%d", &f.At, &f.Delay); n == 2 && f.String() == s {
				return f, nil
			}
			continue
		}
		if n, _ := fmt.Sscanf(s, string(k)+"@%d", &f.At); n == 1 && f.String() == s {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("zimbratest: %q is no fault; want KIND@EFFECT, or late@EFFECT+DELAY", s)
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
	}
	panic("unknown fault " + p.fault.Kind)
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
