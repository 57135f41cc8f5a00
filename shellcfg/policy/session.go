package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// Bounds of the routing of one message.
const (
	maxDepth  = 40        // of expansions within expansions
	maxRoutes = 1_000_000 // addresses
	maxMade   = 1_000     // decisions in one call
)

// A Session routes the recipients of one message. It is not safe for concurrent
// use. Close it to give its memory back.
type Session struct {
	// OnDuplicate, if set, is told the addresses that were routed before and those
	// that lead to where another one led before.
	OnDuplicate func(addr string)

	p    *Policy
	ctx  context.Context
	sh   *shell.Session
	msg  *Message
	rcpt Recipient // in work, or none
	emit func(*Decision) (more bool)
	tree *Node // of the address being routed, when explaining

	seen   map[string]struct{} // addresses routed
	leaves map[string]struct{} // deliveries decided
	routes int
	stack  []*list

	// The call that is running.
	cur     *frame
	made    []Decision
	lists   []*list
	failure string // a lookup that could not be made
	failPos shell.Position
	claimed bool     // the policy said "ours"
	thawed  bool     // it would have frozen the message, which was released
	edit    Decision // what crossbar makes of a delivery
	edits   []HeaderEdit
	phase   phase
}

// A phase is what the policy is asked for: not every command answers every
// question.
type phase uint8

const (
	routingPhase  phase = iota // router, member, intercept: an address
	crossbarPhase              // a delivery
	messagePhase               // process, mailfrom: the message
	rewritePhase               // an address in the header
)

// A frame is one address on its way through the policy.
type frame struct {
	parent *frame
	list   *list  // that it came from; nil for a recipient
	addr   string // as text; for kind address in its own normal form
	local  string
	domain string // canonical
	kind   kind
	steps  []string // what "once" was asked for
	wait
	depth int
	node  *Node
}

// A list is an expansion that is being worked off.
type list struct {
	parent    *frame
	items     []string
	next      int
	detail    string
	addresses bool // members are addresses and nothing else
	privilege int
	sender    string
	hasSender bool
	fields    string // header fields for the members
	pos       shell.Position
}

// Session starts the routing of a message under this version.
func (p *Policy) Session(ctx context.Context, msg *Message) *Session {
	s, ok := p.sessions.Get().(*Session)
	if !ok {
		s = &Session{seen: make(map[string]struct{}), leaves: make(map[string]struct{})}
	}
	s.p, s.msg, s.ctx = p, msg, relations.Pin(ctx)
	s.sh = p.prog.Session(s.ctx, s)
	return s
}

// Close ends the session.
func (s *Session) Close() {
	if s.sh == nil {
		return
	}
	s.sh.Close()
	big := len(s.seen) > 1000
	p := s.p
	clear(s.seen)
	clear(s.leaves)
	clear(s.made)
	*s = Session{seen: s.seen, leaves: s.leaves, made: s.made[:0], stack: s.stack[:0]}
	if !big {
		p.sessions.Put(s)
	}
}

// SetTrace observes the functions of the policy.
func (s *Session) SetTrace(t *shell.Trace) { s.sh.SetTrace(t) }

// Version is the version of the policy that the session runs under.
func (s *Session) Version() string { return s.p.Version }

// Claimed tells whether the policy called the recipient routed last one of ours:
// mail to it is taken from anybody.
func (s *Session) Claimed() bool { return s.claimed }

// Route routes one recipient and gives emit each decision until it returns
// false. A recipient that was routed before in this session, or whose deliveries
// have all been decided before, gives none.
func (s *Session) Route(r Recipient, emit func(*Decision) (more bool)) {
	s.emit, s.claimed, s.rcpt = emit, false, r
	root := &frame{addr: r.Addr}
	root.parse()
	if s.tree != nil {
		root.node = s.tree.child(r.Addr, "")
	}
	more := s.visit(root)
	for more && len(s.stack) > 0 {
		top := s.stack[len(s.stack)-1]
		if top.next == len(top.items) {
			s.stack[len(s.stack)-1] = nil
			s.stack = s.stack[:len(s.stack)-1]
			continue
		}
		item := top.items[top.next]
		top.items[top.next] = ""
		top.next++
		more = s.visit(s.member(top, item))
	}
	clear(s.stack)
	s.stack, s.cur, s.emit, s.rcpt = s.stack[:0], nil, nil, Recipient{}
}

