package mboxverify_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb/mboxverify"
)

// A twin is a mailbox on mail1 and a copy of its rows on mail2, which the test makes.
type twin struct {
	account  *lab.Account
	src, dst *lab.Store
	from, to mboxverify.Mailbox
	opt      mboxverify.Options

	srcRoot, dstRoot *sql.Conn
	rows             map[string]*tableRows // by table, as they were at the source
}

var twins atomic.Int32

func newTwin(t *testing.T, items int) *twin {
	t.Helper()
	ctx := t.Context()
	l := lab.Shared(t)
	n := int(twins.Add(1))
	a, err := l.AddAccount(ctx, l.Stores[0], lab.AccountSpec{Name: fmt.Sprintf("twin%d@lab.example", n), Items: items})
	require.NoError(t, err)
	m := &twin{
		account: a, src: l.Stores[0], dst: l.Stores[1],
		to:  mboxverify.Mailbox{ID: uint32(3_000_000 + n), Group: 9200 + n},
		opt: mboxverify.Options{Volumes: map[uint8]uint8{1: 5, 3: 5}, IndexVolume: 7, Address: a.Name},
	}
	m.from, err = mboxverify.Find(ctx, m.src.DB(t), a.ID)
	require.NoError(t, err)
	require.Equal(t, mboxverify.Mailbox{ID: a.MailboxID, Group: a.Group}, m.from)
	require.NoError(t, m.dst.CreateGroup(ctx, m.to.Group))
	m.srcRoot, m.dstRoot = rootConn(t, m.src), rootConn(t, m.dst)
	t.Cleanup(func() {
		m.clear(t, "destination")
		exec(t, m.dstRoot, fmt.Sprintf("DROP DATABASE mboxgroup%d", m.to.Group))
	})
	m.remember(t)
	m.fill(t, "destination")
	return m
}

func rootConn(t *testing.T, s *lab.Store) *sql.Conn {
	t.Helper()
	conn, err := s.RootDB(t).Conn(t.Context())
	require.NoError(t, err)
	exec(t, conn, "SET SESSION foreign_key_checks=0, sql_mode='ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone='+00:00', character_set_client=utf8mb4,"+
		" character_set_connection=utf8mb4, character_set_results=utf8mb4")
	return conn
}

func exec(t *testing.T, conn *sql.Conn, stmt string, args ...any) {
	t.Helper()
	_, err := conn.ExecContext(context.WithoutCancel(t.Context()), stmt, args...) // also when the test is over
	require.NoError(t, err, stmt)
}

// tables are those with a mailbox id, by what a server says: "zimbra.mailbox", "mboxgroup.tag".
func tables(t *testing.T, conn *sql.Conn, group int) []string {
	t.Helper()
	rows, err := conn.QueryContext(context.WithoutCancel(t.Context()), "SELECT table_schema, table_name FROM information_schema.columns WHERE table_schema IN ('zimbra', ?)"+
		" AND (column_name = 'mailbox_id' OR table_schema = 'zimbra' AND table_name = 'mailbox' AND column_name = 'id')", fmt.Sprint("mboxgroup", group))
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var database, name string
		require.NoError(t, rows.Scan(&database, &name))
		out = append(out, strings.TrimRight(database, "0123456789")+"."+name)
	}
	require.NoError(t, rows.Err())
	slices.Sort(out)
	return out
}

func in(table string, group int) string {
	return strings.Replace(table, "mboxgroup.", fmt.Sprintf("mboxgroup%d.", group), 1)
}

func idOf(table string) string {
	if table == "zimbra.mailbox" {
		return "id"
	}
	return "mailbox_id"
}

func (m *twin) clear(t *testing.T, side string) {
	t.Helper()
	conn, mailbox := m.side(side)
	for _, table := range tables(t, conn, mailbox.Group) {
		exec(t, conn, fmt.Sprintf("DELETE FROM %s WHERE %s = %d", in(table, mailbox.Group), idOf(table), mailbox.ID))
	}
}

// A tableRows is what a table has of the mailbox.
type tableRows struct {
	columns []string
	rows    [][]any
}

