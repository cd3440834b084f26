package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestParse(t *testing.T) {
	const a = "alice@example.com"
	for _, test := range []struct {
		argv []string
		want arguments // but for the verb
	}{
		{[]string{"plan", a, "--to", "mail2"}, arguments{account: a, to: "mail2"}},
		{[]string{"move", "--to=mail2", a, "--keep", "-json"}, arguments{account: a, to: "mail2", keep: true, json: true}},
		{[]string{"move", "--to", "mail2", "--accept", "x", a, "--accept", "y"}, arguments{account: a, to: "mail2", accept: []string{"x", "y"}}},
		{[]string{"presync", "--to", "mail2", "--", "--odd"}, arguments{account: "--odd", to: "mail2"}},
		{[]string{"resume", "--all"}, arguments{all: true}},
		{[]string{"resume", a, "--accept", "x", "--config", "/c"}, arguments{account: a, accept: []string{"x"}, config: "/c"}},
		{[]string{"rollback", a, "--to", "mail2"}, arguments{account: a, to: "mail2"}},
		{[]string{"status"}, arguments{}},
		{[]string{"status", "--json", a}, arguments{account: a, json: true}},
	} {
		got, err := parse(test.argv)
		require.NoError(t, err, test.argv)
		require.Equal(t, test.argv[0], got.verb.name)
		test.want.verb = got.verb
		if test.want.config == "" {
			test.want.config = "/etc/zmlift/mover.toml"
		}
		require.Equal(t, &test.want, got, test.argv)
	}
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		argv []string
		want string
	}{
		{nil, "no verb; `mover --help` lists them"},
		{[]string{"mvoe"}, "no verb \"mvoe\"; `mover --help` lists them"},
		{[]string{"--json", "status"}, "no verb \"--json\"; `mover --help` lists them"},
		{[]string{"help", "mvoe"}, "no verb \"mvoe\"; `mover --help` lists them"},
		{[]string{"move", "--to", "b"}, "move: no account; see `mover move --help`"},
		{[]string{"move", "", "--to", "b"}, "move: the account is empty; see `mover move --help`"},
		{[]string{"status", ""}, "status: the account is empty; see `mover status --help`"},
		{[]string{"plan", "a"}, "plan: no --to STORE; see `mover plan --help`"},
		{[]string{"plan", "a", "--to"}, "plan: flag needs an argument: -to; see `mover plan --help`"},
		{[]string{"plan", "a", "b", "--to", "c"}, "plan: one account at a time, not a, b; see `mover plan --help`"},
		{[]string{"presync", "a", "--to", "b", "--keep"}, "presync: flag provided but not defined: -keep; see `mover presync --help`"},
		{[]string{"rollback", "--all"}, "rollback: flag provided but not defined: -all; see `mover rollback --help`"},
		{[]string{"resume"}, "resume: no account; see `mover resume --help`"},
		{[]string{"resume", "a", "--all"}, "resume: an account or --all, not both; see `mover resume --help`"},
		{[]string{"status", "--config", ""}, "status: --config is empty; see `mover status --help`"},
		{[]string{"move", "a", "--to", "b", "--accept", "x,y"},
			"move: invalid value \"x,y\" for flag -accept: want the code of one problem; repeat --accept for more; see `mover move --help`"},
		{[]string{"status", "--config", "/nonexistent/mover.toml"}, "configuration: open /nonexistent/mover.toml: no such file or directory: copy examples/mover/mover.example.toml there and fill it in, or name yours with --config"},
	} {
		var out, err buffer
		code := (&app{out: &out, err: &err, getenv: getenv}).run(t.Context(), test.argv)
		require.Equal(t, exitUsage, code, test.argv)
		require.Empty(t, out.String())
		require.Equal(t, "mover: "+test.want+"\n", err.String())
	}
}

func TestHelp(t *testing.T) {
	for _, argv := range [][]string{{"--help"}, {"help"}, {"-h"}} {
		golden(t, "help.txt", argv...)
	}
	for _, v := range verbs() {
		name := "help-" + v.name + ".txt"
		golden(t, name, v.name, "--help")
		golden(t, name, "help", v.name)
		golden(t, name, v.name, "alice@example.com", "--to", "mail2", "-h")
	}
}

// golden runs the program, which must succeed, and compares what it prints with a file.
func golden(t *testing.T, name string, argv ...string) {
	t.Helper()
	var out, err buffer
	require.Equal(t, exitDone, (&app{out: &out, err: &err}).run(t.Context(), argv), argv)
	require.Empty(t, err.String())
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(out.String()), 0o644))
	}
	want, e := os.ReadFile(file)
	require.NoError(t, e)
	require.Equal(t, string(want), out.String(), argv)
}
