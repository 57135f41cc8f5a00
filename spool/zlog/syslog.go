package zlog

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// maxSyslog is what a record may be long: what common syslog daemons take.
const maxSyslog = 8 << 10

// A syslog writes records of facility mail to the socket of the syslog daemon of
// the host.
type syslog struct {
	*socket
	applet string
	host   string // RFC 5424; "": RFC 3164
	pid    int
}

func newSyslog(s *socket, applet string, rfc5424 bool) *syslog {
	l := &syslog{socket: s, applet: applet, pid: os.Getpid()}
	if rfc5424 {
		l.host = "-"
		if name, err := os.Hostname(); err == nil && name != "" {
			l.host = name
		}
	}
	return l
}

func (l *syslog) send(e *event) { l.write(l.encode(e), false) }

func (l *syslog) notice() (slog.Record, bool) { return l.socket.notice() }

func (l *syslog) encode(e *event) []byte {
	b := make([]byte, 0, 512)
	pri := facilityMail<<3 | e.priority()
	if l.host == "" {
		// As syslog(3) writes it: local time, and no host, on the socket of the host.
		b = fmt.Appendf(b, "<%d>%s zmailer/%s[%d]: ", pri, e.time.Format(time.Stamp), l.applet, l.pid)
	} else {
		// RFC 5424 §6.2: MSGID is the event, without blanks. Structured data would need a
		// registered number; the pairs stand in the text.
		id := strings.ReplaceAll(e.msg, " ", "_")
		if len(id) > 32 {
			id = id[:32]
		}
		b = fmt.Appendf(b, "<%d>1 %s %s zmailer/%s %d %s - ", pri, e.time.Format("2006-01-02T15:04:05.000000Z07:00"), l.host, l.applet, l.pid, id)
	}
	b = append(b, e.text()...)
	if len(b) > maxSyslog {
		b = append(b[:maxSyslog-3], "..."...)
	}
	return b
}
