package lab

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/go-sql-driver/mysql"
)

// An AccountSpec says what account [Lab.AddAccount] makes. Only Name is required.
type AccountSpec struct {
	// Name is the address, local@lab.example.
	Name string
	// Items is how many messages, contacts, appointments, documents and the like the mailbox has, beside its folders and
	// conversations; 0 means 100, fewer than 25 (one of every kind) means 25. Negative: the system folders and nothing else.
	Items int
	// Seed decides the content; 0 is made from Name. The same Name and Seed give the same account on equal stores.
	Seed uint64
	// Aliases are further addresses in lab.example.
	Aliases []string
	// Status is zimbraAccountStatus; "" is active.
	Status string
	// MailStatus is zimbraMailStatus; "" is enabled.
	MailStatus string
	// Transport is zimbraMailTransport; "" is what goes with the store, lmtp:<host>:7025.
	Transport string
	// NoMailbox leaves out everything but the directory entry: an account nobody has logged in to.
	NoMailbox bool
}

// An Account is an account and its mailbox on one store.
type Account struct {
	Name      string // local@lab.example
	ID        string // zimbraId, a lower-case UUID
	DN        string
	Store     *Store
	MailboxID uint32 // 0 with AccountSpec.NoMailbox
	Group     int    // the mailbox's group on Store

	lab  *Lab
	seed uint64

	// What a mailboxd has in memory of an open mailbox; mu is the mailbox's write lock.
	mu         sync.Mutex
	rng        *rand.Rand
	loaded     bool
	lastItem   uint32
	lastChange uint32
	thread     *thread
}

const (
	minItems     = 25
	defaultItems = 100
	firstUserID  = 256 // Mailbox.FIRST_USER_ID

	itemCheckpoint   = 20 // how far the checkpoints of zimbra.mailbox lag
	changeCheckpoint = 100
)

// AddAccount makes an account on s: its directory entry (and one for each alias), and a mailbox with rows in every table that
// holds a mailbox's rows, blobs, an index, and content that breaks careless tools. The mailbox id comes from the store's
// counter and the group database comes into being as they do under mailboxd. Rows appear in one transaction, after the
// blobs. A name that is taken is an error and changes nothing; after any other error the account may exist in part.
func (l *Lab) AddAccount(ctx context.Context, s *Store, spec AccountSpec) (*Account, error) {
	a, err := l.addAccount(ctx, s, spec)
	if err != nil {
		return nil, fmt.Errorf("lab: add %s to %s: %w", spec.Name, s.Host, err)
	}
	return a, nil
}

func (l *Lab) addAccount(ctx context.Context, s *Store, spec AccountSpec) (*Account, error) {
	local, domain, ok := strings.Cut(spec.Name, "@")
	if !ok || local == "" || domain != Domain {
		return nil, fmt.Errorf("name is not local@%s", Domain)
	}
	if spec.Items == 0 {
		spec.Items = defaultItems
	}
	if spec.Items > 0 {
		spec.Items = max(spec.Items, minItems)
	}
	if spec.Seed == 0 {
		sum := sha256.Sum256([]byte(spec.Name))
		spec.Seed = binary.BigEndian.Uint64(sum[:])
	}
	a := &Account{
		Name: spec.Name, DN: "uid=" + ldap.EscapeDN(local) + ",ou=people," + labDomainDN, Store: s,
		lab: l, seed: spec.Seed,
	}
	a.ID = a.uuid("zimbraId")
	a.rng = a.newRand("churn")
	if err := l.addEntries(ctx, a, spec); err != nil {
		return nil, err
	}
	if spec.NoMailbox {
		return a, nil
	}
	if err := a.create(ctx, spec); err != nil {
		return nil, err
	}
	return a, nil
}

// hash derives what an account needs of its own, from name and seed: accounts of one seed must not share ids.
func (a *Account) hash(what string) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %s %s", a.seed, a.Name, what))
}

