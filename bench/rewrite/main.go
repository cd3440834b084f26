// Rewrite (bench/rewrite) runs examples/rewrite beside sed, Python and cat on generated dumps, several rounds in turn, and prints what each of
// them made of it. The dumps lie in memory, where there is /dev/shm; all output goes to /dev/null. Then it passes a dump with very long rows
// through examples/rewrite and prints how much memory that took. Nothing stays behind.
//
//	go run ./bench/rewrite              # two dumps of 512 MB, five rounds, and 1 GB of long rows
//	go run ./bench/rewrite -mb 64 -rounds 2
//
// Lines that begin with RATIO are for other programs: how many times as much examples/rewrite did, the median of the rounds; a second, and with
// -cpu a second of CPU, which says more where others work on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench/rewrite:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("bench/rewrite", flag.ContinueOnError)
	mb := flags.Int("mb", 512, "MB of each dump")
	rounds := flags.Int("rounds", 5, "how often each program runs on each dump")
	long := flags.Int("long", 1024, "MB of long rows")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "rewrite")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/zmlift/zmlift/examples/rewrite").CombinedOutput(); err != nil {
		return fmt.Errorf("build examples/rewrite: %w: %s", err, out)
	}
	rules := filepath.Join(dir, "rules.json")
	if err := os.WriteFile(rules, []byte(rulesJSON), 0o600); err != nil {
		return err
	}
	programs := []program{
		{"rewrite", []string{bin, "-rules", rules, "-complete"}},
		{"sed", []string{"sed", "s/(1234,/(91234,/g"}},
		{"python", []string{"python3", "-c", python}},
		{"cat", []string{"cat"}},
	}
	for _, f := range []form{{"multirow", 1 << 20}, {"onerow", 0}} {
		if err := compare(ctx, stdout, dir, f, *mb<<20, *rounds, programs); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	peak, size, err := longRows(ctx, bin, rules, *long<<20)
	if err != nil {
		return fmt.Errorf("long rows: %w", err)
	}
	fmt.Fprintf(stdout, "memory: %.1f MiB at most for a dump of %d MB with rows of up to 16 MB\n", peak, size>>20)
	return nil
}

// scratch makes a directory, in memory if it can.
func scratch() (string, error) {
	name := fmt.Sprintf("bench-rewrite-%d-", os.Getpid())
	if dir, err := os.MkdirTemp("/dev/shm", name); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", name)
}

// python is what a short script does.
const python = `
import sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line.replace(b"(1234,", b"(91234,"))
`

type program struct {
	name string
	argv []string
}

// A form says how many bytes of rows a statement has, 0 for one row.
type form struct {
	name      string
	statement int
}

// A took is what a run took.
type took struct{ wall, cpu time.Duration }

// compare runs the programs on one dump and prints a table and the ratios.
func compare(ctx context.Context, stdout io.Writer, dir string, f form, size, rounds int, programs []program) error {
	dump := filepath.Join(dir, f.name+".sql")
	defer os.Remove(dump)
	length, rows, err := generate(dump, f.statement, size)
	if err != nil {
		return err
	}
	all := make([][]took, len(programs))
	for range rounds {
		for i, p := range programs {
			t, err := p.run(ctx, dump)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			all[i] = append(all[i], t)
		}
	}
	fmt.Fprintf(stdout, "%s: %d MB, %d rows, %d rounds\n", f.name, length>>20, rows, rounds)
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "program\tMB/s, median\tbest\tworst\tMB per second of CPU\t")
	mbs := func(d time.Duration) float64 { return float64(length) / (1 << 20) / d.Seconds() }
	for i, p := range programs {
		var walls, cpus []float64
		for _, t := range all[i] {
			walls, cpus = append(walls, mbs(t.wall)), append(cpus, mbs(t.cpu))
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t\n", p.name, median(walls), slices.Max(walls), slices.Min(walls), median(cpus))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i, p := range programs[1:] {
		var walls, cpus []float64
		for n, t := range all[i+1] {
			walls = append(walls, t.wall.Seconds()/all[0][n].wall.Seconds())
			cpus = append(cpus, t.cpu.Seconds()/all[0][n].cpu.Seconds())
		}
		fmt.Fprintf(stdout, "RATIO rewrite-%s-%s %.2f\nRATIO rewrite-%s-%s-cpu %.2f\n", p.name, f.name, median(walls), p.name, f.name, median(cpus))
	}
	return nil
}

func (p program) run(ctx context.Context, dump string) (took, error) {
	in, err := os.Open(dump)
	if err != nil {
		return took{}, err
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C") // sed is slower in others
	cmd.Stdin, cmd.Stderr = in, os.Stderr      // and no output, which is /dev/null
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return took{}, err
	}
	return took{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// longRows passes about size bytes of long rows through the program at bin and returns the most memory that it had, in MiB, and the size.
func longRows(ctx context.Context, bin, rules string, size int) (peak float64, length int64, err error) {
	cmd := exec.CommandContext(ctx, bin, "-rules", rules, "-complete")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	length, err = writeLongRows(in, size)
	if err == nil {
		// It waits for the end of its input and has seen the rest. What the kernel tells of a process that has ended may be its parent's.
		peak, err = highWater(cmd.Process.Pid)
	}
	return peak, length, errors.Join(err, in.Close(), cmd.Wait())
}

var vmHWM = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

func highWater(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := vmHWM.FindSubmatch(status)
	if m == nil {
		return 0, errors.New("no VmHWM in /proc: the memory cannot be measured here")
	}
	kb, err := strconv.Atoi(string(m[1]))
	return float64(kb) / 1024, err
}
