package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/zimbra"
)

// TestDestinationCrashes ends the destination's database server with SIGKILL at the moments of a move that matter, starts it again, and has
// the move carried on or taken back. Then the account has one home with everything in it, also after one more crash, and the id that was
// reserved for it is nobody else's.
//
// It shows what becomes of a move when commits are gone that were answered: with innodb_flush_log_at_trx_commit=0, which is Zimbra's setting
// and the lab's, they stay in the server's own memory for up to a second. Here for up to three quarters of an hour, so that what was not
// forced to disk is lost nearly every time, not once in a while. It cannot show a power cut: what the kernel has taken outlives SIGKILL,
// synced or not. A sync that is missing where files are copied is not noticed, nor one that InnoDB leaves out, nor a page that is half written.
//
// Each moment is recovered from in one of the two ways; with ZMLIFT_SOAK=1 in both.
func TestDestinationCrashes(t *testing.T) {
	dir, fsType := realDisk()
	l := lab.Own(t, &lab.Options{Backend: lab.Processes, Dir: dir, Log: os.Stderr})
	s := newLocalSite(t, l)
	for group := 1; group <= l.Stores[1].Groups; group++ {
		// A server in use has them all. Making one forces the log to disk, and so would hide that something else does not.
		require.NoError(t, l.Stores[1].CreateGroup(t.Context(), group))
	}
	neighbours := []*lab.Account{newcomer(t, s, l.Stores[0]), newcomer(t, s, l.Stores[1])}
	var before []any
	look := func(n *lab.Account) { before = append(before, digest(t, n), s.entry(t, n)) }
	for _, n := range neighbours {
		look(n)
	}
	// Whoever comes first when the server is back gets the id that its counter has forgotten.
	comes := func(c *crasher) {
		c.now()
		n := newcomer(t, s, c.dst)
		neighbours = append(neighbours, n)
		look(n)
	}

	began, crashes, lost, ended := time.Now(), 0, 0, map[bool][]*lab.Account{}
	for _, m := range []moment{
		{name: "id reserved", step: "make-trees", crash: comes, verb: "rollback"},
		{name: "before publishing", step: "publish", crash: (*crasher).now, verb: "resume"},
		{name: "while publishing", step: "publish", crash: (*crasher).whilePublishing, verb: "rollback"},
		{name: "published, not forced to disk", step: "publish", crash: (*crasher).beforeForced, verb: "resume"},
		{name: "published", step: "prove-lock", crash: (*crasher).now, forced: true, verb: "rollback"},
		{name: "before the commit", step: "commit", crash: (*crasher).now, forced: true, verb: "resume"},
		// These go on by themselves, and there is no way back.
		{name: "commit on its way", sent: (*crasher).forAWhile, forced: true},
		{name: "commit answered", answered: (*crasher).now, forced: true},
	} {
		verbs := []string{m.verb}
		if m.verb != "" && os.Getenv(soakEnv) != "" {
			verbs = []string{"resume", "rollback"}
		}
		for _, verb := range verbs {
			t.Run(strings.TrimSpace(m.name+" "+verb), func(t *testing.T) {
				c := newCrasher(t, s, m)
				moved := c.recovered(verb)
				ended[moved] = append(ended[moved], c.a)
				crashes, lost = crashes+c.crashes, lost+c.lost
			})
		}
	}
	lab.Note("mariadbd on %s killed %d times in the middle of moves and after them, %d times with the loss of its last commit: %d moves ended moved, %d not moved, %.0f s",
		fsType, crashes, lost, len(ended[true]), len(ended[false]), time.Since(began).Seconds())
	require.Greater(t, 2*lost, crashes, "most of the crashes lost nothing")

	t.Run("ended", func(t *testing.T) {
		for _, a := range append(ended[true], ended[false]...) {
			require.False(t, s.holder(t, a).Open, "%s: the crash has opened the move's row again", a.Name)
		}
		a := ended[false][0] // they are all alike
		id := s.holder(t, a).Mailbox
		require.Equal(t, id, s.report(t, "move", a.Name, "--to", l.Stores[1].Host).MailboxTo, "the account's own id")
	})
	var after []any
	for _, n := range neighbours {
		after = append(after, digest(t, n), s.entry(t, n))
	}
	require.Equal(t, before, after, "a neighbour was touched")
}

