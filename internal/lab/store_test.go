package lab_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/xml"
	"net"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/zmlift/zmlift/internal/lab"
)

// The two stores must differ in whatever a mover could confuse.
func TestStoresDiffer(t *testing.T) {
	l := lab.Shared(t)
	type facts struct {
		volumes, current, groups, hsm string
	}
	var got [2]facts
	for i, s := range l.Stores {
		db := s.DB(t)
		row := func(query string) (v sql.NullString) {
			require.NoError(t, db.QueryRow(query).Scan(&v), query)
			return v
		}
		got[i].volumes = row("SELECT GROUP_CONCAT(id, ' ', type ORDER BY id) FROM zimbra.volume").String
		got[i].current = row("SELECT CONCAT_WS(' ', message_volume_id, secondary_message_volume_id, index_volume_id) FROM zimbra.current_volumes").String
		got[i].hsm = row("SELECT secondary_message_volume_id FROM zimbra.current_volumes").String
		got[i].groups = localconfig(t, s)["zimbra_mailbox_groups"]
	}
	want := [2]facts{
		{volumes: "1 1,2 10,3 2", current: "1 3 2", groups: "100", hsm: "3"},
		{volumes: "5 1,7 10,9 1", current: "5 7", groups: "7", hsm: ""},
	}
	require.Equal(t, want, got)
}

func TestVolumesExistAndBelongToTheStore(t *testing.T) {
	l := lab.Shared(t)
	if os.Geteuid() != 0 && l.Backend == lab.Processes {
		t.Log("not root: the volumes belong to this user")
	}
	owners := map[string]bool{}
	for _, s := range l.Stores {
		for _, dir := range lines(t, s.DB(t), "SELECT path FROM zimbra.volume") {
			owner := strings.TrimSpace(output(t, s, "stat", "-c", "%F %u:%g", dir))
			require.Regexp(t, `^directory \d+:\d+$`, owner, dir)
			owners[owner] = true
		}
	}
	if os.Geteuid() == 0 {
		require.Len(t, owners, 2, "each store has an owner of its own: %v", owners)
	}
}

func TestLocalconfig(t *testing.T) {
	l := lab.Shared(t)
	for _, s := range l.Stores {
		c := localconfig(t, s)
		_, port, err := net.SplitHostPort(s.MySQLAddr)
		require.NoError(t, err)
		require.Equal(t, port, c["mysql_port"])
		require.Equal(t, s.MySQLUser, c["zimbra_mysql_user"])
		require.Equal(t, s.MySQLPassword, c["zimbra_mysql_password"])
		require.Equal(t, l.LDAP.BindDN, c["zimbra_ldap_userdn"])
		require.Equal(t, l.LDAP.Password, c["zimbra_ldap_password"])
		require.Equal(t, s.Host, c["zimbra_server_hostname"])
		// mailboxd finds the script by this key (db/DbMailbox.createMailboxDatabase).
		require.Equal(t, s.CreateDatabaseFile, path.Join(c["mailboxd_directory"], "../db/create_database.sql"))
	}
}

func TestSettings(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := s.DB(t)
	for name, want := range map[string]string{
		"max_connections":                "110",
		"max_allowed_packet":             "16777216",
		"innodb_flush_log_at_trx_commit": "0",
	} {
		var got string
		require.NoError(t, db.QueryRow("SELECT @@GLOBAL."+name).Scan(&got))
		require.Equal(t, want, got, name)
	}
}

