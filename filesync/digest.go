package filesync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A digester is a host whose files are not read for a digest: it tells digests itself.
type digester interface {
	// sums yields the digests of the named files, those that exist. With 0 workers the host decides how many.
	sums(ctx context.Context, root, algo string, workers int, names []string, yield func(name string, sum []byte) error) error
	// unzip yields what gzip makes of the named files by their indices in names, those that exist. Without an algorithm only the sizes mean something.
	unzip(ctx context.Context, root, algo string, workers int, names []string, yield func(i int, u unzipped) error) error
}

// An unzipped is what a file holds compressed.
type unzipped struct {
	is   gzipKind
	size int64
	sum  []byte
}

type gzipKind int

const (
	_            gzipKind = iota // no such file
	isGzip                       // nothing but gzip, with size and digest of what it holds
	isNoGzip                     // something else, or gzip that is damaged, cut short or followed by something
	isOddGzip                    // this host's tools cannot tell
	isUnreadable                 // the disk does not give it
)

const (
	maxWorkers = 8    // where Options.Workers leaves it to us; workersScript knows it too
	sumsBatch  = 2048 // names that one process gets; a new process costs as much as twenty blobs
	unzipBatch = 256
	// maxShared is the longest line that several processes may write to one pipe without mixing (PIPE_BUF is 4096).
	maxShared = 4000
)

// sumsScript starts $2 processes of $1 at a time, $3 names each. Coreutils write a digest's line in one piece for just this use.
const sumsScript = scriptHead + `
sum=$1 n=$2 many=$3
command -v "$sum" >/dev/null || exit 87
` + workersScript + `
xargs -0 -r -P "$n" -n "$many" "$sum" -b --
rc=$?
[ $rc = 0 ] || [ $rc = 123 ] || exit $rc
printf '` + endMark + `\n'
`

// workersScript sets n, if it is 0, to half the number of processors, four at most: the other half is for another chunk.
const workersScript = `
if [ "$n" = 0 ]; then
	n=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
	n=$(((n + 1) / 2))
	[ "$n" -le 4 ] || n=4
fi
`

// unzipScript prints a line for each file of which it reads number:name: the number, then the size and the digest of what it holds, or "-"
// when it is no gzip file, "!" when it cannot be read (EIO, EBADMSG, EUCLEAN), or "?". Perl does that in one process for many files; the other way starts a dozen for each. $1 is the command for a
// digest, $4 its name in perl.
const unzipScript = scriptHead + `
sum=$1 n=$2 many=$3
command -v "$sum" >/dev/null || exit 87
` + workersScript + `
if perl -MDigest::SHA -MCompress::Raw::Zlib -e 1 2>/dev/null; then
	xargs -0 -r -P "$n" -n "$many" perl -e '` + unzipPerl + `' "$4" || exit
else
	command -v gzip >/dev/null || exit 87
	xargs -0 -r -P "$n" -n "$many" sh -c '` + unzipShell + `' "$sum" || exit
fi
printf '` + endMark + `\n'
`

// unzipPerl has no single quote in it.
const unzipPerl = `
use strict;
use Digest::SHA;
use Compress::Raw::Zlib;
my $algorithm = shift;
for my $arg (@ARGV) {
	my ($i, $name) = $arg =~ /\A(\d+):(.*)\z/s or die "unexpected argument";
	my $file;
	if (!open($file, "<:raw", $name)) {
		next if $! == 2 || $! == 20;
		die "$name: $!\n";
	}
	my ($size, $digest, $fits, $first) = (0, Digest::SHA->new($algorithm), 1, 1);
	my ($z, $in);
	while ($fits) {
		my $n = sysread($file, $in, 65536);
		if (!defined $n) {
			die "$name: $!\n" if $! != 5 && $! != 74 && $! != 117;
			$fits = -1;
			last;
		}
		last if !$n;
		$fits = 0 if $first && substr($in, 0, 2) ne "\x1f\x8b";
		$first = 0;
		my $out = "";
		while ($fits && (length $in || $z && length $out)) { # some output may be left when the input is used up
			$z ||= Compress::Raw::Zlib::Inflate->new(-WindowBits => WANT_GZIP, -LimitOutput => 1, -Bufsize => 65536);
			my $status = $z->inflate($in, $out);
			if ($status != Z_OK && $status != Z_BUF_ERROR && $status != Z_STREAM_END) {
				$fits = 0;
				last;
			}
			$digest->add($out);
			$size += length $out;
			undef $z if $status == Z_STREAM_END;
		}
	}
	my $line = $fits < 0 ? "$i !\n" : $fits && !$first && !$z ? "$i $size " . $digest->hexdigest . "\n" : "$i -\n";
	syswrite(STDOUT, $line) == length $line or die "standard output: $!\n";
}
`

