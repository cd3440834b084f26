package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// LDAP is the directory: what localconfig.xml tells a mover about it.
type LDAP struct {
	URL      string // ldap://127.0.0.1:port; offers StartTLS
	BindDN   string // may write everywhere, as everything below cn=admins,cn=zimbra may
	Password string
	CAFile   string // on this machine: the CA of the directory's certificate (127.0.0.1, localhost)
}

const (
	adminDN      = "uid=zimbra,cn=admins,cn=zimbra"
	labDomain    = "lab.example"
	labDomainDN  = "dc=lab,dc=example"
	aliasDomain  = "alias.example"
	labDomainID  = "0d0a1a00-1ab0-4000-8000-00000000d001"
	aliasID      = "0d0a1a00-1ab0-4000-8000-00000000d002"
	mailHostPort = 7025
)

// Domain is the domain that accounts live in. AliasDomain is an alias of it: its addresses are found in Domain.
const (
	Domain      = labDomain
	AliasDomain = aliasDomain
)

// Conn is a connection to the directory, protected by StartTLS and bound as BindDN; closed with the test.
func (d *LDAP) Conn(t testing.TB) *ldap.Conn {
	t.Helper()
	c, err := d.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (d *LDAP) dial(ctx context.Context) (*ldap.Conn, error) {
	pem, err := os.ReadFile(d.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate", d.CAFile)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if deadline, ok := ctx.Deadline(); ok {
		dialer.Deadline = deadline
	}
	c, err := ldap.DialURL(d.URL, ldap.DialWithDialer(dialer))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(30 * time.Second)
	err = c.StartTLS(&tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err == nil {
		err = c.Bind(d.BindDN, d.Password)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// wait waits for a real login.
func (d *LDAP) wait(ctx context.Context) error {
	return poll(ctx, func() error {
		c, err := d.dial(ctx)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// directoryFiles are everything slapd needs, by name below its own directory.
type directoryFiles struct {
	password string
	caFile   string
	files    map[string][]byte
}

func makeDirectoryFiles(dir string) (*directoryFiles, error) {
	cert, err := newCertificate()
	if err != nil {
		return nil, err
	}
	d := &directoryFiles{password: newPassword(), caFile: filepath.Join(dir, "ldap-ca.pem")}
	if err := os.WriteFile(d.caFile, cert.ca, 0o644); err != nil {
		return nil, err
	}
	d.files = map[string][]byte{
		"ca.pem":        cert.ca,
		"cert.pem":      cert.cert,
		"key.pem":       cert.key,
		"zimbra.schema": ldapSchema(),
		"tree.ldif":     baseTree(d.password),
	}
	return d, nil
}

func (d *directoryFiles) ldap(port int) *LDAP {
	return &LDAP{
		URL:      "ldap://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		BindDN:   adminDN,
		Password: d.password,
		CAFile:   d.caFile,
	}
}

// all are the files, the configuration included, for a slapd whose directory is root.
func (d *directoryFiles) all(root string) map[string][]byte {
	files := map[string][]byte{"slapd.conf": slapdConfig(root)}
	for name, content := range d.files {
		files[name] = content
	}
	return files
}

// write puts the files below root on this machine.
func (d *directoryFiles) write(root string) error {
	if err := os.MkdirAll(filepath.Join(root, "data"), 0o700); err != nil {
		return err
	}
	for name, content := range d.all(root) {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// loadArgs are slapadd's arguments: the tree goes in before slapd runs, in milliseconds.
func (d *directoryFiles) loadArgs(root string) []string {
	return []string{"-q", "-f", root + "/slapd.conf", "-l", root + "/tree.ldif"}
}

func (d *directoryFiles) serveArgs(root, bind string, port int) []string {
	// -d 0 keeps slapd in the foreground.
	return []string{"-d", "0", "-f", root + "/slapd.conf", "-h", fmt.Sprintf("ldap://%s:%d/", bind, port)}
}

// slapdConfig serves one tree from the root, as Zimbra does: mail searches have the empty base, and dc=... and cn=zimbra
// stand side by side below it.
func slapdConfig(root string) []byte {
	return fmt.Appendf(nil, `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include %[1]s/zimbra.schema
pidfile %[1]s/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem

database mdb
suffix ""
directory %[1]s/data
maxsize 268435456
dbnosync
limits dn.children="cn=admins,cn=zimbra" size=unlimited time=unlimited
access to attrs=userPassword by dn.children="cn=admins,cn=zimbra" write by anonymous auth by * none
access to * by dn.children="cn=admins,cn=zimbra" write by users read by * none
index objectClass eq
index uid,cn eq
index zimbraId,zimbraMailHost,zimbraMailDeliveryAddress,zimbraMailAlias,zimbraOldMailAddress eq
index zimbraServiceEnabled,zimbraServiceHostname,zimbraDomainName,zimbraAliasTargetId eq
`, root)
}

// serverID is the zimbraId of a mailstore's entry.
func serverID(i int) string { return fmt.Sprintf("0d0a1a00-1ab0-4000-8000-0000000050%02d", i+1) }

// baseTree is the directory of a fresh installation with two mailstores and a domain, as LDIF.
func baseTree(password string) []byte {
	b := fmt.Appendf(nil, `dn: cn=zimbra
objectClass: organizationalRole
cn: zimbra

dn: cn=admins,cn=zimbra
objectClass: organizationalRole
cn: admins

dn: %[1]s
objectClass: inetOrgPerson
objectClass: zimbraAccount
uid: zimbra
cn: zimbra
sn: zimbra
zimbraId: e0fafd89-1360-11d9-8661-000a95d98ef2
zimbraAccountStatus: active
userPassword: %[2]s

dn: cn=config,cn=zimbra
objectClass: zimbraGlobalConfig
cn: config
zimbraLmtpBindPort: %[3]d
zimbraAdminPort: 7071
zimbraMemcachedBindPort: 11211
zimbraMemcachedClientBinaryProtocolEnabled: FALSE
zimbraMemcachedClientHashAlgorithm: KETAMA_HASH
zimbraMemcachedClientExpirySeconds: 86400
zimbraMemcachedClientTimeoutMillis: 10000
zimbraReverseProxyLookupTarget: FALSE
zimbraReverseProxyCacheEntryTTL: 1h
zimbraReverseProxyZmlookupCachingEnabled: TRUE
zimbraConfiguredServerIDForBlobDirEnabled: FALSE
zimbraDumpsterEnabled: FALSE
zimbraRemoteManagementUser: zimbra
zimbraRemoteManagementPrivateKeyPath: /opt/zimbra/.ssh/zimbra_identity
zimbraRemoteManagementPort: 22

dn: cn=servers,cn=zimbra
objectClass: organizationalRole
cn: servers

dn: cn=cos,cn=zimbra
objectClass: organizationalRole
cn: cos

`, adminDN, password, mailHostPort)
	for i, host := range hostNames {
		b = fmt.Appendf(b, `dn: cn=%[1]s,cn=servers,cn=zimbra
objectClass: zimbraServer
cn: %[1]s
zimbraId: %[2]s
zimbraServiceHostname: %[1]s
zimbraLmtpAdvertisedName: %[1]s
zimbraServerVersion: 10.1.3_GA_4685.lab
zimbraServiceInstalled: mailbox
zimbraServiceInstalled: memcached
zimbraServiceEnabled: mailbox
zimbraServiceEnabled: service
zimbraServiceEnabled: zimbra
zimbraServiceEnabled: zimbraAdmin

`, host, serverID(i))
	}
	return fmt.Appendf(b, `dn: dc=example
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: %[1]s
objectClass: dcObject
objectClass: organization
objectClass: zimbraDomain
dc: lab
o: %[2]s
zimbraId: %[3]s
zimbraDomainName: %[2]s
zimbraDomainType: local
zimbraDomainStatus: active

dn: ou=people,%[1]s
objectClass: organizationalUnit
ou: people

dn: dc=alias,dc=example
objectClass: dcObject
objectClass: organization
objectClass: zimbraDomain
dc: alias
o: %[4]s
zimbraId: %[5]s
zimbraDomainName: %[4]s
zimbraDomainType: alias
zimbraDomainAliasTargetId: %[3]s
zimbraDomainStatus: active

dn: ou=people,dc=alias,dc=example
objectClass: organizationalUnit
ou: people
`, labDomainDN, labDomain, labDomainID, aliasDomain, aliasID)
}
