package zimbra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/mboxdb"
)

// The codes of problems. They are API: programs compare them, people accept them.
const (
	CodeDirectory     = "directory"          // LDAP cannot be asked
	CodeNoAccount     = "no-such-account"    //
	CodeAmbiguous     = "ambiguous-account"  // more than one entry matches
	CodeNoServer      = "no-such-server"     // LDAP has no server entry for a store
	CodeNotConfigured = "not-configured"     // the account's present home is not among the configured stores
	CodeAlreadyThere  = "already-there"      //
	CodeMaintenance   = "maintenance"        // somebody else's
	CodeStatus        = "status"             // an account status that zmlift does not know
	CodeTransport     = "custom-transport"   // acceptable: it is left as it is
	CodeExternalRoute = "external-route"     // the proxy sends the account to an external store
	CodeAlwaysOn      = "always-on"          //
	CodeServerIDDir   = "server-id-blob-dir" // blob directories have a level for the server id, and LDAP does not tell it
	CodeNoMailboxd    = "no-mailboxd"        // acceptable
	CodeUnreachable   = "unreachable"        // a store cannot be reached
	CodeLogin         = "login"              // a wrong password or key
	CodeHostKey       = "host-key"           //
	CodeLocalconfig   = "localconfig"        // localconfig.xml is unreadable, or asks for a layout that cannot be moved
	CodeCreateScript  = "create-script"      // create_database.sql is unreadable
	CodeDatabase      = "database"           // a query failed
	CodeFiles         = "files"              // a tree cannot be read
	CodeNoMailbox     = "no-mailbox"         // the source has no mailbox row
	CodeSecondMailbox = "second-mailbox"     // the destination has a row for the account already
	CodeOtherMove     = "other-move"         // another move of the account is open at the destination
	CodeDBVersion     = "db-version"         //
	CodeSchema        = "schema"             // columns, types or keys differ
	CodeTimeZone      = "time-zone"          //
	CodeUnknownTable  = "unknown-table"      // a table with a mailbox id that zmlift does not know
	CodeVolume        = "volume"             // a volume is missing or unusable
	CodeLocator       = "locator"            // a locator that is not a volume id
	CodeMissingBlob   = "missing-blob"       //
	CodeBadBlobs      = "bad-blobs"          // the list of accepted bad blobs is another mailbox's
	CodeSpace         = "space"              //
	CodeUnfinished    = "unfinished-move"    // a move of this account was begun from here and not ended
)

// A Survey is what a mailstore shows of itself and of one account.
type Survey struct {
	Problems []Problem     // what could not be read; the rest is then incomplete
	Server   mboxdb.Server //
	Groups   int           // zimbra_mailbox_groups
	// Checkpoints is zimbra_mailbox_change_checkpoint_frequency.
	Checkpoints int
	Mailbox     *mboxdb.Mailbox            // nil: no row for the account
	Schema      map[string]string          // "zimbra.mailbox.id" → what decides whether rows fit: type, charset; group tables under "mboxgroup."
	Unknown     []string                   // tables with a mailbox id that are not known and have no policy
	Volumes     []mboxdb.Volume            //
	Current     mboxdb.CurrentVolumes      //
	Locators    map[string]int64           // distinct values in the mailbox's rows
	Rows        int64                      //
	Blobs       int64                      //
	Bytes       int64                      // of all files in the mailbox's directories
	Missing     []string                   // blobs that a row names and no file has
	Free        map[mboxdb.VolumeID]int64  // bytes free where a volume lies; a volume whose directory cannot be read is not in it
	FileSystems map[mboxdb.VolumeID]uint64 // numbers that say which volumes share their room
	Reserve     int64                      // bytes that are to stay free on each volume
	Need        map[mboxdb.VolumeID]int64  // bytes on disk of the blobs that rows name, by volume; hard links on a volume count once
	IndexBytes  int64                      // bytes on disk of the search index
	Holder      Holder                     // of the account's fence row
}

