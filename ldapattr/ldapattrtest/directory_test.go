package ldapattrtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/ldapattr/ldapattrtest"
)

func TestDirectory(t *testing.T) {
	ldapattrtest.Exercise(t, func(t *testing.T) ldapattrtest.Fixture {
		d := ldapattrtest.New()
		d.Single("displayName", "employeeNumber")
		d.Put("ou=people,dc=test", map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {"people"}})
		return ldapattrtest.Fixture{
			Directory: d,
			Base:      "ou=people,dc=test",
			Add:       func(_ *testing.T, dn string, attrs map[string][]string) { d.Put(dn, attrs) },
		}
	})
}

func TestSnapshotsGoTheirOwnWay(t *testing.T) {
	d := ldapattrtest.New()
	d.Put("uid=a,dc=test", map[string][]string{"uid": {"a"}, "status": {"active"}})
	copied := d.Snapshot()
	swap := func(to string) ldapattr.Change {
		return ldapattr.Change{Attr: "status", Old: []string{"active"}, New: []string{to}}
	}
	require.NoError(t, d.Modify(t.Context(), "uid=a,dc=test", swap("locked")))
	require.NoError(t, copied.Modify(t.Context(), "uid=a,dc=test", swap("closed")))
	d.Put("uid=b,dc=test", map[string][]string{"uid": {"b"}})

	for _, tt := range []struct {
		d    *ldapattrtest.Directory
		want string
	}{{d, "locked"}, {copied, "closed"}} {
		e, err := tt.d.Lookup(t.Context(), "dc=test", ldapattr.Equal("uid", "a"))
		require.NoError(t, err)
		require.Equal(t, tt.want, e.Value("status"))
	}
	_, err := copied.Lookup(t.Context(), "", ldapattr.Equal("uid", "b"))
	require.ErrorIs(t, err, ldapattr.ErrNotFound)
}

func TestNamesAreEqualHoweverTheyAreSpelled(t *testing.T) {
	d := ldapattrtest.New()
	d.Put(`uid=a,ou=x\2cy,dc=test`, map[string][]string{"uid": {"a"}, "n": {"1"}})
	require.NoError(t, d.Modify(t.Context(), `UID=A, OU=X\,Y, DC=Test`, ldapattr.Change{Attr: "n", Old: []string{"1"}, New: []string{"2"}}))
	_, err := d.Lookup(t.Context(), `OU=X\,Y,dc=TEST`, "(n=2)")
	require.NoError(t, err)
	_, err = d.Lookup(t.Context(), "c=test", "(n=2)")
	require.ErrorIs(t, err, ldapattr.ErrNotFound, "a suffix of the text is not a base")
}

func TestExtensibleMatchIsRefused(t *testing.T) {
	d := ldapattrtest.New()
	var answer *ldapattr.ResultError
	_, err := d.Lookup(t.Context(), "", "(|(uid=a)(cn:dn:=x))")
	require.ErrorAs(t, err, &answer)
	require.Equal(t, 18, answer.Code)
}

func TestEqualRunsAreEqual(t *testing.T) {
	run := func() (csn string) {
		d := ldapattrtest.New()
		d.Put("uid=a", map[string][]string{"uid": {"a"}, "entryCSN": {"not the caller's to give"}})
		require.NoError(t, d.Modify(t.Context(), "uid=a", ldapattr.Change{Attr: "n", New: []string{"1"}}))
		e, err := d.Lookup(t.Context(), "", "(n=1)", "entryCSN")
		require.NoError(t, err)
		return e.Value("entryCSN")
	}
	require.Equal(t, run(), run())
}

// Whatever the filter, it is answered, or refused with an error that says why.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"(uid=a)", "(&(uid=a)(!(b=*c*d)))", "(|)", "(=x)", "(a:dn:2.4:=x)", "(a>=1)", "(a~=1)", `(a=\2)`, "((a=b))", "(&", "()"} {
		f.Add(seed)
	}
	d := tenEntries()
	f.Fuzz(func(t *testing.T, filter string) {
		_, err := d.Lookup(t.Context(), "", filter)
		var bad *ldapattr.FilterError
		var answer *ldapattr.ResultError
		switch {
		case err == nil, errors.Is(err, ldapattr.ErrNotFound), errors.Is(err, ldapattr.ErrAmbiguous):
		case !errors.As(err, &bad) && !errors.As(err, &answer):
			t.Errorf("Lookup(%q) = %v", filter, err)
		}
	})
}

func ExampleDirectory() {
	ctx := context.Background()
	d := ldapattrtest.New()
	d.Put("uid=alice,ou=people,dc=test", map[string][]string{"mail": {"alice@test"}, "status": {"active"}})
	replica := d.Snapshot()

	err := d.Modify(ctx, "uid=alice,ou=people,dc=test", ldapattr.Change{Attr: "status", Old: []string{"active"}, New: []string{"locked"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, dir := range []*ldapattrtest.Directory{d, replica} {
		e, err := dir.Lookup(ctx, "", ldapattr.Equal("mail", "Alice@Test"), "status")
		fmt.Println(e, e.Value("status"), err)
	}
	// Output:
	// uid=alice,ou=people,dc=test locked <nil>
	// uid=alice,ou=people,dc=test active <nil>
}

func tenEntries() *ldapattrtest.Directory {
	d := ldapattrtest.New()
	for i := range 10 {
		d.Put(fmt.Sprintf("uid=user%d,ou=people,dc=test", i), map[string][]string{
			"objectClass": {"inetOrgPerson", "account"}, "uid": {fmt.Sprint("user", i)}, "mail": {fmt.Sprintf("user%d@test", i)},
			"host": {"mail1.test"}, "transport": {"lmtp:mail1.test:7025"}, "status": {"active"}, "mailStatus": {"enabled"},
		})
	}
	return d
}

func BenchmarkLookup(b *testing.B) {
	d, filter := tenEntries(), ldapattr.And(ldapattr.Equal("mail", "user7@test"), ldapattr.Equal("objectClass", "account"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Lookup(b.Context(), "", filter, "host", "transport", "status", "entryCSN"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkModify(b *testing.B) {
	d := tenEntries()
	b.ReportAllocs()
	for b.Loop() {
		err := d.Modify(b.Context(), "uid=user7,ou=people,dc=test", ldapattr.Change{Attr: "status", Old: []string{"active"}, New: []string{"active"}})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	d := tenEntries()
	b.ReportAllocs()
	for b.Loop() {
		_ = d.Snapshot()
	}
}
