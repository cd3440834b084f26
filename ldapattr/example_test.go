package ldapattr_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/ldapattr/ldapattrtest"
)

// A change that somebody else may want to make as well: the loser learns it, and nothing is half done.
func Example() {
	ctx := context.Background()
	dir := ldapattrtest.New() // a program has the *Client that Dial returns
	dir.Put("uid=alice,ou=people,dc=test", map[string][]string{"mail": {"alice@test"}, "host": {"mail1"}, "status": {"active"}})

	e, err := dir.Lookup(ctx, "", ldapattr.Equal("mail", "alice@test"), "host", "status", "entryCSN")
	if err != nil {
		fmt.Println(err)
		return
	}
	unchanged := ldapattr.Equal("entryCSN", e.Value("entryCSN"))
	move := ldapattr.Change{Attr: "host", Old: e.Values("host"), New: []string{"mail2"}}
	mark := ldapattr.Change{Attr: "description", Old: e.Values("description"), New: []string{"moved"}} // absent so far
	fmt.Println(dir.ModifyIf(ctx, e.DN, unchanged, move, mark))

	// The entry is not what it was: the same again is a conflict.
	err = dir.ModifyIf(ctx, e.DN, unchanged, move, mark)
	fmt.Println(errors.Is(err, ldapattr.ErrConflict))
	// Output:
	// <nil>
	// true
}

func ExampleEqual() {
	fmt.Println(ldapattr.And(ldapattr.Equal("mail", "a*(b)@test"), ldapattr.Not(ldapattr.Present("host"))))
	// Output: (&(mail=a\2a\28b\29@test)(!(host=*)))
}

func ExampleClient_Search() {
	ctx := context.Background()
	dir := ldapattrtest.New() // a program has the *Client that Dial returns
	dir.Put("uid=alice,dc=test", map[string][]string{"uid": {"alice"}, "host": {"mail1"}})
	dir.Put("uid=bob,dc=test", map[string][]string{"uid": {"bob"}, "host": {"mail2"}})
	dir.Put("uid=carol,dc=test", map[string][]string{"uid": {"carol"}, "host": {"mail1"}})

	for e, err := range dir.Search(ctx, "dc=test", ldapattr.Equal("host", "MAIL1"), "uid") {
		if err != nil {
			fmt.Println(err) // the list is not complete
			return
		}
		fmt.Println(e.Value("uid"))
	}
	// Output:
	// alice
	// carol
}

func ExampleSecret() {
	opts := ldapattr.Options{BindDN: "uid=zimbra,cn=admins", Password: ldapattr.NewSecret("s3cret")}
	fmt.Printf("%v %+v %q\n", opts.Password, opts.Password, opts.Password.Reveal())
	// Output: [redacted] [redacted] "s3cret"
}
