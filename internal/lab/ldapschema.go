package lab

import (
	"fmt"
	"strings"
)

// An attribute is one line of zimbra-attrs.xml as far as slapd sees it.
type attribute struct {
	name   string
	id     int // OID 1.3.6.1.4.1.19348.2.1.<id>; 0: the lab gives it one of its own
	syntax string
	single bool
}

// Zimbra's attribute types and the syntaxes its generator gives them (account/AttributeManagerUtil).
const (
	dirString = "1.3.6.1.4.1.1466.115.121.1.15"
	ia5String = "1.3.6.1.4.1.1466.115.121.1.26"
	integer   = "1.3.6.1.4.1.1466.115.121.1.27"
	boolean   = "1.3.6.1.4.1.1466.115.121.1.7"

	idSyntax = dirString + "{256}"
	enum     = dirString + "{32}"
	email    = ia5String + "{256}"
	duration = ia5String + "{32}"
)

const (
	single = true
	multi  = false
)

var zimbraAttributes = []attribute{
	{"zimbraId", 1, idSyntax, single},
	{"zimbraAccountStatus", 2, enum, single},
	{"zimbraMailHost", 4, ia5String + "{256}", single},
	{"zimbraMailDeliveryAddress", 13, email, multi},
	{"zimbraMailStatus", 15, enum, single},
	{"zimbraMailAlias", 20, email, multi},
	{"zimbraLmtpAdvertisedName", 23, dirString + "{128}", single},
	{"zimbraLmtpBindPort", 24, integer, single},
	{"zimbraServiceHostname", 65, dirString + "{256}", single},
	{"zimbraMailHostPool", 125, idSyntax, multi},
	{"zimbraAdminPort", 155, integer, single},
	{"zimbraServiceEnabled", 220, dirString + "{256}", multi},
	{"zimbraServiceInstalled", 221, dirString + "{256}", multi},
	{"zimbraMailTransport", 247, ia5String + "{320}", single},
	{"zimbraRemoteManagementUser", 337, ia5String + "{256}", single},
	{"zimbraRemoteManagementPrivateKeyPath", 338, ia5String + "{256}", single},
	{"zimbraRemoteManagementPort", 339, integer, single},
	{"zimbraArchiveAccount", 429, email, multi},
	{"zimbraReverseProxyMailHostQuery", 472, dirString + "{512}", single},
	{"zimbraReverseProxyLookupTarget", 504, boolean, single},
	{"zimbraMemcachedBindPort", 580, integer, single},
	{"zimbraMemcachedBindAddress", 581, dirString + "{128}", multi},
	{"zimbraReverseProxyCacheEntryTTL", 732, duration, single},
	{"zimbraDomainAliasTargetId", 775, dirString + "{256}", single},
	{"zimbraReverseProxyUseExternalRoute", 779, boolean, single},
	{"zimbraMailboxMoveSkipSearchIndex", 1006, boolean, single},
	{"zimbraMailboxMoveSkipBlobs", 1007, boolean, single},
	{"zimbraMailboxMoveSkipHsmBlobs", 1008, boolean, single},
	{"zimbraMemcachedClientServerList", 1014, dirString, multi},
	{"zimbraMemcachedClientBinaryProtocolEnabled", 1015, boolean, single},
	{"zimbraMemcachedClientHashAlgorithm", 1016, dirString, single},
	{"zimbraMemcachedClientExpirySeconds", 1017, integer, single},
	{"zimbraMemcachedClientTimeoutMillis", 1018, integer, single},
	{"zimbraDumpsterEnabled", 1128, boolean, single},
	{"zimbraMailboxMoveTempDir", 1175, dirString, single},
	{"zimbraReverseProxyAvailableLookupTargets", 1379, dirString, multi},
	{"zimbraAlwaysOnClusterId", 1446, dirString, single},
	{"zimbraConfiguredServerIDForBlobDirEnabled", 1551, boolean, single},
	{"zimbraServerVersion", 1598, dirString, single},
	{"zimbraReverseProxyZmlookupCachingEnabled", 1785, boolean, single},
	{"zimbraMailboxMoveFailedCleanupTaskInterval", 2079, duration, single},
	{"zimbraOldMailAddress", 2143, email, single},
	{"zimbraReverseProxyUpstreamImapServers", 3008, dirString, multi},

	// Attributes the tree needs and whose number we do not know: their OIDs are from OpenLDAP's experimental arc.
	{"zimbraDomainName", 0, ia5String + "{256}", single},
	{"zimbraDomainType", 0, enum, single},
	{"zimbraDomainStatus", 0, enum, single},
	{"zimbraAliasTargetId", 0, idSyntax, single},
	{"zimbraDataSourceEnabled", 0, boolean, single},
}

