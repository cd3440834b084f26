// Package lab runs real servers for tests, benchmarks and the demo: two mailstores, mail1.lab and mail2.lab, and one
// LDAP directory that knows both. A mailstore here is what a mover meets on a Zimbra mailstore: a MariaDB with the
// zimbra database and mailbox groups that come into being with their first mailbox, volumes with blobs and a search
// index, localconfig.xml, create_database.sql, and an sshd. No mailboxd runs.
//
// The two stores differ where real ones do, so that a mover which confuses them fails: volume ids and roles (mail1 has an
// HSM volume, mail2 has none and a spare primary instead), the number of mailbox groups, the next mailbox id, the numeric
// owner of the volumes.
//
// # Back ends
//
// The servers run as child processes below a temporary directory ("processes") or in Docker containers ("containers").
// [Options].Backend chooses; left empty, the environment variable ZMLIFT_LAB does (processes, containers or off); left
// empty too, what this machine can run, processes first. The same tests pass on both.
//
// # In a test
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
//	func TestMove(t *testing.T) {
//		l := lab.Shared(t) // one lab for the test binary, started by the first test that asks
//		alice, err := l.AddAccount(t.Context(), l.Stores[0], lab.AccountSpec{Name: "alice@lab.example", Items: 500})
//		...
//	}
//
// Tests share the stores, never an account: give every test accounts of its own.
//
// # Errors
//
//   - [ErrOff]: ZMLIFT_LAB=off.
//   - [ErrUnavailable]: this machine can run no lab; the text names what is missing.
//   - [ErrDeferred]: the account takes no mail or change at the moment.
//   - [*RunError]: a command on a store exited with a status other than 0.
package lab
