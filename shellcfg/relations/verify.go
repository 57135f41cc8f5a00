package relations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// CanVerify tells whether the source of the table can judge passwords.
func (r *Relation) CanVerify() bool {
	_, ok := r.table.(*ldapTable)
	return ok
}

// Verify asks the source of the table whether a password is that of the entry
// that the key leads to. A key that leads to none, or to several, has no password.
func (r *Relation) Verify(ctx context.Context, key, password string) (bool, error) {
	t, ok := r.table.(*ldapTable)
	if !ok {
		return false, fmt.Errorf("%s: a table of type %s cannot judge passwords", r.spec.Name, r.spec.Type)
	}
	if r.fold != nil {
		key = r.fold(key)
	}
	if impossible(key) || password == "" { // RFC 4513 §5.1.2: a bind without a password succeeds
		return false, nil
	}
	good, err := t.verify(ctx, key, password)
	if err != nil {
		err = fmt.Errorf("%s: %w", r.spec.Name, err)
	}
	return good, err
}

// verify binds as the only entry that the filter finds. For one that is not there
// it binds too, as nobody, so that both take the same time.
func (t *ldapTable) verify(ctx context.Context, key, password string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	req := ldap.NewSearchRequest(t.base, t.scope, ldap.NeverDerefAliases, 2, int(t.timeout/time.Second), false,
		t.filterFor(key), []string{"1.1"}, nil)
	dn, found, err := t.lookup(ctx, func(ctx context.Context, c *ldapConn) (reply, error) {
		defer c.bound(ctx)()
		res, err := c.Search(req)
		switch {
		case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
			return reply{}, nil
		case err != nil:
			return reply{}, err
		case len(res.Referrals) > 0:
			return reply{}, fmt.Errorf("answer is a referral to %s, which is not followed", printable(res.Referrals[0]))
		case len(res.Entries) != 1:
			return reply{}, nil
		}
		return reply{value: res.Entries[0].DN, found: true}, nil
	})
	if err != nil {
		return false, err
	}
	if !found {
		dn = "cn=nobody-at-all," + t.base
	}
	good, err := t.bindAs(ctx, dn, password)
	return good && found, err
}

func (t *ldapTable) bindAs(ctx context.Context, dn, password string) (bool, error) {
	c, err := t.fresh(ctx)
	if err != nil {
		return false, fmt.Errorf("%s: %w", t.name, oneLine(err))
	}
	defer c.Close()
	defer c.bound(ctx)()
	err = c.Bind(dn, password)
	var answer *ldap.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &answer) && denied(answer.ResultCode):
		return false, nil
	}
	return false, fmt.Errorf("%s: %w", t.name, cause(ctx, oneLine(err)))
}

// denied tells the results of a bind that are answers; all others leave it open.
func denied(code uint16) bool {
	switch code {
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultInvalidDNSyntax:
		return true
	}
	return false
}
