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
// No ssh program, no local port and no configuration file takes part. Several hosts given to [Open] are a chain, each reached through
// the one before.
//
// # Who is at the other end
//
// A host must be in the known_hosts file, with the key that it offers now, or by an authority that the file names for it; there is no
// way to turn this off. The algorithms that the file knows are asked for first: a host known by its ed25519 key is never refused because
// it would rather show its ECDSA key. An unknown or changed key is a [*HostKeyError], which names the fingerprint and how to add it.
//
// # Connections
//
// A [Tunnel] keeps one connection and multiplexes over it; many goroutines may use it. A connection found dead is replaced by the next
// [Tunnel.DialContext] or [Tunnel.Run], once per call. What was under way on it fails with [ErrLost]. Nothing is ever run twice: a
// connection is only replaced before the command was sent.
//
// Connections made by DialContext have working deadlines, which channels of golang.org/x/crypto/ssh have not: a database driver's read
// and write timeouts can be used. One that passes ends the read or write that waits and leaves the connection usable.
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
//   - [ErrAuth]: the server accepted no key, or the identity file is unreadable or encrypted.
//   - [ErrLost]: the connection ended while it was in use; a command may or may not have run, and may still run.
//   - [ErrClosed]: the Tunnel has been closed.
//   - [*ExitError]: the command exited with a status other than 0, or was killed by a signal that was not ours.
//
// When a context ends, errors.Is finds its error. Everything else is an error of the network, as dialling without SSH would give.
package tunnel
