package smtp

import (
	"strings"

	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// A tlsWish is what the sender of a message says about encryption: RFC 8689.
type tlsWish uint8

const (
	wishNone     tlsWish = iota
	wishRequired         // REQUIRETLS: verified on the whole way, or not at all
	wishNo               // "TLS-Required: No": what the destination publishes does not count
)

// tlsWish reads it from the message. A delivery server is the end of the way, of
// which REQUIRETLS asks nothing; and a report, which has no sender and carries no
// content, rather goes without protection than not at all (RFC 8689 §5).
func (j *job) tlsWish() tlsWish {
	if j.d.Control.Attr.RequireTLS {
		if j.c.opt.lmtp || j.report() {
			return wishNone
		}
		return wishRequired
	}
	for i := range j.work {
		if !declinesTLS(j.work[i].group.Header) {
			return wishNone
		}
	}
	return wishNo
}

// report tells whether nobody has sent the message.
func (j *job) report() bool {
	for i := range j.work {
		if !j.work[i].group.NullSender() {
			return false
		}
	}
	return true
}

// declinesTLS tells whether a header has the field TLS-Required with the value No:
// RFC 8689 §3. Most have none, and need no parsing for that.
func declinesTLS(header []byte) bool {
	if !containsFold(header, "\ntls-required") && !containsFold(header[:min(len(header), 20)], "tls-required") {
		return false
	}
	h, _, err := rfc5322.ParseHeader(header)
	return err == nil && strings.EqualFold(strings.TrimSpace(h.Get("TLS-Required")), "no")
}

// containsFold tells whether b holds s, which is in lower case, in any case.
func containsFold(b []byte, s string) bool {
	for i := 0; i+len(s) <= len(b); i++ {
		k := 0
		for k < len(s) && (b[i+k] == s[k] || b[i+k]|0x20 == s[k]) {
			k++
		}
		if k == len(s) {
			return true
		}
	}
	return false
}

// keepsTLS says that the peer keeps the promise of REQUIRETLS: RFC 8689 §4.2.1.
// That the exchanger belongs to the domain is known from DNSSEC or MTA-STS.
func (s *session) keepsTLS() bool {
	return s.ext.requireTLS && s.target.trusted && s.proof != ""
}

// denied is the failure of a host that a message with REQUIRETLS cannot go to: for
// good, as RFC 8689 §4.2.1 asks, if there is no other one.
func (su *setup) denied(why string) *openFailure {
	return &openFailure{Result: dsn.Perm("5.7.10", "%s: %s, and the message may not go without (REQUIRETLS)", su.target.relay, why)}
}
