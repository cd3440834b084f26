package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/tunnel"
)

// good is a configuration without a mistake; DIR stands for a directory with the files that it names.
const good = `state_dir = "DIR/state"
[ldap]
url = "ldap://ldap.example.com:389"
bind_dn = "uid=zimbra,cn=admins,cn=zimbra"
password_file = "DIR/ldap"
[stores."mail1.example.com"]
mysql = "zimbra@tcp(127.0.0.1:7306)/"
mysql_password = "one"
[stores."mail2.example.com"]
mysql = "zimbra@tcp(127.0.0.1:7306)/"
mysql_password_env = "MAIL2"
ssh = "root@mail2.example.com"
identity_file = "DIR/id"
known_hosts_file = "DIR/known_hosts"
`

// writeConfig writes a configuration and what good names, and returns the file.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"ldap": "two words\n", "id": "key", "empty": "\n", "lines": "one\ntwo\n", "crlf": "word\r\n", "mover.toml": strings.ReplaceAll(text, "DIR", dir),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	for name, mode := range map[string]os.FileMode{"open": 0o604, "group": 0o620} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte("secret\n"), 0o600))
		require.NoError(t, os.Chmod(file, mode)) // whatever the umask is
	}
	return filepath.Join(dir, "mover.toml")
}

func getenv(name string) string { return map[string]string{"MAIL2": "three", "HOME": "/root"}[name] }

func TestConfig(t *testing.T) {
	file := writeConfig(t, good)
	dir := filepath.Dir(file)
	c, err := readConfig(file, getenv)
	require.NoError(t, err)
	require.Empty(t, c.warnings)
	require.Nil(t, c.admin)
	require.Equal(t, dir+"/state", c.stateDir)
	require.Equal(t, "two words", c.ldap.options.Password.Reveal(), "without the file's newline")
	require.Equal(t, ldapattr.StartTLSRequire, c.ldap.options.StartTLS)
	m1, m2 := c.stores["mail1.example.com"], c.stores["mail2.example.com"]
	require.Equal(t, "one", m1.password.Reveal())
	require.Equal(t, "three", m2.password.Reveal())
	require.Nil(t, m1.ssh)
	require.Len(t, m2.ssh, 1)
	require.Equal(t, "root", m2.ssh[0].User)
	require.Equal(t, "mail2.example.com", m2.ssh[0].Addr)
	require.Equal(t, "https://mail1.example.com:7071/", m1.adminURL)

	cl, err := c.connect() // nothing is dialled: these hosts do not exist
	require.NoError(t, err)
	require.Equal(t, "ldap://ldap.example.com:389", cl.config.DirectoryName)
	require.Len(t, cl.config.Stores, 2)
	require.NoError(t, cl.close())
}

func TestConfigOfEverything(t *testing.T) {
	file := writeConfig(t, strings.Replace(good, "[stores", `[admin]
user = "zimbra"
password_file = "DIR/crlf"
[stores`, 1)+`memcached = ["127.0.0.1:11211"]
admin_url = "https://admin.example.com:7071/"
localconfig_file = "/etc/localconfig.xml"
`)
	c, err := readConfig(file, getenv)
	require.NoError(t, err)
	require.Equal(t, "word", c.admin.password.Reveal())
	require.Equal(t, []string{
		"[admin] is not used yet: plans report no-mailboxd",
		`stores."mail2.example.com".memcached is not used yet: its servers are not told that an account has moved`,
	}, c.warnings)
	require.Equal(t, "/etc/localconfig.xml", c.stores["mail2.example.com"].localconfig)
}

func TestConfigOfSSH(t *testing.T) {
	file := writeConfig(t, strings.NewReplacer("identity_file = \"DIR/id\"\n", "", "ssh = ", "ssh_agent = true\nidentity_passphrase = \"open sesame\"\nssh = ").
		Replace(good))
	c, err := readConfig(file, func(name string) string { return map[string]string{"SSH_AUTH_SOCK": "/run/agent"}[name] + getenv(name) })
	require.NoError(t, err)
	h := c.stores["mail2.example.com"].ssh[0]
	require.Equal(t, "/run/agent", h.Agent)
	passphrase, err := h.Passphrase(t.Context(), h.IdentityFile)
	require.NoError(t, err)
	require.Equal(t, "open sesame", string(passphrase))
	require.NotContains(t, fmt.Sprintf("%+v", c.stores["mail2.example.com"]), "sesame")
}