// visit routes one address and tells whether the caller wants more.
func (s *Session) visit(f *frame) bool {
	if f.depth > maxDepth {
		return s.give(f, Decision{Action: Reject, Status: "5.4.6", Text: "mail loop: address expands to itself too often", Why: where(f)})
	}
	if s.duplicate(f) {
		return true
	}
	if s.routes++; s.routes > maxRoutes {
		return s.give(f, Decision{Action: Reject, Status: "5.4.6", Text: fmt.Sprintf("expands to more than %d addresses", maxRoutes), Why: where(f)})
	}
	s.begin(f)
	status, err := s.call(f)
	if s.thawed && status != statusTemp && err == nil && s.undecided() {
		status, err = s.callStock(f)
	}
	if err == nil && f.kind == bad {
		return s.give(f, Decision{Action: Reject, Status: "5.1.3", Text: "bad address syntax", Why: where(f)})
	}
	return s.settle(f, status, err)
}

// where is the place that named the address.
func where(f *frame) shell.Position {
	if f.list != nil {
		return f.list.pos
	}
	return shell.Position{File: "envelope", Line: 0}
}

func (s *Session) begin(f *frame) {
	s.cur, s.made, s.lists, s.failure, s.thawed = f, s.made[:0], s.lists[:0], "", false
}

// call runs the function for the address.
func (s *Session) call(f *frame) (int, error) {
	if f.kind != address && f.kind != bad {
		return s.sh.Call("member", f.kind.String(), f.addr)
	}
	if f.kind == bad {
		return 0, nil
	}
	if s.p.hasIntercept && f.parent == nil {
		status, err := s.sh.Call("intercept", f.addr, f.local, f.domain)
		if err != nil || status == statusTemp || len(s.made)+len(s.lists) > 0 || s.failure != "" {
			return status, err
		}
	}
	return s.sh.Call("router", f.addr, f.local, f.domain)
}

// undecided says that the call has left nothing behind.
func (s *Session) undecided() bool { return len(s.made)+len(s.lists) == 0 && s.failure == "" }

// callStock runs the stock policy's function for an address: of a message that was
// released, where the policy has nothing but "freeze" to say.
func (s *Session) callStock(f *frame) (status int, err error) {
	stock, err := loadFrom(s.ctx, Config{Conf: s.p.conf, Log: s.p.log, DNS: s.p.dns, Users: s.p.users, Vars: s.p.vars}, true)
	if err != nil {
		return 0, fmt.Errorf("stock policy for a released message: %w", err)
	}
	own := s.sh
	s.sh = stock.prog.Session(s.ctx, s)
	defer func() {
		s.sh.Close()
		s.sh = own
		err = errors.Join(err, stock.Close())
	}()
	if f.kind != address {
		return s.sh.Call("member", f.kind.String(), f.addr)
	}
	return s.sh.Call("router", f.addr, f.local, f.domain)
}

// parse takes an address apart, or makes the frame a bad one.
func (f *frame) parse() {
	a, err := rfc5322.ParseAddress(f.addr)
	if f.addr == "" || err == nil && a.IsNull() {
		f.addr = ""
		return
	}
	if err == nil && a.Domain != "" {
		f.domain, err = rfc5322.CanonicalDomain(a.Domain)
	}
	if err != nil {
		f.kind = bad
		return
	}
	f.addr, f.local = a.String(), a.Local
}

const statusTemp = 75

// settle turns what a call left behind into decisions.
func (s *Session) settle(f *frame, status int, err error) bool {
	switch {
	case err != nil:
		return s.give(f, broken(err))
	case s.failure != "":
		return s.give(f, Decision{Action: Defer, Internal: true, Status: "4.4.3", Text: s.failure, Why: s.failPos})
	case status == statusTemp:
		return s.give(f, Decision{Action: Defer, Status: "4.3.0", Text: "policy could not decide now", Why: s.funcPos(f)})
	case len(s.made)+len(s.lists) == 0:
		return s.give(f, Decision{Action: Defer, Status: "4.3.5", Text: "policy made no decision for this address", Why: s.funcPos(f)})
	}
	// The last list is on top of the stack when the first one must be.
	for i := len(s.lists) - 1; i >= 0; i-- {
		s.stack = append(s.stack, s.lists[i])
	}
	for i := range s.made {
		if !s.give(f, s.made[i]) {
			return false
		}
	}
	return true
}

