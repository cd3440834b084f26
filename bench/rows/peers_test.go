package rows_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

// A peer is another database on the destination's server, with the tables of the source's group and, unlike ours, with the source's ids: other
// tools cannot map them.
type peer struct {
	*move
	database string
	server   *sql.DB
}

const peerGroup = 9000

// comparePeers measures other tools once each: two that copy, and one that synchronizes what changed in one row of a thousand, beside this
// package doing the same. A tool that is missing is named and left out.
func (m *move) comparePeers(b *testing.B, items int, classic, first, presync time.Duration) {
	b.Helper()
	ctx := b.Context()
	p := &peer{move: m, database: lab.GroupDatabase(peerGroup), server: m.dst.RootDB(b)}
	p.server.SetMaxOpenConns(1)
	for _, pool := range []*sql.DB{m.root, p.server} {
		_, err := pool.ExecContext(ctx, "GRANT ALL ON *.* TO peer IDENTIFIED BY 'peer'") // these tools take no password that has a comma or a quote
		require.NoError(b, err)
	}
	c := m.copy(b)
	_, err := c.Presync(ctx)
	require.NoError(b, err)
	for _, tool := range []struct {
		name     string
		programs []string
		f        func(b *testing.B)
	}{
		{"tab", []string{"mariadb-dump", "mariadb-import"}, p.tab},
		{"mydumper", []string{"mydumper", "myloader"}, p.mydumper},
	} {
		if missing(tool.programs) {
			continue
		}
		p.empty(b)
		m.rest(b)
		took := timed(func() { tool.f(b) })
		p.requireEqual(b)
		fmt.Printf("%d items: %s %s\nRATIO first-copy-%s %.1f\nRATIO presync-%s %.1f\n", items, tool.name, took.Round(time.Millisecond),
			tool.name, took.Seconds()/first.Seconds(), tool.name, took.Seconds()/presync.Seconds())
	}
	if !missing([]string{"mariadb-dump", "mariadb-import"}) {
		p.empty(b)
		load := p.halves(b)
		m.rest(b)
		before := m.cpu(b)
		took := timed(load)
		p.requireEqual(b)
		b.Logf("ready files: %s; %s", took, m.cpu(b).minus(before))
		fmt.Printf("%d items: ready files %s\nRATIO pipeline-ready-files %.1f\n", items, took.Round(time.Millisecond), classic.Seconds()/took.Seconds())
	}
	if !missing([]string{"pt-table-sync"}) {
		p.empty(b)
		p.fill(b)
		m.change(b, items/1000)
		m.rest(b)
		ours := timed(func() {
			d, err := c.Diff(ctx)
			require.NoError(b, err)
			_, err = c.Apply(ctx, d)
			require.NoError(b, err)
			_, err = c.Prove(ctx, d)
			require.NoError(b, err)
		})
		theirs := timed(func() { p.tableSync(b) })
		p.requireEqual(b)
		fmt.Printf("%d items: pt-table-sync %s, ours %s\nRATIO in-lock-pt-table-sync %.1f\n", items, theirs.Round(time.Millisecond), ours.Round(time.Millisecond),
			theirs.Seconds()/ours.Seconds())
	}
	_, err = p.server.ExecContext(ctx, "DROP DATABASE IF EXISTS "+p.database)
	require.NoError(b, err)
	require.NoError(b, c.Remove(ctx, nil))
}

func missing(programs []string) bool {
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Printf("left out: %s is not installed\n", program)
			return true
		}
	}
	return false
}

// empty makes the group's tables anew.
func (p *peer) empty(b *testing.B) {
	b.Helper()
	ctx := b.Context()
	exec := func(stmt string) {
		_, err := p.server.ExecContext(ctx, stmt)
		require.NoError(b, err, stmt)
	}
	exec("DROP DATABASE IF EXISTS " + p.database)
	exec("CREATE DATABASE " + p.database + " DEFAULT CHARACTER SET utf8")
	exec("SET SESSION foreign_key_checks=0")
	exec("USE " + p.database)
	for _, table := range p.tables {
		var name, create string
		require.NoError(b, p.root.QueryRowContext(ctx, "SHOW CREATE TABLE "+lab.GroupDatabase(p.from.Group)+"."+table).Scan(&name, &create))
		exec(create)
	}
}

// fill copies the rows as they are.
func (p *peer) fill(b *testing.B) {
	b.Helper()
	p.shell(b, p.dump()+" | "+p.load(p.database))
}

// tab has the source's server write a file for each table, and loads two files at a time.
func (p *peer) tab(b *testing.B) {
	b.Helper()
	dir := p.dir(b)
	p.shell(b, "export MYSQL_PWD=peer; "+p.dumpTab(dir)+" && "+client(p.dst, "peer", "mariadb-import", "--local", "--ignore-foreign-keys", "--use-threads=2", "--silent", p.database, dir+"/*.txt"))
}

