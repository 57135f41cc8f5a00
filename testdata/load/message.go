// Package load drives a running mailer for the fault and power cut runs: it sends
// messages that can be told apart and checked, and afterwards counts them in
// Maildirs and in the spool.
//
// A message carries its id and a checksum of its body in its header, so that what
// arrives is recognised, and what arrives damaged is too.
package load

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

const (
	idField  = "X-Load-Id: "
	sumField = "X-Load-Sum: "
)

// A Message is one message of the load.
type Message struct {
	ID   string // letters, digits, "-" and "."
	To   []string
	Size int // of the body, about
}

// Text is the message with LF line ends.
func (m *Message) Text() []byte {
	body := m.body()
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: load@mx.test\nTo: %s\nSubject: load %s\n", strings.Join(m.To, ", "), m.ID)
	fmt.Fprintf(&b, "%s%s\n%s%08x\n\n", idField, m.ID, sumField, crc32.ChecksumIEEE(body))
	b.Write(body)
	return b.Bytes()
}

// body is lines that depend on the id, some of which begin with a dot or with "From ".
func (m *Message) body() []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < m.Size || i == 0; i++ {
		fmt.Fprintf(&b, "%s line %d of %s\n", []string{"the", "..", "another", ".a"}[i%4], i, m.ID)
	}
	return b.Bytes()
}

// ErrForeign is a file that does not hold a message of a load.
var ErrForeign = errors.New("no message of the load")

// Check finds out which message b holds, and whether it is whole.
func Check(b []byte) (id string, err error) {
	// A report may quote the header of a message of the load in its body.
	head, body, whole := bytes.Cut(b, []byte("\n\n"))
	id, ok := field(head, idField)
	if !ok {
		return "", ErrForeign
	}
	sum, ok := field(head, sumField)
	want, bad := strconv.ParseUint(sum, 16, 32)
	if !ok || bad != nil {
		return id, fmt.Errorf("message %s: no checksum", id)
	}
	if !whole {
		return id, fmt.Errorf("message %s: no body", id)
	}
	if got := crc32.ChecksumIEEE(body); uint64(got) != want {
		return id, fmt.Errorf("message %s: body of %d bytes is damaged", id, len(body))
	}
	return id, nil
}

func field(b []byte, name string) (string, bool) {
	at := bytes.Index(b, []byte("\n"+name))
	if at < 0 {
		return "", false
	}
	value, _, _ := bytes.Cut(b[at+1+len(name):], []byte("\n"))
	return string(value), true
}
