package lab_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

// filled are the tables a move carries, 7 of zimbra and 18 of the group, and one that it does not.
var filled = []string{
	"zimbra.mailbox", "zimbra.mailbox_metadata", "zimbra.out_of_office", "zimbra.scheduled_task", "zimbra.mobile_devices", "zimbra.pending_acl_push", "zimbra.zmg_devices",
	"mail_item", "mail_item_dumpster", "revision", "revision_dumpster", "tag", "tagged_item", "open_conversation", "appointment", "appointment_dumpster",
	"tombstone", "pop3_message", "imap_folder", "imap_message", "data_source_item", "purged_conversations", "purged_messages", "event", "watch",
	"zimbra.volume_blobs",
}

func add(t testing.TB, l *lab.Lab, store int, spec lab.AccountSpec) *lab.Account {
	t.Helper()
	spec.Name += "@lab.example"
	a, err := l.AddAccount(t.Context(), l.Stores[store], spec)
	require.NoError(t, err)
	return a
}

func table(a *lab.Account, name string) string {
	if strings.HasPrefix(name, "zimbra.") {
		return name
	}
	return lab.GroupDatabase(a.Group) + "." + name
}

func count(t testing.TB, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(query, args...).Scan(&n), query)
	return n
}

func TestAddAccountFillsEveryTable(t *testing.T) {
	l := lab.Shared(t)
	require.Len(t, filled, 26)
	for i, s := range l.Stores {
		for _, items := range []int{1, 100} {
			db := s.DB(t)
			a := add(t, l, i, lab.AccountSpec{Name: fmt.Sprintf("tables%d.%d", i, items), Items: items})
			for _, name := range filled {
				column := "mailbox_id"
				if name == "zimbra.mailbox" {
					column = "id"
				}
				require.Positive(t, count(t, db, fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE %s = %d", table(a, name), column, a.MailboxID)), "%s of %s", name, a.Name)
			}
			require.Equal(t, 1, count(t, db, "SELECT COUNT(*) FROM zimbra.deleted_account WHERE email = ?", "before."+a.Name))
			require.Equal(t, max(items, 25), count(t, db, "SELECT COUNT(*) FROM "+table(a, "mail_item")+" WHERE mailbox_id = ? AND type NOT IN (1, 2, 4, 13)", a.MailboxID))
			require.Equal(t, (int(a.MailboxID)-1)%s.Groups+1, a.Group)
			require.Less(t, int(a.MailboxID), count(t, db, "SELECT next_mailbox_id FROM zimbra.current_volumes"))
			require.NoError(t, s.CheckBlobs(t.Context(), a.MailboxID))
		}
	}
}

// What makes content hostile must be there, or tests that rest on it prove nothing.
func TestContentIsHostile(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 0, lab.AccountSpec{Name: "hostile", Items: 300})
	db := l.Stores[0].DB(t)
	mine := fmt.Sprintf(" FROM %s WHERE mailbox_id = %d AND ", table(a, "mail_item"), a.MailboxID)
	for what, where := range map[string]string{
		"NUL in tag_names":     `tag_names LIKE '%\0%\0'`,
		"own id in a subject":  fmt.Sprintf("subject LIKE '%%(%d,%%'", a.MailboxID),
		"own id in metadata":   fmt.Sprintf("metadata LIKE '%%(%d,%%'", a.MailboxID),
		"account id":           fmt.Sprintf(`subject LIKE '%%,\'%s\'%%'`, a.ID),
		"quotes":               `subject LIKE '%\'%"%'`,
		"backslash at the end": `subject LIKE '%\\\\'`,
		"CR, LF":               `subject LIKE '%\r\n%'`,
		"Ctrl-Z":               `subject LIKE '%\Z%'`,
		"closing line":         `subject LIKE '%\n-- Dump completed%'`,
		"comments":             `subject LIKE '%/*!%'`,
		"longest name":         "name LIKE '界%' AND CHAR_LENGTH(name) = 255",
		"NULL":                 "sender IS NULL AND type = 5",
		"empty":                "sender = '' AND type = 5",
		"date 0":               "date = 0 AND type = 5",
		"date 2038":            "date = 2147483647",
		"greatest number":      "imap_id = 4294967295",
		"conversation":         "parent_id IS NOT NULL AND type = 5",
		"past the hash mask":   "id > 1048576",
		"no digest":            "locator IS NOT NULL AND blob_digest IS NULL",
		"SHA-1":                "CHAR_LENGTH(blob_digest) = 28",
		"primary":              "locator = '1'",
		"HSM":                  "locator = '3'",
		"indexed":              "index_id = id",
	} {
		require.Positive(t, count(t, db, "SELECT COUNT(*)"+mine+where), what)
	}
	for _, name := range []string{"event", "tombstone"} {
		var columns string
		require.NoError(t, db.QueryRow("SELECT GROUP_CONCAT(column_name) FROM information_schema.columns WHERE CONCAT(table_schema, '.', table_name) = ?", table(a, name)).Scan(&columns))
		require.Positive(t, count(t, db, fmt.Sprintf("SELECT COUNT(*) FROM (SELECT 1 FROM %s WHERE mailbox_id = %d GROUP BY %s HAVING COUNT(*) > 1) x", table(a, name), a.MailboxID, columns)), "equal rows in "+name)
	}
	require.Positive(t, count(t, db, "SELECT COUNT(*) FROM "+table(a, "tag")+" WHERE id < 0 AND mailbox_id = ?", a.MailboxID))
	require.Positive(t, count(t, db, "SELECT COUNT(*) FROM "+table(a, "appointment")+" WHERE end_time IS NULL AND mailbox_id = ?", a.MailboxID))
}

func TestFilesLookLikeAStore(t *testing.T) {
	l := lab.Shared(t)
	add(t, l, 0, lab.AccountSpec{Name: "files1"})
	a := add(t, l, 0, lab.AccountSpec{Name: "files2", Items: 300})
	blobs, err := a.Blobs(t.Context())
	require.NoError(t, err)
	tables := map[string]int{}
	compressed, byNature, linked, shared := 0, 0, 0, 0
	inodes := map[string]int{}
	stat := map[string]string{}
	for _, line := range strings.Split(output(t, a.Store, "find", a.Store.Home+"/store", a.Store.Home+"/hsm", "-type", "f", "-printf", `%p\t%s %n %i %m %U:%G\n`), "\n") {
		if name, facts, ok := strings.Cut(line, "\t"); ok {
			stat[name] = facts
		}
	}
	gzipped := map[string]bool{}
	for _, name := range strings.Split(output(t, a.Store, "env", "LC_ALL=C", "grep", "-rlaP", `\A\x1f\x8b`, a.Store.Home+"/store"), "\n") {
		gzipped[name] = true
	}
	rootOwner := strings.TrimSpace(output(t, a.Store, "stat", "-c", "%u:%g", a.Store.Home+"/store"))
	for _, b := range blobs {
		tables[b.Table]++
		var size uint64
		var links int
		var inode, mode, owner string
		_, err := fmt.Sscan(stat[b.Path()], &size, &links, &inode, &mode, &owner)
		require.NoError(t, err, b.Path())
		require.Equal(t, "640 "+rootOwner, mode+" "+owner, b.Path())
		switch {
		case size != b.Size:
			compressed++
		case gzipped[b.Path()]:
			byNature++
		}
		inodes[b.Volume+inode]++
		if inodes[b.Volume+inode] == 2 {
			linked++
		}
		if b.ItemID == 257 && links > 1 {
			shared++
		}
	}
	for _, name := range []string{"mail_item", "mail_item_dumpster", "revision", "revision_dumpster"} {
		require.Positive(t, tables[name], name)
	}
	require.Positive(t, compressed)
	require.Positive(t, byNature, "a .gz whose size matches")
	require.Positive(t, linked, "one file with two names in the mailbox")
	require.Equal(t, 1, shared, "the newsletter is shared with another account")

	index := output(t, a.Store, "ls", fmt.Sprintf("%s/index/0/%d/index/0", a.Store.Home, a.MailboxID))
	require.Contains(t, index, "segments_")
	require.Contains(t, index, "segments.gen")
	require.Greater(t, len(strings.Fields(index)), 5)

	named := map[string]bool{}
	for _, b := range blobs {
		named[b.Path()] = true
	}
	orphans := 0
	for name := range stat {
		if strings.Contains(name, fmt.Sprintf("/%d/msg/", a.MailboxID)) && !named[name] {
			orphans++
		}
	}
	require.Equal(t, 3, orphans)
}

// mail2's ids lie beyond 2^20: the directory is masked.
func TestMailboxDirectoryIsMasked(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 1, lab.AccountSpec{Name: "masked"})
	require.Greater(t, a.MailboxID, uint32(1<<20))
	blobs, err := a.Blobs(t.Context())
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("1/%d/msg", a.MailboxID), path.Dir(path.Dir(blobs[0].File)))
	require.NoError(t, a.Store.Run(t.Context(), []string{"test", "-f", blobs[0].Path()}, nil, nil))
}

