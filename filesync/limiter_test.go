package filesync_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
)

// A fakeClock goes on only while somebody waits for it.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
	at func(time.Time) // called before each wait
}

func (c *fakeClock) limit() *filesync.Limit {
	l := &filesync.Limit{}
	l.SetClock(c.now, func(d time.Duration) <-chan time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.t = c.t.Add(d)
		if c.at != nil {
			go c.at(c.t)
		}
		over := make(chan time.Time)
		close(over)
		return over
	})
	return l
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func oneFile(t *testing.T, size int) (dst, src place) {
	here := side{"local", filesync.Local(), tempDir}
	dst, src = newPlace(t, here), newPlace(t, here)
	src.write(t, "a", strings.Repeat("x", size))
	return dst, src
}

func TestLimitFollowsTheTimeOfDay(t *testing.T) {
	for _, test := range []struct {
		schedule string
		from     string
		want     time.Duration // for 1,000,000 bytes
	}{
		{"100K", "12:00:00", 10 * time.Second},
		{"0", "12:00:00", 0},
		{"08:00-18:00 10K, 100K", "03:00:00", 10 * time.Second},
		{"08:00-18:00 10K, 100K", "08:00:00", 100 * time.Second},
		{"08:00-18:00 10K, 100K", "17:59:50", 10*time.Second + 9*time.Second},
		{"22:00-06:00 100K, 10K", "23:59:55", 10 * time.Second},
		{"22:00-06:00 100K, 10K", "21:59:50", 10*time.Second + 9*time.Second},
		{"22:00-06:00 0, 10K", "21:59:50", 10 * time.Second},
		{"00:00-24:00 100K, 1K", "23:59:55", 10 * time.Second},
	} {
		t.Run(test.schedule+" at "+test.from, func(t *testing.T) {
			zone := time.FixedZone("UTC+5", 5*60*60)
			start, err := time.ParseInLocation("2006-01-02 15:04:05", "2024-02-28 "+test.from, zone)
			require.NoError(t, err)
			c := &fakeClock{t: start.UTC()}
			l := c.limit()
			s, err := filesync.ParseSchedule(test.schedule, zone)
			require.NoError(t, err)
			require.NoError(t, l.SetSchedule(s))
			dst, src := oneFile(t, 1_000_000)
			_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Limits: []*filesync.Limit{l}})
			require.NoError(t, err)
			require.InDelta(t, test.want.Seconds(), c.now().Sub(start).Seconds(), 2.1, "by the limit's own clock")
		})
	}
}

// TestLimitIsChangedWhileRunning begins with a rate that would take a year.
func TestLimitIsChangedWhileRunning(t *testing.T) {
	start := time.Date(2024, 2, 28, 12, 0, 0, 0, time.UTC)
	c := &fakeClock{t: start}
	l := c.limit()
	l.SetRate(1)
	var once sync.Once
	c.at = func(now time.Time) {
		if now.Sub(start) > 10*time.Second {
			once.Do(func() { l.SetRate(0) })
		}
	}
	dst, src := oneFile(t, 32_000_000)
	_, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Limits: []*filesync.Limit{l}})
	require.NoError(t, err)
	require.Zero(t, l.Rate())
}

func TestLimitPauses(t *testing.T) {
	c := &fakeClock{t: time.Now()}
	l := c.limit()
	l.Pause()
	waits := make(chan struct{})
	var once sync.Once
	c.at = func(time.Time) { once.Do(func() { close(waits) }) }
	dst, src := oneFile(t, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-waits; cancel() }()
	_, err := filesync.Sync(ctx, dst.Tree, src.Tree, &filesync.Options{Limits: []*filesync.Limit{l}})
	require.ErrorIs(t, err, context.Canceled, "a pause ends with its context")

	c.at = func(time.Time) { l.Resume() }
	_, err = filesync.Sync(t.Context(), dst.Tree, src.Tree, &filesync.Options{Limits: []*filesync.Limit{l}})
	require.NoError(t, err)
}

func TestParseScheduleRefuses(t *testing.T) {
	for _, text := range []string{"", "fast", "10X", "-1", "8-18 10M", "08:00-18:00", "08:00-08:00 1M", "24:00-08:00 1M", "25:00-26:00 1M", "1M, 2M", "08:00-18:00 1M 2M", "1M,", "5000000000"} {
		_, err := filesync.ParseSchedule(text, nil)
		require.Error(t, err, "%q", text)
	}
	require.Error(t, (&filesync.Limit{}).SetSchedule(filesync.Schedule{Hours: []filesync.Hours{{From: time.Hour, To: 25 * time.Hour}}}))
	require.Error(t, (&filesync.Limit{}).SetSchedule(filesync.Schedule{Else: -1}))
}

// A countingRunner notes the commands of a check, and how many processes they may start.
type countingRunner struct {
	filesync.Runner
	mu      sync.Mutex
	workers []string
}

