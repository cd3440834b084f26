// Package zmlift holds no code: it is the root of a module of packages that move Zimbra mailboxes from one mailstore to another.
//
// Start with package zimbra, whose Mover makes a plan and carries it out; the example program examples/mover is a thin caller of it. The
// packages below it are useful alone: sqlrewrite replaces column values in a database dump, mboxdb reads and writes the rows of one
// mailbox, filesync makes one file tree equal to another, ldapattr changes LDAP attributes by compare-and-swap, and tunnel reaches hosts
// through SSH.
package zmlift
