package arc

import (
	"crypto"
	"errors"
	"fmt"

	"zmailer/agents/dkim"
)

// TXT and ErrNoKey are those of DKIM.
type TXT = dkim.TXT

// ErrNoKey says that a name has no TXT record.
var ErrNoKey = dkim.ErrNoKey

// publicKey asks for the key of a domain: RFC 6376 §3.6.
func (v *verification) publicKey(domain, selector string) (crypto.PublicKey, error) {
	name := selector + "._domainkey." + domain
	if k, ok := v.keys[name]; ok {
		return k.key, k.err
	}
	texts, err := v.txt(v.ctx, name)
	var k fetched
	switch {
	case errors.Is(err, ErrNoKey):
		k.err = fmt.Errorf("%s: no such key", name)
	case err != nil:
		k.err = &tempError{fmt.Errorf("%s: %w", name, err)}
	case len(texts) != 1:
		k.err = fmt.Errorf("%s: %d records", name, len(texts))
	default:
		if k.key, k.err = keyOf(texts[0]); k.err != nil {
			k.err = fmt.Errorf("%s: %w", name, k.err)
		}
	}
	v.keys[name] = k
	return k.key, k.err
}

// keyOf reads a record. How it may be used by whom is for DKIM alone.
func keyOf(text string) (crypto.PublicKey, error) {
	r, err := dkim.ParseRecord(text)
	return r.Key, err
}

type fetched struct {
	key crypto.PublicKey
	err error
}

type tempError struct{ err error }

func (e *tempError) Error() string { return e.err.Error() }
