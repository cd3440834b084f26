package zimbra_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// TestVolumesDiffer moves a mailbox between stores that have nothing in common in where they put files: other volumes, other bits, masks that
// cut, a level for the server id. The lab, which reads the volume tables in its own way, finds every blob where mailboxd would.
func TestVolumesDiffer(t *testing.T) {
	t.Parallel()
	l := lab.Own(t, &lab.Options{Bits: [2]lab.Bits{
		{File: 2, FileGroup: 3, Mailbox: 3, MailboxGroup: 2}, {File: 4, FileGroup: 2, Mailbox: 6, MailboxGroup: 4},
	}})
	src, dst := l.Stores[0], l.Stores[1]
	secondary, _, err := dst.AddVolume(t.Context(), 2, "hsm")
	require.NoError(t, err)
	current := func(id any) {
		t.Helper()
		_, err := dst.RootDB(t).Exec("UPDATE zimbra.current_volumes SET secondary_message_volume_id = ?", id)
		require.NoError(t, err)
	}
	s := newSiteOn(t, l, 0)
	account := func(name string) *lab.Account {
		t.Helper()
		a, err := l.AddAccount(t.Context(), src, lab.AccountSpec{Name: address(name), Items: 120})
		require.NoError(t, err)
		return a
	}
	move := func(a *lab.Account, volumes map[mboxdb.VolumeID]mboxdb.VolumeID) *zimbra.Report {
		t.Helper()
		p, err := s.mover.Plan(t.Context(), zimbra.Request{Account: a.Name, To: dst.Host, Volumes: volumes, Accept: []string{zimbra.CodeNoMailboxd}})
		require.NoError(t, err)
		mv, err := s.mover.Start(t.Context(), p)
		require.NoError(t, err)
		defer mv.Close()
		require.NoError(t, mv.Run(t.Context(), zimbra.PhaseFinish))
		return mv.Report()
	}
	// on counts the mailbox's blobs by volume.
	on := func(r *zimbra.Report) map[string]int {
		t.Helper()
		rows, err := dst.RootDB(t).Query(fmt.Sprintf("SELECT locator, COUNT(*) FROM %s.mail_item WHERE mailbox_id = ? AND locator IS NOT NULL GROUP BY locator",
			lab.GroupDatabase(group(t, dst, r.MailboxTo))), r.MailboxTo)
		require.NoError(t, err)
		defer rows.Close()
		counts := map[string]int{}
		for rows.Next() {
			var locator string
			var n int
			require.NoError(t, rows.Scan(&locator, &n))
			counts[locator] = n
		}
		require.NoError(t, rows.Err())
		return counts
	}

	t.Run("secondary to secondary", func(t *testing.T) {
		current(secondary)
		r := move(account("hsm"), nil)
		require.NoError(t, dst.CheckBlobs(t.Context(), uint32(r.MailboxTo)))
		counts := on(r)
		require.Len(t, counts, 2)
		require.Positive(t, counts["5"], "primary to primary")
		require.Positive(t, counts[fmt.Sprint(secondary)])
	})
	t.Run("secondary to primary", func(t *testing.T) {
		current(nil)
		r := move(account("nohsm"), nil)
		require.NoError(t, dst.CheckBlobs(t.Context(), uint32(r.MailboxTo)))
		require.Len(t, on(r), 1)
		require.Positive(t, on(r)["5"])
	})
	t.Run("as it was asked for", func(t *testing.T) {
		r := move(account("asked"), map[mboxdb.VolumeID]mboxdb.VolumeID{1: 9, 3: 5})
		require.NoError(t, dst.CheckBlobs(t.Context(), uint32(r.MailboxTo)))
		require.Len(t, on(r), 2)
		require.Positive(t, on(r)["9"])
	})
	t.Run("a level for the server id", func(t *testing.T) {
		a := account("level")
		conn := l.LDAP.Conn(t)
		var ids [2]string
		for i, st := range l.Stores {
			dn := "cn=" + st.Host + ",cn=servers,cn=zimbra"
			res, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", []string{"zimbraId"}, nil))
			require.NoError(t, err)
			ids[i] = res.Entries[0].GetAttributeValue("zimbraId")
			mod := ldap.NewModifyRequest(dn, nil)
			mod.Replace("zimbraConfiguredServerIDForBlobDirEnabled", []string{"TRUE"})
			require.NoError(t, conn.Modify(mod))
		}
		run := func(st *lab.Store, script string, args ...string) string {
			t.Helper()
			var out bytes.Buffer
			require.NoError(t, st.Run(t.Context(), append([]string{"sh", "-c", "cd " + st.Home + " && " + script, "sh"}, args...), nil, &out))
			return out.String()
		}
		// Take what lies on the volumes one level down, as mailboxd looks for it now.
		run(src, `for v in store hsm index; do mkdir "$v/$1"; chown --reference="$v" "$v/$1"; find "$v" -mindepth 1 -maxdepth 1 -name "[0-9]*" ! -name "$1" -exec mv {} "$v/$1/" \;; done`, ids[0])
		scan, err := s.mover.Scan(t.Context(), zimbra.ScanRequest{Account: a.Name})
		require.NoError(t, err)
		require.Empty(t, scan.Bad)
		require.Positive(t, scan.Blobs)
		r := move(a, nil)
		require.Contains(t, run(dst, `find "store/$1" -name "*.msg" | head -n 1`, ids[1]), "/"+r.MailboxTo.String()+"/msg/")
		require.Empty(t, strings.TrimSpace(run(dst, `find store index -path "*/$1/*" ! -path "*/$2/*"`, r.MailboxTo.String(), ids[1])), "nothing beside the level")
		require.NotEmpty(t, run(dst, `find "index/$1" -path "*/$2/index/*" -type f`, ids[1], r.MailboxTo.String()))
		// The lab knows no level: show it the blobs where they would be without one.
		run(dst, `cd store && find "$1" -mindepth 2 -maxdepth 2 -name "$2" | while read -r d; do h=${d#*/}; mkdir -p "${h%/*}" && mv "$d" "$h"; done`, ids[1], r.MailboxTo.String())
		require.NoError(t, dst.CheckBlobs(t.Context(), uint32(r.MailboxTo)))
	})
}

