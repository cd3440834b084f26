package filesync

import (
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
	// Rate limits the content read from the source, in bytes a second; 0 is no limit.
	Rate int64
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
	return false
}

// holdsExcluded says whether dir has something below it that is left out.
func (o *Options) holdsExcluded(dir string) bool {
	if o.Guard != nil && within(o.Guard.Name, dir) {
		return true
	}
	for _, x := range o.Exclude {
		if within(x, dir) {
			return true
		}
	}
	return false
}

// within says whether name is dir or below it.
func within(name, dir string) bool {
	return strings.HasPrefix(name, dir) && (len(name) == len(dir) || name[len(dir)] == '/')
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
	last  time.Time
}

const progressEvery = 200 * time.Millisecond

func (m *meter) add(change func(*Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.stats)
	if m.f == nil {
		return
	}
	if now := time.Now(); now.Sub(m.last) >= progressEvery {
		m.last = now
		m.f(m.stats)
	}
}

func (m *meter) done() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.f != nil {
		m.f(m.stats)
	}
	return m.stats
}

func (m *meter) now() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}
