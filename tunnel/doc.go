// Package tunnel reaches machines over SSH: it dials from them and runs commands on them.
//
//	t, err := tunnel.Open(ctx, tunnel.Host{
//		Addr: "mail1.example.com", User: "root",
//		IdentityFile: "/root/.ssh/mover", KnownHostsFile: "/root/.ssh/known_hosts",
//	})
//	defer t.Close()
//	conn, err := t.DialContext(ctx, "tcp", "127.0.0.1:3306")               // a server that listens on the far side's loopback
//	err = t.Run(ctx, []string{"tar", "-C", dir, "-cf", "-", "."}, nil, w, nil) // a command, its output streamed
//
// No ssh program, no local port and no configuration file takes part, unless one asks for a port ([Tunnel.Listen]) or for what a
// configuration file says ([FromConfig]). Several hosts given to [Open] are a chain, each reached through the one before; each is verified
// and let in to for itself, and an error names the host that it is about.
//
// # Who is at the other end
//
// A host must be in a known_hosts file, with the key that it offers now, or by an authority that a file names for it (@cert-authority);
// there is no way to turn this off. Names may be hashed or patterns, and a host at another port than 22 is looked for as [name]:port and then,
// as ssh does, as name. What a file revokes (@revoked) is refused for every host. The algorithms that the files know are asked for first: a host
// known by its ed25519 key is never refused because it would rather show its ECDSA key. An unknown or changed key is a [*HostKeyError], which
// names the fingerprint and how to add it.
//
// # Who we are
//
// There are keys only, no passwords: identity files, with their certificates, and an SSH agent's keys. They are tried in the order of the
// fields of [Host], each once. The server is asked about the public half of a key first, so that a passphrase is wanted only for a key that
// it would take. A passphrase comes from a function, never from a command line, and is not kept.
//
// # Connections
//
// A [Tunnel] keeps one connection and multiplexes over it; many goroutines may use it. There is no limit to the connections made by
// [Tunnel.DialContext]: a pool of 200 to a database is 200 channels of one connection, and no port here. A server has one: where many connect
// at the same instant, its queue (back_log of a database server) overflows, and it may never notice a connection that was made. A client that
// waits for the server to speak first, as one of MySQL does, should do so with a deadline.
//
// The host is asked for a sign of life every nine seconds ([Host].KeepAlive), through all the hosts before it. One that gives none for 27 s,
// because it hangs or the network swallows everything, is lost as one that hung up. What was under way on a lost connection fails with
// [ErrLost], and the next DialContext or [Tunnel.Run] makes a new one. It tries for a while ([Host].Reconnects): a server that restarts its
// sshd fails no call. Nothing is ever run twice: a connection is only replaced before the command was sent. What a server says about keys,
// its own or ours, ends the trying at once.
//
// Connections made by DialContext have working deadlines, which channels of golang.org/x/crypto/ssh have not: a database driver's read
// and write timeouts can be used. One that passes ends the read or write that waits and leaves the connection usable.
//
// # Ports
//
// [Tunnel.ListenAll] opens ports here that lead to servers there, for tools that cannot be given a dialer: all of them or none, on loopback
// addresses, until their context ends. Anybody on this machine can connect to them. A connection through one that breaks is reset, so that
// no tool takes a part for the whole; the server there cannot be told the difference.
//
// # Commands
//
// Run takes an argument list. SSH itself knows only a line of text that the user's login shell interprets, so every argument is quoted;
// the login shell must read quotes as sh does. The shell writes its process id before it becomes the command. That is how a command is
// ended when its context is: servers of many versions refuse SSH's own signals (OpenSSH for every login as root), and a closed
// connection ends no command that neither reads nor writes.
//
// A command cannot tell an end of input that was meant from one that was not. If its input fails here, or its context ends, it is
// therefore killed before its input is closed. One case remains: a connection that breaks looks to the command like the end of its
// input. A command for which a part must not look like the whole needs an end mark inside the stream, as tar and SQL dumps have.
//
// # Errors
//
//   - [ErrHostKey]: the host key could not be verified; errors.As finds a [*HostKeyError].
//   - [ErrAuth]: the server accepted no key, or none can be used; the text names every key that was tried, and why others were not.
//   - [ErrLost]: the connection ended while it was in use; a command may or may not have run, and may still run.
//   - [ErrClosed]: the Tunnel has been closed.
//   - [*ExitError]: the command exited with a status other than 0, or was killed by a signal that was not ours.
//
// A port that is taken is syscall.EADDRINUSE, and a mistake in a configuration file names its line. When a context ends, errors.Is finds its
// error. Everything else is an error of the network, as dialling without SSH would give.
package tunnel
