package queuesock

import (
	"errors"
	"strings"
	"time"
)

// A Selection chooses recipients in the queue: those that meet all criteria given.
// Texts are compared without regard to case and may hold * and ?.
type Selection struct {
	All       bool     `json:"all,omitempty"` // no criterion is needed
	IDs       []string `json:"ids,omitempty"`
	Sender    string   `json:"sender,omitempty"`    // "<>" is the null sender
	Recipient string   `json:"recipient,omitempty"` // address
	Domain    string   `json:"domain,omitempty"`    // of the recipient's address
	Channel   string   `json:"channel,omitempty"`
	Host      string   `json:"host,omitempty"`
	Etrn      string   `json:"etrn,omitempty"`   // name of RFC 1985, see etrn
	Reason    string   `json:"reason,omitempty"` // part of the last reply
	Status    string   `json:"status,omitempty"` // enhanced status code: "4.4.*"
	State     string   `json:"state,omitempty"`  // held, waiting, ...
	MinAge    int64    `json:"min_age,omitempty"`
	MaxAge    int64    `json:"max_age,omitempty"`
	MinSize   int64    `json:"min_size,omitempty"`
	MaxSize   int64    `json:"max_size,omitempty"`
}

// ErrEmpty is a selection without a criterion, where one is wanted.
var ErrEmpty = errors.New("nothing is selected: give an id or a criterion, or --all")

// Empty says that no criterion is given.
func (s *Selection) Empty() bool {
	return len(s.IDs) == 0 && s.Sender == "" && s.Recipient == "" && s.Domain == "" && s.Channel == "" && s.Host == "" && s.Etrn == "" &&
		s.Reason == "" && s.Status == "" && s.State == "" && s.MinAge == 0 && s.MaxAge == 0 && s.MinSize == 0 && s.MaxSize == 0
}

// Message says whether the message as a whole may match: its id, age, size, sender.
func (s *Selection) Message(id, sender string, arrival time.Time, size int64, now time.Time) bool {
	if len(s.IDs) > 0 && !s.hasID(id) {
		return false
	}
	age := int64(now.Sub(arrival) / time.Second)
	switch {
	case s.MinAge > 0 && age < s.MinAge, s.MaxAge > 0 && age > s.MaxAge:
		return false
	case s.MinSize > 0 && size < s.MinSize, s.MaxSize > 0 && size > s.MaxSize:
		return false
	case s.Sender == "<>":
		return sender == ""
	}
	return s.Sender == "" || Match(s.Sender, sender)
}

func (s *Selection) hasID(id string) bool {
	for _, want := range s.IDs {
		if strings.EqualFold(want, id) {
			return true
		}
	}
	return false
}

// Thread says whether recipients of channel and host may match.
func (s *Selection) Thread(channel, host string) bool {
	return (s.Channel == "" || Match(s.Channel, channel)) && (s.Host == "" || Match(s.Host, host)) &&
		(s.Etrn == "" || etrn(s.Etrn, channel, host))
}

// etrn matches a name as the command ETRN takes it, RFC 1985 §5: a host, with "@"
// the host and all below it, with "#" a queue: here a thread, channel/host.
func etrn(name, channel, host string) bool {
	switch {
	case strings.HasPrefix(name, "#"):
		return Match(name[1:], channel+"/"+host)
	case strings.HasPrefix(name, "@"):
		return strings.EqualFold(name[1:], host) || Match("*."+name[1:], host)
	}
	return strings.EqualFold(name, host)
}

// IsEtrn says whether s is meant as a name for ETRN and not as an id.
func IsEtrn(s string) bool { return strings.ContainsAny(s, ".@#") }

// Recip says whether a recipient matches.
func (s *Selection) Recip(r *Recipient) bool {
	if !s.Thread(r.Channel, r.Host) {
		return false
	}
	domain := r.Address[strings.LastIndexByte(r.Address, '@')+1:]
	return (s.Recipient == "" || Match(s.Recipient, r.Address)) &&
		(s.Domain == "" || Match(s.Domain, domain)) &&
		(s.Reason == "" || Match("*"+s.Reason+"*", r.DelayReason)) &&
		(s.Status == "" || Match(s.Status, r.Status)) &&
		(s.State == "" || strings.EqualFold(s.State, r.State))
}

// Detailed says whether the selection asks for what stands in the control file
// alone.
func (s *Selection) Detailed() bool {
	return s.Recipient != "" || s.Domain != "" || s.Reason != "" || s.Status != ""
}

// Match compares without regard to case; in the pattern * and ? stand for others.
func Match(pattern, s string) bool {
	p, s := strings.ToLower(pattern), strings.ToLower(s)
	// The usual algorithm with one way back: to the last star.
	i, j, star, mark := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}
