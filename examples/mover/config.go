package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/tunnel"
)

// A config is a configuration file that was read and found right. Nothing was dialled.
type config struct {
	stateDir string
	ldap     ldapConfig
	admin    *adminConfig // nil: none
	stores   map[string]*storeConfig
	warnings []string // what is read and not used yet
}

type ldapConfig struct {
	url      string
	replicas []string
	options  ldapattr.Options
}

type adminConfig struct {
	user     string
	password ldapattr.Secret
	caFile   string
}

type storeConfig struct {
	mysql       *mysql.Config // without the password
	password    ldapattr.Secret
	localconfig string        // "": the store's usual place
	createDB    string        // the same
	ssh         []tunnel.Host // jump hosts first; nil: it is this machine
	adminURL    string
	memcached   []string
	spares      spares
	limit       *filesync.Limit    // these two are as spares says, and may follow the file later
	priority    *filesync.Priority // of its commands
}

// spares is what moves may take of a store.
type spares struct {
	rate    filesync.Schedule
	nice    int
	ionice  string
	reserve int64 // bytes that stay free; 0 is the library's own
}

// readConfig reads a configuration file. The error is a *configError with all mistakes of the file at once, or says why the file cannot be read.
func readConfig(name string, getenv func(string) string) (*config, error) {
	text, err := readPrivate(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("configuration: %w: copy examples/mover/mover.example.toml there and fill it in, or name yours with --config", err)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	r, top, err := newReader(string(text), getenv)
	var syntax *configError
	if errors.As(err, &syntax) {
		syntax.file = name
		return nil, syntax
	}
	c := &config{stores: map[string]*storeConfig{}}
	c.read(top)
	return c, r.err(name)
}

func (c *config) read(top *table) {
	top.required("state_dir")
	c.stateDir = top.file("state_dir")
	if t := top.table("ldap"); t != nil {
		c.ldap = readLDAP(t)
	} else if !top.has("ldap") {
		top.wrong("ldap", "missing: give [ldap]")
	}
	if t := top.table("admin"); t != nil {
		c.admin = readAdmin(t)
		c.warnings = append(c.warnings, "[admin] is not used yet: plans report no-mailboxd")
	}
	if t := top.table("stores"); t != nil {
		c.readStores(t)
	} else if !top.has("stores") {
		top.wrong("stores", `missing: give [stores."NAME"] for every mailstore`)
	}
	top.rest()
}

func readLDAP(t *table) ldapConfig {
	before := len(t.r.mistakes)
	c := ldapConfig{url: t.required("url"), replicas: t.list("replicas")}
	c.options = ldapattr.Options{BindDN: t.required("bind_dn"), Password: t.secret("password"), CAFile: t.file("ca_file")}
	switch t.text("start_tls") {
	case "", "require":
	case "never":
		c.options.StartTLS = ldapattr.StartTLSNever
	default:
		t.wrong("start_tls", `want "require" or "never"`)
	}
	t.rest()
	if len(t.r.mistakes) > before {
		return c
	}
	for i, u := range append([]string{c.url}, c.replicas...) {
		key := "url"
		if i > 0 {
			key = "replicas"
		}
		// Made for its checks only: it does not dial.
		switch client, err := ldapattr.New(u, &c.options); {
		case err == nil:
			client.Close()
		case errors.Is(err, ldapattr.ErrInsecure):
			t.wrong("start_tls", `"never" would send everything in clear; it is for loopback addresses and ldaps:// only, and %s names another`, key)
		default:
			t.wrong(key, "%s", strings.TrimPrefix(err.Error(), "ldapattr: "))
		}
	}
	return c
}

func readAdmin(t *table) *adminConfig {
	c := &adminConfig{user: t.required("user"), password: t.secret("password"), caFile: t.file("ca_file")}
	t.rest()
	return c
}

func (c *config) readStores(t *table) {
	names := slices.Sorted(maps.Keys(t.keys))
	for i, name := range names {
		if name == "" {
			t.wrong(name, "a store is named by its zimbraMailHost")
		}
		if slices.ContainsFunc(names[:i], func(n string) bool { return strings.EqualFold(n, name) }) {
			t.wrong(name, "the same store twice, in other letters")
		}
		if sub := t.table(name); sub != nil {
			c.stores[name] = c.readStore(name, sub)
		}
	}
	if len(names) < 2 {
		t.r.mistakes = append(t.r.mistakes, mistake{t.line, "stores: want every mailstore of the cluster, two at least"})
	}
}

func (c *config) readStore(name string, t *table) *storeConfig {
	s := &storeConfig{
		mysql: readDSN(t), password: t.secret("mysql_password"),
		localconfig: t.file("localconfig_file"), createDB: t.file("create_database_file"),
		ssh: readSSH(t), adminURL: t.text("admin_url"), memcached: t.list("memcached"),
	}
	s.spares, s.limit, s.priority = readSpares(t), &filesync.Limit{}, &filesync.Priority{}
	s.spare(s.spares)
	if s.adminURL == "" {
		s.adminURL = "https://" + name + ":7071/"
	}
	if u, err := url.Parse(s.adminURL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		t.wrong("admin_url", "want https://HOST:PORT/")
	}
	for _, addr := range s.memcached {
		if !hostPort(addr) {
			t.wrong("memcached", "want HOST:PORT, not %q", addr)
		}
	}
	if len(s.memcached) > 0 {
		c.warnings = append(c.warnings, t.name("memcached")+" is not used yet: its servers are not told that an account has moved")
	}
	t.rest()
	return s
}

// readSpares notes what is wrong with them.
func readSpares(t *table) (s spares) {
	if rate := t.text("rate"); rate != "" {
		var err error
		if s.rate, err = filesync.ParseSchedule(rate, nil); err != nil {
			t.wrong("rate", "%s", strings.TrimPrefix(err.Error(), "filesync: schedule: "))
		}
	}
	var p filesync.Priority
	t.value("nice", "a number from 0 to 19", &s.nice)
	if p.Set(s.nice, "") != nil {
		t.wrong("nice", "want a number from 0 to 19")
		s.nice = 0
	}
	s.ionice = t.text("ionice")
	if p.Set(s.nice, s.ionice) != nil {
		t.wrong("ionice", `want "idle" or "0" to "7"`)
	}
	var mb int64
	if t.value("reserve_mb", "a number of megabytes", &mb) && (mb < 1 || mb > 1e9) {
		t.wrong("reserve_mb", "want a number of megabytes, 1 at least")
	}
	s.reserve = mb * 1e6
	return s
}

// spare has what goes on follow rates and priorities, which were read without a mistake.
func (s *storeConfig) spare(n spares) {
	_ = s.limit.SetSchedule(n.rate)
	_ = s.priority.Set(n.nice, n.ionice)
}

// readDSN reads mysql. No error quotes the text: somebody may have put a password there.
func readDSN(t *table) *mysql.Config {
	dsn := t.required("mysql")
	if dsn == "" {
		return nil
	}
	c, err := mysql.ParseDSN(dsn)
	switch {
	case err != nil:
		t.wrong("mysql", "not a DSN: want USER@tcp(HOST:PORT)/")
	case c.Passwd != "":
		t.wrong("mysql", "a password has no place in it: use mysql_password, mysql_password_file or mysql_password_env")
	case c.User == "":
		t.wrong("mysql", "no user: want USER@tcp(HOST:PORT)/")
	case c.Net != "tcp" && c.Net != "unix":
		t.wrong("mysql", "want USER@tcp(HOST:PORT)/ or USER@unix(SOCKET)/")
	case c.DBName != "":
		t.wrong("mysql", "no database is to be named after the slash: a mailbox lies in several")
	}
	return c
}

// readSSH reads how to get to the store; nil: it is this machine. A jump host is let in to with the same keys, unless ssh's configuration says
// otherwise.
func readSSH(t *table) []tunnel.Host {
	dest, alias := t.text("ssh"), t.text("ssh_config_host")
	keys := tunnel.Host{IdentityFile: t.file("identity_file"), KnownHostsFile: t.file("known_hosts_file")}
	var agent bool
	if t.value("ssh_agent", "true or false", &agent); agent {
		if keys.Agent = t.r.getenv("SSH_AUTH_SOCK"); keys.Agent == "" {
			t.wrong("ssh_agent", "there is none: SSH_AUTH_SOCK is not set")
		}
	}
	encrypted := t.has("identity_passphrase") || t.has("identity_passphrase_file") || t.has("identity_passphrase_env")
	if encrypted {
		secret := t.secret("identity_passphrase")
		keys.Passphrase = func(context.Context, string) ([]byte, error) { return []byte(secret.Reveal()), nil }
	}
	unwanted := func(why string, names ...string) {
		for _, key := range names {
			if t.has(key) && t.text(key) != "" {
				t.wrong(key, "%s it has no effect", why)
			}
		}
	}
	var hosts []tunnel.Host
	switch {
	case dest != "" && alias != "":
		t.wrong("ssh_config_host", "ssh is given as well; give one of them")
		return nil
	case alias != "":
		unwanted("with ssh_config_host", "identity_file", "known_hosts_file")
		var err error
		if hosts, err = tunnel.FromConfig(alias, nil); err != nil {
			t.wrong("ssh_config_host", "%s", strings.TrimPrefix(err.Error(), "tunnel: "))
		}
		for i := range hosts {
			hosts[i].Passphrase, hosts[i].Agent = keys.Passphrase, cmp.Or(keys.Agent, hosts[i].Agent)
		}
		return hosts
	case dest == "":
		unwanted("without ssh", "identity_file", "known_hosts_file")
		if encrypted || agent {
			t.wrong("ssh", "missing: an agent or a passphrase has no effect without it")
		}
		return nil
	}
	h := keys
	at := strings.LastIndexByte(dest, '@')
	h.User, h.Addr = dest[:max(at, 0)], dest[at+1:]
	if host, _, err := net.SplitHostPort(h.Addr); h.User == "" || h.Addr == "" || err == nil && (host == "" || !hostPort(h.Addr)) {
		t.wrong("ssh", "want USER@HOST or USER@HOST:PORT")
	}
	for _, key := range []string{"identity_file", "known_hosts_file"} {
		switch {
		case key == "identity_file" && agent:
		case !t.has(key):
			t.wrong(key, "missing: ssh needs it")
		case t.text(key) == "":
			t.wrong(key, "is empty: ssh needs it")
		}
	}
	if h.IdentityFile != "" {
		// One that is not there is a problem of the plan, like a server that does not take it.
		if err := private(os.Stat(h.IdentityFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.wrong("identity_file", "%s %v: chmod go= %[1]s", h.IdentityFile, err)
		}
	}
	return []tunnel.Host{h}
}

func hostPort(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
