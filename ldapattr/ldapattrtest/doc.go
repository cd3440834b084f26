// Package ldapattrtest is an LDAP directory in memory, for tests of code that works with ldapattr, and the suite of tests that it and a
// real server pass alike.
//
//	d := ldapattrtest.New()
//	d.Put("uid=alice,ou=people,dc=test", map[string][]string{"uid": {"alice"}, "mail": {"alice@test"}})
//	e, err := d.Lookup(ctx, "", ldapattr.Equal("mail", "ALICE@test"), "uid", "entryCSN")
//
// A [Directory] has the methods of an [ldapattr.Client] and gives the same errors, down to the codes in a *ldapattr.ResultError. It
// knows no schema: any attribute name is known, all values compare without regard to case, every attribute may have several values
// unless [Directory.Single] says otherwise, and no attribute is required. A class matches by its own name, not by those it inherits
// from. Extensible matches are refused, with the code that says so.
//
// It is deterministic. The operational attribute entryCSN comes from a counter that every successful change moves, never from a
// clock, so two runs of one test see the same values. [Directory.Snapshot] gives a copy that goes its own way, for example as a
// replica that lags behind; it costs next to nothing.
//
// [Exercise] tests what ldapattr promises against any implementation.
package ldapattrtest