func group(t *testing.T, s *lab.Store, id mboxdb.MailboxID) int {
	t.Helper()
	var n int
	require.NoError(t, s.RootDB(t).QueryRow("SELECT group_id FROM zimbra.mailbox WHERE id = ?", id).Scan(&n))
	return n
}

// TestLocatorsOfExternalStores: whatever is not just a volume's number is refused by name, by a plan and by a scan, and nothing is guessed from a
// number in front of it.
func TestLocatorsOfExternalStores(t *testing.T) {
	s := newSite(t, 0)
	a, err := s.AddAccount(t.Context(), s.Stores[0], lab.AccountSpec{Name: address("external"), Items: 25})
	require.NoError(t, err)
	db, table := s.Stores[0].RootDB(t), lab.GroupDatabase(a.Group)+".mail_item"
	for _, locator := range []string{"1@@bucket/key", "01", "1 ", "", "0", "256"} {
		t.Run(fmt.Sprintf("%q", locator), func(t *testing.T) {
			var item int
			require.NoError(t, db.QueryRow("SELECT id FROM "+table+" WHERE mailbox_id = ? AND locator = '1' ORDER BY id LIMIT 1", a.MailboxID).Scan(&item))
			_, err := db.Exec("UPDATE "+table+" SET locator = ? WHERE mailbox_id = ? AND id = ?", locator, a.MailboxID, item)
			require.NoError(t, err)
			defer func() {
				_, err := db.Exec("UPDATE "+table+" SET locator = '1' WHERE mailbox_id = ? AND id = ?", a.MailboxID, item)
				require.NoError(t, err)
			}()
			_, err = s.mover.Plan(t.Context(), zimbra.Request{Account: a.Name, To: s.Stores[1].Host, Accept: []string{zimbra.CodeNoMailboxd}})
			var pre *zimbra.PreflightError
			require.ErrorAs(t, err, &pre)
			require.True(t, pre.Has(zimbra.CodeLocator), "%v", err)
			if locator != "" {
				require.ErrorContains(t, err, locator)
			}
			_, err = s.mover.Scan(t.Context(), zimbra.ScanRequest{Account: a.Name})
			require.ErrorContains(t, err, fmt.Sprintf("%q", locator))
		})
	}
}
