package mboxverify_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb/mboxverify"
)

// A fakeServer answers what the package asks. It has one mailbox in mboxgroup7, and three tables.
type fakeServer struct {
	id       int64
	account  string
	items    [][]driver.Value // id, subject
	events   [][]driver.Value // item_id, ts
	breaksAt string           // the table whose last row is followed by an error
	executed []string
}

var errBroken = errors.New("the connection broke")

func (s *fakeServer) db(t testing.TB) *sql.DB {
	db := sql.OpenDB(s)
	if t != nil {
		t.Cleanup(func() { db.Close() })
	}
	return db
}

func (s *fakeServer) Connect(context.Context) (driver.Conn, error) { return &fakeConn{s}, nil }
func (s *fakeServer) Driver() driver.Driver                        { return nil }

type fakeConn struct{ s *fakeServer }

func (c *fakeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not prepared") }
func (c *fakeConn) Close() error                        { return nil }
func (c *fakeConn) Begin() (driver.Tx, error)           { return nil, errors.New("no transactions") }

func (c *fakeConn) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	c.s.executed = append(c.s.executed, query)
	return driver.ResultNoRows, nil
}

func (c *fakeConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	zimbra := len(args) > 0 && args[0].Value == "zimbra"
	pick := func(a, b [][]driver.Value) *fakeRows {
		if zimbra {
			return &fakeRows{rows: a}
		}
		return &fakeRows{rows: b}
	}
	var r *fakeRows
	switch {
	case strings.Contains(query, "information_schema.tables"):
		r = pick([][]driver.Value{{"mailbox"}}, [][]driver.Value{{"mail_item"}, {"event"}})
	case strings.Contains(query, "information_schema.columns"):
		r = pick([][]driver.Value{{"mailbox", "id", "int", "NO"}, {"mailbox", "group_id", "int", "NO"}, {"mailbox", "account_id", "varchar", "NO"}},
			[][]driver.Value{
				{"mail_item", "mailbox_id", "int", "NO"}, {"mail_item", "id", "int", "NO"}, {"mail_item", "subject", "text", "YES"},
				{"event", "mailbox_id", "int", "NO"}, {"event", "item_id", "int", "YES"}, {"event", "ts", "int", "YES"},
			})
	case strings.Contains(query, "information_schema.statistics"):
		r = pick([][]driver.Value{{"mailbox", "PRIMARY", "id", int64(0)}},
			[][]driver.Value{{"mail_item", "PRIMARY", "mailbox_id", int64(0)}, {"mail_item", "PRIMARY", "id", int64(0)}})
	case strings.Contains(query, "account_id = ?"):
		r = &fakeRows{rows: [][]driver.Value{{c.s.id, int64(7)}}}
	case strings.HasPrefix(query, "SELECT group_id"):
		r = &fakeRows{rows: [][]driver.Value{{int64(7)}}}
	case strings.Contains(query, "`mail_item`"):
		r = c.s.table("mail_item", c.s.items)
	case strings.Contains(query, "`event`"):
		r = c.s.table("event", c.s.events)
	case strings.Contains(query, "`mailbox`"):
		r = c.s.table("mailbox", [][]driver.Value{{c.s.account, int64(7)}})
	default:
		return nil, fmt.Errorf("not understood: %s", query)
	}
	if len(r.rows) > 0 {
		r.width = len(r.rows[0])
	}
	return r, nil
}

func (s *fakeServer) table(name string, rows [][]driver.Value) *fakeRows {
	r := &fakeRows{end: io.EOF, width: 3}
	for _, row := range rows {
		r.rows = append(r.rows, append([]driver.Value{int64(1)}, row...))
	}
	if s.breaksAt == name {
		r.end = errBroken
	}
	return r
}

type fakeRows struct {
	rows  [][]driver.Value
	width int
	end   error
}

func (r *fakeRows) Columns() []string { return make([]string, r.width) }
func (r *fakeRows) Close() error      { return nil }

func (r *fakeRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		if r.end == nil {
			return io.EOF
		}
		return r.end
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

func TestServersThatMisbehave(t *testing.T) {
	item := func(id int64, subject any) []driver.Value { return []driver.Value{id, subject} }
	items := func(rows ...[]driver.Value) [][]driver.Value { return rows }
	good := func(id int64) *fakeServer {
		return &fakeServer{id: id, account: "a", items: items(item(2, "x"), item(10, nil), item(30, "")), events: items(item(2, int64(5)), item(2, int64(5)))}
	}
	for name, test := range map[string]struct {
		change func(src, dst *fakeServer)
		want   string // "": equal
	}{
		"equal":                     {func(_, _ *fakeServer) {}, ""},
		"equal rows in any order":   {func(src, dst *fakeServer) { src.events[0], dst.events[1] = item(3, int64(1)), item(3, int64(1)) }, ""},
		"another order":             {func(src, _ *fakeServer) { src.items[0], src.items[2] = src.items[2], src.items[0] }, "mail_item: source: rows are not in the order of their key"},
		"another order, both":       {func(src, dst *fakeServer) { src.items = items(item(10, ""), item(2, "")); dst.items = src.items }, "rows are not in the order of their key"},
		"a key twice":               {func(_, dst *fakeServer) { dst.items[1] = item(2, "y") }, "mail_item: destination: rows are not in the order of their key"},
		"cut at the source":         {func(src, dst *fakeServer) { src.breaksAt, dst.items = "mail_item", dst.items[:2] }, "mail_item: source: the connection broke"},
		"cut, all that came equal":  {func(src, _ *fakeServer) { src.breaksAt = "mail_item" }, "mail_item: source: the connection broke"},
		"cut at the destination":    {func(_, dst *fakeServer) { dst.breaksAt = "mail_item" }, "mail_item: destination: the connection broke"},
		"cut without a key":         {func(_, dst *fakeServer) { dst.breaksAt = "event" }, "event: destination: the connection broke"},
		"cut in the last table":     {func(src, _ *fakeServer) { src.breaksAt = "mailbox" }, "zimbra.mailbox: source: the connection broke"},
		"a number that is no text":  {func(_, dst *fakeServer) { dst.items[1] = item(10, int64(0)) }, "id=10 different in subject"},
		"no rows":                   {func(src, dst *fakeServer) { src.items, dst.items, src.events, dst.events = nil, nil, nil, nil }, ""},
		"a missing row in the end":  {func(_, dst *fakeServer) { dst.items = dst.items[:2] }, "id=30 missing"},
		"an extra row in the front": {func(src, _ *fakeServer) { src.items = src.items[1:] }, "id=2 extra"},
	} {
		src, dst := good(3), good(4)
		test.change(src, dst)
		_, err := mboxverify.Compare(t.Context(), dst.db(t), src.db(t), mboxverify.Mailbox{ID: 4, Group: 7}, mboxverify.Mailbox{ID: 3, Group: 7}, nil)
		var mismatch *mboxverify.MismatchError
		switch {
		case test.want == "":
			require.NoError(t, err, name)
		default:
			require.ErrorContains(t, err, test.want, name)
			require.Equal(t, strings.HasPrefix(test.want, "id="), errors.As(err, &mismatch), name)
		}
		for _, stmt := range append(src.executed, dst.executed...) {
			require.True(t, strings.HasPrefix(stmt, "SET SESSION "), stmt)
		}
	}
}
