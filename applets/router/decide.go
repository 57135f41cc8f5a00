package router

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/shell"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// decisions are what the policy wants done with the recipients of a message.
type decisions struct {
	w       *worker
	m       *message
	groups  []group
	index   map[groupKey]int
	rcpts   int
	frozen  *policy.Decision
	waiting *policy.Decision // the first that was deferred
	expired bool             // what cannot be routed goes back
}

// A group is the recipients that get the same sender and header.
type group struct {
	key   groupKey
	rcpts []spool.Rcpt
}

type groupKey struct {
	sender, rewriting, fields string
	list                      bool // its members: the owner hears of them, and no deadline of the author's holds
}

// decide asks the policy about every recipient and moves the message on.
func (w *worker) decide(ctx context.Context, p *policy.Policy, m *message) error {
	m.config = p.Version
	w.pace = newPace(ctx, w.r.limits.stall)
	defer func() { w.pace.end() }()
	s := p.Session(w.pace, m.facts())
	defer s.Close()
	d := &decisions{w: w, m: m, expired: w.expired(m)}
	if whole := d.whole(s); whole != nil {
		d.all(whole)
	} else {
		d.each(ctx, p, s)
	}
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
		return fmt.Errorf("routing was interrupted: %w", err)
	}
	if d.frozen != nil && !m.released && w.r.spool.Released(m.ID) {
		w.pace.end()
		m.released = true
		return w.decide(ctx, p, m)
	}
	err := d.settle(s)
	if m.released && err == nil {
		err = w.r.spool.EndRelease(m.ID)
	}
	return err
}

// each asks about every recipient. One for whom the policy takes too long ends it, as
// the message waits for him; in an expired message the others have their turn.
func (d *decisions) each(ctx context.Context, p *policy.Policy, s *policy.Session) {
	w, m := d.w, d.m
	for i := 0; i < len(m.rcpts) && d.frozen == nil; i++ {
		switch err := context.Cause(w.pace); {
		case err == nil:
		case !d.expired || ctx.Err() != nil:
			d.rest(m.rcpts[i:], err)
			return
		default:
			w.pace.end()
			w.pace = newPace(ctx, w.r.limits.stall)
			s = p.Session(w.pace, m.facts()) // it knows nothing of what was delivered to before
			defer s.Close()
		}
		r := &m.rcpts[i]
		s.OnDuplicate = func(addr string) {
			w.pace.step()
			w.log.Info("duplicate", "spoolid", string(m.ID), "from", m.sender, "to", rfc5322.OneLine(addr, 320))
		}
		s.Route(policy.Recipient{Addr: r.Addr, Notify: r.Notify, ORcpt: r.ORcpt}, func(dec *policy.Decision) bool {
			w.pace.step()
			d.take(r, dec)
			late := dec.Action == policy.Defer && w.pace.Err() != nil && !d.expired
			return d.frozen == nil && !late
		})
	}
}

// rest defers the recipients that there was no time for: one is enough, unless they go
// back.
func (d *decisions) rest(rcpts []spool.Recipient, err error) {
	if !d.expired {
		rcpts = rcpts[:1]
	}
	for i := range rcpts {
		d.take(&rcpts[i], &policy.Decision{Action: policy.Defer, Internal: true, Status: "4.4.3",
			Address: rcpts[i].Addr, Text: "there was no time for it: " + err.Error(), Why: shell.Position{File: "router"}})
	}
}

// whole is a decision about the message that spares asking about recipients.
func (d *decisions) whole(s *policy.Session) *policy.Decision {
	m, here := d.m, shell.Position{File: "router"}
	reject := func(status, text string) *policy.Decision {
		return &policy.Decision{Action: policy.Reject, Status: status, Text: text, Why: here}
	}
	switch {
	case m.oversized:
		return reject("5.3.4", "header of the message is too large")
	case m.fields.Hops() >= d.w.r.limits.hops:
		return reject("5.4.6", "mail loop: message has passed "+strconv.Itoa(m.fields.Hops())+" hosts")
	case len(m.rcpts) == 0:
		m.rcpts = []spool.Recipient{{Addr: "undisclosed-recipients"}}
		return reject("5.1.3", "message names no recipient")
	}
	switch status, text, err := d.w.r.spool.Returned(m.ID); {
	case err != nil:
		return &policy.Decision{Action: policy.Defer, Internal: true, Status: "4.3.0", Text: err.Error(), Why: here}
	case status != "":
		m.released = true
		return reject(status, text)
	}
	return s.Process()
}

// all applies one decision to every recipient.
func (d *decisions) all(dec *policy.Decision) {
	for i := range d.m.rcpts {
		one := *dec
		one.Address = d.m.rcpts[i].Addr
		d.take(&d.m.rcpts[i], &one)
	}
}

