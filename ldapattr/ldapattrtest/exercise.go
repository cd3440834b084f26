package ldapattrtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/ldapattr"
)

// An Implementation has the methods that [Exercise] tests. *ldapattr.Client is one, and *Directory.
type Implementation interface {
	Lookup(ctx context.Context, base, filter string, attrs ...string) (ldapattr.Entry, error)
	Search(ctx context.Context, base, filter string, attrs ...string) iter.Seq2[ldapattr.Entry, error]
	Modify(ctx context.Context, dn string, changes ...ldapattr.Change) error
	ModifyIf(ctx context.Context, dn, assertion string, changes ...ldapattr.Change) error
}

// A Fixture is a directory under test with a place in it that belongs to one test.
type Fixture struct {
	Directory Implementation
	Base      string // an entry that exists, with nothing below it
	// Add adds an entry of the class inetOrgPerson directly below Base. The attributes of the class have the types that RFC 4519 and
	// RFC 2798 give them: displayName and employeeNumber have one value, mail, description and telephoneNumber may have several.
	Add func(t *testing.T, dn string, attrs map[string][]string)
}

// Exercise tests what the documentation of ldapattr promises. newFixture is called once for every test.
func Exercise(t *testing.T, newFixture func(t *testing.T) Fixture) {
	for _, tt := range []struct {
		name string
		test func(exercise, *testing.T)
	}{
		{"lookup", exercise.lookup},
		{"attributes", exercise.attributes},
		{"filters", exercise.filters},
		{"hostile values", exercise.hostile},
		{"search", exercise.search},
		{"swap", exercise.swap},
		{"several values", exercise.severalValues},
		{"absent", exercise.absent},
		{"all or nothing", exercise.allOrNothing},
		{"touch", exercise.touch},
		{"assertion", exercise.assertion},
		{"mistakes", exercise.mistakes},
		{"refusals", exercise.refusals},
		{"race", exercise.race},
		{"ended context", exercise.endedContext},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(exercise{newFixture(t)}, t) })
	}
}

type exercise struct{ Fixture }

// person adds an entry and returns its DN.
func (x exercise) person(t *testing.T, uid string, attrs map[string][]string) string {
	t.Helper()
	dn := "uid=" + uid + "," + x.Base
	all := map[string][]string{"objectClass": {"inetOrgPerson"}, "uid": {uid}, "cn": {uid}, "sn": {uid}}
	for name, values := range attrs {
		all[name] = values
	}
	x.Add(t, dn, all)
	return dn
}

func (x exercise) read(t *testing.T, uid string, attrs ...string) ldapattr.Entry {
	t.Helper()
	e, err := x.Directory.Lookup(t.Context(), x.Base, ldapattr.Equal("uid", uid), attrs...)
	require.NoError(t, err)
	return e
}

func change(attr string, old, new []string) ldapattr.Change {
	return ldapattr.Change{Attr: attr, Old: old, New: new}
}

func (x exercise) lookup(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"mail": {"alice@test"}, "displayName": {"Älice"}})
	x.person(t, "bob", map[string][]string{"mail": {"bob@test"}, "displayName": {"Bob"}})
	x.person(t, "carol", nil)

	e, err := x.Directory.Lookup(t.Context(), x.Base, ldapattr.Equal("mail", "ALICE@Test"))
	require.NoError(t, err)
	require.Equal(t, dn, e.DN)
	require.Equal(t, "Älice", e.Value("DISPLAYNAME"))

	_, err = x.Directory.Lookup(t.Context(), x.Base, ldapattr.Equal("mail", "nobody@test"))
	require.ErrorIs(t, err, ldapattr.ErrNotFound)
	_, err = x.Directory.Lookup(t.Context(), "ou=nowhere,"+x.Base, ldapattr.Present("mail"))
	require.ErrorIs(t, err, ldapattr.ErrNotFound, "a base that does not exist")
	_, err = x.Directory.Lookup(t.Context(), x.Base, ldapattr.Present("mail"))
	require.ErrorIs(t, err, ldapattr.ErrAmbiguous, "two")
	_, err = x.Directory.Lookup(t.Context(), x.Base, ldapattr.Present("uid"))
	require.ErrorIs(t, err, ldapattr.ErrAmbiguous, "three")

	e, err = x.Directory.Lookup(t.Context(), dn, ldapattr.Present("objectClass"))
	require.NoError(t, err, "the base is part of its subtree")
	require.Equal(t, dn, e.DN)
}

