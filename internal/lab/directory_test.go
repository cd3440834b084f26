package lab_test

import (
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
)

func TestDirectoryTree(t *testing.T) {
	c := lab.Shared(t).LDAP.Conn(t)
	find := func(base, filter string, attrs ...string) []*ldap.Entry {
		t.Helper()
		res, err := c.Search(ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attrs, nil))
		require.NoError(t, err, filter)
		return res.Entries
	}
	require.Len(t, find("cn=servers,cn=zimbra", "(&(objectClass=zimbraServer)(zimbraServiceEnabled=mailbox))"), 2)
	require.Equal(t, "7025", find("cn=config,cn=zimbra", "(objectClass=zimbraGlobalConfig)")[0].GetAttributeValue("zimbraLmtpBindPort"))
	require.Len(t, find("", "(&(objectClass=zimbraDomain)(zimbraDomainName="+lab.Domain+"))"), 1, "the empty base finds domains")
	alias := find("", "(&(zimbraDomainType=alias)(zimbraDomainName="+lab.AliasDomain+"))")
	require.Len(t, alias, 1)
	target := alias[0].GetAttributeValue("zimbraDomainAliasTargetId")
	require.Len(t, find("", "(&(zimbraId="+target+")(objectClass=zimbraDomain))"), 1)
}

func TestDirectoryRights(t *testing.T) {
	d := lab.Shared(t).LDAP
	c, err := ldap.DialURL(d.URL)
	require.NoError(t, err)
	defer c.Close()
	res, err := c.Search(ldap.NewSearchRequest("", ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=zimbraServer)", nil, nil))
	require.False(t, err == nil && len(res.Entries) > 0, "anonymous reads")
	err = c.Modify(&ldap.ModifyRequest{DN: "cn=config,cn=zimbra", Changes: []ldap.Change{replace("zimbraAdminPort", "7072")}})
	require.Error(t, err, "anonymous writes")
	require.Error(t, c.Bind(d.BindDN, "wrong"))
}

// Compare-and-swap by delete and add, and the assertion control on entryCSN: what the fence of a move rests on.
func TestDirectoryGuards(t *testing.T) {
	c := lab.Shared(t).LDAP.Conn(t)
	const dn = "cn=guarded,cn=servers,cn=zimbra"
	add := ldap.NewAddRequest(dn, nil)
	add.Attribute("objectClass", []string{"zimbraServer"})
	add.Attribute("cn", []string{"guarded"})
	add.Attribute("zimbraId", []string{"guarded-id"})
	add.Attribute("zimbraAdminPort", []string{"1"})
	require.NoError(t, c.Add(add))
	t.Cleanup(func() { c.Del(ldap.NewDelRequest(dn, nil)) })

	swap := func(from, to string, controls ...ldap.Control) error {
		req := ldap.NewModifyRequest(dn, controls)
		req.Delete("zimbraAdminPort", []string{from})
		req.Add("zimbraAdminPort", []string{to})
		return c.Modify(req)
	}
	csn := func() string {
		t.Helper()
		res, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"entryCSN"}, nil))
		require.NoError(t, err)
		return res.Entries[0].GetAttributeValue("entryCSN")
	}
	assertion := func(csn string) ldap.Control {
		t.Helper()
		filter, err := ldap.CompileFilter("(entryCSN=" + csn + ")")
		require.NoError(t, err)
		return &assertionControl{filter}
	}

	require.NoError(t, swap("1", "2"))
	require.True(t, ldap.IsErrorWithCode(swap("1", "3"), ldap.LDAPResultNoSuchAttribute), "the old value is gone")

	before := csn()
	require.NoError(t, swap("2", "2"), "touch")
	require.NotEqual(t, before, csn(), "touching must move entryCSN")
	require.True(t, ldap.IsErrorWithCode(swap("2", "3", assertion(before)), ldap.LDAPResultAssertionFailed), "an old entryCSN")
	require.NoError(t, swap("2", "3", assertion(csn())))
}

func replace(attr, value string) ldap.Change {
	return ldap.Change{Operation: ldap.ReplaceAttribute, Modification: ldap.PartialAttribute{Type: attr, Vals: []string{value}}}
}
