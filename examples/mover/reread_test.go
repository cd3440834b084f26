package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/zimbra"
	"github.com/zmlift/zmlift/zimbra/zimbratest"
)

// SIGUSR1 has what goes on follow the configuration file, if that has no mistake, and ends nothing.
func TestRatesFollowTheFile(t *testing.T) {
	w := zimbratest.New()
	signals := make(chan os.Signal)
	a := &app{signals: signals}
	said := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(a.err.(*buffer).String(), text) }, 10*time.Second, time.Millisecond)
	}
	a.world = func(c *zimbra.Config) {
		c.Hooks.BeforeStep = func(_ context.Context, _ string, _ zimbra.Phase, step string) error {
			if step != "load-rows" {
				return nil
			}
			limit := a.stores["mail1.example.com"].limit
			text, err := os.ReadFile(a.args.config)
			require.NoError(t, err)
			change := func(line string) {
				t.Helper()
				changed := strings.Replace(string(text), `mysql_password = "one"`, `mysql_password = "one"`+"\n"+line, 1)
				require.NoError(t, os.WriteFile(a.args.config, []byte(changed), 0o600))
				signals <- syscall.SIGUSR1
			}
			require.Zero(t, limit.Rate())
			change(`rate = "10M"`)
			said("rates and priorities are now those of " + a.args.config)
			require.EqualValues(t, 10e6, limit.Rate())
			change("rate = \"20M\"\nnice = 20")
			said("rates and priorities stay as they are: ")
			said("nice: want a number from 0 to 19")
			require.EqualValues(t, 10e6, limit.Rate())
			change("")
			require.Eventually(t, func() bool { return limit.Rate() == 0 }, 10*time.Second, time.Millisecond)
			return nil
		}
	}
	r := a.runIn(t, well(w), move...)
	require.Zero(t, r.code, r.err)
	require.True(t, w.Moved())
}
