package files_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// processor is the processor time of this process and of all that it started, the lab's sshd and what runs below it included. Unlike time on a
// clock it says something on a machine that has other things to do.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		require.NoError(b, syscall.Getrusage(who, &r))
		sum += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return sum + descendants(os.Getpid())
}

// descendants is what the living processes below pid have used, and what their children had that are no more.
func descendants(pid int) time.Duration {
	const perTick = time.Second / 100 // what the kernel counts in, on every Linux of today
	var sum time.Duration
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, list := range lists {
		children, _ := os.ReadFile(list) // a thread may be gone
		for _, child := range strings.Fields(string(children)) {
			stat, err := os.ReadFile("/proc/" + child + "/stat")
			if err != nil {
				continue
			}
			fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
			for _, field := range fields[11:15] {
				ticks, _ := strconv.Atoi(field)
				sum += time.Duration(ticks) * perTick
			}
			n, _ := strconv.Atoi(child)
			sum += descendants(n)
		}
	}
	return sum
}
