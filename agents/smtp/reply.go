package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"zmailer/agents/protocol"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// Bounds of a reply. RFC 5321 §4.5.3.1.5 allows lines of 512 octets; real ones
// are longer. Text beyond maxReplyText is read and dropped.
const (
	maxReplyLine  = 4096
	maxReplyLines = 100
	maxReplyText  = 16 << 10
)

var (
	errNotReply  = errors.New("not an SMTP reply")
	errLongReply = errors.New("reply is too long")
)

// A reply is one reply of the peer, all lines of it.
type reply struct {
	code int
	text []byte // after the code; lines separated by LF; valid until the next reply
}

// A replyReader reads replies from a connection.
type replyReader struct {
	br   *bufio.Reader // of maxReplyLine octets
	text []byte
}

// read reads one reply. An error that is errNotReply or errLongReply means that
// the peer does not speak our language; the connection is of no more use.
func (rr *replyReader) read() (reply, error) {
	rr.text = rr.text[:0]
	for n := 1; n <= maxReplyLines; n++ {
		line, err := rr.br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return reply{}, errLongReply
		}
		if err != nil {
			return reply{}, err
		}
		code, more, text, ok := parseReplyLine(line)
		if !ok {
			return reply{}, fmt.Errorf("%w: %q", errNotReply, rfc5322.OneLine(string(line[:min(len(line), 80)]), 80))
		}
		if n > 1 && len(rr.text) < maxReplyText {
			rr.text = append(rr.text, '\n')
		}
		rr.text = append(rr.text, text[:min(len(text), maxReplyText-min(len(rr.text), maxReplyText))]...)
		if !more {
			return reply{code, rr.text}, nil
		}
	}
	return reply{}, errLongReply
}

// parseReplyLine takes a line with its line end apart.
func parseReplyLine(line []byte) (code int, more bool, text []byte, ok bool) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return 0, false, nil, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil, true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, false
	}
	return code, line[3] == '-', line[4:], true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func (r reply) ok() bool        { return r.code/100 == 2 }
func (r reply) temporary() bool { return r.code/100 == 4 }
func (r reply) permanent() bool { return r.code/100 == 5 }

// closing is the reply of a host that is about to close the connection.
func (r reply) closing() bool { return r.code == 421 }

// lenStatus is the length of the enhanced status code at the start of s, or 0.
func lenStatus(s []byte) int {
	if len(s) < 5 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return 0
	}
	i := 2
	for part := 0; part < 2; part++ {
		start := i
		for i < len(s) && i-start < 3 && digit(s[i]) {
			i++
		}
		if i == start {
			return 0
		}
		if part == 0 {
			if i == len(s) || s[i] != '.' {
				return 0
			}
			i++
		}
	}
	if i < len(s) && s[i] != ' ' && s[i] != '\n' {
		return 0
	}
	return i
}

// status is the enhanced status code of the reply. Its class is that of the
// reply code, whatever the peer wrote; without one the class alone is known.
func (r reply) status() string {
	class := string('0' + byte(r.code/100))
	if n := lenStatus(r.text); n > 0 {
		return class + string(r.text[1:n])
	}
	return class + ".0.0"
}

// String is the reply as one clean line: the code, then the text of all lines.
// The enhanced status code that peers repeat in each line stands there once.
func (r reply) String() string {
	b := make([]byte, 0, len(r.text)+4)
	b = strconv.AppendInt(b, int64(r.code), 10)
	n := lenStatus(r.text)
	for rest, first := r.text, true; rest != nil; first = false {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		if !first && n > 0 && lenStatus(line) == n && bytes.Equal(line[:n], r.text[:n]) {
			line = bytes.TrimLeft(line[n:], " ")
		}
		if len(line) > 0 {
			b = append(append(b, ' '), line...)
		}
	}
	return rfc5322.OneLine(string(b), protocol.MaxText)
}

// result is the outcome that the reply means for a recipient. A reply that is
// neither success nor failure, such as 354 where none was asked for, is temporary.
func (r reply) result(relay string) dsn.Result {
	res := dsn.Result{Status: r.status(), Text: r.String(), Relay: relay, Remote: true}
	switch r.code / 100 {
	case 2:
		res.Action = dsn.OK
	case 5:
		res.Action = dsn.Failed
	case 3:
		res.Status = "4.5.0"
	}
	return res
}
