package files_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/tunnel"
)

func TestMain(m *testing.M) { lab.Main(m) }

// What is measured comes from the environment; make bench-files sets the first two.
const (
	copyEnv   = "ZMLIFT_BENCH_FILES"  // numbers of files of a first copy, with spaces between them
	secondEnv = "ZMLIFT_BENCH_SECOND" // of a second pass
	runsEnv   = "ZMLIFT_BENCH_RUNS"   // how often everything is measured, 5 without it; the median counts
	diskEnv   = "ZMLIFT_BENCH_DISK"   // the directory on a disk that holds the image of the fresh file systems; else that of temporary files
)

func sizes(b *testing.B, env string) []int {
	b.Helper()
	var ns []int
	for _, field := range strings.Fields(os.Getenv(env)) {
		n, err := strconv.Atoi(field)
		require.NoError(b, err, env)
		ns = append(ns, n)
	}
	if ns == nil {
		b.Skip("set " + env + ", or run make bench-files")
	}
	return ns
}

func runs(b *testing.B) int {
	b.Helper()
	env := os.Getenv(runsEnv)
	if env == "" {
		return 5
	}
	n, err := strconv.Atoi(env)
	require.NoError(b, err, runsEnv)
	return n
}

// A stand is where everything is measured: two stores of the lab, reached through their sshd.
type stand struct {
	src, dst *lab.Store
	dir      string // in memory, for trees
}

func newStand(b *testing.B) *stand {
	b.Helper()
	l := lab.Shared(b)
	if l.Backend != lab.Processes {
		b.Skip("trees are looked at from outside: set ZMLIFT_LAB=processes")
	}
	dir, err := os.MkdirTemp("/dev/shm", "zmlift-bench-files-")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return &stand{l.Stores[0], l.Stores[1], dir}
}

// open makes a new connection.
func open(b *testing.B, s *lab.Store) *tunnel.Tunnel {
	b.Helper()
	t, err := tunnel.Open(b.Context(), tunnel.Host{Addr: s.SSHAddr, User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile})
	require.NoError(b, err)
	return t
}

// ssh is the command that takes rsync and tar to a store, cipher and all as they come.
func ssh(s *lab.Store, args ...string) []string {
	port := s.SSHAddr[strings.LastIndexByte(s.SSHAddr, ':')+1:]
	argv := []string{"ssh", "-F", "none", "-o", "BatchMode=yes", "-i", s.KeyFile, "-p", port, "-o", "UserKnownHostsFile=" + s.KnownHostsFile}
	return append(argv, args...)
}

func target(s *lab.Store) string { return s.SSHUser + "@127.0.0.1" }

func command(b *testing.B, argv ...string) {
	b.Helper()
	out, err := exec.CommandContext(b.Context(), argv[0], argv[1:]...).CombinedOutput()
	require.NoError(b, err, "%q: %s", argv, out)
}

func rsync(b *testing.B, s *lab.Store, dst, src string, args ...string) {
	argv := append([]string{"rsync", "-a", "-e", strings.Join(ssh(s), " ")}, args...)
	command(b, append(argv, src+"/", target(s)+":"+dst+"/")...)
}

// ours copies over a new connection, so that the others, who have to connect, are not alone in that.
func ours(b *testing.B, s *stand, dst, src string, files int) {
	t := open(b, s.dst)
	defer t.Close()
	stats, err := filesync.Sync(b.Context(), filesync.Remote(t, nil).Tree(dst), filesync.Local().Tree(src), nil)
	require.NoError(b, err)
	require.EqualValues(b, files, stats.Files)
}

// A contender copies src to dst, all of it.
type contender struct {
	name string
	copy func(b *testing.B, dst, src string)
}

