package policy

import (
	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// crossbar lets the policy look at sender and recipient together:
//
//	crossbar SENDER CHANNEL HOST USER
//
// It may decide anew (deliver, reject, ...), change the sender (setsender) and
// choose a rewriting of the header (rewriting). Without a decision the delivery
// stays as it is.
func (s *Session) crossbar(f *frame, d Decision) Decision {
	from := s.msg.Sender
	if d.HasSender {
		from = d.Sender
	}
	made, lists := s.made, s.lists
	s.made, s.lists, s.failure = nil, nil, ""
	s.edit, s.phase = d, crossbarPhase
	status, err := s.sh.Call("crossbar", from, d.Channel, d.Host, d.User)
	out := s.edit
	if len(s.made) > 0 {
		out = s.made[0]
		out.Sender, out.HasSender, out.Rewriting, out.wait = s.edit.Sender, s.edit.HasSender, s.edit.Rewriting, s.edit.wait
		if out.Action == Deliver && out.Privilege != d.Privilege && s.privilegeOf(f) == out.Privilege {
			out.Privilege = d.Privilege
		}
	}
	switch {
	case err != nil:
		out = broken(err)
	case s.failure != "":
		out = Decision{Action: Defer, Internal: true, Status: "4.4.3", Text: s.failure, Why: s.failPos}
	case status == statusTemp:
		pos, _ := s.p.prog.FuncPos("crossbar")
		out = Decision{Action: Defer, Status: "4.3.0", Text: "policy could not decide now", Why: pos}
	}
	out.Address, out.Expanded, out.Owned, out.Fields = d.Address, d.Expanded, d.Owned, d.Fields
	s.made, s.lists, s.edit, s.phase = made, lists, Decision{}, routingPhase
	return out
}

// setSenderCommand is setsender ADDRESS, in crossbar.
func setSenderCommand(c *shell.Call) int {
	s, ok := during(c, crossbarPhase)
	if !ok {
		return 1
	}
	if len(c.Args) != 1 {
		return usage(c, "ADDRESS")
	}
	if _, err := rfc5322.ParseAddress(c.Args[0]); c.Args[0] != "" && err != nil {
		return usage(c, "ADDRESS: %v", err)
	}
	s.edit.Sender, s.edit.HasSender = c.Args[0], true
	return 0
}

// rewritingCommand is rewriting NAME, in crossbar.
func rewritingCommand(c *shell.Call) int {
	s, ok := during(c, crossbarPhase)
	if !ok {
		return 1
	}
	if len(c.Args) != 1 {
		return usage(c, "NAME")
	}
	s.edit.Rewriting = c.Args[0]
	return 0
}

// Rewrites tells whether the policy may change addresses in the header for a
// delivery with that rewriting.
func (s *Session) Rewrites(rewriting string) bool { return s.p.hasRewrite && rewriting != "" }

// Rewrite returns the address that a header field shall have: what
//
//	rewrite ADDRESS FIELD REWRITING
//
// prints. Nothing, or a function that fails, leaves the address alone; err says
// that the policy could not decide and that the message must wait.
func (s *Session) Rewrite(a rfc5322.Address, field, rewriting string) (rfc5322.Address, bool, error) {
	s.failure, s.cur, s.phase = "", &frame{}, rewritePhase
	defer func() { s.cur, s.phase = nil, routingPhase }()
	out, status, err := s.sh.Output("rewrite", a.String(), field, rewriting)
	switch {
	case err != nil:
		return a, false, err
	case s.failure != "" || status == statusTemp:
		return a, false, &lookupError{s.failure, s.failPos}
	case status != 0 || out == "":
		return a, false, nil
	}
	changed, err := rfc5322.ParseAddress(out)
	if err != nil || changed.IsNull() {
		return a, false, nil
	}
	return changed, !changed.Equal(a) || changed.Domain != a.Domain, nil
}

type lookupError struct {
	what string
	pos  shell.Position
}

func (e *lookupError) Error() string { return e.pos.String() + ": " + e.what }

// Process lets the policy look at the message as a whole before its recipients:
// function process. Decisions that it makes are for all recipients.
func (s *Session) Process() *Decision {
	if !s.p.hasProcess {
		return nil
	}
	return s.whole("process")
}

// Mailfrom lets the policy judge the sender while the client waits: function
// mailfrom, with the address.
func (s *Session) Mailfrom(sender string) *Decision {
	if !s.p.hasMailfrom {
		return nil
	}
	return s.whole("mailfrom", sender)
}

// whole calls a function that decides about the message, or does not.
func (s *Session) whole(fn string, args ...string) *Decision {
	s.begin(&frame{addr: s.p.postmaster()})
	s.phase = messagePhase
	defer func() { s.cur, s.phase = nil, routingPhase }()
	status, err := s.sh.Call(fn, args...)
	switch {
	case err != nil:
		d := broken(err)
		return &d
	case s.failure != "":
		return &Decision{Action: Defer, Internal: true, Status: "4.4.3", Text: s.failure, Why: s.failPos}
	case status == statusTemp:
		pos, _ := s.p.prog.FuncPos(fn)
		return &Decision{Action: Defer, Status: "4.3.0", Text: "policy could not decide now", Why: pos}
	case len(s.made) == 0:
		return nil
	}
	d := s.made[0]
	return &d
}