func TestForeignKeysHold(t *testing.T) {
	l := lab.Shared(t)
	for i, s := range l.Stores {
		a := add(t, l, i, lab.AccountSpec{Name: fmt.Sprintf("orphans%d", i)})
		require.NoError(t, a.Deliver(t.Context()))
		require.NoError(t, a.Churn(t.Context(), 20))
		db := s.RootDB(t)
		rows, err := db.Query(`SELECT table_name, constraint_name, GROUP_CONCAT(column_name ORDER BY ordinal_position), referenced_table_schema, referenced_table_name,
				GROUP_CONCAT(referenced_column_name ORDER BY ordinal_position)
			FROM information_schema.key_column_usage WHERE table_schema = ? AND referenced_table_name IS NOT NULL GROUP BY 1, 2`, lab.GroupDatabase(a.Group))
		require.NoError(t, err)
		keys := 0
		for rows.Next() {
			var from, name, columns, toDB, to, toColumns string
			require.NoError(t, rows.Scan(&from, &name, &columns, &toDB, &to, &toColumns))
			var on, notNull []string
			for i, c := range strings.Split(columns, ",") {
				on = append(on, fmt.Sprintf("p.%s = c.%s", strings.Split(toColumns, ",")[i], c))
				notNull = append(notNull, "c."+c+" IS NOT NULL")
			}
			require.Zero(t, count(t, db, fmt.Sprintf("SELECT COUNT(*) FROM %s.%s c LEFT JOIN %s.%s p ON %s WHERE p.%s IS NULL AND %s",
				lab.GroupDatabase(a.Group), from, toDB, to, strings.Join(on, " AND "), strings.Split(toColumns, ",")[0], strings.Join(notNull, " AND "))), "orphans by "+name)
			keys++
		}
		require.NoError(t, rows.Err())
		rows.Close()
		require.Greater(t, keys, 20)
	}
}

