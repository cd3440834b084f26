package lab

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The item types (mailbox/MailItem.Type) that the lab makes.
const (
	typeFolder       = 1
	typeSearchFolder = 2
	typeConversation = 4
	typeMessage      = 5
	typeContact      = 6
	typeDocument     = 8
	typeNote         = 9
	typeAppointment  = 11
	typeMountpoint   = 13
	typeTask         = 15
	typeChat         = 16
	typeComment      = 17
)

// The system folders (Mailbox.initialize), and those with a use here.
const (
	folderInbox         = 2
	folderTrash         = 3
	folderSent          = 5
	folderContacts      = 7
	folderConversations = 9
	folderCalendar      = 10
	folderRoot          = 11
	folderTasks         = 15
	folderBriefcase     = 16
)

var systemFolders = []struct {
	id, parent uint32
	name       string
}{
	{folderRoot, folderRoot, "ROOT"},
	{1, folderRoot, "USER_ROOT"},
	{folderInbox, 1, "Inbox"}, {folderTrash, 1, "Trash"}, {4, 1, "Junk"}, {folderSent, 1, "Sent"}, {6, 1, "Drafts"},
	{folderContacts, 1, "Contacts"}, {8, folderRoot, "Tags"}, {folderConversations, folderRoot, "Conversations"},
	{folderCalendar, 1, "Calendar"}, {12, 1, "Notebook"}, {13, 1, "Emailed Contacts"}, {14, 1, "Chats"},
	{folderTasks, 1, "Tasks"}, {folderBriefcase, 1, "Briefcase"}, {17, folderRoot, "Comments"}, {18, folderRoot, "Profile"},
	{19, 1, "Unsubscribe"}, {20, 1, "Files shared with me"},
}

// The newsletter is the same item in every mailbox, so that its file is found again.
const (
	newsletterItem   = firstUserID + 1
	newsletterChange = 3
)

// An item is a row of mail_item or mail_item_dumpster. The fields of type any may be nil, which is NULL.
type item struct {
	id                          uint32
	kind                        int
	parent, folder, prevFolders any
	indexID, imapID             any
	date                        int64
	size                        uint64
	locator, digest             any
	unread                      any
	flags                       int64
	tags                        int64
	tagNames, sender, recips    any
	subject, name, metadata     any
	modMetadata                 uint32
	changeDate                  any
	modContent                  uint32
	uuid                        any
}

const itemColumns = "mailbox_id, id, type, parent_id, folder_id, prev_folders, index_id, imap_id, date, size, locator, blob_digest, unread, flags, tags, " +
	"tag_names, sender, recipients, subject, name, metadata, mod_metadata, change_date, mod_content, uuid"

func (it *item) row(mailboxID uint32) []any {
	return []any{mailboxID, it.id, it.kind, it.parent, it.folder, it.prevFolders, it.indexID, it.imapID, it.date, it.size, it.locator, it.digest,
		it.unread, it.flags, it.tags, it.tagNames, it.sender, it.recips, it.subject, it.name, it.metadata, it.modMetadata, it.changeDate,
		it.modContent, it.uuid}
}

const revisionColumns = "mailbox_id, item_id, version, date, size, locator, blob_digest, name, metadata, mod_metadata, change_date, mod_content"

// columns name every table's columns in the order of the rows below: the order in which the tables are filled, parents first.
var columns = []struct{ table, columns string }{
	{"zimbra.mailbox", "id, group_id, account_id, index_volume_id, item_id_checkpoint, contact_count, size_checkpoint, change_checkpoint, tracking_sync, tracking_imap, " +
		"last_backup_at, comment, last_soap_access, new_messages, idx_deferred_count, highest_indexed, version, last_purge_at, itemcache_checkpoint"},
	{"zimbra.mailbox_metadata", "mailbox_id, section, metadata"},
	{"zimbra.out_of_office", "mailbox_id, sent_to, sent_on"},
	{"zimbra.scheduled_task", "class_name, name, mailbox_id, exec_time, interval_millis, metadata"},
	{"zimbra.mobile_devices", "mailbox_id, device_id, device_type, user_agent, protocol_version, provisionable, status, policy_key, recovery_password, first_req_received, " +
		"last_policy_update, remote_wipe_req, remote_wipe_ack, policy_values, last_used_date, deleted_by_user, model, imei, friendly_name, os, os_language, phone_number, " +
		"unapproved_appl_list, approved_appl_list, mobile_operator, last_updated_by, update_time"},
	{"zimbra.pending_acl_push", "mailbox_id, item_id, date"},
	{"zimbra.zmg_devices", "mailbox_id, app_id, reg_id, push_provider, os_name, os_version, max_payload_size"},
	{"zimbra.volume_blobs", "volume_id, mailbox_id, item_id, revision, blob_digest, processed"},
	{"zimbra.deleted_account", "email, account_id, mailbox_id, deleted_at"},
	{"tag", "mailbox_id, id, name, color, item_count, unread, listed, sequence, policy"},
	{"mail_item", itemColumns},
	{"mail_item_dumpster", itemColumns},
	{"revision", revisionColumns},
	{"revision_dumpster", revisionColumns},
	{"tagged_item", "mailbox_id, tag_id, item_id"},
	{"open_conversation", "mailbox_id, hash, conv_id"},
	{"appointment", "mailbox_id, uid, item_id, start_time, end_time"},
	{"appointment_dumpster", "mailbox_id, uid, item_id, start_time, end_time"},
	{"tombstone", "mailbox_id, sequence, date, type, ids"},
	{"pop3_message", "mailbox_id, data_source_id, uid, item_id"},
	{"imap_folder", "mailbox_id, item_id, data_source_id, local_path, remote_path, uid_validity"},
	{"imap_message", "mailbox_id, imap_folder_id, uid, item_id, flags"},
	{"data_source_item", "mailbox_id, data_source_id, item_id, folder_id, remote_id, metadata"},
	{"purged_conversations", "mailbox_id, data_source_id, item_id, hash"},
	{"purged_messages", "mailbox_id, data_source_id, item_id, parent_id, remote_id, remote_folder_id, purge_date"},
	{"event", "mailbox_id, account_id, item_id, folder_id, op, ts, version, user_agent, arg"},
	{"watch", "mailbox_id, target, item_id"},
}

