package filesync

import (
	"fmt"
	"strconv"
	"sync"
)

// A Priority says how willingly the commands on a remote host give way to what else runs there. Set may be called at any time by any
// goroutine; it holds for commands that begin afterwards. The zero Priority changes nothing.
type Priority struct {
	mu     sync.Mutex
	nice   int
	ionice string
}

// Set has commands started by nice and ionice. Nice is 0 to 19, and 0 means without; ionice is "idle", a best-effort priority from "0" to "7",
// or "" for without. Another value is an error and changes nothing. Whether a host has the two tools is seen when the next command
// starts: without one that is needed it fails, and the error names the tool.
func (p *Priority) Set(nice int, ionice string) error {
	if nice < 0 || nice > 19 {
		return fmt.Errorf("filesync: priority: nice %d is not from 0 to 19", nice)
	}
	if n, err := strconv.Atoi(ionice); ionice != "" && ionice != "idle" && (err != nil || n < 0 || n > 7 || len(ionice) > 1) {
		return fmt.Errorf("filesync: priority: ionice %q is neither idle nor from 0 to 7", ionice)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nice, p.ionice = nice, ionice
	return nil
}

// argv is what comes before a command.
func (p *Priority) argv() []string {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nice == 0 && p.ionice == "" {
		return nil
	}
	return []string{"sh", "-c", priorityScript, "filesync", strconv.Itoa(p.nice), p.ionice}
}

// priorityScript becomes the command behind its two arguments, with that priority.
const priorityScript = `
nice=$1 ionice=$2
shift 2
need() {
	command -v "$1" >/dev/null && return
	printf "%s is not installed there\n" "$1" >&2
	exit 127
}
case $ionice in
"") ;;
idle) need ionice; set -- ionice -c 3 "$@" ;;
*) need ionice; set -- ionice -c 2 -n "$ionice" "$@" ;;
esac
if [ "$nice" != 0 ]; then
	need nice
	set -- nice -n "$nice" "$@"
fi
exec "$@"
`