// realDisk returns a directory for temporary files on a file system that is not in memory, and words for that file system.
func realDisk() (dir, fsType string) {
	// Not a test's own directory: the names of sockets below it would become too long.
	for _, dir := range []string{os.TempDir(), "/var/tmp"} {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			continue
		}
		const tmpfs, ramfs = 0x01021994, 0x858458f6
		if st.Type != tmpfs && st.Type != ramfs {
			return dir, fmt.Sprintf("a disk (file system type %#x)", st.Type)
		}
	}
	return "", "tmpfs, as this machine has no other place for temporary files,"
}

// newcomer makes one more account there.
func newcomer(t testing.TB, s *site, st *lab.Store) *lab.Account {
	t.Helper()
	a, err := s.AddAccount(t.Context(), st, lab.AccountSpec{Name: fmt.Sprintf("newcomer%d@lab.example", accounts.Add(1)), Items: 25})
	require.NoError(t, err)
	return a
}

// A moment is when the server crashes: right before a step, or around the modify that commits.
type moment struct {
	name           string
	step           string
	crash          func(*crasher)
	sent, answered func(*crasher)
	verb           string // recovers
	forced         bool   // the mailbox is published, and the crash must not take it
}

// A crasher is one move during which the destination's database server crashes.
type crasher struct {
	moment
	t       *testing.T
	s       *site
	dst     *lab.Store
	a       *lab.Account
	move    string
	crashes int
	lost    int            // crashes after which the last commit was gone
	wg      sync.WaitGroup // the crash, where it is not waited for
}

func newCrasher(t *testing.T, s *site, m moment) *crasher {
	c := &crasher{moment: m, t: t, s: s, dst: s.Stores[1], a: s.account(t, 25)}
	c.exec("CREATE DATABASE IF NOT EXISTS canary", "CREATE TABLE IF NOT EXISTS canary.canary (n INT)", "DELETE FROM canary.canary", forgetful)
	return c
}

// forgetful has the server keep its log in memory for as long as it can be told to.
const forgetful = "SET GLOBAL innodb_flush_log_at_timeout = 2700"

// recovered has the crash come, the verb recover from it, and one more crash come then. It says whether the account has moved.
func (c *crasher) recovered(verb string) (moved bool) {
	t, a := c.t, c.a
	own, before := digest(t, a), c.s.entry(t, a)
	r := c.s.runHere(t, &app{world: c.arrange}, "move", a.Name, "--to", c.dst.Host, "--keep")
	c.wg.Wait()
	require.Equal(t, 1, c.crashes, "never came to %s: %s", c.name, r.err)
	if verb == "" {
		require.Equal(t, exitDone, r.code, r.err)
	} else {
		require.Equal(t, exitUnfinished, r.code, r.err)
		require.Equal(t, before.Value("zimbraAccountStatus"), c.s.entry(t, a).Value("zimbraAccountStatus"))
		c.s.recover(t, a, verb)
	}
	c.now()

	moved = c.s.settled(t, a, own, before)
	require.Equal(t, verb != "rollback", moved)
	id := c.reserved()
	require.EqualValues(t, id, c.s.holder(t, a).Mailbox)
	var next uint32
	require.NoError(t, c.dst.DB(t).QueryRow("SELECT next_mailbox_id FROM zimbra.current_volumes").Scan(&next))
	require.Greater(t, next, id, "the counter gives out the reserved id")
	return moved
}

// reserved is the id that the journal says is the account's.
func (c *crasher) reserved() uint32 {
	entries, err := zimbra.DirJournals(c.s.state).Read(c.t.Context(), c.move)
	require.NoError(c.t, err)
	i := slices.IndexFunc(entries, func(e zimbra.Entry) bool { return e.Step == "reserve-id" && e.Is == zimbra.Done })
	require.NotEqual(c.t, -1, i, "no id was reserved")
	var r zimbra.Reservation
	require.NoError(c.t, json.Unmarshal(entries[i].Data, &r))
	require.NotZero(c.t, r.ID)
	return uint32(r.ID)
}

