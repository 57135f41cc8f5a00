package mailauth

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"

	"zmailer/shellcfg/resolver"
)

// A DKIMResult is the outcome of one signature.
type DKIMResult struct {
	Value      authres.ResultValue
	Domain     string // d=
	Identifier string // i=
	Reason     string // why it is no good
}

// maxSignatures bounds the work for one message; RFC 6376 §6.1 lets a verifier
// stop.
const maxSignatures = 10

// DKIM verifies the signatures of a message as it came over the wire. A message
// without any has the one result "none".
func DKIM(ctx context.Context, d DNS, msg io.Reader) []DKIMResult {
	verified, err := dkim.VerifyWithOptions(msg, &dkim.VerifyOptions{
		MaxVerifications: maxSignatures,
		LookupTXT: func(name string) ([]string, error) {
			texts, err := d.TXT(ctx, name)
			if err != nil {
				none := resolver.StatusOf(err) == resolver.NotFound
				return nil, &net.DNSError{Err: err.Error(), Name: name, IsNotFound: none, IsTemporary: !none}
			}
			return texts, nil
		},
	})
	if err != nil && err != dkim.ErrTooManySignatures {
		return []DKIMResult{{Value: authres.ResultPermError, Reason: err.Error()}}
	}
	if len(verified) == 0 {
		return []DKIMResult{{Value: authres.ResultNone}}
	}
	out := make([]DKIMResult, len(verified))
	for i, v := range verified {
		out[i] = DKIMResult{Value: authres.ResultPass, Domain: strings.ToLower(v.Domain), Identifier: v.Identifier}
		switch {
		case v.Err == nil:
			continue
		case dkim.IsTempFail(v.Err):
			out[i].Value = authres.ResultTempError
		case dkim.IsPermFail(v.Err):
			out[i].Value = authres.ResultPermError
		default:
			out[i].Value = authres.ResultFail
		}
		out[i].Reason = strings.TrimPrefix(v.Err.Error(), "dkim: ")
	}
	return out
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