// A generator makes the rows and files of one new mailbox.
type generator struct {
	a       *Account
	spec    AccountSpec
	rng     *rand.Rand
	blobs   []volumeRow // that hold blobs, the current primary first
	index   volumeRow
	hostile []string

	items      []*item // in an order in which parents precede
	folders    map[uint32]*item
	rows       map[string][][]any
	lastItem   uint32
	lastChange uint32
	size       uint64
	contacts   int

	tree     treeWriter
	dirs     map[string]bool // made already, below Home
	gzip     *gzip.Writer
	copyOf   *placed // the blob that the next copy links to
	everyone string  // another mailbox's file of the newsletter, below Home; "" where none is
}

// placed is a blob that lies on a volume.
type placed struct {
	raw             []byte
	volume          volumeRow
	file            string // below Home
	locator, digest any
}

func newGenerator(a *Account, spec AccountSpec, volumes []volumeRow) *generator {
	g := &generator{
		a: a, spec: spec, rng: a.newRand("content"), hostile: hostile(a.MailboxID, a.ID),
		folders: map[uint32]*item{}, rows: map[string][][]any{}, dirs: map[string]bool{}, gzip: gzip.NewWriter(nil),
		lastItem: newsletterItem, lastChange: newsletterChange,
	}
	for _, v := range volumes {
		switch {
		case v.holdsBlobs():
			g.blobs = append(g.blobs, v)
		case v.current:
			g.index = v
		}
	}
	// The current primary volume leads; a current HSM volume comes after it.
	for i, v := range g.blobs {
		if v.kind == 1 && v.current {
			g.blobs[0], g.blobs[i] = g.blobs[i], g.blobs[0]
			break
		}
	}
	return g
}

// generate writes the files to the store, in one stream, and keeps the rows.
func (g *generator) generate(ctx context.Context) error {
	if err := g.findNewsletter(ctx); err != nil {
		return err
	}
	r, w := io.Pipe()
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error {
		err := g.a.Store.untar(ctx, r)
		r.CloseWithError(io.ErrClosedPipe) // a tar that died must not leave the writer waiting
		return err
	})
	eg.Go(func() error {
		buffered := bufio.NewWriterSize(w, 256<<10) // every write to the pipe becomes a packet of its own
		g.tree = treeWriter{w: tar.NewWriter(buffered), now: generated}
		g.systemFolders()
		if g.spec.Items > 0 {
			g.content()
		}
		g.mailboxRow()
		g.deletedAccount()
		err := errors.Join(g.tree.close(), buffered.Flush())
		w.CloseWithError(err)
		return err
	})
	return eg.Wait()
}

// findNewsletter looks for a mailbox on the store that got the newsletter already.
func (g *generator) findNewsletter(ctx context.Context) error {
	name := fmt.Sprintf("%d-%d.msg", newsletterItem, newsletterChange)
	const script = `cd "$1" && for f in "$2"/*/*/msg/*/"$3"; do if [ -f "$f" ]; then printf %s "$f"; break; fi; done`
	var out strings.Builder
	s := g.a.Store
	if err := s.Run(ctx, []string{"sh", "-c", script, "sh", s.Home, s.below(g.blobs[0].path), name}, nil, &out); err != nil {
		return err
	}
	g.everyone = out.String()
	return nil
}

// below is a path of the store relative to Home.
func (s *Store) below(p string) string { return strings.TrimPrefix(p, s.Home+"/") }

