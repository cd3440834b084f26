package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

// needsLab skips, loudly, where no lab may or can run; where one was asked for by name and cannot run the test fails.
func needsLab(t *testing.T) {
	t.Helper()
	err := lab.Available(t.Context(), "")
	switch {
	case err == nil:
	case errors.Is(err, lab.ErrOff), errors.Is(err, lab.ErrUnavailable) && os.Getenv(lab.EnvBackend) == "":
		lab.Note("*** integration tests SKIPPED: %v", err)
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// An output calls seen when it was given a text.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen func()
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	if o.seen != nil && strings.Contains(o.buf.String(), o.text) {
		o.seen()
		o.seen = nil
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// TestDemo runs the demo, looks at its report, and moves a second mailbox with the configuration that --keep leaves.
func TestDemo(t *testing.T) {
	needsLab(t)
	mover := filepath.Join(t.TempDir(), "mover")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", mover, "../mover").CombinedOutput()
	require.NoError(t, err, "%s", built)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept, ended := make(chan struct{}), make(chan error)
	out, progress := &output{text: "mover rollback", seen: func() { close(kept) }}, &output{}
	go func() { ended <- run(ctx, []string{"--items", "40", "--keep"}, out, progress) }()
	select {
	case <-kept:
	case err := <-ended:
		t.Fatalf("ended before its time: %v\n%s%s", err, progress, out)
	}
	report := out.String()
	for _, line := range []string{
		`alice@lab\.example, moved from mail1\.lab to mail2\.lab`,
		`mailbox +1230 at mail1\.lab, 1052703 at mail2\.lab`,
		`writer +[1-9]\d* messages delivered, then \d+ times deferred`,
		`locked out +\d+\.\d\d s .*`,
		`  plan +\d+\.\d\d s`,
		`  presync +\d+\.\d\d s .*`,
		`  cutover +\d+\.\d\d s .*`,
		`  finish +\d+\.\d\d s .*`,
		`  mboxgroup\.mail_item +(\d+) +([0-9a-f]{16}) +(\d+) +([0-9a-f]{16})`,
		`  zimbra\.mailbox +1 +[0-9a-f]{16} +1 +[0-9a-f]{16}`,
		`  kept    25 tables have the same rows on both sides, none is empty`,
		`  kept    \d+ blobs are at their place at mail2\.lab, with the size and digest of their rows`,
		`  kept    [1-9]\d* messages were delivered before the lock, each of them is at mail2\.lab`,
		`  kept    neighbours at mail2\.lab: \d+ tables and volumes unchanged`,
		`moved: everything as promised`,
	} {
		require.Regexp(t, regexp.MustCompile(`(?m)^`+line+`$`), report)
	}
	require.NotContains(t, report, "BROKEN")
	require.Contains(t, progress.String(), "alice@lab.example is locked out from here")

	config := regexp.MustCompile(`\S+/mover\.toml`).FindString(report)
	for _, step := range []struct{ args, want string }{
		{"status", "alice@lab.example  moved from mail1.lab to mail2.lab"},
		{"move bob@lab.example --to mail2.lab --accept no-mailboxd", "bob@lab.example: moved from mail1.lab to mail2.lab"},
	} {
		said, err := exec.CommandContext(t.Context(), mover, append(strings.Fields(step.args), "--config", config)...).CombinedOutput()
		require.NoError(t, err, "%s: %s", step.args, said)
		require.Contains(t, string(said), step.want)
	}
	cancel()
	require.NoError(t, <-ended, "--keep ends with Ctrl-C")
	_, err = os.Stat(filepath.Dir(filepath.Dir(config)))
	require.ErrorIs(t, err, os.ErrNotExist, "the lab's directory goes with it")
}

// TestStopped presses Ctrl-C when the user is locked out.
func TestStopped(t *testing.T) {
	needsLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	progress := &output{text: "alice@lab.example is locked out from here", seen: cancel}
	out := &output{}
	err := run(ctx, []string{"--items", "25"}, out, progress)
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, progress.String(), "alice@lab.example is let in again")
	require.Empty(t, out.String(), "no report of half a move")
}

// TestBroken breaks promises after the move, and wants each of them named.
func TestBroken(t *testing.T) {
	needsLab(t)
	l, err := lab.Start(t.Context(), &lab.Options{Log: os.Stderr})
	require.NoError(t, err)
	defer l.Close()
	c, err := connect(t.Context(), l)
	require.NoError(t, err)
	defer c.close()
	d := newDemo(l, c, newTalk(io.Discard))
	require.NoError(t, d.fill(t.Context(), 25))
	require.NoError(t, d.remember(t.Context()))
	require.NoError(t, d.move(t.Context()))

	there, err := d.account.At(t.Context(), d.dst)
	require.NoError(t, err)
	exec := func(s *lab.Store, format string, args ...any) {
		t.Helper()
		_, err := s.RootDB(t).ExecContext(t.Context(), fmt.Sprintf(format, args...))
		require.NoError(t, err)
	}
	exec(d.dst, "UPDATE %s.tag SET color = COALESCE(color, 0) + 1 WHERE mailbox_id = %d ORDER BY id LIMIT 1", lab.GroupDatabase(there.Group), there.MailboxID)
	_, _, err = d.dst.RemoveBlob(t.Context(), there)
	require.NoError(t, err)
	blobs, err := d.account.Blobs(t.Context())
	require.NoError(t, err)
	// A new file: the blob itself may be a neighbour's too, by another name.
	require.NoError(t, d.src.Run(t.Context(), []string{"cp", blobs[0].Path(), blobs[0].Path() + ".copy"}, nil, nil))
	exec(d.dst, "UPDATE zimbra.mailbox SET new_messages = new_messages + 1 WHERE id <> %d LIMIT 1", there.MailboxID)
	exec(d.src, "SET GLOBAL innodb_lock_wait_timeout = 77")
	d.writer.delivered++

	require.NoError(t, d.check(t.Context()))
	var broken []string
	for _, c := range d.checks {
		if c.wrong != "" {
			broken = append(broken, regexp.MustCompile(`\d+`).ReplaceAllString(c.what, "N"))
		}
	}
	require.Equal(t, []string{
		"N tables have the same rows on both sides, none is empty",
		"N blobs are at their place at mailN.lab, with the size and digest of their rows",
		"N messages were delivered before the lock, each of them is at mailN.lab",
		"the mailbox at mailN.lab is byte for byte what it was when it was locked",
		"global variables of mailN.lab: N unchanged",
		"neighbours at mailN.lab: N tables and volumes unchanged",
	}, broken)
	require.Equal(t, len(broken), d.broken())
	var out bytes.Buffer
	d.print(&out)
	require.Contains(t, out.String(), "  BROKEN  25 tables have the same rows on both sides, none is empty\n          not so: mboxgroup.tag\n")
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"--items", "0"}, {"--items", "many"}, {"--backend", "vm"}, {"--faster"}, {"alice"}} {
		var out bytes.Buffer
		err := run(t.Context(), args, &out, io.Discard)
		require.ErrorIs(t, err, errUsage, "%q", args)
		require.Empty(t, out.String(), "%q", args)
	}
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--help"}, &out, io.Discard))
	for _, flag := range []string{"--items", "--backend", "--keep"} {
		require.Contains(t, out.String(), flag)
	}
}
