package lab

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/go-sql-driver/mysql"
)

// ErrDeferred says that the account takes no mail or change here at the moment: its status is not active, its mail is
// disabled, it lives on another store, or its rows are locked. A mail server would try again later. Nothing was changed.
var ErrDeferred = errors.New("lab: deferred")

// Deliver does what a mailboxd does with one message over LMTP: the blob first, then the row, the counters and the
// conversation in one transaction. Item and change ids go on from the mailbox's checkpoints, which lag as mailboxd's do.
//
// The mailbox row is changed first, in the same transaction, and the directory asked then: whoever makes the account
// inactive and waits until no transaction with changed rows is open has seen the last delivery. Deliver may be called beside
// a mover, and beside Churn. After an error no row was changed; a blob may be left, as after a crash of mailboxd.
func (a *Account) Deliver(ctx context.Context) error {
	err := a.change(ctx, func(m *mailboxd) error { return m.deliver(ctx) })
	if err != nil {
		return fmt.Errorf("lab: deliver to %s: %w", a.Name, err)
	}
	return nil
}

// Churn makes n changes as a user does, chosen by the account's seed and what there is: deletes, flags, moves, renames, tags,
// new versions of documents, deletes into the dumpster and from it. Each is a transaction; files go after its commit. It
// stops at the first error, [ErrDeferred] too.
func (a *Account) Churn(ctx context.Context, n int) error {
	for range n {
		if err := a.change(ctx, func(m *mailboxd) error { return m.churn(ctx) }); err != nil {
			return fmt.Errorf("lab: churn %s: %w", a.Name, err)
		}
	}
	return nil
}

// A thread is the conversation that deliveries go on with.
type thread struct {
	conversation uint32
	subject      string
}

// A mailboxd is one transaction on a mailbox.
type mailboxd struct {
	a       *Account
	tx      *sql.Tx
	group   string
	rng     *rand.Rand
	volumes []volumeRow
	change  uint32   // the transaction's one change id
	remove  []string // files to remove after the commit
	err     error    // of the first statement that failed; none runs after it
}

// change runs f in a transaction under the mailbox's write lock. The ids it took count only once it is committed.
func (a *Account) change(ctx context.Context, f func(*mailboxd) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.Store
	db, err := s.work(s.MySQLUser, s.MySQLPassword)
	if err != nil {
		return err
	}
	defer db.Close()
	volumes, err := readVolumes(ctx, db)
	if err != nil {
		return err
	}
	if !a.loaded {
		// Rounded up to just below the next multiple: nobody knows how far the ids went beyond the checkpoint.
		err := db.QueryRowContext(ctx, "SELECT item_id_checkpoint + ?, change_checkpoint + ? FROM zimbra.mailbox WHERE id = ?",
			itemCheckpoint-1, changeCheckpoint-1, a.MailboxID).Scan(&a.lastItem, &a.lastChange)
		if err != nil {
			return err
		}
		a.loaded = true
	}
	item, change, thread := a.lastItem, a.lastChange, a.thread
	m := &mailboxd{a: a, group: GroupDatabase(a.Group), rng: a.rng, volumes: volumes}
	err = inTx(ctx, db, func(tx *sql.Tx) error {
		m.tx = tx
		if err := m.begin(ctx); err != nil {
			return err
		}
		if err := a.accepts(ctx); err != nil {
			return err
		}
		return f(m)
	})
	if err != nil {
		a.lastItem, a.lastChange, a.thread = item, change, thread
		var busy *mysql.MySQLError
		if errors.As(err, &busy) && (busy.Number == 1205 || busy.Number == 1213) {
			return errors.Join(ErrDeferred, err)
		}
		return err
	}
	if len(m.remove) == 0 {
		return nil
	}
	return s.Run(ctx, append([]string{"rm", "-f", "--"}, m.remove...), nil, nil)
}

