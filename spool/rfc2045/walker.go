package rfc2045

import (
	"bytes"
	"errors"
)

// A Visitor is told what a message is made of. What it is given is valid until it
// returns.
type Visitor interface {
	// Head is told the header of an entity, with its empty line if there is one.
	Head(p *Part, head []byte) error
	// Content is told a line without its end, or a piece of one: eol tells whether
	// the line ends with it. It belongs to the entity whose header was told last
	// or, if p is Filler, stands around the parts of a multipart.
	Content(p *Part, frag []byte, eol bool) error
	// Delimiter is told a line between two parts or behind the last one; nil is
	// the end of the message. The line end before it is no part of the content.
	Delimiter(line []byte) error
}

// A Walker goes through a message. Its lines are given to Line, the header first;
// or the header to Head, and then the rest.
type Walker struct {
	Visitor Visitor

	open []multipart
	body bool   // what comes is content, no header
	head []byte // lines of the header being read
	mid  bool   // the last piece did not end its line
	part Part   // whose content is being read
}

type multipart struct {
	boundary []byte
	signed   bool // nothing in it may change
	digest   bool // parts are messages if they do not say otherwise
}

// MinPiece is how much of a line must be seen to tell a delimiter, with a few blanks
// behind it.
const MinPiece = 2 * maxBoundary

// Bounds of what the structure of a message may ask for.
const (
	maxDepth = 50
	maxHead  = 256 << 10
)

// ErrStructure says that a message is made of more than any serious one.
var ErrStructure = errors.New("MIME parts too deep, or headers of parts too large")

// InHead tells whether the next line belongs to a header, or is a delimiter.
func (w *Walker) InHead() bool { return !w.body }

// Line takes a line without its end, or a piece of one of [MinPiece] octets or more.
func (w *Walker) Line(frag []byte, eol bool) error {
	begins := !w.mid
	w.mid = !eol
	if begins {
		if found, err := w.delimiter(frag); found || err != nil {
			return err
		}
	}
	if w.body {
		return w.Visitor.Content(&w.part, frag, eol)
	}
	if len(w.head)+len(frag) > maxHead {
		return ErrStructure
	}
	w.head = append(w.head, frag...)
	if eol {
		w.head = append(w.head, '\n')
	}
	if !begins || len(frag) > 0 {
		return nil
	}
	return w.Head(w.head)
}

// End is called after the last line.
func (w *Walker) End() error {
	if !w.body {
		if err := w.Head(w.head); err != nil {
			return err
		}
	}
	return w.Visitor.Delimiter(nil)
}

// delimiter recognizes the lines between and after the parts of the multiparts
// that are open, from the innermost outwards: an inner one may lack its end.
func (w *Walker) delimiter(line []byte) (found bool, err error) {
	if len(line) < 2 || line[0] != '-' || line[1] != '-' {
		return false, nil
	}
	for i := len(w.open) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line[2:], w.open[i].boundary)
		if !ok {
			continue
		}
		rest, last := bytes.CutPrefix(rest, []byte("--"))
		if len(bytes.Trim(rest, " \t")) > 0 {
			continue
		}
		if !w.body { // a part without content
			if err := w.Head(w.head); err != nil {
				return true, err
			}
		}
		w.head = w.head[:0]
		if last {
			w.open, w.body, w.part = w.open[:i], true, Part{Kind: Filler}
		} else {
			w.open, w.body = w.open[:i+1], false
		}
		return true, w.Visitor.Delimiter(line)
	}
	return false, nil
}

// Head takes the header of an entity and decides what its content is.
func (w *Walker) Head(head []byte) error {
	digest, signed := false, false
	if n := len(w.open); n > 0 {
		digest, signed = w.open[n-1].digest, w.open[n-1].signed
	}
	p := parse(head, digest)
	p.Signed = signed
	if p.Kind == Multipart && len(w.open) >= maxDepth {
		return ErrStructure
	}
	if err := w.Visitor.Head(&p, head); err != nil {
		return err
	}
	w.head = w.head[:0]
	w.body = p.Kind != Message
	if p.Kind == Multipart {
		w.open = append(w.open, multipart{p.boundary, signed || p.Subtype == "signed", p.Subtype == "digest"})
		p = Part{Kind: Filler}
	}
	w.part = p
	return nil
}