// remember reads the source's rows, for fill.
func (m *twin) remember(t *testing.T) {
	t.Helper()
	m.rows = map[string]*tableRows{}
	for _, table := range tables(t, m.srcRoot, m.from.Group) {
		if table == "zimbra.volume_blobs" || table == "zimbra.deleted_account" {
			continue
		}
		rows, err := m.srcRoot.QueryContext(t.Context(), fmt.Sprintf("SELECT * FROM %s WHERE %s = %d", in(table, m.from.Group), idOf(table), m.from.ID))
		require.NoError(t, err)
		columns, err := rows.Columns()
		require.NoError(t, err)
		r := &tableRows{columns: columns}
		for rows.Next() {
			values, dest := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				dest[i] = &values[i]
			}
			require.NoError(t, rows.Scan(dest...))
			r.rows = append(r.rows, values)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		m.rows[table] = r
	}
}

// fill makes one side's rows what is remembered; at the destination with what a move maps.
func (m *twin) fill(t *testing.T, side string) {
	t.Helper()
	m.clear(t, side)
	conn, mailbox := m.side(side)
	for table, r := range m.rows {
		if len(r.rows) == 0 {
			continue
		}
		var all []any
		for _, row := range r.rows {
			for i, v := range row {
				if side == "destination" {
					v = m.mapped(table, r.columns[i], v)
				}
				all = append(all, v)
			}
		}
		row := ",(?" + strings.Repeat(",?", len(r.columns)-1) + ")"
		exec(t, conn, fmt.Sprintf("INSERT INTO %s (%s) VALUES %s", in(table, mailbox.Group), strings.Join(r.columns, ","), strings.Repeat(row, len(r.rows))[1:]), all...)
	}
}

func (m *twin) mapped(table, column string, v any) any {
	switch {
	case column == idOf(table):
		return m.to.ID
	case column == "locator" && v != nil:
		return map[string]string{"1": "5", "3": "5"}[fmt.Sprintf("%s", v)]
	case table != "zimbra.mailbox":
		return v
	}
	switch column {
	case "group_id":
		return m.to.Group
	case "index_volume_id":
		return m.opt.IndexVolume
	case "last_backup_at":
		return nil
	case "comment":
		return m.opt.Address
	case "item_id_checkpoint", "change_checkpoint":
		return 2147483647
	}
	return v
}

func (m *twin) side(side string) (*sql.Conn, mboxverify.Mailbox) {
	if side == "source" {
		return m.srcRoot, m.from
	}
	return m.dstRoot, m.to
}

func (m *twin) compare(t *testing.T, change ...func(*mboxverify.Options)) ([]mboxverify.Table, error) {
	t.Helper()
	opt := m.opt
	for _, f := range change {
		f(&opt)
	}
	return mboxverify.Compare(t.Context(), m.dst.DB(t), m.src.DB(t), m.to, m.from, &opt)
}

// at fills in one side: G is its group's database, M its mailbox id.
func (m *twin) at(t *testing.T, side, stmt string) {
	t.Helper()
	conn, mailbox := m.side(side)
	stmt = mailboxPlaceholder.ReplaceAllString(strings.ReplaceAll(stmt, "G.", fmt.Sprintf("mboxgroup%d.", mailbox.Group)), fmt.Sprint(mailbox.ID))
	exec(t, conn, stmt)
}

var (
	hashes             = regexp.MustCompile(`sha256(\(\w+\))?=[0-9a-f]{64}`)
	mailboxPlaceholder = regexp.MustCompile(`\bM\b`)
	alternatives       = regexp.MustCompile(`\w+\|\w+`)
)

// differences are what a comparison named, one a line, without the hashes.
func differences(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var mismatch *mboxverify.MismatchError
	require.ErrorAs(t, err, &mismatch)
	var out []string
	for _, table := range mismatch.Tables {
		for _, r := range table.Rows {
			out = append(out, table.Name+" "+hashes.ReplaceAllString(r.String(), "..."))
		}
		for _, c := range table.Columns {
			out = append(out, table.Name+"."+c)
		}
		if table.More {
			out = append(out, table.Name+" more")
		}
	}
	for name, n := range mismatch.Strays {
		out = append(out, fmt.Sprintf("%s stray %d", name, n))
	}
	slices.Sort(out)
	return out
}