// unzipShell has no single quote in it. Gzip takes zeros behind its data for padding, which is seen from the last four bytes: they are the size.
const unzipShell = `
magic=$(printf "\037\213")
for a; do
	i=${a%%:*} f=${a#*:}
	[ -e "$f" ] || continue
	if [ "$(head -c 2 <"$f" | tr -d "\000")" != "$magic" ]; then
		echo "$i -"
		continue
	fi
	if ! gzip -dc <"$f" >/dev/null 2>&1; then
		echo "$i -"
		continue
	fi
	size=$(gzip -dc <"$f" 2>/dev/null | wc -c) || exit 255
	digest=$(gzip -dc <"$f" 2>/dev/null | "$0") || exit 255
	last=$(tail -c 4 <"$f" | od -An -tu4) || exit 255
	if [ $((last)) = $((size % 4294967296)) ]; then
		echo "$i $((size)) ${digest%% *}"
	else
		echo "$i ?"
	fi
done
`

func (h *remoteHost) sums(ctx context.Context, root, algo string, workers int, names []string, yield func(string, []byte) error) error {
	var shared, alone []string
	for _, name := range names {
		if 2*len(name) > maxShared { // escaped it may be twice as long
			alone = append(alone, name)
		} else {
			shared = append(shared, name)
		}
	}
	f := func(rec []byte) error {
		name, sum, err := parseSum(string(rec))
		if err != nil {
			return err
		}
		return yield(name, sum)
	}
	if len(shared) > 0 || len(alone) == 0 {
		if err := h.digests(ctx, sumsScript, root, algo, workers, sumsBatch, nameReader(shared), f); err != nil {
			return err
		}
	}
	if len(alone) == 0 {
		return nil
	}
	return h.digests(ctx, sumsScript, root, algo, 1, sumsBatch, nameReader(alone), f)
}

// digests runs one of the two scripts. All names were looked at when it returns without an error.
func (h *remoteHost) digests(ctx context.Context, script, root, algo string, workers, batch int, names io.Reader, f func([]byte) error) error {
	out := &records{sep: '\n', f: f}
	errs := &lines{accept: isAbsence}
	args := []string{algo + "sum", strconv.Itoa(workers), strconv.Itoa(batch), strings.TrimPrefix(algo, "sha")}
	err := h.exec(ctx, script, root, nil, args, names, out, errs)
	errs.close()
	if err == nil && len(errs.other.b) > 0 {
		said := errs.other.String()
		for _, reason := range []string{": Input/output error", ": Bad message", ": Structure needs cleaning"} { // EIO, EBADMSG, EUCLEAN
			if strings.HasSuffix(said, reason) {
				return fmt.Errorf("filesync: %s: %s: %w", root, said, errBroken)
			}
		}
		return fmt.Errorf("filesync: %s: %s", root, said)
	}
	return out.close(root, describe(root, err, errs.other.String()))
}

// errBroken is what a digest command says of a file that the disk does not give.
var errBroken = errors.New("some files cannot be read")

