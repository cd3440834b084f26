// Package ldapfilter reads the text form of LDAP filters for ldapattr and its test directory, so that both refuse the same ones.
package ldapfilter