func (g *generator) add(table string, values ...any) { g.rows[table] = append(g.rows[table], values) }

func (g *generator) nextItem() uint32   { g.lastItem++; return g.lastItem }
func (g *generator) nextChange() uint32 { g.lastChange++; return g.lastChange }

// pick is one of the hostile texts, by number.
func (g *generator) pick(i int) string { return g.hostile[i%len(g.hostile)] }

// date is some second of the ten years before the mailbox was generated.
func (g *generator) date() int64 { return generated.Unix() - int64(g.rng.IntN(10*365*86400)) }

func (g *generator) systemFolders() {
	for _, f := range systemFolders {
		g.folder(f.id, f.parent, typeFolder, f.name, 1)
	}
}

func (g *generator) folder(id, parent uint32, kind int, name string, change uint32) *item {
	it := &item{
		id: id, kind: kind, parent: parent, folder: parent, date: generated.Unix(), unread: 0, name: name, subject: name,
		metadata: bencoded("n", name), modMetadata: change, changeDate: generated.Unix(), modContent: change, uuid: g.a.uuid(fmt.Sprint("item ", id)),
	}
	g.items = append(g.items, it)
	g.folders[id] = it
	return it
}

// put counts an item into its folder and keeps it.
func (g *generator) put(it *item) {
	g.items = append(g.items, it)
	g.size += it.size
	if f := g.folders[it.folder.(uint32)]; f != nil {
		f.size++
		if it.unread == 1 {
			f.unread = f.unread.(int) + 1
		}
	}
}

// dir makes the directories of a file, down from the volume.
func (g *generator) dir(volumePath, below string) {
	root := g.a.Store.below(volumePath)
	at := root
	for _, part := range strings.Split(below, "/") {
		at += "/" + part
		if !g.dirs[at] {
			g.dirs[at] = true
			g.tree.dir(at, g.a.Store.owner, 0o750)
		}
	}
}

// file writes a file below a volume and returns its name below Home.
func (g *generator) file(v volumeRow, name string, content []byte) string {
	g.dir(v.path, path.Dir(name))
	full := g.a.Store.below(v.path) + "/" + name
	g.tree.file(full, g.a.Store.owner, 0o640, content)
	return full
}

// digest is blob_digest: SHA-256 in base64 with a comma for the slash, in old rows SHA-1, in some nothing.
func (g *generator) digest(raw []byte) any {
	switch n := g.rng.IntN(100); {
	case n < 12:
		return digestSHA1(raw)
	case n < 18:
		return nil
	default:
		return digestSHA256(raw)
	}
}

func digestSHA256(raw []byte) string { sum := sha256.Sum256(raw); return fsBase64(sum[:]) }
func digestSHA1(raw []byte) string   { sum := sha1.Sum(raw); return fsBase64(sum[:]) }

func fsBase64(sum []byte) string {
	return strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum), "/", ",")
}

// blob puts raw onto some volume under the name that (id, modContent) demands, compressed where the volume compresses and
// now and then where it does not (compress_blobs was switched off since).
func (g *generator) blob(id, modContent uint32, raw []byte) *placed {
	v := g.blobs[0]
	if len(g.blobs) > 1 && g.rng.IntN(100) < 40 {
		v = g.blobs[1+g.rng.IntN(len(g.blobs)-1)]
	}
	content := raw
	if v.compressed && int64(len(raw)) > v.threshold || !v.compressed && len(raw) > 500 && g.rng.IntN(100) < 12 {
		if z := g.compress(raw); len(z) != len(raw) {
			content = z
		}
	}
	p := &placed{raw: raw, volume: v, locator: fmt.Sprint(v.id), digest: g.digest(raw)}
	p.file = g.file(v, v.blobFile(g.a.MailboxID, id, modContent), content)
	return p
}

func (g *generator) compress(raw []byte) []byte {
	var b bytes.Buffer
	g.gzip.Reset(&b)
	g.gzip.Write(raw) // into memory: cannot fail
	g.gzip.Close()
	return b.Bytes()
}

// link puts the blob onto its own volume once more, as another name of the same file.
func (g *generator) link(id, modContent uint32, p *placed) {
	name := p.volume.blobFile(g.a.MailboxID, id, modContent)
	g.dir(p.volume.path, path.Dir(name))
	g.tree.link(g.a.Store.below(p.volume.path)+"/"+name, p.file)
}

// hold gives an item its blob.
func (it *item) hold(p *placed) *item {
	it.size, it.locator, it.digest = uint64(len(p.raw)), p.locator, p.digest
	return it
}