func (x exercise) attributes(t *testing.T) {
	x.person(t, "alice", map[string][]string{"mail": {"a@test", "b@test"}, "displayName": {"Alice"}})

	e := x.read(t, "alice")
	require.ElementsMatch(t, []string{"a@test", "b@test"}, e.Values("mail"))
	require.Empty(t, e.Values("entryCSN"), "operational: only when named")
	require.Nil(t, e.Values("description"))

	e = x.read(t, "alice", "displayname", "entryCSN", "description")
	require.Equal(t, "Alice", e.Value("displayName"))
	require.NotEmpty(t, e.Value("entrycsn"))
	require.Empty(t, e.Values("mail"), "not asked for")
	var names []string
	for name := range e.All() {
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{"displayName", "entryCSN"}, names)

	e = x.read(t, "alice", "*", "+")
	require.NotEmpty(t, e.Value("entryCSN"))
	require.Equal(t, "Alice", e.Value("displayName"))
}

func (x exercise) filters(t *testing.T) {
	x.person(t, "alice", map[string][]string{"mail": {"alice@test", "al@test"}, "displayName": {"Alice"}})
	x.person(t, "bob", map[string][]string{"mail": {"bob@test"}})
	person := ldapattr.Equal("objectClass", "inetOrgPerson")
	for _, tt := range []struct {
		filter string
		want   []string
	}{
		{person, []string{"alice", "bob"}},
		{ldapattr.Not(ldapattr.Equal("displayName", "alice")), []string{"bob"}},
		{ldapattr.Not(ldapattr.Present("displayName")), []string{"bob"}},
		{ldapattr.Or(ldapattr.Equal("mail", "al@test"), ldapattr.Equal("mail", "bob@test")), []string{"alice", "bob"}},
		{ldapattr.And(ldapattr.Equal("mail", "al@test"), ldapattr.Equal("mail", "alice@test")), []string{"alice"}},
		{ldapattr.And(ldapattr.Equal("mail", "al@test"), ldapattr.Equal("mail", "bob@test")), nil},
		{"(mail=*)", []string{"alice", "bob"}},
		{"(mail=AL*)", []string{"alice"}},
		{"(mail=*@test)", []string{"alice", "bob"}},
		{"(mail=b*b*test)", []string{"bob"}},
		{"(mail=*ob*es*)", []string{"bob"}},
		{"(mail=al*l@test)", nil}, // parts do not overlap
	} {
		var got []string
		for e, err := range x.Directory.Search(t.Context(), x.Base, ldapattr.And(person, tt.filter), "uid") {
			require.NoError(t, err, tt.filter)
			got = append(got, e.Value("uid"))
		}
		require.ElementsMatch(t, tt.want, got, tt.filter)
	}
}

func (x exercise) hostile(t *testing.T) {
	for i, value := range []string{`*`, `a)(uid=*`, `a\b`, `(`, `ünï 🎉 "quoted" \2a`, `a=b,c+d;e<f>#g`} {
		uid := fmt.Sprint("hostile", i)
		dn := x.person(t, uid, map[string][]string{"displayName": {value}})
		e, err := x.Directory.Lookup(t.Context(), x.Base, ldapattr.Equal("displayName", value))
		require.NoError(t, err, value)
		require.Equal(t, uid, e.Value("uid"), value)
		require.Equal(t, value, e.Value("displayName"))
		require.NoError(t, x.Directory.ModifyIf(t.Context(), dn, ldapattr.Equal("displayName", value),
			change("displayName", []string{value}, []string{value + "!"})), value)
		require.Equal(t, value+"!", x.read(t, uid).Value("displayName"))
	}
}

