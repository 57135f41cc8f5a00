package smtp

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"

	"zmailer/spool/rfc5322"
)

// A part is what the header of a MIME entity says about its content.
type part struct {
	kind     partKind
	subtype  string // of a multipart
	boundary []byte // of a multipart
	cte      string // Content-Transfer-Encoding, in lower case
	signed   bool   // a signature covers it
	encode   bool   // it is to be made quoted-printable, or base64
	base64   bool
}

type partKind uint8

const (
	leaf      partKind = iota // content that may be encoded
	fixed                     // content that may not: RFC 2046 §5.2, or encoded otherwise
	container                 // a multipart
	embedded                  // message/rfc822: a header and a content of its own
	filler                    // text around the parts of a multipart
)

// parsePart reads the header of an entity. digest says that it stands in a
// multipart/digest.
func parsePart(head []byte, digest bool) part {
	h, _, err := rfc5322.ParseHeader(head)
	if err != nil {
		return part{kind: fixed}
	}
	p := part{cte: strings.ToLower(firstWord(h.Get("Content-Transfer-Encoding")))}
	ctype := h.Get("Content-Type")
	if ctype == "" && digest {
		ctype = "message/rfc822"
	}
	media, params, err := mime.ParseMediaType(ctype)
	if err != nil && media == "" {
		media = strings.ToLower(firstWord(ctype))
	}
	major, minor, _ := strings.Cut(media, "/")
	switch {
	case p.cte == "base64":
		p.kind = fixed
	case major == "multipart":
		p.kind, p.subtype, p.boundary = container, minor, []byte(params["boundary"])
		if len(p.boundary) == 0 {
			p.kind = fixed
		}
	case media == "message/rfc822":
		p.kind = embedded
	case major == "message":
		p.kind = fixed
	}
	return p
}

func firstWord(s string) string {
	if i := strings.IndexAny(s, " \t;("); i >= 0 {
		return s[:i]
	}
	return s
}

// appendHead appends the header with the transfer encoding that the content now
// has. A header that claims nothing about 8-bit content stays as it is, unless
// the content was encoded.
func (p *part) appendHead(dst, head []byte, cte string) []byte {
	labelled := p.cte == "8bit" || p.cte == "binary"
	if !labelled && !p.encode || p.encode && p.cte == "quoted-printable" {
		return append(dst, head...)
	}
	h, off, err := rfc5322.ParseHeader(head)
	if err != nil {
		return append(dst, head...)
	}
	f, err := rfc5322.NewField("Content-Transfer-Encoding", " "+cte)
	if err != nil {
		return append(dst, head...)
	}
	h.Set(f)
	dst = append(dst, h.Bytes()...)
	return append(dst, head[len(head)-tail(head, off):]...)
}

// tail is the length of the empty line at the end of a header, and what follows.
func tail(head []byte, off int) int {
	n := len(head) - off
	for _, end := range []string{"\r\n", "\n"} {
		if before, ok := bytes.CutSuffix(head[:off], []byte(end)); ok && (len(before) == 0 || before[len(before)-1] == '\n') {
			return n + len(end)
		}
	}
	return n
}

// withMIME adds what makes 8-bit text without MIME a MIME message, RFC 1428 §3.
func (cv *converter) withMIME(head []byte) []byte {
	h, off, err := rfc5322.ParseHeader(head)
	if err != nil || h.Has("Content-Type") && h.Has("MIME-Version") {
		return head
	}
	end := head[len(head)-tail(head, off):]
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