// The zimbra user can do what a mover needs, and no more: a mover that needs SUPER fails here and not at the customer's.
func TestGrants(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	db := s.DB(t)
	for _, ok := range []string{
		"CREATE DATABASE zmlift", "CREATE TABLE zmlift.t (a INT)", "INSERT INTO zmlift.t VALUES (1)", "DROP DATABASE zmlift",
		"CREATE DATABASE mboxgroup95", "CREATE TABLE mboxgroup95.t (a INT UNSIGNED, FOREIGN KEY (a) REFERENCES zimbra.mailbox (id))",
		"DROP DATABASE mboxgroup95",
		"SELECT COUNT(*) FROM information_schema.innodb_trx", "FLUSH ENGINE LOGS", "SET SESSION foreign_key_checks = 0",
	} {
		_, err := db.Exec(ok)
		require.NoError(t, err, ok)
	}
	for _, denied := range []string{"SET GLOBAL foreign_key_checks = 0", "SELECT * FROM mysql.user", "CREATE USER x"} {
		_, err := db.Exec(denied)
		require.Error(t, err, denied)
	}
	_, err := s.RootDB(t).Exec("SET GLOBAL general_log = 0")
	require.NoError(t, err, "root is a superuser")
}

// What a tunnel will do: verify the host by known_hosts, log in with the key file, and reach MySQL at the same address.
func TestReachedOverSSH(t *testing.T) {
	l := lab.Shared(t)
	for _, s := range l.Stores {
		key, err := os.ReadFile(s.KeyFile)
		require.NoError(t, err)
		signer, err := ssh.ParsePrivateKey(key)
		require.NoError(t, err)
		verify, err := knownhosts.New(s.KnownHostsFile)
		require.NoError(t, err)
		client, err := ssh.Dial("tcp", s.SSHAddr, &ssh.ClientConfig{
			User: s.SSHUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: verify,
			HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		})
		require.NoError(t, err, s.Host)
		defer client.Close()
		conn, err := client.Dial("tcp", s.MySQLAddr)
		require.NoError(t, err, "MySQL of %s from the store itself", s.Host)
		hello := make([]byte, 5)
		_, err = conn.Read(hello)
		require.NoError(t, err)
		require.EqualValues(t, 10, hello[4], "MySQL protocol version")
		conn.Close()
	}
	a, err := os.ReadFile(l.Stores[0].KnownHostsFile)
	require.NoError(t, err)
	require.Equal(t, 2, bytes.Count(a, []byte("\n")), "a line for each store")
}

func TestRun(t *testing.T) {
	s := lab.Shared(t).Stores[0]
	var out bytes.Buffer
	require.NoError(t, s.Run(t.Context(), []string{"cat", "-"}, strings.NewReader("to the store and back"), &out))
	require.Equal(t, "to the store and back", out.String())

	const hostile = "a'b \"c\" $HOME `x` \\ \n;*"
	require.Equal(t, hostile, output(t, s, "printf", "%s", hostile))

	var exit *lab.RunError
	err := s.Run(t.Context(), []string{"sh", "-c", "echo why >&2; exit 3"}, nil, nil)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.Status)
	require.Contains(t, exit.Error(), "why")

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Run(ctx, []string{"sleep", "60"}, nil, nil), context.DeadlineExceeded)
}

func TestKillAndStartMySQL(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	root := s.RootDB(t)
	_, err := root.Exec("CREATE DATABASE lab_restart")
	require.NoError(t, err)
	_, err = root.Exec("FLUSH ENGINE LOGS")
	require.NoError(t, err)

	require.NoError(t, s.KillMySQL(t.Context()))
	require.Error(t, s.DB(t).Ping(), "killed and still answers")
	require.NoError(t, s.KillMySQL(t.Context()), "twice")
	require.NoError(t, s.StartMySQL(t.Context()))
	require.NoError(t, s.DB(t).Ping())
	_, err = s.RootDB(t).Exec("DROP DATABASE lab_restart")
	require.NoError(t, err, "the data it had")
}

func localconfig(t *testing.T, s *lab.Store) map[string]string {
	t.Helper()
	var file struct {
		XMLName xml.Name `xml:"localconfig"`
		Keys    []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:"value"`
		} `xml:"key"`
	}
	require.NoError(t, xml.Unmarshal([]byte(output(t, s, "cat", s.LocalconfigFile)), &file))
	values := map[string]string{}
	for _, k := range file.Keys {
		values[k.Name] = k.Value
	}
	return values
}

func output(t *testing.T, s *lab.Store, argv ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, s.Run(t.Context(), argv, nil, &out))
	return out.String()
}