const tooLate = "address could not be looked up in time"

// take notes what becomes of a recipient.
func (d *decisions) take(r *spool.Recipient, dec *policy.Decision) {
	told := dec.Text
	if dec.Action == policy.Defer && d.expired {
		dec.Action, dec.Status = policy.Reject, "5.4.7"
		dec.Text = tooLate + ": " + dec.Text
		if told = dec.Text; dec.Internal {
			told = tooLate // the rest is for the log
		}
	}
	d.log(r, dec)
	out := spool.Rcpt{Why: why(dec.Why)}
	switch dec.Action {
	case policy.Defer:
		if d.waiting == nil {
			d.waiting = dec
		}
		return
	case policy.Freeze:
		d.frozen = dec
		return
	case policy.Discard:
		return
	case policy.Deliver:
		out.Hop = spool.Hop{Channel: dec.Channel, Host: dec.Host, User: dec.User, Privilege: dec.Privilege}
		out.Kept = dec.Held() || d.m.Env.Hold != ""
		if delay := dec.Delay(); delay > 0 {
			out.NotBefore = d.w.r.now().Add(delay)
		}
		if at := d.m.Env.NotBefore; at.After(d.w.r.now()) && at.After(out.NotBefore) {
			out.NotBefore = at
		}
	case policy.Reject:
		out.Hop = spool.Hop{Channel: policy.ErrorChannel, Host: dec.Status, User: token(dec.Address) + " " + told, Privilege: dec.Privilege}
	}
	out.Notify, out.ORcpt = notary(r, dec)
	d.add(dec, out)
}

// notary are the DSN parameters of a recipient: his own; for what he expanded to,
// his with the address he was reached by; none for members of a list with an
// owner, who gets the reports (RFC 3461 §5.2.7).
func notary(r *spool.Recipient, dec *policy.Decision) (notify, orcpt string) {
	switch {
	case dec.Owned:
		return "", ""
	case r.ORcpt == "" && dec.Expanded:
		if a, err := rfc5322.ParseAddress(r.Addr); err == nil {
			return r.Notify, rfc5322.ORCPTOf(a).String()
		}
	}
	return r.Notify, r.ORcpt
}

// progressEvery is after how many recipients of one message the log says that it
// goes on.
const progressEvery = 10_000

// token is an address as errormail finds it before the text: one without blanks,
// but in quotes. What is no address becomes a quoted local part.
func token(addr string) string {
	addr = rfc5322.OneLine(addr, rfc5322.MaxLocal+rfc5322.MaxDomain)
	if _, err := rfc5322.ParseAddress(addr); err != nil {
		return rfc5322.QuoteLocal(addr)
	}
	return addr
}

// expired says that the message is not to wait any longer for what cannot be asked:
// RFC 2852 §4.1.4 leaves it no time, or it has waited for long enough.
func (w *worker) expired(m *message) bool {
	now := w.r.now()
	if by := m.Env.DeliverBy; by.Return && !now.Before(by.At) {
		return true
	}
	return now.Sub(m.Modified) > w.r.limits.expiry // from its arrival, as for the scheduler
}

func (d *decisions) add(dec *policy.Decision, r spool.Rcpt) {
	key := groupKey{d.m.sender, dec.Rewriting, dec.Fields, dec.Owned}
	if dec.HasSender {
		key.sender = dec.Sender
	}
	if d.rcpts++; d.rcpts%progressEvery == 0 {
		d.w.r.log.Info("routing", "spoolid", string(d.m.ID), "nrcpt", d.rcpts)
	}
	for i := range d.groups {
		if i < 4 && d.groups[i].key == key {
			d.groups[i].rcpts = append(d.groups[i].rcpts, r)
			return
		}
	}
	i, ok := d.index[key]
	if !ok {
		i = len(d.groups)
		d.groups = append(d.groups, group{key: key})
		if d.index == nil {
			d.index = make(map[groupKey]int)
		}
		d.index[key] = i
	}
	d.groups[i].rcpts = append(d.groups[i].rcpts, r)
}

func why(pos shell.Position) string {
	if pos.Line == 0 {
		return pos.File
	}
	return pos.String()
}

// settle moves the message to where the decisions want it.
func (d *decisions) settle(s *policy.Session) error {
	w, m := d.w, d.m
	switch {
	case d.frozen != nil:
		return w.setAside(m, spool.FreezerDir, d.frozen)
	case d.waiting != nil:
		return w.deferred(m, d.waiting)
	case len(d.groups) == 0:
		w.line(m, "discarded", 0)
		return w.r.discard(m.job)
	}
	c := d.control()
	if err := d.headers(s, c); err != nil {
		late := &policy.Decision{Action: policy.Defer, Internal: true, Status: "4.4.3", Text: rfc5322.OneLine(err.Error(), 500)}
		if !d.expired {
			return w.deferred(m, late)
		}
		// Nobody gets it without the header that the policy wants for it.
		d.groups, d.index, d.rcpts = nil, nil, 0
		d.all(late)
		c = d.control()
		if err := d.headers(s, c); err != nil {
			return err
		}
	}
	if err := w.r.spool.Route(m.job.dir, c, w.scratch); err != nil {
		return err
	}
	w.line(m, "routed", d.rcpts)
	return nil
}

