package policy

import (
	"time"

	"zmailer/shellcfg/shell"
)

// A Node is what happened to one address: the explanation of a decision.
type Node struct {
	Address string  `json:"address"`
	Kind    string  `json:"kind,omitempty"` // pipe, file, include or escaped; empty for an address
	Events  []Event `json:"events"`
	Members []*Node `json:"members,omitempty"`

	depth int // of function calls, while it is being routed
}

// An EventKind is a kind of event.
type EventKind string

// The kinds of events.
const (
	EventCall      EventKind = "call"      // a function is entered
	EventLookup    EventKind = "lookup"    // a table, the users, the DNS or a file is asked
	EventDecision  EventKind = "decision"  // an end
	EventDuplicate EventKind = "duplicate" // an end that was reached before
	EventSeen      EventKind = "seen"      // the address was routed before
	EventExpand    EventKind = "expand"    // replaced by the members of a list
)

// An Event is one thing that happened, in order. Depth is the nesting of
// function calls.
type Event struct {
	Kind     EventKind
	Depth    int
	Pos      shell.Position
	Name     string   // function or lookup
	Args     []string // of it
	Value    string   // of a lookup that found something
	Outcome  string   // hit, miss or failure
	Err      string   // of a failure
	Took     time.Duration
	Count    int // members of an expansion
	Decision *Decision
}

func (n *Node) child(addr, kind string) *Node {
	c := &Node{Address: addr}
	if kind != address.String() {
		c.Kind = kind
	}
	n.Members = append(n.Members, c)
	return c
}

// add appends an event; a nil Node takes none.
func (n *Node) add(e Event) {
	if n == nil {
		return
	}
	e.Depth = n.depth
	n.Events = append(n.Events, e)
}

// node is where events of the running call belong.
func (s *Session) node() *Node {
	if s == nil || s.cur == nil {
		return nil
	}
	return s.cur.node
}

// Explain routes an address and returns the tree of what happened, besides
// giving emit the decisions.
func (s *Session) Explain(r Recipient, emit func(*Decision) bool) *Node {
	s.tree = &Node{}
	s.sh.SetTrace(&shell.Trace{
		Enter: func(f shell.Frame, args []string) {
			n := s.node()
			n.add(Event{Kind: EventCall, Name: f.Func, Args: append([]string(nil), args...), Pos: f.Pos})
			if n != nil {
				n.depth++
			}
		},
		Leave: func(shell.Frame, int) {
			if n := s.node(); n != nil && n.depth > 0 {
				n.depth--
			}
		},
	})
	defer func() { s.tree = nil; s.sh.SetTrace(nil) }()
	s.Route(r, emit)
	return s.tree.Members[0]
}

// lookedUp records a lookup in the explanation.
func (s *Session) lookedUp(name string, args []string, pos shell.Position, start time.Time, value string, found bool, err error) {
	n := s.node()
	if n == nil {
		return
	}
	e := Event{Kind: EventLookup, Name: name, Args: append([]string(nil), args...), Pos: pos, Took: time.Since(start)}
	switch {
	case err != nil:
		e.Outcome, e.Err = "failure", err.Error()
	case found:
		e.Outcome, e.Value = "hit", value
	default:
		e.Outcome = "miss"
	}
	n.add(e)
}
