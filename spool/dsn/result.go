// Package dsn holds the outcome of a delivery attempt and builds the reports of
// RFC 3464 from outcomes.
package dsn

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An Action says what became of one recipient in one attempt. Its text form is
// used on the agents' pipes, in control files and in logs.
type Action uint8

const (
	// Deferred is the zero value on purpose: an outcome nobody classified is
	// temporary, and mail is never lost for want of a case.
	Deferred Action = iota
	OK              // delivered, or handed to the next mailer
	Failed          // permanent: the sender gets a report
	RetryAt         // the destination as a whole is not available: wait RetryAfter
	Expanded        // replaced by other recipients or submitted anew; nothing to report
)

var actionNames = [...]string{"deferred", "ok", "error", "retryat", "expanded"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// ParseAction is the inverse of String.
func ParseAction(s string) (Action, error) {
	for i, name := range actionNames {
		if s == name {
			return Action(i), nil
		}
	}
	return Deferred, fmt.Errorf("unknown action %.40q", s)
}

// Final says that there will be no further attempt for the recipient.
func (a Action) Final() bool { return a == OK || a == Failed || a == Expanded }

// A Result is the outcome of one attempt for one recipient.
type Result struct {
	Action Action
	Status string // enhanced status code, RFC 3463, such as "2.1.5"; empty means the class alone is known
	Text   string // reply of the remote host or of our own, without line ends
	Relay  string // who gave the reply: "mx.example.net[192.0.2.7]:25", or empty for this host
	Remote bool   // Text is an SMTP reply of Relay (Diagnostic-Code "smtp"), not our own words ("x-local")

	RetryAfter time.Duration // RetryAt only: how long the destination wants to be left alone
}

// Temp, Perm and Success make the results of this host's own doing.
func Temp(status, format string, args ...any) Result {
	return Result{Action: Deferred, Status: status, Text: fmt.Sprintf(format, args...)}
}

// Perm is a permanent failure in our own words.
func Perm(status, format string, args ...any) Result {
	return Result{Action: Failed, Status: status, Text: fmt.Sprintf(format, args...)}
}

// Success is a completed delivery.
func Success(status, format string, args ...any) Result {
	return Result{Action: OK, Status: status, Text: fmt.Sprintf(format, args...)}
}

// FullStatus is Status, or the generic code of the action's class.
func (r Result) FullStatus() string {
	if ValidStatus(r.Status) {
		return r.Status
	}
	switch r.Action {
	case OK, Expanded:
		return "2.0.0"
	case Failed:
		return "5.0.0"
	}
	return "4.0.0"
}

// ValidStatus reports whether s is an enhanced status code of RFC 3463 §2.
func ValidStatus(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return false
	}
	for _, p := range parts[1:] {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n > 999 || len(p) > 3 {
			return false
		}
	}
	return true
}
