package filesync_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
)

func wants(ws ...filesync.Want) iter.Seq2[filesync.Want, error] {
	return func(yield func(filesync.Want, error) bool) {
		for _, w := range ws {
			if !yield(w, nil) {
				return
			}
		}
	}
}

func zip(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(s))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.String()
}

func sum256(s string) []byte { d := sha256.Sum256([]byte(s)); return d[:] }
func sum1(s string) []byte   { d := sha1.Sum([]byte(s)); return d[:] }

func check(t *testing.T, p place, ws ...filesync.Want) map[string]filesync.Why {
	t.Helper()
	bad := map[string]filesync.Why{}
	for b, err := range filesync.Check(t.Context(), p.Tree, wants(ws...), nil) {
		require.NoError(t, err)
		bad[b.Name] = b.Why
	}
	return bad
}

func TestCheck(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		text := strings.Repeat("mail ", 1000)
		size := int64(len(text))
		other := strings.Repeat("liam ", 1000)
		for name, content := range map[string]string{
			"raw": text, "raw1": text, "sized": text, "exists": text, "short": text[1:], "other": other, "other1": other, "empty": "", "notempty": "x",
			"gz": zip(t, text), "gz1": zip(t, text), "gzother": zip(t, other), "gzshort": zip(t, text[1:]), "gzcut": zip(t, text)[:30],
			"gzlong": zip(t, text+"x"), "genuine": zip(t, text), "forbidden": zip(t, text), "unsized": zip(t, text),
		} {
			p.write(t, name, content)
		}
		genuine := p.read(t, "genuine")
		ws := []filesync.Want{
			{Name: "raw", Size: size, SHA256: sum256(text)},
			{Name: "raw1", Size: size, SHA1: sum1(text), Gunzip: true},
			{Name: "sized", Size: size},
			{Name: "exists"},
			{Name: "short", Size: size, SHA256: sum256(text)},
			{Name: "other", Size: size, SHA256: sum256(text), Gunzip: true},
			{Name: "other1", Size: size, SHA1: sum1(text)},
			{Name: "empty", SHA256: sum256("")},
			{Name: "notempty", SHA256: sum256("")},
			{Name: "gz", Size: size, SHA256: sum256(text), Gunzip: true},
			{Name: "gz1", Size: size, SHA1: sum1(text), Gunzip: true},
			{Name: "gzother", Size: size, SHA256: sum256(text), Gunzip: true},
			{Name: "gzshort", Size: size, SHA256: sum256(text), Gunzip: true},
			{Name: "gzlong", Size: size, SHA256: sum256(text), Gunzip: true},
			{Name: "gzcut", Size: size, SHA256: sum256(text), Gunzip: true},
			{Name: "genuine", Size: int64(len(genuine)), SHA256: sum256(genuine), Gunzip: true},
			{Name: "forbidden", Size: size, SHA256: sum256(text)},
			{Name: "unsized", SHA256: sum256(text), Gunzip: true},
			{Name: "absent", Size: 1},
			{Name: "no/such/directory", SHA256: sum256(text)},
		}
		for _, name := range hostile {
			p.write(t, "h/"+name, name)
			ws = append(ws, filesync.Want{Name: "h/" + name, SHA256: sum256(name), Size: int64(len(name))})
		}
		require.Equal(t, map[string]filesync.Why{
			"short": filesync.BadSize, "other": filesync.BadDigest, "other1": filesync.BadDigest, "notempty": filesync.BadDigest,
			"gzother": filesync.BadDigest, "gzshort": filesync.BadSize, "gzlong": filesync.BadSize, "gzcut": filesync.BadSize,
			"forbidden": filesync.BadSize, "absent": filesync.Missing, "no/such/directory": filesync.Missing,
		}, check(t, p, ws...))
	})
}

// TestCheckNamesTwice has several rows name one file: each is judged for itself, wherever digests are computed.
func TestCheckNamesTwice(t *testing.T) {
	all := sides(t, 0)
	for _, without := range []string{"perl", "sha256sum sha1sum"} {
		far := remoteSide(t, 0)
		far.name += " without " + without
		far.host = filesync.Remote(dial(t, lab.Shared(t).Stores[0]), &filesync.RemoteOptions{Prefix: []string{"env", "PATH=" + toolbox(t, without)}})
		all = append(all, far)
	}
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			p := newPlace(t, s)
			p.write(t, "a", "x")
			p.write(t, "z", zip(t, "x"))
			require.NoError(t, os.Link(p.dir+"/a", p.dir+"/l"))
			var got []filesync.Bad
			for b, err := range filesync.Check(t.Context(), p.Tree, wants(
				filesync.Want{Name: "a", SHA256: sum256("y")}, filesync.Want{Name: "a", SHA256: sum256("x")}, filesync.Want{Name: "a", SHA1: sum1("x")},
				filesync.Want{Name: "a", SHA1: sum1("z")}, filesync.Want{Name: "a", Size: 2}, filesync.Want{Name: "a", Size: 1},
				filesync.Want{Name: "l", SHA256: sum256("x")}, filesync.Want{Name: "l", SHA256: sum256("y")},
				filesync.Want{Name: "z", SHA256: sum256("x"), Gunzip: true}, filesync.Want{Name: "z", SHA256: sum256("y"), Gunzip: true},
				filesync.Want{Name: "z", SHA256: sum256(zip(t, "x")), Gunzip: true},
				filesync.Want{Name: "gone", SHA256: sum256("x")}, filesync.Want{Name: "gone", SHA256: sum256("y"), Gunzip: true},
			), nil) {
				require.NoError(t, err)
				got = append(got, b)
			}
			require.ElementsMatch(t, []filesync.Bad{
				{Name: "a", Why: filesync.BadDigest, Size: 1, Content: 1}, {Name: "a", Why: filesync.BadDigest, Size: 1, Content: 1},
				{Name: "a", Why: filesync.BadSize, Size: 1, Content: 1}, {Name: "l", Why: filesync.BadDigest, Size: 1, Content: 1},
				{Name: "z", Why: filesync.BadDigest, Size: int64(len(zip(t, "x"))), Content: 1},
				{Name: "gone", Why: filesync.Missing}, {Name: "gone", Why: filesync.Missing},
			}, got)
		})
	}
}