// arrange has the crash come at its moment.
func (c *crasher) arrange(cfg *zimbra.Config) {
	cfg.Hooks.BeforeStep = func(_ context.Context, move string, _ zimbra.Phase, step string) error {
		c.move = move
		if step == c.step {
			c.crash(c)
		}
		return nil
	}
	cfg.Directory = crashDirectory{cfg.Directory, c}
}

// A crashDirectory has the crash come around the commit.
type crashDirectory struct {
	zimbra.Directory
	c *crasher
}

func (d crashDirectory) ModifyIf(ctx context.Context, dn, assertion string, changes ...ldapattr.Change) error {
	commit := slices.ContainsFunc(changes, func(ch ldapattr.Change) bool {
		return ch.Attr == "zimbraMailHost" && !slices.Equal(ch.Old, ch.New)
	})
	if commit && d.c.sent != nil {
		d.c.sent(d.c)
	}
	err := d.Directory.ModifyIf(ctx, dn, assertion, changes...)
	if commit && d.c.answered != nil {
		d.c.answered(d.c)
	}
	return err
}

// now crashes the server and brings it up again.
func (c *crasher) now() {
	c.kill()
	c.start()
}

// kill ends the server right after one more commit.
func (c *crasher) kill() {
	c.crashes++
	c.exec(fmt.Sprintf("INSERT INTO canary.canary VALUES (%d)", c.crashes))
	c.check(c.dst.KillMySQL(c.t.Context()))
}

// start starts the server again, and looks whether what was forced to disk is there. The rest may be gone or not.
func (c *crasher) start() {
	c.check(c.dst.StartMySQL(c.t.Context()))
	c.exec(forgetful)
	if c.count(fmt.Sprintf("canary.canary WHERE n = %d", c.crashes)) == 0 {
		c.lost++
	}
	if c.forced && c.crashes == 1 && c.count("zimbra.mailbox WHERE account_id = '"+c.a.ID+"'") != 1 {
		c.check(errors.New("the crash has taken the published mailbox"))
	}
}

// forAWhile crashes the server and brings it up again when the mover has gone on without it for a moment.
func (c *crasher) forAWhile() {
	c.kill()
	c.wg.Go(func() {
		time.Sleep(500 * time.Millisecond)
		c.start()
	})
}

// whilePublishing crashes the server when the transaction that publishes has written everything but the mailbox row.
func (c *crasher) whilePublishing() {
	// Nobody may insert a row where this one looked.
	c.when("information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
		"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION", "SELECT id FROM zimbra.mailbox WHERE account_id = '"+c.a.ID+"' FOR UPDATE")
}

// beforeForced crashes the server when that transaction is committed, and the table about to be made that forces it to disk.
func (c *crasher) beforeForced() {
	c.when("information_schema.processlist WHERE state = 'Waiting for backup lock'", "BACKUP STAGE START", "BACKUP STAGE BLOCK_DDL")
}

// when crashes the server as soon as somebody is among those that wait because a session has done these statements.
func (c *crasher) when(waiting string, statements ...string) {
	db := c.dst.RootDB(c.t)
	conn, err := db.Conn(c.t.Context())
	require.NoError(c.t, err)
	for _, stmt := range statements {
		_, err := conn.ExecContext(c.t.Context(), stmt)
		require.NoError(c.t, err, stmt)
	}
	c.wg.Go(func() {
		defer conn.Close()
		for range 200 {
			var n int
			if err := db.QueryRow("SELECT COUNT(*) FROM " + waiting).Scan(&n); err != nil {
				c.check(err)
				return
			}
			if n > 0 {
				c.now()
				return
			}
			time.Sleep(150 * time.Millisecond) // the server's list of transactions is made anew when nobody has read it for 100 ms
		}
		c.check(errors.New("nobody waits"))
	})
}

// count counts rows, -1 when it cannot.
func (c *crasher) count(from string) int {
	n := -1
	c.check(c.dst.RootDB(c.t).QueryRow("SELECT COUNT(*) FROM " + from).Scan(&n))
	return n
}

func (c *crasher) exec(statements ...string) {
	db := c.dst.RootDB(c.t)
	for _, stmt := range statements {
		_, err := db.Exec(stmt)
		c.check(err)
	}
}

// check notes an error. It is also called beside the test's own goroutine.
func (c *crasher) check(err error) {
	if err != nil {
		c.t.Error(err)
	}
}
