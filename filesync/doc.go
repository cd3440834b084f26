// Package filesync makes one file tree equal to another. Either may be on this machine or on one that is reached by commands, over SSH for
// example; no key between the two ends is needed, for everything passes through the calling process, and nothing of it is put on disk there.
//
//	src := filesync.Remote(tunnel1, nil).Tree("/srv/mail/12")
//	dst := filesync.Remote(tunnel2, nil).Tree("/srv/mail/34")
//	stats, err := filesync.Sync(ctx, dst, src, nil)
//
// You want one of two functions. [Sync] lists both trees, copies what is missing or differs and removes what is gone. [SyncList] copies the
// files that a list names, from one name to another; that is what a caller wants who knows better than a listing what must exist, or
// whose names change on the way.
//
// # What holds
//
// A tree is the directory that [Host.Tree] names and what is below it on the same file system. Nothing else is read, written or removed: names
// with "..", absolute ones and the like are a [*NameError], and a symlink anywhere in a tree is a [*FileTypeError] or another error that
// names it. Symlinks are not copied, and neither are pipes, sockets and devices: a tree has files and directories.
//
// A file at its final name is complete. Content is first put into a directory called .filesync- and something random, at the top of the
// destination tree; from there, when all of it has arrived, been counted and been forced to disk, it is renamed into place. What a
// crash leaves in such directories is in no listing, and is removed by a later sync once nobody has touched it for an hour. A
// file that is replaced is not written into, so that another tree that shares it by a hard link keeps what it had.
//
// Files that are hard links of each other in the source are so in the destination. Mode and time are kept; owner and group are those of
// the destination tree's root directory, because numbers mean other people on other machines.
//
// The root directory of a tree is never made: a writer that was paused while its tree was removed fails. With [Options].Guard it also fails
// when the tree was removed and made anew by somebody else.
//
// A stream that was cut short never looks like success: whoever counts on either side counts again on the other.
//
// # The far side
//
// A remote host needs sh, GNU find, xargs and tar, and coreutils: what every Linux server has. Listings come from find, content as a tar
// stream of just the files that are missing, digests from sha256sum. Files on this machine are handled in Go, by the same rules.
//
// # Errors
//
// Branch on these with errors.Is: [ErrGuard], [ErrChanged], [ErrTooLarge], fs.ErrExist, fs.ErrNotExist and
// syscall.ENOSPC; and on these with errors.As:
// [*NameError], [*FileTypeError], [*MissingError]. What a command said on its standard error is in the text, with the path of the tree.
package filesync