// begin takes the change id. It always changes the mailbox row.
func (m *mailboxd) begin(ctx context.Context) error {
	a := m.a
	a.lastChange++
	m.change = a.lastChange
	// A mover that holds the row makes mail wait, not fail after a minute.
	m.exec(ctx, "SET SESSION innodb_lock_wait_timeout = 5")
	if err := m.exec(ctx, "UPDATE zimbra.mailbox SET last_soap_access = last_soap_access + 1 WHERE id = ?", a.MailboxID); err != nil {
		return err
	}
	if m.change%changeCheckpoint != 0 {
		return nil
	}
	return m.exec(ctx, "UPDATE zimbra.mailbox SET change_checkpoint = ? WHERE id = ?", m.change, a.MailboxID)
}

func (m *mailboxd) nextItem(ctx context.Context) (uint32, error) {
	a := m.a
	a.lastItem++
	if a.lastItem%itemCheckpoint != 0 {
		return a.lastItem, nil
	}
	return a.lastItem, m.exec(ctx, "UPDATE zimbra.mailbox SET item_id_checkpoint = ? WHERE id = ?", a.lastItem, a.MailboxID)
}

// exec runs a statement, unless one failed before: after a deadlock the transaction is gone, and the next statement would stand
// for itself.
func (m *mailboxd) exec(ctx context.Context, query string, args ...any) error {
	if m.err == nil {
		_, m.err = m.tx.ExecContext(ctx, query, args...)
	}
	return m.err
}

// q puts the group's database into a statement: %s stands for it.
func (m *mailboxd) q(query string) string { return strings.ReplaceAll(query, "%s", m.group) }

// accepts asks the directory whether the account is at home and in service.
func (a *Account) accepts(ctx context.Context) error {
	c, err := a.lab.LDAP.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	res, err := c.Search(ldap.NewSearchRequest(a.DN, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=zimbraAccount)",
		[]string{"zimbraMailHost", "zimbraAccountStatus", "zimbraMailStatus"}, nil))
	if err != nil {
		return err
	}
	if len(res.Entries) != 1 {
		return fmt.Errorf("%w: no entry", ErrDeferred)
	}
	e := res.Entries[0]
	for attr, want := range map[string]string{"zimbraMailHost": a.Store.Host, "zimbraAccountStatus": "active", "zimbraMailStatus": "enabled"} {
		if got := e.GetAttributeValue(attr); got != want {
			return fmt.Errorf("%w: %s is %s", ErrDeferred, attr, got)
		}
	}
	return nil
}

// writeBlob puts a blob under the name its row will demand: into incoming first, then renamed.
func (m *mailboxd) writeBlob(ctx context.Context, id uint32, raw []byte) (locator string, err error) {
	i := slices.IndexFunc(m.volumes, func(v volumeRow) bool { return v.kind == 1 && v.current })
	if i < 0 {
		return "", errors.New("no current message volume")
	}
	v, s := m.volumes[i], m.a.Store
	file := v.path + "/" + v.blobFile(m.a.MailboxID, id, m.change)
	temp := fmt.Sprintf("%s/incoming/%d-%d-%d", v.path, m.a.MailboxID, id, m.change)
	const script = `umask 027
mkdir -p "$3" && cat > "$1" && chmod 640 "$1" && if [ "$(id -u)" = 0 ]; then chown "$4:$4" "$1" "$3" "$3/.." "$3/../.." "$3/../../.."; fi && mv "$1" "$2"`
	return fmt.Sprint(v.id), s.Run(ctx, []string{"sh", "-c", script, "sh", temp, file, path.Dir(file), fmt.Sprint(s.owner)}, bytes.NewReader(raw), nil)
}

func (m *mailboxd) insert(ctx context.Context, table, columns string, values ...any) error {
	if m.err == nil {
		m.err = insertRows(ctx, m.tx, m.group+"."+table, columns, [][]any{values})
	}
	return m.err
}

