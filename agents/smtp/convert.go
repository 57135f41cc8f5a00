package smtp

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"zmailer/spool/dsn"
	"zmailer/spool/rfc2045"
	"zmailer/spool/rfc5322"
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
	look := rewriter{cv: cv, looking: true, fn: func([]byte) error { return nil }}
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
	w := rewriter{cv: cv, fn: fn}
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
			if eol {
				frag = bytes.TrimSuffix(frag, []byte("\r"))
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

// A rewriter sees the structure of a message: first to find the parts in need,
// then to write them anew.
type rewriter struct {
	cv      *converter
	looking bool // find the parts in need; else write
	fn      func([]byte) error

	begun  bool // the header of the message has been seen
	leaf   int  // leaves seen so far
	encode bool // the content being read is to be made quoted-printable, or base64
	base64 bool
	qp     qpEncoder
	b64    rfc2045.Base64
	out    []byte
}

// maxLeaves bounds what is remembered of a message.
const maxLeaves = 100_000

func (w *rewriter) run(m *message) error {
	walk := rfc2045.Walker{Visitor: w}
	if err := walk.Head(w.cv.header); err != nil {
		return err
	}
	if err := m.eachLine(walk.Line); err != nil {
		return err
	}
	if err := walk.End(); err != nil {
		return err
	}
	return w.flush(0)
}

// flush hands on what was written, if it is more than least.
func (w *rewriter) flush(least int) error {
	if len(w.out) <= least {
		return nil
	}
	err := w.fn(w.out)
	w.out = w.out[:0]
	return err
}

// Head decides, from the header of a part, what becomes of its content, and writes
// the header. One that claims nothing about 8-bit content stays as it is, unless
// the content is encoded.
func (w *rewriter) Head(p *rfc2045.Part, head []byte) error {
	top := !w.begun
	w.begun = true
	w.encode, w.base64, w.qp = false, false, qpEncoder{keep: p.Encoding == "quoted-printable"}
	if p.Kind == rfc2045.Leaf || p.Kind == rfc2045.Fixed {
		n := w.leaf
		w.leaf++
		if w.looking {
			if n >= maxLeaves {
				return errConversion
			}
			w.cv.leaves = append(w.cv.leaves, leafNeed{})
			return nil
		}
		w.encode = n < len(w.cv.leaves) && w.cv.leaves[n].eight > 0
		w.base64 = w.encode && !w.qp.keep && w.cv.leaves[n].base64()
	}
	if w.encode && top {
		head = w.cv.withMIME(head)
	}
	switch labelled := p.Encoding == "8bit" || p.Encoding == "binary"; {
	case w.base64:
		head = rfc2045.SetEncoding(head, "base64")
	case w.encode && !w.qp.keep:
		head = rfc2045.SetEncoding(head, "quoted-printable")
	case !w.encode && labelled && !p.Signed:
		head = rfc2045.SetEncoding(head, "7bit")
	}
	w.out = append(w.out, head...)
	return nil
}

// Delimiter ends what an encoder has kept of the content of a part.
func (w *rewriter) Delimiter(line []byte) error {
	if w.base64 {
		w.out = w.b64.Finish(w.out, line == nil)
	}
	w.encode, w.base64 = false, false
	if line != nil {
		w.out = append(append(w.out, line...), '\n')
	}
	return w.flush(pieceSize)
}

// Content takes a piece of the content of a part.
func (w *rewriter) Content(p *rfc2045.Part, frag []byte, eol bool) error {
	if w.looking {
		return w.look(p, frag)
	}
	switch {
	case w.base64:
		w.out = w.b64.Append(w.out, frag, eol)
		return w.flush(pieceSize)
	case w.encode:
		w.out = w.qp.append(w.out, frag, eol)
		return w.flush(pieceSize)
	case p.Kind == rfc2045.Filler:
		w.out = appendASCII(w.out, frag)
	default:
		w.out = append(w.out, frag...)
	}
	if eol {
		w.out = append(w.out, '\n')
	}
	return w.flush(pieceSize)
}

// look counts what a piece holds of 8-bit octets.
func (w *rewriter) look(p *rfc2045.Part, frag []byte) error {
	if p.Kind == rfc2045.Filler {
		return nil
	}
	need := &w.cv.leaves[w.leaf-1]
	if need.total += int64(len(frag)); !hasEightBit(frag) {
		return nil
	}
	if p.Kind == rfc2045.Fixed || p.Signed {
		return errConversion
	}
	for _, c := range frag {
		need.eight += int64(c >> 7)
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

// withMIME adds what makes 8-bit text without MIME a MIME message, RFC 1428 §3.
func (cv *converter) withMIME(head []byte) []byte {
	h, off, err := rfc5322.ParseHeader(head)
	if err != nil || h.Has("Content-Type") && h.Has("MIME-Version") {
		return head
	}
	end := head[len(head)-rfc2045.Tail(head, off):]
	charset := "unknown-8bit"
	if cv.utf8 {
		charset = "utf-8"
	}
	out := append([]byte(nil), h.Bytes()...)
	if !h.Has("MIME-Version") {
		out = append(out, "MIME-Version: 1.0\n"...)
	}
	if !h.Has("Content-Type") {
		out = append(out, "Content-Type: text/plain; charset="+charset+"\n"...)
	}
	return append(out, end...)
}

// isUTF8 tells whether the body is known to be UTF-8; a large one is not looked at.
func (m *message) isUTF8() bool { return m.small != nil && utf8.Valid(*m.small) }