func TestEqual(t *testing.T) {
	m := newTwin(t, 200)
	srcBefore, err := m.src.Bystanders(t.Context())
	require.NoError(t, err)
	dstBefore, err := m.dst.Bystanders(t.Context())
	require.NoError(t, err)
	variables, err := m.dst.GlobalVariables(t.Context())
	require.NoError(t, err)

	is, err := m.compare(t)
	require.NoError(t, err)
	require.Len(t, is, 25)
	require.Equal(t, "zimbra.mailbox", is[24].Name)
	for _, table := range is {
		require.Positive(t, table.Source, table.Name)
		require.True(t, table.Equal(), table.Name)
	}

	srcAfter, err := m.src.Bystanders(t.Context())
	require.NoError(t, err)
	require.Equal(t, srcBefore, srcAfter)
	dstAfter, err := m.dst.Bystanders(t.Context())
	require.NoError(t, err)
	require.Equal(t, dstBefore, dstAfter)
	after, err := m.dst.GlobalVariables(t.Context())
	require.NoError(t, err)
	require.Equal(t, variables, after)

	// What the caller's own sessions are set to changes nothing, and they are not changed.
	pool := func(s *lab.Store) *sql.DB {
		c := mysql.NewConfig()
		c.Net, c.Addr, c.User, c.Passwd, c.ParseTime = "tcp", s.MySQLAddr, s.MySQLUser, s.MySQLPassword, true
		c.Params = map[string]string{"sql_select_limit": "3", "time_zone": "'+05:00'", "sql_mode": "'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES'"}
		connector, err := mysql.NewConnector(c)
		require.NoError(t, err)
		db := sql.OpenDB(connector)
		t.Cleanup(func() { db.Close() })
		db.SetMaxOpenConns(1)
		return db
	}
	src, dst := pool(m.src), pool(m.dst)
	again, err := mboxverify.Compare(t.Context(), dst, src, m.to, m.from, &m.opt)
	require.NoError(t, err)
	require.Equal(t, is, again)
	var limit int
	require.NoError(t, src.QueryRow("SELECT @@sql_select_limit").Scan(&limit))
	require.Equal(t, 3, limit)
}