func (m *mailboxd) deliver(ctx context.Context) error {
	a, now := m.a, generated.Unix()+int64(m.change)
	if a.thread == nil || m.rng.IntN(3) == 0 {
		conversation, err := m.nextItem(ctx)
		if err != nil {
			return err
		}
		a.thread = &thread{conversation: conversation, subject: fmt.Sprintf("(%d,'%s'), %s", a.MailboxID, a.ID, sentence(m.rng))}
		it := &item{id: conversation, kind: typeConversation, folder: folderConversations, date: now, unread: 0, subject: a.thread.subject,
			metadata: bencoded("prt", "new"), modMetadata: m.change, changeDate: now, modContent: m.change}
		if err := m.insert(ctx, "mail_item", itemColumns, it.row(a.MailboxID)...); err != nil {
			return err
		}
		hash := digestSHA1(fmt.Append(nil, "delivered ", conversation))
		if err := m.insert(ctx, "open_conversation", "mailbox_id, hash, conv_id", a.MailboxID, hash, conversation); err != nil {
			return err
		}
	}
	id, err := m.nextItem(ctx)
	if err != nil {
		return err
	}
	subject := "Re: " + a.thread.subject
	raw := message(m.rng, "writer@example.org", a.Name, subject, fmt.Sprintf("%d.%d.%s@lab.example", id, m.change, a.ID), 200+m.rng.IntN(3000))
	locator, err := m.writeBlob(ctx, id, raw)
	if err != nil {
		return err
	}
	it := &item{
		id: id, kind: typeMessage, parent: a.thread.conversation, folder: folderInbox, indexID: 0, imapID: id, date: now, unread: 1,
		size: uint64(len(raw)), locator: locator, digest: digestSHA256(raw), sender: "writer", recips: a.Name, subject: subject,
		metadata: bencoded("s", subject), modMetadata: m.change, changeDate: now, modContent: m.change,
	}
	if err := m.insert(ctx, "mail_item", itemColumns, it.row(a.MailboxID)...); err != nil {
		return err
	}
	// Counters do not count as changes of the folder: mod_metadata stays.
	m.exec(ctx, m.q("UPDATE %s.mail_item SET size = size + 1, unread = unread + 1 WHERE mailbox_id = ? AND id = ?"), a.MailboxID, folderInbox)
	m.exec(ctx, m.q("UPDATE %s.mail_item SET size = size + 1, mod_metadata = ? WHERE mailbox_id = ? AND id = ?"), m.change, a.MailboxID, a.thread.conversation)
	m.exec(ctx, "UPDATE zimbra.mailbox SET size_checkpoint = size_checkpoint + ?, new_messages = new_messages + 1, idx_deferred_count = idx_deferred_count + 1 WHERE id = ?",
		len(raw), a.MailboxID)
	m.insert(ctx, "event", "mailbox_id, account_id, item_id, folder_id, op, ts", a.MailboxID, a.ID, id, folderInbox, 1, now)
	return m.err
}

// churn makes one change. Where nothing is left to change that way it changes a flag of the inbox instead.
func (m *mailboxd) churn(ctx context.Context) error {
	kinds := []struct {
		from, where string
		do          func(context.Context, *victim) error
	}{
		{"mail_item", "type = 5", m.flag},
		{"mail_item", "type = 5", m.delete},
		{"mail_item", "type = 5", m.move},
		{"mail_item", "type = 5", m.tag},
		{"mail_item", "type = 8", m.rename},
		{"mail_item", "type = 8", m.revise},
		{"mail_item", "type = 5", m.toDumpster},
		{"mail_item_dumpster", "type = 5", m.fromDumpster},
	}
	k := kinds[m.rng.IntN(len(kinds))]
	v, err := m.victim(ctx, k.from, k.where)
	if errors.Is(err, sql.ErrNoRows) {
		return m.exec(ctx, m.q("UPDATE %s.mail_item SET flags = IF(flags & 32, flags - 32, flags + 32), mod_metadata = ? WHERE mailbox_id = ? AND id = ?"), m.change, m.a.MailboxID, folderInbox)
	}
	if err != nil {
		return err
	}
	return k.do(ctx, v)
}

// A victim is the item that a change is made to.
type victim struct {
	id, modContent uint32
	kind           int
	locator        sql.NullString
}