// broken is the decision about a message that the policy failed for.
func broken(err error) Decision {
	d := Decision{Action: Defer, Internal: true, Status: "4.3.5", Text: "policy failed: " + rfc5322.OneLine(err.Error(), 500)}
	var e *shell.Error
	if errors.As(err, &e) {
		d.Why = e.Pos
	}
	return d
}

func (s *Session) funcPos(f *frame) shell.Position {
	name := "router"
	if f.kind != address {
		name = "member"
	}
	pos, _ := s.p.prog.FuncPos(name)
	return pos
}

// give completes a decision and hands it out, unless it was made before.
func (s *Session) give(f *frame, d Decision) bool {
	d.Address, d.Expanded = f.addr, f.parent != nil
	if d.Address == "" {
		d.Address = s.p.postmaster()
	}
	if l := f.list; l != nil && l.hasSender && !d.HasSender {
		d.Sender, d.HasSender, d.Owned = l.sender, true, true
	}
	if f.list != nil {
		d.Fields = f.list.fields
	}
	if d.Action == Deliver {
		d.wait = f.wait
	}
	if d.Action == Deliver && s.p.hasCrossbar {
		d = s.crossbar(f, d)
	}
	key := d.leafKey()
	if _, dup := s.leaves[key]; dup {
		f.node.add(Event{Kind: EventDuplicate, Decision: &d, Pos: d.Why})
		s.told(f)
		return true
	}
	s.leaves[key] = struct{}{}
	if f.node != nil {
		copied := d
		f.node.add(Event{Kind: EventDecision, Decision: &copied, Pos: d.Why})
	}
	return s.emit(&d)
}

// duplicate tells whether the address was routed before. An address below itself
// is another one: some step that led to it will be skipped.
func (s *Session) duplicate(f *frame) bool {
	again := 0
	for up := f.parent; up != nil; up = up.parent {
		if up.addr == f.addr && up.kind == f.kind {
			again++
		}
	}
	var b [160]byte
	key := append(b[:0], byte(f.kind), byte(again))
	if f.kind != address {
		for p := uint32(s.privilegeOf(f)); p > 0; p >>= 8 {
			key = append(key, byte(p))
		}
		key = append(key, 0)
	}
	key = append(key, f.addr...)
	if _, dup := s.seen[string(key)]; dup {
		f.node.add(Event{Kind: EventSeen})
		s.told(f)
		return true
	}
	s.seen[string(key)] = struct{}{}
	return false
}

func (s *Session) told(f *frame) {
	if s.OnDuplicate != nil {
		s.OnDuplicate(f.addr)
	}
}

// once tells whether key is new on the way from the recipient to here.
func (f *frame) once(key string) bool {
	for up := f; up != nil; up = up.parent {
		for _, k := range up.steps {
			if k == key {
				return false
			}
		}
	}
	f.steps = append(f.steps, key)
	return true
}

// privilegeOf is the uid in whose name the address is handled.
func (s *Session) privilegeOf(f *frame) int {
	if f == nil || f.list == nil {
		return s.p.nobody
	}
	return f.list.privilege
}

// senderOf is the sender that the members of a list have.
func (s *Session) senderOf(f *frame) string {
	if f != nil && f.list != nil && f.list.hasSender {
		return f.list.sender
	}
	return s.msg.Sender
}

func (p *Policy) postmaster() string { return "postmaster@" + p.conf.MyDomain }

// fail remembers that a lookup could not be made.
func (s *Session) fail(what string, err error, pos shell.Position) int {
	if s != nil && s.failure == "" {
		s.failure = rfc5322.OneLine(strings.TrimPrefix(err.Error(), what+": "), 300)
		if !strings.HasPrefix(s.failure, what) {
			s.failure = what + ": " + s.failure
		}
		s.failPos = pos
	}
	return statusTemp
}