func TestDifferencesAreNamed(t *testing.T) {
	m := newTwin(t, 60)
	for _, stmt := range []string{
		"INSERT INTO G.event (mailbox_id, account_id, item_id, folder_id, op, ts) VALUES (M, 'pairs', 1, 2, 3, 4), (M, 'pairs', 1, 2, 3, 4)," +
			" (M, 'pairs', 2, 2, 3, 4), (M, 'pairs', 2, 2, 3, 4)",
		"UPDATE G.mail_item SET recipients = 'x', sender = ',y' WHERE mailbox_id = M AND id = 257",
		"INSERT INTO G.tag (mailbox_id, id, name, sequence) VALUES (M, -1077, 'a', 1), (M, -1005, 'b', 1)",
		"INSERT INTO G.watch (mailbox_id, target, item_id) VALUES (M, 'xyzzy', 9), (M, 'xyzzy', 10), (M, 'ä', 2147483640)",
	} {
		m.at(t, "source", stmt)
	}
	m.remember(t)
	m.fill(t, "destination")
	_, err := m.compare(t)
	require.NoError(t, err)
	both := []string{"source", "destination"}
	for name, test := range map[string]struct {
		sides []string
		stmt  string
		want  []string // S and D are what it is when it was done at the source and at the destination: "missing|extra"
	}{
		"a flipped letter":  {both, "UPDATE G.mail_item SET subject = CONCAT(COALESCE(subject, ''), 'xyzzy') WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in subject"}},
		"a case":            {both, "UPDATE G.mail_item SET sender = ',Y' WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in sender"}},
		"two columns":       {both, "UPDATE G.mail_item SET flags = flags + 1, unread = unread + 1 WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in flags, unread"}},
		"a blank":           {both, "UPDATE G.mail_item SET sender = ',y ' WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in sender"}},
		"a comma elsewhere": {both, "UPDATE G.mail_item SET recipients = 'x,', sender = 'y' WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in recipients, sender"}},
		"nothing for NULL":  {both, "UPDATE G.mail_item SET name = IF(name IS NULL, '', NULL) WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in name"}},
		"a row missing": {both, "DELETE FROM G.mail_item WHERE mailbox_id = M AND id = 257",
			[]string{"mboxgroup.mail_item id=257 extra|missing"}},
		"the first row missing": {both, "DELETE FROM G.tag WHERE mailbox_id = M AND id = -1077", []string{"mboxgroup.tag id=-1077 extra|missing"}},
		"the last row missing":  {both, "DELETE FROM G.watch WHERE mailbox_id = M AND item_id = 2147483640", []string{"mboxgroup.watch ...,item_id=2147483640 extra|missing"}},
		"a row extra": {both, "INSERT INTO G.purged_messages (mailbox_id, data_source_id, item_id, remote_id, remote_folder_id) VALUES (M, 'xyzzy', 7, '', '')",
			[]string{"mboxgroup.purged_messages ...,item_id=7 missing|extra"}},
		"another key": {both, "UPDATE G.tag SET id = -1006 WHERE mailbox_id = M AND id = -1005",
			[]string{"mboxgroup.tag id=-1006 missing|extra", "mboxgroup.tag id=-1005 extra|missing"}},
		"one of two equal rows": {both, "DELETE FROM G.event WHERE mailbox_id = M AND item_id = 2 AND account_id = 'pairs' LIMIT 1",
			[]string{"mboxgroup.event folder_id=2,item_id=2,... extra|missing"}},
		"a third equal row": {both, "INSERT INTO G.event SELECT * FROM G.event WHERE mailbox_id = M AND item_id = 2 AND account_id = 'pairs' LIMIT 1",
			[]string{"mboxgroup.event folder_id=2,item_id=2,... missing|extra"}},
		"two equal rows for two other equal ones": {both, "UPDATE G.event SET item_id = 1 WHERE mailbox_id = M AND account_id = 'pairs' AND item_id = 2", []string{
			"mboxgroup.event folder_id=2,item_id=2|1,... different in item_id", "mboxgroup.event folder_id=2,item_id=2|1,... different in item_id",
		}},
		"a column of one of two equal rows": {both, "UPDATE G.event SET ts = ts + 1 WHERE mailbox_id = M AND account_id = 'pairs' AND item_id = 2 LIMIT 1",
			[]string{"mboxgroup.event folder_id=2,item_id=2,... different in ts"}},
		"another volume": {[]string{"destination"}, "UPDATE G.mail_item SET locator = '6' WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in locator"}},
		"a volume that is in no map": {[]string{"source"}, "UPDATE G.mail_item SET locator = '5' WHERE mailbox_id = M AND id = 257",
			[]string{"mboxgroup.mail_item id=257 different in locator"}},
		"an external volume": {both, "UPDATE G.mail_item SET locator = '1@@x' WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in locator"}},
		"no volume":          {both, "UPDATE G.mail_item SET locator = NULL WHERE mailbox_id = M AND id = 257", []string{"mboxgroup.mail_item id=257 different in locator"}},
		"a second":           {both, "UPDATE zimbra.out_of_office SET sent_on = sent_on + INTERVAL 1 SECOND WHERE mailbox_id = M ORDER BY sent_to LIMIT 1", []string{"zimbra.out_of_office ... different in sent_on"}},

		"another account":         {both, "UPDATE zimbra.mailbox SET account_id = CONCAT('x', account_id) WHERE id = M", []string{"zimbra.mailbox id=D different in account_id"}},
		"a size":                  {both, "UPDATE zimbra.mailbox SET size_checkpoint = size_checkpoint + 1 WHERE id = M", []string{"zimbra.mailbox id=D different in size_checkpoint"}},
		"a backup":                {[]string{"destination"}, "UPDATE zimbra.mailbox SET last_backup_at = 7 WHERE id = M", []string{"zimbra.mailbox id=D different in last_backup_at"}},
		"a backup at the source":  {[]string{"source"}, "UPDATE zimbra.mailbox SET last_backup_at = 7 WHERE id = M", nil},
		"a comment":               {[]string{"destination"}, "UPDATE zimbra.mailbox SET comment = 'xyzzy' WHERE id = M", []string{"zimbra.mailbox id=D different in comment"}},
		"a comment at the source": {[]string{"source"}, "UPDATE zimbra.mailbox SET comment = 'xyzzy' WHERE id = M", nil},
		"an index volume":         {[]string{"destination"}, "UPDATE zimbra.mailbox SET index_volume_id = 2 WHERE id = M", []string{"zimbra.mailbox id=D different in index_volume_id"}},
		"a group":                 {[]string{"destination"}, "UPDATE zimbra.mailbox SET group_id = 1 WHERE id = M", []string{"zimbra.mailbox id=D different in group_id"}},
		"a checkpoint below the source's": {[]string{"destination"}, "UPDATE zimbra.mailbox SET change_checkpoint = 0 WHERE id = M",
			[]string{"zimbra.mailbox id=D different in change_checkpoint"}},
		"a checkpoint below a row's": {[]string{"destination"}, "UPDATE zimbra.mailbox SET item_id_checkpoint = 256 WHERE id = M",
			[]string{"zimbra.mailbox id=D different in item_id_checkpoint"}},
		"no mailbox":               {[]string{"destination"}, "DELETE FROM zimbra.mailbox WHERE id = M", []string{"zimbra.mailbox id=D missing"}},
		"rows of tables that stay": {both, "INSERT INTO zimbra.volume_blobs (volume_id, mailbox_id, item_id, revision, blob_digest) VALUES (1, M, 1, 1, 'x')", nil},
	} {
		for _, side := range test.sides {
			name := name + ", " + side
			m.at(t, side, test.stmt)
			var want []string
			for _, w := range test.want {
				w = strings.ReplaceAll(w, "id=D", fmt.Sprint("id=", m.to.ID))
				w = alternatives.ReplaceAllStringFunc(w, func(s string) string {
					a, b, _ := strings.Cut(s, "|")
					if side == "source" {
						return a
					}
					return b
				})
				want = append(want, w)
			}
			slices.Sort(want)
			_, err := m.compare(t)
			require.Equal(t, want, differences(t, err), "%s: %v", name, err)
			if err != nil {
				require.NotContains(t, err.Error(), "xyzzy", name)
			}
			m.fill(t, side)
		}
	}
}

