package smtpserver

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/shell"
	"zmailer/spool"
)

// DELIVERBY, RFC 2852: the client says by when a message is to be delivered, and what
// is to happen if it is not. A stranger could have reports sent to whom he names as the
// sender, with no more than one second and a recipient whose host is slow: without a
// word in the configuration it is for our own clients alone.

// byRule is whose BY is taken, and how short a time with mode R.
type byRule struct {
	off, all bool // neither: ours
	least    time.Duration
}

// deliverby off|ours|all [MINIMUM]
func (c *config) deliverByRule(call *shell.Call) error {
	r := byRule{}
	if len(call.Args) == 0 || len(call.Args) > 2 {
		return errors.New("want off, ours or all, and perhaps the shortest time")
	}
	switch call.Args[0] {
	case "off":
		r.off = true
	case "ours":
	case "all":
		r.all = true
	default:
		return fmt.Errorf("%s: want off, ours or all", call.Args[0])
	}
	if len(call.Args) == 2 {
		d, err := time.ParseDuration(call.Args[1])
		if err != nil || d < time.Second || d > spool.MaxBy*time.Second || r.off {
			return fmt.Errorf("%s: want a time of whole seconds, such as 5m", call.Args[1])
		}
		r.least = d.Truncate(time.Second)
	}
	c.by = r
	return nil
}

// takesBy tells whether the client may say BY.
func (s *session) takesBy() bool { return !s.cfg.by.off && (s.cfg.by.all || s.submits()) }

// offersBy tells whether the client is told so: at a port for submission before it has
// logged in.
func (s *session) offersBy() bool {
	return s.takesBy() || !s.cfg.by.off && s.role == roleSubmission
}

// offer is the line of EHLO.
func (r byRule) offer(b []byte) []byte {
	b = append(b, "250-DELIVERBY"...)
	if r.least > 0 {
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(r.least/time.Second), 10)
	}
	return append(b, '\r', '\n')
}

// parseBy reads the value of BY: seconds, which may be gone already, and a mode.
func (r byRule) parseBy(value string, now time.Time) (by spool.DeliverBy, err *smtp.SMTPError) {
	seconds, mode, _ := strings.Cut(value, ";")
	digits := strings.TrimLeft(seconds, "+-")
	n, e := strconv.ParseInt(seconds, 10, 64)
	if e != nil || len(digits) > 9 || len(seconds) > len(digits)+1 || by.SetMode(strings.ToUpper(mode)) != nil {
		return by, badParam("BY")
	}
	switch {
	case by.Return && n <= 0:
		return by, refuse(501, 5, 5, 4, "BY with mode R needs a time above 0")
	case by.Return && n < int64(r.least/time.Second):
		return by, refuse(555, 5, 5, 4, "BY with mode R needs at least "+strconv.Itoa(int(r.least/time.Second))+" seconds")
	}
	by.At, by.Told = time.Unix(now.Unix()+n, 0), n <= 0
	return by, nil
}

// errTooLate: the message would have to go back before it may go.
var errTooLate = refuse(501, 5, 5, 4, "BY is over before HOLDFOR or HOLDUNTIL")