// Plan finds out everything about a move and changes nothing: it is given only what reads. A *PreflightError holds all problems at once,
// except those that the request accepts.
func (m *Mover) Plan(ctx context.Context, r Request) (*Plan, error) {
	if m.cfg.Stores[r.To] == nil {
		return nil, &ConfigError{Mistakes: []string{fmt.Sprintf("destination %s is not a configured store; configured are %s", r.To, strings.Join(m.hosts, ", "))}}
	}
	pf := &preflight{m: m, dir: m.cfg.Directory, req: r, plan: &Plan{
		V: PlanVersion, Directory: m.cfg.DirectoryName, Tables: r.Tables, NoIndex: r.NoIndex, Made: m.clock.Now().UTC(),
		Dest: End{Host: r.To},
	}}
	pf.run(ctx)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("plan %s: %w", r.Account, err)
	}
	if left := pf.notAccepted(); len(left) > 0 {
		return nil, &PreflightError{Account: r.Account, Problems: left}
	}
	pf.plan.Hash = pf.plan.Sum()
	return pf.plan, nil
}

// A preflight collects problems on the way to a plan.
type preflight struct {
	m    *Mover
	dir  DirectoryReader
	req  Request
	plan *Plan
	all  []Problem

	src, dst Survey
}

func (pf *preflight) add(code, object, hint string, acceptable bool, format string, args ...any) {
	pf.all = append(pf.all, Problem{Code: code, Object: object, Message: fmt.Sprintf(format, args...), Hint: hint, Acceptable: acceptable})
}

// notAccepted sorts the problems, takes out the accepted ones, and writes their codes into the plan.
func (pf *preflight) notAccepted() []Problem {
	slices.SortStableFunc(pf.all, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Object, b.Object)) })
	var left []Problem
	for _, p := range pf.all {
		switch {
		case !p.Acceptable || !slices.Contains(pf.req.Accept, p.Code):
			left = append(left, p)
		case !slices.Contains(pf.plan.Accepted, p.Code):
			pf.plan.Accepted = append(pf.plan.Accepted, p.Code)
		}
	}
	return left
}

func (pf *preflight) run(ctx context.Context) {
	e, ok := pf.account(ctx)
	if !ok {
		return
	}
	pf.entry(e)
	if strings.EqualFold(pf.plan.Source.Host, pf.req.To) {
		pf.add(CodeAlreadyThere, pf.plan.Account.Name, "nothing is to be done", false, "lives on %s already", pf.req.To)
		return
	}
	if !pf.home(e) {
		return
	}
	pf.servers(ctx, e)
	pf.unfinished(ctx)
	pf.surveys(ctx)
	if len(pf.src.Problems) > 0 || len(pf.dst.Problems) > 0 {
		return // what was not read cannot be compared
	}
	pf.mailboxes()
	pf.versions()
	pf.volumes()
	pf.accepted()
	pf.content()
}

// account finds the account; false when it does not.
func (pf *preflight) account(ctx context.Context) (ldapattr.Entry, bool) {
	e, err := findAccount(ctx, pf.dir, pf.req.Account)
	switch {
	case errors.Is(err, ldapattr.ErrNotFound):
		pf.add(CodeNoAccount, pf.req.Account, "check the address with `zmprov ga "+pf.req.Account+"`", false, "no account has this address, alias or id")
	case errors.Is(err, ldapattr.ErrAmbiguous):
		pf.add(CodeAmbiguous, pf.req.Account, "name the account by its zimbraId", false, "more than one account matches")
	case errors.Is(err, ldapattr.ErrCredentials):
		pf.add(CodeLogin, pf.m.cfg.DirectoryName, "check [ldap] bind_dn and password", false, "%v", err)
	case err != nil:
		pf.add(CodeDirectory, pf.m.cfg.DirectoryName, "check [ldap] url, bind_dn, password and start_tls", false, "%v", err)
	}
	if err != nil {
		return e, false
	}
	pf.plan.Account = accountOf(e)
	pf.plan.Source.Host = e.Value(attrHost)
	return e, true
}

// home finds the store on which the account lives; false when it is not a configured one.
func (pf *preflight) home(e ldapattr.Entry) bool {
	source := pf.m.storeNamed(e.Value(attrHost))
	if source == "" {
		pf.add(CodeNotConfigured, pf.plan.Source.Host, `add [stores."`+pf.plan.Source.Host+`"] to the configuration`, false, "the account's home is not a configured store")
		return false
	}
	pf.plan.Source.Host = source
	return true
}

