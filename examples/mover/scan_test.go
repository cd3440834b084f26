package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/zimbra"
)

// A store's blobs, read and damaged from outside.
type blobStore struct {
	*lab.Store
	t *testing.T
}

func (s blobStore) read(file string) []byte {
	s.t.Helper()
	var b bytes.Buffer
	require.NoError(s.t, s.Run(s.t.Context(), []string{"cat", file}, nil, &b))
	return b.Bytes()
}

// write puts another file in its place, as its owner would: others that share the old one by a hard link keep it.
func (s blobStore) write(file string, content []byte) {
	s.t.Helper()
	require.NoError(s.t, s.Run(s.t.Context(), []string{"sh", "-c", `cat > "$1.new" && chown --reference="$1" "$1.new" && mv "$1.new" "$1"`, "sh", file}, bytes.NewReader(content), nil))
}

func (s blobStore) remove(file string) {
	s.t.Helper()
	require.NoError(s.t, s.Run(s.t.Context(), []string{"rm", file}, nil, nil))
}

func unzipped(t *testing.T, content []byte) []byte {
	if !bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		return content
	}
	z, err := gzip.NewReader(bytes.NewReader(content))
	require.NoError(t, err)
	content, err = io.ReadAll(z)
	require.NoError(t, err)
	return content
}

// TestScanAndAccept damages blobs on a real store. All damage is found, a move refuses it before anyone is locked out, carries what was
// accepted, and nothing that became worse since.
func TestScanAndAccept(t *testing.T) {
	l := lab.Shared(t)
	s := newSite(t, l)
	a, err := s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: "scan@lab.example", Items: 120})
	require.NoError(t, err)
	code, out, errs := s.run(t, "never", "scan", a.Name)
	require.Equal(t, exitDone, code, "%s%s", out, errs)
	require.Contains(t, out, "0 bad blobs")

	all, err := a.Blobs(t.Context())
	require.NoError(t, err)
	src := blobStore{l.Stores[0], t}
	want := map[string]string{} // path to why
	var plain, packed []lab.Blob
	for _, b := range all {
		if b.Table != "mail_item" || b.Size < 300 || len(b.Digest) == 0 {
			continue
		}
		if content := src.read(b.Path()); bytes.HasPrefix(content, []byte{0x1f, 0x8b}) && uint64(len(content)) != b.Size {
			packed = append(packed, b)
		} else {
			plain = append(plain, b)
		}
	}
	require.GreaterOrEqual(t, len(plain), 5, "the lab's mailbox has plain blobs")
	require.GreaterOrEqual(t, len(packed), 2, "and compressed ones")
	damage := func(b lab.Blob, why string, f func([]byte) []byte) {
		src.write(b.Path(), f(src.read(b.Path())))
		want[b.Path()] = why
	}
	src.remove(plain[0].Path())
	want[plain[0].Path()] = zimbra.BadMissing
	damage(plain[1], zimbra.BadEmpty, func([]byte) []byte { return nil })
	damage(plain[2], zimbra.BadShort, func(b []byte) []byte { return b[:len(b)-1] })
	damage(plain[3], zimbra.BadSize, func(b []byte) []byte { return append(b, 'x') })
	damage(plain[4], zimbra.BadDigest, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	damage(packed[0], zimbra.BadShort, func(b []byte) []byte { b[len(b)-5] ^= 1; return b })
	damage(packed[1], zimbra.BadDigest, func(b []byte) []byte { b = unzipped(t, b); b[0] ^= 1; return b })

	code, out, errs = s.run(t, "never", "scan", a.Name, "--json")
	require.Equal(t, exitProblems, code, errs)
	scan, err := zimbra.ReadScan(strings.NewReader(out))
	require.NoError(t, err)
	require.False(t, scan.Stopped)
	got := map[string]string{}
	for _, b := range scan.Bad {
		got[b.Path] = b.Why
	}
	require.Equal(t, want, got)

	list := func(lines []string) string {
		file := filepath.Join(t.TempDir(), "bad.jsonl")
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		return file
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	without := func(path string) []string {
		var left []string
		for _, line := range lines {
			if !strings.Contains(line, `"`+path+`"`) {
				left = append(left, line)
			}
		}
		require.Len(t, left, len(lines)-1)
		return left
	}
	move := func(file string) (int, zimbra.Report, string) {
		args := []string{"move", a.Name, "--to", l.Stores[1].Host, "--accept", "no-mailboxd", "--json"}
		if file != "" {
			args = append(args, "--accept-bad", file)
		}
		code, out, errs := s.run(t, "never", args...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		var r zimbra.Report
		require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
		return code, r, errs
	}

	code, some, _ := s.run(t, "never", "scan", a.Name, "--limit", "3")
	require.Equal(t, exitProblems, code)
	require.Contains(t, some, "3 bad blobs; stopped at --limit")

	code, _, errs = move("")
	require.Equal(t, exitProblems, code, "what is missing is found by the plan")
	require.Contains(t, errs, "missing-blob")
	code, _, errs = move(list(without(plain[0].Path())))
	require.Equal(t, exitProblems, code)
	require.Contains(t, errs, plain[0].Path())
	code, r, errs := move(list(without(plain[4].Path())))
	require.Equal(t, exitFailed, code, errs)
	require.Equal(t, zimbra.OutcomeRolledBack, r.Outcome)
	require.Zero(t, r.LockedSeconds, "nobody was locked out")
	require.Contains(t, errs, "digest")

	whole := list(lines)
	saved := src.read(plain[3].Path())
	src.write(plain[3].Path(), append(bytes.Clone(saved), 'y'))
	code, r, errs = move(whole)
	require.Equal(t, exitFailed, code, "it is not what was accepted any more")
	require.Zero(t, r.LockedSeconds)
	require.Contains(t, errs, "mover scan")
	src.write(plain[3].Path(), saved)

	other := s.account(t, 25)
	code, some, _ = s.run(t, "never", "plan", other.Name, "--to", l.Stores[1].Host, "--accept", "no-mailboxd", "--accept-bad", whole)
	require.Equal(t, exitProblems, code)
	require.Contains(t, some, "bad-blobs")

	code, r, errs = move(whole)
	require.Equal(t, exitDone, code, errs)
	require.Len(t, r.Bad, len(want))
	require.EqualValues(t, len(want), r.Checked.Accepted)
	dst := blobStore{l.Stores[1], t}
	var wrong []string // besides what was accepted
	for _, line := range strings.Split(fmt.Sprint(dst.CheckBlobs(t.Context(), uint32(r.MailboxTo))), "\n") {
		known := false
		for path := range want {
			if strings.Contains(line, "/"+filepath.Base(path)) {
				known = true
				delete(want, path)
			}
		}
		if !known {
			wrong = append(wrong, line)
		}
	}
	require.Empty(t, wrong, "the other blobs are right")
	require.Empty(t, want, "these are as bad as they were")
}