// victim is the first item at or after a random place, or the first of all.
func (m *mailboxd) victim(ctx context.Context, table, where string) (*victim, error) {
	query := "SELECT id, mod_content, type, locator FROM " + m.group + "." + table + " WHERE mailbox_id = ? AND " + where
	// The newsletter stays: other mailboxes link to it.
	query += fmt.Sprintf(" AND id <> %d", newsletterItem)
	var n int
	if err := m.tx.QueryRowContext(ctx, strings.Replace(query, "id, mod_content, type, locator", "COUNT(*)", 1), m.a.MailboxID).Scan(&n); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, sql.ErrNoRows
	}
	var v victim
	err := m.tx.QueryRowContext(ctx, query+" ORDER BY id LIMIT 1 OFFSET ?", m.a.MailboxID, m.rng.IntN(n)).Scan(&v.id, &v.modContent, &v.kind, &v.locator)
	return &v, err
}

// file is the absolute name of the blob that (id, modContent, locator) demands; "" without a locator.
func (m *mailboxd) file(id, modContent uint32, locator sql.NullString) string {
	i := slices.IndexFunc(m.volumes, func(v volumeRow) bool { return locator.Valid && fmt.Sprint(v.id) == locator.String })
	if i < 0 {
		return ""
	}
	return m.volumes[i].path + "/" + m.volumes[i].blobFile(m.a.MailboxID, id, modContent)
}

func (m *mailboxd) flag(ctx context.Context, v *victim) error {
	return m.exec(ctx, m.q("UPDATE %s.mail_item SET flags = IF(flags & 32, flags - 32, flags + 32), unread = 1 - LEAST(unread, 1), mod_metadata = ?, change_date = ? WHERE mailbox_id = ? AND id = ?"),
		m.change, generated.Unix()+int64(m.change), m.a.MailboxID, v.id)
}

// delete deletes an item for good: cascades take its tags and versions, a tombstone tells the clients.
func (m *mailboxd) delete(ctx context.Context, v *victim) error {
	if err := m.leaveConversation(ctx, v); err != nil {
		return err
	}
	m.exec(ctx, m.q("DELETE FROM %s.mail_item WHERE mailbox_id = ? AND id = ?"), m.a.MailboxID, v.id)
	m.insert(ctx, "tombstone", "mailbox_id, sequence, date, type, ids", m.a.MailboxID, m.change, generated.Unix(), v.kind, fmt.Sprint(v.id))
	m.removeFile(m.file(v.id, v.modContent, v.locator))
	return m.err
}

func (m *mailboxd) removeFile(name string) {
	if name != "" {
		m.remove = append(m.remove, name)
	}
}

// leaveConversation counts the item out of its conversation and its folder.
func (m *mailboxd) leaveConversation(ctx context.Context, v *victim) error {
	m.exec(ctx, m.q(`UPDATE %s.mail_item c JOIN %s.mail_item i ON i.mailbox_id = c.mailbox_id AND i.parent_id = c.id
			SET c.size = c.size - 1, c.mod_metadata = ? WHERE i.mailbox_id = ? AND i.id = ? AND c.size > 0`), m.change, m.a.MailboxID, v.id)
	m.exec(ctx, m.q(`UPDATE %s.mail_item f JOIN %s.mail_item i ON i.mailbox_id = f.mailbox_id AND i.folder_id = f.id
			SET f.size = f.size - 1, f.unread = f.unread - LEAST(f.unread, i.unread) WHERE i.mailbox_id = ? AND i.id = ? AND f.size > 0`), m.a.MailboxID, v.id)
	return m.err
}

func (m *mailboxd) move(ctx context.Context, v *victim) error {
	to := []uint32{folderInbox, folderTrash, folderSent, firstUserID}[m.rng.IntN(4)]
	return m.exec(ctx, m.q("UPDATE %s.mail_item SET prev_folders = CONCAT(?, ':', folder_id), folder_id = ?, mod_metadata = ? WHERE mailbox_id = ? AND id = ?"),
		m.change, to, m.change, m.a.MailboxID, v.id)
}

