package policy

import (
	"fmt"
	"strings"
	"time"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// An Action is what the policy wants done with a recipient.
type Action uint8

const (
	Defer   Action = iota // the zero value: nothing was decided, so try again later
	Deliver               // give it to the channel's agent
	Reject                // report to the sender
	Freeze                // keep the message for the administrator
	Discard               // drop it without a word
)

var actionNames = [...]string{"defer", "deliver", "reject", "freeze", "discard"}

func (a Action) String() string { return actionNames[a] }

// A Decision is one end of the routing of a recipient.
type Decision struct {
	Action Action

	Channel, Host, User string // Deliver
	Privilege           int    // uid in whose name files are written and programs run

	Status string // enhanced status code of Reject and Defer
	Text   string // for the report, the client or the log

	Internal bool // Text is about tables and files of this host, not for strangers

	Address   string // what was being routed: the recipient or what it expanded to
	Expanded  bool   // Address is not the recipient itself
	Sender    string // replaces the sender of the message, if HasSender
	HasSender bool
	Owned     bool   // a member of a list, whose owner is the sender now and gets the reports
	Fields    string // header fields that are added, each with its line end
	Rewriting string // chosen by crossbar: the last argument of rewrite

	wait // Deliver

	Why shell.Position
}

// Delay is how long after now a delivery is tried first.
func (d *Decision) Delay() time.Duration { return d.delay }

// Held tells whether a delivery waits for an administrator.
func (d *Decision) Held() bool { return d.hold }

// String is the decision in words, for people.
func (d *Decision) String() string {
	b := new(strings.Builder)
	switch d.Action {
	case Deliver:
		fmt.Fprintf(b, "deliver %s %s %s", d.Channel, rfc5322.OneLine(d.Host, 0), rfc5322.OneLine(d.User, 0))
		if d.HasSender {
			fmt.Fprintf(b, " (sender <%s>)", d.Sender)
		}
		if d.delay > 0 {
			fmt.Fprintf(b, " (after %v)", d.delay)
		}
		if d.hold {
			b.WriteString(" (held)")
		}
	case Reject, Defer:
		fmt.Fprintf(b, "%s %s %s: %s", d.Action, d.Status, rfc5322.OneLine(d.Address, 0), d.Text)
	default:
		fmt.Fprintf(b, "%s %s", d.Action, d.Text)
	}
	return b.String()
}

// Local tells whether a recipient belongs to this host by its delivery alone.
func (d *Decision) Local() bool { return d.Action == Deliver && d.Channel == LocalChannel }

// Channels that the mailer itself knows.
const (
	LocalChannel = "local"
	ErrorChannel = "error"
)

// leafKey names a delivery, to make it once.
func (d *Decision) leafKey() string {
	b := make([]byte, 0, 96)
	b = append(b, byte('0'+d.Action))
	for _, s := range [...]string{d.Channel, d.Host, d.User, d.Status} {
		b = append(b, s...)
		b = append(b, 0)
	}
	if d.Action == Deliver {
		for p := uint32(d.Privilege); p > 0; p >>= 8 {
			b = append(b, byte(p))
		}
	} else {
		b = append(b, d.Address...)
	}
	return string(b)
}
