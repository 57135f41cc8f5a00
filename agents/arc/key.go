package arc

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A TXT looks up the TXT records of a name. It returns ErrNoKey, or an error that
// wraps it, when there are none; any other error is temporary.
type TXT func(ctx context.Context, name string) ([]string, error)

// ErrNoKey says that a name has no TXT record.
var ErrNoKey = errors.New("no such key")

const minRSABits = 1024 // RFC 8301 §3.2

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
		if k.key, k.err = parseRecord(texts[0]); k.err != nil {
			k.err = fmt.Errorf("%s: %w", name, k.err)
		}
	}
	v.keys[name] = k
	return k.key, k.err
}

type fetched struct {
	key crypto.PublicKey
	err error
}

type tempError struct{ err error }

func (e *tempError) Error() string { return e.err.Error() }

// parseRecord reads the record of a key, RFC 6376 §3.6.1.
func parseRecord(text string) (crypto.PublicKey, error) {
	t, err := parseTags(text)
	if err != nil {
		return nil, err
	}
	if v, ok := t["v"]; ok && v != "DKIM1" {
		return nil, errors.New("not a DKIM1 record")
	}
	if h, ok := t["h"]; ok && !slices.Contains(strings.Split(t.packed("h"), ":"), "sha256") {
		return nil, fmt.Errorf("key is for %.40q", h)
	}
	if s, ok := t["s"]; ok {
		list := strings.Split(t.packed("s"), ":")
		if !slices.Contains(list, "*") && !slices.Contains(list, "email") {
			return nil, fmt.Errorf("key is for %.40q", s)
		}
	}
	raw, err := base64.StdEncoding.DecodeString(t.packed("p"))
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, errors.New("key is revoked")
	}
	switch t["k"] {
	case "", "rsa":
		return parseRSA(raw)
	case "ed25519":
		if len(raw) != ed25519.PublicKeySize {
			return nil, errors.New("not a key of Ed25519")
		}
		return ed25519.PublicKey(raw), nil
	}
	return nil, fmt.Errorf("kind of key %.40q", t["k"])
}

// parseRSA reads both forms that are in use (erratum 3017 of RFC 6376).
func parseRSA(raw []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(raw)
	if err != nil {
		if key, err = x509.ParsePKCS1PublicKey(raw); err != nil {
			return nil, err
		}
	}
	k, ok := key.(*rsa.PublicKey)
	if !ok || k.N.BitLen() < minRSABits || k.N.BitLen() > 8192 {
		return nil, errors.New("not a key of RSA of 1024 bits or more")
	}
	return k, nil
}

var errSignature = errors.New("signature does not fit")

// checkSignature checks the signature of text.
func checkSignature(key crypto.PublicKey, algorithm, text string, sig []byte) error {
	sum := sha256.Sum256([]byte(text))
	switch k := key.(type) {
	case *rsa.PublicKey:
		if algorithm == "rsa-sha256" && rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil {
			return nil
		}
	case ed25519.PublicKey:
		if algorithm == "ed25519-sha256" && ed25519.Verify(k, sum[:], sig) { // RFC 8463 §3
			return nil
		}
	}
	return errSignature
}

// sign signs text, and names the algorithm.
func sign(key crypto.Signer, text string) (sig []byte, err error) {
	sum := sha256.Sum256([]byte(text))
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		return key.Sign(nil, sum[:], crypto.Hash(0))
	}
	return key.Sign(nil, sum[:], crypto.SHA256)
}

func algorithmOf(key crypto.Signer) (string, error) {
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return "ed25519-sha256", nil
	case *rsa.PublicKey:
		return "rsa-sha256", nil
	}
	return "", errors.New("key is neither of RSA nor of Ed25519")
}