func TestConfigOfSSHEntry(t *testing.T) {
	if _, err := tunnel.FromConfig("carol@mail2.example.com", nil); err != nil {
		t.Skipf("this machine's own configuration of ssh is not supported: %v", err)
	}
	file := writeConfig(t, strings.NewReplacer("identity_file = \"DIR/id\"\n", "", "known_hosts_file = \"DIR/known_hosts\"\n", "", "ssh = \"root@", "ssh_config_host = \"carol@").
		Replace(good))
	c, err := readConfig(file, getenv)
	require.NoError(t, err)
	hosts := c.stores["mail2.example.com"].ssh
	require.Equal(t, "carol", hosts[len(hosts)-1].User)
	cl, err := c.connect()
	require.NoError(t, err)
	require.NoError(t, cl.close())
}

// The example is what people copy: every key of it is one that the program knows.
func TestExampleConfig(t *testing.T) {
	text, err := os.ReadFile("mover.example.toml")
	require.NoError(t, err)
	dir := t.TempDir()
	config := strings.NewReplacer("/etc/zmlift/", dir+"/", "/root/.ssh/", dir+"/").Replace(string(text))
	file := filepath.Join(dir, "mover.toml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	for _, name := range []string{"ldap.secret", "admin.secret", "mail1.mysql", "mail2.mysql", "zmlift"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("secret\n"), 0o600))
	}
	c, err := readConfig(file, getenv)
	require.NoError(t, err)
	require.Len(t, c.warnings, 1, "the admin section's")
}

