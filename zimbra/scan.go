package zimbra

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// ScanVersion is the version of a Scan's form as a file. Another one is refused.
const ScanVersion = 1

// ScanLimit is how many bad blobs a scan looks for when nobody says otherwise.
const ScanLimit = 1000

// A ScanRequest says which account's blobs are to be looked at.
type ScanRequest struct {
	Account  string         // an address, an alias or a zimbraId
	Limit    int            // the scan stops after so many bad blobs; 0 is ScanLimit
	Progress func(Progress) // may be nil; called by one goroutine at a time
}

// A Scan is the list of an account's bad blobs where it lives. Given to a [Request] as it is, or with some of its items left out, it says
// which of them a move may carry as they are: see [Request].Bad.
type Scan struct {
	Account Account
	Host    string           // where it lives
	Mailbox mboxdb.MailboxID // there
	Made    time.Time
	Blobs   int64 // that were looked at
	Stopped bool  // at the limit: there may be more bad ones
	Bad     []BadItem
}

// What is wrong with a blob.
const (
	BadMissing = "missing" // there is no file
	BadEmpty   = "empty"   // the file is empty
	BadShort   = "short"   // it has less than the row says
	BadSize    = "size"    // it has more than the row says, or other content of another size, compressed
	BadDigest  = "digest"  // it has as much as the row says, and something else
	// BadUnreadable is a file that the disk does not give any more. Nothing can carry it, so it cannot be accepted.
	BadUnreadable = "unreadable"
)

// A BadItem is a blob that is not as its row says. It may be accepted for what it is: the same item's blob, on the same volume, that is
// wrong in the same way and has the same content. When it has become worse since, or different, the acceptance does not count.
type BadItem struct {
	Item       uint32          `json:"item"`
	ModContent uint32          `json:"mod_content"`
	Volume     mboxdb.VolumeID `json:"volume"`
	Path       string          `json:"path"` // on the store
	Why        string          `json:"why"`
	Table      string          `json:"table"`                  // whose row names it
	Size       int64           `json:"size"`                   // as the row says, uncompressed
	Digest     string          `json:"digest,omitempty"`       // as the row says: blob_digest
	Found      int64           `json:"found"`                  // bytes that the file has
	FoundSHA   string          `json:"found_sha256,omitempty"` // SHA-256 of the file as it lies there, in hexadecimal; absent when it is missing
}

func sortBad(bad []BadItem) {
	slices.SortFunc(bad, func(a, b BadItem) int {
		return cmp.Or(cmp.Compare(a.Volume, b.Volume), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Digest, b.Digest))
	})
}

// A Scanner looks at the blobs of a mailstore, and changes nothing.
type Scanner interface {
	// Scan compares every blob that the account's rows name with its row, and returns the mailbox, how many it looked at, whether it
	// stopped at the limit, and the bad ones by volume and path. What the user deletes meanwhile is not bad. No mailbox is
	// mboxdb.ErrNotFound. BlobDir is that of a SurveyRequest.
	Scan(ctx context.Context, a Account, blobDir string, limit int, progress func(Progress)) (*Scan, error)
}

// Scan compares every blob of an account with its row, where it lives, while its user works: one that is missing, empty, short or has another
// content is in the answer. That they are is no error. It changes nothing. A *PreflightError says that the account or its home cannot be
// found.
func (m *Mover) Scan(ctx context.Context, r ScanRequest) (*Scan, error) {
	pf := &preflight{m: m, dir: m.cfg.Directory, req: Request{Account: r.Account}, plan: &Plan{}}
	e, ok := pf.account(ctx)
	if ok {
		pf.home(e)
	}
	if len(pf.all) > 0 {
		return nil, &PreflightError{Account: r.Account, Problems: pf.all}
	}
	end := &pf.plan.Source
	s, err := findServer(ctx, pf.dir, end.Host)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", r.Account, err)
	}
	if pf.blobDirs(end, s); len(pf.all) > 0 {
		return nil, &PreflightError{Account: r.Account, Problems: pf.all}
	}
	store := m.cfg.Stores[end.Host]
	if store.Scan == nil {
		return nil, &ConfigError{Mistakes: []string{fmt.Sprintf("Stores[%q] cannot be scanned", end.Host)}}
	}
	if r.Limit <= 0 {
		r.Limit = ScanLimit
	}
	if r.Progress == nil {
		r.Progress = func(Progress) {}
	}
	scan, err := store.Scan.Scan(ctx, pf.plan.Account, end.BlobDir, r.Limit, r.Progress)
	if err != nil {
		return nil, fmt.Errorf("scan %s on %s: %w", pf.plan.Account.Name, end.Host, err)
	}
	scan.Account, scan.Host, scan.Made = pf.plan.Account, end.Host, m.clock.Now().UTC()
	return scan, nil
}