func TestDirectoryEntries(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 1, lab.AccountSpec{Name: "entries", Aliases: []string{"alias1.entries@lab.example"}, Status: "locked", MailStatus: "disabled", Transport: "smtp:elsewhere:25", NoMailbox: true})
	c := l.LDAP.Conn(t)
	find := func(filter string) []*ldap.Entry {
		res, err := c.Search(ldap.NewSearchRequest("", ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, nil, nil))
		require.NoError(t, err)
		return res.Entries
	}
	e := find("(&(|(zimbraMailDeliveryAddress=alias1.entries@lab.example)(zimbraMailAlias=alias1.entries@lab.example))(objectClass=zimbraAccount))")
	require.Len(t, e, 1)
	require.Equal(t, a.DN, e[0].DN)
	for attr, want := range map[string]string{"zimbraId": a.ID, "zimbraMailHost": a.Store.Host, "zimbraMailDeliveryAddress": a.Name,
		"zimbraAccountStatus": "locked", "zimbraMailStatus": "disabled", "zimbraMailTransport": "smtp:elsewhere:25"} {
		require.Equal(t, []string{want}, e[0].GetAttributeValues(attr), attr)
	}
	require.Len(t, find("(&(objectClass=zimbraAlias)(zimbraAliasTargetId="+a.ID+"))"), 1)
	require.Zero(t, a.MailboxID)
	_, err := a.At(t.Context(), a.Store)
	require.ErrorIs(t, err, sql.ErrNoRows, "no mailbox")

	plain := add(t, l, 1, lab.AccountSpec{Name: "entries.plain", Items: -1})
	e = find("(&(zimbraId=" + plain.ID + ")(objectClass=zimbraAccount))")
	require.Len(t, e, 1)
	require.Equal(t, "lmtp:mail2.lab:7025", e[0].GetAttributeValue("zimbraMailTransport"))
	require.Equal(t, 20, count(t, plain.Store.DB(t), "SELECT COUNT(*) FROM "+table(plain, "mail_item")+" WHERE mailbox_id = ?", plain.MailboxID), "system folders alone")
	at, err := plain.At(t.Context(), plain.Store)
	require.NoError(t, err)
	require.Equal(t, plain.MailboxID, at.MailboxID)

	before := count(t, plain.Store.DB(t), "SELECT next_mailbox_id FROM zimbra.current_volumes")
	for _, bad := range []string{"entries.plain@lab.example", "elsewhere@example.org", "@lab.example", "nobody"} {
		_, err := l.AddAccount(t.Context(), plain.Store, lab.AccountSpec{Name: bad})
		require.Error(t, err, bad)
	}
	require.Equal(t, before, count(t, plain.Store.DB(t), "SELECT next_mailbox_id FROM zimbra.current_volumes"), "a name that is taken costs no id")
}

