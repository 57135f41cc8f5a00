package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"

	"zmailer/spool/rfc5322"
)

// A Digest takes a message that is about to be signed: it keeps the header and hashes
// the body in its relaxed form.
type Digest struct {
	head   []byte // until the end of the header has been seen
	header rfc5322.Header
	done   bool
	sum    hash.Hash
	body   BodyWriter
}

// maxHeader bounds the header that is held while its end is looked for.
const maxHeader = 4 << 20

// NewDigest makes a Digest.
func NewDigest() *Digest {
	d := &Digest{sum: sha256.New()}
	d.body = BodyWriter{W: d.sum, Relaxed: true}
	return d
}

func (d *Digest) Write(p []byte) (int, error) {
	if d.done {
		return d.body.Write(p)
	}
	from := max(len(d.head)-3, 0)
	d.head = append(d.head, p...)
	if !bytes.Contains(d.head[from:], []byte("\n\n")) && !bytes.Contains(d.head[from:], []byte("\n\r\n")) {
		if len(d.head) > maxHeader {
			return 0, rfc5322.ErrTooLarge
		}
		return len(p), nil
	}
	return len(p), d.begin()
}

func (d *Digest) begin() error {
	h, at, err := rfc5322.ParseHeader(d.head)
	if err != nil {
		return err
	}
	d.header, d.done = h, true
	_, err = d.body.Write(d.head[at:])
	return err
}

// Close ends the message. It returns the header and the hash of the body.
func (d *Digest) Close() (rfc5322.Header, []byte, error) {
	if !d.done {
		if err := d.begin(); err != nil {
			return nil, nil, err
		}
	}
	if err := d.body.Close(); err != nil {
		return nil, nil, err
	}
	return d.header, d.sum.Sum(nil), nil
}

const lineWidth = 76

// SignField makes a field whose text ends with an empty tag b, and fills that. text
// is what is signed, given the field with the empty tag.
func SignField(key crypto.Signer, name, tags string, text func(*rfc5322.Field) string) (*rfc5322.Field, error) {
	f := &rfc5322.Field{Raw: []byte(rfc5322.FoldText(name, tags))}
	sig, err := signText(key, text(f))
	if err != nil {
		return nil, err
	}
	raw := bytes.TrimRight(f.Raw, "\r\n")
	for b := base64.StdEncoding.EncodeToString(sig); b != ""; {
		n := min(len(b), lineWidth-8)
		raw = append(append(raw, "\n\t"...), b[:n]...)
		b = b[n:]
	}
	return &rfc5322.Field{Raw: append(raw, '\n')}, nil
}

// SignedText is the text of the fields of these names in the relaxed form, from
// below, and of the field of the signature.
func SignedText(h rfc5322.Header, names []string, f *rfc5322.Field) string {
	s := signature{relaxed: true, names: names, field: f}
	return s.text(byName(h))
}

// signText signs text.
func signText(key crypto.Signer, text string) (sig []byte, err error) {
	sum := sha256.Sum256([]byte(text))
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		return key.Sign(nil, sum[:], crypto.Hash(0))
	}
	return key.Sign(nil, sum[:], crypto.SHA256)
}

// AlgorithmOf names the algorithm of a key.
func AlgorithmOf(key crypto.Signer) (string, error) {
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return "ed25519-sha256", nil
	case *rsa.PublicKey:
		return "rsa-sha256", nil
	}
	return "", errors.New("key is neither of RSA nor of Ed25519")
}
