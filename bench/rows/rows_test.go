package rows_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/sqlrewrite"
)

func TestMain(m *testing.M) { lab.Main(m) }

// rowsEnv holds numbers of mail_item rows, with spaces between them.
const rowsEnv = "ZMLIFT_BENCH_ROWS"

// runsEnv is how often everything is measured, 3 without it; the median counts.
const runsEnv = "ZMLIFT_BENCH_RUNS"

// BenchmarkRows copies a mailbox of so many items and about three quarters as many rows in other tables. It prints
//
//	RATIO first-copy N  how many times longer the pipeline takes than Diff and Apply, which copy the same rows
//	RATIO presync N     and than a first Presync, which goes on to look for what is different by then, as the pipeline cannot
//	RATIO in-lock N     how many times longer it takes than finding, applying and proving what changed in one row of a thousand
//	RATIO in-lock-5000 N  the same with 5,000 rows
//
//	RATIO first-copy-tab N, first-copy-mydumper N, presync-tab N, presync-mydumper N, in-lock-pt-table-sync N  the same against other
//	tools, where they are installed
//	RATIO pipeline-ready-files N  how many times longer the pipeline takes than loading files that are there already, two at a time: what the
//	destination's server needs for itself
//
// where the pipeline is mariadb-dump --single-transaction | sed | mariadb of the same tables, all of them inside the lock.
func BenchmarkRows(b *testing.B) {
	sizes := strings.Fields(os.Getenv(rowsEnv))
	if len(sizes) == 0 {
		b.Skip("set " + rowsEnv + ", or run make bench-rows")
	}
	for _, size := range sizes {
		n, err := strconv.Atoi(size)
		require.NoError(b, err)
		b.Run(size, func(b *testing.B) {
			for range b.N {
				measure(b, n)
			}
		})
	}
}

func measure(b *testing.B, items int) {
	ctx := b.Context()
	m := newMove(b, items)
	var classic, first, presync, lock, lock5000 []time.Duration
	var peak uint64
	runs, err := strconv.Atoi(os.Getenv(runsEnv))
	if err != nil {
		runs = 3
	}
	for range runs {
		m.rest(b)
		before := m.cpu(b)
		classic = append(classic, timed(func() { m.pipeline(b) }))
		b.Logf("pipeline: %s; %s", classic[len(classic)-1], m.cpu(b).minus(before))
		require.NoError(b, m.copy(b).Remove(ctx, nil))

		c := m.copy(b)
		m.rest(b)
		before = m.cpu(b)
		first = append(first, timed(func() {
			d, err := c.Diff(ctx)
			require.NoError(b, err)
			_, err = c.Apply(ctx, d)
			require.NoError(b, err)
		}))
		b.Logf("first copy: %s; %s", first[len(first)-1], m.cpu(b).minus(before))
		require.NoError(b, c.Remove(ctx, nil))

		c = m.copy(b)
		m.rest(b)
		stop := watch(&peak)
		var p mboxdb.Presynced
		before = m.cpu(b)
		presync = append(presync, timed(func() {
			var err error
			p, err = c.Presync(ctx)
			require.NoError(b, err)
		}))
		b.Logf("presync: %d rows in %d passes, %s; %s", p.Rows, p.Passes, presync[len(presync)-1], m.cpu(b).minus(before))
		for _, change := range []struct {
			rows int
			to   *[]time.Duration
		}{{items / 1000, &lock}, {5000, &lock5000}} {
			m.change(b, change.rows)
			m.rest(b)
			var d *mboxdb.Difference
			var found, applied time.Duration
			before := m.cpu(b)
			*change.to = append(*change.to, timed(func() {
				var err error
				found = timed(func() { d, err = c.Diff(ctx) })
				require.NoError(b, err)
				applied = timed(func() { _, err = c.Apply(ctx, d) })
				require.NoError(b, err)
				_, err = c.Prove(ctx, d)
				require.NoError(b, err)
			}))
			took := (*change.to)[len(*change.to)-1]
			b.Logf("%d changed: %d rows deleted and written; found in %s, applied in %s, proven in %s; %s", change.rows, d.Rows(), found, applied,
				took-found-applied, m.cpu(b).minus(before))
		}
		stop()
		_, err := c.Verify(ctx)
		require.NoError(b, err)
		require.NoError(b, c.Remove(ctx, nil))
	}
	fmt.Printf("%d items: pipeline %s, first copy %s, presync %s, in the lock %s, with 5000 rows %s, heap at most %d MiB\n", items, median(classic), median(first), median(presync),
		median(lock), median(lock5000), peak>>20)
	fmt.Printf("RATIO first-copy %.1f\n", ratio(classic, first))
	fmt.Printf("RATIO presync %.1f\n", ratio(classic, presync))
	fmt.Printf("RATIO in-lock %.1f\n", ratio(classic, lock))
	fmt.Printf("RATIO in-lock-5000 %.1f\n", ratio(classic, lock5000))
	m.comparePeers(b, items, median(classic), median(first), median(presync))
}

