package smtp

import (
	"bytes"
	"errors"

	"zmailer/spool/dsn"
)

// A converter makes 7-bit text of a message with an 8-bit body, for a peer
// without 8BITMIME: RFC 6152 §3. Each part that holds 8-bit octets becomes
// quoted-printable, or base64 where most of a longer text is not ASCII; parts
// without them stay as they are. Parts that cannot be
// encoded, such as the signed text of multipart/signed, make it fail.
//
// Signatures over the whole body (DKIM) do not survive a conversion. They are
// not held to forbid it: without it the message could not be delivered at all.
type converter struct {
	header []byte
	utf8   bool // the body is UTF-8, as far as is known
	leaves []leafNeed
	size   int64 // of the result, with SMTP line ends
}

// A leafNeed is what was found in a leaf.
type leafNeed struct{ eight, total int64 }

// base64 tells whether base64 is the shorter encoding: it makes four octets of
// three, quoted-printable three of one. Short texts are left readable.
func (n leafNeed) base64() bool { return n.eight >= 256 && n.eight > n.total/5 }

var errConversion = errors.New("8-bit content cannot be converted")

// conversionFailure is the result when a message cannot be converted.
func conversionFailure(relay string, err error) dsn.Result {
	var re *readError
	if errors.As(err, &re) {
		return dsn.Temp("4.3.0", "%v", err)
	}
	return dsn.Perm("5.6.3", "%s takes no 8-bit text (8BITMIME): %v", relay, err)
}

// newConverter looks where the 8-bit octets are, and how large the result is.
func newConverter(header []byte, m *message) (*converter, error) {
	cv := &converter{header: header, utf8: m.isUTF8()}
	look := mimeWalker{cv: cv, looking: true, fn: func([]byte) error { return nil }}
	if err := look.run(m); err != nil {
		return nil, err
	}
	var last byte = '\n'
	err := cv.run(m, func(p []byte) error {
		cv.size += int64(len(p) + bytes.Count(p, []byte{'\n'}))
		last = p[len(p)-1]
		return nil
	})
	if last != '\n' {
		cv.size += 2
	}
	return cv, err
}

// run hands the converted message to fn.
func (cv *converter) run(m *message, fn func([]byte) error) error {
	w := mimeWalker{cv: cv, fn: fn}
	return w.run(m)
}

// maxFragment is the length from which lines are treated in fragments.
const maxFragment = 32 << 10

