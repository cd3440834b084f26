// Package filesync makes one file tree equal to another. Either may be on this machine or on one that is reached by commands, over SSH for
// example; no key between the two ends is needed, for everything passes through the calling process, and nothing of it is put on disk there.
//
//	src := filesync.Remote(tunnel1, nil).Tree("/srv/mail/12")
//	dst := filesync.Remote(tunnel2, nil).Tree("/srv/mail/34")
//	stats, err := filesync.Sync(ctx, dst, src, nil)
//
// You want one of three functions. [Sync] lists both trees, copies what is missing or differs and removes what is gone. [SyncList] copies the
// files that a list names, from one name to another, and removes those that it marks; that is what a caller wants who knows better than a
// listing what must exist, or whose names change on the way. A short list takes the same short time in a tree of any size. [Check] proves
// that files hold what a list of sizes and digests says, where they are.
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
// # How it goes
//
// Both sides are listed, or asked about the names of a list, at the same time. What is missing goes in batches of some thousand files, five of
// them at once, and the first ones while the source is still being listed. A batch ends with a directory where it can: a new one comes into the tree
// as a whole. For each batch one command on the destination extracts a tar stream in the stage, counts, forces the file system to disk once, looks
// at the [Guard] again, and renames. Deletes come last.
//
// That is the engine [Stream], and what [Automatic] takes. The engine [Rsync] has rsync write into the stage instead, with SSH settings of its
// own; the rest is the same, and so is what holds. It is worth its connections where large files change a little, and where two remote hosts
// may send to each other directly ([Options].Direct).
//
// # Giving way
//
// A [Limit] bounds what syncs and checks read, by the time of day if need be, and how many files are in flight. It is a value of its own that
// many may share, and it may be changed, or paused, while they run. A [Priority] has the commands on a remote host started by nice and ionice.
//
//	limit := &filesync.Limit{}
//	limit.SetRate(20_000_000)
//	stats, err := filesync.Sync(ctx, dst, src, &filesync.Options{Limits: []*filesync.Limit{limit}})
//
// # The far side
//
// A remote host needs sh, GNU find, xargs and tar, and coreutils: what every Linux server has; and rsync for its engine. Listings come from
// find, content as a tar stream of just the files that are missing, digests from sha256sum on all processors, and those of compressed files
// from perl, if it is there, or gzip. Files on this machine are handled in Go, by the same rules. Neither side needs root where the
// files belong to who is there.
//
// # Errors
//
// Branch on these with errors.Is: [ErrGuard], [ErrChanged], [ErrTooLarge], fs.ErrExist, fs.ErrNotExist and
// syscall.ENOSPC; and on these with errors.As:
// [*NameError], [*FileTypeError], [*MissingError]. What a command said on its standard error is in the text, with the path of the tree.
package filesync
