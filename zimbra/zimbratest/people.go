package zimbratest

import "github.com/zmlift/zmlift/ldapattr/ldapattrtest"

// newDirectory fills a directory with the servers and the people of the world.
func newDirectory() *ldapattrtest.Directory {
	d := ldapattrtest.New()
	d.Single("zimbraId", "zimbraMailHost", "zimbraMailTransport", "zimbraAccountStatus", "zimbraMailStatus")
	d.Put("cn=config,cn=zimbra", map[string][]string{
		"objectClass":        {"zimbraGlobalConfig"},
		"zimbraLmtpBindPort": {"7025"},
	})
	for _, host := range []string{Source, Dest} {
		d.Put("cn="+host+",cn=servers,cn=zimbra", map[string][]string{
			"objectClass":           {"zimbraServer"},
			"zimbraServiceHostname": {host},
			"zimbraServiceEnabled":  {"mailbox"},
		})
	}
	for _, who := range []struct{ name, id, host string }{{Alice, AliceID, Source}, {Bob, BobID, Source}, {Carol, CarolID, Dest}} {
		d.Put("uid="+who.name[:len(who.name)-len("@test.example")]+",ou=people,dc=test,dc=example", map[string][]string{
			"objectClass":               {"inetOrgPerson", "zimbraAccount"},
			"zimbraId":                  {who.id},
			"zimbraMailDeliveryAddress": {who.name},
			"zimbraMailHost":            {who.host},
			"zimbraMailTransport":       {"lmtp:" + who.host + ":7025"},
			"zimbraAccountStatus":       {"active"},
			"zimbraMailStatus":          {"enabled"},
		})
	}
	return d
}
