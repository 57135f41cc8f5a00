package smtpserver

import (
	"strconv"
	"time"

	"github.com/emersion/go-smtp"
)

// maxLater is how far ahead mail may be submitted: RFC 4865 §4.
const maxLater = 30 * 24 * time.Hour

// parseLater reads HOLDFOR, in seconds, or HOLDUNTIL, a date of RFC 3339.
func parseLater(key, value string, now time.Time) (at time.Time, err *smtp.SMTPError) {
	if key == "HOLDFOR" {
		n, e := strconv.ParseUint(value, 10, 32)
		if e != nil || n == 0 || len(value) > 9 {
			return at, badParam(key)
		}
		at = now.Add(time.Duration(n) * time.Second)
	} else {
		var e error
		if at, e = time.Parse(time.RFC3339, value); e != nil || !at.After(now) {
			return at, badParam(key)
		}
	}
	if at.Sub(now) > maxLater {
		return at, refuse(501, 5, 5, 4, "Mail can be held for "+strconv.Itoa(int(maxLater/(24*time.Hour)))+" days at most")
	}
	return at, nil
}

// submits tells whether the client is one of ours, who may say when mail goes and how
// urgent it is.
func (s *session) submits() bool { return s.authUser != "" || s.relay }

// laterOffer is the line of EHLO: the longest time, and the date it leads to.
func laterOffer(b []byte, now time.Time) []byte {
	b = append(b, "250-FUTURERELEASE "...)
	b = strconv.AppendInt(b, int64(maxLater/time.Second), 10)
	b = append(b, ' ')
	b = now.Add(maxLater).UTC().AppendFormat(b, time.RFC3339)
	return append(b, '\r', '\n')
}

// parsePriority reads MT-PRIORITY, RFC 6710: what the queue knows of it is the order
// of four classes.
func parsePriority(value string) (priority string, err *smtp.SMTPError) {
	n, e := strconv.Atoi(value)
	switch {
	case e != nil || n < -9 || n > 9 || value[0] == '+':
		return "", badParam("MT-PRIORITY")
	case n > 0:
		return "high", nil
	case n <= -5:
		return "junk", nil
	case n < 0:
		return "bulk", nil
	}
	return "", nil
}