// content fills the mailbox, one of every kind in each run of minItems.
func (g *generator) content() {
	g.customFolders()
	g.tags()
	g.newsletter()
	var conversation *item
	var document *item
	for i := 1; i < g.spec.Items; i++ {
		// Ids leap, so that items spread over hash directories: past the first, and past the mask.
		switch {
		case i == g.spec.Items/2:
			g.lastItem += 5000
		case i == g.spec.Items*3/4:
			g.lastItem += 1 << 20
		}
		switch i % minItems {
		case 1:
			g.contact(i)
		case 7:
			g.appointment(i)
		case 10:
			document = g.document(i)
		case 13:
			g.comment(i, document)
		case 16:
			g.other(i)
		case 19:
			g.copyMessage(i)
		default:
			if conversation == nil || g.rng.IntN(5) == 0 {
				conversation = g.conversation(i)
			}
			g.message(i, conversation)
		}
	}
	g.dumpster()
	g.remote()
	g.zimbraTables()
	g.indexDirectory()
	g.orphans()
}

// customFolders are folders, a search folder and a mountpoint with the names that break things, deep enough to have an order.
func (g *generator) customFolders() {
	parent := uint32(1)
	names := []string{longest(255, "a"), `Büro's "alte" \ Ordner`, "(1,'x'),", "trailing spaces  ", "-- Dump completed", "日本語\nzwei"}
	for i, name := range names {
		id := uint32(firstUserID)
		if i > 0 {
			id = g.nextItem()
		}
		g.folder(id, parent, typeFolder, name, g.nextChange())
		if i%2 == 0 {
			parent = id
		}
	}
	search := g.folder(g.nextItem(), 1, typeSearchFolder, "unread; or '\\", g.nextChange())
	search.metadata = bencoded("q", g.hostile[0])
	mount := g.folder(g.nextItem(), 1, typeMountpoint, "O'Brien's shared folder", g.nextChange())
	mount.metadata, mount.uuid = "", nil
}

// The tags: system flags kept as rows have negative ids.
var flagTags = []string{`\FromMe`, `\Attached`, `\Replied`, `\Forwarded`, `\Copied`, `\Flagged`, `\Draft`, `\Deleted`, `\Notified`, `\Unread`}

const firstTag = 64

var userTags = []string{"wichtig", "O'Brien", `back\slash "q"`, "Grün, (7,", "trailing  ", "Δ"}

func (g *generator) tags() {
	for i, name := range flagTags {
		g.add("tag", g.a.MailboxID, -(i + 1), name, nil, 0, 0, 0, 0, nil)
	}
	for i, name := range append([]string{longest(128, "")}, userTags...) {
		var policy any
		if i%2 == 1 {
			policy = g.pick(i)
		}
		g.add("tag", g.a.MailboxID, firstTag+i, name, int64(math.MaxInt64)-int64(i), i, 0, 1, g.nextChange(), policy)
	}
}

// tagged puts a tag on an item: a row, and its name among the NUL-separated ones.
func (g *generator) tagged(it *item, numbers ...int) {
	names := "\x00"
	for _, n := range numbers {
		names += userTags[n] + "\x00"
		it.tags |= 1 << (n + 1)
		g.add("tagged_item", g.a.MailboxID, firstTag+1+n, it.id)
	}
	it.tagNames = names
}

// newsletter comes first, at an id that is the same everywhere, on the current volume.
func (g *generator) newsletter() {
	v := g.blobs[0]
	name := v.blobFile(g.a.MailboxID, newsletterItem, newsletterChange)
	if g.everyone == "" {
		g.file(v, name, newsletter)
	} else {
		g.dir(v.path, path.Dir(name))
		g.tree.link(g.a.Store.below(v.path)+"/"+name, g.everyone)
	}
	it := &item{
		id: newsletterItem, kind: typeMessage, folder: uint32(folderInbox), indexID: newsletterItem, imapID: newsletterItem, date: generated.Unix(),
		size: uint64(len(newsletter)), locator: fmt.Sprint(v.id), digest: digestSHA256(newsletter), unread: 1, sender: "news", subject: "To everyone",
		metadata: bencoded("f", ""), modMetadata: newsletterChange, changeDate: generated.Unix(), modContent: newsletterChange,
	}
	g.put(it)
}

func (g *generator) conversation(i int) *item {
	change := g.nextChange()
	it := &item{
		id: g.nextItem(), kind: typeConversation, folder: uint32(folderConversations), date: g.date(), subject: g.subject(i), unread: 0,
		metadata: bencoded("prt", sentence(g.rng)), modMetadata: change, changeDate: g.date(), modContent: change,
	}
	g.put(it)
	g.add("open_conversation", g.a.MailboxID, digestSHA1(fmt.Append(nil, "conversation ", i)), it.id)
	return it
}

// subject is hostile for one item in three.
func (g *generator) subject(i int) string {
	if i%3 == 0 {
		return g.pick(i / 3)
	}
	return sentence(g.rng)
}

func (g *generator) messageSize() int {
	switch n := g.rng.IntN(1000); {
	case n < 2:
		return 200_000
	case n < 20:
		return 5000 + g.rng.IntN(30_000)
	default:
		return 100 + g.rng.IntN(2500)
	}
}

