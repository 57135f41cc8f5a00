package arc

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"zmailer/spool/rfc5322"
)

// A Key seals for a domain.
type Key struct {
	Domain, Selector string
	Signer           crypto.Signer // of RSA or Ed25519
}

// signedFields are what an ARC-Message-Signature covers, if the message has it.
// RFC 8617 §4.1.2 forbids ARC-Seal among them.
var signedFields = []string{"From", "To", "Cc", "Subject", "Date", "Reply-To", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Sender", "List-Id", "List-Unsubscribe", "DKIM-Signature"}

const (
	maxSame   = 3       // signed fields of one name
	maxHeader = 4 << 20 // held while its end is looked for
	lineWidth = 76
)

// ErrNoSeal says that nobody can add to the chain of a message: it has failed
// before, is full, was not looked at, or there is no From to sign.
var ErrNoSeal = errors.New("chain cannot go on")

// Seal makes the fields of the next set of a message, with LF as line end, to
// stand on top of its header. results is what this host found when the message
// came, the body of its Authentication-Results field, and status what that says
// of the chain. write must write the whole message as it goes over the wire, with
// LF or CRLF.
func Seal(k *Key, results string, status Status, write func(io.Writer) error) ([]byte, error) {
	m := sealing{digest: sha256.New()}
	m.body = &bodyWriter{w: m.digest, relaxed: true}
	err := write(&m)
	if err == nil {
		err = m.end()
	}
	if err != nil {
		return nil, err
	}
	return m.seal(k, results, status)
}

// A sealing takes a message.
type sealing struct {
	head   []byte // until the end of the header has been seen
	header rfc5322.Header
	done   bool
	digest hash.Hash
	body   *bodyWriter
}

func (m *sealing) Write(p []byte) (int, error) {
	if m.done {
		return m.body.Write(p)
	}
	from := max(len(m.head)-3, 0)
	m.head = append(m.head, p...)
	if !bytes.Contains(m.head[from:], []byte("\n\n")) && !bytes.Contains(m.head[from:], []byte("\n\r\n")) {
		if len(m.head) > maxHeader {
			return 0, rfc5322.ErrTooLarge
		}
		return len(p), nil
	}
	return len(p), m.begin()
}

func (m *sealing) begin() error {
	h, at, err := rfc5322.ParseHeader(m.head)
	if err != nil {
		return err
	}
	m.header, m.done = h, true
	_, err = m.body.Write(m.head[at:])
	return err
}

func (m *sealing) end() error {
	if !m.done {
		if err := m.begin(); err != nil {
			return err
		}
	}
	return m.body.Close()
}

// seal makes the set: RFC 8617 §5.1.
func (m *sealing) seal(k *Key, results string, status Status) ([]byte, error) {
	algorithm, err := algorithmOf(k.Signer)
	if err != nil {
		return nil, err
	}
	chain, err := sets(m.header)
	if err != nil {
		chain, status = nil, Fail // what there is cannot be read
	}
	n := highest(m.header)
	switch {
	case status != None && status != Pass && status != Fail:
		return nil, fmt.Errorf("%w: it is %q", ErrNoSeal, status)
	case n >= maxSets || n > 0 && err == nil && strings.EqualFold(chain[n-1].tags["cv"], "fail"):
		return nil, ErrNoSeal
	case !m.header.Has("From"):
		return nil, fmt.Errorf("%w: no From", ErrNoSeal) // RFC 6376 §5.4
	case n == 0:
		status = None
	case status == None:
		return nil, fmt.Errorf("%w: it was not looked at", ErrNoSeal)
	}
	own := set{results: field(resultsField, fmt.Sprintf("i=%d; %s", n+1, rfc5322.OneLine(results, maxField/2)))}
	now := time.Now().Unix()
	names := present(m.header)
	own.message, err = signed(k, messageField, fmt.Sprintf("i=%d; a=%s; c=relaxed/relaxed; d=%s; s=%s; t=%d; h=%s; bh=%s; b=",
		n+1, algorithm, k.Domain, k.Selector, now, strings.Join(names, ":"), base64.StdEncoding.EncodeToString(m.digest.Sum(nil))),
		func(f *rfc5322.Field) string {
			var b strings.Builder
			for _, h := range pick(m.header, names) {
				b.WriteString(relaxedField(h))
			}
			return b.String() + strings.TrimSuffix(relaxedField(f), "\r\n")
		})
	if err != nil {
		return nil, err
	}
	if status == Fail {
		chain = nil // RFC 8617 §5.1.2: the seal is over this set alone
	}
	own.seal, err = signed(k, sealField, fmt.Sprintf("i=%d; a=%s; cv=%s; d=%s; s=%s; t=%d; b=", n+1, algorithm, status, k.Domain, k.Selector, now),
		func(f *rfc5322.Field) string {
			own.seal = f
			return sealed(append(chain[:len(chain):len(chain)], own))
		})
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{own.seal.Raw, own.message.Raw, own.results.Raw}, nil), nil
}

// highest is the highest instance in a header, as far as that can be read.
func highest(h rfc5322.Header) int {
	most := 0
	for i := range h {
		if h[i].Is(resultsField) || h[i].Is(messageField) || h[i].Is(sealField) {
			n, err := instance(&h[i])
			if err != nil {
				n = 1
			}
			most = max(most, n)
		}
	}
	return most
}

// present are the names for the tag h.
func present(h rfc5322.Header) []string {
	var names []string
	for _, name := range signedFields {
		for range min(h.Count(name), maxSame) {
			names = append(names, name)
		}
	}
	return names
}

func field(name, body string) *rfc5322.Field {
	return &rfc5322.Field{Raw: []byte(rfc5322.FoldText(name, body))}
}

// signed makes a field whose text ends with an empty tag b, and fills that. text
// is what is signed of the field with the empty tag.
func signed(k *Key, name, tags string, text func(*rfc5322.Field) string) (*rfc5322.Field, error) {
	f := field(name, tags)
	sig, err := sign(k.Signer, text(f))
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
