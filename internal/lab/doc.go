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
// empty too, what this machine can run, processes first. off is stronger than anything else. The same tests pass on both, and
// whoever starts a lab with a log reads there which it is.
//
// Processes need the programs on this machine (scripts/install-deps.sh gets them); everything is up in two seconds.
//
// Containers need a Docker engine. Every machine is a container of its own: the stores see neither each other nor the
// directory, and only their ports are published, on 127.0.0.1 and under the numbers that they have inside. The image is built from
// the Dockerfile beside this file, once; where its base image cannot be pulled it is made of the packages installed on this
// machine.
//
// Nothing outlives the process that started it, not even a SIGKILL: child processes are killed by the kernel, and a container
// reads from a connection of its owner and ends with it. What a crash of the machine or the engine leaves is removed by the next
// lab.
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
// Tests share the stores, never an account: give every test accounts of its own. A test that is to run on both back ends asks
// [SharedOn] for each of them.
//
// # Errors
//
//   - [ErrOff]: ZMLIFT_LAB forbids it.
//   - [ErrUnavailable]: this machine can run no lab; the text names what is missing.
//   - [ErrDeferred]: the account takes no mail or change at the moment.
//   - [*RunError]: a command on a store exited with a status other than 0.
package lab
