package rfc5322

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Field is one header field as it stands in the message: name, colon, body,
// continuation lines, the line end of the last one.
type Field struct {
	Raw []byte
}

// NewField makes a field of a name and a body. The body cannot break out of
// it: line ends in it are kept only where the next line is a continuation,
// NULs never. The name must be one, see [ValidFieldName].
func NewField(name, body string) (Field, error) {
	if !ValidFieldName(name) {
		return Field{}, fmt.Errorf("header field: invalid name %q", OneLine(name, 80))
	}
	raw := make([]byte, 0, len(name)+len(body)+3)
	raw = append(raw, name...)
	raw = append(raw, ": "...)
	raw = appendBody(raw, strings.Trim(body, " \t\r\n"))
	return Field{append(raw, '\n')}, nil
}

// appendBody appends text with line ends only where a fold is.
func appendBody(b []byte, body string) []byte {
	for i := 0; i < len(body); i++ {
		switch c := body[i]; c {
		case '\r':
			if i+1 == len(body) || body[i+1] != '\n' {
				b = append(b, ' ')
			}
		case '\n':
			// A line of nothing but white space would end the header for some.
			next := run(body, i+1, isSpace)
			if i+1 < len(body) && (body[i+1] == ' ' || body[i+1] == '\t') && next < len(body) &&
				strings.IndexByte(body[i+1:next], '\n') < 0 {
				b = append(b, '\n')
			} else {
				b = append(b, ' ')
			}
		case 0:
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return b
}

// ValidFieldName tells an RFC 5322 §2.2 field name.
func ValidFieldName(name string) bool {
	return name != "" && len(name) < 256 && run(name, 0, isField) == len(name)
}

// name returns the octets of the name.
func (f Field) name() []byte {
	i := bytes.IndexByte(f.Raw, ':')
	if i < 0 {
		return nil
	}
	return bytes.TrimRight(f.Raw[:i], " \t")
}

// Name is the name as it was written.
func (f Field) Name() string { return string(f.name()) }

// Is compares the name without regard to case.
func (f Field) Is(name string) bool {
	return name != "" && len(f.Raw) > len(name) && lower(f.Raw[0]) == lower(name[0]) && equalFold(f.name(), name)
}

// Body is everything after the colon, as it was written.
func (f Field) Body() []byte { return f.Raw[bytes.IndexByte(f.Raw, ':')+1:] }

// Unfolded is the body in one line: the line ends of folds are removed, white
// space around the body too.
func (f Field) Unfolded() string {
	body := bytes.Trim(f.Body(), " \t\r\n")
	if bytes.IndexByte(body, '\n') < 0 {
		return string(body)
	}
	out := make([]byte, 0, len(body))
	for line := range bytes.Lines(body) {
		out = append(out, bytes.TrimRight(line, "\r\n")...)
	}
	return string(out)
}

// Header is the fields of a message in their order.
type Header []Field

// ParseHeader cuts the header at the start of b into its fields. It copies
// nothing: the fields are slices of b. Appended, they are b[:n], and
// b[n:bodyOffset] is the empty line that ends the header, or nothing when
// there is none: a line that is no field ends the header too, as it does in
// Sendmail, and is the first of the body. Lines may end with LF or CRLF.
//
// With more than [MaxFields] fields it stops there, with [ErrTooLarge].
func ParseHeader(b []byte) (h Header, bodyOffset int, err error) {
	pos := 0
	for pos < len(b) {
		if n := emptyLine(b[pos:]); n > 0 {
			return h, pos + n, nil
		}
		if nameEnd(b[pos:]) <= 0 {
			return h, pos, nil
		}
		if len(h) == MaxFields {
			return h, pos, fmt.Errorf("header: more than %d fields: %w", MaxFields, ErrTooLarge)
		}
		if h == nil {
			h = make(Header, 0, 24)
		}
		start := pos
		pos = lineEnd(b, pos)
		for pos < len(b) && (b[pos] == ' ' || b[pos] == '\t') {
			pos = lineEnd(b, pos)
		}
		h = append(h, Field{b[start:pos:pos]})
	}
	return h, pos, nil
}

func lineEnd(b []byte, pos int) int {
	if n := bytes.IndexByte(b[pos:], '\n'); n >= 0 {
		return pos + n + 1
	}
	return len(b)
}

// emptyLine is the length of the empty line that b starts with, or 0.
func emptyLine(b []byte) int {
	switch {
	case len(b) > 0 && b[0] == '\n':
		return 1
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2
	}
	return 0
}

// nameEnd returns the offset behind the colon of the field name that b starts
// with; 0 if there is none, -1 if b is too short to know.
func nameEnd(b []byte) int {
	i := 0
	for i < len(b) && class[b[i]]&isField != 0 {
		i++
	}
	if i == 0 && len(b) > 0 {
		return 0
	}
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') { // RFC 5322 §4.5
		i++
	}
	switch {
	case i == len(b):
		return -1
	case b[i] == ':':
		return i + 1
	}
	return 0
}

// Len is the number of octets of all fields.
func (h Header) Len() (n int) {
	for _, f := range h {
		n += len(f.Raw)
	}
	return n
}

// Bytes is the header as it stands before the empty line.
func (h Header) Bytes() []byte {
	b := make([]byte, 0, h.Len())
	for _, f := range h {
		b = append(b, f.Raw...)
	}
	return b
}

// WriteTo writes what Bytes returns.
func (h Header) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(h.Bytes())
	return int64(n), err
}