// matching are the rules that go with a syntax. They ignore case, as Zimbra's do.
var matching = map[string]string{
	dirString: "EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch",
	ia5String: "EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch",
	integer:   "EQUALITY integerMatch",
	boolean:   "EQUALITY booleanMatch",
}

const (
	mailRecipientAttrs = "zimbraMailHost zimbraMailDeliveryAddress zimbraMailStatus zimbraMailAlias zimbraOldMailAddress zimbraMailTransport"
	inheritedAttrs     = "zimbraLmtpBindPort zimbraAdminPort zimbraMemcachedBindPort zimbraMemcachedClientServerList " +
		"zimbraMemcachedClientBinaryProtocolEnabled zimbraMemcachedClientHashAlgorithm zimbraMemcachedClientExpirySeconds zimbraMemcachedClientTimeoutMillis " +
		"zimbraReverseProxyLookupTarget zimbraReverseProxyAvailableLookupTargets zimbraReverseProxyZmlookupCachingEnabled " +
		"zimbraReverseProxyUpstreamImapServers zimbraConfiguredServerIDForBlobDirEnabled zimbraAlwaysOnClusterId " +
		"zimbraRemoteManagementUser zimbraRemoteManagementPrivateKeyPath zimbraRemoteManagementPort " +
		"zimbraMailboxMoveSkipSearchIndex zimbraMailboxMoveSkipBlobs zimbraMailboxMoveSkipHsmBlobs zimbraMailboxMoveTempDir zimbraMailboxMoveFailedCleanupTaskInterval"
)

// A class is one of zimbra-ocs.xml; OID 1.3.6.1.4.1.19348.2.2.<id>.
type class struct {
	name      string
	id        int
	sup, kind string
	must, may string
}

var zimbraClasses = []class{
	{"zimbraMailRecipient", 7, "top", "AUXILIARY", "", mailRecipientAttrs},
	{"zimbraAccount", 1, "zimbraMailRecipient", "AUXILIARY", "zimbraId zimbraAccountStatus",
		"zimbraArchiveAccount zimbraDumpsterEnabled zimbraReverseProxyUseExternalRoute zimbraDataSourceEnabled"},
	{"zimbraCalendarResource", 16, "zimbraAccount", "AUXILIARY", "", ""},
	{"zimbraDomain", 4, "top", "AUXILIARY", "zimbraId zimbraDomainName",
		"zimbraDomainType zimbraDomainStatus zimbraDomainAliasTargetId zimbraDumpsterEnabled zimbraReverseProxyUseExternalRoute"},
	{"zimbraServer", 8, "top", "STRUCTURAL", "cn zimbraId",
		"zimbraServiceEnabled zimbraServiceInstalled zimbraServiceHostname zimbraLmtpAdvertisedName zimbraMemcachedBindAddress zimbraServerVersion " + inheritedAttrs},
	{"zimbraGlobalConfig", 9, "top", "STRUCTURAL", "cn",
		"zimbraReverseProxyCacheEntryTTL zimbraReverseProxyMailHostQuery zimbraDumpsterEnabled " + inheritedAttrs},
	{"zimbraAlias", 11, "top", "STRUCTURAL", "uid zimbraId zimbraAliasTargetId", ""},
}

// ldapSchema is the schema file that slapd includes after core, cosine and inetorgperson.
func ldapSchema() []byte {
	var b []byte
	for i, a := range zimbraAttributes {
		oid := fmt.Sprintf("1.3.6.1.4.1.19348.2.1.%d", a.id)
		if a.id == 0 {
			oid = fmt.Sprintf("1.3.6.1.4.1.4203.666.1.%d", 5000+i)
		}
		rules := matching[strings.SplitN(a.syntax, "{", 2)[0]]
		b = fmt.Appendf(b, "attributetype ( %s NAME '%s' %s SYNTAX %s", oid, a.name, rules, a.syntax)
		if a.single {
			b = append(b, " SINGLE-VALUE"...)
		}
		b = append(b, " )\n"...)
	}
	list := func(names string) string { return strings.Join(strings.Fields(names), " $ ") }
	for _, c := range zimbraClasses {
		b = fmt.Appendf(b, "objectclass ( 1.3.6.1.4.1.19348.2.2.%d NAME '%s' SUP %s %s", c.id, c.name, c.sup, c.kind)
		if c.must != "" {
			b = fmt.Appendf(b, " MUST ( %s )", list(c.must))
		}
		if c.may != "" {
			b = fmt.Appendf(b, " MAY ( %s )", list(c.may))
		}
		b = append(b, " )\n"...)
	}
	return b
}
