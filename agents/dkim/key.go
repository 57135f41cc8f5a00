package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"zmailer/agents/secret"
)

// A Key signs for a domain.
type Key struct {
	Domain, Selector string
	signer           crypto.Signer
}

// Bounds of a key. RFC 8301 §3.2 asks for 1024 bits at least; verifiers need not
// take more than 4096.
const (
	minRSABits = 1024
	maxRSABits = 4096
	maxKeyFile = 64 << 10
)

// ReadKey reads the private key of a file.
func ReadKey(path, domain, selector string) (*Key, error) {
	text, err := secret.Read(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Key{Domain: domain, Selector: selector, signer: signer}, nil
}

var errNoKey = errors.New("holds no private key in PEM (PKCS #8, or PKCS #1 for RSA)")

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errNoKey
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errNoKey
	}
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return nil, fmt.Errorf("RSA key of %d bits: want %d to %d", n, minRSABits, maxRSABits)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("neither an RSA nor an Ed25519 key")
}

// Type is "rsa" or "ed25519".
func (k *Key) Type() string {
	if _, ok := k.signer.Public().(ed25519.PublicKey); ok {
		return "ed25519"
	}
	return "rsa"
}

// Signer makes signatures with the private key.
func (k *Key) Signer() crypto.Signer { return k.signer }

// Name is where the record of the key is published.
func (k *Key) Name() string { return k.Selector + "._domainkey." + k.Domain }

// Record is the text of the DNS record, RFC 6376 §3.6.1 and RFC 8463 §4.
func (k *Key) Record() (string, error) {
	public := k.signer.Public()
	if raw, ok := public.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(raw), nil
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

// Matches tells whether the text of a TXT record is that of the key. Tags in
// another order, or more of them, and white space are no difference: RFC 6376 §3.2.
func (k *Key) Matches(text string) bool {
	own, err := k.Record()
	if err != nil {
		return false
	}
	want, got := tags(own), tags(text)
	kind := got["k"]
	if kind == "" {
		kind = "rsa"
	}
	return kind == want["k"] && got["p"] == want["p"]
}

func tags(text string) map[string]string {
	m := make(map[string]string)
	for tag := range strings.SplitSeq(text, ";") {
		if name, v, ok := strings.Cut(tag, "="); ok {
			m[strings.TrimSpace(name)] = strings.Join(strings.Fields(v), "")
		}
	}
	return m
}

// ZoneLine is the record as it stands in the file of a zone. A string of a TXT
// record has at most 255 octets (RFC 1035 §3.3); a longer record is several
// strings, which verifiers join.
func (k *Key) ZoneLine() (string, error) {
	text, err := k.Record()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s. IN TXT (", k.Name())
	for len(text) > 0 {
		n := min(len(text), 255)
		fmt.Fprintf(&b, " %q", text[:n])
		text = text[n:]
	}
	b.WriteString(" )")
	return b.String(), nil
}