// A scanHead is the first line of a scan in a file, and a scanTail the last.
type scanHead struct {
	V         int              `json:"v"`
	Account   string           `json:"account"`
	AccountID string           `json:"account_id"`
	Host      string           `json:"host"`
	Mailbox   mboxdb.MailboxID `json:"mailbox"`
	Made      time.Time        `json:"made"`
}

type scanTail struct {
	End     bool  `json:"end"`
	Blobs   int64 `json:"blobs"`
	Bad     int   `json:"bad"`
	Stopped bool  `json:"stopped"`
}

// Write writes the scan as a file that ReadScan reads: one line about the mailbox, one for each bad blob, and a last one.
func (s *Scan) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(scanHead{ScanVersion, s.Account.Name, s.Account.ID, s.Host, s.Mailbox, s.Made}); err != nil {
		return err
	}
	for _, b := range s.Bad {
		if err := e.Encode(b); err != nil {
			return err
		}
	}
	return e.Encode(scanTail{true, s.Blobs, len(s.Bad), s.Stopped})
}

// ReadScan reads what Write wrote. Lines of bad blobs may have been taken out; that is how a person approves of the others. Without the last
// line the file was cut short, which is an error.
func ReadScan(r io.Reader) (*Scan, error) {
	s, err := readScan(r)
	if err != nil {
		return nil, fmt.Errorf("list of bad blobs: %w", err)
	}
	return s, nil
}

func readScan(r io.Reader) (*Scan, error) {
	const longest = 1 << 20
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longest)
	var head scanHead
	if !lines.Scan() {
		return nil, cmp.Or(lines.Err(), io.ErrUnexpectedEOF)
	}
	if err := json.Unmarshal(lines.Bytes(), &head); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	if head.V != ScanVersion {
		return nil, fmt.Errorf("version %d; this zmlift reads %d", head.V, ScanVersion)
	}
	s := &Scan{Account: Account{ID: head.AccountID, Name: head.Account}, Host: head.Host, Mailbox: head.Mailbox, Made: head.Made}
	for n := 2; lines.Scan(); n++ {
		var line struct {
			BadItem
			scanTail
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if line.End {
			if lines.Scan() {
				return nil, fmt.Errorf("line %d comes after the last one", n+1)
			}
			s.Blobs, s.Stopped = line.Blobs, line.Stopped
			return s, lines.Err()
		}
		if line.Item == 0 || line.Volume == 0 || line.Why == "" || line.Path == "" || (line.Why == BadMissing || line.Why == BadUnreadable) != (line.FoundSHA == "") {
			return nil, fmt.Errorf("line %d is no bad blob", n)
		}
		s.Bad = append(s.Bad, line.BadItem)
	}
	return nil, cmp.Or(lines.Err(), io.ErrUnexpectedEOF)
}

