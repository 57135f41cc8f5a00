package dkim

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

// TXT looks up the TXT records of a name. It returns ErrNoKey, or an error that
// wraps it, when there are none; any other error is temporary.
type TXT func(ctx context.Context, name string) ([]string, error)

// ErrNoKey says that a name has no TXT record.
var ErrNoKey = errors.New("no such key")

// A Record is what the DNS has of a key: RFC 6376 §3.6.1.
type Record struct {
	Key   crypto.PublicKey
	Exact bool // it is for users of the domain itself, not of those below
}

// maxPublicRSA bounds the work that a key of somebody else causes.
const maxPublicRSA = 8192

// ParseRecord reads a record.
func ParseRecord(text string) (r Record, err error) {
	t, err := ParseTags(text)
	if err != nil {
		return r, err
	}
	if v, ok := t["v"]; ok && v != "DKIM1" {
		return r, errors.New("not a DKIM1 record")
	}
	if h, ok := t["h"]; ok && !slices.Contains(strings.Split(t.Packed("h"), ":"), "sha256") {
		return r, fmt.Errorf("key is for %.40q", h)
	}
	if s, ok := t["s"]; ok {
		list := strings.Split(t.Packed("s"), ":")
		if !slices.Contains(list, "*") && !slices.Contains(list, "email") {
			return r, fmt.Errorf("key is for %.40q", s)
		}
	}
	r.Exact = slices.Contains(strings.Split(t.Packed("t"), ":"), "s")
	raw, err := base64.StdEncoding.DecodeString(t.Packed("p"))
	if err != nil {
		return r, err
	}
	if len(raw) == 0 {
		return r, errors.New("key is revoked")
	}
	switch t["k"] {
	case "", "rsa":
		r.Key, err = parseRSA(raw)
		return r, err
	case "ed25519":
		if len(raw) != ed25519.PublicKeySize {
			return r, errors.New("not a key of Ed25519")
		}
		r.Key = ed25519.PublicKey(raw)
		return r, nil
	}
	return r, fmt.Errorf("kind of key %.40q", t["k"])
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
	if !ok || k.N.BitLen() < minRSABits || k.N.BitLen() > maxPublicRSA {
		return nil, fmt.Errorf("not a key of RSA of %d bits or more", minRSABits)
	}
	return k, nil
}

// ErrSignature says that a signature is not of this text, or not with this key.
var ErrSignature = errors.New("signature does not fit")

// CheckSignature checks the signature of text.
func CheckSignature(key crypto.PublicKey, algorithm, text string, sig []byte) error {
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
	return ErrSignature
}
