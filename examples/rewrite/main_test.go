package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/sqlrewrite"
)

const (
	rules = `{"rules":[{"database":"mboxgroup34","table":"tag","column":"mailbox_id","map":{"1234":"91234"}}],"databases":{"mboxgroup34":"mboxgroup7"},
	"context":{"columns":{"tag":["mailbox_id","name"]}}}`
	dump   = "USE `mboxgroup34`;\nINSERT INTO `tag` VALUES (1234,'1234'),(1234,'it\\'s');\n"
	want   = "USE `mboxgroup7`;\nINSERT INTO `tag` VALUES (91234,'1234'),(91234,'it\\'s');\n"
	last   = "-- Dump completed on 2026-11-24 12:00:00\n"
	misses = `the input has no closing line ("-- Dump completed")`
)

// file makes a file and returns its name.
func file(t testing.TB, content string) string {
	name := filepath.Join(t.TempDir(), "rules.json")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// program builds the program and returns its name.
func program(t testing.TB) string {
	name := filepath.Join(t.TempDir(), "rewrite")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", name, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return name
}

// TestProgram runs the program as a shell does.
func TestProgram(t *testing.T) {
	bin, name := program(t), file(t, rules)
	for _, c := range []struct {
		what, in     string
		args         []string
		code         int
		out, message string // message is "" for silence
	}{
		{"whole", dump + last, []string{"-rules", name}, 0, want + last, ""},
		{"whole, and it must be", dump + last, []string{"--rules", name, "-complete"}, 0, want + last, ""},
		{"no closing line", dump, []string{"-rules", name}, 0, want, "rewrite: warning: " + misses},
		{"no closing line, and it must be there", dump, []string{"-rules", name, "-complete"}, 1, want, "rewrite: " + misses},
		{"empty", "", []string{"-rules", name}, 0, "", "rewrite: warning: " + misses},
		{"empty, and it must be whole", "", []string{"-rules", name, "-complete"}, 1, "", "rewrite: " + misses},
		{"a database", "INSERT INTO `tag` VALUES (1234,'x');\n" + last, []string{"-rules", name, "-database", "mboxgroup34"}, 0, "INSERT INTO `tag` VALUES (91234,'x');\n" + last, ""},
		{"no database", "INSERT INTO `tag` VALUES (1234,'x');\n" + last, []string{"-rules", name}, 1, "", "rewrite: line 1 (byte 12): tag: a rule names this table in a database"},
		{"cut", dump[:len(dump)-3], []string{"-rules", name}, 1, want[:len(want)-3], "rewrite: line 2 (byte 71): mboxgroup34.tag: the input ends inside a statement"},
		{"refused", dump + "INSERT INTO tag VALUES (5,'');\n", []string{"-rules", name}, 1, want + "INSERT INTO tag VALUES (", "rewrite: line 3 (byte 98)"},
		{"not SQL", "<?xml version=\"1.0\"?>\n", []string{"-rules", name}, 1, "", "rewrite: line 1 (byte 0)"},
		{"no rules", dump, nil, 1, "", "rewrite: no rules"},
		{"no such flag", dump, []string{"-x"}, 1, "", "rewrite: flag provided but not defined: -x"},
		{"a file as argument", dump, []string{"-rules", name, "in.sql"}, 1, "", `rewrite: unexpected argument "in.sql"`},
		{"no such file", dump, []string{"-rules", name + "x"}, 1, "", "rewrite: open "},
		{"a slip", dump, []string{"-rules", file(t, `{"rulez":[]}`)}, 1, "", `unknown field "rulez"`},
		{"two mistakes", dump, []string{"-rules", file(t, `{"rules":[{"table":"t"}]}`)}, 1, "", "rule 1 (t.): no column\nsqlrewrite: rule 1 (t.): neither"},
	} {
		cmd := exec.CommandContext(t.Context(), bin, c.args...)
		var out, said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.in), &out, &said
		err := cmd.Run()
		var exit *exec.ExitError
		require.True(t, err == nil || errors.As(err, &exit), "%s: %v", c.what, err)
		require.Equal(t, c.code, cmd.ProcessState.ExitCode(), "%s: %s", c.what, said.String())
		require.Equal(t, c.out, out.String(), c.what)
		require.Contains(t, said.String(), c.message, c.what)
		require.Equal(t, c.message == "", said.Len() == 0, "%s: %s", c.what, said.String())
	}
}

// TestHelp: it goes to standard output, names every flag, and the rules in it are right.
func TestHelp(t *testing.T) {
	for _, arg := range []string{"-h", "--help"} {
		var out, said bytes.Buffer
		require.NoError(t, run(t.Context(), []string{arg}, strings.NewReader(""), &out, &said))
		require.Empty(t, said.String())
		require.Equal(t, help, out.String())
	}
	for _, flag := range []string{"-rules", "-database", "-complete"} {
		require.Contains(t, help, "\n  "+flag)
	}
	_, example, _ := strings.Cut(help, "left out:\n")
	example, _, ok := strings.Cut(example, "\n  }\n")
	require.True(t, ok)
	r, err := sqlrewrite.ReadRules(strings.NewReader(example + "}"))
	require.NoError(t, err)
	_, err = sqlrewrite.Compile(r)
	require.NoError(t, err)
}

// TestFullDisk: what cannot be written is an error.
func TestFullDisk(t *testing.T) {
	err := run(t.Context(), []string{"-rules", file(t, rules)}, strings.NewReader(dump+last), failing{}, io.Discard)
	require.ErrorIs(t, err, errFull)
}

var errFull = errors.New("no space left")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

// TestMemory passes rows of 16 MB, with values of more than 1 MB in columns that no rule names, and asks the kernel what the program needed.
func TestMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		lab.Note("*** memory of examples/rewrite NOT MEASURED: only Linux says how much a process had")
		t.Skip("only Linux says how much memory a process had")
	}
	cmd := exec.CommandContext(t.Context(), program(t), "-rules", file(t, `{"rules":[{"table":"t","column":"id","map":{"1234":"91234"}}]}`), "-complete")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	value := ",'" + strings.Repeat("it\\'s (1234, one of many\\r\\n", 80<<10) + "'" // 2 MB
	write := func(text string) {
		_, err := io.WriteString(in, text)
		require.NoError(t, err)
	}
	write("INSERT INTO t (id,a,b,c,d,e,f,g,h) VALUES ")
	for i := range 16 {
		if i > 0 {
			write(",\n")
		}
		write("(1234")
		for range 8 {
			write(value)
		}
		write(")")
	}
	write(";\n" + last)
	// It waits for the end of its input and has seen the rest. What the kernel tells of a process that has ended may be its parent's.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	require.NoError(t, err)
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, m, "%s", status)
	kb, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	require.Less(t, kb, 16<<10, "kB of memory")
	require.Greater(t, kb, 1<<10, "kB of memory")
}
