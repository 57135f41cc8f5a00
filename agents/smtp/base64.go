package smtp

import (
	"bytes"
	"encoding/base64"
)

// A base64Encoder writes base64, RFC 2045 §6.8, of text whose lines it takes whole or
// in fragments. The line ends of the text are CRLF; that of the last line of a part
// belongs to the delimiter behind it.
type base64Encoder struct {
	rest []byte // less than a group of three, or less than a line
	end  bool   // a line end is held back
}

// base64Line is how many octets make a line of 76.
const base64Line = 57

// append appends a fragment of a line; eol says that the line ends with it.
func (e *base64Encoder) append(dst, frag []byte, eol bool) []byte {
	if eol {
		frag = bytes.TrimSuffix(frag, []byte("\r"))
	}
	if e.end {
		e.rest = append(e.rest, '\r', '\n')
	}
	e.end = eol
	for e.rest = append(e.rest, frag...); len(e.rest) >= base64Line; {
		n := 0
		for ; len(e.rest)-n >= base64Line; n += base64Line {
			dst = base64.StdEncoding.AppendEncode(dst, e.rest[n:n+base64Line])
			dst = append(dst, '\n')
		}
		e.rest = append(e.rest[:0], e.rest[n:]...)
	}
	return dst
}

// finish appends what is left at the end of a part, or of the message.
func (e *base64Encoder) finish(dst []byte, message bool) []byte {
	if e.end && message {
		e.rest = append(e.rest, '\r', '\n')
	}
	for len(e.rest) > 0 {
		n := min(len(e.rest), base64Line)
		dst = base64.StdEncoding.AppendEncode(dst, e.rest[:n])
		dst = append(dst, '\n')
		e.rest = e.rest[n:]
	}
	*e = base64Encoder{rest: e.rest[:0]}
	return dst
}
