package policy

import (
	"zmailer/spool/rfc5322"
)

// A Message is what the policy may know about the message that it routes.
type Message struct {
	ID                   string
	Sender               string // envelope sender; "" is the null sender
	Client               string // address of the SMTP client
	Helo                 string
	AuthUser             string
	Owner                int // uid of the submitter
	Size                 int64
	MessageID            string
	Priority             string
	Tag                  string // words of the SMTP server's policy
	EnvID                string // RFC 3461
	Ret                  string // RFC 3461
	BodyType             string // as in the envelope
	TLS                  string // version and cipher of the SMTP session
	Via                  string // such as hold: by what it came back to the router
	External             bool   // came from outside
	ErrorMsg             bool   // a report
	Released             bool   // was frozen, and is not to be frozen again
	SMTPUTF8, RequireTLS bool
	Header               rfc5322.Header
}

// A Recipient is an address to route.
type Recipient struct {
	Addr   string
	Notify string // NOTIFY of RFC 3461
	ORcpt  string // ORCPT of RFC 3461
}