// blobDirs finds the directory below each volume in which a store's mailboxes lie (volume/Volume.getMailboxDir).
func (pf *preflight) blobDirs(end *End, s server) {
	if s.value("zimbraConfiguredServerIDForBlobDirEnabled") != "TRUE" {
		return
	}
	end.BlobDir = s.entry.Value("zimbraId")
	if id := end.BlobDir; id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00") {
		pf.add(CodeServerIDDir, end.Host, "zmprov gs "+end.Host+" zimbraId", false, "its blob directories have a level for the server id, and its zimbraId is %q", id)
	}
}

// entry judges the account's own attributes.
func (pf *preflight) entry(e ldapattr.Entry) {
	name := pf.plan.Account.Name
	switch status := e.Value(attrStatus); status {
	case "active", "locked", "lockout", "closed", "pending":
	case maintenance:
		pf.add(CodeMaintenance, name, "end what put it there, then `zmprov ma "+name+" zimbraAccountStatus active`", false, "the account is in maintenance already, which is somebody else's")
	default:
		pf.add(CodeStatus, name, "set zimbraAccountStatus to a value that this version of zmlift knows", false, "zimbraAccountStatus is %q", status)
	}
	if e.Value("zimbraReverseProxyUseExternalRoute") == "TRUE" {
		pf.add(CodeExternalRoute, name, "zmprov ma "+name+" zimbraReverseProxyUseExternalRoute FALSE", false, "the proxy sends this account to an external store")
	}
}

// servers judges the two server entries and the transport.
func (pf *preflight) servers(ctx context.Context, e ldapattr.Entry) {
	for _, end := range []*End{&pf.plan.Source, &pf.plan.Dest} {
		s, err := findServer(ctx, pf.dir, end.Host)
		if err != nil {
			pf.add(CodeNoServer, end.Host, "name the store as its zimbraServiceHostname; `zmprov gas mailbox` lists them", false, "%v", err)
			continue
		}
		end.Transport = s.transport()
		if s.value("zimbraAlwaysOnClusterId") != "" {
			pf.add(CodeAlwaysOn, end.Host, "move the account with Zimbra's own tools", false, "the server is part of an alwaysOn cluster")
		}
		pf.blobDirs(end, s)
		if pf.m.cfg.Stores[end.Host].Mailboxd == nil {
			pf.plan.NoMailboxd = true
			pf.add(CodeNoMailboxd, end.Host, "stop mailboxd on both stores for the time of the move, then accept no-mailboxd", true,
				"there is no way to talk to its mailboxd: nobody locks the mailbox there, and caches keep the account's old status and home for up to 15 minutes; while mailboxd runs, mail may land in the old copy")
		}
	}
	if have := e.Value(attrTransport); pf.plan.Source.Transport != "" && !strings.EqualFold(have, pf.plan.Source.Transport) {
		pf.plan.KeepRoute = true
		pf.add(CodeTransport, pf.plan.Account.Name, "accept custom-transport to leave it as it is, and change it yourself", true, "zimbraMailTransport is %q, its home's is %q", have, pf.plan.Source.Transport)
	} else {
		pf.plan.Source.Transport = have // as it is spelled: the commit asserts it
	}
}

// unfinished finds a move of this account that was begun from here.
func (pf *preflight) unfinished(ctx context.Context) {
	for s, err := range pf.m.Moves(ctx) {
		if err != nil || s.AccountID != pf.plan.Account.ID || s.Outcome == OutcomeMoved || s.Outcome == OutcomeRolledBack {
			continue
		}
		pf.add(CodeUnfinished, s.Move, "run `mover resume "+s.Account+"` or `mover rollback "+s.Account+"`", false, "a move of this account to %s was begun on %s and not ended", s.To, s.Started.Format(time.RFC3339))
	}
}