func (a *Account) uuid(what string) string {
	b := a.hash(what)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func (a *Account) newRand(what string) *rand.Rand {
	b := a.hash(what)
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:16])))
}

// addEntries makes the account's entry and those of its aliases.
func (l *Lab) addEntries(ctx context.Context, a *Account, spec AccountSpec) error {
	or := func(v, standard string) []string {
		if v == "" {
			v = standard
		}
		return []string{v}
	}
	local, _, _ := strings.Cut(a.Name, "@")
	entry := ldap.NewAddRequest(a.DN, nil)
	entry.Attribute("objectClass", []string{"inetOrgPerson", "zimbraAccount"})
	entry.Attribute("uid", []string{local})
	entry.Attribute("cn", []string{local})
	entry.Attribute("sn", []string{local})
	entry.Attribute("mail", append([]string{a.Name}, spec.Aliases...))
	entry.Attribute("zimbraId", []string{a.ID})
	entry.Attribute("zimbraAccountStatus", or(spec.Status, "active"))
	entry.Attribute("zimbraMailStatus", or(spec.MailStatus, "enabled"))
	entry.Attribute("zimbraMailDeliveryAddress", []string{a.Name})
	entry.Attribute("zimbraMailHost", []string{a.Store.Host})
	entry.Attribute("zimbraMailTransport", or(spec.Transport, fmt.Sprintf("lmtp:%s:%d", a.Store.Host, mailHostPort)))
	if len(spec.Aliases) > 0 {
		entry.Attribute("zimbraMailAlias", spec.Aliases)
	}
	requests := []*ldap.AddRequest{entry}
	for _, alias := range spec.Aliases {
		local, domain, _ := strings.Cut(alias, "@")
		if local == "" || domain != Domain {
			return fmt.Errorf("alias %q is not local@%s", alias, Domain)
		}
		e := ldap.NewAddRequest("uid="+ldap.EscapeDN(local)+",ou=people,"+labDomainDN, nil)
		e.Attribute("objectClass", []string{"zimbraAlias"})
		e.Attribute("uid", []string{local})
		e.Attribute("zimbraId", []string{a.uuid("alias " + alias)})
		e.Attribute("zimbraAliasTargetId", []string{a.ID})
		requests = append(requests, e)
	}
	c, err := l.LDAP.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, r := range requests {
		if err := c.Add(r); err != nil {
			return fmt.Errorf("%s: %w", r.DN, err)
		}
	}
	return nil
}

// create makes the mailbox, in the order of db/DbMailbox.createMailbox: counter, group database, deleted_account, rows.
func (a *Account) create(ctx context.Context, spec AccountSpec) error {
	s := a.Store
	db, err := s.work(s.MySQLUser, s.MySQLPassword)
	if err != nil {
		return err
	}
	defer db.Close()
	if a.MailboxID, err = nextMailboxID(ctx, db); err != nil {
		return fmt.Errorf("take a mailbox id: %w", err)
	}
	a.Group = (int(a.MailboxID)-1)%s.Groups + 1
	if err := s.CreateGroup(ctx, a.Group); err != nil {
		return err
	}
	volumes, err := readVolumes(ctx, db)
	if err != nil {
		return err
	}
	g := newGenerator(a, spec, volumes)
	if err := g.generate(ctx); err != nil {
		return err
	}
	for {
		err := inTx(ctx, db, func(tx *sql.Tx) error { return g.insert(ctx, tx) })
		// Two accounts made at once can meet in the gaps of an index.
		var deadlock *mysql.MySQLError
		if errors.As(err, &deadlock) && deadlock.Number == 1213 {
			continue
		}
		return err
	}
}

// nextMailboxID counts first and reads then, in a transaction of its own: an id taken is never given back.
func nextMailboxID(ctx context.Context, db *sql.DB) (id uint32, err error) {
	err = inTx(ctx, db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE zimbra.current_volumes SET next_mailbox_id = next_mailbox_id + 1"); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT next_mailbox_id - 1 FROM zimbra.current_volumes").Scan(&id)
	})
	return id, err
}