// More rows than are named, in tables with a key and without.
func TestManyDifferences(t *testing.T) {
	m := newTwin(t, 60)
	for _, table := range []string{"mail_item", "event"} {
		m.at(t, "destination", "DELETE FROM G."+table+" WHERE mailbox_id = M")
	}
	_, err := m.compare(t)
	var mismatch *mboxverify.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Len(t, mismatch.Tables, 2)
	for _, table := range mismatch.Tables {
		require.Positive(t, table.Source)
		require.Zero(t, table.Dest)
		require.Len(t, table.Rows, int(min(table.Source, 10)), table.Name)
		require.Equal(t, table.Source > 10, table.More, table.Name)
	}
	m.at(t, "destination", "INSERT INTO G.event (mailbox_id, account_id, item_id, folder_id, op, ts) SELECT M, 'x', 1, seq MOD 1000, 1, 1 FROM zimbra.seq_1_to_3000")
	_, err = m.compare(t, func(o *mboxverify.Options) { o.Rows = 3 })
	require.ErrorAs(t, err, &mismatch)
	require.Len(t, mismatch.Tables, 2)
	for _, table := range mismatch.Tables {
		require.Len(t, table.Rows, 3, table.Name)
		require.True(t, table.More, table.Name)
	}
}

// A copy that is not published yet has no row in zimbra, nor in tables that stay.
func TestUnpublished(t *testing.T) {
	m := newTwin(t, 25)
	unpublished := func(o *mboxverify.Options) { o.Unpublished = true }
	m.at(t, "destination", "INSERT INTO zimbra.volume_blobs (volume_id, mailbox_id, item_id, revision, blob_digest) VALUES (5, M, 1, 1, 'x')")
	_, err := m.compare(t, unpublished)
	var mismatch *mboxverify.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Empty(t, mismatch.Tables)
	require.Len(t, mismatch.Strays, 8)
	require.Equal(t, int64(1), mismatch.Strays["zimbra.mailbox"])
	require.Equal(t, int64(1), mismatch.Strays["zimbra.volume_blobs"])
	require.ErrorContains(t, err, "zimbra.mailbox (1 rows where none should be)")
	for _, table := range tables(t, m.dstRoot, m.to.Group) {
		if strings.HasPrefix(table, "zimbra.") {
			m.at(t, "destination", "DELETE FROM "+table+" WHERE "+idOf(table)+" = M")
		}
	}
	is, err := m.compare(t, unpublished)
	require.NoError(t, err)
	require.Len(t, is, 18)
	_, err = m.compare(t)
	require.ErrorContains(t, err, fmt.Sprintf("id=%d missing", m.to.ID))
}

