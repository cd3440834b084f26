package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/tunnel"
	"github.com/zmlift/zmlift/zimbra"
)

// A cluster is what a configuration file names, ready for use: every connection is made by its first use, so that a server that is down
// and a password that is wrong are problems of the plan.
type cluster struct {
	config  zimbra.Config
	closers []func() error
}

func (c *cluster) close() error {
	var errs []error
	for i := len(c.closers) - 1; i >= 0; i-- {
		errs = append(errs, c.closers[i]())
	}
	return errors.Join(errs...)
}

// connect makes the clients. After an error nothing is left open.
func (c *config) connect() (*cluster, error) {
	cl := &cluster{config: zimbra.Config{StateDir: c.stateDir, Stores: map[string]*zimbra.Store{}}}
	if err := c.fill(cl); err != nil {
		return nil, errors.Join(err, cl.close())
	}
	return cl, nil
}

func (c *config) fill(cl *cluster) error {
	dir, err := cl.directory(c.ldap.url, &c.ldap.options)
	if err != nil {
		return err
	}
	cl.config.Directory, cl.config.DirectoryName = dir, dir.String()
	for _, url := range c.ldap.replicas {
		r, err := cl.directory(url, &c.ldap.options)
		if err != nil {
			return err
		}
		cl.config.Replicas = append(cl.config.Replicas, r)
	}
	for host, s := range c.stores {
		if cl.config.Stores[host], err = cl.store(host, s); err != nil {
			return fmt.Errorf("store %s: %w", host, err)
		}
	}
	return nil
}

func (cl *cluster) directory(url string, opts *ldapattr.Options) (*ldapattr.Client, error) {
	client, err := ldapattr.New(url, opts)
	if err == nil {
		cl.closers = append(cl.closers, client.Close)
	}
	return client, err
}

func (cl *cluster) store(host string, s *storeConfig) (*zimbra.Store, error) {
	db := s.mysql.Clone()
	files := filesync.Local()
	if s.ssh != nil {
		t, err := tunnel.New(s.ssh...)
		if err != nil {
			return nil, err
		}
		cl.closers = append(cl.closers, t.Close)
		db.DialFunc = t.DialContext
		files = filesync.Remote(t, &filesync.RemoteOptions{Priority: s.priority})
	}
	db.Passwd = s.password.Reveal()
	pool, err := openPool(db)
	if err != nil {
		return nil, err
	}
	cl.closers = append(cl.closers, pool.Close)
	return zimbra.NewStore(zimbra.StoreConfig{
		Host: host, DB: pool, Files: files, Localconfig: s.localconfig, CreateDatabase: s.createDB, Code: problemCode,
		Limit: s.limit, Reserve: s.spares.reserve,
	}), nil
}

// openPool makes a store's connections: few, as a mailstore has about ten to spare, and none that a firewall may have forgotten.
func openPool(c *mysql.Config) (*sql.DB, error) {
	// What the rows and counts of an answer mean is not for a DSN to change.
	c.ClientFoundRows, c.ColumnsWithAlias, c.ParseTime, c.InterpolateParams = false, false, false, false
	c.MultiStatements, c.AllowAllFiles = false, false
	c.MaxAllowedPacket = 0 // as the server has it
	c.Logger = &mysql.NopLogger{}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 10 * time.Minute // a digest of a large table says nothing for long
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = time.Minute
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(impatient{connector, c.Timeout, c.Addr})
	pool.SetMaxOpenConns(4)
	pool.SetMaxIdleConns(4)
	pool.SetConnMaxIdleTime(30 * time.Second)
	return pool, nil
}

// impatient limits the whole of connecting, not only the dialling as the driver does. A server whose queue of connections is full may forget
// one that the client takes for made; as it is the server that speaks first, both would wait.
type impatient struct {
	driver.Connector
	limit time.Duration
	addr  string
}

func (c impatient) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit,
		fmt.Errorf("connecting to the database server %s: it did not let us in within %v", c.addr, c.limit))
	defer cancel()
	conn, err := c.Connector.Connect(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return conn, err
}

// problemCode says which problem of a plan an error of reaching a store is.
func problemCode(err error) string {
	var denied *mysql.MySQLError
	switch {
	case errors.Is(err, tunnel.ErrHostKey):
		return zimbra.CodeHostKey
	case errors.Is(err, tunnel.ErrAuth):
		return zimbra.CodeLogin
	case errors.As(err, &denied) && denied.Number == 1045: // access denied for user
		return zimbra.CodeLogin
	}
	return ""
}
