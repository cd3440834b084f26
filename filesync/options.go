package filesync

import (
	"path"
	"strings"
	"sync"
	"time"
)

// Options are the knobs of a sync; nil and the zero value are sensible. [Check], [List] and [Remove] look at the fields they name.
type Options struct {
	// Delete removes what the destination has and the list does not name. For SyncList; Sync always deletes.
	Delete bool
	// Immutable takes an existing file of the same name and size as equal, whatever its time. SyncList always does. Hazard: right only
	// for trees whose files never change once written.
	Immutable bool
	// Mutable makes SyncList compare times too, as Sync does.
	Mutable bool
	// Owner is who owns what is written; nil is the owner and group of the destination tree's root directory, as numbers.
	Owner *Owner
	// Guard is a mark in the destination tree that must be there, unaltered, whenever something is written; nil is no guard.
	Guard *Guard
	// Exclude names files and directories that are left out on both sides, with everything below them: neither copied nor deleted.
	Exclude []string
	// Missing decides about a file that the source does not have: true goes on without it, false ends the sync with *MissingError, as
	// nil does. It is called by one goroutine at a time. What the destination already has under that name stays.
	Missing func(Item) bool
	// Stale is how long nobody must have touched another writer's unfinished work before it is removed; 0 is an hour, less than 0
	// removes it at once. Hazard: with less than 0 there must be no other writer.
	Stale time.Duration
	// Progress is called with the state so far, at most five times a second, and once at the end of a successful sync. It is called by
	// one goroutine at a time and holds the work up.
	Progress func(Stats)
	// Workers is how many files Check digests at a time; 0 is the number of processors where they are, eight at most.
	Workers int
	// Rate limits the content read from the source, in bytes a second; 0 is no limit.
	Rate int64
	// Limits do that too, and more, change while the sync runs, and may be shared with others; each of them holds. Digests that a remote
	// host computes are bounded by their files in flight, not by their rates.
	Limits []*Limit

	// ExcludeBase leaves out as Exclude does whatever has a name whose last element matches one of these patterns, which are those of
	// path.Match: "*.bak", "incoming".
	ExcludeBase []string
	// Engine is how content travels; the zero value is Automatic. With Rsync a change of Limits holds from the next batch on.
	Engine Engine
	// Direct has rsync run on the source's host and send content from there to the destination's, past this process. It is how to get from
	// the one to the other, with files that are on the source's host. Nil: no key between the two is needed.
	Direct *SSH

	batch int // files, where a test wants small batches
}

// An Owner is a user and a group, as numbers.
type Owner struct{ UID, GID int }

// A Guard is a mark file in the destination tree that says whose it is. Its content is compared before every batch is written and again
// right before renames and deletes, by the same command that does them: a writer that was paused while the tree was taken over gets
// [ErrGuard]. The mark itself is left out of listings and deletes.
type Guard struct{ Name, Content string }

// Stats count what a sync did.
type Stats struct {
	Files   int64 // files copied
	Bytes   int64 // their content
	Links   int64 // hard links made
	Dirs    int64 // directories made
	Deleted int64 // files and directories removed
	Missing int64 // files that the source did not have, accepted by Options.Missing

	TotalFiles int64 // files of the source, or of the list, seen so far
	TotalBytes int64 // their content
	SameFiles  int64 // those of them that the destination had already
	SameBytes  int64 // their content

	LinkedBytes int64         // the content behind Links
	Elapsed     time.Duration // since the sync began
}

// Rate is how many bytes of content were copied in a second, on average; 0 when no time has passed.
func (s Stats) Rate() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Bytes) / s.Elapsed.Seconds()
}

// Left is how many of the files seen so far are not at the destination yet, and their content, in which that of a file with several names
// counts for each of them. While a listing goes on there may be more to come; at the end of a successful sync nothing is left.
func (s Stats) Left() (files, bytes int64) {
	files = s.TotalFiles - s.SameFiles - s.Files - s.Links
	bytes = s.TotalBytes - s.SameBytes - s.Bytes - s.LinkedBytes
	return max(files, 0), max(bytes, 0)
}

// Remaining is how long what is left will take at the rate so far; 0 when nothing is known about that.
func (s Stats) Remaining() time.Duration {
	_, left := s.Left()
	if s.Bytes <= 0 {
		return 0
	}
	return time.Duration(float64(s.Elapsed) * float64(left) / float64(s.Bytes))
}

func (o *Options) or() *Options {
	if o == nil {
		return &Options{}
	}
	return o
}

func (o *Options) check() error {
	for _, name := range o.Exclude {
		if err := checkName(name); err != nil {
			return err
		}
	}
	for _, pattern := range o.ExcludeBase {
		if _, err := path.Match(pattern, ""); err != nil || strings.Contains(pattern, "/") {
			return &NameError{pattern, "not a pattern for the last element of a name"}
		}
	}
	return o.Guard.check()
}

// maxMark is what fits on a command line.
const maxMark = 64 << 10

func (g *Guard) check() error {
	switch {
	case g == nil:
		return nil
	case strings.ContainsRune(g.Content, 0):
		return &NameError{g.Name, "a guard's content must not have a NUL"}
	case len(g.Content) > maxMark:
		return &NameError{g.Name, "a guard's content must not be larger than 64 KiB"}
	}
	return checkName(g.Name)
}

// excluded says whether name is left out.
func (o *Options) excluded(name string) bool {
	if o.Guard != nil && within(name, o.Guard.Name) {
		return true
	}
	for _, x := range o.Exclude {
		if within(name, x) {
			return true
		}
	}
	if len(o.ExcludeBase) > 0 {
		for elem := range strings.SplitSeq(name, "/") {
			for _, pattern := range o.ExcludeBase {
				if ok, _ := path.Match(pattern, elem); ok { // check has looked at the pattern
					return true
				}
			}
		}
	}
	return false
}

// within says whether name is dir or below it.
func within(name, dir string) bool {
	return strings.HasPrefix(name, dir) && (len(name) == len(dir) || name[len(dir)] == '/')
}

func (o *Options) workers(processors int) int {
	if o.Workers > 0 {
		return o.Workers
	}
	return min(processors, maxWorkers)
}

func (o *Options) stale() time.Duration {
	if o.Stale == 0 {
		return time.Hour
	}
	return max(o.Stale, 0)
}

// A meter holds the stats of a running sync.
type meter struct {
	mu    sync.Mutex
	stats Stats
	f     func(Stats)
	begun time.Time
	last  time.Time
}

const progressEvery = 200 * time.Millisecond

func (m *meter) start(f func(Stats)) { m.f, m.begun = f, time.Now() }

func (m *meter) add(change func(*Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.stats)
	m.report()
}

// seen counts a file of the source.
func (m *meter) seen(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.TotalFiles++
	m.stats.TotalBytes += size
	m.report()
}

// same counts a file that the destination has already.
func (m *meter) same(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.SameFiles++
	m.stats.SameBytes += size
}

func (m *meter) report() {
	if m.f == nil {
		return
	}
	if now := time.Now(); now.Sub(m.last) >= progressEvery {
		m.last = now
		m.stats.Elapsed = now.Sub(m.begun)
		m.f(m.stats)
	}
}

func (m *meter) done() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Elapsed = time.Since(m.begun)
	if m.f != nil {
		m.f(m.stats)
	}
	return m.stats
}

func (m *meter) now() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Elapsed = time.Since(m.begun)
	return m.stats
}
