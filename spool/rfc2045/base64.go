package rfc2045

import "encoding/base64"

// A Base64 writes base64, RFC 2045 §6.8, of content whose lines it takes whole or
// in pieces. The line ends are CRLF; that of the last line of a part belongs to the
// delimiter behind it. What it writes are lines that end with LF.
type Base64 struct {
	rest []byte // less than a group of three, or less than a line
	end  bool   // a line end is held back
}

// base64Line is how many octets make a line of 76.
const base64Line = 57

// Append appends a piece of a line; eol says that the line ends with it.
func (e *Base64) Append(dst, frag []byte, eol bool) []byte {
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

// Finish appends what is left at the end of a part, or of the message.
func (e *Base64) Finish(dst []byte, message bool) []byte {
	if e.end && message {
		e.rest = append(e.rest, '\r', '\n')
	}
	for rest := e.rest; len(rest) > 0; {
		n := min(len(rest), base64Line)
		dst = base64.StdEncoding.AppendEncode(dst, rest[:n])
		dst = append(dst, '\n')
		rest = rest[n:]
	}
	*e = Base64{rest: e.rest[:0]}
	return dst
}
