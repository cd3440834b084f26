package filesync

// The scripts that run on a remote host. They are constants: every name comes as an argument or on standard input, ended by a NUL, so
// that no name is ever read as code. Each begins by entering the root and stays inside: a directory that is removed under it lets nothing
// be made in it any more, and a path that was made anew is another directory.

// Exit statuses of our own, apart from those of find, tar (1, 2) and xargs (123 to 127).
const (
	exitNoRoot = 81 + iota
	exitGuard
	exitExists
	exitNotExist
	exitNotPlain // something on the way is a symlink or no directory
	exitLeft     // files remained in the stage
	exitNoCommand
	exitNoSpace
)

// $1 is the root, $2 the guard's mark and $3 its content; no mark, no guard. The x keeps newlines at the end.
const scriptHead = `
LC_ALL=C
export LC_ALL
cd -P -- "$1" || exit 81
top=${PWD%/}
export top
way() { # whether every directory above $1 is one
	set -- "${1%/*}"
	while [ "$1" != . ]; do
		if [ -L "$1" ]; then printf '%s is a symlink\n' "$1" >&2; exit 85; fi
		set -- "${1%/*}"
	done
}
guard() {
	[ -n "$mark" ] || return 0
	way "./$mark"
	[ -f "./$mark" ] && [ ! -L "./$mark" ] || exit 82
	found=$(cat -- "./$mark" && echo x) || exit 82
	[ "$found" = "${content}x" ] || exit 82
}
mark=$2 content=$3
shift 3
guard
`

// lookScript removes stale stages, $1 minutes old (-1: all), and prints the root's entry. Then it goes on as listScript ($2: all) or as
// statScript ($2: names).
const lookScript = scriptHead + `
for s in ./.filesync-*; do
	[ -e "$s" ] || [ -L "$s" ] || continue
	if [ "$1" -ge 0 ]; then
		young=$(find "$s" -ignore_readdir_race -cmin "-$1" -print -quit | head -c 1) || exit
		[ -z "$young" ] || continue
	fi
	rm -rf -- "$s" || exit
done
if [ "$2" = all ]; then` + listCommands + `exit; fi
find . -maxdepth 0 -printf '` + entryFormat + `' || exit
` + statCommands

// entryFormat is parsed by parseEntry. The name comes last, for it may hold everything but a NUL.
const entryFormat = `%y %s %T@ %i %D %n %m %U %G %p\0`

// The end mark is what tells a whole listing from one that was cut.
const endMark = "end of listing"

const listScript = scriptHead + listCommands

const listCommands = `
find . -ignore_readdir_race -path './.filesync-*' -prune -o -printf '` + entryFormat + `' || exit
printf '` + endMark + `\0'
`

// statScript reads names. What does not exist is told on stderr and makes find exit with 1, and so xargs with 123.
const statScript = scriptHead + statCommands

const statCommands = `
xargs -0 -r sh -c 'exec find "$@" -maxdepth 0 -printf "` + `%y %s %T@ %i %D %n %m %U %G %p\\0` + `"' filesync
rc=$?
[ $rc = 0 ] || [ $rc = 123 ] || exit $rc
printf '` + endMark + `\0'
`

// readScript reads $1 bytes of directories, $2 bytes of names, and the directories once more. It writes a tar stream of the names, in their
// order. Tar goes through whatever stands on the way to a name. So the directories there must be none of them a symlink before, and the same
// ones afterwards, by type, device and inode: all else about them changes where people work. One that is swapped and swapped back meanwhile
// is not seen.
const readScript = scriptHead + `
dirs() { head -c "$1" | QUOTING_STYLE=escape xargs -0 -r stat -c '%F %d %i %N' --; } # a line for each, whatever its name
before=$(dirs "$1")
rc=$?
[ $rc = 0 ] || [ $rc = 123 ] || exit $rc
link="
$before"
case $link in *"
symbolic link "*)
	link=${link#*"
symbolic link "}
	link=${link%% -> *}
	printf '%s is a symlink\n' "${link#* * }" >&2
	exit 85
esac
head -c "$2" | tar -c -b 128 -f - --format=gnu --no-recursion --hard-dereference --null -T -
rc=$?
[ $rc -le 2 ] || exit $rc
after=$(dirs "$1")
if [ "$after" != "$before" ]; then
	dir=$(printf '%s\n' "$before" "$after" | sort | uniq -u | tail -n 1)
	printf '%s` + replaced + `\n' "./${dir#*./}" >&2
	exit 1
fi
exit $rc
`

// replaced ends what readScript says of a directory.
const replaced = ": directory was replaced as we read it"