func (pf *preflight) surveys(ctx context.Context) {
	look := SurveyRequest{AccountID: pf.plan.Account.ID, Tables: pf.req.Tables}
	look.BlobDir = pf.plan.Dest.BlobDir
	pf.dst = pf.m.cfg.Stores[pf.plan.Dest.Host].Survey.Survey(ctx, look)
	look.BlobDir, look.Content = pf.plan.Source.BlobDir, true
	pf.src = pf.m.cfg.Stores[pf.plan.Source.Host].Survey.Survey(ctx, look)
	pf.all = append(pf.all, pf.src.Problems...)
	pf.all = append(pf.all, pf.dst.Problems...)
	pf.plan.Source.fill(pf.src)
	pf.plan.Dest.fill(pf.dst)
}

func (end *End) fill(s Survey) {
	end.Server, end.Groups, end.Volumes, end.Mailbox = s.Server, s.Groups, s.Volumes, s.Mailbox
	end.Server.MaxConnections = 0 // says nothing about rows
	end.Schema = schemaSum(s.Schema)
}

func (pf *preflight) mailboxes() {
	name := pf.plan.Account.Name
	if pf.src.Mailbox == nil {
		pf.add(CodeNoMailbox, pf.plan.Source.Host, "an account without a mailbox needs no move: `zmprov ma "+name+" zimbraMailHost "+pf.plan.Dest.Host+"`", false, "zimbra.mailbox has no row for %s", name)
	}
	if m := pf.dst.Mailbox; m != nil {
		pf.add(CodeSecondMailbox, pf.plan.Dest.Host, "purge the old copy there first, through its mailboxd: `zmpurgeoldmbox`, or DeleteMailboxRequest with targetServer", false, "it has mailbox %d for %s already", m.ID, name)
	}
	if h := pf.dst.Holder; h.Open {
		pf.add(CodeOtherMove, pf.plan.Dest.Host, "run `mover resume` or `mover rollback` where its journal is", false, "move %s is open for this account", h.Move)
	}
}

func (pf *preflight) versions() {
	src, dst := pf.src.Server, pf.dst.Server
	if src.DBVersion != dst.DBVersion {
		pf.add(CodeDBVersion, pf.plan.Dest.Host, "bring both stores to the same Zimbra release", false, "db.version is %s, the source's is %s: no migration would run for the moved mailbox", dst.DBVersion, src.DBVersion)
	}
	if pf.src.Checkpoints > pf.dst.Checkpoints {
		pf.add(CodeLocalconfig, pf.plan.Dest.Host, "set zimbra_mailbox_change_checkpoint_frequency to the same number on both stores, and restart mailboxd", false,
			"zimbra_mailbox_change_checkpoint_frequency is %d, the source's is %d: the moved mailbox would hand out change ids that were used before", pf.dst.Checkpoints, pf.src.Checkpoints)
	}
	if src.TimeZone != dst.TimeZone {
		pf.add(CodeTimeZone, pf.plan.Dest.Host, "set the same time zone on both stores", false, "its time zone is %s, the source's is %s: appointment times would shift", dst.TimeZone, src.TimeZone)
	}
	if src.DBVersion == dst.DBVersion && len(pf.src.Unknown)+len(pf.dst.Unknown) == 0 {
		for _, d := range schemaDifferences(pf.src.Schema, pf.dst.Schema) {
			pf.add(CodeSchema, d, "bring both stores to the same schema; `SHOW CREATE TABLE` on both shows the difference", false, "source has %s, destination has %s", orNone(pf.src.Schema[d]), orNone(pf.dst.Schema[d]))
		}
	}
	for _, side := range []struct {
		host string
		s    Survey
	}{{pf.plan.Source.Host, pf.src}, {pf.plan.Dest.Host, pf.dst}} {
		for _, t := range side.s.Unknown {
			pf.add(CodeUnknownTable, side.host+" "+t, "give it a policy in Request.Tables: copy or skip", false, "the table has a mailbox id, or a column, that zmlift does not know")
		}
	}
}