func (p *peer) dumpTab(dir string) string {
	return client(p.src, "peer", "mariadb-dump", "--single-transaction", "--no-create-info", "--skip-triggers", "--skip-tz-utc", "--tab="+dir,
		"--where=mailbox_id="+p.from.ID.String(), lab.GroupDatabase(p.from.Group), strings.Join(p.tables, " "))
}

// halves writes the files as tab does and cuts the large ones in two. What it returns loads the halves at the same time: nobody reads or maps rows
// meanwhile, so that no copy can be quicker on this server.
func (p *peer) halves(b *testing.B) (load func()) {
	b.Helper()
	dir := p.dir(b)
	var loads []string
	for _, half := range []string{"aa", "ab"} {
		loads = append(loads, client(p.dst, "peer", "mariadb-import", "--local", "--ignore-foreign-keys", "--silent", p.database, dir+"/"+half+"/*.txt")+" &")
	}
	p.shell(b, "export MYSQL_PWD=peer; "+p.dumpTab(dir)+"; cd "+dir+
		"; mkdir aa ab; for f in *.txt; do if [ $(stat -c %s $f) -lt 1000000 ]; then mv $f aa/; continue; fi; split -n l/2 $f $f.; mv $f.aa aa/$f; mv $f.ab ab/$f; done")
	return func() { p.shell(b, "export MYSQL_PWD=peer; "+strings.Join(loads, " ")+" wait -n; wait -n") }
}

// mydumper dumps and loads the whole group, in which the mailbox is nearly alone, in two threads.
func (p *peer) mydumper(b *testing.B) {
	b.Helper()
	dir := p.dir(b)
	at := func(s *lab.Store) string {
		host, port, _ := strings.Cut(s.MySQLAddr, ":")
		return fmt.Sprintf("--host %s --port %s --user peer --password peer --threads 2 --verbose 1", host, port)
	}
	p.shell(b, fmt.Sprintf("mydumper %s --database %s --no-locks --trx-consistency-only --skip-tz-utc --outputdir %s &&"+
		" myloader %s --database %s --overwrite-tables --directory %s", at(p.src), lab.GroupDatabase(p.from.Group), dir, at(p.dst), p.database, dir))
}

// tableSync finds and applies what differs, table by table; it does not compare afterwards.
func (p *peer) tableSync(b *testing.B) {
	b.Helper()
	dsn := func(s *lab.Store, database, table string) string {
		host, port, _ := strings.Cut(s.MySQLAddr, ":")
		return fmt.Sprintf("h=%s,P=%s,u=peer,p=peer,D=%s,t=%s,A=utf8", host, port, database, table)
	}
	var script []string
	for _, table := range p.tables {
		// It exits with 2 where it found differences.
		script = append(script, fmt.Sprintf("pt-table-sync --execute --no-check-slave --no-check-triggers --no-check-child-tables --no-foreign-key-checks --no-version-check"+
			" --where mailbox_id=%s %s %s || [ $? = 2 ]", p.from.ID, dsn(p.src, lab.GroupDatabase(p.from.Group), table), dsn(p.dst, p.database, table)))
	}
	p.shell(b, strings.Join(script, "\n"))
}

// dir is one that the source's server may write to.
func (p *peer) dir(b *testing.B) string {
	dir := filepath.Join(b.TempDir(), "dump")
	require.NoError(b, os.MkdirAll(dir, 0o777))
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		require.NoError(b, os.Chmod(d, 0o777))
	}
	return dir
}

// requireEqual compares the mailbox's rows, table by table.
func (p *peer) requireEqual(b *testing.B) {
	b.Helper()
	ctx := b.Context()
	tables, err := p.srcDB.Tables(ctx, p.from.Group)
	require.NoError(b, err)
	for _, t := range tables {
		if t.Database != "mboxgroup" || !t.Moved() {
			continue
		}
		var columns []string
		for _, c := range t.Columns {
			columns = append(columns, "IFNULL(`"+c.Name+"`,'NULL')")
		}
		of := func(db *sql.DB, database string) (sum string) {
			require.NoError(b, db.QueryRowContext(ctx, fmt.Sprintf("SELECT CONCAT(COUNT(*),' ',IFNULL(SUM(CRC32(CONCAT_WS('/',%s))),0)) FROM %s.%s WHERE mailbox_id=%s",
				strings.Join(columns, ","), database, t.Name, p.from.ID)).Scan(&sum))
			return sum
		}
		require.Equal(b, of(p.root, lab.GroupDatabase(p.from.Group)), of(p.server, p.database), t.Name)
	}
}
