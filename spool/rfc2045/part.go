// Package rfc2045 goes through the structure of MIME messages, RFC 2045 and
// 2046, for whoever has to change the transfer encoding of their parts on the way:
// for a peer that takes no 8-bit text, and for a spool that is made of lines.
//
// A [Walker] is given a message line by line and tells a [Visitor] which line is
// header, which a delimiter and which content, and of what. It keeps one header
// and the delimiters of the multiparts that are open, however long the message.
package rfc2045

import (
	"bytes"
	"mime"
	"strings"

	"zmailer/spool/rfc5322"
)

// A Part is what the header of an entity says about its content.
type Part struct {
	Kind     Kind
	Subtype  string // of a multipart, in lower case
	Encoding string // Content-Transfer-Encoding, in lower case
	Signed   bool   // it stands in a multipart/signed: nothing of it may change

	boundary []byte // of a multipart
}

// A Kind is what can be done with a content.
type Kind uint8

const (
	Leaf      Kind = iota // it may be encoded
	Fixed                 // it may not: RFC 2046 §5.2, or it is encoded
	Multipart             // parts and the text around them
	Message               // message/rfc822: a header and a content of its own
	Filler                // text around the parts of a multipart
)

// parse reads the header of an entity. digest says that it stands in a
// multipart/digest.
func parse(head []byte, digest bool) Part {
	h, _, err := rfc5322.ParseHeader(head)
	if err != nil {
		return Part{Kind: Fixed}
	}
	p := Part{Encoding: strings.ToLower(firstWord(h.Get("Content-Transfer-Encoding")))}
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
	case p.Encoding == "base64":
		p.Kind = Fixed
	case major == "multipart":
		p.Kind, p.Subtype, p.boundary = Multipart, minor, []byte(params["boundary"])
		if len(p.boundary) == 0 || len(p.boundary) > maxBoundary {
			p.Kind = Fixed
		}
	case media == "message/rfc822":
		p.Kind = Message
	case major == "message" && !strings.HasPrefix(minor, "global"): // RFC 6532 §3.7, RFC 6533 §6
		p.Kind = Fixed
	}
	return p
}

// maxBoundary bounds what the first piece of a line must hold; RFC 2046 §5.1.1
// says 70.
const maxBoundary = 1000

func firstWord(s string) string {
	if i := strings.IndexAny(s, " \t;("); i >= 0 {
		return s[:i]
	}
	return s
}

// SetEncoding returns the header with another Content-Transfer-Encoding.
func SetEncoding(head []byte, encoding string) []byte {
	h, off, err := rfc5322.ParseHeader(head)
	if err != nil {
		return head
	}
	f, err := rfc5322.NewField("Content-Transfer-Encoding", encoding)
	if err != nil {
		return head
	}
	h.Set(f)
	return append(h.Bytes(), head[len(head)-Tail(head, off):]...)
}

// Tail is the length of the empty line at the end of a header whose fields end at
// off or with that line, and of what follows.
func Tail(head []byte, off int) int {
	n := len(head) - off
	for _, end := range []string{"\r\n", "\n"} {
		if before, ok := bytes.CutSuffix(head[:off], []byte(end)); ok && (len(before) == 0 || before[len(before)-1] == '\n') {
			return n + len(end)
		}
	}
	return n
}
