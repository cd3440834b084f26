package main

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/tunnel"
	"github.com/zmlift/zmlift/zimbra"
)

// A cluster is the two mailstores and their directory as zmlift is given them.
type cluster struct {
	directory *ldapattr.Client
	pools     map[string]*sql.DB // by mail host
	config    zimbra.Config
	closers   []func() error
}

// connect is what a program writes that embeds zmlift: an LDAP client, and for each mailstore a way into the machine, a pool to its
// database through that, and its disks. It goes on in move.
func connect(ctx context.Context, l *lab.Lab) (*cluster, error) {
	c := &cluster{pools: map[string]*sql.DB{}}
	dir, err := ldapattr.Dial(ctx, l.LDAP.URL, &ldapattr.Options{
		BindDN: l.LDAP.BindDN, Password: ldapattr.NewSecret(l.LDAP.Password), CAFile: l.LDAP.CAFile,
	})
	if err != nil {
		return nil, err
	}
	c.directory, c.closers = dir, append(c.closers, dir.Close)
	c.config = zimbra.Config{Directory: dir, DirectoryName: dir.String(), Stores: map[string]*zimbra.Store{}, StateDir: stateDir(l)}
	for _, s := range l.Stores {
		if err := c.connectStore(s); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

func (c *cluster) connectStore(s *lab.Store) error {
	way, err := tunnel.New(tunnel.Host{Addr: s.SSHAddr, User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile})
	if err != nil {
		return err
	}
	c.closers = append(c.closers, way.Close)
	server := mysql.NewConfig()
	server.Net, server.Addr, server.User, server.Passwd = "tcp", s.MySQLAddr, s.MySQLUser, s.MySQLPassword
	server.DialFunc = way.DialContext
	server.MaxAllowedPacket = 0 // as the server has it
	connector, err := mysql.NewConnector(server)
	if err != nil {
		return err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(4) // a mailstore has few to spare
	c.closers = append(c.closers, pool.Close)
	c.pools[s.Host] = pool
	c.config.Stores[s.Host] = zimbra.NewStore(zimbra.StoreConfig{
		Host: s.Host, DB: pool, Files: filesync.Remote(way, nil), Localconfig: s.LocalconfigFile, CreateDatabase: s.CreateDatabaseFile,
	})
	return nil
}

// close ends the connections, the last one first: pools go through tunnels.
func (c *cluster) close() error {
	var errs []error
	for i := len(c.closers) - 1; i >= 0; i-- {
		errs = append(errs, c.closers[i]())
	}
	return errors.Join(errs...)
}

// move moves an account from start to end. The lab has no mailboxd, so a plan has the problem no-mailboxd, which is accepted.
func move(ctx context.Context, cfg zimbra.Config, account, to string) (*zimbra.Plan, *zimbra.Report, error) {
	mover, err := zimbra.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	plan, err := mover.Plan(ctx, zimbra.Request{Account: account, To: to, Accept: []string{zimbra.CodeNoMailboxd}})
	if err != nil {
		return nil, nil, err
	}
	mv, err := mover.Start(ctx, plan)
	if err != nil {
		return nil, nil, err
	}
	err = mv.Run(ctx, zimbra.PhaseFinish)
	return plan, mv.Report(), errors.Join(err, mv.Close())
}

// stateDir is where the journals lie: in the lab's directory, which goes with it.
func stateDir(l *lab.Lab) string { return filepath.Join(moverDir(l), "state") }
