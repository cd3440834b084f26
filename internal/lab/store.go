package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/internal/schema"
)

var hostNames = [2]string{"mail1.lab", "mail2.lab"}

// A Store is a mailstore as seen from this machine: what a mover is configured with.
type Store struct {
	Host string // "mail1.lab": its zimbraMailHost and zimbraServiceHostname

	// The zimbra user has all privileges on zimbra and the mailbox groups, may create databases (and own one called
	// zmlift), and has PROCESS and RELOAD. MySQLAddr reaches the server from here and, over ssh, from the store itself.
	MySQLAddr, MySQLUser, MySQLPassword string

	SSHAddr, SSHUser        string // SSHAddr is 127.0.0.1:port
	KeyFile, KnownHostsFile string // on this machine; KnownHostsFile knows both stores

	LocalconfigFile, CreateDatabaseFile string // on the store
	Home                                string // on the store: its /opt/zimbra, the parent of every volume
	Groups                              int    // zimbra_mailbox_groups

	rootPassword string
	knownHost    string
	m            *machine
	site         site
	owner        int // uid and gid of everything below a volume
}

// A site is what makes a store this one and not the other.
type site struct {
	host          string
	groups        int
	nextMailboxID uint32
	owner         int
	bits          Bits
	volumes       []volume
	current       [3]uint8 // message, secondary (0: none), index
}

type volume struct {
	id         uint8
	kind       int // 1 message, 2 secondary message (HSM), 10 index
	name, dir  string
	compressed bool
}

// sites differ in everything that real mailstores differ in. mail2's ids lie beyond 2^20, where a mailbox's directory is no
// longer its id shifted, but masked too.
func sites(bits [2]Bits) [2]site {
	s := [2]site{{
		host: hostNames[0], groups: 100, nextMailboxID: 1230, owner: 1501,
		volumes: []volume{
			{1, 1, "message1", "store", false},
			{2, 10, "index1", "index", false},
			{3, 2, "hsm1", "hsm", true},
		},
		current: [3]uint8{1, 3, 2},
	}, {
		host: hostNames[1], groups: 7, nextMailboxID: 1052700, owner: 1502,
		volumes: []volume{
			{5, 1, "message", "store", true},
			{7, 10, "index", "index", false},
			{9, 1, "message-spare", "store9", false},
		},
		current: [3]uint8{5, 0, 7},
	}}
	for i := range s {
		s[i].bits = bits[i]
		if bits[i] == (Bits{}) {
			s[i].bits = installedBits
		}
	}
	return s
}

// startStore brings up one mailstore: the machine, its files, its database server.
func startStore(ctx context.Context, be backend, keys *sshFiles, site site, dir *LDAP) (*Store, error) {
	m, err := be.machine(ctx, site.host, keys)
	if err != nil {
		return nil, err
	}
	home := m.root + "/opt/zimbra"
	s := &Store{
		Host:               site.host,
		MySQLAddr:          net.JoinHostPort("127.0.0.1", strconv.Itoa(m.mysqlPort)),
		MySQLUser:          "zimbra",
		MySQLPassword:      newPassword(),
		SSHAddr:            m.sshAddr(),
		SSHUser:            m.user,
		KeyFile:            keys.keyFile,
		KnownHostsFile:     keys.knownHostsFile,
		LocalconfigFile:    home + "/conf/localconfig.xml",
		CreateDatabaseFile: home + "/db/create_database.sql",
		Home:               home,
		Groups:             site.groups,
		rootPassword:       newPassword(),
		knownHost:          m.knownHost(),
		m:                  m,
		site:               site,
		owner:              site.owner,
	}
	if err := s.install(ctx, dir); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Host, err)
	}
	if err := s.installMySQL(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Host, err)
	}
	return s, nil
}

// newPassword has the characters that break a DSN or a shell line put together by hand.
func newPassword() string { return rand.Text()[:12] + `.@/:'"$ #%` }

// Run runs argv on the store, over its sshd, as a user who may read and write everything there. stdin and stdout may be nil.
// An exit status other than 0 is a *[RunError].
func (s *Store) Run(ctx context.Context, argv []string, stdin io.Reader, stdout io.Writer) error {
	return s.m.run(ctx, argv, stdin, stdout)
}

// DB is the store's database server as the zimbra user sees it, without a default database; closed with the test.
func (s *Store) DB(t testing.TB) *sql.DB {
	t.Helper()
	return s.testDB(t, s.MySQLUser, s.MySQLPassword)
}

// RootDB is the same as a superuser: for planting trouble, and for what the zimbra user may not see.
func (s *Store) RootDB(t testing.TB) *sql.DB {
	t.Helper()
	return s.testDB(t, "root", s.rootPassword)
}

