package zlog

import (
	"encoding/binary"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// A journal speaks the native protocol of systemd-journald: each event is a
// datagram of fields, which "journalctl ZMAILER_ID=..." can then ask for. See
// "Native Journal Protocol" in systemd's documentation.
type journal struct {
	*socket
	applet string
}

const facilityMail = 2 // RFC 5424 §6.2.1

// buffers are used again: a record is sent before its buffer is.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (j *journal) send(e *event) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	*buf = j.encode((*buf)[:0], e)
	j.write(*buf, true)
}

func (j *journal) notice() (slog.Record, bool) { return j.socket.notice() }

func (j *journal) encode(b []byte, e *event) []byte {
	b = appendField(b, "MESSAGE", e.text())
	b = appendField(b, "PRIORITY", strconv.Itoa(e.priority()))
	b = appendField(b, "SYSLOG_FACILITY", strconv.Itoa(facilityMail))
	b = appendField(b, "SYSLOG_IDENTIFIER", "zmailer/"+j.applet)
	b = appendField(b, "ZMAILER_EVENT", e.msg)
	b = appendField(b, "ZMAILER_APPLET", j.applet)
	for _, f := range e.fields {
		b = appendField(b, journalName(f.key), f.value)
	}
	return b
}

// journalName is the name of an attribute in the journal: spoolid is ZMAILER_ID,
// others are ZMAILER_ and their name.
func journalName(key string) string {
	if key == "spoolid" {
		return "ZMAILER_ID"
	}
	if len(key) > 50 { // the journal takes names of 64 characters
		key = key[:50]
	}
	return "ZMAILER_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// appendField appends NAME=value, or, where the value has line ends, the name, the
// length as eight octets, and the value.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.IndexByte(value, '\n') < 0 {
		b = append(b, '=')
	} else {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	}
	b = append(b, value...)
	return append(b, '\n')
}
