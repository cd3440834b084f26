package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/internal/schema"
)

// installMySQL makes the data directory, starts mariadbd and fills the zimbra database.
func (s *Store) installMySQL(ctx context.Context) error {
	install := []string{"mariadb-install-db", "--no-defaults", "--datadir=" + s.dataDir(), "--auth-root-authentication-method=normal",
		"--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=32M",
		// A server that starts removes temporary tables that it finds there; in /tmp they are another lab's.
		"--tmpdir=" + s.tmpDir()}
	if s.m.user == "root" {
		install = append(install, "--user=root")
	}
	if err := s.Run(ctx, install, nil, nil); err != nil {
		return err
	}
	if err := s.m.daemon(ctx, "mariadbd", s.mariadbd()); err != nil {
		return err
	}
	// root has no password yet, and only the socket lets it in.
	client := []string{"mariadb", "--no-defaults", "--user=root", "--socket=" + s.socket()}
	err := poll(ctx, func() error { return s.Run(ctx, append(client, "--execute=SELECT 1"), nil, nil) })
	if err == nil {
		err = s.Run(ctx, client, strings.NewReader(s.grants()+schema.Zimbra+schema.Config+s.volumeRows()), nil)
	}
	if err == nil {
		err = s.waitMySQL(ctx)
	}
	if err != nil {
		return fmt.Errorf("mariadbd: %w%s", err, s.mysqlLog(ctx))
	}
	return nil
}

func (s *Store) dataDir() string { return s.Home + "/db/data" }
func (s *Store) tmpDir() string  { return s.Home + "/data/tmp/mysql" }
func (s *Store) pidFile() string { return s.Home + "/log/mysql.pid" }

// mariadbd is the server's command line: zmmycnf's settings where they matter to a mover (connections, packet size, when the
// log reaches the disk; no sql_mode, so the server's default), small elsewhere.
func (s *Store) mariadbd() []string {
	argv := []string{"mariadbd", "--no-defaults",
		"--datadir=" + s.dataDir(),
		"--socket=" + s.socket(),
		"--tmpdir=" + s.tmpDir(),
		"--pid-file=" + s.pidFile(),
		"--bind-address=" + s.m.bind,
		"--port=" + strconv.Itoa(s.m.mysqlPort),
		"--max-connections=110",
		"--max-allowed-packet=16M",
		"--innodb-flush-log-at-trx-commit=0",
		"--skip-name-resolve",
		// Small and quick; nothing here outlives a power cut anyway.
		"--innodb-buffer-pool-size=64M",
		"--innodb-log-file-size=32M",
		"--innodb-doublewrite=0",
		"--innodb-use-native-aio=0",
		"--skip-log-bin",
	}
	if s.m.user == "root" {
		argv = append(argv, "--user=root")
	}
	return argv
}

// grants makes the two users. zimbra has what a mailstore's own user needs for its databases, and what a mover is told to ask for.
func (s *Store) grants() string {
	q := func(password string) string { return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) }
	// The installation's own root users have no password; the one that stays, at localhost, is reached by the socket only.
	return fmt.Sprintf(`DELETE FROM mysql.global_priv WHERE User = '' OR User = 'root' AND Host <> 'localhost';
FLUSH PRIVILEGES;
CREATE USER 'zimbra'@'%%' IDENTIFIED BY '%[1]s';
GRANT CREATE, PROCESS, RELOAD ON *.* TO 'zimbra'@'%%';
GRANT ALL ON zimbra.* TO 'zimbra'@'%%';
GRANT ALL ON `+"`mboxgroup%%`"+`.* TO 'zimbra'@'%%';
GRANT ALL ON zmlift.* TO 'zimbra'@'%%';
CREATE USER 'root'@'%%' IDENTIFIED BY '%[2]s';
GRANT ALL ON *.* TO 'root'@'%%' WITH GRANT OPTION;
`, q(s.MySQLPassword), q(s.rootPassword))
}

// waitMySQL waits for a real login of the zimbra user.
func (s *Store) waitMySQL(ctx context.Context) error {
	db, err := s.open(s.MySQLUser, s.MySQLPassword, func(c *mysql.Config) { c.Logger = &mysql.NopLogger{} })
	if err != nil {
		return err
	}
	defer db.Close()
	return poll(ctx, func() error { return db.PingContext(ctx) })
}

// KillMySQL ends the store's database server at once, as a crash would: what was committed in the last second may be lost.
// It returns when the process is gone, and may be repeated.
func (s *Store) KillMySQL(ctx context.Context) error {
	const script = `pid=$(cat "$1" 2>/dev/null) || exit 0
kill -KILL "$pid" 2>/dev/null
while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
rm -f "$1"`
	if err := s.Run(ctx, []string{"sh", "-c", script, "sh", s.pidFile()}, nil, nil); err != nil {
		return fmt.Errorf("kill mariadbd of %s: %w", s.Host, err)
	}
	return nil
}

// StartMySQL starts the store's database server again, at the same address and with the data it had, and returns when it
// answers.
func (s *Store) StartMySQL(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.m.daemon(ctx, "mariadbd", s.mariadbd()); err != nil {
		return err
	}
	if err := s.waitMySQL(ctx); err != nil {
		return fmt.Errorf("mariadbd of %s: %w%s", s.Host, err, s.mysqlLog(ctx))
	}
	return nil
}

func (s *Store) mysqlLog(ctx context.Context) string {
	var out strings.Builder
	if s.Run(context.WithoutCancel(ctx), []string{"tail", "-n", "20", s.m.root + "/mariadbd.log"}, nil, &out) != nil {
		return ""
	}
	return "\n" + out.String()
}
