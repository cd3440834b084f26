package mboxdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// loads counts the LOAD DATA statements that a server was asked for.
func loads(t *testing.T, root *sql.DB) (n int) {
	t.Helper()
	var name string
	require.NoError(t, root.QueryRow("SHOW GLOBAL STATUS LIKE 'Com_load'").Scan(&name, &n))
	return n
}

// What INSERT and LOAD DATA read in different ways, and what both could take for something else.
var spellings = []string{
	`100\% a\_b`, `NULL`, `\N`, `\`, `'`, `','`, `a','b`, `''`, "line\nline", "(1,'x'),\r\n(2,'y');", `0x41`, "\x00\x1a\t\b", `ends with \`, `"`, "ü 山", `),(`, ``,
}

// Many rows go by LOAD DATA, and by INSERT where the server does not allow that or a value would be read differently. The rows are the same.
func TestLoadData(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 700)
	for i, s := range spellings {
		for _, column := range []string{"subject", "sender", "metadata"} {
			_, err := m.srcRoot.ExecContext(ctx, fmt.Sprintf("UPDATE mboxgroup%d.mail_item SET %s = ? WHERE mailbox_id = ? AND id %% 40 = ? AND type = 5", m.from.Group, column),
				s, m.from.ID, i)
			require.NoError(t, err)
		}
	}
	odd := func(ctx context.Context, dst io.Writer, src io.Reader) error { // the same values
		var b strings.Builder
		if err := m.rewriter().rewrite(ctx, &b, src); err != nil {
			return err
		}
		_, err := io.WriteString(dst, strings.NewReplacer(`\\%`, `\%`, `\\_`, `\_`).Replace(b.String()))
		return err
	}
	for _, test := range []struct {
		name     string
		allowed  string
		packet   int // the server's max_allowed_packet
		rewrite  func(context.Context, io.Writer, io.Reader) error
		min, max int // LOAD DATA statements
	}{
		{"allowed", "ON", 16 << 20, m.opt.Rewrite, 10, 1000},
		{"not allowed", "OFF", 16 << 20, m.opt.Rewrite, 1, 2}, // by each stream once
		{"not allowed and short statements", "OFF", 128 << 10, m.opt.Rewrite, 1, 2},
		{"odd escapes", "ON", 16 << 20, odd, 1, 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := func(allowed string, packet int) {
				mustExec(t, m.dstRoot, fmt.Sprintf("SET GLOBAL local_infile = %s, GLOBAL max_allowed_packet = %d", allowed, packet))
			}
			set(test.allowed, test.packet)
			t.Cleanup(func() { set("ON", 16<<20) })
			m.dstDB = mboxdb.New(m.dst.DB(t), options(m.dst))
			c := m.copy(t, func(o *mboxdb.CopyOptions) { o.Rewrite = test.rewrite })
			c.InPieces()
			before := loads(t, m.dstRoot)
			_, err := c.Presync(ctx)
			require.NoError(t, err)
			n := loads(t, m.dstRoot) - before
			require.True(t, n >= test.min && n <= test.max, "%d LOAD DATA statements", n)
			m.requireSame(t, test.name)
			_, err = c.Load(ctx)
			require.NoError(t, err)
			m.requireSame(t, test.name)
			require.NoError(t, c.Remove(ctx, elsewhere))
		})
	}
}

// What would be an error of INSERT is a warning of LOAD DATA: it must be one for us.
func TestLoadDataWarns(t *testing.T) {
	ctx := t.Context()
	m := newMove(t, 60)
	rewritten := func(old, new string) func(o *mboxdb.CopyOptions) {
		return func(o *mboxdb.CopyOptions) {
			o.Rewrite = func(ctx context.Context, dst io.Writer, src io.Reader) error {
				var b strings.Builder
				if err := m.rewriter().rewrite(ctx, &b, src); err != nil {
					return err
				}
				_, err := io.WriteString(dst, strings.ReplaceAll(b.String(), old, new))
				return err
			}
		}
	}
	mustExec(t, m.srcRoot, fmt.Sprintf("UPDATE mboxgroup%d.mail_item SET subject = 'here it is' WHERE mailbox_id = %d AND type = 5", m.from.Group, m.from.ID))
	for name, test := range map[string]struct {
		new    string
		number uint16
	}{
		"a character that does not fit":    {"'😀'", 1366},
		"a subject longer than its column": {"'" + strings.Repeat("x", 70000) + "'", 1265},
	} {
		t.Run(name, func(t *testing.T) {
			c := m.copy(t, rewritten("'here it is'", test.new))
			c.InPieces()
			before := loads(t, m.dstRoot)
			_, err := c.Load(ctx)
			requireNumber(t, test.number, err)
			require.NotContains(t, err.Error(), "xxx")
			require.Greater(t, loads(t, m.dstRoot), before)
		})
	}
	t.Run("a row that is there", func(t *testing.T) {
		c := m.copy(t)
		c.InPieces()
		require.NoError(t, c.Remove(ctx, elsewhere))
		_, err := c.Presync(ctx)
		require.NoError(t, err)
		row := func(group int, id mboxdb.MailboxID, n int) string {
			return fmt.Sprintf("INSERT INTO mboxgroup%d.open_conversation (mailbox_id, hash, conv_id) VALUES (%d, 'in the way %d', 5)", group, id, n)
		}
		for n := range 5 {
			mustExec(t, m.srcRoot, row(m.from.Group, m.from.ID, n))
		}
		d, err := c.Diff(ctx)
		require.NoError(t, err)
		m.exec(t, row(m.to.Group, m.to.ID, 3))
		before := loads(t, m.dstRoot)
		_, err = c.Apply(ctx, d)
		requireNumber(t, 1062, err)
		require.Greater(t, loads(t, m.dstRoot), before)
	})
	require.NoError(t, m.copy(t).Remove(ctx, elsewhere))
}