func (x exercise) search(t *testing.T) {
	var want []string
	for i := range 25 {
		uid := fmt.Sprintf("user%02d", i)
		x.person(t, uid, map[string][]string{"mail": {uid + "@test"}})
		want = append(want, uid)
	}
	all := x.Directory.Search(t.Context(), x.Base, ldapattr.Present("mail"), "uid")
	for range 2 { // the same walk twice
		var got []string
		for e, err := range all {
			require.NoError(t, err)
			got = append(got, e.Value("uid"))
		}
		slices.Sort(got)
		require.Equal(t, want, got)
	}

	n := 0
	for e, err := range all {
		require.NoError(t, err)
		// The walk does not stand in the way of what its body does.
		require.NoError(t, x.Directory.Modify(t.Context(), e.DN, change("description", nil, []string{"seen"})))
		if n++; n == 12 {
			break
		}
	}

	for _, err := range x.Directory.Search(t.Context(), x.Base, ldapattr.Equal("mail", "nobody@test")) {
		t.Errorf("a walk over nothing yields %v", err)
	}
	var errs []error
	for _, err := range x.Directory.Search(t.Context(), "ou=nowhere,"+x.Base, ldapattr.Present("mail")) {
		errs = append(errs, err)
	}
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], ldapattr.ErrNotFound)

	ctx, cancel := context.WithCancel(t.Context())
	var last error
	n = 0
	for _, err := range x.Directory.Search(ctx, x.Base, ldapattr.Present("mail")) {
		if n++; n == 2 {
			cancel()
		}
		last = err
	}
	cancel()
	require.ErrorIs(t, last, context.Canceled, "a walk that was cut is no short list")
}

func (x exercise) swap(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"displayName": {"active"}})
	require.NoError(t, x.Directory.Modify(t.Context(), dn, change("displayName", []string{"Active"}, []string{"maintenance"})))
	require.Equal(t, []string{"maintenance"}, x.read(t, "alice").Values("displayName"))

	err := x.Directory.Modify(t.Context(), dn, change("displayName", []string{"active"}, []string{"maintenance"}))
	require.ErrorIs(t, err, ldapattr.ErrConflict, "a second time")
	require.Equal(t, []string{"maintenance"}, x.read(t, "alice").Values("displayName"))

	require.NoError(t, x.Directory.Modify(t.Context(), dn, change("displayName", []string{"maintenance"}, nil)))
	require.Nil(t, x.read(t, "alice").Values("displayName"), "New without values deletes")
	err = x.Directory.Modify(t.Context(), dn, change("displayName", []string{"maintenance"}, []string{"active"}))
	require.ErrorIs(t, err, ldapattr.ErrConflict, "no attribute at all")
}

func (x exercise) severalValues(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"mail": {"a@test", "b@test", "c@test"}})
	modify := func(old, new []string) error { return x.Directory.Modify(t.Context(), dn, change("mail", old, new)) }
	mails := func() []string { return x.read(t, "alice").Values("mail") }

	require.NoError(t, modify([]string{"a@test", "b@test"}, []string{"b@test", "d@test"}))
	require.ElementsMatch(t, []string{"b@test", "c@test", "d@test"}, mails(), "others are left")
	require.ErrorIs(t, modify([]string{"b@test"}, []string{"C@test"}), ldapattr.ErrConflict, "New is there already")
	require.ErrorIs(t, modify([]string{"b@test", "x@test"}, []string{"y@test"}), ldapattr.ErrConflict, "one of Old is not there")
	require.ErrorIs(t, modify([]string{"b@test"}, []string{"e@test", "E@test"}), ldapattr.ErrConflict, "one value twice in New")
	require.ElementsMatch(t, []string{"b@test", "c@test", "d@test"}, mails(), "nothing was changed")
	require.NoError(t, modify([]string{"b@test"}, []string{"B@test"}))
	require.ElementsMatch(t, []string{"B@test", "c@test", "d@test"}, mails(), "spelled anew")
}