func (s *stand) contenders(files int) []contender {
	return []contender{
		{"filesync", func(b *testing.B, dst, src string) { ours(b, s, dst, src, files) }},
		{"rsync -a", func(b *testing.B, dst, src string) { rsync(b, s.dst, dst, src) }},
		{"tar | ssh tar", func(b *testing.B, dst, src string) {
			far := strings.Join(ssh(s.dst, target(s.dst), "tar -C "+dst+" -xpf -"), " ")
			command(b, "sh", "-c", "tar -C "+src+" -cf - . | "+strings.Replace(far, "tar -C", "'tar -C", 1)+"'")
		}},
		{"cp -a", func(b *testing.B, dst, src string) { command(b, "cp", "-a", src+"/.", dst+"/") }},
		{"rsync -a, sync -f", func(b *testing.B, dst, src string) { rsync(b, s.dst, dst, src); command(b, "sync", "-f", dst) }},
		{"cp -a, sync -f", func(b *testing.B, dst, src string) {
			command(b, "cp", "-a", src+"/.", dst+"/")
			command(b, "sync", "-f", dst)
		}},
		{"filesync, far to far", func(b *testing.B, dst, src string) {
			from, to := open(b, s.src), open(b, s.dst)
			defer from.Close()
			defer to.Close()
			_, err := filesync.Sync(b.Context(), filesync.Remote(to, nil).Tree(dst), filesync.Remote(from, nil).Tree(src), nil)
			require.NoError(b, err)
		}},
	}
}

// BenchmarkFirstCopy copies so many blobs into an empty tree over sshd on this machine, in memory and to a file system made for each copy
// (ext4 avoids inodes that were freed a moment ago). It prints
//
//	RATIO first-copy-memory N   how many times longer rsync -a takes than filesync.Sync, the same connection, both connecting anew
//	RATIO first-copy-disk N     the same on a disk
//
// for the first number, and -N after the name for others; and lines with -tar (tar | ssh tar), -cp (cp -a, which crosses no connection) and -rsync-synced (rsync -a, then sync -f) in the name. Only
// filesync has forced all content to disk when it is done, and those with sync -f; what the others wrote may still be in memory.
func BenchmarkFirstCopy(b *testing.B) {
	ns := sizes(b, copyEnv)
	for i, n := range ns {
		suffix := ""
		if i > 0 {
			suffix = "-" + strconv.Itoa(n)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for range b.N {
				firstCopy(b, n, suffix)
			}
		})
	}
}

func firstCopy(b *testing.B, files int, suffix string) {
	s := newStand(b)
	src := filepath.Join(s.dir, "src")
	total := grow(b, src, 0, files, medianSize)
	fmt.Printf("\nfirst copy of %d files, %d MB\n", files, total/1e6)
	disk := newDisk(b, s, 2*total+int64(files)*4096+(256<<20))
	for _, place := range []struct {
		name  string
		fresh func() (dir string, done func())
	}{
		{"memory", func() (string, func()) {
			dir := filepath.Join(s.dir, "dst")
			require.NoError(b, os.Mkdir(dir, 0o755))
			return dir, func() { require.NoError(b, os.RemoveAll(dir)) }
		}},
		{"disk", disk.fresh},
	} {
		all := s.contenders(files)
		if place.name == "memory" {
			all = slices.DeleteFunc(all, func(c contender) bool { return strings.Contains(c.name, "sync -f") })
		}
		took := rounds(b, runs(b), len(all), func(i int) cost {
			dir, done := place.fresh()
			defer done()
			syscall.Sync()
			d := measure(b, func() { all[i].copy(b, dir, src) })
			require.Equal(b, files, count(b, dir), all[i].name)
			return d
		})
		by := map[string][]cost{}
		for i, c := range all {
			by[c.name] = took[i]
			report(place.name+": "+c.name, took[i], files)
		}
		us := by["filesync"]
		name := "first-copy-" + place.name + suffix
		printRatio(name, by["rsync -a"], us)
		printRatio("first-copy-"+place.name+"-tar"+suffix, by["tar | ssh tar"], us)
		printRatio("first-copy-"+place.name+"-cp"+suffix, by["cp -a"], us)
		if place.name == "disk" {
			printRatio("first-copy-disk-rsync-synced"+suffix, by["rsync -a, sync -f"], us)
			printRatio("first-copy-disk-cp-synced"+suffix, by["cp -a, sync -f"], us)
		}
	}
}

