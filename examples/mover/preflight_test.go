package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/zimbra"
)

// TestProblemsOnRealServers plants one trouble after the other: each is a problem with its code that names it, exit code 4, and nothing
// at all changed on either server.
func TestProblemsOnRealServers(t *testing.T) {
	l := lab.Shared(t)
	src, dst := l.Stores[0], l.Stores[1]
	s := newSite(t, l)
	a := s.account(t, 40)

	otherKey := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(otherKey, nil, 0o600))
	hostKey := filepath.Join(filepath.Dir(src.KeyFile), "ssh_host_"+src.Host) // a key that no account accepts

	exec := func(stmt string, args ...any) {
		t.Helper()
		_, err := src.RootDB(t).Exec(stmt, args...)
		require.NoError(t, err, stmt)
	}
	undo := func(u lab.Undo, err error) func() {
		require.NoError(t, err)
		return func() { require.NoError(t, u(t.Context())) }
	}
	group := lab.GroupDatabase(a.Group)
	cases := []struct {
		name    string
		plant   func() func() // returns what takes the trouble away
		account string        // default: a's
		to      string        // default: the second store
		replace []string      // in the configuration
		code    string
		names   string // in the problem's object or message
	}{
		{name: "unknown table", code: zimbra.CodeUnknownTable, names: "ext_notes",
			plant: func() func() { return undo(src.PlantTable(t.Context(), "zimbra", "ext_notes", a.MailboxID)) }},
		{name: "unknown table in the destination's group", code: zimbra.CodeUnknownTable, names: "ext_group",
			plant: func() func() {
				require.NoError(t, dst.CreateGroup(t.Context(), 1))
				return undo(dst.PlantTable(t.Context(), "mboxgroup1", "ext_group", 1))
			}},
		{name: "other db.version", code: zimbra.CodeDBVersion, names: dst.Host,
			plant: func() func() { return undo(dst.SetDBVersion(t.Context(), "117")) }},
		{name: "second mailbox row", code: zimbra.CodeSecondMailbox, names: dst.Host,
			plant: func() func() {
				_, u, err := dst.PlantMailbox(t.Context(), a.ID)
				return undo(u, err)
			}},
		{name: "missing blob", code: zimbra.CodeMissingBlob, names: ".msg",
			plant: func() func() {
				_, u, err := src.RemoveBlob(t.Context(), a)
				return undo(u, err)
			}},
		{name: "volume that the source does not have", code: zimbra.CodeVolume, names: "volume 77",
			plant: func() func() {
				exec("UPDATE "+group+".mail_item SET locator = '77' WHERE mailbox_id = ? AND locator = '1' AND id = 257", a.MailboxID)
				return func() {
					exec("UPDATE "+group+".mail_item SET locator = '1' WHERE mailbox_id = ? AND locator = '77'", a.MailboxID)
				}
			}},
		{name: "external store", code: zimbra.CodeLocator, names: "3@@bucket",
			plant: func() func() {
				exec("UPDATE "+group+".mail_item SET locator = '3@@bucket' WHERE mailbox_id = ? AND locator = '1' AND id = 257", a.MailboxID)
				return func() {
					exec("UPDATE "+group+".mail_item SET locator = '1' WHERE mailbox_id = ? AND locator = '3@@bucket'", a.MailboxID)
				}
			}},
		{name: "volume not mounted", code: zimbra.CodeVolume, names: dst.Host + " volume 5",
			plant: func() func() {
				store := dst.Home + "/store"
				require.NoError(t, dst.Run(t.Context(), []string{"mv", store, store + ".away"}, nil, nil))
				return func() {
					require.NoError(t, dst.Run(t.Context(), []string{"mv", store + ".away", store}, nil, nil))
				}
			}},
		{name: "already there", to: src.Host, code: zimbra.CodeAlreadyThere, names: src.Host},
		{name: "no such account", account: "nobody@lab.example", code: zimbra.CodeNoAccount, names: "nobody@lab.example"},
		{name: "ssh down", replace: []string{dst.SSHAddr, "127.0.0.1:1"}, code: zimbra.CodeUnreachable, names: dst.Host},
		{name: "database down", replace: []string{dst.MySQLAddr, "127.0.0.1:1"}, code: zimbra.CodeUnreachable, names: dst.Host},
		{name: "wrong database password", replace: []string{src.Host + ".mysql\"", "../wrong\""}, code: zimbra.CodeLogin, names: src.Host},
		{name: "wrong ssh key", replace: []string{"identity_file = \"" + src.KeyFile, "identity_file = \"" + hostKey}, code: zimbra.CodeLogin, names: src.Host},
		{name: "unknown host key", replace: []string{src.KnownHostsFile, otherKey}, code: zimbra.CodeHostKey, names: "known_hosts"},
		{name: "wrong LDAP password", replace: []string{"ldap.secret", "../wrong"}, code: zimbra.CodeLogin, names: "ldap://"},
		{name: "LDAP down", replace: []string{l.LDAP.URL, "ldap://127.0.0.1:1"}, code: zimbra.CodeDirectory, names: "127.0.0.1:1"},
		{name: "no localconfig.xml", replace: []string{dst.LocalconfigFile, dst.LocalconfigFile + ".gone"}, code: zimbra.CodeLocalconfig, names: "localconfig.xml.gone"},
		{name: "no create_database.sql", replace: []string{dst.CreateDatabaseFile, dst.CreateDatabaseFile + ".gone"}, code: zimbra.CodeCreateScript, names: ".gone"},
		{name: "in maintenance", account: special(t, s, lab.AccountSpec{Status: "maintenance"}), code: zimbra.CodeMaintenance, names: "maintenance"},
		{name: "custom transport", account: special(t, s, lab.AccountSpec{Transport: "smtp:elsewhere.example:25"}), code: zimbra.CodeTransport, names: "smtp:elsewhere.example:25"},
	}
	before := [2]map[string]string{others(t, src), others(t, dst)}
	entry := s.entry(t, a)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if tc.plant != nil {
				defer tc.plant()()
			}
			site := s
			if tc.replace != nil {
				site = newSite(t, l, tc.replace...)
				require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(site.dir), "wrong"), []byte("wrong\n"), 0o600))
			}
			account, to := tc.account, tc.to
			if account == "" {
				account = a.Name
			}
			if to == "" {
				to = dst.Host
			}
			code, out, errs := site.run(t, "never", "plan", account, "--to", to, "--json", "--accept", "no-mailboxd")
			require.Equal(t, 4, code, "%s\n%s", errs, out)
			var got struct {
				V        int
				Plan     *zimbra.Plan
				Problems []zimbra.Problem
			}
			require.NoError(t, json.Unmarshal([]byte(out), &got), out)
			require.Nil(t, got.Plan)
			i := slices.IndexFunc(got.Problems, func(p zimbra.Problem) bool {
				return p.Code == tc.code && strings.Contains(p.Object+" "+p.Message, tc.names)
			})
			require.NotEqual(t, -1, i, "want %s naming %q, got %+v", tc.code, tc.names, got.Problems)
			require.NotEmpty(t, got.Problems[i].Hint)
			code, _, errs = site.run(t, "never", "move", account, "--to", to, "--accept", "no-mailboxd")
			require.Equal(t, 4, code, errs)
			require.Contains(t, errs, tc.code)
		})
	}
	after := [2]map[string]string{others(t, src), others(t, dst)}
	delete(before[1], lab.KeyNextMailboxID) // the planted mailbox took an id
	delete(after[1], lab.KeyNextMailboxID)
	require.Equal(t, before, after)
	require.Equal(t, entry, s.entry(t, a))
}