func (x exercise) absent(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"mail": {"a@test"}})
	modify := func(changes ...ldapattr.Change) error { return x.Directory.Modify(t.Context(), dn, changes...) }

	require.NoError(t, modify(change("displayName", nil, []string{"Alice"})))
	require.Equal(t, "Alice", x.read(t, "alice").Value("displayName"))
	require.ErrorIs(t, modify(change("displayName", nil, []string{"Other"})), ldapattr.ErrConflict)
	require.ErrorIs(t, modify(change("mail", nil, []string{"b@test"})), ldapattr.ErrConflict, "any value is one too many")
	require.Equal(t, []string{"a@test"}, x.read(t, "alice").Values("mail"))

	touch := change("mail", []string{"a@test"}, []string{"a@test"})
	require.NoError(t, modify(touch, change("description", nil, nil)), "absence asserted")
	require.ErrorIs(t, modify(touch, change("displayName", nil, nil)), ldapattr.ErrConflict)
}

func (x exercise) allOrNothing(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"mail": {"a@test"}, "displayName": {"Alice"}})
	before := x.read(t, "alice", "entryCSN").Value("entryCSN")
	err := x.Directory.Modify(t.Context(), dn,
		change("mail", []string{"a@test"}, []string{"b@test"}),
		change("displayName", []string{"Bob"}, []string{"Carol"}))
	require.ErrorIs(t, err, ldapattr.ErrConflict)
	e := x.read(t, "alice", "mail", "displayName", "entryCSN")
	require.Equal(t, []string{"a@test"}, e.Values("mail"))
	require.Equal(t, before, e.Value("entryCSN"))

	require.NoError(t, x.Directory.Modify(t.Context(), dn,
		change("mail", []string{"a@test"}, []string{"b@test"}),
		change("displayName", []string{"Alice"}, []string{"Carol"}),
		change("description", nil, []string{"moved"})))
	e = x.read(t, "alice")
	require.Equal(t, []string{"b@test", "Carol", "moved"}, []string{e.Value("mail"), e.Value("displayName"), e.Value("description")})
}

func (x exercise) touch(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"displayName": {"Alice"}})
	before := x.read(t, "alice", "entryCSN").Value("entryCSN")
	require.Equal(t, before, x.read(t, "alice", "entryCSN").Value("entryCSN"), "reading changes nothing")
	for range 3 {
		require.NoError(t, x.Directory.Modify(t.Context(), dn, change("displayName", []string{"Alice"}, []string{"Alice"})))
		after := x.read(t, "alice", "entryCSN").Value("entryCSN")
		require.NotEqual(t, before, after)
		before = after
	}
}

func (x exercise) assertion(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"displayName": {"Alice"}})
	seen := ldapattr.Equal("entryCSN", x.read(t, "alice", "entryCSN").Value("entryCSN"))
	swap := change("displayName", []string{"Alice"}, []string{"Bob"})
	other := change("description", nil, []string{"somebody was here"})

	require.NoError(t, x.Directory.Modify(t.Context(), dn, other))
	require.ErrorIs(t, x.Directory.ModifyIf(t.Context(), dn, seen, swap), ldapattr.ErrConflict, "the entry was touched")
	require.Equal(t, "Alice", x.read(t, "alice").Value("displayName"))

	seen = ldapattr.Equal("entryCSN", x.read(t, "alice", "entryCSN").Value("entryCSN"))
	require.ErrorIs(t, x.Directory.ModifyIf(t.Context(), dn, seen, swap, change("description", nil, []string{"new"})), ldapattr.ErrConflict,
		"the assertion and the absence both count")
	require.NoError(t, x.Directory.ModifyIf(t.Context(), dn, seen, swap, change("telephoneNumber", nil, []string{"1"})))
	require.ErrorIs(t, x.Directory.ModifyIf(t.Context(), dn, seen, swap), ldapattr.ErrConflict, "a second time")
	require.Equal(t, "Bob", x.read(t, "alice").Value("displayName"))
}