// Scan implements Scanner.
func (m *mailstore) Scan(ctx context.Context, a Account, blobDir string, limit int, progress func(Progress)) (*Scan, error) {
	db := m.database(0, nil)
	mailbox, err := db.Find(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	all, err := m.volumes(ctx, db, blobDir)
	if err != nil {
		return nil, err
	}
	rows, err := db.Locators(ctx, mailbox)
	if err != nil {
		return nil, err
	}
	s := &scan{m: m, db: db, mailbox: mailbox, limit: limit, progress: progress, Scan: &Scan{Mailbox: mailbox.ID}}
	vols := byID(all)
	var use []mboxdb.Volume
	for locator, n := range rows {
		id, err := volumeID(locator)
		v, ok := vols[id]
		switch {
		case err != nil:
			return nil, fmt.Errorf("%d rows have the locator %q, which is not a volume id: an external store", n, locator)
		case !ok || !holdsBlobs(v):
			return nil, fmt.Errorf("%d rows name volume %d, which is no message volume with files", n, id)
		}
		s.total += n
		use = append(use, v)
	}
	slices.SortFunc(use, func(a, b mboxdb.Volume) int { return cmp.Compare(a.ID, b.ID) })
	for _, v := range use {
		if err := s.volume(ctx, v); err != nil {
			return nil, fmt.Errorf("volume %d in %s: %w", v.ID, v.Path, err)
		}
		if s.Stopped {
			break
		}
	}
	return s.Scan, nil
}

func holdsBlobs(v mboxdb.Volume) bool {
	return v.Files() && (v.Type == mboxdb.Primary || v.Type == mboxdb.Secondary)
}

// A scan is one look at an account's blobs.
type scan struct {
	*Scan
	m        *mailstore
	db       *mboxdb.DB
	mailbox  mboxdb.Mailbox
	limit    int
	total    int64
	progress func(Progress)
}

// volume looks at the blobs of one volume. Those that do not fit are looked at again, and then their rows: a user deletes the row first.
func (s *scan) volume(ctx context.Context, v mboxdb.Volume) error {
	tree := s.m.Files.Tree(v.Path)
	suspects := map[string]bool{}
	done := s.Blobs
	opts := &filesync.Options{Limits: s.m.limits(), Progress: func(st filesync.Stats) {
		s.Blobs = done + st.Files
		s.progress(Progress{Done: s.Blobs, Total: max(s.total, s.Blobs), Unit: "files"})
	}}
	for b, err := range filesync.Check(ctx, tree, s.wants(ctx, v), opts) {
		if err != nil {
			return err
		}
		suspects[b.Name] = true
		if len(s.Bad)+len(suspects) > s.limit { // one more than the limit, to know that there is more
			s.Stopped = true
			break
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	demanded, err := s.demanded(ctx, v, suspects)
	if err != nil {
		return err
	}
	var bad []BadItem
	for len(demanded) > 0 { // a file may have two rows, and they may differ; most often there is one round
		var now, later []suspect
		seen := map[string]bool{}
		for _, d := range demanded {
			if seen[d.name] {
				later = append(later, d)
			} else {
				now = append(now, d)
			}
			seen[d.name] = true
		}
		found, err := s.judge(ctx, v, tree, now)
		if err != nil {
			return err
		}
		bad = append(bad, found...)
		demanded = later
	}
	still, err := s.demanded(ctx, v, suspects)
	if err != nil {
		return err
	}
	for _, b := range bad {
		if slices.ContainsFunc(still, func(d suspect) bool { return path.Join(v.Path, d.name) == b.Path && d.Digest == b.Digest }) {
			s.Bad = append(s.Bad, b)
		}
	}
	sortBad(s.Bad)
	if len(s.Bad) > s.limit {
		s.Bad, s.Stopped = s.Bad[:s.limit], true
	}
	return nil
}

// A suspect is a row, and its file relative to the volume's directory.
type suspect struct {
	mboxdb.Blob
	name string
}

// on yields the rows that name blobs on one volume.
func (s *scan) on(ctx context.Context, v mboxdb.Volume, yield func(suspect) error) error {
	for b, err := range s.db.Blobs(ctx, s.mailbox) {
		if err != nil {
			return err
		}
		if b.Volume != v.ID {
			continue
		}
		if err := yield(suspect{b, path.Join(v.MailboxDir(s.mailbox.ID), v.BlobName(b.Item, b.ModContent))}); err != nil {
			return err
		}
	}
	return nil
}

var errEnough = errors.New("enough")

func (s *scan) wants(ctx context.Context, v mboxdb.Volume) func(func(filesync.Want, error) bool) {
	return func(yield func(filesync.Want, error) bool) {
		err := s.on(ctx, v, func(d suspect) error {
			w, err := wanted(d.Blob, d.name)
			if err != nil {
				return err
			}
			if !yield(w, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(filesync.Want{}, err)
		}
	}
}

// demanded are the rows that name those files now, each once.
func (s *scan) demanded(ctx context.Context, v mboxdb.Volume, names map[string]bool) ([]suspect, error) {
	var ds []suspect
	type row struct{ name, digest string }
	seen := map[row]bool{}
	err := s.on(ctx, v, func(d suspect) error {
		if r := (row{d.name, d.Digest}); names[d.name] && !seen[r] {
			seen[r] = true
			ds = append(ds, d)
		}
		return nil
	})
	return ds, err
}

// judge looks at a few files once more, and closely.
func (s *scan) judge(ctx context.Context, v mboxdb.Volume, tree filesync.Tree, ds []suspect) ([]BadItem, error) {
	rows := map[string]suspect{}
	for _, d := range ds {
		rows[d.name] = d
	}
	want := func(yield func(filesync.Want, error) bool) {
		for _, d := range ds {
			w, err := wanted(d.Blob, d.name)
			if !yield(w, err) || err != nil {
				return
			}
		}
	}
	var bad []BadItem
	var names []string
	for b, err := range filesync.Check(ctx, tree, want, nil) {
		if err != nil {
			return nil, err
		}
		d := rows[b.Name]
		item := BadItem{
			Item: d.Item, ModContent: d.ModContent, Volume: v.ID, Path: path.Join(v.Path, b.Name), Table: d.Table,
			Size: d.Size, Digest: d.Digest, Found: b.Size,
		}
		switch {
		case b.Why == filesync.Missing:
			item.Why = BadMissing
		case b.Why == filesync.Unreadable:
			item.Why = BadUnreadable
		case b.Size == 0:
			item.Why = BadEmpty
		case b.Content < d.Size:
			item.Why = BadShort
		case b.Content > d.Size:
			item.Why = BadSize
		default:
			item.Why = BadDigest
		}
		bad = append(bad, item)
		names = append(names, b.Name)
	}
	var there []string
	for i, name := range names {
		if bad[i].Why != BadMissing && bad[i].Why != BadUnreadable {
			there = append(there, name)
		}
	}
	sums, err := filesync.Digests(ctx, tree, there, nil)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		sum, ok := sums[name]
		switch {
		case bad[i].Why == BadMissing, bad[i].Why == BadUnreadable:
		case !ok:
			bad[i].Why, bad[i].Found = BadMissing, 0
		default:
			bad[i].FoundSHA = hex.EncodeToString(sum)
		}
	}
	return bad, nil
}
