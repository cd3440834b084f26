package mboxdb

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A ledger is what zmlift.buckets says that this copy left at the destination: the digest of every bucket, written in the transaction that wrote the
// bucket's rows. So a mover that is killed, and a server that loses its last second, lose both or neither. A bucket that has no entry has
// no rows. One whose rows are deleted in one transaction and written in a later one is in flight in between.
type ledger map[string]map[int64]*entry // by table and bucket

type entry struct {
	digest digest
	flight bool
	seen   bool
}

// begun is the ledger's own entry. Without it there is no ledger, and nothing is known about who wrote what lies under the id.
const begun = ""

// errLedger: the table is ours, and is not what we wrote.
var errLedger = errors.New("zmlift.buckets: an entry is not understood")

// ledgerFormat is another one when digests, or what they are of, become others.
const ledgerFormat = 4

// head is the text of the ledger's own entry: which id it is about, and a checksum of what its digests are of. After an upgrade of zmlift or of
// the tables, digests say nothing about who wrote the rows.
func (c *Copy) head(tables []Table) string {
	h := sha1.New()
	fmt.Fprintln(h, ledgerFormat, bucketIDs)
	for _, t := range only(tables, Table.inGroup) {
		fmt.Fprintln(h, t.Name, t.bucket)
		for _, col := range t.byName() {
			fmt.Fprintln(h, col.Name, col.Type, col.Charset, col.Nullable)
		}
	}
	return fmt.Sprintf("%s %x", c.to.ID, h.Sum(nil))
}

// readLedger returns the account's ledger for the reserved id and the destination's tables; nil when none was begun for them.
func (c *Copy) readLedger(ctx context.Context, q querier, tables []Table) (ledger, error) {
	l := ledger{}
	var head string
	err := each(ctx, q, sqlBuckets, []any{c.account()}, func(rows *sql.Rows) error {
		var table string
		var bucket int64
		var text sql.NullString
		if err := rows.Scan(&table, &bucket, &text); err != nil {
			return fmt.Errorf("%w: %w", errLedger, err)
		}
		if table == begun {
			head = text.String
			return nil
		}
		e := &entry{flight: !text.Valid}
		if text.Valid {
			var err error
			if e.digest, err = parseDigest(text.String); err != nil {
				return err
			}
		}
		if l[table] == nil {
			l[table] = map[int64]*entry{}
		}
		l[table][bucket] = e
		return nil
	})
	if serverError(err, 1049, 1146) || err == nil && head != c.head(tables) {
		return nil, nil
	}
	return l, err
}

// account is the account's id as zmlift has it.
func (c *Copy) account() string { return strings.ToLower(c.opt.Claim.AccountID) }

// forget removes an account's ledger.
func forget(ctx context.Context, tx querier, account string) error {
	err := exec(ctx, tx, sqlForget, account)
	if err == nil {
		err = none(ctx, tx, sqlRemembers, account)
	}
	if serverError(err, 1049, 1146) {
		return nil
	}
	return err
}

// begin makes an empty ledger for the reserved id and the destination's tables. Nothing may lie under it.
func (c *Copy) begin(ctx context.Context, tx querier, tables []Table) error {
	if err := forget(ctx, tx, c.account()); err != nil {
		return err
	}
	return exec(ctx, tx, fmt.Sprintf(sqlRecordBucket, "(?,?,?,?)"), c.account(), begun, 0, c.head(tables))
}

// A mark is what the ledger is to say of one bucket; no digest: in flight.
type mark struct {
	table  string
	bucket int64
	digest *digest
}

// marks are those of a table's buckets.
func marks(table string, buckets map[int64]*digest) []mark {
	var out []mark
	for _, n := range slices.Sorted(maps.Keys(buckets)) {
		out = append(out, mark{table, n, buckets[n]})
	}
	return out
}

// record puts down what a transaction leaves in buckets.
func (c *Copy) record(ctx context.Context, tx querier, marks []mark) error {
	for part := range slices.Chunk(marks, spansPerStatement) {
		if err := c.record1(ctx, tx, part); err != nil {
			return fmt.Errorf("zmlift.buckets: %w", err)
		}
	}
	return nil
}

func (c *Copy) record1(ctx context.Context, tx querier, marks []mark) error {
	var tables, rows []string
	var in [][]string // buckets of each table
	keys, values := []any{c.account()}, []any{}
	for _, m := range marks {
		if n := len(tables); n == 0 || tables[n-1] != m.table {
			tables, in, keys = append(tables, m.table), append(in, nil), append(keys, m.table)
		}
		in[len(in)-1] = append(in[len(in)-1], strconv.FormatInt(m.bucket, 10))
		var text any
		if m.digest != nil {
			if *m.digest == (digest{}) {
				continue
			}
			text = m.digest.entry()
		}
		rows, values = append(rows, "(?,?,?,?)"), append(values, c.account(), m.table, m.bucket, text)
	}
	which := sqlBucketsOf(in)
	err := exec(ctx, tx, sqlForgetBuckets+which, keys...)
	if err == nil && len(rows) < len(marks) { // else a key that is still there says so
		err = none(ctx, tx, sqlRemembersBuckets+which+" LIMIT 1", keys...)
	}
	if err != nil || len(rows) == 0 {
		return err
	}
	err = exec(ctx, tx, fmt.Sprintf(sqlRecordBucket, strings.Join(rows, ",")), values...)
	if serverError(err, 1062) {
		err = errNotDone
	}
	return err
}

// entry is the digest as the ledger has it.
func (d digest) entry() string { return strconv.FormatInt(d.rows, 10) + ":" + d.String() }

func parseDigest(s string) (digest, error) {
	rows, hex, ok := strings.Cut(s, ":")
	n, err := strconv.ParseInt(rows, 10, 64)
	if !ok || err != nil || len(hex) != 64 {
		return digest{}, errLedger
	}
	d := digest{rows: n}
	for i, part := range []*uint64{&d.highSum, &d.highXor, &d.lowSum, &d.lowXor} {
		if *part, err = strconv.ParseUint(hex[16*i:16*i+16], 16, 64); err != nil {
			return digest{}, errLedger
		}
	}
	return d, nil
}
