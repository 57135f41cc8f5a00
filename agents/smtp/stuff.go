package smtp

import (
	"bytes"
	"encoding/binary"
)

// A stuffer turns the line ends of the spool, LF, into those of SMTP, CRLF, and
// doubles dots at the start of lines (RFC 5321 §4.5.2). It takes the text in
// pieces of any size.
//
// What leaves it holds CR and LF only as CRLF: CRLF in the text stays one line
// end, any other CR becomes a space. A peer with other ideas about line ends can
// therefore not be made to see an end of the content where there is none, nor
// to take part of a message for another one (CVE-2023-51764).
type stuffer struct {
	dots   bool // for DATA; BDAT counts octets and has no use for it
	inLine bool // the text so far does not end at a line end
	cr     bool // the text so far ends with a CR, held back
}

// append appends the SMTP form of src to dst.
func (st *stuffer) append(dst, src []byte) []byte {
	if len(src) == 0 {
		return dst
	}
	if st.cr {
		st.cr = false
		if src[0] != '\n' {
			dst = append(dst, ' ')
			st.inLine = true
		}
	}
	hasCR := bytes.IndexByte(src, '\r') >= 0
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\n')
		line := src
		if i >= 0 {
			line = src[:i]
		}
		if st.dots && !st.inLine && len(line) > 0 && line[0] == '.' {
			dst = append(dst, '.')
		}
		if hasCR {
			dst = st.withoutCR(dst, line, i >= 0)
		} else {
			dst = append(dst, line...)
		}
		if i < 0 {
			st.inLine = st.inLine || len(line) > 0 && !(st.cr && len(line) == 1)
			return dst
		}
		dst = append(dst, '\r', '\n')
		st.inLine = false
		src = src[i+1:]
	}
	return dst
}

// withoutCR appends a line, or the beginning of one if it is not ended. A CR at
// its end is dropped, or held back until the next octet is known.
func (st *stuffer) withoutCR(dst, line []byte, ended bool) []byte {
	if n := len(line) - 1; n >= 0 && line[n] == '\r' {
		line = line[:n]
		st.cr = !ended
	}
	start := len(dst)
	dst = append(dst, line...)
	for b := dst[start:]; ; {
		i := bytes.IndexByte(b, '\r')
		if i < 0 {
			return dst
		}
		b[i] = ' '
		b = b[i+1:]
	}
}

// finish ends the last line if the text did not. For DATA it appends the line
// that ends the content.
func (st *stuffer) finish(dst []byte) []byte {
	if st.inLine || st.cr {
		// A CR at the very end was the end of the last line.
		dst = append(dst, '\r', '\n')
	}
	if st.dots {
		dst = append(dst, ".\r\n"...)
	}
	st.inLine, st.cr = false, false
	return dst
}

// hasEightBit tells whether b holds an octet that is not ASCII.
func hasEightBit(b []byte) bool {
	for ; len(b) >= 32; b = b[32:] {
		w := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if w&0x8080808080808080 != 0 {
			return true
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
