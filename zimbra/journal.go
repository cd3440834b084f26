package zimbra

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// JournalVersion is the version of the journal's lines. A newer one is refused.
const JournalVersion = 1

// What an Entry says about its step.
const (
	Begun  = "begun"  // written before the step acts
	Done   = "done"   // written after it acted
	Failed = "failed" // it returned an error; what it did before is unknown
)

// An Entry is one line of a journal.
type Entry struct {
	V     int             `json:"v"`
	N     int             `json:"n"` // counts from 1 without a gap
	T     time.Time       `json:"t"`
	Move  string          `json:"move"`
	Phase Phase           `json:"phase"`
	Step  string          `json:"step"`
	Is    string          `json:"is"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// A Journal is one move's record. Replayed, it is the move's state; there is no second one.
type Journal interface {
	// Append writes the entry so that it survives a crash of the machine before it returns. An entry whose number does not follow the
	// last one on disk is ErrFenced: someone else wrote. After an error the journal takes no more entries until it is opened again.
	Append(ctx context.Context, e Entry) error
	// Load returns every entry, in order.
	Load(ctx context.Context) ([]Entry, error)
	// Close lets go of the journal's lock.
	Close() error
}

// Journals keeps the journals of all moves.
type Journals interface {
	// Create makes an empty journal and locks it. One that exists already is an error.
	Create(ctx context.Context, accountID, move string) (Journal, error)
	// Open locks a journal; ErrBusy when another process has it, ErrNoMove when there is none.
	Open(ctx context.Context, move string) (Journal, error)
	// Read returns a journal's entries without its lock; ErrNoMove when there is none.
	Read(ctx context.Context, move string) ([]Entry, error)
	// List returns the names of all moves, oldest first.
	List(ctx context.Context) ([]string, error)
}

// DirJournals keeps journals as files: DIR/<zimbraId>/<move>.jsonl, mode 0600, each locked with flock while a Move has it.
type DirJournals string

// Create implements Journals.
func (d DirJournals) Create(ctx context.Context, accountID, move string) (Journal, error) {
	if err := plainName(accountID); err != nil {
		return nil, err
	}
	dir := filepath.Join(string(d), accountID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, move+".jsonl")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	j, err := openJournal(f)
	if err != nil {
		return nil, err
	}
	// The file's name must survive a power cut as surely as its lines do.
	for _, name := range []string{dir, string(d)} {
		if err := syncDir(name); err != nil {
			j.Close()
			return nil, err
		}
	}
	return j, nil
}

// Open implements Journals.
func (d DirJournals) Open(ctx context.Context, move string) (Journal, error) {
	name, err := d.find(move)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return openJournal(f)
}

// Read implements Journals.
func (d DirJournals) Read(ctx context.Context, move string) ([]Entry, error) {
	name, err := d.find(move)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, _, err := readEntries(f, name)
	return entries, err
}

// List implements Journals.
func (d DirJournals) List(ctx context.Context) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(string(d), "*", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(filepath.Base(name), ".jsonl")
	}
	slices.Sort(names) // a move's name begins with its time
	return names, nil
}

func (d DirJournals) find(move string) (string, error) {
	if err := plainName(move); err != nil {
		return "", err
	}
	names, err := filepath.Glob(filepath.Join(string(d), "*", move+".jsonl"))
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", fmt.Errorf("%w: %s below %s", ErrNoMove, move, string(d))
	}
	return names[0], nil
}

// plainName refuses a name that would lead out of the directory or act as a pattern.
func plainName(s string) error {
	if s == "" || strings.ContainsAny(s, "/*?[\\") || strings.HasPrefix(s, ".") {
		return fmt.Errorf("%w: %q is no name of a move or account", ErrNoMove, s)
	}
	return nil
}

// A fileJournal is an open, locked journal file.
type fileJournal struct {
	f       *os.File
	size    int64 // what the file must be long: more means that someone else wrote
	n       int   // number of the last entry
	entries []Entry
	broken  error
}

func openJournal(f *os.File) (*fileJournal, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: journal %s is locked by another process", ErrBusy, f.Name())
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	entries, size, err := readEntries(f, f.Name())
	if err != nil {
		f.Close()
		return nil, err
	}
	// A line that a crash cut short was never acted on: an entry acts only after its line is on disk.
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	return &fileJournal{f: f, size: size, n: len(entries), entries: entries}, nil
}

// readEntries returns the whole entries of a journal and the length of the file that they fill.
func readEntries(r io.ReadSeeker, name string) ([]Entry, int64, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	var entries []Entry
	var size int64
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if err == io.EOF {
			return entries, size, nil // what is left in line has no end: cut short by a crash
		}
		if err != nil {
			return nil, 0, err
		}
		e, err := parseEntry(line)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %s, line %d: %w", ErrJournal, name, len(entries)+1, err)
		}
		if e.N != len(entries)+1 {
			return nil, 0, fmt.Errorf("%w: %s, line %d has number %d", ErrJournal, name, len(entries)+1, e.N)
		}
		size += int64(len(line))
		entries = append(entries, e)
	}
}

func parseEntry(line []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return e, err
	}
	if e.V != JournalVersion {
		return e, fmt.Errorf("written in version %d of the format, this zmlift reads %d", e.V, JournalVersion)
	}
	return e, nil
}

func (j *fileJournal) Load(ctx context.Context) ([]Entry, error) {
	return slices.Clone(j.entries), ctx.Err()
}

func (j *fileJournal) Append(ctx context.Context, e Entry) error {
	if j.broken != nil {
		return j.broken
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := j.append(append(line, '\n'), e); err != nil {
		j.broken = fmt.Errorf("journal %s: %w", j.f.Name(), err)
		return j.broken
	}
	return nil
}

func (j *fileJournal) append(line []byte, e Entry) error {
	fi, err := j.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != j.size || e.N != j.n+1 {
		return fmt.Errorf("%w: entry %d does not follow what is there", ErrFenced, e.N)
	}
	if bytes.IndexByte(line, '\n') != len(line)-1 {
		return errors.New("an entry of several lines")
	}
	if _, err := j.f.Write(line); err != nil {
		return err
	}
	if err := j.f.Sync(); err != nil {
		return err
	}
	j.size += int64(len(line))
	j.n++
	j.entries = append(j.entries, e)
	return nil
}

func (j *fileJournal) Close() error { return j.f.Close() } // closing lets go of the flock

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}
