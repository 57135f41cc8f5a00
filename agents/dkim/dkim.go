// Package dkim signs mail that leaves this host: DKIM, RFC 6376, with RSA
// (SHA-256) and Ed25519 (RFC 8463).
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
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

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

// maxHeader bounds the header that is held while its end is looked for.
const maxHeader = 4 << 20

var errNoHeader = errors.New("sign: the message has no end of its header")

// Sign returns the DKIM-Signature fields of a message, one for each key, with LF as
// line end. write must write the whole message with CRLF, as it goes over the wire,
// without the dots of DATA.
func Sign(keys []*Key, write func(io.Writer) error) ([]byte, error) {
	s := signing{keys: keys}
	err := write(&s)
	if err == nil && s.signers == nil {
		err = errNoHeader
	}
	var fields bytes.Buffer
	for _, signer := range s.signers {
		// Each must be closed, or its goroutine would wait for ever.
		if cerr := signer.Close(); cerr != nil && err == nil {
			err = cerr
		}
		if err == nil {
			fields.WriteString(strings.ReplaceAll(signer.Signature(), "\r\n", "\n"))
		}
	}
	if err != nil {
		return nil, err
	}
	return fields.Bytes(), nil
}

// A signing takes a message. What is signed of the header is known when its end
// has been seen; until then it is kept.
type signing struct {
	keys    []*Key
	header  []byte
	signers []*dkim.Signer // nil: the end of the header is still to come
}

func (s *signing) Write(p []byte) (int, error) {
	if s.signers != nil {
		return len(p), s.pass(p)
	}
	from := max(len(s.header)-3, 0)
	s.header = append(s.header, p...)
	if !bytes.Contains(s.header[from:], []byte("\r\n\r\n")) && !bytes.HasPrefix(s.header, []byte("\r\n")) {
		if len(s.header) > maxHeader {
			return 0, errNoHeader
		}
		return len(p), nil
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	return len(p), s.pass(s.header)
}

func (s *signing) begin() error {
	h, _, err := rfc5322.ParseHeader(s.header)
	if err != nil {
		return err
	}
	fields := fieldsToSign(h)
	for _, k := range s.keys {
		signer, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: k.Domain, Selector: k.Selector, Signer: k.signer, HeaderKeys: fields,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			return err
		}
		s.signers = append(s.signers, signer)
	}
	return nil
}

func (s *signing) pass(p []byte) error {
	for _, signer := range s.signers {
		if _, err := signer.Write(p); err != nil {
			return err
		}
	}
	return nil
}

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