func TestConfigMistakes(t *testing.T) {
	// edit replaces lines of good: pairs of an old and a new text.
	for _, test := range []struct {
		name string
		edit []string
		want []string
	}{
		{"unknown keys", []string{"[ldap]\n", "colour = 1\n[ldap]\nurll = \"x\"\n", "mysql_password = ", "Mysql = \"x\"\nmysql_password = "}, []string{
			"line 2: colour: unknown key; known are admin, ldap, state_dir, stores",
			"line 4: ldap.urll: unknown key; known are bind_dn, ca_file, password, password_env, password_file, replicas, start_tls, url",
			`line 10: stores."mail1.example.com".Mysql: unknown key; known are admin_url, create_database_file, identity_file, identity_passphrase, ` +
				"identity_passphrase_env, identity_passphrase_file, ionice, known_hosts_file, localconfig_file, memcached, mysql, mysql_password, " +
				"mysql_password_env, mysql_password_file, nice, rate, reserve_mb, ssh, ssh_agent, ssh_config_host",
		}},
		{"an unknown table", []string{"[ldap]", "[[limits]]\na = 1\n[ldap]"}, []string{
			"line 2: limits: unknown key; known are admin, ldap, state_dir, stores",
		}},
		{"wrong types", []string{`"ldap://ldap.example.com:389"`, "389", "[stores.\"mail1", "replicas = \"x\"\n[stores.\"mail1", `"one"`, "[1]"}, []string{
			"line 3: ldap.url: want a string",
			`line 6: ldap.replicas: want a list of strings, ["a", "b"]`,
			`line 9: stores."mail1.example.com".mysql_password: want a string`,
		}},
		{"tables that are none", []string{good, "state_dir = \"DIR\"\nldap = 1\nadmin = \"x\"\nstores = []\n"}, []string{
			"line 2: ldap: want a table, [ldap]",
			"line 3: admin: want a table, [admin]",
			"line 4: stores: want a table, [stores]",
		}},
		{"nothing", []string{good, ""}, []string{
			"ldap: missing: give [ldap]",
			"state_dir: missing",
			`stores: missing: give [stores."NAME"] for every mailstore`,
		}},
		{"empty sections", []string{good, "state_dir = \"\"\n[ldap]\n[admin]\n[stores.a]\n[stores.b]\n"}, []string{
			"line 1: state_dir: is empty",
			"line 2: ldap.bind_dn: missing",
			"line 2: ldap.password: missing: give password, password_file or password_env",
			"line 2: ldap.url: missing",
			"line 3: admin.password: missing: give password, password_file or password_env",
			"line 3: admin.user: missing",
			"line 4: stores.a.mysql: missing",
			"line 4: stores.a.mysql_password: missing: give mysql_password, mysql_password_file or mysql_password_env",
			"line 5: stores.b.mysql: missing",
			"line 5: stores.b.mysql_password: missing: give mysql_password, mysql_password_file or mysql_password_env",
		}},
		{"one store", []string{good[strings.Index(good, `[stores."mail2`):], ""}, []string{
			"stores: want every mailstore of the cluster, two at least",
		}},
		{"a store twice", []string{`"mail2.example.com"]`, `"MAIL1.example.com"]`}, []string{
			`line 6: stores."mail1.example.com": the same store twice, in other letters`,
		}},
		{"two secrets", []string{"password_file", "password = \"x\"\npassword_file", "mysql_password_env", "mysql_password_file = \"/x\"\nmysql_password_env"}, []string{
			"line 6: ldap.password_file: password and password_file are given; give one of them",
			`line 13: stores."mail2.example.com".mysql_password_env: mysql_password_file and mysql_password_env are given; give one of them`,
		}},
		{"empty secrets", []string{"DIR/ldap", "DIR/empty", `"one"`, `""`}, []string{
			"line 5: ldap.password_file: is empty",
			`line 8: stores."mail1.example.com".mysql_password: is empty`,
		}},
		{"a secret of two lines", []string{"DIR/ldap", "DIR/lines"}, []string{"line 5: ldap.password_file: DIR/lines has more than one line"}},
		{"no such secret file", []string{"DIR/ldap", "DIR/none"}, []string{"line 5: ldap.password_file: open DIR/none: no such file or directory"}},
		{"no such variable", []string{`"MAIL2"`, `"MAIL3"`}, []string{
			`line 11: stores."mail2.example.com".mysql_password_env: the environment variable MAIL3 is not set`,
		}},
		{"open secret files", []string{"DIR/ldap", "DIR/open", "DIR/id", "DIR/group"}, []string{
			"line 5: ldap.password_file: DIR/open is open to others (mode 0604): chmod go= DIR/open",
			`line 13: stores."mail2.example.com".identity_file: DIR/group is open to others (mode 0620): chmod go= DIR/group`,
		}},
		{"relative names", []string{"DIR/state", "state", "DIR/ldap", "ldap", "DIR/known_hosts", "~/known_hosts"}, []string{
			"line 1: state_dir: want an absolute path, so that it does not matter where mover is started",
			"line 5: ldap.password_file: want an absolute path, so that it does not matter where mover is started",
			`line 14: stores."mail2.example.com".known_hosts_file: want an absolute path, so that it does not matter where mover is started`,
		}},
		{"LDAP in clear", []string{"[ldap]\n", "[ldap]\nstart_tls = \"never\"\n"}, []string{
			`line 3: ldap.start_tls: "never" would send everything in clear; it is for loopback addresses and ldaps:// only, and url names another`,
		}},
		{"a replica in clear", []string{"ldap://ldap.example.com:389\"\n", "ldap://127.0.0.1\"\nstart_tls = \"never\"\nreplicas = [\"ldaps://a\", \"ldap://b\"]\n"}, []string{
			`line 4: ldap.start_tls: "never" would send everything in clear; it is for loopback addresses and ldaps:// only, and replicas names another`,
		}},
		{"start_tls", []string{"[ldap]\n", "[ldap]\nstart_tls = \"maybe\"\n"}, []string{`line 3: ldap.start_tls: want "require" or "never"`}},
		{"URLs", []string{"ldap://ldap.example.com:389", "ldap.example.com", "[stores.\"mail1", "replicas = [\"http://x\"]\n[stores.\"mail1"}, []string{
			"line 3: ldap.url: URL must begin with ldap:// or ldaps://",
			"line 6: ldap.replicas: URL must begin with ldap:// or ldaps://",
		}},
		{"no CA", []string{"[ldap]\n", "[ldap]\nca_file = \"DIR/none\"\n"}, []string{
			"line 4: ldap.url: ldap://ldap.example.com:389: open DIR/none: no such file or directory",
		}},
		{"a password in the DSN", []string{"zimbra@tcp", "zimbra:hunter2@tcp"}, []string{
			`line 7: stores."mail1.example.com".mysql: a password has no place in it: use mysql_password, mysql_password_file or mysql_password_env`,
			`line 10: stores."mail2.example.com".mysql: a password has no place in it: use mysql_password, mysql_password_file or mysql_password_env`,
		}},
		{"limits", []string{`"one"`, "\"one\"\nrate = \"10M always\"\nnice = 20\nionice = \"first\"\nreserve_mb = 0"}, []string{
			`line 9: stores."mail1.example.com".rate: "10M always": "always" is no rate: want a number, or one with K, M or G`,
			`line 10: stores."mail1.example.com".nice: want a number from 0 to 19`,
			`line 11: stores."mail1.example.com".ionice: want "idle" or "0" to "7"`,
			`line 12: stores."mail1.example.com".reserve_mb: want a number of megabytes, 1 at least`,
		}},
		{"no DSN", []string{"zimbra@tcp(127.0.0.1:7306)/", "zimbra:hunter2(@tcp(127.0.0.1"}, []string{
			`line 7: stores."mail1.example.com".mysql: not a DSN: want USER@tcp(HOST:PORT)/`,
			`line 10: stores."mail2.example.com".mysql: not a DSN: want USER@tcp(HOST:PORT)/`,
		}},
		{"DSN without a user", []string{"zimbra@tcp", "tcp"}, []string{
			`line 7: stores."mail1.example.com".mysql: no user: want USER@tcp(HOST:PORT)/`,
			`line 10: stores."mail2.example.com".mysql: no user: want USER@tcp(HOST:PORT)/`,
		}},
		{"DSN with a database", []string{":7306)/", ":7306)/zimbra"}, []string{
			`line 7: stores."mail1.example.com".mysql: no database is to be named after the slash: a mailbox lies in several`,
			`line 10: stores."mail2.example.com".mysql: no database is to be named after the slash: a mailbox lies in several`,
		}},
		{"DSN of another network", []string{"@tcp(127.0.0.1:7306)", "@udp(127.0.0.1:7306)"}, []string{
			`line 7: stores."mail1.example.com".mysql: want USER@tcp(HOST:PORT)/ or USER@unix(SOCKET)/`,
			`line 10: stores."mail2.example.com".mysql: want USER@tcp(HOST:PORT)/ or USER@unix(SOCKET)/`,
		}},
		{"ssh without a user", []string{"root@mail2", "mail2"}, []string{`line 12: stores."mail2.example.com".ssh: want USER@HOST or USER@HOST:PORT`}},
		{"ssh with a bad port", []string{"root@mail2.example.com", "root@mail2.example.com:ssh"}, []string{
			`line 12: stores."mail2.example.com".ssh: want USER@HOST or USER@HOST:PORT`,
		}},
		{"ssh without files", []string{"identity_file = \"DIR/id\"\n", "", "DIR/known_hosts", ""}, []string{
			`line 9: stores."mail2.example.com".identity_file: missing: ssh needs it`,
			`line 13: stores."mail2.example.com".known_hosts_file: is empty: ssh needs it`,
		}},
		{"files without ssh", []string{"ssh = \"root@mail2.example.com\"\n", ""}, []string{
			`line 12: stores."mail2.example.com".identity_file: without ssh it has no effect`,
			`line 13: stores."mail2.example.com".known_hosts_file: without ssh it has no effect`,
		}},
		{"ssh twice", []string{"ssh = ", "ssh_config_host = \"mail2\"\nssh = "}, []string{
			`line 12: stores."mail2.example.com".ssh_config_host: ssh is given as well; give one of them`,
		}},
		{"files beside an entry", []string{"ssh = \"root@mail2.example.com\"", "ssh_config_host = \"mail2\""}, []string{
			`line 13: stores."mail2.example.com".identity_file: with ssh_config_host it has no effect`,
			`line 14: stores."mail2.example.com".known_hosts_file: with ssh_config_host it has no effect`,
		}},
		{"no agent", []string{"ssh = ", "ssh_agent = true\nssh = "}, []string{
			`line 12: stores."mail2.example.com".ssh_agent: there is none: SSH_AUTH_SOCK is not set`,
		}},
		{"a passphrase without ssh", []string{"[stores.\"mail2", "identity_passphrase = \"hunter2\"\n[stores.\"mail2"}, []string{
			`line 6: stores."mail1.example.com".ssh: missing: an agent or a passphrase has no effect without it`,
		}},
		{"addresses", []string{"ssh = ", "admin_url = \"http://x:7071/\"\nmemcached = [\"a:1\", \"b\"]\nssh = "}, []string{
			`line 12: stores."mail2.example.com".admin_url: want https://HOST:PORT/`,
			`line 13: stores."mail2.example.com".memcached: want HOST:PORT, not "b"`,
		}},
		{"not TOML", []string{`"one"`, "hunter2"}, []string{"line 8: not TOML: expected value but found … instead"}},
		{"a key twice", []string{"bind_dn", "url = \"x\"\nbind_dn"}, []string{"line 4: not TOML: Key 'ldap.url' has already been defined."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.NewReplacer(test.edit...).Replace(good)
			file := writeConfig(t, text)
			_, err := readConfig(file, getenv)
			require.Error(t, err)
			want := "configuration " + file + ":\n  " + strings.Join(test.want, "\n  ")
			require.Equal(t, strings.ReplaceAll(want, "DIR", filepath.Dir(file)), err.Error())
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestConfigFileItself(t *testing.T) {
	file := writeConfig(t, good)
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o700: false, 0o640: true, 0o604: true, 0o620: true, 0o601: true} {
		require.NoError(t, os.Chmod(file, mode))
		_, err := readConfig(file, getenv)
		if !refused {
			require.NoError(t, err, "mode %o", mode)
			continue
		}
		require.EqualError(t, err, fmt.Sprintf("configuration: %s is open to others (mode %04o): chmod go= %[1]s", file, mode))
	}
	_, err := readConfig(file+".none", getenv)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Whatever way a configuration is printed, its secrets are not.
func TestConfigHidesSecrets(t *testing.T) {
	c, err := readConfig(writeConfig(t, good), getenv)
	require.NoError(t, err)
	j, err := json.Marshal(c.ldap.options.Password)
	require.NoError(t, err)
	for _, s := range []string{fmt.Sprintf("%v %+v %#v", c.ldap, c.ldap, c.ldap), fmt.Sprintf("%+v", c.stores["mail1.example.com"]), string(j)} {
		require.NotContains(t, s, "two words")
		require.NotContains(t, s, `"one"`)
	}
}

// The same file in other ways of writing TOML.
func TestConfigSpellings(t *testing.T) {
	for _, edit := range [][]string{
		{"[ldap]\nurl", "ldap.url", "\nbind_dn", "\nldap.bind_dn", "\npassword_file", "\nldap.password_file"},
		{"[stores.\"mail1.example.com\"]", "[stores]\n[stores.\"mail1.example.com\"]"},
		{"[stores.\"mail1.example.com\"]\nmysql = \"zimbra@tcp(127.0.0.1:7306)/\"\nmysql_password = \"one\"",
			"[stores]\n\"mail1.example.com\" = {mysql = \"zimbra@tcp(127.0.0.1:7306)/\", mysql_password = \"one\"}"},
	} {
		c, err := readConfig(writeConfig(t, strings.NewReplacer(edit...).Replace(good)), getenv)
		require.NoError(t, err, edit)
		require.Len(t, c.stores, 2)
	}
	_, err := readConfig(writeConfig(t, strings.Replace(good, "[stores.\"mail1", "[stores]\n\"mail1.example.com\" = {mysql = 1}\n[stores.\"mail3", 1)), getenv)
	require.ErrorContains(t, err, `line 7: stores."mail1.example.com".mysql: want a string`)
}