// putScript makes the stage $1 and extracts a tar stream inside it, in which only targets of links lie outside the stage: should the stage be
// removed, nothing can be made any more, not even by a tar that nobody waits for. The stream's last two files are of this script's:
// where the content of the numbered directories belongs, and how many there are, with how many bytes. Without the second the stream was cut short.
//
// It then looks at the guard again, and renames. Each directory is entered and compared with where the shell believes to be: a symlink leads
// elsewhere. A pair that begins with g has so few files, and none hidden, that the shell may name them; else find does.
//
// $2 is 1 when the stage is there, from prepareScript.
const putScript = scriptHead + `
stage=$1
export stage
umask 077
[ "$2" = 1 ] || mkdir -- "./$stage" || exit
cd -P -- "./$stage" && [ "$PWD" = "$top/$stage" ] || exit
if ! tar -x -b 128 -p -P -f - --same-owner --numeric-owner; then # which says of a full disk only that it wrote less
	[ "$(stat -f -c %a .)" -ge 16 ] || exit 88
	exit 1
fi
read -r files bytes 2>/dev/null < ./end || { echo "stream cut short" >&2; exit 1; }
` + forceScript + ` || exit
sizes=$(find . -mindepth 2 -type f ! -path './r/*' -printf '%s ') || exit
for s in $sizes; do
	files=$((files-1)) bytes=$((bytes-s))
done
if [ "$files $bytes" != '0 0' ]; then
	printf '%s files with %s bytes less arrived than were sent\n' "$files" "$bytes" >&2
	exit 1
fi

cd -P .. && [ "${PWD%/}" = "$top" ] || exit 81
guard
xargs -0 -r -a "./$stage/dirs" sh -c '
for a; do
	how=${a%%/*} d=${a#*/}
	i=${d%%/*} d=${d#*/}
	d=${d:+/$d}
	(
		cd -P -- ".$d" || exit
		if [ "$PWD" != "$top$d" ]; then printf "%s is not reached without a symlink\n" "$top$d" >&2; exit 85; fi
		if [ "$how" = g ]; then exec mv -f -t . -- "$top/$stage/$i/"*; fi
		exec find "$top/$stage/$i" -mindepth 1 -maxdepth 1 -exec mv -f -t . -- {} +
	) || exit 255
done' filesync || exit
left=$(find "./$stage" -mindepth 2 -type f ! -path "./$stage/r/*" -print -quit) || exit
if [ -n "$left" ]; then printf '%s was not renamed\n' "$left" >&2; exit 86; fi
rm -rf -- "./$stage"
`

// Old coreutils know only a sync of everything.
const forceScript = `case $(sync --help) in *--file-system*) sync -f .;; *) sync;; esac`

// prepareScript makes the stage $1 and a directory in it for rsync.
const prepareScript = scriptHead + `umask 077; mkdir -- "./$1" "./$1/r"`

const discardScript = scriptHead + `rm -rf -- "./$1"`

const setDirsScript = scriptHead + `exec tar -x -p -P -f - --same-owner --numeric-owner`

// unlinkScript reads names of files or of directories for the command $@. Those of a directory follow each other, so its way is looked at once.
const unlinkScript = scriptHead + `
xargs -0 -r sh -c '
last=
for f; do
	case $f in ./*) p=${f%/*};; *) continue;; esac # the command itself comes first
	[ "$p" = "$last" ] && continue
	last=$p
	while [ "$p" != . ]; do
		if [ -L "$p" ]; then printf "%s is a symlink\n" "$p" >&2; exit 255; fi
		p=${p%/*}
	done
done
exec "$@"' filesync "$@"
`

// removeScript renames $1 to the stage $2 first: a removal that was begun is never seen half done under its name, and the mark, if it lies
// inside, is there until then.
const removeScript = scriptHead + `
way "./$1"
[ ! -d "./$2" ] || rm -rf -- "./$2" || exit
if [ -e "./$1" ] || [ -L "./$1" ]; then
	mv -T -- "./$1" "./$2" || exit
	rm -rf -- "./$2" || exit
fi
`

const freeScript = scriptHead + `exec stat -f -c '%a %S' .`

const syncScript = scriptHead + forceScript

const readFileScript = scriptHead + `
way "./$1"
if [ -L "./$1" ]; then printf '%s is a symlink\n' "./$1" >&2; exit 85; fi
[ -e "./$1" ] || exit 84
if [ ! -f "./$1" ]; then printf '%s is not a regular file\n' "./$1" >&2; exit 85; fi
exec head -c "$2" -- "./$1"
`

// writeFileScript writes standard input, $3 bytes long, to the stage $2, and gives it the name $1; $4 is 1 when it must be a new one.
const writeFileScript = scriptHead + `
way "./$1"
dir=./$1
[ -d "${dir%/*}" ] || exit 84
umask 077
trap 'rm -f -- "./$2"' EXIT
cat > "./$2" || exit
size=$(stat -c %s -- "./$2") || exit
[ "$size" = "$3" ] || { echo "cut short" >&2; exit 1; }
owner=$(stat -c %u:%g .) || exit
chown -- "$owner" "./$2" || exit
` + forceScript + ` || exit
if [ "$4" = 1 ]; then
	ln -T -- "./$2" "./$1" 2>/dev/null && exit 0
	if [ -e "./$1" ] || [ -L "./$1" ]; then exit 83; fi
	ln -T -- "./$2" "./$1"
	exit
fi
mv -f -T -- "./$2" "./$1"
`

const mkdirScript = scriptHead + `
way "./$1"
dir=./$1
[ -d "${dir%/*}" ] || exit 84
umask 077
if ! mkdir -- "./$1"; then
	if [ -e "./$1" ] || [ -L "./$1" ]; then exit 83; fi
	exit 1
fi
owner=$(stat -c %u:%g .) && mode=$(stat -c %a .) && chown -- "$owner" "./$1" && chmod -- "$mode" "./$1"
`

const rmdirScript = scriptHead + `
way "./$1"
rmdir --ignore-fail-on-non-empty -- "./$1" || { [ ! -e "./$1" ] && [ ! -L "./$1" ]; }
`
