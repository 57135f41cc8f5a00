package smtpserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"

	"zmailer/spool/rfc5322"
)

// A mimePart is a leaf of a message: RFC 2045. It is read as a reader of mail would
// that does its best: what is no proper MIME is text.
type mimePart struct {
	kind string // type/subtype in lower case
	name string // of the file, decoded; empty: it has none
	size int64  // octets, decoded
}

// Bounds of what is looked at.
const (
	maxParts      = 1000
	maxPartDepth  = 30
	maxPartHeader = 64 << 10
)

var errManyParts = errors.New("message of too many parts, or too deep")

// A partReader goes through a message line by line.
type partReader struct {
	r      *bufio.Reader
	each   func(*mimePart) bool
	bounds []string // delimiters of the parts that are open, without the dashes
	count  int
	stop   bool
	err    error

	header   []byte
	inHeader bool
	leaf     *mimePart
	base64   bool
	octets   int64 // of the leaf, encoded
}

// eachPart calls fn for the leaves of a message with LF line ends, until it returns
// false.
func eachPart(r io.Reader, fn func(*mimePart) bool) error {
	p := &partReader{r: bufio.NewReaderSize(r, 8<<10), each: fn, inHeader: true}
	for whole := true; !p.stop; {
		line, err := p.r.ReadSlice('\n')
		if len(line) > 0 {
			if e := p.line(line, whole); e != nil {
				return e
			}
		}
		whole = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = nil
				err = p.endHeader()
				p.endLeaf()
			}
			return err
		}
	}
	return p.err
}

// line takes a line, or a piece of one that is long. begins tells whether it is at
// the beginning of one.
func (p *partReader) line(line []byte, begins bool) error {
	if begins && len(line) > 2 && line[0] == '-' && line[1] == '-' && p.delimiter(bytes.TrimRight(line[2:], " \t\n")) {
		return nil
	}
	switch {
	case !p.inHeader:
		p.octets += int64(len(line))
		if p.base64 {
			p.octets-- // the line's end
		}
	case begins && len(line) == 1:
		return p.endHeader()
	case len(p.header) < maxPartHeader:
		p.header = append(p.header, line...)
	}
	return nil
}

// delimiter ends the part, if the line is one: of the part that is open last, or of
// one further out that was not closed.
func (p *partReader) delimiter(line []byte) bool {
	for i := len(p.bounds) - 1; i >= 0; i-- {
		b := p.bounds[i]
		if !bytes.HasPrefix(line, []byte(b)) {
			continue
		}
		switch rest := line[len(b):]; {
		case len(rest) == 0:
			p.open(i + 1)
		case string(rest) == "--":
			p.open(i)
			p.inHeader = false // what follows belongs to nobody
			p.leaf = nil
		default:
			continue
		}
		return true
	}
	return false
}

// open begins a part below the first n delimiters.
func (p *partReader) open(n int) {
	if err := p.endHeader(); err != nil {
		p.err, p.stop = err, true
	}
	p.endLeaf()
	p.bounds = p.bounds[:n]
	p.header, p.inHeader = p.header[:0], true
}

func (p *partReader) endLeaf() {
	if p.leaf == nil || p.stop {
		return
	}
	p.leaf.size = p.octets
	if p.base64 {
		p.leaf.size = p.octets / 4 * 3
	}
	p.stop = !p.each(p.leaf)
	p.leaf = nil
}

// endHeader finds out what the part is.
func (p *partReader) endHeader() error {
	if !p.inHeader {
		return nil
	}
	p.inHeader, p.octets, p.base64 = false, 0, false
	if p.count++; p.count > maxParts || len(p.bounds) > maxPartDepth {
		return errManyParts
	}
	h, _, _ := rfc5322.ParseHeader(p.header) // too many fields: those that were read
	kind, params := mediaType(h, "Content-Type")
	switch {
	case kind == "":
		kind = "text/plain"
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		p.bounds, p.leaf = append(p.bounds, params["boundary"]), nil
		return nil
	case kind == "message/rfc822" || kind == "message/global":
		p.header, p.inHeader = p.header[:0], true
		return nil
	}
	_, where := mediaType(h, "Content-Disposition")
	p.leaf = &mimePart{kind: kind, name: fileName(where["filename"], params["name"])}
	for _, f := range h.All("Content-Transfer-Encoding") {
		p.base64 = strings.EqualFold(strings.TrimSpace(f), "base64")
	}
	return nil
}

// fileName is the first name given, without the folders before it and as people see
// it: many senders use encoded words there.
func fileName(names ...string) string {
	for _, name := range names {
		if name == "" {
			continue
		}
		if s, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
			name = s
		}
		name = name[strings.LastIndexAny(name, `/\`)+1:]
		return strings.TrimRight(strings.TrimSpace(rfc5322.OneLine(name, 255)), ".")
	}
	return ""
}

// mediaType reads the first field of a name. Where parameters are badly written,
// those that can be made out count.
func mediaType(h rfc5322.Header, field string) (kind string, params map[string]string) {
	all := h.All(field)
	if len(all) == 0 {
		return "", nil
	}
	kind, params, err := mime.ParseMediaType(all[0])
	if err == nil {
		return kind, params
	}
	words := strings.Split(all[0], ";")
	params = make(map[string]string)
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if _, had := params[key]; !had {
			params[key] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return strings.ToLower(strings.TrimSpace(words[0])), params
}
