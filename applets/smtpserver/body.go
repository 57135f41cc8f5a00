package smtpserver

import (
	"bytes"
	"errors"
	"io"
)

// A body takes the octets of a message from the wire and writes them with LF
// line ends. The first thing that is wrong with them is remembered, after which
// nothing more is written; the end of the message is found all the same.
type body struct {
	w     io.Writer
	lines *converter // instead of w, for octets that are no lines
	wire  io.Writer  // gets those octets, too, unless it is nil
	limit int64      // octets as on the wire, without stuffed dots; 0: none
	size  int64
	fault error // errBareLF, errBareCR, errNUL, errTooBig or an error of w or lines

	heldCR  bool // a chunk ended in the CR of a CR LF
	partial bool // the last line has no end yet
}

var errTooBig = errors.New("message too big")

// maxDrain is how much more than the limit is read, and thrown away, of a
// message that is too big, before the session is ended without its end.
const maxDrain = 16 << 20

// overdrawn tells that the client goes on sending a message long after it
// became too big.
func (b *body) overdrawn() bool { return b.limit > 0 && b.size > b.limit+maxDrain }

func (b *body) blame(err error) {
	if b.fault == nil {
		b.fault = err
	}
}

// write passes on octets that are free of CR.
func (b *body) write(p []byte) {
	if b.fault != nil {
		return
	}
	if bytes.IndexByte(p, 0) >= 0 {
		b.fault = errNUL
		return
	}
	if _, err := b.w.Write(p); err != nil {
		b.fault = err
	}
}

func (b *body) count(n int) {
	b.size += int64(n)
	if b.limit > 0 && b.size > b.limit {
		b.blame(errTooBig)
	}
}

// text passes on octets without a line end.
func (b *body) text(p []byte) {
	if bytes.IndexByte(p, '\r') >= 0 {
		b.blame(errBareCR)
	}
	b.partial = true
	b.write(p)
}

// line passes on a line that ends with LF. It overwrites the CR.
func (b *body) line(p []byte) {
	n := len(p) - 2
	if n < 0 || p[n] != '\r' {
		b.blame(errBareLF)
		return
	}
	p[n] = '\n'
	if bytes.IndexByte(p[:n], '\r') >= 0 {
		b.blame(errBareCR)
	}
	b.partial = false
	b.write(p[:n+1])
}

// data reads the text after DATA up to its end, CR LF . CR LF, and takes the
// stuffed dots out: RFC 5321 §4.5.2. Only a line that follows CR LF can be the
// last one or have a stuffed dot.
func (in *input) data(b *body) error {
	in.grow()
	defer in.shrink()
	begin, seen := true, 0 // at the beginning of a line; octets known to hold no LF
	for {
		i := bytes.IndexByte(in.buf[in.r+seen:in.w], '\n')
		if i < 0 {
			seen = in.buffered()
			if seen == len(in.buf) {
				in.longData(b, begin)
				begin, seen = false, in.buffered()
			}
			if b.overdrawn() {
				return errTooBig
			}
			if err := in.fill(); err != nil {
				return err
			}
			continue
		}
		line := in.buf[in.r : in.r+seen+i+1]
		in.r += len(line)
		seen = 0
		if begin && line[0] == '.' {
			if len(line) == 3 && line[1] == '\r' {
				return nil
			}
			line = line[1:]
		}
		n := len(line)
		begin = n >= 2 && line[n-2] == '\r'
		b.count(n)
		b.line(line)
	}
}

// longData passes on a buffer full of one line, but for a CR at its end.
func (in *input) longData(b *body, begin bool) {
	p := in.buf[in.r:in.w]
	if p[len(p)-1] == '\r' {
		p = p[:len(p)-1]
	}
	in.r += len(p)
	if begin && p[0] == '.' {
		p = p[1:]
	}
	b.count(len(p))
	b.text(p)
}

// chunk reads the n octets after BDAT. They are read even when b has a fault.
func (in *input) chunk(b *body, n int64) error {
	in.grow()
	defer in.shrink()
	for n > 0 {
		if in.buffered() == 0 {
			if err := in.fill(); err != nil {
				return err
			}
		}
		p := in.buf[in.r:in.w]
		if int64(len(p)) > n {
			p = p[:n]
		}
		in.r += len(p)
		n -= int64(len(p))
		b.count(len(p))
		b.octets(p)
		if b.overdrawn() {
			return errTooBig
		}
	}
	return nil
}

// octets passes on a piece of a chunk, which can begin and end anywhere.
func (b *body) octets(p []byte) {
	if b.lines != nil {
		if b.fault == nil && b.wire != nil {
			_, b.fault = b.wire.Write(p)
		}
		if b.fault == nil {
			_, b.fault = b.lines.Write(p)
		}
		return
	}
	if b.heldCR && len(p) > 0 {
		b.heldCR = false
		if p[0] != '\n' {
			b.blame(errBareCR)
		} else {
			b.partial = false
			b.write(p[:1])
			p = p[1:]
		}
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if p[len(p)-1] == '\r' {
				b.heldCR = true
				p = p[:len(p)-1]
			}
			if len(p) > 0 {
				b.text(p)
			}
			return
		}
		b.line(p[:i+1])
		p = p[i+1:]
	}
}

// finish ends a message made of chunks. A last line without an end gets one:
// the file is made of lines, and so is every protocol it goes on by.
func (b *body) finish() {
	if b.lines != nil {
		if b.fault == nil {
			b.fault = b.lines.Close()
		}
		return
	}
	if b.heldCR {
		b.blame(errBareCR)
	}
	if b.partial {
		b.write([]byte{'\n'})
		b.partial = false
	}
}