// eachLine cuts the body into lines, or fragments of very long ones.
func (m *message) eachLine(fn func(frag []byte, eol bool) error) error {
	var rest []byte // begin of a line whose end is in the next piece
	err := m.pieces(func(p []byte) error {
		for len(p) > 0 {
			i := bytes.IndexByte(p, '\n')
			frag, eol := p, i >= 0
			if eol {
				frag, p = p[:i], p[i+1:]
			} else {
				p = nil
			}
			if len(rest) > 0 || !eol && len(frag) <= maxFragment {
				rest = append(rest, frag...)
				if frag = rest; !eol && len(rest) <= maxFragment {
					return nil
				}
				rest = rest[:0]
			}
			if err := fn(frag, eol); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(rest) > 0 {
		err = fn(rest, false)
	}
	return err
}

// A mimeWalker goes through a message line by line. It knows the structure of
// MIME: which line is header, which a delimiter, which content of which part.
type mimeWalker struct {
	cv      *converter
	looking bool // find the parts in need; else write
	fn      func([]byte) error

	multiparts []multipart
	state      walkState
	head       []byte // lines of the header being read
	mid        bool   // the last fragment did not end its line
	leaf       int    // leaves seen so far
	part       part   // the leaf or other thing whose content is being read
	qp         qpEncoder
	b64        base64Encoder
	out        []byte
}

type multipart struct {
	boundary []byte
	signed   bool // in multipart/signed: nothing may change
	digest   bool // parts are messages if they do not say otherwise
}

type walkState uint8

const (
	inContent walkState = iota
	inHead
)

// Bounds of what the structure of a message may ask for.
const (
	maxDepth    = 50
	maxLeaves   = 100_000
	maxPartHead = 256 << 10
)

func (w *mimeWalker) run(m *message) error {
	if err := w.endHead(w.cv.header, true); err != nil {
		return err
	}
	if err := m.eachLine(w.fragment); err != nil {
		return err
	}
	if w.state == inHead { // the message ends within the header of a part
		if err := w.endHead(w.head, false); err != nil {
			return err
		}
	}
	w.endContent(true)
	return w.flush(0)
}

// fragment takes a line or part of one.
func (w *mimeWalker) fragment(frag []byte, eol bool) error {
	start := !w.mid
	w.mid = !eol
	if start && w.delimiter(frag) {
		return w.flush(pieceSize)
	}
	if w.state == inContent {
		if err := w.content(frag, eol); err != nil {
			return err
		}
		return w.flush(pieceSize)
	}
	empty := start && len(bytes.TrimSuffix(frag, []byte("\r"))) == 0
	if len(w.head)+len(frag) > maxPartHead {
		return errConversion
	}
	w.head = append(w.head, frag...)
	if eol {
		w.head = append(w.head, '\n')
	}
	if !empty {
		return nil
	}
	return w.endHead(w.head, false)
}

// flush hands on what was written, if it is more than least.
func (w *mimeWalker) flush(least int) error {
	if len(w.out) <= least {
		return nil
	}
	err := w.fn(w.out)
	w.out = w.out[:0]
	return err
}

// delimiter recognizes the lines between and after the parts of the multiparts
// that are open, from the innermost outwards: an inner one may lack its end.
func (w *mimeWalker) delimiter(line []byte) bool {
	if len(line) < 2 || line[0] != '-' || line[1] != '-' {
		return false
	}
	for i := len(w.multiparts) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line[2:], w.multiparts[i].boundary)
		if !ok {
			continue
		}
		rest, last := bytes.CutPrefix(rest, []byte("--"))
		if len(bytes.Trim(rest, " \t\r")) > 0 {
			continue
		}
		if w.state == inHead {
			w.out = append(w.out, w.head...) // a part without content
		}
		w.endContent(false)
		w.out = append(append(w.out, line...), '\n')
		w.head = w.head[:0]
		if last {
			w.multiparts = w.multiparts[:i]
			w.state, w.part = inContent, part{kind: filler}
		} else {
			w.multiparts = w.multiparts[:i+1]
			w.state = inHead
		}
		return true
	}
	return false
}

// endContent writes what an encoder has kept of the content of a part.
func (w *mimeWalker) endContent(message bool) {
	if w.state == inContent && w.part.encode && w.part.base64 {
		w.out = w.b64.finish(w.out, message)
		w.part.encode = false
	}
}

// endHead decides, from the header of a part, what its content is, and writes
// the header.
func (w *mimeWalker) endHead(head []byte, top bool) error {
	digest, signed := false, false
	if n := len(w.multiparts); n > 0 {
		digest, signed = w.multiparts[n-1].digest, w.multiparts[n-1].signed
	}
	p := parsePart(head, digest)
	p.signed = signed
	switch p.kind {
	case container:
		if len(w.multiparts) >= maxDepth {
			return errConversion
		}
		w.multiparts = append(w.multiparts, multipart{p.boundary, signed || p.subtype == "signed", p.subtype == "digest"})
		w.out = p.appendHead(w.out, head, "7bit")
		p = part{kind: filler}
	case embedded:
		w.out = p.appendHead(w.out, head, "7bit")
		w.head, w.state = w.head[:0], inHead
		return nil
	case leaf, fixed:
		if err := w.beginLeaf(&p, head, top); err != nil {
			return err
		}
	}
	w.head = w.head[:0]
	w.state, w.part, w.qp = inContent, p, qpEncoder{keep: p.cte == "quoted-printable"}
	return nil
}

func (w *mimeWalker) beginLeaf(p *part, head []byte, top bool) error {
	n := w.leaf
	w.leaf++
	if w.looking {
		if n >= maxLeaves {
			return errConversion
		}
		w.cv.leaves = append(w.cv.leaves, leafNeed{})
		return nil
	}
	if n < len(w.cv.leaves) && w.cv.leaves[n].eight > 0 {
		p.encode = true
		if top {
			head = w.cv.withMIME(head)
		}
		cte := "quoted-printable"
		if p.cte != cte && w.cv.leaves[n].base64() {
			p.base64, cte = true, "base64"
		}
		w.out = p.appendHead(w.out, head, cte)
		return nil
	}
	w.out = p.appendHead(w.out, head, "7bit")
	return nil
}

// content takes a fragment of the content of a part.
func (w *mimeWalker) content(frag []byte, eol bool) error {
	if w.looking {
		if w.part.kind == filler {
			return nil
		}
		need := &w.cv.leaves[w.leaf-1]
		if need.total += int64(len(frag)); !hasEightBit(frag) {
			return nil
		}
		if w.part.kind == fixed || w.part.signed {
			return errConversion
		}
		for _, c := range frag {
			need.eight += int64(c >> 7)
		}
		return nil
	}
	switch {
	case w.part.encode && w.part.base64:
		w.out = w.b64.append(w.out, frag, eol)
		return nil
	case w.part.encode:
		w.out = w.qp.append(w.out, frag, eol)
		return nil
	case w.part.kind == filler:
		w.out = appendASCII(w.out, frag)
	default:
		w.out = append(w.out, frag...)
	}
	if eol {
		w.out = append(w.out, '\n')
	}
	return nil
}

// appendASCII appends text that no reader of the message sees: what stands
// before the first part of a multipart and after the last.
func appendASCII(dst, s []byte) []byte {
	for _, c := range s {
		if c >= 0x80 {
			c = '?'
		}
		dst = append(dst, c)
	}
	return dst
}
