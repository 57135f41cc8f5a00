package smtpserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"zmailer/spool/rfc2045"
	"zmailer/spool/rfc5322"
)

// A converter makes lines of a message that came with BODY=BINARYMIME, RFC 3030 §3,
// while it comes: content labelled "binary" becomes base64, the multiparts and
// messages around it "8bit". Everything behind this server, the next hosts included,
// then handles it as the 8BITMIME message that it is. DKIM wants the same before a
// message is signed: RFC 6376 §5.3.
//
// No octet of a content changes, so what cannot be encoded, by RFC 2046 §5.2 or
// because it is signed, is taken only if it is made of lines, as is what has
// another label.
type converter struct {
	w    io.Writer
	walk rfc2045.Walker
	b64  rfc2045.Base64

	encode bool   // the content being read becomes base64
	rest   []byte // of a line whose end has not come
	out    []byte
	open   bool // what was written does not end a line
}

var (
	errSealed = errors.New("binary content that is signed or must not be encoded")
	errHeader = errors.New("a line that is no header field in a header")
)

// maxPiece is how long a line may be that is treated as a whole.
const maxPiece = 4 << 10

func newConverter(w io.Writer) *converter {
	c := &converter{w: w}
	c.walk.Visitor = c
	return c
}

// Write takes octets of the message as they come from the wire.
func (c *converter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), maxPiece)
		seen := max(len(c.rest)-1, 0) // a CR at the end waits for its LF
		c.rest = append(c.rest, p[:k]...)
		p = p[k:]
		if err := c.lines(seen); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// lines passes on the lines that are whole: those that end with CR LF. The first
// octets of rest are known to hold no end.
func (c *converter) lines(seen int) error {
	text := c.rest
	for {
		i := bytes.Index(text[seen:], []byte("\r\n"))
		if i < 0 {
			break
		}
		if err := c.line(text[:seen+i], true); err != nil {
			return err
		}
		text, seen = text[seen+i+2:], 0
	}
	if len(text) > maxPiece {
		k := len(text)
		if text[k-1] == '\r' {
			k--
		}
		if err := c.line(text[:k], false); err != nil {
			return err
		}
		text = text[k:]
	}
	c.rest = append(c.rest[:0], text...)
	return nil
}

// line passes on a line or a piece of one.
func (c *converter) line(frag []byte, eol bool) error {
	if c.walk.InHead() && unclean(frag) {
		return errBareCR
	}
	if err := c.walk.Line(frag, eol); err != nil {
		return err
	}
	return c.flush(maxPiece)
}

// unclean tells octets that no line may hold.
func unclean(p []byte) bool { return bytes.ContainsAny(p, "\r\n\x00") }

func (c *converter) flush(least int) error {
	if len(c.out) <= least {
		return nil
	}
	_, err := c.w.Write(c.out)
	c.open = c.out[len(c.out)-1] != '\n'
	c.out = c.out[:0]
	return err
}

// Close ends the message. Like every other, it ends with a line end.
func (c *converter) Close() error {
	if len(c.rest) > 0 {
		if err := c.line(c.rest, false); err != nil {
			return err
		}
	}
	if err := c.walk.End(); err != nil {
		return err
	}
	if err := c.flush(0); err != nil || !c.open {
		return err
	}
	_, err := io.WriteString(c.w, "\n")
	return err
}

// Head relabels what will be encoded, and what holds it.
func (c *converter) Head(p *rfc2045.Part, head []byte) error {
	// Where one reader sees a header and another a content, both must not depend on
	// what is written here.
	if _, off, err := rfc5322.ParseHeader(head); err != nil {
		return fmt.Errorf("%w: %w", errHeader, err)
	} else if off < len(head) {
		return errHeader
	}
	if p.Encoding == "binary" && !p.Signed {
		to := "8bit"
		if p.Kind == rfc2045.Leaf {
			c.encode, to = true, "base64"
		}
		head = rfc2045.SetEncoding(head, to)
	}
	c.out = append(c.out, head...)
	return nil
}

// Content encodes a piece of a content, or passes it on as it is.
func (c *converter) Content(p *rfc2045.Part, frag []byte, eol bool) error {
	switch {
	case c.encode:
		c.out = c.b64.Append(c.out, frag, eol)
		return nil
	case unclean(frag) && p.Encoding == "binary":
		return errSealed
	case unclean(frag):
		return errBareCR
	}
	c.out = append(c.out, frag...)
	if eol {
		c.out = append(c.out, '\n')
	}
	return nil
}

// Delimiter ends a content.
func (c *converter) Delimiter(line []byte) error {
	if c.encode {
		c.out = c.b64.Finish(c.out, line == nil)
		c.encode = false
	}
	if line == nil {
		return nil
	}
	if unclean(line) {
		return errBareCR
	}
	c.out = append(append(c.out, line...), '\n')
	return nil
}
