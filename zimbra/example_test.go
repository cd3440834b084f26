package zimbra_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/tunnel"
	"github.com/zmlift/zmlift/zimbra"
)

// mailstore makes a Store: its database and its files, both reached through one SSH connection.
func mailstore(host string, t *tunnel.Tunnel, db *mysql.Config) (*zimbra.Store, error) {
	db.DialFunc = t.DialContext
	connector, err := mysql.NewConnector(db)
	if err != nil {
		return nil, err
	}
	return zimbra.NewStore(zimbra.StoreConfig{Host: host, DB: sql.OpenDB(connector), Files: filesync.Remote(t, nil)}), nil
}

// move moves an account; stores are all mailstores of the cluster, by their zimbraMailHost.
func move(ctx context.Context, dir *ldapattr.Client, stores map[string]*zimbra.Store, account, to string) error {
	m, err := zimbra.New(zimbra.Config{
		Directory: dir, DirectoryName: dir.String(), Stores: stores, StateDir: "/var/lib/zmlift",
		OnEvent: func(e zimbra.Event) { fmt.Println(e.Phase, e.Step, e.Kind) },
	})
	if err != nil {
		return err
	}
	plan, err := m.Plan(ctx, zimbra.Request{Account: account, To: to, Accept: []string{zimbra.CodeNoMailboxd}})
	if err != nil {
		return err // a *zimbra.PreflightError has every problem; nothing was changed
	}
	mv, err := m.Start(ctx, plan)
	if err != nil {
		return err
	}
	defer mv.Close()
	// After an error the move goes on with m.Open(ctx, mv.ID()) and Run, today or after a crash; Rollback takes it back.
	return mv.Run(ctx, zimbra.PhaseFinish)
}

// Example shows a whole move. It needs a cluster, so it is compiled and not run.
func Example() {
	ctx := context.Background()
	dir, err := ldapattr.Dial(ctx, "ldap://ldap.example.com:389", &ldapattr.Options{
		BindDN: "uid=zimbra,cn=admins,cn=zimbra", Password: ldapattr.NewSecret(os.Getenv("LDAP_PASSWORD")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dir.Close()
	stores := map[string]*zimbra.Store{}
	for _, host := range []string{"mail1.example.com", "mail2.example.com"} {
		t, err := tunnel.Open(ctx, tunnel.Host{Addr: host, User: "root", IdentityFile: "/root/.ssh/zmlift", KnownHostsFile: "/root/.ssh/known_hosts"})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer t.Close()
		db := mysql.NewConfig()
		db.User, db.Passwd, db.Net, db.Addr = "zimbra", os.Getenv("MYSQL_PASSWORD"), "tcp", "127.0.0.1:7306"
		if stores[host], err = mailstore(host, t, db); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(move(ctx, dir, stores, "alice@example.com", "mail2.example.com"))
}

// ExampleReadLocalconfig reads what decides where a mailbox's rows go.
func ExampleReadLocalconfig() {
	c, err := zimbra.ReadLocalconfig(strings.NewReader(`<localconfig>
  <key name="zimbra_mailbox_groups"><value>20</value></key>
</localconfig>`))
	fmt.Println(c.Groups, err)
	// Output: 20 <nil>
}