// work opens a pool for the lab's own work: values go into the statement (one round trip, and the text protocol returns what
// a client sees), and the session's time zone is always the same.
func (s *Store) work(user, password string) (*sql.DB, error) {
	return s.open(user, password, func(c *mysql.Config) {
		c.InterpolateParams = true
		c.Params = map[string]string{"time_zone": "'+00:00'"}
	})
}

func (s *Store) rootWork() (*sql.DB, error) { return s.work("root", s.rootPassword) }

// inTx commits what f does, under mailboxd's isolation level; after an error nothing is changed.
func inTx(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// A volumeRow is a row of zimbra.volume.
type volumeRow struct {
	id, kind   int
	path       string
	bits       Bits
	compressed bool
	threshold  int64
	current    bool // one of the three that current_volumes names
}

// readVolumes reads the store's volumes, the current ones of each kind first.
func readVolumes(ctx context.Context, db *sql.DB) ([]volumeRow, error) {
	rows, err := db.QueryContext(ctx, `SELECT v.id, v.type, v.path, v.file_bits, v.file_group_bits, v.mailbox_bits, v.mailbox_group_bits,
			v.compress_blobs, v.compression_threshold, COALESCE(v.id IN (c.message_volume_id, c.index_volume_id, COALESCE(c.secondary_message_volume_id, 0)), 0)
		FROM zimbra.volume v CROSS JOIN zimbra.current_volumes c`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var volumes []volumeRow
	for rows.Next() {
		var v volumeRow
		b := &v.bits
		if err := rows.Scan(&v.id, &v.kind, &v.path, &b.File, &b.FileGroup, &b.Mailbox, &b.MailboxGroup, &v.compressed, &v.threshold, &v.current); err != nil {
			return nil, err
		}
		volumes = append(volumes, v)
	}
	slices.SortFunc(volumes, func(a, b volumeRow) int {
		if a.current != b.current {
			if a.current {
				return -1
			}
			return 1
		}
		return a.id - b.id
	})
	return volumes, rows.Err()
}

func (v volumeRow) holdsBlobs() bool { return v.kind == 1 || v.kind == 2 }

// hashed is a number's directory: shifted, then masked (volume/Volume.getDir).
func hashed(id uint32, bits, groupBits int) uint32 { return id >> bits & (1<<groupBits - 1) }

// mailboxDir is the mailbox's directory below the volume's path.
func (v volumeRow) mailboxDir(mailboxID uint32) string {
	return fmt.Sprintf("%d/%d", hashed(mailboxID, v.bits.Mailbox, v.bits.MailboxGroup), mailboxID)
}

// blobFile is a blob's name below the volume's path.
func (v volumeRow) blobFile(mailboxID, itemID, modContent uint32) string {
	return fmt.Sprintf("%s/msg/%d/%d-%d.msg", v.mailboxDir(mailboxID), hashed(itemID, v.bits.File, v.bits.FileGroup), itemID, modContent)
}

// At is the same account as another store has it: its mailbox id and group there are those of the row with its account id.
// No such row is an error that is sql.ErrNoRows.
func (a *Account) At(ctx context.Context, s *Store) (*Account, error) {
	db, err := s.rootWork()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	b := &Account{Name: a.Name, ID: a.ID, DN: a.DN, Store: s, lab: a.lab, seed: a.seed}
	b.rng = b.newRand("churn")
	err = db.QueryRowContext(ctx, "SELECT id, group_id FROM zimbra.mailbox WHERE account_id = ?", a.ID).Scan(&b.MailboxID, &b.Group)
	if err != nil {
		return nil, fmt.Errorf("lab: %s on %s: %w", a.Name, s.Host, err)
	}
	return b, nil
}

// generated is the time that everything a generator writes is counted from.
var generated = time.Date(2025, time.March, 1, 12, 0, 0, 0, time.UTC)
