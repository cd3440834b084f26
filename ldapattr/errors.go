package ldapattr

import (
	"errors"
	"fmt"

	"github.com/go-ldap/ldap/v3"
)

var (
	// ErrNotFound: no entry matches the filter, or the base or the DN does not exist.
	ErrNotFound = errors.New("ldapattr: no such entry")
	// ErrAmbiguous: more than one entry matches where one was asked for.
	ErrAmbiguous = errors.New("ldapattr: more than one entry matches")
	// ErrConflict: the entry is not as the modify assumes. Nothing was changed.
	ErrConflict = errors.New("ldapattr: the entry has other values")
	// ErrUnknownOutcome: the modify was sent and its answer did not come. It may have been applied, or may be applied later. It is not
	// repeated: read the entry before deciding anything.
	ErrUnknownOutcome = errors.New("ldapattr: outcome unknown")
	// ErrCredentials: the server refused the bind DN or the password, or does not let this identity bind.
	ErrCredentials = errors.New("ldapattr: bind refused")
	// ErrInsecure: with these options everything would cross a network in clear. Nothing was dialled.
	ErrInsecure = errors.New("ldapattr: unencrypted connection over a network")
	// ErrClosed: the Client has been closed.
	ErrClosed = errors.New("ldapattr: client closed")
)

// A ResultError is an answer of the server other than success (RFC 4511, section 4.1.9). It is a definite answer: a modify that got
// one changed nothing. errors.Is tells the codes that mean [ErrNotFound], [ErrConflict] or [ErrCredentials].
type ResultError struct {
	Code    int    // resultCode
	Message string // the server's own words, may be empty
}

func (e *ResultError) Error() string {
	name, ok := ldap.LDAPResultCodeMap[uint16(e.Code)]
	if !ok {
		name = "unknown code"
	}
	if e.Code == ldap.LDAPResultReferral {
		name += ": this server is a replica, writes go to another"
	}
	if e.Message == "" {
		return fmt.Sprintf("LDAP result %d (%s)", e.Code, name)
	}
	return fmt.Sprintf("LDAP result %d (%s): %s", e.Code, name, e.Message)
}

// Is makes errors.Is see the condition that the code stands for.
//
// A constraintViolation (19) is no conflict: absence is asserted by a control of its own, so the code is left to mean that the server
// does not accept the new values.
func (e *ResultError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Code == ldap.LDAPResultNoSuchObject
	case ErrConflict:
		return e.Code == ldap.LDAPResultNoSuchAttribute || e.Code == ldap.LDAPResultAttributeOrValueExists ||
			e.Code == ldap.LDAPResultAssertionFailed
	case ErrCredentials:
		return e.Code == ldap.LDAPResultInvalidCredentials || e.Code == ldap.LDAPResultInappropriateAuthentication
	}
	return false
}

// asResult turns an error of go-ldap that holds an answer of the server into a *ResultError.
func asResult(err error) (*ResultError, bool) {
	var answer *ldap.Error
	// The codes from 200 on are go-ldap's own and stand for no answer; 4096 is the server's again.
	if !errors.As(err, &answer) || answer.ResultCode >= ldap.ErrorNetwork && answer.ResultCode < 300 {
		return nil, false
	}
	return &ResultError{Code: int(answer.ResultCode), Message: answer.Err.Error()}, true
}