func (x exercise) mistakes(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"displayName": {"Alice"}})
	swap := change("displayName", []string{"Alice"}, []string{"Bob"})
	var badFilter *ldapattr.FilterError
	for _, filter := range []string{"", "mail=a", "(mail=a", "(mail=a))", "(&)", ldapattr.And(), ldapattr.Equal("", "x"),
		ldapattr.Not(ldapattr.Equal("no name", "x")), "(sp ace=x)"} {
		_, err := x.Directory.Lookup(t.Context(), x.Base, filter)
		require.ErrorAs(t, err, &badFilter, filter)
		require.ErrorAs(t, x.Directory.ModifyIf(t.Context(), dn, filter, swap), &badFilter, filter)
		n := 0
		for _, err := range x.Directory.Search(t.Context(), x.Base, filter) {
			require.ErrorAs(t, err, &badFilter, filter)
			n++
		}
		require.Equal(t, 1, n, filter)
	}
	var badChange *ldapattr.ChangeError
	for name, changes := range map[string][]ldapattr.Change{
		"none":            nil,
		"only absence":    {change("mail", nil, nil)},
		"no name":         {change("", nil, []string{"x"})},
		"bad name":        {change("a b", nil, []string{"x"})},
		"empty value":     {change("mail", nil, []string{""})},
		"value twice":     {change("mail", nil, []string{"a", "a"})},
		"attribute twice": {swap, change("DisplayName", []string{"Bob"}, nil)},
	} {
		require.ErrorAs(t, x.Directory.Modify(t.Context(), dn, changes...), &badChange, name)
	}
	require.Equal(t, "Alice", x.read(t, "alice").Value("displayName"))
}

func (x exercise) refusals(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"displayName": {"Alice"}})
	swap := change("displayName", []string{"Alice"}, []string{"Bob"})
	require.ErrorIs(t, x.Directory.Modify(t.Context(), "uid=nobody,"+x.Base, swap), ldapattr.ErrNotFound)
	require.ErrorIs(t, x.Directory.ModifyIf(t.Context(), "uid=nobody,"+x.Base, ldapattr.Present("uid"), swap), ldapattr.ErrNotFound)

	var answer *ldapattr.ResultError
	require.ErrorAs(t, x.Directory.Modify(t.Context(), "not a name", swap), &answer)
	require.Equal(t, 34, answer.Code, "invalidDNSyntax")
	for name, c := range map[string]ldapattr.Change{
		"two values where one may be": change("displayName", []string{"Alice"}, []string{"Bob", "Carol"}),
		"two values of an absent one": change("employeeNumber", nil, []string{"1", "2"}),
		"an operational attribute":    change("entryCSN", []string{x.read(t, "alice", "entryCSN").Value("entryCSN")}, nil),
	} {
		err := x.Directory.Modify(t.Context(), dn, c)
		require.ErrorAs(t, err, &answer, name)
		require.Equal(t, 19, answer.Code, "%s: constraintViolation", name)
		require.NotErrorIs(t, err, ldapattr.ErrConflict, name)
	}
	require.Equal(t, "Alice", x.read(t, "alice").Value("displayName"))
}

// race has many writers want one swap: one of them gets it.
func (x exercise) race(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"displayName": {"free"}})
	seen := ldapattr.Equal("entryCSN", x.read(t, "alice", "entryCSN").Value("entryCSN"))
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = x.Directory.ModifyIf(t.Context(), dn, seen, change("displayName", []string{"free"}, []string{fmt.Sprint(i)}))
		})
	}
	wg.Wait()
	won := slices.Index(errs, nil)
	require.GreaterOrEqual(t, won, 0, "somebody wins")
	for i, err := range errs {
		if i != won {
			require.ErrorIs(t, err, ldapattr.ErrConflict)
		}
	}
	require.Equal(t, fmt.Sprint(won), x.read(t, "alice").Value("displayName"))
}

func (x exercise) endedContext(t *testing.T) {
	dn := x.person(t, "alice", map[string][]string{"displayName": {"Alice"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := x.Directory.Lookup(ctx, x.Base, ldapattr.Present("displayName"))
	require.ErrorIs(t, err, context.Canceled)
	err = x.Directory.Modify(ctx, dn, change("displayName", []string{"Alice"}, []string{"Bob"}))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, errors.Is(err, ldapattr.ErrUnknownOutcome), "nothing was sent")
	n := 0
	for _, err := range x.Directory.Search(ctx, x.Base, ldapattr.Present("displayName")) {
		require.ErrorIs(t, err, context.Canceled)
		n++
	}
	require.Equal(t, 1, n)
	require.Equal(t, "Alice", x.read(t, "alice").Value("displayName"))
}