func (s *Store) testDB(t testing.TB, user, password string) *sql.DB {
	db, err := s.open(user, password, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// open opens a pool; adjust may change its settings first.
func (s *Store) open(user, password string, adjust func(*mysql.Config)) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", s.MySQLAddr, user, password
	c.Collation = "utf8mb4_general_ci" // also known to MySQL 5.6
	if adjust != nil {
		adjust(c)
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// install lays out /opt/zimbra: volumes owned by the store's own uid, localconfig.xml, create_database.sql.
func (s *Store) install(ctx context.Context, dir *LDAP) error {
	localconfig, err := s.localconfig(dir)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	t := treeWriter{w: w, now: time.Now()}
	for _, d := range []string{"conf", "db", "data", "data/tmp", "data/tmp/mysql", "log", "mailboxd"} {
		t.dir(d, 0, 0o755)
	}
	for _, v := range s.site.volumes {
		t.dir(v.dir, s.owner, 0o755)
		if v.kind != 10 {
			t.dir(v.dir+"/incoming", s.owner, 0o755)
		}
	}
	t.file("conf/localconfig.xml", s.owner, 0o640, localconfig)
	t.file("db/create_database.sql", s.owner, 0o644, []byte(schema.CreateDatabase))
	if err := t.close(); err != nil {
		return err
	}
	if err := s.Run(ctx, []string{"mkdir", "-p", s.Home}, nil, nil); err != nil {
		return err
	}
	return s.untar(ctx, &buf)
}

// untar unpacks a tar stream with names relative to Home.
func (s *Store) untar(ctx context.Context, r io.Reader) error {
	return s.Run(ctx, []string{"tar", "-xpf", "-", "--numeric-owner", "-C", s.Home}, r, nil)
}

// localconfig is the store's localconfig.xml, with the keys a mover has a reason to read.
func (s *Store) localconfig(dir *LDAP) ([]byte, error) {
	type key struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value"`
	}
	config := struct {
		XMLName xml.Name `xml:"localconfig"`
		Keys    []key    `xml:"key"`
	}{Keys: []key{
		{"ldap_master_url", dir.URL},
		{"ldap_starttls_supported", "1"},
		{"ldap_url", dir.URL},
		{"mailboxd_directory", s.Home + "/mailboxd"},
		{"mysql_bind_address", "127.0.0.1"},
		{"mysql_port", strconv.Itoa(s.m.mysqlPort)},
		{"mysql_socket", s.socket()},
		{"zimbra_home", s.Home},
		{"zimbra_ldap_password", dir.Password},
		{"zimbra_ldap_userdn", dir.BindDN},
		{"zimbra_mailbox_groups", strconv.Itoa(s.Groups)},
		{"zimbra_mysql_password", s.MySQLPassword},
		{"zimbra_mysql_user", s.MySQLUser},
		{"zimbra_server_hostname", s.Host},
	}}
	b, err := xml.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

func (s *Store) socket() string { return s.Home + "/data/tmp/mysql/mysql.sock" }

// volumeRows are the INSERTs that make zimbra.volume and current_volumes name this store's directories.
func (s *Store) volumeRows() string {
	var b strings.Builder
	bits := s.site.bits
	for _, v := range s.site.volumes {
		fmt.Fprintf(&b, "INSERT INTO zimbra.volume (id, type, name, path, file_bits, file_group_bits, mailbox_bits, mailbox_group_bits, compress_blobs, compression_threshold) VALUES (%d, %d, '%s', '%s', %d, %d, %d, %d, %t, 4096);\n",
			v.id, v.kind, v.name, s.Home+"/"+v.dir, bits.File, bits.FileGroup, bits.Mailbox, bits.MailboxGroup, v.compressed)
	}
	fmt.Fprintf(&b, "INSERT INTO zimbra.current_volumes (message_volume_id, secondary_message_volume_id, index_volume_id, next_mailbox_id) VALUES (%d, NULLIF(%d, 0), %d, %d);\n",
		s.site.current[0], s.site.current[1], s.site.current[2], s.site.nextMailboxID)
	return b.String()
}

// A treeWriter writes a tar stream of directories and files below a store's Home.
type treeWriter struct {
	w   *tar.Writer
	now time.Time
	err error
}

func (t *treeWriter) header(h *tar.Header) {
	if t.err == nil {
		h.ModTime = t.now
		t.err = t.w.WriteHeader(h)
	}
}

func (t *treeWriter) dir(name string, owner int, mode int64) {
	t.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Uid: owner, Gid: owner, Mode: mode})
}

func (t *treeWriter) file(name string, owner int, mode int64, content []byte) {
	t.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Uid: owner, Gid: owner, Mode: mode, Size: int64(len(content))})
	if t.err == nil {
		_, t.err = t.w.Write(content)
	}
}

// link makes name another name of the file target, which must come earlier in the stream or exist already.
func (t *treeWriter) link(name, target string) {
	t.header(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target})
}

func (t *treeWriter) close() error {
	if t.err != nil {
		return t.err
	}
	return t.w.Close()
}
