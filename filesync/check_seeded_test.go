package filesync_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
)

// A store of blobs with damage of every kind in it, which a seed decides, and what a check must say of it.
type damaged struct {
	rnd   *rand.Rand
	files map[string][]byte // as they lie there
	want  []filesync.Want
	bad   map[string]filesync.Bad
}

func newDamaged(seed uint64, n int) *damaged {
	d := &damaged{rnd: rand.New(rand.NewPCG(seed, seed)), files: map[string][]byte{}, bad: map[string]filesync.Bad{}}
	kinds := []func(*damaged, *planted){
		(*damaged).deleted, (*damaged).truncated, (*damaged).emptied, (*damaged).swapped, (*damaged).flipped, (*damaged).appended,
		(*damaged).flippedGzip, (*damaged).cutGzip, (*damaged).garbageAfterGzip, (*damaged).zerosAfterGzip, (*damaged).otherGzip,
		(*damaged).doubleGzip, (*damaged).forbiddenGzip, (*damaged).onlyMagic,
	}
	sound := []func(*damaged, *planted){
		func(d *damaged, p *planted) {}, (*damaged).compressed, (*damaged).genuineGzip, (*damaged).inTwoMembers,
	}
	for i := range n {
		p := d.plant(i)
		if i%4 == 0 {
			kinds[i/4%len(kinds)](d, p)
		} else {
			sound[d.rnd.IntN(len(sound))](d, p)
		}
		d.write(p)
	}
	return d
}

// A planted is a file: what its row says, and what is there.
type planted struct {
	filesync.Want
	content []byte // of the row
	file    []byte // nil: none
	// size is what a reader of the file gets; less than 0: the file's own.
	size    int64
	damaged bool
}

func (d *damaged) plant(i int) *planted {
	p := &planted{content: d.text(i), size: -1}
	p.Name = fmt.Sprintf("%d/msg/%d/%d-%d.msg", i%3, i>>6, 256+i, i+1000)
	p.Gunzip, p.file = true, p.content
	return p
}

// text is a mail that no other blob has. Some are long and short when compressed.
func (d *damaged) text(i int) []byte {
	b := fmt.Appendf(nil, "Message-ID: <%d@lab.example>\r\n\r\n", i)
	for range 1 + d.rnd.IntN(400) {
		b = fmt.Appendf(b, "%x grüßt 🦆\r\n", d.rnd.Uint32())
	}
	if d.rnd.IntN(20) == 0 {
		b = append(b, bytes.Repeat([]byte("x"), 1<<20+d.rnd.IntN(1<<20))...)
	}
	return b
}

func (d *damaged) write(p *planted) {
	if d.rnd.IntN(2) == 0 {
		p.SHA256 = sum256(string(p.content))
	} else {
		p.SHA1 = sum1(string(p.content))
	}
	if d.rnd.IntN(2) == 0 {
		p.Size = int64(len(p.content))
	}
	if p.file != nil {
		d.files[p.Name] = p.file
	}
	d.want = append(d.want, p.Want)
	if p.size < 0 {
		p.size = int64(len(p.file))
	}
	bad := filesync.Bad{Name: p.Name, Why: filesync.BadDigest, Size: int64(len(p.file)), Content: p.size}
	switch {
	case !p.damaged:
		return
	case p.file == nil:
		bad.Why = filesync.Missing
	case p.Size != 0 && p.size != p.Size:
		bad.Why = filesync.BadSize
	}
	d.bad[p.Name] = bad
}

func (d *damaged) deleted(p *planted) { p.file, p.damaged = nil, true }
func (d *damaged) truncated(p *planted) {
	p.file, p.damaged = p.content[:1+d.rnd.IntN(len(p.content)-1)], true
}
func (d *damaged) emptied(p *planted)  { p.file, p.damaged = []byte{}, true }
func (d *damaged) appended(p *planted) { p.file, p.damaged = append(bytes.Clone(p.content), 'x'), true }
func (d *damaged) flipped(p *planted)  { p.file, p.damaged = d.flip(p.content, 0), true }

// swapped makes two blobs that have each other's content.
func (d *damaged) swapped(p *planted) {
	other := d.plant(len(d.want) + 1_000_000)
	p.file, other.file = other.content, p.content
	p.damaged, other.damaged = true, true
	d.write(other)
}

