package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/zimbra"
)

// A site is a configuration of the program for a lab, and what its tests ask the lab.
type site struct {
	*lab.Lab
	dir    string // of the configuration and its secrets
	state  string
	config string
}

// newSite writes a configuration for the lab. Some of it may be replaced: pairs of a text and another.
func newSite(t testing.TB, l *lab.Lab, replace ...string) *site {
	t.Helper()
	s := &site{Lab: l, dir: t.TempDir()}
	s.state, s.config = filepath.Join(s.dir, "state"), filepath.Join(s.dir, "mover.toml")
	secret := func(name, text string) string {
		file := filepath.Join(s.dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text+"\n"), 0o600))
		return file
	}
	var b strings.Builder
	fmt.Fprintf(&b, "state_dir = %q\n[ldap]\nurl = %q\nbind_dn = %q\npassword_file = %q\nca_file = %q\n",
		s.state, l.LDAP.URL, l.LDAP.BindDN, secret("ldap.secret", l.LDAP.Password), l.LDAP.CAFile)
	for _, st := range l.Stores {
		fmt.Fprintf(&b, "[stores.%q]\nmysql = %q\nmysql_password_file = %q\nlocalconfig_file = %q\ncreate_database_file = %q\n%s",
			st.Host, st.MySQLUser+"@tcp("+st.MySQLAddr+")/", secret(st.Host+".mysql", st.MySQLPassword), st.LocalconfigFile, st.CreateDatabaseFile,
			sshLines(st))
	}
	require.NoError(t, os.WriteFile(s.config, []byte(strings.NewReplacer(replace...).Replace(b.String())), 0o600))
	return s
}

// newLocalSite is a site whose mover reaches the files of both mailstores without ssh, as one on each of them would: many moves take much
// less time. In containers it needs ssh all the same.
func newLocalSite(t testing.TB, l *lab.Lab) *site {
	t.Helper()
	var without []string
	for _, st := range l.Stores {
		if l.Backend == lab.Processes {
			without = append(without, sshLines(st), "")
		}
	}
	return newSite(t, l, without...)
}

// sshLines are a store's keys in the configuration that have it reached over ssh.
func sshLines(st *lab.Store) string {
	return fmt.Sprintf("ssh = %q\nidentity_file = %q\nknown_hosts_file = %q\n", st.SSHUser+"@"+st.SSHAddr, st.KeyFile, st.KnownHostsFile)
}

// run runs the program and returns its exit code and output.
func (s *site) run(t testing.TB, when string, args ...string) (code int, out, err string) {
	t.Helper()
	c := start(t, when, append(args, "--config", s.config)...)
	code = c.code(t)
	return code, c.out.String(), c.err.String()
}

// moved runs a verb that is to succeed, with JSON output, and returns its report.
func (s *site) report(t testing.TB, args ...string) zimbra.Report {
	t.Helper()
	code, out, errs := s.run(t, "never", append(args, "--json", "--accept", "no-mailboxd")...)
	require.Zero(t, code, "%s\n%s", errs, out)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var r zimbra.Report
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	return r
}

var accounts atomic.Int32

// account makes an account on the first store.
func (s *site) account(t testing.TB, items int) *lab.Account {
	t.Helper()
	a, err := s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: fmt.Sprintf("mover%d@lab.example", accounts.Add(1)), Items: items})
	require.NoError(t, err)
	return a
}

// entry reads the account's entry.
func (s *site) entry(t testing.TB, a *lab.Account) ldapattr.Entry {
	t.Helper()
	c, err := ldapattr.Dial(t.Context(), s.LDAP.URL, &ldapattr.Options{BindDN: s.LDAP.BindDN, Password: ldapattr.NewSecret(s.LDAP.Password), CAFile: s.LDAP.CAFile})
	require.NoError(t, err)
	defer c.Close()
	e, err := c.Lookup(t.Context(), "", ldapattr.Equal("zimbraId", a.ID))
	require.NoError(t, err)
	return e
}
