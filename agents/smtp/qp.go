package smtp

// A qpEncoder writes quoted-printable, RFC 2045 §6.7. It takes lines whole or in
// fragments, so that a line without an end needs no memory.
type qpEncoder struct {
	col  int  // octets in the output line
	keep bool // the text is quoted-printable already: encode what may not stand in it, no more
}

const qpHex = "0123456789ABCDEF"

// append appends a fragment of a line; eol says that the line ends with it.
func (q *qpEncoder) append(dst, frag []byte, eol bool) []byte {
	for i, c := range frag {
		width := 1
		encode := c != '\t' && c < ' ' || c > '~' || !q.keep && c == '='
		// White space at the end of a line gets lost on the way.
		if c == ' ' || c == '\t' {
			encode = !q.keep && i == len(frag)-1
		}
		if encode {
			width = 3
		}
		if q.col+width > 75 && !q.keep {
			dst = append(dst, '=', '\n')
			q.col = 0
		}
		q.col += width
		if encode {
			dst = append(dst, '=', qpHex[c>>4], qpHex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	if eol {
		dst = append(dst, '\n')
		q.col = 0
	}
	return dst
}
