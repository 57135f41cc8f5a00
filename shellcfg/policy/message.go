package policy

import (
	"zmailer/spool/rfc5322"
)

// A Message is what the policy may know about the message that it routes.
type Message struct {
	ID        string
	Sender    string // envelope sender; "" is the null sender
	Client    string // address of the SMTP client
	Helo      string
	AuthUser  string
	Owner     int // uid of the submitter
	Size      int64
	MessageID string
	Priority  string
	External  bool // came from outside
	ErrorMsg  bool // a report
	Header    rfc5322.Header
}

// A Recipient is an address to route.
type Recipient struct {
	Addr string
}