// Equal stores, equal names: equal rows and files. Another seed: others.
func TestDeterministic(t *testing.T) {
	l := lab.Shared(t)
	second, err := lab.Start(t.Context(), &lab.Options{Backend: l.Backend})
	require.NoError(t, err)
	defer func() { require.NoError(t, second.Close()) }()
	third, err := lab.Start(t.Context(), &lab.Options{Backend: l.Backend})
	require.NoError(t, err)
	defer func() { require.NoError(t, third.Close()) }()
	digest := func(l *lab.Lab, seed uint64) map[string]string {
		a := add(t, l, 0, lab.AccountSpec{Name: "same", Seed: seed})
		require.NoError(t, a.Churn(t.Context(), 15))
		d, err := a.Digest(t.Context())
		require.NoError(t, err)
		return d
	}
	got, want := digest(second, 0), digest(third, 0)
	require.Equal(t, want, got)
	a := add(t, second, 0, lab.AccountSpec{Name: "other1", Seed: 7})
	b := add(t, second, 0, lab.AccountSpec{Name: "other2", Seed: 7})
	require.NotEqual(t, a.ID, b.ID, "two accounts of one seed")
}

func TestDigestFindsOneByte(t *testing.T) {
	l := lab.Shared(t)
	a, neighbour := add(t, l, 0, lab.AccountSpec{Name: "digest1"}), add(t, l, 0, lab.AccountSpec{Name: "digest2"})
	s := a.Store
	db := s.RootDB(t)
	blobs, err := a.Blobs(t.Context())
	require.NoError(t, err)
	file := blobs[len(blobs)/2].Path()
	without, err := s.Bystanders(t.Context(), a.MailboxID)
	require.NoError(t, err)
	exec := func(query string) func(context.Context) error {
		return func(context.Context) error { _, err := db.Exec(query); return err }
	}
	run := func(argv ...string) func(context.Context) error {
		return func(ctx context.Context) error { return s.Run(ctx, argv, nil, nil) }
	}
	update := fmt.Sprintf("UPDATE %s SET %%s WHERE mailbox_id = %d AND id = 257", table(a, "mail_item"), a.MailboxID)
	for what, change := range map[string]struct {
		do, undo func(context.Context) error
		keys     []string
	}{
		"a byte in a row":   {exec(fmt.Sprintf(update, "subject = 'To everyonf'")), exec(fmt.Sprintf(update, "subject = 'To everyone'")), []string{table(a, "mail_item")}},
		"NULL for ''":       {exec(fmt.Sprintf(update, "recipients = ''")), exec(fmt.Sprintf(update, "recipients = NULL")), []string{table(a, "mail_item")}},
		"a mode":            {run("chmod", "600", file), run("chmod", "640", file), []string{"volume 1", "volume 3"}},
		"an empty file":     {run("touch", file+".x"), run("rm", file+".x"), []string{"volume 1", "volume 3"}},
		"a directory":       {run("mkdir", path.Dir(file)+"/x"), run("rmdir", path.Dir(file)+"/x"), []string{"volume 1", "volume 3"}},
		"one of equal rows": {exec(fmt.Sprintf("INSERT INTO %s (mailbox_id, sequence, date) VALUES (%d, 4000000000, 1)", table(a, "tombstone"), a.MailboxID)), exec(fmt.Sprintf("DELETE FROM %s WHERE mailbox_id = %d AND sequence = 4000000000", table(a, "tombstone"), a.MailboxID)), []string{table(a, "tombstone")}},
	} {
		t.Run(what, func(t *testing.T) {
			own := func() map[string]string { d, err := a.Digest(t.Context()); require.NoError(t, err); return d }
			others := func(except ...uint32) map[string]string {
				d, err := s.Bystanders(t.Context(), except...)
				require.NoError(t, err)
				return d
			}
			ownBefore, with := own(), others(neighbour.MailboxID)
			require.NoError(t, change.do(t.Context()))
			var changed []string
			for key, value := range own() {
				if value != ownBefore[key] {
					changed = append(changed, key)
				}
			}
			require.Len(t, changed, 1)
			require.Contains(t, change.keys, changed[0])
			if what == "a mode" || what == "a byte in a row" {
				require.Equal(t, without, others(a.MailboxID), "its own change is no bystander's")
			}
			after := others(neighbour.MailboxID)
			require.NotEqual(t, with[changed[0]], after[changed[0]], "for the others it is one")
			require.NoError(t, change.undo(t.Context()))
			require.Equal(t, ownBefore, own())
		})
	}
}