// special makes an account that is not like others.
func special(t *testing.T, s *site, spec lab.AccountSpec) string {
	t.Helper()
	spec.Name, spec.Items = "special-"+strings.ToLower(strings.NewReplacer(" ", "-", "/", "-", ":", "-").Replace(spec.Status+spec.Transport))+"@lab.example", 20
	a, err := s.AddAccount(t.Context(), s.Stores[0], spec)
	require.NoError(t, err)
	return a.Name
}

// Without [admin] the plan says what that costs; accepted custom transports stay.
func TestAcceptedProblems(t *testing.T) {
	s := newSite(t, lab.Shared(t))
	a, err := s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: "routed@lab.example", Items: 30, Transport: "smtp:relay.example:25"})
	require.NoError(t, err)
	code, out, errs := s.run(t, "never", "plan", a.Name, "--to", s.Stores[1].Host)
	require.Equal(t, 4, code, errs)
	require.Contains(t, out+errs, "no-mailboxd")
	require.Contains(t, out+errs, "custom-transport")
	s.report(t, "move", a.Name, "--to", s.Stores[1].Host, "--accept", "custom-transport")
	e := s.entry(t, a)
	require.Equal(t, s.Stores[1].Host, e.Value("zimbraMailHost"))
	require.Equal(t, "smtp:relay.example:25", e.Value("zimbraMailTransport"))
}

// An id under which somebody's rows lie is burnt, the next one taken, and the report says so.
func TestLeftoversBurnAnID(t *testing.T) {
	s := newSite(t, lab.Shared(t))
	dst := s.Stores[1]
	a := s.account(t, 20)
	var next uint32
	require.NoError(t, dst.DB(t).QueryRow("SELECT next_mailbox_id FROM zimbra.current_volumes").Scan(&next))
	undo, err := dst.PlantLeftovers(t.Context(), next)
	require.NoError(t, err)
	defer func() { require.NoError(t, undo(t.Context())) }()
	r := s.report(t, "move", a.Name, "--to", dst.Host)
	require.EqualValues(t, next+1, r.MailboxTo)
	require.Len(t, r.Burnt, 1)
	require.EqualValues(t, next, r.Burnt[0])
}
