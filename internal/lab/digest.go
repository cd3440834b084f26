package lab

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Keys of [Store.Bystanders] for what a move may change on purpose: the counter, and the row of the address that moved in.
const (
	KeyNextMailboxID  = "zimbra.current_volumes.next_mailbox_id"
	KeyDeletedAccount = "zimbra.deleted_account"
)

// A sum is a digest of a multiset: equal rows count, their order does not.
type sum struct {
	n     uint64
	parts [4]uint64
}

func (s *sum) add(b []byte) {
	h := sha256.Sum256(b)
	s.n++
	for i := range s.parts {
		s.parts[i] += binary.BigEndian.Uint64(h[8*i:])
	}
}

func (s *sum) String() string {
	return fmt.Sprintf("%d %016x%016x%016x%016x", s.n, s.parts[0], s.parts[1], s.parts[2], s.parts[3])
}

// Bystanders are digests of everything on the store that belongs to no mailbox of except: by table (every table of zimbra and
// of the mailbox groups that has such rows) and by volume (every file and directory with its mode, owner, size and content).
// Equal maps mean that nothing changed. Two keys stand for what a move may change: [KeyNextMailboxID] and [KeyDeletedAccount],
// whose rows are all in, whatever mailbox they name. A table without rows has no key: a new, empty group is no change.
func (s *Store) Bystanders(ctx context.Context, except ...uint32) (map[string]string, error) {
	d, err := s.bystanders(ctx, except)
	if err != nil {
		return nil, fmt.Errorf("lab: bystanders on %s: %w", s.Host, err)
	}
	return d, nil
}

func (s *Store) bystanders(ctx context.Context, except []uint32) (map[string]string, error) {
	db, err := s.rootWork()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	tables, err := listTables(ctx, db)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(except))
	for i, id := range except {
		ids[i] = fmt.Sprint(id)
	}
	digests := map[string]string{}
	for _, t := range tables {
		where := ""
		if t.column != "" && t.name != KeyDeletedAccount && len(ids) > 0 {
			where = fmt.Sprintf(" WHERE %s NOT IN (%s)", t.column, strings.Join(ids, ", "))
		}
		what := "*"
		if t.name == "zimbra.current_volumes" {
			what = "message_volume_id, secondary_message_volume_id, index_volume_id"
		}
		rows, err := digestQuery(ctx, db, "SELECT "+what+" FROM "+t.quoted()+where)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		if rows.n > 0 {
			digests[t.name] = rows.String()
		}
	}
	var next string
	if err := db.QueryRowContext(ctx, "SELECT next_mailbox_id FROM zimbra.current_volumes").Scan(&next); err != nil {
		return nil, err
	}
	digests[KeyNextMailboxID] = next

	volumes, err := readVolumes(ctx, db)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		var own []string
		for _, id := range except {
			own = append(own, v.mailboxDir(id))
		}
		files, err := s.digestFiles(ctx, v.path, ".", own)
		if err != nil {
			return nil, fmt.Errorf("volume %d: %w", v.id, err)
		}
		digests[fmt.Sprintf("volume %d", v.id)] = files.String()
	}
	return digests, nil
}

// Digest is a digest of the mailbox's own rows by table, and of its files and directories by volume: equal maps mean that the
// mailbox is byte for byte what it was, modes and owners included.
func (a *Account) Digest(ctx context.Context) (map[string]string, error) {
	d, err := a.digest(ctx)
	if err != nil {
		return nil, fmt.Errorf("lab: digest of %s on %s: %w", a.Name, a.Store.Host, err)
	}
	return d, nil
}

func (a *Account) digest(ctx context.Context) (map[string]string, error) {
	db, err := a.Store.rootWork()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	tables, err := listTables(ctx, db)
	if err != nil {
		return nil, err
	}
	digests := map[string]string{}
	for _, t := range tables {
		if t.column == "" || t.database != "zimbra" && t.database != GroupDatabase(a.Group) {
			continue
		}
		rows, err := digestQuery(ctx, db, fmt.Sprintf("SELECT * FROM %s WHERE %s = %d", t.quoted(), t.column, a.MailboxID))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		digests[t.name] = rows.String()
	}
	volumes, err := readVolumes(ctx, db)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		files, err := a.Store.digestFiles(ctx, v.path, v.mailboxDir(a.MailboxID), nil)
		if err != nil {
			return nil, fmt.Errorf("volume %d: %w", v.id, err)
		}
		digests[fmt.Sprintf("volume %d", v.id)] = files.String()
	}
	return digests, nil
}

