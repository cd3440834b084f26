package zimbra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zmlift/zmlift/ldapattr"
)

// accountAttrs is what a move reads of an account's entry.
var accountAttrs = []string{
	"zimbraId", attrHost, attrTransport, attrStatus, attrMail, attrCSN, "uid", "objectClass",
	"zimbraMailDeliveryAddress", "zimbraMailAlias", "zimbraReverseProxyUseExternalRoute",
}

// lookupAccount reads an account's entry by its id (ldap/unboundid/UBIDLdapFilterFactory.accountById).
func lookupAccount(ctx context.Context, d DirectoryReader, id string) (ldapattr.Entry, error) {
	return d.Lookup(ctx, "", "(&"+ldapattr.Equal("zimbraId", id)+ldapattr.Equal("objectClass", "zimbraAccount")+")", accountAttrs...)
}

// findAccount finds an account by its id, its address, an alias or an old address. An address in an alias domain is the same one in the
// domain that it stands for (account/ldap/LdapProvisioning.getAccountByNameInternal).
func findAccount(ctx context.Context, d DirectoryReader, key string) (ldapattr.Entry, error) {
	if !strings.Contains(key, "@") {
		return lookupAccount(ctx, d, key)
	}
	e, err := byAddress(ctx, d, key)
	if !errors.Is(err, ldapattr.ErrNotFound) {
		return e, err
	}
	local, domain, _ := strings.Cut(key, "@")
	alias, derr := d.Lookup(ctx, "", "(&"+ldapattr.Equal("zimbraDomainName", domain)+ldapattr.Equal("objectClass", "zimbraDomain")+")",
		"zimbraDomainType", "zimbraDomainAliasTargetId")
	if derr != nil || alias.Value("zimbraDomainType") != "alias" {
		return e, err
	}
	target, derr := d.Lookup(ctx, "", "(&"+ldapattr.Equal("zimbraId", alias.Value("zimbraDomainAliasTargetId"))+ldapattr.Equal("objectClass", "zimbraDomain")+")",
		"zimbraDomainName")
	if derr != nil {
		return e, errors.Join(err, derr)
	}
	return byAddress(ctx, d, local+"@"+target.Value("zimbraDomainName"))
}

func byAddress(ctx context.Context, d DirectoryReader, address string) (ldapattr.Entry, error) {
	return d.Lookup(ctx, "", "(&(|"+ldapattr.Equal("zimbraMailDeliveryAddress", address)+ldapattr.Equal("zimbraMailAlias", address)+
		ldapattr.Equal("zimbraOldMailAddress", address)+")"+ldapattr.Equal("objectClass", "zimbraAccount")+")", accountAttrs...)
}

// accountOf takes from an entry what names the account.
func accountOf(e ldapattr.Entry) Account {
	addrs := slices.Concat(e.Values("zimbraMailDeliveryAddress"), e.Values("zimbraMailAlias"))
	slices.Sort(addrs)
	return Account{ID: e.Value("zimbraId"), Name: e.Value("zimbraMailDeliveryAddress"), DN: e.DN, Addresses: slices.Compact(addrs)}
}

// serverAttrs is what a plan reads of a server's entry; those in inherited may stand at cn=config instead.
var (
	serverAttrs = []string{"zimbraId", "cn", "zimbraServiceHostname", "zimbraServiceEnabled", "zimbraLmtpBindPort",
		"zimbraAlwaysOnClusterId", "zimbraConfiguredServerIDForBlobDirEnabled"}
	configDN = "cn=config,cn=zimbra"
)

// A server is a mailstore's entry, with what it inherits.
type server struct{ entry, config ldapattr.Entry }

func findServer(ctx context.Context, d DirectoryReader, host string) (server, error) {
	e, err := d.Lookup(ctx, "cn=servers,cn=zimbra", "(&"+ldapattr.Equal("objectClass", "zimbraServer")+ldapattr.Equal("zimbraServiceHostname", host)+")", serverAttrs...)
	if err != nil {
		return server{}, fmt.Errorf("server %s: %w", host, err)
	}
	c, err := d.Lookup(ctx, configDN, ldapattr.Equal("objectClass", "zimbraGlobalConfig"), serverAttrs...)
	if err != nil && !errors.Is(err, ldapattr.ErrNotFound) {
		return server{}, fmt.Errorf("%s: %w", configDN, err)
	}
	return server{e, c}, nil
}

// value returns an attribute of the server, or the one it inherits.
func (s server) value(name string) string {
	if v := s.entry.Value(name); v != "" {
		return v
	}
	return s.config.Value(name)
}

func (s server) transport() string {
	port := s.value("zimbraLmtpBindPort")
	if port == "" {
		port = "7025"
	}
	return transport(s.entry.Value("zimbraServiceHostname"), port)
}