// rest waits until the servers have done away with rows that were deleted before, which costs them as much as deleting did, and have written
// what they have in memory: else whoever comes next pays for that.
func (m *move) rest(b *testing.B) {
	b.Helper()
	for _, root := range []*sql.DB{m.root, m.dstRoot} {
		await := func(status string, below int) {
			for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
				var name string
				var n int
				require.NoError(b, root.QueryRowContext(b.Context(), "SHOW GLOBAL STATUS LIKE '"+status+"'").Scan(&name, &n))
				if n < below {
					return
				}
				require.True(b, time.Now().Before(deadline), "%s is still %d", status, n)
			}
		}
		await("Innodb_history_list_length", 50)
		before := map[string]string{}
		for name, value := range map[string]string{"innodb_io_capacity": "20000", "innodb_max_dirty_pages_pct": "0"} { // now, and quickly
			var is string
			require.NoError(b, root.QueryRowContext(b.Context(), "SELECT @@GLOBAL."+name).Scan(&is))
			before[name] = is
			_, err := root.ExecContext(b.Context(), "SET GLOBAL "+name+" = "+value)
			require.NoError(b, err)
		}
		await("Innodb_buffer_pool_pages_dirty", 100)
		for name, value := range before {
			_, err := root.ExecContext(b.Context(), "SET GLOBAL "+name+" = "+value)
			require.NoError(b, err)
		}
	}
	// The list's length counts transactions. The last ones may have deleted many rows, and a server that has no other work still has those.
	for deadline := time.Now().Add(2 * time.Minute); ; {
		before := m.cpu(b)
		time.Sleep(time.Second)
		used := m.cpu(b).minus(before)
		if used.src+used.dst < 0.05 {
			return
		}
		require.True(b, time.Now().Before(deadline), "the servers still have work: %s", used)
	}
}

// A cpu is processor time in seconds: of the two database servers, and of this process with those that it started. Unlike time on a clock it says
// something on a machine that has other things to do.
type cpu struct{ src, dst, here float64 }

func (c cpu) minus(o cpu) cpu { return cpu{c.src - o.src, c.dst - o.dst, c.here - o.here} }

func (c cpu) String() string {
	return fmt.Sprintf("CPU: source %.2f s, destination %.2f s, here %.2f s", c.src, c.dst, c.here)
}

func (m *move) cpu(b *testing.B) cpu {
	b.Helper()
	of := func(s *lab.Store) float64 {
		var out strings.Builder
		require.NoError(b, s.Run(b.Context(), []string{"sh", "-c", `cat "/proc/$(cat "$1")/stat"`, "sh", s.Home + "/log/mysql.pid"}, nil, &out))
		fields := strings.Fields(out.String()[strings.LastIndexByte(out.String(), ')')+1:])
		user, err := strconv.Atoi(fields[11])
		require.NoError(b, err)
		system, err := strconv.Atoi(fields[12])
		require.NoError(b, err)
		return float64(user+system) / 100
	}
	c := cpu{src: of(m.src), dst: of(m.dst)}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		require.NoError(b, syscall.Getrusage(who, &r))
		c.here += time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
	}
	return c
}

func timed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2].Round(time.Millisecond)
}

func ratio(a, b []time.Duration) float64 { return float64(median(a)) / float64(median(b)) }

// watch looks at the heap until stop.
func watch(peak *uint64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var s runtime.MemStats
		for {
			runtime.ReadMemStats(&s)
			*peak = max(*peak, s.HeapInuse)
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }
}

// A move is a large mailbox on mail1 and the id that is reserved for it on mail2.
type move struct {
	src, dst     *lab.Store
	srcDB, dstDB *mboxdb.DB
	from, to     mboxdb.Mailbox
	opt          mboxdb.CopyOptions
	tables       []string
	root         *sql.DB // of the source
	dstRoot      *sql.DB
	round        int
}

var accounts atomic.Int32