// control makes the control file, but for the headers.
func (d *decisions) control() *spool.Control {
	m := d.m
	c := &spool.Control{
		ID: m.ID, Size: m.Size, HeaderOffset: m.Header, BodyOffset: m.body, Arrival: m.Modified,
		MessageID: rfc5322.OneLine(m.msgid, 998), Config: m.config,
		Attr: spool.Attributes{
			EnvID: m.Env.EnvID, Ret: m.Env.Ret, BodyType: m.Env.BodyType, SMTPUTF8: m.Env.SMTPUTF8,
			RequireTLS: m.Env.RequireTLS, Ours: !m.Env.External || m.Env.MayRelay, ErrorMsg: m.Env.ErrorMsg, AuthUser: m.Env.AuthUser,
			Owner: strconv.Itoa(m.owner), Priority: m.Env.Priority,
		},
		Groups: make([]spool.Group, len(d.groups)),
	}
	for i := range d.groups {
		g := &d.groups[i]
		c.Groups[i] = spool.Group{Sender: m.hop(g.key.sender), Rcpts: g.rcpts}
		if !g.key.list {
			c.Groups[i].By = m.Env.DeliverBy
		}
	}
	return c
}

// hop is the sender as the scheduler sees it. The channel error is that of the
// null sender, who gets no reports.
func (m *message) hop(sender string) spool.Hop {
	h := spool.Hop{Channel: policy.LocalChannel, User: sender, Privilege: m.owner}
	switch {
	case sender == "":
		h.Channel = policy.ErrorChannel
	case m.Env.External:
		h.Channel = "smtp"
	}
	return h
}

func (w *worker) setAside(m *message, dir string, dec *policy.Decision) error {
	if err := w.r.spool.SetAside(m.job.dir, dir, m.ID, dec.Text); err != nil {
		return err
	}
	w.line(m, "frozen", 0, "why", why(dec.Why), "err", dec.Text)
	return nil
}

// deferred puts the message to where it waits.
func (w *worker) deferred(m *message, dec *policy.Decision) error {
	if m.job.dir != spool.DeferredDir {
		if err := w.r.spool.SetAside(m.job.dir, spool.DeferredDir, m.ID, ""); err != nil {
			return err
		}
	}
	w.line(m, "deferred", 0, "dsn", dec.Status, "why", why(dec.Why), "err", dec.Text)
	return errDeferred
}

// log writes the line about a recipient.
func (d *decisions) log(r *spool.Recipient, dec *policy.Decision) {
	w := d.w
	w.r.counts.rcpt(dec.Action)
	attrs := make([]any, 0, 24)
	attrs = append(attrs, "spoolid", string(d.m.ID), "from", d.m.sender, "to", rfc5322.OneLine(r.Addr, 320))
	switch dec.Action {
	case policy.Deliver:
		attrs = append(attrs, "action", "deliver", "channel", dec.Channel, "host", dec.Host, "user", rfc5322.OneLine(dec.User, 320))
		if dec.HasSender {
			attrs = append(attrs, "owner", dec.Sender)
		}
		if dec.Held() {
			attrs = append(attrs, "held", true)
		}
		if delay := dec.Delay(); delay > 0 {
			attrs = append(attrs, "after", delay.String())
		}
	default:
		attrs = append(attrs, "action", dec.Action.String())
		if dec.Status != "" {
			attrs = append(attrs, "dsn", dec.Status)
		}
		if dec.Expanded {
			attrs = append(attrs, "user", rfc5322.OneLine(dec.Address, 320))
		}
		attrs = append(attrs, "err", dec.Text)
	}
	w.log.Info("routed", append(attrs, "why", why(dec.Why))...)
}

// line writes the line about the message.
func (w *worker) line(m *message, action string, rcpts int, more ...any) {
	wait := w.r.now().Sub(m.ID.Time())
	w.r.counts.message(action, wait)
	attrs := make([]any, 0, 24)
	attrs = append(attrs, "spoolid", string(m.ID), "action", action, "from", m.sender, "msgid", rfc5322.OneLine(m.msgid, 998), "size", m.Size,
		"nrcpt", rcpts, "delay", wait.Round(time.Millisecond).String(), "config", m.config)
	w.log.Info("message", append(attrs, more...)...)
}
