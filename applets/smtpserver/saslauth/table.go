package saslauth

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
)

// A Lookup asks a table by key.
type Lookup func(ctx context.Context, key string) (value string, found bool, err error)

// A Table is users in a lookup table (SQL, LDAP, cdb ...): the value is a hash, or
// a hash and the keys for SCRAM, as in a File.
type Table struct {
	name   string
	lookup Lookup
	gate   gate
	seen   atomic.Pointer[entry] // some user's, for those who do not exist
}

// NewTable makes a checker of a table.
func NewTable(name string, lookup Lookup) *Table {
	t := &Table{name: name, lookup: lookup, gate: newGate()}
	h, err := ParseHash(dummyHash)
	if err != nil {
		panic("saslauth: " + err.Error()) // it is ours
	}
	t.seen.Store(&entry{hash: h})
	return t
}

// dummyHash costs what those of HashPassword do.
const dummyHash = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"

func (t *Table) entry(ctx context.Context, user string) (e entry, found bool, err error) {
	value, found, err := t.lookup(ctx, user)
	if err != nil || !found {
		return e, false, err
	}
	if e = parseEntry(strings.TrimSpace(value), false); e.err != nil {
		return e, true, fmt.Errorf("%s: user %s: %w", t.name, user, e.err)
	}
	t.seen.Store(&e)
	return e, true, nil
}

// Check is Checker's.
func (t *Table) Check(ctx context.Context, user, password string) (bool, error) {
	e, found, err := t.entry(ctx, user)
	if err != nil {
		return false, err
	}
	if !found {
		e = *t.seen.Load()
	}
	ok, err := t.gate.matches(ctx, e.hash, password)
	return ok && found, err
}

// Keys is KeyStore's.
func (t *Table) Keys(ctx context.Context, user string) (Keys, error) {
	e, _, err := t.entry(ctx, user)
	switch {
	case err != nil:
		return Keys{}, err
	case e.keys != nil:
		return *e.keys, nil
	}
	like := Keys{}
	if k := t.seen.Load().keys; k != nil {
		like.Iterations, like.Salt = k.Iterations, k.Salt // the form alone: it may be another user's next time
	}
	copy(like.Server[:], processSecret())
	return nobody(user, &like), nil
}
