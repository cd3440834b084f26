// Package ldapattr reads entries of an LDAP directory and changes their attributes by compare-and-swap.
//
// An entry has a name (the DN) and attributes, each with one or more text values; attribute names ignore case. Most attributes are
// declared single-valued in the server's schema, the others hold a set. There are no transactions over entries, but one modify
// operation (RFC 4511, section 4.6) applies all its changes to one entry or none of them, and its parts can be made to fail when the
// entry is not what the caller believes it to be:
//
//   - A [Change] deletes the values it replaces by name, so that it fails when they are not there any more. A Change whose Old equals
//     its New asserts that the value is still there, and touches the entry.
//   - [Client.ModifyIf] adds a filter that the entry must match in the same instant (the assertion control, RFC 4528), for example
//     the entryCSN that was read before: then any other change in between makes the modify fail.
//
// Either way the loser of a race gets [ErrConflict] and the entry is as the winner left it.
//
// A server that is only a replica answers a modify with a referral, which is never followed: writes go where the caller said.
//
// # Connections
//
// A [Client] keeps a few connections to one server, one operation on each at a time, and may be used by many goroutines. A connection
// that was lost is replaced when it is next needed. A read is then asked again, once. A write is sent again only when not a byte of
// it had left; when its answer is lost it is never repeated, and the error says [ErrUnknownOutcome]: read the entry, then decide.
//
// # Errors
//
// The conditions that callers branch on, all found with errors.Is:
//
//   - [ErrNotFound]: no entry matches, or the named entry does not exist.
//   - [ErrAmbiguous]: more than one entry matches where one was asked for.
//   - [ErrConflict]: the entry is not as the change assumes; nothing was changed.
//   - [ErrUnknownOutcome]: a modify was sent and its answer did not come; it may have happened, or may still happen.
//   - [ErrCredentials]: the server refused the bind.
//   - [ErrInsecure]: the options would talk in clear over a network.
//   - [ErrClosed]: the Client has been closed.
//
// And types, found with errors.As: [*ResultError] is any other answer of the server, [*ChangeError] and [*FilterError] are mistakes in
// the arguments, found before anything is sent. When a context ends, its error is among those returned.
package ldapattr
