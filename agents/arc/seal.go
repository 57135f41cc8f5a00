package arc

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"zmailer/agents/dkim"
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

const maxSame = 3 // signed fields of one name

// ErrNoSeal says that nobody can add to the chain of a message: it has failed
// before, is full, was not looked at, or there is no From to sign.
var ErrNoSeal = errors.New("chain cannot go on")

// Seal makes the fields of the next set of a message, with LF as line end, to
// stand on top of its header. results is what this host found when the message
// came, the body of its Authentication-Results field, and status what that says
// of the chain. write must write the whole message as it goes over the wire, with
// LF or CRLF.
func Seal(k *Key, results string, status Status, write func(io.Writer) error) ([]byte, error) {
	d := dkim.NewDigest()
	if err := write(d); err != nil {
		return nil, err
	}
	header, sum, err := d.Close()
	if err != nil {
		return nil, err
	}
	return nextSet(k, header, sum, results, status)
}

// nextSet makes the set: RFC 8617 §5.1.
func nextSet(k *Key, header rfc5322.Header, sum []byte, results string, status Status) ([]byte, error) {
	algorithm, err := dkim.AlgorithmOf(k.Signer)
	if err != nil {
		return nil, err
	}
	chain, err := sets(header)
	if err != nil {
		chain, status = nil, Fail // what there is cannot be read
	}
	n := highest(header)
	switch {
	case status != None && status != Pass && status != Fail:
		return nil, fmt.Errorf("%w: it is %q", ErrNoSeal, status)
	case n >= maxSets || n > 0 && err == nil && strings.EqualFold(chain[n-1].tags["cv"], "fail"):
		return nil, ErrNoSeal
	case !header.Has("From"):
		return nil, fmt.Errorf("%w: no From", ErrNoSeal) // RFC 6376 §5.4
	case n == 0:
		status = None
	case status == None:
		return nil, fmt.Errorf("%w: it was not looked at", ErrNoSeal)
	}
	own := set{results: field(resultsField, fmt.Sprintf("i=%d; %s", n+1, rfc5322.OneLine(results, maxField/2)))}
	now := time.Now().Unix()
	names := present(header)
	own.message, err = dkim.SignField(k.Signer, messageField, fmt.Sprintf("i=%d; a=%s; c=relaxed/relaxed; d=%s; s=%s; t=%d; h=%s; bh=%s; b=",
		n+1, algorithm, k.Domain, k.Selector, now, strings.Join(names, ":"), base64.StdEncoding.EncodeToString(sum)),
		func(f *rfc5322.Field) string { return dkim.SignedText(header, names, f) })
	if err != nil {
		return nil, err
	}
	if status == Fail {
		chain = nil // RFC 8617 §5.1.2: the seal is over this set alone
	}
	own.seal, err = dkim.SignField(k.Signer, sealField, fmt.Sprintf("i=%d; a=%s; cv=%s; d=%s; s=%s; t=%d; b=", n+1, algorithm, status, k.Domain, k.Selector, now),
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