func (r *countingRunner) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	r.mu.Lock()
	for i, arg := range argv {
		if arg == "sha256sum" && i+1 < len(argv) {
			r.workers = append(r.workers, argv[i+1])
		}
	}
	r.mu.Unlock()
	return r.Runner.Run(ctx, argv, stdin, stdout, stderr)
}

func TestLimitOfFilesInFlight(t *testing.T) {
	remote := remoteSide(t, 0)
	run := &countingRunner{Runner: dial(t, lab.Shared(t).Stores[0])}
	remote.host = filesync.Remote(run, nil)
	for _, p := range []place{newPlace(t, remote), newPlace(t, side{"local", filesync.Local(), tempDir})} {
		p.write(t, "a", "x")
		l := &filesync.Limit{}
		l.SetFiles(1)
		for bad, err := range filesync.Check(t.Context(), p.Tree, wants(filesync.Want{Name: "a", SHA256: sum256("x")}), &filesync.Options{Limits: []*filesync.Limit{l}, Workers: 6}) {
			t.Fatal(bad, err)
		}
	}
	require.Equal(t, []string{"1"}, run.workers)
}

// TestLimitCountsFilesOfAll has two syncs and a check share one file in flight: none of them is forgotten in the end.
func TestLimitCountsFilesOfAll(t *testing.T) {
	l := &filesync.Limit{}
	l.SetFiles(1)
	opts := &filesync.Options{Limits: []*filesync.Limit{l}}
	var wg sync.WaitGroup
	for range 3 {
		dst, src := oneFile(t, 100_000)
		for i := range 50 {
			src.write(t, fmt.Sprint(i), "x")
		}
		wg.Go(func() {
			if _, err := filesync.Sync(t.Context(), dst.Tree, src.Tree, opts); err != nil {
				t.Error(err)
			}
			for bad, err := range filesync.Check(t.Context(), dst.Tree, wants(filesync.Want{Name: "1", SHA256: sum256("x")}), opts) {
				t.Error(bad, err)
			}
		})
	}
	wg.Wait()
	require.Zero(t, l.Open())
}

func TestPriority(t *testing.T) {
	p := &filesync.Priority{}
	remote := remoteSide(t, 0)
	run := dial(t, lab.Shared(t).Stores[0])
	place := newPlace(t, remote)
	place.write(t, "a", "x")
	host := func(prefix ...string) filesync.Tree {
		return filesync.Remote(run, &filesync.RemoteOptions{Priority: p, Prefix: prefix}).Tree(place.dir)
	}
	// A command of this name shows the priority that it has.
	dir := toolbox(t, "sha256sum")
	show := newPlace(t, side{"local", filesync.Local(), tempDir})
	show.write(t, "said", "")
	real, err := exec.LookPath("sha256sum")
	require.NoError(t, err)
	script := fmt.Sprintf("#!/bin/sh\n{ nice; ionice; } > %s/said\nexec %s \"$@\"\n", show.dir, real)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sha256sum"), []byte(script), 0o755))
	tree := host("env", "PATH="+dir)
	checked := func() string {
		t.Helper()
		for bad, err := range filesync.Check(t.Context(), tree, wants(filesync.Want{Name: "a", SHA256: sum256("x")}), nil) {
			require.NoError(t, err, "%v", bad)
		}
		return show.read(t, "said")
	}
	usual := checked()
	require.NoError(t, p.Set(11, "idle"))
	require.Equal(t, "11\nidle\n", checked())
	require.NoError(t, p.Set(0, "6"))
	require.Equal(t, "0\nbest-effort: prio 6\n", checked())
	require.NoError(t, p.Set(0, ""))
	require.Equal(t, usual, checked())
	require.Error(t, p.Set(20, ""))
	require.Error(t, p.Set(0, "8"))
	require.Error(t, p.Set(0, "first"))

	require.NoError(t, p.Set(1, "7"))
	_, err = filesync.Stat(t.Context(), host("env", "PATH="+toolbox(t, "ionice")), "a")
	require.ErrorContains(t, err, "ionice is not installed there")
	require.NoError(t, p.Set(1, ""))
	_, err = filesync.Stat(t.Context(), host("env", "PATH="+toolbox(t, "nice")), "a")
	require.ErrorContains(t, err, "nice is not installed there")
}

func ExampleLimit() {
	limit := &filesync.Limit{}
	schedule, err := filesync.ParseSchedule("07:00-19:00 10M, 22:00-02:00 0, 50M", time.UTC)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := limit.SetSchedule(schedule); err != nil {
		fmt.Println(err)
		return
	}
	for _, hour := range []int{1, 8, 20} {
		fmt.Println(hour, schedule.At(time.Date(2024, 2, 29, hour, 0, 0, 0, time.UTC)))
	}
	// Give it to as many syncs as you like, as &filesync.Options{Limits: []*filesync.Limit{limit}}; and to change your mind while they run:
	limit.SetRate(1_000_000)
	fmt.Println(limit.Rate())
	// Output:
	// 1 0
	// 8 10000000
	// 20 50000000
	// 1000000
}