func (g *generator) message(i int, conversation *item) {
	folders := []uint32{folderInbox, folderInbox, folderInbox, folderTrash, folderSent, firstUserID}
	subject := g.subject(i)
	it := &item{
		id: g.nextItem(), kind: typeMessage, folder: folders[g.rng.IntN(len(folders))], date: g.date(), flags: int64(g.rng.IntN(1 << 12)), unread: g.rng.IntN(2),
		sender: limit(sentence(g.rng), 128), recips: "to " + g.a.Name, subject: subject, metadata: bencoded("s", subject),
		modContent: g.nextChange(), changeDate: g.date(),
	}
	it.imapID, it.indexID = it.id, it.id
	if i%4 != 0 {
		it.parent = conversation.id
		conversation.size++
	}
	it.modMetadata = it.modContent
	if i%5 == 0 {
		it.modMetadata = g.nextChange() // a flag was changed since
	}
	switch i % 11 {
	case 1:
		it.sender, it.recips = "", nil // '' is not NULL
	case 2:
		it.sender, it.recips, it.metadata = nil, "", nil
	case 3:
		it.indexID = nil
	case 4:
		it.indexID, it.imapID = 0, uint32(math.MaxUint32)
	case 5:
		it.sender, it.recips = longest(128, "'"), longest(128, `\`)
	case 6:
		it.date, it.changeDate = 0, 0
	case 7:
		it.date, it.changeDate = math.MaxInt32, int64(math.MaxUint32)
	case 8:
		it.prevFolders = fmt.Sprintf("%d:2;%d:3", it.modContent, it.modMetadata)
	case 9:
		it.tags, it.flags = math.MinInt64, math.MinInt32
		it.changeDate = nil
	case 10:
		g.tagged(it, i%len(userTags), (i+1)%len(userTags))
	}
	from := fmt.Sprintf("s%d@lab.example", i)
	raw := message(g.rng, from, g.a.Name, subject, fmt.Sprintf("%s.%d@lab.example", g.a.ID, i), g.messageSize())
	if i%6 == 0 {
		raw = append(raw, g.hostile[0]+g.hostile[1]+"\r\n-- Dump completed\r\n"...)
	}
	p := g.blob(it.id, it.modContent, raw)
	if g.copyOf == nil || g.rng.IntN(4) == 0 {
		g.copyOf = p
	}
	g.put(it.hold(p))
}

// copyMessage is a copy of an earlier message in another folder: one file with two names.
func (g *generator) copyMessage(i int) {
	it := &item{
		id: g.nextItem(), kind: typeMessage, folder: uint32(firstUserID), date: g.date(), flags: 1 << 4, unread: 0, subject: g.subject(i),
		metadata: bencoded("s", "copy"), modContent: g.nextChange(), changeDate: g.date(),
	}
	it.imapID, it.indexID, it.modMetadata = it.id, it.id, it.modContent
	g.link(it.id, it.modContent, g.copyOf)
	g.put(it.hold(g.copyOf))
}

func (g *generator) contact(i int) {
	change := g.nextChange()
	it := &item{
		id: g.nextItem(), kind: typeContact, folder: uint32(folderContacts), date: g.date(), unread: 0, sender: limit(g.pick(i), 128),
		subject: "", metadata: bencoded("fld", g.pick(i+1)), modMetadata: change, changeDate: g.date(), modContent: change,
	}
	it.indexID, it.imapID = it.id, it.id
	g.contacts++
	if g.contacts%2 == 0 { // with a picture
		it.hold(g.blob(it.id, change, g.random(1000+g.rng.IntN(3000))))
	}
	g.put(it)
}

func (g *generator) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.rng.Uint32())
	}
	return b
}

const dateTime = "2006-01-02 15:04:05"

func (g *generator) appointment(i int) {
	change := g.nextChange()
	it := &item{
		id: g.nextItem(), kind: typeAppointment, folder: uint32(folderCalendar), date: g.date(), unread: 0, subject: g.subject(i), sender: "organiser",
		metadata: bencoded("inv", g.pick(i)), modMetadata: change, changeDate: g.date(), modContent: change, uuid: g.a.uuid(fmt.Sprint("appointment ", i)),
	}
	it.indexID = it.id
	g.put(it.hold(g.blob(it.id, change, text([]byte("BEGIN:VCALENDAR\r\n"), g.rng, 800))))
	g.appointmentRow("appointment", i, it.id)
}

func (g *generator) appointmentRow(table string, i int, id uint32) {
	uid := fmt.Sprintf("%s-%d", g.a.uuid("uid"), i)
	start := generated.AddDate(0, 0, i%1000).Format(dateTime)
	var end any
	switch i / minItems % 4 {
	case 0: // recurs for ever
	case 1:
		uid, end = longest(255, fmt.Sprintf("'%d", i)), "2038-01-19 03:14:07"
	case 2:
		uid, start, end = uid+" \\' ", "1970-01-01 00:00:00", start
	case 3:
		end = generated.AddDate(1, 0, 0).Format(dateTime)
	}
	g.add(table, g.a.MailboxID, uid, id, start, end)
}

// document is a file in the briefcase with older versions. Its blob may be empty, or gzip by nature.
func (g *generator) document(i int) *item {
	it := &item{
		id: g.nextItem(), kind: typeDocument, folder: uint32(folderBriefcase), date: g.date(), unread: 0, sender: g.a.Name,
		name: limit(fmt.Sprintf("%d %s", i, g.pick(i)), 254), metadata: bencoded("ct", "text/plain"), changeDate: g.date(), uuid: g.a.uuid(fmt.Sprint("document ", i)),
	}
	it.subject, it.indexID = it.name, it.id
	g.revisions("revision", it.id, 1+i/minItems%3)
	it.modContent = g.nextChange()
	it.modMetadata = g.nextChange()
	var raw []byte
	switch i / minItems % 3 {
	case 0:
		raw = g.compress(text(nil, g.rng, 3000)) // an attachment that is a .gz: its size matches
	case 1: // empty
	case 2:
		raw = g.random(6000)
	}
	p := g.place(it.id, it.modContent, raw)
	g.put(it.hold(p))
	return it
}

// place puts raw as it is: blob would compress it once more, which real stores do as well, but a .gz by nature stays here.
func (g *generator) place(id, modContent uint32, raw []byte) *placed {
	v := g.blobs[0]
	return &placed{raw: raw, volume: v, locator: fmt.Sprint(v.id), digest: digestSHA256(raw), file: g.file(v, v.blobFile(g.a.MailboxID, id, modContent), raw)}
}

func (g *generator) revisions(table string, id uint32, n int) {
	for version := 1; version <= n; version++ {
		change := g.nextChange()
		p := g.blob(id, change, text(nil, g.rng, 200+g.rng.IntN(6000)))
		var name, metadata any = "version " + g.pick(version), nil
		if version%2 == 0 {
			name, metadata = nil, g.pick(version)
		}
		g.add(table, g.a.MailboxID, id, version, g.date(), len(p.raw), p.locator, p.digest, name, metadata, change, g.date(), change)
	}
}

func (g *generator) comment(i int, document *item) {
	change := g.nextChange()
	g.put(&item{
		id: g.nextItem(), kind: typeComment, parent: document.id, folder: uint32(17), date: g.date(), unread: 0, subject: g.pick(i),
		metadata: bencoded("c", g.pick(i+1)), modMetadata: change, changeDate: g.date(), modContent: change,
	})
}

// other is a note, a chat or a task.
func (g *generator) other(i int) {
	change := g.nextChange()
	it := &item{
		id: g.nextItem(), date: g.date(), unread: 1, subject: g.subject(i), metadata: "", modMetadata: change, changeDate: g.date(), modContent: change,
		tagNames: "",
	}
	switch i / minItems % 3 {
	case 0:
		it.kind, it.folder = typeTask, uint32(folderTasks)
		g.appointmentRow("appointment", i, it.id)
	case 1:
		it.kind, it.folder = typeNote, uint32(12)
	case 2:
		it.kind, it.folder = typeChat, uint32(14)
	}
	g.put(it.hold(g.blob(it.id, change, text(nil, g.rng, 300))))
}

// dumpster holds what was deleted for good but can be recovered: ids of its own, files where they were.
func (g *generator) dumpster() {
	for i := range 4 + g.spec.Items/20 {
		it := &item{
			id: g.nextItem(), kind: typeMessage, parent: uint32(4_000_000_000), folder: uint32(folderTrash), date: g.date(), unread: 0, subject: g.subject(i),
			metadata: bencoded("s", g.pick(i)), changeDate: g.date(), name: nil, tagNames: "\x00wichtig\x00", indexID: 0,
		}
		switch i % 4 {
		case 1:
			it.kind, it.name = typeDocument, limit(g.pick(i), 255)
			g.revisions("revision_dumpster", it.id, 2)
		case 2:
			it.kind = typeAppointment
		case 3: // no blob
			it.kind, it.size, it.parent = typeContact, math.MaxUint64, nil
		}
		it.modContent = g.nextChange()
		it.modMetadata = g.nextChange()
		if i%4 != 3 {
			it.hold(g.blob(it.id, it.modContent, text(nil, g.rng, 100+g.rng.IntN(5000))))
		}
		g.add("mail_item_dumpster", it.row(g.a.MailboxID)...)
		if it.kind == typeAppointment {
			g.appointmentRow("appointment_dumpster", i*minItems/4, it.id)
		}
	}
}

// remote are the tables of data sources, deletions and sharing. The two without a key get equal rows.
func (g *generator) remote() {
	id := g.a.MailboxID
	source := g.a.uuid("data source")
	messages := g.messages()
	g.add("imap_folder", id, folderInbox, source, "/Inbox", "INBOX", uint32(math.MaxUint32))
	g.add("imap_folder", id, firstUserID, source, longest(1000, "'"), longest(1000, `\`), nil)
	g.add("imap_folder", id, folderSent, source, "/Gesendete Objekte", `INBOX."Gesendete Objekte"`, 0)
	for i, m := range messages {
		switch {
		case i%10 == 0:
			g.add("imap_message", id, folderInbox, int64(math.MaxInt64)-int64(i), m, math.MinInt32)
		case i%10 == 1:
			g.add("pop3_message", id, source, fmt.Sprintf("UID %s ' \\ %d", g.a.ID, i), m)
		case i%10 == 2:
			var metadata any = bencoded("r", g.pick(i))
			if i%20 == 2 {
				metadata = nil
			}
			g.add("data_source_item", id, source, m, folderInbox, fmt.Sprintf("Remote%d", i), metadata)
		case i%10 == 3:
			g.add("purged_messages", id, source, m, nil, fmt.Sprintf("r'%d", i), longest(255, ""), i)
		case i%10 == 4:
			g.add("purged_conversations", id, source, m, digestSHA1(fmt.Append(nil, "purged ", i)))
		case i%10 == 5:
			g.add("event", id, g.a.ID, m, folderInbox, 1, generated.Unix(), 1, limit(g.pick(i), 128), g.pick(i+1))
		}
	}
	// remote_id is compared byte by byte: these two are different keys.
	g.add("data_source_item", id, source, 1, 0, "case", "")
	g.add("data_source_item", id, source, 2, 0, "CASE", nil)
	g.add("pop3_message", id, source, longest(255, g.a.ID), 1)
	g.add("purged_messages", id, source, uint32(math.MaxUint32), uint32(math.MaxUint32), "", "", nil)
	for range 2 {
		g.add("event", id, g.a.ID, -1, math.MinInt32, -128, math.MaxInt32, nil, nil, g.hostile[0])
		g.add("tombstone", id, 2, 0, typeMessage, "12,13,14")
		g.add("tombstone", id, 2, math.MaxInt32, nil, nil)
	}
	for i := range 2 + g.spec.Items/50 {
		g.add("tombstone", id, g.nextChange(), g.date(), []any{typeMessage, typeContact, nil}[i%3], fmt.Sprintf("%d,%d", 300+i, 301+i))
	}
	g.add("watch", id, g.a.ID, -1)
	g.add("watch", id, g.a.ID, folderInbox)
	g.add("watch", id, g.a.uuid("watched"), math.MaxInt32)
}

// messages are the ids of the messages made so far.
func (g *generator) messages() []uint32 {
	var ids []uint32
	for _, it := range g.items {
		if it.kind == typeMessage {
			ids = append(ids, it.id)
		}
	}
	return ids
}

func (g *generator) zimbraTables() {
	id := g.a.MailboxID
	add := func(table string, values ...any) { g.add("zimbra."+table, values...) }
	for i, section := range []string{"zwc:implicit", "imap", "trailing  ", "it's", longest(64, `\`)} {
		var metadata any = bencoded("m", g.pick(i))
		switch i {
		case 1:
			metadata = nil
		case 2:
			metadata = ""
		}
		add("mailbox_metadata", id, section, metadata)
	}
	add("out_of_office", id, "o'brien@example.org", generated.Format(dateTime))
	add("out_of_office", id, longest(255, ""), "1970-01-01 00:00:00")
	add("out_of_office", id, "spaces@example.org  ", "2038-01-19 03:14:07")
	class := "com.zimbra.cs.datasource.DataSourceTask"
	add("scheduled_task", class, g.a.uuid("data source"), id, generated.Format(dateTime), uint32(math.MaxUint32), bencoded("aid", g.a.ID))
	add("scheduled_task", class, "it's "+g.a.ID, id, nil, nil, nil)
	add("scheduled_task", strings.ToUpper(class), "it's "+g.a.ID, id, "2038-01-19 03:14:07", 0, "")
	limits := longest(512, `\'`)
	add("mobile_devices", id, "Android"+g.a.ID, "android", "Android/'14'", "16.1", 1, 255, uint32(math.MaxUint32), `p\'w`, generated.Unix(),
		nil, 0, uint32(math.MaxUint32), limits, "2038-01-19", 0, "model", "imei", limits, "os", "de", "+49 30 '", g.pick(0), "", limits, "User", "2038-01-19 03:14:07")
	add("mobile_devices", id, "iPhone  ", "", nil, nil, 0, 0, nil, nil, 0,
		nil, nil, nil, nil, nil, 1, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, "1970-01-01 00:00:01")
	add("mobile_devices", id, longest(64, ""), longest(64, ""), "", "", 0, 1, 0, "", 1,
		0, 0, 0, "", "1970-01-01", 0, "", "", "", "", "", "", "", g.pick(1), "", "Admin", "2025-02-28 23:59:59")
	add("pending_acl_push", id, folderInbox, uint64(math.MaxUint64))
	add("pending_acl_push", id, folderInbox, 0)
	add("zmg_devices", id, "app'1", "reg "+g.a.ID, "fcm", "Android", nil, uint32(math.MaxUint32))
	add("zmg_devices", id, longest(64, ""), longest(255, g.a.ID), "apns", "", "", nil)
	for i, m := range g.messages() {
		if i%20 == 0 {
			add("volume_blobs", g.blobs[0].id, id, m, 1, digestSHA256(fmt.Append(nil, m)), i%2)
		}
	}
}

// deletedAccount is what the deletion of an older account of another address left.
func (g *generator) deletedAccount() {
	g.add("zimbra.deleted_account", "before."+g.a.Name, g.a.uuid("deleted"), g.a.MailboxID-1000, generated.Unix())
}

func (g *generator) mailboxRow() {
	deferred := 0
	for _, it := range g.items {
		if it.indexID == 0 {
			deferred++
		}
	}
	indexed := any(fmt.Sprint(generated.Unix(), "-", g.lastItem))
	if g.spec.Items < 0 {
		indexed = nil
	}
	// The checkpoints lag behind what was given out, as mailboxd's do.
	g.add("zimbra.mailbox", g.a.MailboxID, g.a.Group, g.a.ID, g.index.id, g.lastItem-g.lastItem%itemCheckpoint, g.contacts, g.size,
		g.lastChange-g.lastChange%changeCheckpoint, 1, 1, generated.Unix(), g.a.Name, generated.Unix(), 3, deferred, indexed, "2.7", generated.Unix()-86400, 7)
}

// indexDirectory has the files of a Lucene index: names, and content nobody here reads.
func (g *generator) indexDirectory() {
	dir := g.index.mailboxDir(g.a.MailboxID) + "/index/0/"
	for _, name := range []string{"_0.cfs", "_1.fdt", "_1.fdx", "_1.fnm", "_1.frq", "_1.prx", "_1.tii", "_1.tis", "_1.nrm", "_1_2.del"} {
		g.file(g.index, dir+name, g.random(20+g.rng.IntN(4000+g.spec.Items)))
	}
	g.file(g.index, dir+"_2.prx", nil)
	g.file(g.index, dir+"segments_3", g.random(300))
	g.file(g.index, dir+"segments.gen", g.random(20))
}

// orphans are files that no row names: of a deletion that was cut short, of a name conflict, of a blob before its row.
func (g *generator) orphans() {
	dir := g.blobs[0].mailboxDir(g.a.MailboxID) + "/msg/"
	g.file(g.blobs[0], dir+"0/999-999999.msg", []byte("deleted, the row is gone"))
	g.file(g.blobs[0], dir+"0/300-7.msg.bak", []byte("left by a name conflict"))
	g.file(g.blobs[len(g.blobs)-1], g.blobs[len(g.blobs)-1].mailboxDir(g.a.MailboxID)+"/msg/255/1048575-1.msg", nil)
}

// insert writes the rows, in the order of their references, with foreign keys checked.
func (g *generator) insert(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM zimbra.deleted_account WHERE email IN (?, ?)", g.a.Name, "before."+g.a.Name); err != nil {
		return err
	}
	g.rows["mail_item"] = nil
	for _, it := range g.items {
		g.add("mail_item", it.row(g.a.MailboxID)...)
	}
	for _, t := range columns {
		table := t.table
		if !strings.Contains(table, ".") {
			table = GroupDatabase(g.a.Group) + "." + table
		}
		if err := insertRows(ctx, tx, table, t.columns, g.rows[t.table]); err != nil {
			return err
		}
	}
	return nil
}

// insertRows inserts rows, many in a statement.
func insertRows(ctx context.Context, tx *sql.Tx, table, columns string, rows [][]any) error {
	n := strings.Count(columns, ",") + 1
	one := "(" + strings.Repeat("?,", n-1) + "?)"
	const most = 200
	for len(rows) > 0 {
		batch := rows[:min(most, len(rows))]
		rows = rows[len(batch):]
		args := make([]any, 0, len(batch)*n)
		for _, row := range batch {
			if len(row) != n {
				panic(fmt.Sprintf("%s: %d values for %d columns", table, len(row), n))
			}
			args = append(args, row...)
		}
		query := "INSERT INTO " + table + " (" + columns + ") VALUES " + one + strings.Repeat(","+one, len(batch)-1)
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return fmt.Errorf("insert into %s: %w", table, err)
		}
	}
	return nil
}
