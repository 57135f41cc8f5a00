package sendmail

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// maxHeader bounds the header, which is held in memory: enough for as many
// recipients as an envelope may have.
const maxHeader = 16 << 20

// A message is what was read so far: all of a small one, and of a large one the
// header and the beginning of the body.
type message struct {
	header rfc5322.Header
	body   []byte // what follows the header's empty line, as far as it was read
	rest   io.Reader
	whole  bool // nothing is left in rest
	begun  bool // some of rest was given away and is not here any more
}

// readMessage reads a message until its header is complete, and as much of the
// body as the spool keeps in memory.
func readMessage(src io.Reader) (*message, error) {
	m := &message{rest: src}
	var buf bytes.Buffer
	buf.Grow(4 << 10)
	for limit := int64(spool.SmallMessage); ; limit *= 4 {
		_, err := io.CopyN(&buf, src, limit-int64(buf.Len()))
		m.whole = errors.Is(err, io.EOF)
		if err != nil && !m.whole {
			return nil, err
		}
		head := dropFromLines(buf.Bytes())
		ended, err := m.cut(head)
		if err != nil {
			return nil, proc.Exit(proc.DataErr, "header: %w", err)
		}
		if ended || m.whole {
			return m, nil
		}
		if limit >= maxHeader {
			return nil, proc.Exit(proc.DataErr, "header is larger than %d bytes", maxHeader)
		}
	}
}

// cut divides what was read into header and body, and reports whether the end of
// the header was among it.
func (m *message) cut(head []byte) (ended bool, err error) {
	lines := head
	if i := bytes.LastIndexByte(head, '\n'); i >= 0 && !m.whole {
		lines = head[:i+1] // the name of a field may be cut in two
	}
	h, offset, err := rfc5322.ParseHeader(lines)
	if err != nil {
		return false, err
	}
	ended = offset > h.Len() || offset < len(lines)
	for i, f := range h {
		// A CR at the end of a header line means nothing in any message; in one whose
		// first line had none (mail() of PHP mixes them) it is not text either.
		if bytes.Contains(f.Raw, []byte("\r\n")) {
			h[i].Raw = bytes.ReplaceAll(f.Raw, []byte("\r\n"), []byte("\n"))
		}
	}
	m.header, m.body = h, head[offset:]
	return ended, nil
}

// dropFromLines removes the line that a mailbox file has before a message. It
// does so only if it can be one: before a header or an empty line. Text that
// happens to begin with "From " stays.
func dropFromLines(b []byte) []byte {
	rest := b
	for bytes.HasPrefix(rest, []byte("From ")) || bytes.HasPrefix(rest, []byte(">From ")) {
		eol := bytes.IndexByte(rest, '\n')
		if eol < 0 {
			return b
		}
		rest = rest[eol+1:]
	}
	if len(rest) == len(b) || len(rest) == 0 {
		return b
	}
	if _, offset, err := rfc5322.ParseHeader(rest); err != nil || offset == 0 {
		return b
	}
	return rest
}

// hideBcc takes the fields out that no recipient may see.
func (m *message) hideBcc() { m.header.Del("Bcc", "Resent-Bcc") }

// eightBit says whether 8-bit bytes were seen, or could follow.
func (m *message) eightBit() bool {
	if !m.whole {
		// The envelope is written before the rest has been seen. To declare 8BITMIME
		// promises nothing about the bytes, it only allows them (RFC 6152 §3).
		return true
	}
	for _, f := range m.header {
		if !isASCII(f.Raw) {
			return true
		}
	}
	return !isASCII(m.body)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// writeTo writes the message: the header, an empty line, the body. Where the
// input had no empty line (text without a header, or behind one) it gets one,
// lest the text is taken for fields.
func (m *message) writeTo(w io.Writer) error {
	if _, err := m.header.WriteTo(w); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	if _, err := w.Write(m.body); err != nil {
		return err
	}
	if m.whole {
		return nil
	}
	m.begun = true
	// Bare of other methods, so that io.Copy does not write a piece a line.
	buf := make([]byte, sourceBuffer)
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{m.rest}, buf); err != nil {
		return fmt.Errorf("copy the message: %w", err)
	}
	return nil
}