func newMove(b *testing.B, items int) *move {
	b.Helper()
	ctx := b.Context()
	l := lab.Shared(b)
	a, err := l.AddAccount(ctx, l.Stores[0], lab.AccountSpec{Name: fmt.Sprintf("bench%d@lab.example", accounts.Add(1))})
	require.NoError(b, err)
	m := &move{src: l.Stores[0], dst: l.Stores[1], root: l.Stores[0].RootDB(b), dstRoot: l.Stores[1].RootDB(b)}
	m.root.SetMaxOpenConns(1)
	for _, s := range l.Stores {
		root := s.RootDB(b)
		for _, stmt := range []string{
			// The lab's servers have little of both, and no mailstore does.
			"SET GLOBAL innodb_buffer_pool_size = 1073741824", "SET GLOBAL innodb_log_file_size = 536870912",
			// A server that has been up for a while has used all of its memory; until then the kernel has to find it, while others wait for a page.
			"CREATE TABLE mysql.filler (b LONGBLOB) ENGINE=InnoDB", "INSERT INTO mysql.filler SELECT REPEAT('x', 1000000) FROM mysql.seq_1_to_1200", "DROP TABLE mysql.filler",
		} {
			_, err := root.ExecContext(ctx, stmt)
			require.NoError(b, err, stmt)
		}
	}
	srcPool, dstPool := m.src.DB(b), m.dst.DB(b)
	srcPool.SetMaxOpenConns(4)
	dstPool.SetMaxOpenConns(4)
	m.srcDB = mboxdb.New(srcPool, nil)
	m.dstDB = mboxdb.New(dstPool, &mboxdb.Options{Groups: m.dst.Groups, CreateScript: func(ctx context.Context) ([]byte, error) {
		var out strings.Builder
		err := m.dst.Run(ctx, []string{"cat", m.dst.CreateDatabaseFile}, nil, &out)
		return []byte(out.String()), err
	}})
	m.from, err = m.srcDB.Find(ctx, a.ID)
	require.NoError(b, err)
	m.fill(b, items)
	m.opt = mboxdb.CopyOptions{
		Claim:   mboxdb.Claim{Move: "bench", AccountID: a.ID, Fence: 1},
		Volumes: map[mboxdb.VolumeID]mboxdb.VolumeID{1: 5, 3: 5}, IndexVolume: 7, Address: a.Name,
	}
	require.NoError(b, m.dstDB.Claim(ctx, m.opt.Claim))
	res, err := m.dstDB.Reserve(ctx, m.opt.Claim, nil)
	require.NoError(b, err)
	m.to = res.Mailbox
	tables, err := m.srcDB.Tables(ctx, m.from.Group)
	require.NoError(b, err)
	rules := sqlrewrite.Rules{Unknown: sqlrewrite.Refuse, Databases: map[string]string{lab.GroupDatabase(m.from.Group): lab.GroupDatabase(m.to.Group)}}
	for _, t := range tables {
		if t.Database != "mboxgroup" {
			continue
		}
		m.tables = append(m.tables, t.Name)
		in := lab.GroupDatabase(m.from.Group)
		rules.Columns = append(rules.Columns, sqlrewrite.Column{Database: in, Table: t.Name, Column: "mailbox_id",
			Map: map[string]string{m.from.ID.String(): m.to.ID.String()}, Unmapped: sqlrewrite.Refuse})
		for _, c := range t.Columns {
			if c.Name == "locator" {
				rules.Columns = append(rules.Columns, sqlrewrite.Column{Database: in, Table: t.Name, Column: "locator", Map: map[string]string{"1": "5", "3": "5"},
					Unmapped: sqlrewrite.Refuse})
			}
		}
	}
	w, err := sqlrewrite.Compile(rules)
	require.NoError(b, err)
	m.opt.Rewrite = func(ctx context.Context, dst io.Writer, src io.Reader) error {
		_, err := w.Rewrite(ctx, dst, src)
		return err
	}
	return m
}

func (m *move) copy(b *testing.B) *mboxdb.Copy {
	b.Helper()
	c, err := mboxdb.NewCopy(m.dstDB, m.srcDB, m.to, m.from, &m.opt)
	require.NoError(b, err)
	return c
}

// exec runs a statement at the source: G is the group's database, M the mailbox, N a number.
func (m *move) exec(b *testing.B, stmt string, n int) {
	b.Helper()
	stmt = strings.NewReplacer("G.", lab.GroupDatabase(m.from.Group)+".", "{M}", m.from.ID.String(), "{N}", strconv.Itoa(n)).Replace(stmt)
	_, err := m.root.ExecContext(b.Context(), stmt)
	require.NoError(b, err, stmt)
}

