package smtp

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"zmailer/agents/protocol"
)

const (
	smallMessage = 256 << 10 // bodies up to this are read and written in one piece
	// Messages up to this go as one BDAT with the envelope. For a larger one the round
	// trip that this saves does not count, and its content is not to go to a host that
	// may take no recipient: it waits for the reply to DATA.
	chunkMessage = 64 << 10
	pieceSize    = 256 << 10 // of larger messages
)

// buffers are for bodies and their SMTP form.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func getBuffer(size int) *[]byte {
	b := buffers.Get().(*[]byte)
	if cap(*b) < size {
		*b = make([]byte, 0, max(size, 16<<10))
	}
	*b = (*b)[:0]
	return b
}

func putBuffer(b *[]byte) {
	if cap(*b) <= 4*pieceSize { // one huge message must not stay in memory
		buffers.Put(b)
	}
}

// A message is the body of a job's message, which all its transactions share.
type message struct {
	body  *io.SectionReader
	small *[]byte // the body, if it is small
	size  int64   // of the body
	lines int64   // in the body
	open  bool    // the last one has no end yet
	eight bool    // the body holds octets that are not ASCII
}

// loadMessage reads a small body, and looks at every body once.
func loadMessage(d *protocol.Delivery) (*message, error) {
	m := &message{body: d.Body()}
	m.size = m.body.Size()
	if m.size <= smallMessage {
		m.small = getBuffer(int(m.size))
		*m.small = (*m.small)[:m.size]
		if n, err := m.body.ReadAt(*m.small, 0); n < int(m.size) {
			return m, fmt.Errorf("read message file: %w", err)
		}
		m.look(*m.small)
		return m, nil
	}
	err := m.pieces(func(p []byte) error {
		m.look(p)
		return nil
	})
	return m, err
}

func (m *message) look(p []byte) {
	m.lines += int64(bytes.Count(p, []byte{'\n'}))
	if len(p) > 0 {
		m.open = p[len(p)-1] != '\n'
	}
	m.eight = m.eight || hasEightBit(p)
}

func (m *message) release() {
	if m.small != nil {
		putBuffer(m.small)
		m.small = nil
	}
}

// A readError is a message file that cannot be read to its end. Nothing of what
// was sent may be taken for the message.
type readError struct{ err error }

func (e *readError) Error() string { return "read message file: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// pieces calls fn with the body, piece by piece.
func (m *message) pieces(fn func([]byte) error) error {
	if m.small != nil {
		return fn(*m.small)
	}
	buf := getBuffer(pieceSize)
	defer putBuffer(buf)
	for off := int64(0); off < m.size; {
		p := (*buf)[:min(pieceSize, m.size-off)]
		n, err := m.body.ReadAt(p, off)
		if n < len(p) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF // the file was cut short
			}
			return &readError{err}
		}
		if err := fn(p); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// A content is what goes out in one transaction: a group's header and the body,
// converted if the peer takes no 8-bit text.
type content struct {
	*message
	signature []byte // DKIM-Signature fields, before the header
	header    []byte
	convert   *converter // nil: as it is
}

// wireSize is the number of octets with SMTP line ends, dots not counted. A CR in
// the text makes it a little too large.
func (ct *content) wireSize() int64 {
	n := int64(len(ct.signature) + bytes.Count(ct.signature, []byte{'\n'}))
	if ct.convert != nil {
		return n + ct.convert.size
	}
	n += ct.message.size + ct.message.lines
	if ct.message.open {
		n += 2
	}
	return n + int64(len(ct.header)+bytes.Count(ct.header, []byte{'\n'}))
}

// encode appends the whole content of a small message.
func (ct *content) encode(dst []byte, dots bool) []byte {
	st := stuffer{dots: dots}
	dst = st.append(dst, ct.signature)
	dst = st.append(dst, ct.header)
	dst = st.append(dst, *ct.small)
	return st.finish(dst)
}

// writeTo hands the text, with the line ends of the spool, to fn.
func (ct *content) writeTo(fn func([]byte) error) error {
	if len(ct.signature) > 0 {
		if err := fn(ct.signature); err != nil {
			return err
		}
	}
	if ct.convert != nil {
		return ct.convert.run(ct.message, fn)
	}
	if err := fn(ct.header); err != nil {
		return err
	}
	return ct.pieces(fn)
}

// sendData writes the content after the reply to DATA. A small message is one
// write, its final dot included; a larger one goes in pieces, each with its time
// limit. The last write is the one that puts the outcome in doubt.
func (s *session) sendData(ct *content) error {
	// With room for some dots. A piece may be twice as long: of lines of a dot each.
	buf := getBuffer(int(min(ct.wireSize(), pieceSize))*17/16 + 16)
	defer putBuffer(buf)
	if ct.small != nil && ct.convert == nil {
		*buf = ct.encode(*buf, true)
		return s.lastPiece(*buf)
	}
	st := stuffer{dots: true}
	err := ct.writeTo(func(p []byte) error {
		*buf = st.append(*buf, p)
		if len(*buf) < pieceSize {
			return nil
		}
		s.phase(s.c.opt.timeouts.data)
		_, err := s.nc.Write(*buf)
		*buf = (*buf)[:0]
		return err
	})
	if err != nil {
		return err
	}
	*buf = st.finish(*buf)
	return s.lastPiece(*buf)
}

// lastPiece writes the end of the content. One deadline covers the write and the
// wait for the reply.
func (s *session) lastPiece(b []byte) error {
	s.log.note("content sent")
	s.commit(s.c.opt.timeouts.dot)
	_, err := s.nc.Write(b)
	return err
}