// volumes decides where blobs and index go.
func (pf *preflight) volumes() {
	p := pf.plan
	p.Volumes = map[mboxdb.VolumeID]mboxdb.VolumeID{}
	src, dst := byID(pf.src.Volumes), byID(pf.dst.Volumes)
	for _, v := range pf.src.Volumes {
		if v.Type != mboxdb.Primary && v.Type != mboxdb.Secondary {
			continue
		}
		to := pf.dst.Current.Message
		if v.Type == mboxdb.Secondary && pf.dst.Current.Secondary != 0 {
			to = pf.dst.Current.Secondary
		}
		if want, ok := pf.req.Volumes[v.ID]; ok {
			to = want
		}
		if d, ok := dst[to]; !ok || d.Type == mboxdb.Index {
			pf.add(CodeVolume, fmt.Sprintf("%s volume %d", p.Dest.Host, to), "map volume "+fmt.Sprint(v.ID)+" to a message volume that `zmvolume -l` shows there", false, "the destination has no such message volume")
			continue
		}
		pf.readable(p.Dest.Host, dst[to], pf.dst)
		p.Volumes[v.ID] = to
	}
	for from := range pf.req.Volumes {
		if _, ok := src[from]; !ok {
			pf.add(CodeVolume, fmt.Sprintf("%s volume %d", p.Source.Host, from), "take it out of the volume map", false, "the source has no such volume")
		}
	}
	for _, loc := range slices.Sorted(maps.Keys(pf.src.Locators)) {
		n, err := volumeID(loc)
		v, ok := src[n]
		switch {
		case err != nil:
			pf.add(CodeLocator, loc, "bring these blobs back to a local volume first", false, "%d rows have a locator that is not a volume id: an external store", pf.src.Locators[loc])
		case !ok || v.Type == mboxdb.Index:
			pf.add(CodeVolume, fmt.Sprintf("%s volume %d", p.Source.Host, n), "restore the volume, or repair the rows that name it", false, "%d rows name a message volume that the source does not have", pf.src.Locators[loc])
		default:
			pf.readable(p.Source.Host, v, pf.src)
		}
	}
	p.IndexVolume = pf.dst.Current.Index
	if d, ok := dst[p.IndexVolume]; !ok || d.Type != mboxdb.Index {
		pf.add(CodeVolume, fmt.Sprintf("%s volume %d", p.Dest.Host, p.IndexVolume), "set a current index volume: `zmvolume -sc -id ID`", false, "the destination has no such index volume")
	} else {
		pf.readable(p.Dest.Host, d, pf.dst)
	}
	if m := pf.src.Mailbox; m != nil {
		if v, ok := src[m.IndexVolume]; !ok || v.Type != mboxdb.Index {
			pf.add(CodeVolume, fmt.Sprintf("%s volume %d", p.Source.Host, m.IndexVolume), "restore the index volume that the mailbox row names", false, "the source has no such index volume")
		} else {
			pf.readable(p.Source.Host, v, pf.src)
		}
	}
}

// readable wants a volume that is a directory of files, and there.
func (pf *preflight) readable(host string, v mboxdb.Volume, s Survey) {
	object := fmt.Sprintf("%s volume %d", host, v.ID)
	if slices.ContainsFunc(pf.all, func(p Problem) bool { return p.Code == CodeVolume && p.Object == object }) {
		return
	}
	if !v.Files() {
		pf.add(CodeVolume, object, "use a volume that is a directory", false, "the volume is an external store (%s)", v.StoreManager)
	} else if _, ok := s.Free[v.ID]; !ok {
		pf.add(CodeVolume, object, "mount the volume's file system, or correct its path", false, "the directory %s cannot be read", v.Path)
	}
}

// volumeID reads a locator as mailboxd writes it for a volume: a plain decimal number.
func volumeID(locator string) (mboxdb.VolumeID, error) {
	n, err := strconv.ParseUint(locator, 10, 8)
	if err == nil && (n == 0 || strconv.FormatUint(n, 10) != locator) {
		err = strconv.ErrSyntax
	}
	return mboxdb.VolumeID(n), err
}

