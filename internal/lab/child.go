package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// A nursery starts server processes that cannot outlive this one: the kernel kills them when the thread that forked them
// ends (PR_SET_PDEATHSIG), so one goroutine locked to its thread does all the forking until close.
type nursery struct {
	forks chan func()
	ended chan struct{} // closed when the forking thread is about to end

	mu       sync.Mutex
	children []*child
	closed   bool
}

type child struct {
	name string
	cmd  *exec.Cmd
	dead chan struct{} // closed once the process was waited for
}

var errNurseryClosed = errors.New("lab is closed")

func newNursery() *nursery {
	n := &nursery{forks: make(chan func()), ended: make(chan struct{})}
	go func() {
		defer close(n.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for fork := range n.forks {
			fork()
		}
	}()
	return n
}

// start runs argv in the background, its output appended to logFile.
func (n *nursery) start(name, logFile string, argv ...string) (*child, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	// A process group of its own: Ctrl-C goes to the program, which then stops its servers in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	c := &child{name: name, cmd: cmd, dead: make(chan struct{})}

	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errNurseryClosed
	}
	forked := make(chan error)
	n.forks <- func() { forked <- cmd.Start() }
	if err := <-forked; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	n.children = append(n.children, c)
	go func() { // ends with the process; close waits for it
		cmd.Wait()
		close(c.dead)
	}()
	return c, nil
}

// close kills every child, waits until all are gone and ends the thread. It may be repeated.
func (n *nursery) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.closed = true
	for _, c := range n.children {
		c.cmd.Process.Kill()
	}
	for _, c := range n.children {
		<-c.dead
	}
	close(n.forks)
	<-n.ended
}
