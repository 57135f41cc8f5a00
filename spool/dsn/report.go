package dsn

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A Kind is what a report tells its reader.
type Kind uint8

const (
	FailureReport Kind = iota // recipients that will not get the message
	DelayReport               // recipients that do not have it yet
	SuccessReport             // recipients that got it, for a sender who asked
)

var kindNames = [...]string{"failure", "delay", "success"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// WantsReport says whether the sender wants to hear of k for a recipient. notify
// is the recipient's NOTIFY parameter; without one he hears of failures and
// delays: RFC 3461 §4.1.
func WantsReport(notify string, k Kind) bool {
	if notify == "" {
		return k != SuccessReport
	}
	for word := range strings.SplitSeq(notify, ",") {
		if strings.EqualFold(strings.TrimSpace(word), k.String()) {
			return true
		}
	}
	return false
}

// DefaultMaxReturn is how much of a message a failure report carries back.
const DefaultMaxReturn = 1 << 20

// A Report tells the sender of a message what became of some of its recipients:
// a multipart/report of RFC 3462 with a text for people, the delivery status of
// RFC 3464 for programs, and the message or its header. The caller decides who
// gets one (WantsReport) and submits it with the null sender.
type Report struct {
	Kind Kind
	ID   string    // of the report itself: Message-ID and boundary are made of it
	Date time.Time // of the report itself

	ReportingMTA string // name of this host
	Postmaster   string // whom the reader may ask; postmaster@ReportingMTA if empty
	Sender       string // return path of the message: receives the report

	OriginalID string // spool id of the message
	Arrival    time.Time
	DeliverBy  time.Time // that the sender has set (RFC 2852), or zero
	EnvID      string    // ENVID as given, xtext
	Ret        string    // RET: FULL, HDRS or empty
	Rcpts      []ReportRcpt

	// SMTPUTF8 says that the message was sent with SMTPUTF8: the report is then
	// of the types of RFC 6533 and must be sent with SMTPUTF8 itself.
	SMTPUTF8 bool

	Header    []byte    // of the message, as the router wrote it or as it came
	Body      io.Reader // of the message; read only if it is returned
	BodySize  int64
	MaxReturn int64 // a larger message is returned as its header; 0 is DefaultMaxReturn

	Form *Form // text for people; nil is the built-in one
}

// A ReportRcpt is what a report says about one recipient.
type ReportRcpt struct {
	Final  string // the address as it was tried last
	ORcpt  string // ORCPT as given, or empty
	Result Result
	Last   time.Time // of the last attempt; zero is unknown
	Until  time.Time // DelayReport: when the attempts end
}

// returnsBody says whether the whole message goes back, not just its header:
// RFC 3461 §4.3. The reader of a delay or success still has the message.
func (r *Report) returnsBody() bool {
	limit := r.MaxReturn
	if limit == 0 {
		limit = DefaultMaxReturn
	}
	return r.Kind == FailureReport && !strings.EqualFold(r.Ret, "HDRS") && r.Body != nil &&
		int64(len(r.Header))+r.BodySize <= limit
}

// action is the Action field of RFC 3464 §2.3.3.
func (r *Report) action(rcpt *ReportRcpt) string {
	switch {
	case r.Kind == FailureReport:
		return "failed"
	case r.Kind == DelayReport:
		return "delayed"
	case rcpt.Result.Action == Expanded:
		return "expanded"
	case rcpt.Result.Remote:
		return "relayed" // to a host that will not report itself
	}
	return "delivered"
}