// accepted takes over the bad blobs that the request accepts.
func (pf *preflight) accepted() {
	bad, m := pf.req.Bad, pf.src.Mailbox
	if bad == nil || m == nil {
		return
	}
	p := pf.plan
	if bad.Account.ID != p.Account.ID || !strings.EqualFold(bad.Host, p.Source.Host) || bad.Mailbox != m.ID {
		pf.add(CodeBadBlobs, bad.Account.Name, "make a list of this mailbox: `mover scan "+p.Account.Name+"`", false,
			"the list of bad blobs is that of mailbox %d on %s, this is mailbox %d on %s", bad.Mailbox, bad.Host, m.ID, p.Source.Host)
		return
	}
	for _, b := range bad.Bad {
		if b.Why == BadUnreadable {
			pf.add(CodeBadBlobs, b.Path, "restore the file, or delete the item that names it", false, "the list accepts a blob that cannot be read: nothing can carry it")
		}
	}
	p.Bad = slices.Clone(bad.Bad)
	sortBad(p.Bad)
}

// content judges what would be carried.
func (pf *preflight) content() {
	const shown = 20
	missing := slices.DeleteFunc(slices.Clone(pf.src.Missing), func(name string) bool {
		return slices.ContainsFunc(pf.plan.Bad, func(b BadItem) bool {
			return b.Why == BadMissing && pf.plan.Source.Host+":"+b.Path == name
		})
	})
	for i, name := range missing {
		if i == shown {
			pf.add(CodeMissingBlob, fmt.Sprintf("%d more", len(missing)-shown), "run `mover scan "+pf.plan.Account.Name+"` for a list of all", false, "more blobs are missing")
			break
		}
		pf.add(CodeMissingBlob, name, "restore the file, or delete the item that names it; or accept it in the list of `mover scan "+pf.plan.Account.Name+"`", false, "a row names this blob and the file is not there")
	}
	pf.space()
	pf.plan.Forecast = Forecast{Rows: pf.src.Rows, Blobs: pf.src.Blobs, Bytes: pf.src.Bytes, Lock: forecastLock(pf.src)}
}

// forecastLock estimates the lock: inside it every row is digested, on both sides, and every blob's row is read; rows and files are copied
// only as far as they changed. Several times what was measured on a small machine: others are slower, or busy.
func forecastLock(s Survey) time.Duration {
	const base = time.Second
	return base + time.Duration(s.Rows)*time.Second/100_000 + time.Duration(s.Blobs)*time.Second/50_000
}

// fits looks whether both ends are still what the plan was made for.
func (m *Mover) fits(ctx context.Context, p *Plan) error {
	if err := m.knows(p); err != nil {
		return err
	}
	for _, end := range []*End{&p.Source, &p.Dest} {
		s := m.cfg.Stores[end.Host].Survey.Survey(ctx, SurveyRequest{AccountID: p.Account.ID, Tables: p.Tables, BlobDir: end.BlobDir})
		if len(s.Problems) > 0 {
			return &PreflightError{Account: p.Account.Name, Problems: s.Problems}
		}
		var now End
		now.fill(s)
		switch {
		case now.Server != end.Server:
			return fmt.Errorf("%w: %s is another server or version: was %+v, is %+v", ErrPlanStale, end.Host, end.Server, now.Server)
		case end == &p.Source && now.Schema != end.Schema:
			return fmt.Errorf("%w: the schema of %s changed", ErrPlanStale, end.Host)
		case !slices.Equal(now.Volumes, end.Volumes):
			return fmt.Errorf("%w: the volumes of %s changed", ErrPlanStale, end.Host)
		case end == &p.Source && (now.Mailbox == nil || now.Mailbox.ID != end.Mailbox.ID || now.Mailbox.Group != end.Mailbox.Group ||
			now.Mailbox.IndexVolume != end.Mailbox.IndexVolume):
			return fmt.Errorf("%w: the mailbox of %s on %s is another one", ErrPlanStale, p.Account.Name, end.Host)
		case end == &p.Dest && now.Groups != end.Groups:
			return fmt.Errorf("%w: zimbra_mailbox_groups of %s changed", ErrPlanStale, end.Host)
		}
	}
	return nil
}

// storeNamed finds a configured store by a host name as LDAP spells it.
func (m *Mover) storeNamed(host string) string {
	for _, h := range m.hosts {
		if strings.EqualFold(h, host) {
			return h
		}
	}
	return ""
}
