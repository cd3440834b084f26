package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/zmlift/zmlift/internal/lab"
)

// moverDir is where the journals lie, and the configuration for examples/mover.
func moverDir(l *lab.Lab) string { return filepath.Join(l.Dir, "mover") }

// keep leaves the lab running until ctx ends.
func keep(ctx context.Context, l *lab.Lab, stdout io.Writer) error {
	config, err := writeConfig(l)
	if err != nil {
		return err
	}
	bob, carol, to := names[0][1], names[0][2], l.Stores[1].Host
	fmt.Fprintf(stdout, "\nThe servers run until Ctrl-C. A configuration for examples/mover is %s; try\n\n", config)
	for _, command := range []string{
		"status",
		"plan " + bob + " --to " + to + " --accept no-mailboxd",
		"move " + bob + " --to " + to + " --accept no-mailboxd",
		"presync " + carol + " --to " + to + " --accept no-mailboxd",
		"rollback " + carol,
	} {
		fmt.Fprintf(stdout, "go run ./examples/mover %s --config %s\n", command, config)
	}
	<-ctx.Done()
	return nil
}

// writeConfig writes the configuration and its secrets where only this user reads them; they go with the lab.
func writeConfig(l *lab.Lab) (string, error) {
	dir := moverDir(l)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	var b strings.Builder
	files := map[string]string{"ldap.secret": l.LDAP.Password}
	in := func(name string) string { return filepath.Join(dir, name) }
	fmt.Fprintf(&b, "state_dir = %q\n\n[ldap]\nurl = %q\nbind_dn = %q\npassword_file = %q\nca_file = %q\n",
		stateDir(l), l.LDAP.URL, l.LDAP.BindDN, in("ldap.secret"), l.LDAP.CAFile)
	for _, s := range l.Stores {
		secret := s.Host + ".mysql"
		files[secret] = s.MySQLPassword
		fmt.Fprintf(&b, "\n[stores.%q]\nmysql = %q\nmysql_password_file = %q\nlocalconfig_file = %q\ncreate_database_file = %q\n",
			s.Host, s.MySQLUser+"@tcp("+s.MySQLAddr+")/", in(secret), s.LocalconfigFile, s.CreateDatabaseFile)
		fmt.Fprintf(&b, "ssh = %q\nidentity_file = %q\nknown_hosts_file = %q\n", s.SSHUser+"@"+s.SSHAddr, s.KeyFile, s.KnownHostsFile)
	}
	files["mover.toml"] = b.String()
	for name, text := range files {
		if err := os.WriteFile(in(name), []byte(strings.TrimSuffix(text, "\n")+"\n"), 0o600); err != nil {
			return "", err
		}
	}
	return in("mover.toml"), nil
}