// Tables that an extension made are compared too, with everything that Zimbra's own have not: other keys, types and character sets.
func TestExtensions(t *testing.T) {
	m := newTwin(t, 25)
	create := func(side string) {
		m.at(t, side, "CREATE TABLE G.ext_things (mailbox_id INT UNSIGNED NOT NULL, k VARBINARY(600) NOT NULL, l VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci NOT NULL,"+
			" n BIGINT NOT NULL, u BIGINT UNSIGNED NOT NULL, x DECIMAL(30,10) NOT NULL, w DATETIME(6) NOT NULL, emoji TEXT CHARACTER SET utf8mb4, b BLOB, y YEAR, d DATE, t TIME(3),"+
			" ts TIMESTAMP(3) NULL, e ENUM('a', 'b'' ö'), s SET('x', 'y'), bits BIT(9), big MEDIUMTEXT,"+
			" PRIMARY KEY (mailbox_id, k, l, n, u, x, w)) ENGINE=InnoDB DEFAULT CHARSET=utf8")
		m.at(t, side, "CREATE TABLE G.ext_bag (mailbox_id INT UNSIGNED NOT NULL, note TEXT, d DOUBLE, UNIQUE KEY (note(3)), KEY (mailbox_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8")
		m.at(t, side, "CREATE TABLE G.ext_mark (mailbox_id INT UNSIGNED NOT NULL PRIMARY KEY) ENGINE=InnoDB")
	}
	create("source")
	t.Cleanup(func() {
		for _, table := range []string{"ext_things", "ext_bag", "ext_mark"} {
			m.at(t, "source", "DROP TABLE G."+table)
		}
	})
	_, err := m.compare(t)
	require.ErrorContains(t, err, "mboxgroup.ext_bag: column d: values of types double and double cannot be compared")
	m.at(t, "source", "ALTER TABLE G.ext_bag DROP COLUMN d")
	_, err = m.compare(t)
	require.NoError(t, err, "tables without rows are as good as none")
	long := "CONCAT(REPEAT('k', 590), CHAR(%d), 'xyzzy')" // a sort that looks at the beginning alone does not tell these apart
	var rows []string
	for i, n := range []string{"-9223372036854775808", "9223372036854775807", "-1", "0", "10", "9", "-10"} {
		rows = append(rows, fmt.Sprintf("(M, "+long+", 'zé€', %s, 18446744073709551615 - %d, %s.5, '0000-00-00', '😀 𝄞', X'00ff1a275c', 2026, '0000-00-00', '-838:59:59',"+
			" '1970-01-01 00:00:01.5', 'b'' ö', 'x,y', b'100000001', REPEAT('ü''\\\\\n', %d))", 70-i%3, n, i, n, 1+i/5*200_000))
	}
	rows = append(rows, "(M, '', '', 0, 0, 0, '2038-01-19 03:14:08.123456', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
		"(M, '', '€', 0, 0, 0, '2038-01-19', '', '', 0, '2026-01-01', '0', '2026-01-01', 'a', '', b'0', '')",
		"(M, '', 'ÿ', 0, 0, 0, '2038-01-19', '', '', 0, '2026-01-01', '0', '2026-01-01', 'a', '', b'0', '')")
	m.at(t, "source", "INSERT INTO G.ext_things VALUES "+strings.Join(rows, ","))
	m.at(t, "source", "INSERT INTO G.ext_bag VALUES (M, 'abcd'), (M, 'bbcd'), (M, NULL), (M, NULL), (M, '')")
	m.at(t, "source", "INSERT INTO G.ext_mark VALUES (M)")
	_, err = m.compare(t)
	var mismatch *mboxverify.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Len(t, mismatch.Tables, 3, "they are not at the destination: %v", err)
	require.NotContains(t, err.Error(), "xyzzy")
	skip := func(o *mboxverify.Options) {
		o.Skip = []string{"mboxgroup.ext_things", "mboxgroup.ext_bag", "mboxgroup.ext_mark"}
	}
	is, err := m.compare(t, skip)
	require.NoError(t, err)
	require.Len(t, is, 25)

	create("destination")
	m.at(t, "destination", "ALTER TABLE G.ext_bag DROP COLUMN d")
	m.remember(t)
	m.fill(t, "destination")
	is, err = m.compare(t)
	require.NoError(t, err)
	require.Len(t, is, 28)
	const nine = "mboxgroup.ext_things ...,...,n=9,u=18446744073709551610,...,... different in "
	for _, test := range [][2]string{
		{"UPDATE G.ext_things SET emoji = '😁 𝄞' WHERE mailbox_id = M AND n = 9", nine + "emoji"},
		{"UPDATE G.ext_things SET b = X'00ff1a275d' WHERE mailbox_id = M AND n = 9", nine + "b"},
		{"UPDATE G.ext_things SET bits = b'1' WHERE mailbox_id = M AND n = 9", nine + "bits"},
		{"UPDATE G.ext_things SET t = t + INTERVAL 1000 MICROSECOND WHERE mailbox_id = M AND n = 9", nine + "t"},
		{"UPDATE G.ext_things SET ts = ts + INTERVAL 1000 MICROSECOND WHERE mailbox_id = M AND n = 9", nine + "ts"},
		{"UPDATE G.ext_things SET d = '2026-01-01', y = 0 WHERE mailbox_id = M AND n = 9", nine + "d, y"},
		{"UPDATE G.ext_things SET e = 'a', s = 'x' WHERE mailbox_id = M AND n = 9", nine + "e, s"},
		{"UPDATE G.ext_things SET big = CONCAT(big, '.') WHERE mailbox_id = M AND n = 9", nine + "big"},
		{"UPDATE G.ext_things SET emoji = '' WHERE mailbox_id = M AND n = 0 AND emoji IS NULL", "mboxgroup.ext_things ...,...,n=0,u=0,...,... different in emoji"},
		{"DELETE FROM G.ext_bag WHERE mailbox_id = M AND note IS NULL LIMIT 1", "mboxgroup.ext_bag ... missing"},
		{"UPDATE G.ext_bag SET note = 'x' WHERE mailbox_id = M AND note IS NULL LIMIT 1", "mboxgroup.ext_bag ... different in note"},
		{"DELETE FROM G.ext_mark WHERE mailbox_id = M", fmt.Sprintf("mboxgroup.ext_mark mailbox_id=%d missing", m.to.ID)},
	} {
		m.at(t, "destination", test[0])
		_, err := m.compare(t)
		require.Equal(t, []string{test[1]}, differences(t, err), test[0])
		m.fill(t, "destination")
	}
	_, err = m.compare(t)
	require.NoError(t, err)

	// A table whose key one side does not have, then one with another column.
	m.at(t, "destination", "ALTER TABLE G.ext_things DROP PRIMARY KEY, ADD KEY (mailbox_id)")
	_, err = m.compare(t)
	require.NoError(t, err)
	m.at(t, "destination", "UPDATE G.ext_things SET emoji = 'xyzzy' WHERE mailbox_id = M AND n = 9")
	_, err = m.compare(t)
	require.Equal(t, []string{"mboxgroup.ext_things ... different in emoji"}, differences(t, err))
	require.NotContains(t, err.Error(), "xyzzy")
	m.fill(t, "destination")
	m.at(t, "destination", "ALTER TABLE G.ext_things ADD COLUMN later INT")
	_, err = m.compare(t)
	require.Equal(t, []string{"mboxgroup.ext_things.later"}, differences(t, err))
	m.at(t, "destination", "ALTER TABLE G.ext_things DROP COLUMN later, MODIFY COLUMN n VARCHAR(40)")
	_, err = m.compare(t)
	require.ErrorContains(t, err, "column n: values of types bigint and varchar cannot be compared")
}

