package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun compares on small dumps: every program gets through, every line that others read is there, and nothing stays behind.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-mb", "2", "-rounds", "2", "-long", "20"}, &out))
	for _, form := range []string{"multirow", "onerow"} {
		for _, other := range []string{"sed", "python", "cat"} {
			for _, kind := range []string{"", "-cpu"} {
				require.Regexp(t, `(?m)^RATIO rewrite-`+other+"-"+form+kind+` \d+\.\d\d$`, out.String())
			}
		}
	}
	require.Regexp(t, regexp.MustCompile(`memory: \d+\.\d MiB at most for a dump of 2\d MB`), out.String())
	for _, dir := range []string{"/dev/shm", os.TempDir()} {
		left, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("bench-rewrite-%d-*", os.Getpid())))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