// Index is the index of the first field of that name, or -1.
func (h Header) Index(name string) int {
	for i, f := range h {
		if f.Is(name) {
			return i
		}
	}
	return -1
}

// Has tells whether there is a field of that name.
func (h Header) Has(name string) bool { return h.Index(name) >= 0 }

// Get is the unfolded body of the first field of that name, or "".
func (h Header) Get(name string) string {
	if i := h.Index(name); i >= 0 {
		return h[i].Unfolded()
	}
	return ""
}

// All is the unfolded bodies of all fields of that name.
func (h Header) All(name string) (bodies []string) {
	for _, f := range h {
		if f.Is(name) {
			bodies = append(bodies, f.Unfolded())
		}
	}
	return bodies
}

// Count is the number of fields of that name.
func (h Header) Count(name string) (n int) {
	for _, f := range h {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// Hops is the number of Received fields, by which loops are found: RFC 5321
// §6.3.
func (h Header) Hops() int { return h.Count("Received") }

// Del removes the fields of these names and returns how many they were. The
// array of h is not written to, so that copies of h stay whole.
func (h *Header) Del(names ...string) int {
	kept := make(Header, 0, len(*h))
next:
	for _, f := range *h {
		for _, name := range names {
			if f.Is(name) {
				continue next
			}
		}
		kept = append(kept, f)
	}
	n := len(*h) - len(kept)
	if n > 0 {
		*h = kept
	}
	return n
}

// Prepend puts fields before all others.
func (h *Header) Prepend(fields ...Field) {
	all := make(Header, 0, len(fields)+len(*h))
	*h = append(append(all, fields...), *h...).ended()
}

// Append puts fields after all others.
func (h *Header) Append(fields ...Field) {
	all := make(Header, 0, len(fields)+len(*h))
	*h = append(append(all, *h...), fields...).ended()
}

// Set puts f in the place of the first field of its name and removes the
// others; without one it is appended.
func (h *Header) Set(f Field) {
	name := f.Name()
	i := h.Index(name)
	if i < 0 {
		h.Append(f)
		return
	}
	all := make(Header, 0, len(*h))
	for j, old := range *h {
		if j == i {
			all = append(all, f)
		} else if !old.Is(name) {
			all = append(all, old)
		}
	}
	*h = all.ended()
}

// ended sees to it that each field ends its line: the last one of a message
// without a body may not have.
func (h Header) ended() Header {
	for i, f := range h {
		if n := len(f.Raw); n > 0 && f.Raw[n-1] != '\n' {
			h[i].Raw = append(f.Raw[:n:n], '\n')
		}
	}
	return h
}