// A mailbox has directories only on the volumes that it uses.
func TestDigestWithoutDirectories(t *testing.T) {
	a := add(t, lab.Shared(t), 0, lab.AccountSpec{Name: "digest.bare", NoMailbox: true})
	_, undo, err := a.Store.PlantMailbox(t.Context(), a.ID)
	require.NoError(t, err)
	defer func() { require.NoError(t, undo(context.Background())) }()
	bare, err := a.At(t.Context(), a.Store)
	require.NoError(t, err)
	d, err := bare.Digest(t.Context())
	require.NoError(t, err)
	require.Regexp(t, "^0 ", d["volume 1"])
	require.Regexp(t, "^1 ", d["zimbra.mailbox"])
}

func TestBystandersKnowTheCounterAndNewGroups(t *testing.T) {
	l := lab.Shared(t)
	a := add(t, l, 1, lab.AccountSpec{Name: "bystander"})
	s := a.Store
	before, err := s.Bystanders(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, before[lab.KeyDeletedAccount])
	require.NoError(t, s.CreateGroup(t.Context(), 93))
	t.Cleanup(func() { s.RootDB(t).Exec("DROP DATABASE mboxgroup93") })
	_, err = s.RootDB(t).Exec("UPDATE zimbra.current_volumes SET next_mailbox_id = next_mailbox_id + 1")
	require.NoError(t, err)
	after, err := s.Bystanders(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, before[lab.KeyNextMailboxID], after[lab.KeyNextMailboxID])
	delete(before, lab.KeyNextMailboxID)
	delete(after, lab.KeyNextMailboxID)
	require.Equal(t, before, after, "a new, empty group and a higher counter")
}

func TestGlobalVariables(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	before, err := s.GlobalVariables(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(before), 300)
	again, err := s.GlobalVariables(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, again)
	db := s.RootDB(t)
	_, err = db.Exec("SET GLOBAL foreign_key_checks = 0")
	require.NoError(t, err)
	after, err := s.GlobalVariables(t.Context())
	_, undo := db.Exec("SET GLOBAL foreign_key_checks = 1")
	require.NoError(t, undo)
	require.NoError(t, err)
	require.NotEqual(t, before["foreign_key_checks"], after["foreign_key_checks"])
}

func TestCheckBlobs(t *testing.T) {
	l := lab.Shared(t)
	for i, s := range l.Stores {
		a := add(t, l, i, lab.AccountSpec{Name: fmt.Sprintf("check%d", i)})
		require.NoError(t, s.CheckBlobs(t.Context(), a.MailboxID))
		blobs, err := a.Blobs(t.Context())
		require.NoError(t, err)
		var b lab.Blob
		for _, b = range blobs {
			if b.Table == "revision" && b.Digest != "" {
				break
			}
		}
		var content bytes.Buffer
		require.NoError(t, s.Run(t.Context(), []string{"cat", b.Path()}, nil, &content))
		changed := bytes.Clone(content.Bytes())
		changed[len(changed)-1] ^= 1
		write := func(p []byte) {
			require.NoError(t, s.Run(t.Context(), []string{"sh", "-c", `cat > "$1"`, "sh", b.Path()}, bytes.NewReader(p), nil))
		}
		write(changed)
		require.ErrorContains(t, s.CheckBlobs(t.Context(), a.MailboxID), b.Path(), "a changed byte")
		write(content.Bytes()[:content.Len()-1])
		require.ErrorContains(t, s.CheckBlobs(t.Context(), a.MailboxID), b.Path(), "cut short")
		write(content.Bytes())
		require.NoError(t, s.CheckBlobs(t.Context(), a.MailboxID))

		file, undo, err := s.RemoveBlob(t.Context(), a)
		require.NoError(t, err)
		require.ErrorContains(t, s.CheckBlobs(t.Context(), a.MailboxID), file+": missing")
		require.NoError(t, undo(t.Context()))
		require.NoError(t, s.CheckBlobs(t.Context(), a.MailboxID))
	}
}
