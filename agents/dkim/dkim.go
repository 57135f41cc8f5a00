// Package dkim signs mail that leaves this host and verifies what comes: DKIM, RFC
// 6376, with RSA (SHA-256) and Ed25519 (RFC 8463).
//
// emersion/go-msgauth is what the tests compare with. It is not used here, because
// its work can be made to grow with the square of a message: it canonicalizes empty
// lines again with every block that follows them, joins long fields line by line, and
// looks through the header for every name in a signature.
//
// # Keys
//
// A key is a file DIR/DOMAIN/SELECTOR.pem with a private key in PEM, PKCS #8 or
// PKCS #1, that nobody but its owner may read. All keys of a domain sign: two of
// them, RSA and Ed25519, are two signatures, and so are an old and a new one
// while a key is changed. Files are looked at again when they are a second old.
//
// The domain is that of the address in From, as DMARC wants it and OpenDKIM does
// it. A table may say otherwise for addresses and domains: see Keys.For.
//
// A key that is there and cannot be used is an error, not a reason to send the
// mail unsigned.
//
// # Signatures
//
// Both canonicalizations are relaxed. The fields that a reader sees, and those
// that say how the text is to be read, are signed once more than they occur
// ("oversigned"), so that none can be added. The signature is made of the octets
// that go over the wire, after all conversions.
package dkim

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"zmailer/spool/rfc5322"
)

// oversigned are the fields that must not be added on the way.
var oversigned = [...]string{"From", "To", "Cc", "Subject", "Date", "Reply-To", "Message-ID",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}

// signed are fields that are signed as often as they occur. Mailing lists and
// forwarders add some of them for good reasons.
var signed = [...]string{"Sender", "In-Reply-To", "References", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc",
	"Resent-Date", "Resent-Message-ID", "List-Id", "List-Help", "List-Subscribe", "List-Unsubscribe",
	"List-Unsubscribe-Post", "List-Post", "List-Owner", "List-Archive", "Auto-Submitted"}

// Bounds of how many fields of one name are signed: their names stand in one line
// of the signature, which has at most 998 octets (RFC 5322 §2.1.1).
const (
	maxOversigned = 3
	maxSigned     = 2
)

// Sign returns the DKIM-Signature fields of a message, one for each key, with LF as
// line end. write must write the whole message as it goes over the wire, without the
// dots of DATA.
func Sign(keys []*Key, write func(io.Writer) error) ([]byte, error) {
	d := NewDigest()
	if err := write(d); err != nil {
		return nil, err
	}
	if !d.done {
		return nil, errNoHeader
	}
	header, sum, err := d.Close()
	if err != nil {
		return nil, err
	}
	if !header.Has("From") {
		return nil, errNoFrom
	}
	names := fieldsToSign(header)
	var fields bytes.Buffer
	for _, k := range keys {
		algorithm, err := AlgorithmOf(k.signer)
		if err != nil {
			return nil, err
		}
		f, err := SignField(k.signer, "DKIM-Signature", fmt.Sprintf("v=1; a=%s; c=relaxed/relaxed; d=%s; s=%s; t=%d; h=%s; bh=%s; b=",
			algorithm, k.Domain, k.Selector, time.Now().Unix(), strings.Join(names, ":"), base64.StdEncoding.EncodeToString(sum)),
			func(f *rfc5322.Field) string { return SignedText(header, names, f) })
		if err != nil {
			return nil, err
		}
		fields.Write(f.Raw)
	}
	return fields.Bytes(), nil
}

var (
	errNoHeader = errors.New("sign: the message has no end of its header")
	errNoFrom   = errors.New("sign: there is no From") // RFC 6376 §5.4
)

// fieldsToSign is the names for the tag h, RFC 6376 §5.4.
func fieldsToSign(h rfc5322.Header) []string {
	var names []string
	for _, name := range oversigned {
		for range min(h.Count(name), maxOversigned) + 1 {
			names = append(names, name)
		}
	}
	for _, name := range signed {
		for range min(h.Count(name), maxSigned) {
			names = append(names, name)
		}
	}
	return names
}
