// Package saslauth judges who logs in: the server's side of the mechanisms of
// SASL (RFC 4422), and the places where passwords are kept.
//
// A mechanism is a dialogue that ends in an Outcome. It asks a Checker about
// passwords, or takes keys from a KeyStore (SCRAM). An error of either means that
// nobody can tell now, which is never "no", and "no" is never an error.
//
// What a stranger can cause here is bounded: a check of a password takes memory
// and time on purpose, so only as many run at once as there are processors; the
// parameters of hashes have bounds; an unknown user costs as much as a known one.
package saslauth

import (
	"context"
	"errors"
)

// A Checker tells whether a password is a user's. An error says that nobody can
// tell now.
type Checker interface {
	Check(ctx context.Context, user, password string) (bool, error)
}

// A CheckerFunc is a Checker.
type CheckerFunc func(ctx context.Context, user, password string) (bool, error)

// Check calls f.
func (f CheckerFunc) Check(ctx context.Context, user, password string) (bool, error) {
	return f(ctx, user, password)
}

// A KeyStore has the keys of users for SCRAM. Users who do not exist get keys
// too, which nothing fits.
type KeyStore interface {
	Keys(ctx context.Context, user string) (Keys, error)
}

// A Mechanism is the server's side of one exchange.
type Mechanism interface {
	// Next takes a response of the client, nil when there is none yet, and
	// returns the challenge that follows or, when it is over, the outcome.
	Next(ctx context.Context, response []byte) (challenge []byte, end *Outcome)
}

// An Outcome is the end of an exchange.
type Outcome struct {
	User string // who logged in, or wanted to
	Err  error  // nil: logged in; ErrDenied, ErrSyntax; all others: nobody can tell now
}

// The ends of an exchange that are the client's own.
var (
	ErrDenied = errors.New("credentials invalid")
	ErrSyntax = errors.New("response does not follow the mechanism")
)

// Any is several checkers: a password is right if one of them says so, and
// unknown if none does and one could not tell. All are asked, so that time tells
// nothing about who knows the user.
type Any []Checker

// Check asks all.
func (a Any) Check(ctx context.Context, user, password string) (bool, error) {
	found := false
	var errs []error
	for _, c := range a {
		ok, err := c.Check(ctx, user, password)
		found = found || ok && err == nil
		errs = append(errs, err)
	}
	if found {
		return true, nil
	}
	return false, errors.Join(errs...)
}
