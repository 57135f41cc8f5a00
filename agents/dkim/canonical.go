package dkim

import (
	"bytes"
	"io"
	"strings"

	"zmailer/spool/rfc5322"
)

// RelaxedField is a field as RFC 6376 §3.4.2 wants it, with its CRLF.
func RelaxedField(f *rfc5322.Field) string {
	return strings.ToLower(f.Name()) + ":" + strings.Trim(squeeze(f.Unfolded()), " ") + "\r\n" // no other white space, such as U+00A0
}

// SimpleField is a field as it stands, with CRLF.
func SimpleField(f *rfc5322.Field) string {
	s := strings.ReplaceAll(string(f.Raw), "\r\n", "\n")
	if !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// squeeze makes one blank of every run of white space.
func squeeze(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	blank := false
	for i := range len(s) {
		switch c := s[i]; c {
		case ' ', '\t':
			blank = true
		default:
			if blank {
				b.WriteByte(' ')
				blank = false
			}
			b.WriteByte(c)
		}
	}
	if blank {
		b.WriteByte(' ')
	}
	return b.String()
}

// WithoutSignature is a field with the value of its tag b left out, RFC 6376 §3.5.
func WithoutSignature(f *rfc5322.Field) *rfc5322.Field {
	raw := f.Raw
	from := bytes.IndexByte(raw, ':') + 1
	for from < len(raw) {
		end := len(raw)
		if i := bytes.IndexByte(raw[from:], ';'); i >= 0 {
			end = from + i
		}
		name, _, ok := bytes.Cut(raw[from:end], []byte("="))
		if ok && string(bytes.TrimSpace(name)) == "b" {
			at := from + len(name) + 1
			return &rfc5322.Field{Raw: append(append([]byte(nil), raw[:at]...), raw[end:]...)}
		}
		from = end + 1
	}
	return f
}

// A BodyWriter canonicalizes a body of lines that end with LF or CRLF: RFC 6376
// §3.4.3 and §3.4.4. Empty lines at the end are held back until more follows.
type BodyWriter struct {
	W       io.Writer
	Relaxed bool

	line  []byte
	empty int  // lines that wait
	any   bool // something has been written
}

// maxBodyLine bounds what is held of a line. A longer one is passed on in pieces, but
// for its last octets: whether a blank and a CR belong to the text or to the end of
// the line shows when more has come.
const (
	maxBodyLine = 1 << 20
	heldOctets  = len("x \r")
)

func (b *BodyWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			b.line = append(b.line, p...)
			if len(b.line) > maxBodyLine {
				return n, b.piece()
			}
			return n, nil
		}
		line := p[:i]
		if len(b.line) > 0 {
			b.line = append(b.line, line...)
			line = b.line
		}
		if err := b.put(line); err != nil {
			return n, err
		}
		b.line, p = b.line[:0], p[i+1:]
	}
	return n, nil
}

// put writes a line that is whole, without its end.
func (b *BodyWriter) put(line []byte) error {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if b.Relaxed {
		line = []byte(strings.TrimRight(squeeze(string(line)), " "))
	}
	if len(line) == 0 {
		b.empty++
		return nil
	}
	if err := b.flush(); err != nil {
		return err
	}
	_, err := b.W.Write(append(line[:len(line):len(line)], "\r\n"...))
	return err
}

// piece writes the beginning of a line that is too long to be held.
func (b *BodyWriter) piece() error {
	text := b.line
	if b.Relaxed {
		text = []byte(squeeze(string(text)))
	}
	if n := len(text) - heldOctets; n > 0 {
		if err := b.flush(); err != nil {
			return err
		}
		if _, err := b.W.Write(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	b.line = append(b.line[:0], text...)
	return nil
}

func (b *BodyWriter) flush() error {
	for b.any = true; b.empty > 0; b.empty-- {
		if _, err := io.WriteString(b.W, "\r\n"); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the body. An empty one is one empty line in the simple form and
// nothing in the relaxed one.
func (b *BodyWriter) Close() error {
	if len(b.line) > 0 {
		if err := b.put(b.line); err != nil {
			return err
		}
	}
	if !b.any && !b.Relaxed {
		_, err := io.WriteString(b.W, "\r\n")
		return err
	}
	return nil
}
