package explain

import (
	"fmt"
	"strings"
	"time"

	"zmailer/shellcfg/policy"
	"zmailer/spool/rfc5322"
)

// step is a node of the tree: an address and what happened to it.
type step struct {
	Address string  `json:"address"`
	Kind    string  `json:"kind,omitempty"`
	Events  []event `json:"events"`
	Members []*step `json:"members,omitempty"`
}

type event struct {
	Kind     policy.EventKind `json:"kind"`
	Depth    int              `json:"depth"`
	Name     string           `json:"name,omitempty"`
	Args     []string         `json:"args,omitempty"`
	Outcome  string           `json:"outcome,omitempty"`
	Value    string           `json:"value,omitempty"`
	Error    string           `json:"error,omitempty"`
	Micros   int64            `json:"us,omitempty"`
	Count    int              `json:"count,omitempty"`
	Decision *outcome         `json:"decision,omitempty"`
	Where    string           `json:"where,omitempty"`
}

// outcome is a decision.
type outcome struct {
	Action    string `json:"action"`
	Channel   string `json:"channel,omitempty"`
	Host      string `json:"host,omitempty"`
	User      string `json:"user,omitempty"`
	Privilege int    `json:"privilege"`
	Sender    string `json:"sender,omitempty"`
	Status    string `json:"status,omitempty"`
	Text      string `json:"text"`
	Why       string `json:"why"`
}

func newOutcome(d *policy.Decision) outcome {
	return outcome{
		Action: d.Action.String(), Channel: d.Channel, Host: d.Host, User: d.User, Privilege: d.Privilege,
		Sender: d.Sender, Status: d.Status, Text: d.String(), Why: d.Why.String(),
	}
}

func newStep(n *policy.Node) *step {
	s := &step{Address: n.Address, Kind: n.Kind, Events: make([]event, 0, len(n.Events))}
	for _, e := range n.Events {
		ev := event{Kind: e.Kind, Depth: e.Depth, Name: e.Name, Args: e.Args, Outcome: e.Outcome, Value: e.Value,
			Error: e.Err, Micros: e.Took.Microseconds(), Count: e.Count, Where: e.Pos.String()}
		if e.Decision != nil {
			o := newOutcome(e.Decision)
			ev.Decision = &o
		}
		s.Events = append(s.Events, ev)
	}
	for _, m := range n.Members {
		s.Members = append(s.Members, newStep(m))
	}
	return s
}

// maxValueShown bounds what is printed of a value: lists can be long.
const maxValueShown = 100

func (s *step) print(b *strings.Builder, level int) {
	indent := strings.Repeat("  ", level)
	fmt.Fprintf(b, "%s%s", indent, shown(s.Address))
	if s.Kind != "" {
		fmt.Fprintf(b, " (%s)", s.Kind)
	}
	b.WriteByte('\n')
	for _, e := range s.Events {
		fmt.Fprintf(b, "%s  %s%s\n", indent, strings.Repeat("  ", e.Depth), e.text())
	}
	for _, m := range s.Members {
		m.print(b, level+1)
	}
}

func (e *event) text() string {
	call := e.Name
	for _, a := range e.Args {
		call += " " + shown(a)
	}
	switch e.Kind {
	case policy.EventCall:
		return call + "\t" + e.Where
	case policy.EventLookup:
		out := call + ": " + e.Outcome
		if e.Outcome == "hit" {
			out += " " + shown(e.Value)
		}
		if e.Error != "" {
			out += " " + shown(e.Error)
		}
		return fmt.Sprintf("%s\t%s, %v", out, e.Where, time.Duration(e.Micros)*time.Microsecond)
	case policy.EventExpand:
		return fmt.Sprintf("expand to %d\t%s", e.Count, e.Where)
	case policy.EventSeen:
		return "was routed before"
	case policy.EventDuplicate:
		return "= " + e.Decision.Text + ", as before\t" + e.Where
	}
	return "= " + e.Decision.Text + "\t" + e.Where
}

// shown is a value on one line, in quotes where its ends would not be seen.
func shown(s string) string {
	out := rfc5322.OneLine(s, maxValueShown)
	if len(out) < len(s) {
		out += "..."
	}
	if out == "" || strings.ContainsAny(out, " '") {
		return "'" + out + "'"
	}
	return out
}
