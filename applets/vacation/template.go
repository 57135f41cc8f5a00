package vacation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"zmailer/spool/rfc5322"
)

// defaultText answers for users who have written nothing.
const defaultText = `Subject: Auto: $SUBJECT

I am away from my mail at present and will read your message when I am back.
This answer was written by a program.
`

// maxText bounds the text of an answer.
const maxText = 1 << 20

// A template is the text of an answer: a header, if it has one, and a body.
type template struct {
	header rfc5322.Header
	body   []byte
}

// readTemplate reads the first file that there is.
func readTemplate(paths []string) (*template, error) {
	text := []byte(defaultText)
	for _, path := range paths {
		b, err := readText(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		text = b
		break
	}
	return parseTemplate(text)
}

func readText(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxText {
		return nil, fmt.Errorf("%s: want a file of at most %d bytes", path, maxText)
	}
	return io.ReadAll(io.LimitReader(f, maxText))
}

func parseTemplate(text []byte) (*template, error) {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	h, offset, err := rfc5322.ParseHeader(text)
	if err != nil {
		return nil, err
	}
	if len(h) > 0 && offset == h.Len() && offset < len(text) {
		// The "header" runs into the text: a line like "Note: I am away" begins it.
		h, offset = nil, 0
	}
	t := &template{header: h, body: text[offset:]}
	if n := len(t.body); n > 0 && t.body[n-1] != '\n' {
		t.body = append(bytes.Clone(t.body), '\n')
	}
	return t, nil
}

// isMIME says that the template describes its body itself.
func (t *template) isMIME() bool { return t.header.Has("Content-Type") }

// fill replaces $SUBJECT and $FROM, and encodes fields that are not ASCII. A body
// that is encoded or of several parts stays as it is: text of a stranger has no
// place in what may be base64 or HTML, nor in addresses.
func (t *template) fill(subject, from string) {
	r := strings.NewReplacer("$SUBJECT", subject, "${SUBJECT}", subject, "$FROM", from, "${FROM}", from)
	header := make(rfc5322.Header, 0, len(t.header))
	for _, f := range t.header {
		text := f.Unfolded()
		switch {
		case f.Is("From"), f.Is("Sender"), f.Is("Reply-To"):
			if hasHighBit(f.Raw) {
				f = addressField(f.Name(), text)
			}
		case hasPrefixFold(f.Name(), "Content-"):
		case strings.Contains(text, "$"), hasHighBit(f.Raw):
			f.Raw = []byte(rfc5322.FoldText(f.Name(), rfc5322.EncodeWord(r.Replace(text))))
		}
		header = append(header, f)
	}
	t.header = header
	if t.isPlain() {
		t.body = []byte(r.Replace(string(t.body)))
	}
}

// addressField writes the addresses that can be read in text with their names
// encoded.
func addressField(name, text string) rfc5322.Field {
	list, _ := rfc5322.ParseList(text) // the rest has no address to answer to
	values := make([]string, len(list))
	for i, m := range list {
		values[i] = rfc5322.FormatMailbox(m.Name, m.Address)
	}
	return rfc5322.Field{Raw: []byte(rfc5322.FoldList(name, values))}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func (t *template) isPlain() bool {
	if ct := firstWord(t.header.Get("Content-Type")); ct != "" && ct != "text/plain" {
		return false
	}
	switch firstWord(t.header.Get("Content-Transfer-Encoding")) {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// charset is the name for a body that does not say what it is.
func charset(body []byte) string {
	switch {
	case !hasHighBit(body):
		return "us-ascii"
	case utf8.Valid(body):
		return "utf-8"
	}
	return "unknown-8bit" // RFC 1428
}

func hasHighBit(b []byte) bool {
	return bytes.ContainsFunc(b, func(r rune) bool { return r >= utf8.RuneSelf })
}
