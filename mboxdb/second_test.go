package mboxdb_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxverify"
)

// second is what the other verifier says, which shares nothing with the package's own.
func (m *move) second(t testing.TB) ([]mboxverify.Table, error) {
	t.Helper()
	opt := mboxverify.Options{Volumes: map[uint8]uint8{}, IndexVolume: uint8(m.opt.IndexVolume), Address: m.opt.Address}
	for from, to := range m.opt.Volumes {
		opt.Volumes[uint8(from)] = uint8(to)
	}
	var published int
	require.NoError(t, m.dstRoot.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM zimbra.mailbox WHERE id = ?", m.to.ID).Scan(&published))
	opt.Unpublished = published == 0
	to, from := mboxverify.Mailbox{ID: uint32(m.to.ID), Group: m.to.Group}, mboxverify.Mailbox{ID: uint32(m.from.ID), Group: m.from.Group}
	return mboxverify.Compare(t.Context(), m.dst.DB(t), m.src.DB(t), to, from, &opt)
}

// verify has both verifiers look, and wants them to agree: that all is equal, or on which rows are not.
func (m *move) verify(t testing.TB, c *mboxdb.Copy, what string) ([]mboxdb.TableProof, error) {
	t.Helper()
	proofs, err := c.Verify(t.Context())
	tables, other := m.second(t)
	requireAgreed(t, err, other, what)
	for i, p := range proofs {
		j := 0
		for tables[j].Name != p.Table {
			j++
		}
		require.Equal(t, p.Rows, tables[j].Source, "%s: %s (%d)", what, p.Table, i)
	}
	return proofs, err
}

var hashedKeys = regexp.MustCompile(`(md5|sha256)\((\w+)\)=[0-9a-f]+`)

// requireAgreed wants two verifiers' errors to say the same. Of a table without a key they need to find only that it differs.
func requireAgreed(t testing.TB, err, other error, what string) {
	t.Helper()
	if err == nil {
		require.NoError(t, other, "%s: only the second verifier finds a difference", what)
		return
	}
	var first *mboxdb.MismatchError
	var second *mboxverify.MismatchError
	require.ErrorAs(t, err, &first, what)
	require.ErrorAs(t, other, &second, "%s: the second verifier does not find: %v", what, err)
	strays := map[string]int64{}
	for name, n := range first.Strays {
		strays[groupNumber.ReplaceAllString(name, "mboxgroup.")] = n
	}
	require.Equal(t, strays, second.Strays, what)
	said := map[string]mboxverify.Table{}
	for _, table := range second.Tables {
		said[table.Name] = table
	}
	require.Len(t, first.Tables, len(said), "%s: %v\n%v", what, err, other)
	for _, a := range first.Tables {
		b, ok := said[a.Table]
		require.True(t, ok, "%s: the second verifier takes %s for equal", what, a.Table)
		if a.Table == "zimbra.mailbox" {
			require.Equal(t, a.Keys[0].Kind, strings.Join(b.Rows[0].Columns, ", "), what)
			continue
		}
		require.Equal(t, [2]int64{a.Source, a.Dest}, [2]int64{b.Source, b.Dest}, "%s: rows of %s", what, a.Table)
		require.NotEmpty(t, b.Rows, "%s: %s", what, a.Table)
		if strings.HasPrefix(a.Keys[0].Key, "digest=") {
			continue
		}
		var rows, others []string
		for _, k := range a.Keys {
			rows = append(rows, hashedKeys.ReplaceAllString(k.Key, "$2")+" "+k.Kind)
		}
		for _, r := range b.Rows {
			others = append(others, hashedKeys.ReplaceAllString(r.Key, "$2")+" "+string(r.Kind))
		}
		require.Equal(t, rows, others, "%s: rows of %s", what, a.Table)
		require.Equal(t, a.More, b.More, "%s: %s", what, a.Table)
	}
}

var groupNumber = regexp.MustCompile(`^mboxgroup\d+\.`)

// The test of the test: verifiers that do not say the same are noticed.
func TestDisagreementIsNoticed(t *testing.T) {
	first := func(keys ...mboxdb.KeyMismatch) error {
		return &mboxdb.MismatchError{Tables: []mboxdb.TableMismatch{{Table: "mboxgroup.tag", Source: 2, Dest: 2, Keys: keys}}}
	}
	second := func(rows ...mboxverify.Row) error {
		return &mboxverify.MismatchError{Tables: []mboxverify.Table{{Name: "mboxgroup.tag", Source: 2, Dest: 2, Rows: rows}}, Strays: map[string]int64{}}
	}
	seven, eight := mboxdb.KeyMismatch{Key: "id=7", Kind: "different"}, mboxverify.Row{Key: "id=8", Kind: "different"}
	for name, test := range map[string]struct{ err, other error }{
		"only the first":  {first(seven), nil},
		"only the second": {nil, second(eight)},
		"other rows":      {first(seven), second(eight)},
		"fewer rows":      {first(mboxdb.KeyMismatch{Key: "id=8", Kind: "different"}, seven), second(eight)},
		"no comparison":   {first(seven), errors.New("a lost connection")},
		"not even that":   {errors.New("a lost connection"), second(eight)},
	} {
		noticed := &noticing{TB: t}
		func() {
			defer func() { _ = recover() }()
			requireAgreed(noticed, test.err, test.other, name)
		}()
		require.True(t, noticed.failed, name)
	}
}

// A noticing test takes down that it would have failed.
type noticing struct {
	testing.TB
	failed bool
}

func (n *noticing) Errorf(string, ...any) { n.failed = true }
func (n *noticing) FailNow()              { n.failed = true; panic("failed") }
