package smtpserver

import (
	"sync/atomic"

	"zmailer/spool/counters"
)

// The server's counters. What a session counts for itself is added when it ends.

type counts struct {
	set counters.Set

	sessions, turnedAway, encrypted, loggedIn *counters.Counter
	messages, recipients, octets              *counters.Counter
	refusedRcpts, mistakes                    *counters.Counter
	replies                                   [10]*counters.Counter // by the first digit; nil for what none begins with
}

func newCounts(active *atomic.Int32) *counts {
	c := new(counts)
	s := &c.set
	s.Gauge("smtpserver_sessions", "Clients being served", func() int64 { return int64(active.Load()) })
	c.sessions = s.Counter("smtpserver_sessions_total", "Sessions that have ended")
	c.turnedAway = s.Counter("smtpserver_turned_away_total", "Connections above a limit")
	c.encrypted = s.Counter("smtpserver_tls_sessions_total", "Sessions that used TLS")
	c.loggedIn = s.Counter("smtpserver_authenticated_sessions_total", "Sessions of a user who logged in")
	c.messages = s.Counter("smtpserver_messages_total", "Messages accepted")
	c.recipients = s.Counter("smtpserver_recipients_total", "Recipients of the messages accepted")
	c.octets = s.Counter("smtpserver_received_bytes_total", "Size of the messages accepted")
	c.refusedRcpts = s.Counter("smtpserver_refused_recipients_total", "Recipients refused, in sessions that have ended")
	c.mistakes = s.Counter("smtpserver_protocol_errors_total", "Errors of the protocol, in sessions that have ended")
	for _, digit := range "2345" {
		c.replies[digit-'0'] = s.Counter("smtpserver_replies_total", "Replies by the first digit of their code", "class", string(digit))
	}
	return c
}

// reply counts the replies of out, which ends with a whole line.
func (c *counts) reply(out []byte) {
	for at := 0; at+3 < len(out); {
		if n := out[at] - '0'; out[at+3] == ' ' && n < 10 && c.replies[n] != nil {
			c.replies[n].Inc()
		}
		for at < len(out) && out[at] != '\n' {
			at++
		}
		at++
	}
}

// ended adds what a session has counted.
func (c *counts) ended(s *session) {
	c.sessions.Inc()
	if s.tls != nil {
		c.encrypted.Inc()
	}
	if s.authUser != "" {
		c.loggedIn.Inc()
	}
	if s.rejects > 0 {
		c.refusedRcpts.Add(int64(s.rejects))
	}
	if s.errs > 0 {
		c.mistakes.Add(int64(s.errs))
	}
}
