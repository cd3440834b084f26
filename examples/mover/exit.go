package main

// The exit codes. They are API: scripts branch on them.
const (
	exitDone       = 0 // also when there was nothing to do
	exitFailed     = 1 // nothing was changed, or everything was rolled back
	exitUsage      = 2 // of the program, or its configuration
	exitDecide     = 3 // a person must decide; the user may be locked out
	exitProblems   = 4 // of the plan; nothing was changed
	exitUnfinished = 5 // safe: the user works at the source, and the same command goes on
	exitPending    = 6 // moved and in service; somebody could not be told yet
)

// worse is the one of two exit codes that matters more, for a run over many moves.
func worse(a, b int) int {
	for _, code := range []int{exitDecide, exitUsage, exitProblems, exitFailed, exitUnfinished, exitPending} {
		if a == code || b == code {
			return code
		}
	}
	return exitDone
}