// What is not there is not equal, and a reading that was cut short is no comparison.
func TestNothingIsKnown(t *testing.T) {
	ctx := t.Context()
	m := newTwin(t, 200)
	src, dst := m.src.DB(t), m.dst.DB(t)
	_, err := mboxverify.Find(ctx, src, "no such account")
	require.ErrorIs(t, err, mboxverify.ErrNotFound)
	for name, test := range map[string]struct {
		to, from mboxverify.Mailbox
		is       error
		want     string
	}{
		"an id without a mailbox": {m.to, mboxverify.Mailbox{ID: 2_999_999, Group: m.from.Group}, mboxverify.ErrNotFound, ""},
		"another group":           {m.to, mboxverify.Mailbox{ID: m.from.ID, Group: otherGroup(t, m)}, mboxverify.ErrNotFound, ""},
		"no group":                {mboxverify.Mailbox{ID: m.to.ID, Group: 9199}, m.from, nil, "destination: mailbox group 9199: no table mboxgroup.mail_item"},
		"no mailbox":              {mboxverify.Mailbox{}, m.from, nil, "a side has no mailbox id"},
		"the sides, mistaken":     {m.from, m.to, nil, ""},
	} {
		_, err := mboxverify.Compare(ctx, dst, src, test.to, test.from, &m.opt)
		require.Error(t, err, name)
		var mismatch *mboxverify.MismatchError
		require.False(t, errors.As(err, &mismatch), name)
		if test.is != nil {
			require.ErrorIs(t, err, test.is, name)
		}
		require.ErrorContains(t, err, test.want, name)
	}
	_, err = mboxverify.Compare(ctx, nil, src, m.to, m.from, nil)
	require.ErrorContains(t, err, "a side has no database")

	// Connections that end after so many bytes, at either side.
	cut := 0
	for _, side := range []*lab.Store{m.src, m.dst} {
		for _, most := range []int64{100, 5_000, 20_000, 60_000, 100_000, 10_000_000} {
			left := new(atomic.Int64)
			left.Store(most)
			c := mysql.NewConfig()
			c.Net, c.Addr, c.User, c.Passwd, c.Logger = "tcp", side.MySQLAddr, side.MySQLUser, side.MySQLPassword, &mysql.NopLogger{}
			c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return &shortConn{conn, left}, err
			}
			connector, err := mysql.NewConnector(c)
			require.NoError(t, err)
			short := sql.OpenDB(connector)
			defer short.Close()
			a, b := src, dst
			if side == m.src {
				a = short
			} else {
				b = short
			}
			_, err = mboxverify.Compare(ctx, b, a, m.to, m.from, &m.opt)
			if most == 10_000_000 {
				require.NoError(t, err)
				continue
			}
			require.Error(t, err, "%d bytes", most)
			var mismatch *mboxverify.MismatchError
			require.False(t, errors.As(err, &mismatch), "%d bytes: %v", most, err)
			cut++
		}
	}
	require.Equal(t, 10, cut)

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = mboxverify.Compare(cancelled, dst, src, m.to, m.from, &m.opt)
	require.ErrorIs(t, err, context.Canceled)
}

// otherGroup is one that has a database at the source.
func otherGroup(t *testing.T, m *twin) int {
	t.Helper()
	require.NoError(t, m.src.CreateGroup(t.Context(), m.from.Group+1))
	return m.from.Group + 1
}

// A shortConn ends after so many bytes.
type shortConn struct {
	net.Conn
	left *atomic.Int64
}

func (c *shortConn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		c.Conn.Close()
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Add(-int64(n))
	return n, err
}