// tag puts a tag on the item, or takes it away. Counters of tags are no changes of theirs.
func (m *mailboxd) tag(ctx context.Context, v *victim) error {
	n := m.rng.IntN(len(userTags))
	id, names, step := firstTag+1+n, "\x00"+userTags[n]+"\x00", 1
	var has int
	err := m.tx.QueryRowContext(ctx, m.q("SELECT COUNT(*) FROM %s.tagged_item WHERE mailbox_id = ? AND tag_id = ? AND item_id = ?"), m.a.MailboxID, id, v.id).Scan(&has)
	if err != nil {
		return err
	}
	if has > 0 {
		step, names = -1, ""
		m.exec(ctx, m.q("DELETE FROM %s.tagged_item WHERE mailbox_id = ? AND tag_id = ? AND item_id = ?"), m.a.MailboxID, id, v.id)
	} else {
		m.insert(ctx, "tagged_item", "mailbox_id, tag_id, item_id", m.a.MailboxID, id, v.id)
	}
	m.exec(ctx, m.q("UPDATE %s.mail_item SET tag_names = NULLIF(?, ''), mod_metadata = ? WHERE mailbox_id = ? AND id = ?"), names, m.change, m.a.MailboxID, v.id)
	m.exec(ctx, m.q("UPDATE %s.tag SET item_count = item_count + ? WHERE mailbox_id = ? AND id = ?"), step, m.a.MailboxID, id)
	return m.err
}

func (m *mailboxd) rename(ctx context.Context, v *victim) error {
	name := fmt.Sprintf("renamed %d 'by' (%d,", m.change, m.a.MailboxID)
	return m.exec(ctx, m.q("UPDATE %s.mail_item SET name = ?, subject = ?, mod_metadata = ? WHERE mailbox_id = ? AND id = ?"), name, name, m.change, m.a.MailboxID, v.id)
}

// revise gives a document a new version: the old one becomes a revision, with its blob and its old change numbers.
func (m *mailboxd) revise(ctx context.Context, v *victim) error {
	raw := text(nil, m.rng, 500+m.rng.IntN(3000))
	locator, err := m.writeBlob(ctx, v.id, raw)
	if err != nil {
		return err
	}
	m.exec(ctx, m.q(`INSERT INTO %s.revision (`+revisionColumns+`) SELECT mailbox_id, id,
			(SELECT COALESCE(MAX(r.version), 0) + 1 FROM %s.revision r WHERE r.mailbox_id = i.mailbox_id AND r.item_id = i.id),
			date, size, locator, blob_digest, NULL, metadata, mod_metadata, change_date, mod_content FROM %s.mail_item i WHERE mailbox_id = ? AND id = ?`),
		m.a.MailboxID, v.id)
	m.exec(ctx, m.q("UPDATE %s.mail_item SET size = ?, locator = ?, blob_digest = ?, mod_content = ?, mod_metadata = ? WHERE mailbox_id = ? AND id = ?"),
		len(raw), locator, digestSHA256(raw), m.change, m.change, m.a.MailboxID, v.id)
	return m.err
}

// toDumpster deletes an item so that it can be recovered: the row moves, the file stays.
func (m *mailboxd) toDumpster(ctx context.Context, v *victim) error {
	if err := m.leaveConversation(ctx, v); err != nil {
		return err
	}
	m.exec(ctx, m.q("INSERT INTO %s.mail_item_dumpster ("+itemColumns+") SELECT "+itemColumns+" FROM %s.mail_item WHERE mailbox_id = ? AND id = ?"), m.a.MailboxID, v.id)
	m.exec(ctx, m.q("UPDATE %s.mail_item_dumpster SET mod_metadata = ? WHERE mailbox_id = ? AND id = ?"), m.change, m.a.MailboxID, v.id)
	m.exec(ctx, m.q("DELETE FROM %s.mail_item WHERE mailbox_id = ? AND id = ?"), m.a.MailboxID, v.id)
	m.insert(ctx, "tombstone", "mailbox_id, sequence, date, type, ids", m.a.MailboxID, m.change, generated.Unix(), v.kind, fmt.Sprint(v.id))
	return m.err
}

// fromDumpster empties the dumpster of one item. There is no tombstone for it.
func (m *mailboxd) fromDumpster(ctx context.Context, v *victim) error {
	m.removeFile(m.file(v.id, v.modContent, v.locator))
	return m.exec(ctx, m.q("DELETE FROM %s.mail_item_dumpster WHERE mailbox_id = ? AND id = ?"), m.a.MailboxID, v.id)
}
