package mailauth

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/emersion/go-msgauth/authres"

	"zmailer/agents/dkim"
	"zmailer/shellcfg/resolver"
	"zmailer/spool/rfc5322"
)

// A DKIMResult is the outcome of one signature.
type DKIMResult struct {
	Value      authres.ResultValue
	Domain     string // d=
	Identifier string // i=
	Selector   string // s=
	Reason     string // why it is no good
}

// maxSignatures bounds the work for one message; RFC 6376 §6.1 lets a verifier
// stop.
const maxSignatures = 10

// DKIM verifies the signatures of a message whose lines end with LF or CRLF. A
// message without any has the one result "none".
func DKIM(ctx context.Context, d DNS, msg io.Reader) []DKIMResult {
	br := bufio.NewReader(msg)
	var h rfc5322.Header
	head, _, err := rfc5322.ReadHeader(br, maxHeader)
	if err == nil {
		h, _, err = rfc5322.ParseHeader(head)
	}
	if err != nil {
		return []DKIMResult{{Value: authres.ResultPermError, Reason: "header cannot be read"}}
	}
	list, err := dkim.Verify(ctx, keyLookup(d), h, br, maxSignatures)
	if err != nil {
		return []DKIMResult{{Value: authres.ResultTempError, Reason: "message cannot be read"}}
	}
	if len(list) == 0 {
		return []DKIMResult{{Value: authres.ResultNone}}
	}
	out := make([]DKIMResult, len(list))
	for i, v := range list {
		out[i] = DKIMResult{authres.ResultValue(v.Status), v.Domain, v.Identifier, v.Selector, v.Reason}
	}
	return out
}

// maxHeader bounds the header that is looked at.
const maxHeader = 1 << 20

// keyLookup asks for the keys of signatures.
func keyLookup(d DNS) dkim.TXT {
	return func(ctx context.Context, name string) ([]string, error) {
		texts, err := d.TXT(ctx, name)
		if err != nil && resolver.StatusOf(err) == resolver.NotFound {
			err = errors.Join(dkim.ErrNoKey, err)
		}
		return texts, err
	}
}

func (r *DKIMResult) result() authres.Result {
	return &authres.GenericResult{Method: "dkim", Value: r.Value, Params: map[string]string{
		"reason": plain(r.Reason), "header.d": plain(r.Domain), "header.i": plain(r.Identifier), "header.s": plain(r.Selector),
	}}
}

// crlf gives lines back the end that they had on the wire.
type crlf struct {
	r    io.Reader
	buf  [16 << 10]byte
	rest []byte // read and not yet given out
	cr   bool   // the CR of the LF that comes next has been given out
}

func (c *crlf) Read(p []byte) (n int, err error) {
	if len(c.rest) == 0 {
		n, err := c.r.Read(c.buf[:])
		if n == 0 {
			return 0, err
		}
		c.rest = c.buf[:n] // an error will come again
	}
	for n < len(p) && len(c.rest) > 0 {
		if c.rest[0] == '\n' {
			if !c.cr {
				p[n] = '\r'
				n, c.cr = n+1, true
				continue
			}
			p[n] = '\n'
			n, c.cr = n+1, false
			c.rest = c.rest[1:]
			continue
		}
		line := c.rest
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
		}
		k := copy(p[n:], line)
		n += k
		c.rest = c.rest[k:]
	}
	return n, nil
}