func (d *damaged) flip(b []byte, from int) []byte {
	b = bytes.Clone(b)
	b[from+d.rnd.IntN(len(b)-from)] ^= 1 << d.rnd.IntN(8)
	return b
}

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

const gzipHeader = 10 // a bit in it may be turned without harm

func (d *damaged) flippedGzip(p *planted) {
	p.file, p.damaged = d.flip(gzipped(p.content), gzipHeader), true
}

func (d *damaged) cutGzip(p *planted) {
	z := gzipped(p.content)
	p.file, p.damaged = z[:2+d.rnd.IntN(len(z)-2)], true
}

func (d *damaged) garbageAfterGzip(p *planted) {
	p.file, p.damaged = append(gzipped(p.content), "garbage"[:1+d.rnd.IntN(7)]...), true
}

func (d *damaged) zerosAfterGzip(p *planted) {
	p.file, p.damaged = append(gzipped(p.content), make([]byte, 1+d.rnd.IntN(600))...), true
}

func (d *damaged) otherGzip(p *planted) {
	other := d.text(2_000_000)
	p.file, p.size, p.damaged = gzipped(other), int64(len(other)), true
}

// doubleGzip was compressed twice.
func (d *damaged) doubleGzip(p *planted) {
	once := gzipped(p.content)
	p.file, p.size, p.damaged = gzipped(once), int64(len(once)), true
}

func (d *damaged) forbiddenGzip(p *planted) {
	p.file, p.Gunzip, p.damaged = gzipped(p.content), false, true
}

func (d *damaged) onlyMagic(p *planted) { p.file, p.damaged = []byte{0x1f, 0x8b}, true }

func (d *damaged) compressed(p *planted) { p.file = gzipped(p.content) }

// genuineGzip is an attachment that its user compressed.
func (d *damaged) genuineGzip(p *planted) {
	p.content = gzipped(p.content)
	p.file = p.content
}

func (d *damaged) inTwoMembers(p *planted) {
	half := len(p.content) / 2
	p.file = append(gzipped(p.content[:half]), gzipped(p.content[half:])...)
}

// TestCheckFindsSeededDamage plants damage in a few hundred blobs: all of it is found, for what it is, and nothing else.
func TestCheckFindsSeededDamage(t *testing.T) {
	run := func(t *testing.T, p place, seed uint64, n int) {
		d := newDamaged(seed, n)
		for name, content := range d.files {
			p.write(t, name, string(content))
		}
		got := map[string]filesync.Bad{}
		for bad, err := range filesync.Check(t.Context(), p.Tree, wants(d.want...), nil) {
			require.NoError(t, err)
			require.NotContains(t, got, bad.Name, "once is enough")
			got[bad.Name] = bad
		}
		require.Equal(t, d.bad, got, "seed %d", seed)
	}
	for _, s := range sides(t, 0) {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(s.name, " ", seed), func(t *testing.T) { run(t, newPlace(t, s), seed, 400) })
		}
	}
	for name, without := range map[string]string{"without perl": "perl", "without sha256sum and sha1sum": "sha256sum sha1sum", "without gzip": "perl gzip"} {
		t.Run(name, func(t *testing.T) {
			remote := remoteSide(t, 0)
			s := lab.Shared(t).Stores[0]
			remote.host = filesync.Remote(dial(t, s), &filesync.RemoteOptions{Prefix: []string{"env", "PATH=" + toolbox(t, without)}})
			run(t, newPlace(t, remote), 3, 120)
		})
	}
}

// toolbox is a directory with the tools that a host needs, but not those. The lab's hosts are this machine.
func toolbox(t *testing.T, without string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, tool := range []string{
		"sh", "find", "xargs", "tar", "cat", "head", "tail", "od", "tr", "wc", "stat", "nproc", "nice", "ionice", "gzip", "perl", "sha256sum", "sha1sum",
		"rm", "mv", "mkdir", "chown", "chmod", "sync", "ln",
	} {
		if slices.Contains(strings.Fields(without), tool) {
			continue
		}
		file, err := exec.LookPath(tool)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(file, filepath.Join(dir, tool)))
	}
	return dir
}