func TestDigests(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		p.write(t, "d/a", "x")
		p.write(t, "d/z", zip(t, "x"))
		got, err := filesync.Digests(t.Context(), p.Tree, []string{"d/a", "d/b", "d/z", "e/f"}, nil)
		require.NoError(t, err)
		require.Equal(t, map[string][]byte{"d/a": sum256("x"), "d/z": sum256(zip(t, "x"))}, got)
		_, err = filesync.Digests(t.Context(), p.Tree, []string{"../a"}, nil)
		var name *filesync.NameError
		require.ErrorAs(t, err, &name)
		_, err = filesync.Digests(t.Context(), p.Tree, []string{"d"}, nil)
		var kind *filesync.FileTypeError
		require.ErrorAs(t, err, &kind)
	})
}

// TestCheckOfBrokenDisks reads what no disk gives: the first page of a process's memory is an input/output error.
func TestCheckOfBrokenDisks(t *testing.T) {
	remote := remoteSide(t, 0)
	for name, tree := range map[string]filesync.Tree{
		"local":  filesync.Local().Tree("/proc/self"),
		"remote": remote.host.Tree(fmt.Sprintf("/proc/%d", os.Getpid())),
	} {
		t.Run(name, func(t *testing.T) {
			whys := map[string][]filesync.Why{}
			for b, err := range filesync.Check(t.Context(), tree, wants(
				filesync.Want{Name: "cmdline", SHA256: sum256("x")}, filesync.Want{Name: "mem", SHA256: sum256("x")},
				filesync.Want{Name: "mem", SHA1: sum1("x"), Size: 7, Gunzip: true}, filesync.Want{Name: "gone", SHA256: sum256("x")},
			), nil) {
				require.NoError(t, err)
				whys[b.Name] = append(whys[b.Name], b.Why)
			}
			require.Equal(t, map[string][]filesync.Why{
				"cmdline": {filesync.BadDigest}, "mem": {filesync.Unreadable, filesync.Unreadable}, "gone": {filesync.Missing},
			}, whys)
		})
	}
}

// TestCheckSeesACutAnswer has the far side's answer end early, at every line.
func TestCheckSeesACutAnswer(t *testing.T) {
	remote := remoteSide(t, 0)
	run := &cutRunner{Runner: dial(t, lab.Shared(t).Stores[0])}
	remote.host = filesync.Remote(run, nil)
	p := newPlace(t, remote)
	p.write(t, "a", "x")
	p.write(t, "z", zip(t, "x"))
	for run.keep = range 1000 {
		run.cut = false
		var got error
		for bad, err := range filesync.Check(t.Context(), p.Tree, wants(
			filesync.Want{Name: "a", SHA256: sum256("x")}, filesync.Want{Name: "z", SHA256: sum256("x"), Gunzip: true},
		), nil) {
			if err == nil {
				t.Errorf("cut after %d bytes: %v", run.keep, bad)
			}
			got = err
		}
		if !run.cut {
			require.NoError(t, got)
			require.Greater(t, run.keep, 100)
			return
		}
		require.Error(t, got, "cut after %d bytes", run.keep)
	}
}

// A cutRunner lets only so many bytes of an answer through, and then says that all is well.
type cutRunner struct {
	filesync.Runner
	keep int
	cut  bool
}

func (r *cutRunner) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var whole bytes.Buffer
	if err := r.Runner.Run(ctx, argv, stdin, &whole, stderr); err != nil {
		return err
	}
	if whole.Len() > r.keep {
		r.cut = true
		whole.Truncate(r.keep)
	}
	_, err := stdout.Write(whole.Bytes())
	return err
}

func TestCheckPassesErrorsOn(t *testing.T) {
	broken := errors.New("the query was killed")
	each(t, func(t *testing.T, p place) {
		p.write(t, "a", "x")
		var got error
		for _, err := range filesync.Check(t.Context(), p.Tree, func(yield func(filesync.Want, error) bool) {
			_ = yield(filesync.Want{Name: "a"}, nil) && yield(filesync.Want{}, broken)
		}, nil) {
			got = err
		}
		require.ErrorIs(t, got, broken)
		for _, err := range filesync.Check(t.Context(), p.Tree, wants(filesync.Want{Name: "../a"}), nil) {
			var name *filesync.NameError
			require.ErrorAs(t, err, &name)
		}
		n := 0
		for range filesync.Check(t.Context(), p.Tree, wants(filesync.Want{Name: "b"}, filesync.Want{Name: "c"}), nil) {
			n++
			break
		}
		require.Equal(t, 1, n, "a caller may stop")
	})
}