// A cost is what something took.
type cost struct{ clock, cpu time.Duration }

func measure(b *testing.B, f func()) cost {
	b.Helper()
	before, begun := processor(b), time.Now()
	f()
	clock := time.Since(begun)
	time.Sleep(50 * time.Millisecond) // sshd counts a child when it is gone
	return cost{clock, processor(b) - before}
}

func median(costs []cost) cost {
	var clocks, cpus []time.Duration
	for _, c := range costs {
		clocks, cpus = append(clocks, c.clock), append(cpus, c.cpu)
	}
	slices.Sort(clocks)
	slices.Sort(cpus)
	return cost{clocks[len(clocks)/2], cpus[len(cpus)/2]}
}

// rounds measures n things in turn, each time beginning with another one. A first round is not counted.
func rounds(b *testing.B, runs, n int, measure func(i int) cost) [][]cost {
	b.Helper()
	took := make([][]cost, n)
	for r := range runs + 1 {
		for k := range n {
			i := (r + k) % n
			require.NoError(b, b.Context().Err())
			if c := measure(i); r > 0 {
				took[i] = append(took[i], c)
			}
		}
	}
	return took
}

func report(name string, took []cost, files int) {
	m := median(took)
	quickest, slowest := m.clock, m.clock
	for _, c := range took {
		quickest, slowest = min(quickest, c.clock), max(slowest, c.clock)
	}
	fmt.Printf("%-32s %7.3f s  (%.3f to %.3f)  %8.0f files/s  CPU %.2f s\n", name, m.clock.Seconds(), quickest.Seconds(), slowest.Seconds(),
		float64(files)/m.clock.Seconds(), m.cpu.Seconds())
}

// printRatio says how many times longer theirs took, and in -cpu how many times more processor time.
func printRatio(name string, theirs, us []cost) {
	t, u := median(theirs), median(us)
	fmt.Printf("RATIO %s %.2f\n", name, float64(t.clock)/float64(u.clock))
	fmt.Printf("RATIO %s-cpu %.2f\n", name, float64(t.cpu)/float64(u.cpu))
}

// A disk is an image on a disk, and the file systems that are made in it, one after the other.
type disk struct {
	b            *testing.B
	image, mount string
}

func newDisk(b *testing.B, s *stand, size int64) *disk {
	b.Helper()
	if os.Getuid() != 0 {
		b.Fatal("file systems are made and mounted here: run this as root")
	}
	dir, err := os.MkdirTemp(os.Getenv(diskEnv), "zmlift-bench-files-")
	require.NoError(b, err)
	d := &disk{b, filepath.Join(dir, "image"), filepath.Join(dir, "mount")}
	b.Cleanup(func() {
		syscall.Unmount(d.mount, syscall.MNT_DETACH)
		os.RemoveAll(dir)
	})
	require.NoError(b, os.Mkdir(d.mount, 0o755))
	f, err := os.Create(d.image)
	require.NoError(b, err)
	defer f.Close()
	require.NoError(b, syscall.Fallocate(int(f.Fd()), 0, 0, size))
	return d
}

func (d *disk) fresh() (string, func()) {
	command(d.b, "mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", d.image)
	command(d.b, "mount", "-o", "loop", d.image, d.mount)
	dir := filepath.Join(d.mount, "dst")
	require.NoError(d.b, os.Mkdir(dir, 0o755))
	return dir, func() { require.NoError(d.b, syscall.Unmount(d.mount, 0)) }
}

// count is how many files a tree has.
func count(b *testing.B, dir string) int {
	b.Helper()
	n := 0
	require.NoError(b, filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	}))
	return n
}
