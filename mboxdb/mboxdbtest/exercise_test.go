package mboxdbtest_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/mboxdb/mboxdbtest"
)

const envBad = "ZMLIFT_BAD_REWRITERS"

var volumes = map[mboxdb.VolumeID]mboxdb.VolumeID{1: 5, 3: 6}

// bad are functions that rewrite in a wrong way, and the tests of the suite that must notice.
var bad = map[string]struct {
	wrong   func(r mboxdbtest.Rewriter) rewriting
	notices []string
}{
	"nothing": {func(mboxdbtest.Rewriter) rewriting {
		return func(_ context.Context, dst io.Writer, src io.Reader) error { _, err := io.Copy(dst, src); return err }
	}, []string{"the_function_rewrites", "the_function_passes_errors_on", "copy", "backup"}},
	"takes an error for the end": {func(r mboxdbtest.Rewriter) rewriting {
		return func(ctx context.Context, dst io.Writer, src io.Reader) error {
			b, _ := io.ReadAll(src)
			return r.Rewrite(ctx, dst, bytes.NewReader(b))
		}
	}, []string{"the_function_passes_errors_on"}},
	"every id": {func(r mboxdbtest.Rewriter) rewriting { // inside of texts too, as sed does
		return func(ctx context.Context, dst io.Writer, src io.Reader) error {
			b, err := io.ReadAll(src)
			if err != nil {
				return err
			}
			var out bytes.Buffer
			if err := r.Rewrite(ctx, &out, bytes.NewReader(b)); err != nil {
				return err
			}
			_, err = dst.Write(bytes.ReplaceAll(out.Bytes(), []byte(r.From.ID.String()), []byte(r.To.ID.String())))
			return err
		}
	}, []string{"the_function_rewrites", "copy", "copy_of_what_changes", "backup"}},
	"no locators": {func(r mboxdbtest.Rewriter) rewriting {
		r.Volumes = map[mboxdb.VolumeID]mboxdb.VolumeID{1: 1, 3: 3}
		return r.Rewrite
	}, []string{"the_function_rewrites", "copy", "backup"}},
	"no empty texts": {func(r mboxdbtest.Rewriter) rewriting {
		r.Edit = func(_ string, row []string) []string {
			for i, v := range row {
				if v == "''" {
					row[i] = "NULL"
				}
			}
			return row
		}
		return r.Rewrite
	}, []string{"the_function_rewrites", "copy", "backup"}},
}

// The suite must notice what is wrong. It fails then, so it runs in a process of its own: this test again, with envBad.
func TestExerciseNotices(t *testing.T) {
	s := newStores(t)
	if os.Getenv(envBad) != "" {
		for name, b := range bad {
			t.Run(name, func(t *testing.T) {
				mboxdbtest.Exercise(t, s.fixture(func(to, from mboxdb.Mailbox) (rewriting, error) {
					return b.wrong(mboxdbtest.Rewriter{To: to, From: from, Volumes: volumes}), nil
				}))
			})
		}
		return
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), envBad+"=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit, out.String())
	for name, b := range bad {
		name = strings.ReplaceAll(name, " ", "_")
		for _, test := range b.notices {
			require.Contains(t, out.String(), "--- FAIL: "+t.Name()+"/"+name+"/"+test+" ", name)
		}
		require.Contains(t, out.String(), "--- PASS: "+t.Name()+"/"+name+"/the_servers_fit ", "%s: what is right", name)
	}
}