// fill makes n messages and the rows that go with them.
func (m *move) fill(b *testing.B, n int) {
	b.Helper()
	m.exec(b, "SET SESSION foreign_key_checks=0", 0)
	for _, stmt := range []string{
		"INSERT INTO G.mail_item (mailbox_id, id, type, parent_id, folder_id, index_id, imap_id, date, size, locator, blob_digest, unread, flags, tags, sender, recipients," +
			" subject, metadata, mod_metadata, change_date, mod_content) SELECT {M}, 20000 + seq, 5, IF(seq % 4, 20000 + seq - seq % 4, NULL), 2, 20000 + seq, 20000 + seq," +
			" 1500000000 + seq, 1000 + seq % 5000, IF(seq % 3, '1', '3'), LEFT(TO_BASE64(UNHEX(SHA2(seq, 256))), 44), seq % 2, seq % 4096, 0, CONCAT('sender ', seq)," +
			" CONCAT('to somebody ', seq), CONCAT('The subject of a message ', MD5(seq)), CONCAT('d1:f120:', REPEAT(MD5(seq), 8)), seq + 1000, 1600000000, seq + 900" +
			" FROM mysql.seq_1_to_{N}",
		"INSERT INTO G.tagged_item (mailbox_id, tag_id, item_id) SELECT {M}, 65 + seq % 3, 20000 + seq FROM mysql.seq_1_to_{N} WHERE seq % 5 < 2",
		"INSERT INTO G.revision (mailbox_id, item_id, version, date, size, locator, blob_digest, name, metadata, mod_metadata, change_date, mod_content) SELECT {M}, 20000 + seq," +
			" 1, 1500000000, 1000, '1', LEFT(TO_BASE64(UNHEX(SHA2(seq, 256))), 44), CONCAT('name ', seq), 'd1:v1:1e', seq, 1600000000, seq FROM mysql.seq_1_to_{N} WHERE seq % 10 = 1",
		"INSERT INTO G.open_conversation (mailbox_id, hash, conv_id) SELECT {M}, LEFT(TO_BASE64(UNHEX(SHA1(seq))), 28), 20000 + seq FROM mysql.seq_1_to_{N} WHERE seq % 10 = 2",
		"INSERT INTO G.imap_message (mailbox_id, imap_folder_id, uid, item_id, flags) SELECT {M}, 100, 100000 + seq, 20000 + seq, 1 FROM mysql.seq_1_to_{N} WHERE seq % 10 = 3",
		"INSERT INTO G.appointment (mailbox_id, uid, item_id, start_time) SELECT {M}, CONCAT('bench-', seq), 20000 + seq, '2026-01-01' FROM mysql.seq_1_to_{N} WHERE seq % 50 = 4",
	} {
		m.exec(b, stmt, n)
	}
}

// change changes n rows, scattered, a few of them by deleting them and making others.
func (m *move) change(b *testing.B, n int) {
	b.Helper()
	m.round++
	var items int
	require.NoError(b, m.root.QueryRow(strings.ReplaceAll("SELECT COUNT(*) FROM G.mail_item WHERE mailbox_id = ?", "G.", lab.GroupDatabase(m.from.Group)+"."), m.from.ID).Scan(&items))
	every := max(items/max(n, 1), 1)
	at := m.round % every
	m.exec(b, fmt.Sprintf("UPDATE G.mail_item SET unread = 1 - unread, flags = flags + 1 WHERE mailbox_id = {M} AND id > 20000 AND id %% %d = %d", every, at), 0)
	m.exec(b, fmt.Sprintf("DELETE FROM G.tagged_item WHERE mailbox_id = {M} AND item_id %% %d = %d", every*20, at), 0)
	m.exec(b, fmt.Sprintf("DELETE FROM G.revision WHERE mailbox_id = {M} AND item_id %% %d = %d", every*20, at), 0)
	m.exec(b, "UPDATE G.tag SET unread = unread + 1 WHERE mailbox_id = {M}", 0)
}

// client is a call of one of MariaDB's programs; it takes the password from the environment.
func client(s *lab.Store, user, program string, args ...string) string {
	host, port, _ := strings.Cut(s.MySQLAddr, ":")
	return strings.Join(append([]string{program, "--no-defaults", "-h", host, "-P", port, "-u", user, "--default-character-set=utf8mb4"}, args...), " ")
}

// dump and load are the ends of a pipeline.
func (m *move) dump() string {
	return "MYSQL_PWD=$SRC " + client(m.src, m.src.MySQLUser, "mariadb-dump", "--single-transaction", "--no-create-info", "--skip-triggers", "--skip-tz-utc", "--hex-blob",
		"--where=mailbox_id="+m.from.ID.String(), lab.GroupDatabase(m.from.Group), strings.Join(m.tables, " "))
}

func (m *move) load(database string) string {
	return "MYSQL_PWD=$DST " + client(m.dst, m.dst.MySQLUser, "mariadb", database)
}

// pipeline copies all tables of the group as mailbox movers do.
func (m *move) pipeline(b *testing.B) {
	b.Helper()
	m.shell(b, fmt.Sprintf("%s | sed -e 's/(%s,/(%s,/g' | %s", m.dump(), m.from.ID, m.to.ID, m.load(lab.GroupDatabase(m.to.Group))))
}

// shell runs a script that has both servers' passwords in its environment.
func (m *move) shell(b *testing.B, script string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "bash", "-c", "set -e -o pipefail\n"+script)
	cmd.Env = append(os.Environ(), "SRC="+m.src.MySQLPassword, "DST="+m.dst.MySQLPassword)
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, string(out))
}