// parseSum reads a line of sha256sum: the digest, two characters, the name. A backslash in front says that the name is escaped.
func parseSum(line string) (name string, sum []byte, err error) {
	digest, name, ok := strings.Cut(line, " ")
	rest, escaped := strings.CutPrefix(digest, `\`)
	if escaped {
		digest = rest
	}
	if sum, err = hex.DecodeString(digest); err != nil || !ok || len(name) < 2 {
		return "", nil, fmt.Errorf("filesync: unexpected output of a digest command: %q", line)
	}
	name = name[1:] // the asterisk of binary mode
	if escaped {
		name = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(name)
	}
	return strings.TrimPrefix(name, "./"), sum, nil
}

func (h *remoteHost) unzip(ctx context.Context, root, algo string, workers int, names []string, yield func(int, unzipped) error) error {
	if algo == "" {
		algo = "sha1"
	}
	var numbered bytes.Buffer
	for i, name := range names {
		fmt.Fprintf(&numbered, "%d:./%s\x00", i, name)
	}
	return h.digests(ctx, unzipScript, root, algo, workers, unzipBatch, &numbered, func(rec []byte) error {
		i, u, err := parseUnzipped(string(rec))
		if err == nil && i >= len(names) {
			err = fmt.Errorf("filesync: %s: a digest command told of file %d of %d", root, i, len(names))
		}
		if err != nil {
			return err
		}
		return yield(i, u)
	})
}

func parseUnzipped(line string) (i int, u unzipped, err error) {
	f := strings.Split(line, " ")
	n, err := strconv.ParseUint(f[0], 10, 31)
	switch {
	case err != nil:
	case len(f) == 2 && f[1] == "-":
		return int(n), unzipped{is: isNoGzip}, nil
	case len(f) == 2 && f[1] == "!":
		return int(n), unzipped{is: isUnreadable}, nil
	case len(f) == 2 && f[1] == "?":
		return int(n), unzipped{is: isOddGzip}, nil
	case len(f) == 3:
		u = unzipped{is: isGzip}
		if u.size, err = strconv.ParseInt(f[1], 10, 64); err == nil {
			u.sum, err = hex.DecodeString(f[2])
		}
		if err == nil {
			return int(n), u, nil
		}
	}
	return 0, u, fmt.Errorf("filesync: unexpected output of a digest command: %q", line)
}

// Digests returns the SHA-256 of files as they lie there, compressed or not, by their names; what does not exist is not in it. It is for a
// few thousand names at a time. Like [Check] it computes where the files are, and changes nothing.
func Digests(ctx context.Context, t Tree, names []string, opts *Options) (map[string][]byte, error) {
	opts = opts.or()
	if err := errors.Join(t.check(), opts.check()); err != nil {
		return nil, err
	}
	c := newChecker(t, opts)
	var ws []Want
	for _, name := range names {
		if err := checkName(name); err != nil {
			return nil, err
		}
		ws = append(ws, Want{Name: name})
	}
	found, err := c.stat(ctx, ws)
	if err != nil {
		return nil, err
	}
	var there []string
	for _, name := range names {
		switch e, ok := found[name]; {
		case !ok:
		case !e.Mode.IsRegular():
			return nil, &FileTypeError{t.path(name), e.Mode, "a regular file"}
		default:
			there = append(there, name)
		}
	}
	got := map[string][]byte{}
	if c.far != nil {
		err := c.digesting(func(workers int) error {
			return c.far.sums(ctx, t.root, "sha256", workers, there, func(name string, sum []byte) error { got[name] = sum; return nil })
		})
		if !c.noCommand(err) {
			return got, err
		}
	}
	err = t.h.read(ctx, t.root, there, func(i int, _ Entry, content io.Reader) error {
		d := sha256.New()
		if _, err := io.Copy(d, c.limit.reader(ctx, content)); err != nil {
			return err
		}
		got[there[i]] = d.Sum(nil)
		return nil
	})
	return got, err
}