// Traces name everything the store has under a mailbox id: tables with rows (with their number), in whatever group, and
// directories. deleted_account is left out: its rows outlive their mailbox on purpose.
func (s *Store) Traces(ctx context.Context, mailboxID uint32) ([]string, error) {
	db, err := s.rootWork()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	tables, err := listTables(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", s.Host, err)
	}
	var traces []string
	for _, t := range tables {
		if t.column == "" || t.name == KeyDeletedAccount {
			continue
		}
		var n int
		if err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE %s = %d", t.quoted(), t.column, mailboxID)).Scan(&n); err != nil {
			return nil, fmt.Errorf("lab: %s: %s: %w", s.Host, t.name, err)
		}
		if n > 0 {
			traces = append(traces, fmt.Sprintf("%s %d", t.name, n))
		}
	}
	volumes, err := readVolumes(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", s.Host, err)
	}
	for _, v := range volumes {
		var out strings.Builder
		dir := v.path + "/" + v.mailboxDir(mailboxID)
		if err := s.Run(ctx, []string{"sh", "-c", `if [ -e "$1" ]; then echo there; fi`, "sh", dir}, nil, &out); err != nil {
			return nil, err
		}
		if out.Len() > 0 {
			traces = append(traces, dir)
		}
	}
	return traces, nil
}

// GlobalVariables are the server's global variables, without those that change by themselves.
func (s *Store) GlobalVariables(ctx context.Context) (map[string]string, error) {
	db, err := s.rootWork()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SHOW GLOBAL VARIABLES")
	if err != nil {
		return nil, fmt.Errorf("lab: variables of %s: %w", s.Host, err)
	}
	defer rows.Close()
	variables := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("lab: variables of %s: %w", s.Host, err)
		}
		if strings.HasPrefix(name, "gtid_") || name == "timestamp" || name == "server_uid" {
			continue
		}
		variables[name] = value
	}
	return variables, rows.Err()
}

// A tableName is a table, and its column with the mailbox id ("" when it has none).
type tableName struct{ database, table, name, column string }

func (t tableName) quoted() string {
	q := func(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
	return q(t.database) + "." + q(t.table)
}

// listTables lists the tables of zimbra and of every mailbox group. The list does not come from what the lab knows.
func listTables(ctx context.Context, db *sql.DB) ([]tableName, error) {
	rows, err := db.QueryContext(ctx, `SELECT t.table_schema, t.table_name, COALESCE(c.column_name, '') FROM information_schema.tables t
		LEFT JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
			AND (c.column_name = 'mailbox_id' OR c.table_schema = 'zimbra' AND c.table_name = 'mailbox' AND c.column_name = 'id')
		WHERE t.table_schema = 'zimbra' OR t.table_schema LIKE 'mboxgroup%' ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tables []tableName
	for rows.Next() {
		var t tableName
		if err := rows.Scan(&t.database, &t.table, &t.column); err != nil {
			return nil, err
		}
		t.name = t.database + "." + t.table
		tables = append(tables, t)
	}
	return tables, rows.Err()
}

// digestQuery is the digest of a query's rows: column by column its name, and NULL or the bytes.
func digestQuery(ctx context.Context, db *sql.DB, query string) (*sum, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values := make([]sql.RawBytes, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	var s sum
	var b []byte
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		b = b[:0]
		for i, v := range values {
			b = append(append(b, names[i]...), 0)
			if v == nil {
				b = append(b, "NULL\x00"...)
				continue
			}
			b = strconv.AppendInt(b, int64(len(v)), 10)
			b = append(append(b, ':'), v...)
		}
		s.add(b)
	}
	return &s, rows.Err()
}

// digestFiles is the digest of a tree below a volume. What lies below the directories except is left out, and so are the
// hash directories above them, which a mailbox may bring with it.
func (s *Store) digestFiles(ctx context.Context, volume, below string, except []string) (*sum, error) {
	var digest sum
	err := s.readFiles(ctx, volume, []string{below}, except, func(h *tar.Header, content io.Reader) error {
		name := path.Clean(h.Name)
		if h.Typeflag == tar.TypeDir && slices.ContainsFunc(except, func(own string) bool { return path.Dir(own) == name }) {
			return nil
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, content); err != nil {
			return err
		}
		digest.add(fmt.Appendf(nil, "%c %o %d:%d %d %x %q %q", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, hash.Sum(nil), name, h.Linkname))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &digest, nil
}

// readFiles streams the trees below a volume to f; a file with two names comes twice. A tree that is not there is empty. Files
// that come and go meanwhile are no error: f sees them or does not.
func (s *Store) readFiles(ctx context.Context, volume string, trees, except []string, f func(*tar.Header, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	argv := []string{"sh", "-c", `cd "$1" || exit 2
shift
for arg; do
	shift
	case $arg in
	--*) set -- "$@" "$arg" ;;
	*) if [ -e "$arg" ]; then set -- "$@" "$arg"; fi ;;
	esac
done
tar -cf - --numeric-owner --hard-dereference "$@" --files-from=/dev/null || [ $? -eq 1 ]`, "sh", volume}
	argv = append(argv, "--anchored", "--no-wildcards")
	for _, dir := range except {
		argv = append(argv, "--exclude=./"+dir)
	}
	argv = append(argv, trees...)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { // ends with the command, which the cancelled ctx ends
		err := s.Run(ctx, argv, nil, w)
		w.CloseWithError(err)
		done <- err
	}()
	err := eachFile(r, f)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // tar pads its last record
	}
	if err != nil {
		cancel()
		r.CloseWithError(err)
		<-done
		return err
	}
	return <-done
}

func eachFile(r io.Reader, f func(*tar.Header, io.Reader) error) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = f(h, in)
		}
		if err != nil {
			return err
		}
	}
}
