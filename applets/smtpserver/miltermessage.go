package smtpserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/d--j/go-milter"
	"github.com/emersion/go-smtp"

	"zmailer/applets/smtpserver/mailauth"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// A draft is the message as the milters have made it so far.
type draft struct {
	fields  []draftField
	body    io.Reader // not the draft's own: of the message that came, or of other
	other   *held     // a body in place of the one that came
	rcpts   []spool.Recipient
	changed bool // the text, not just the envelope
}

// A draftField is a header field. Ours stand in the envelope and come first: the
// router puts them on top.
type draftField struct {
	rfc5322.Field
	ours bool
}

var errHugeHeader = refuse(552, 5, 3, 4, "Header of the message is too large")

// milterMessage shows the message to the milters, each as those before it have made
// it, and takes over what they change.
func (s *session) milterMessage() *smtp.SMTPError {
	m := &s.mail
	if !s.milting() || m.discard != "" {
		return nil
	}
	fields, offset, err := m.held.split()
	switch {
	case errors.Is(err, rfc5322.ErrTooLarge):
		return errHugeHeader
	case err != nil:
		return s.storageError("hold", err)
	}
	d := &draft{}
	defer d.close()
	for _, line := range m.fields {
		d.fields = append(d.fields, draftField{rfc5322.Field{Raw: []byte(line + "\n")}, true})
	}
	for _, f := range fields {
		d.fields = append(d.fields, draftField{f, false})
	}
	for i := range s.milters {
		l := &s.milters[i]
		if l.passed || l.done || m.discard != "" {
			continue
		}
		if d.other == nil {
			d.body = m.held.from(offset)
		} else {
			d.body = d.other.reader()
		}
		if e := s.milterContent(l, d); e != nil {
			return e
		}
	}
	if !d.changed {
		return nil
	}
	if d.other == nil {
		d.body = m.held.from(offset)
	} else {
		d.body = d.other.reader()
	}
	if err := s.rewrite(d); err != nil {
		return s.storageError("hold", err)
	}
	return nil
}

// milterContent shows the message to one milter and does what it says.
func (s *session) milterContent(l *milterLink, d *draft) *smtp.SMTPError {
	var mods []milter.ModifyAction
	act, err := s.askMilter(l, func(l *milterLink) (act *milter.Action, err error) {
		// The whole of it has one time, and an answer that may bring a new body.
		l.conn.expect(l.spec.content, s.limits.size+s.limits.size/8+1<<20)
		act, mods, err = showMilter(l.sess, d)
		return act, err
	})
	if err == nil && (act.Type == milter.ActionContinue || act.Type == milter.ActionAccept) {
		err = s.modify(d, mods)
	}
	if err == nil {
		// Unless it went on to the end, it is to be told that there is none.
		l.inMail, l.done = act.Type != milter.ActionContinue, true
	}
	return s.milterSays(l, "message", act, err)
}

// showMilter sends header and body until the milter has seen enough.
func showMilter(c *milter.ClientSession, d *draft) (*milter.Action, []milter.ModifyAction, error) {
	for _, f := range d.fields {
		if c.ProtocolOption(milter.OptNoHeaders) || c.Skip() {
			break
		}
		value := strings.TrimRight(string(f.Body()), "\r\n")
		if !c.ProtocolOption(milter.OptHeaderLeadingSpace) && value != "" && (value[0] == ' ' || value[0] == '\t') {
			value = value[1:]
		}
		if act, err := c.HeaderField(f.Name(), value, nil); err != nil || act.Type != milter.ActionContinue {
			return act, nil, err
		}
	}
	if act, err := c.HeaderEnd(); err != nil || act.Type != milter.ActionContinue {
		return act, nil, err
	}
	mods, act, err := c.BodyReadFrom(mailauth.CRLF(d.body))
	return act, mods, err
}

// modify makes the changes that a milter asks for. One that cannot be made is a
// failure of the milter.
func (s *session) modify(d *draft, mods []milter.ModifyAction) error {
	var body *held
	for i := range mods {
		if mods[i].Type != milter.ActionReplaceBody {
			if err := s.modifyOne(d, &mods[i]); err != nil {
				return fmt.Errorf("%s: %w", &mods[i], err)
			}
			continue
		}
		if body == nil {
			body = newHeld(s.srv.spool)
		}
		if _, err := body.Write(mods[i].Body); err != nil {
			body.close()
			return err
		}
	}
	if body == nil {
		return nil
	}
	defer body.close()
	if err := body.finish(); err != nil {
		return err
	}
	return d.replace(body, newHeld(s.srv.spool))
}

// replace gives the message another body, with the line ends of the spool.
func (d *draft) replace(wire, text *held) error {
	b := &body{w: text}
	in := &input{}
	in.init(wire.reader(), func() error { return nil })
	err := in.chunk(b, wire.size)
	in.release()
	b.finish()
	if err = errors.Join(err, b.fault, text.finish()); err != nil {
		text.close()
		return fmt.Errorf("body: %w", err)
	}
	d.close()
	d.other, d.changed = text, true
	return nil
}

func (d *draft) close() {
	if d.other != nil {
		d.other.close()
	}
}

func (s *session) modifyOne(d *draft, a *milter.ModifyAction) error {
	m := &s.mail
	switch a.Type {
	case milter.ActionAddHeader:
		return d.insert(len(d.fields), a.HeaderName, a.HeaderValue)
	case milter.ActionInsertHeader:
		return d.insert(min(int(a.HeaderIndex), len(d.fields)), a.HeaderName, a.HeaderValue)
	case milter.ActionChangeHeader:
		return d.change(int(a.HeaderIndex), a.HeaderName, a.HeaderValue)
	case milter.ActionQuarantine:
		m.hold = rfc5322.OneLine("quarantine: "+a.Reason, 500)
	case milter.ActionChangeFrom:
		from, _, err := path(a.From)
		if err != nil {
			return err
		}
		m.from = from
	case milter.ActionAddRcpt:
		return s.addRcpt(a.Rcpt, a.RcptArgs)
	case milter.ActionDelRcpt:
		to, _, err := path(a.Rcpt)
		if err != nil {
			return err
		}
		m.rcpts = slices.DeleteFunc(m.rcpts, func(r spool.Recipient) bool { return sameAddress(r.Addr, to) })
	}
	return nil
}

func sameAddress(s string, a rfc5322.Address) bool {
	b, err := rfc5322.ParseAddress(s)
	return err == nil && b.Local == a.Local && rfc5322.EqualDomain(b.Domain, a.Domain)
}

func (s *session) addRcpt(arg, params string) error {
	to, _, err := path(arg)
	if err != nil || to.IsNull() {
		return fmt.Errorf("bad recipient: %w", err)
	}
	opts, e := parseRcpt(params)
	if e != nil {
		return errors.New(e.Message)
	}
	if len(s.mail.rcpts) >= 2*s.limits.rcpts {
		return errors.New("too many recipients")
	}
	r := spool.Recipient{Addr: to.String(), Notify: notifyText(opts.Notify), ORcpt: orcptText(&opts)}
	if !slices.ContainsFunc(s.mail.rcpts, func(had spool.Recipient) bool { return sameAddress(had.Addr, to) }) {
		s.mail.rcpts = append(s.mail.rcpts, r)
	}
	return nil
}

// insert puts a field before the one that has the index. Ours stay on top.
func (d *draft) insert(at int, name, value string) error {
	f, err := rfc5322.NewField(name, value)
	if err != nil {
		return err
	}
	for at < len(d.fields) && d.fields[at].ours {
		at++
	}
	if len(d.fields) >= rfc5322.MaxFields {
		return errors.New("too many header fields")
	}
	d.fields, d.changed = slices.Insert(d.fields, at, draftField{f, false}), true
	return nil
}

// change gives the n-th field of a name another value, or removes it if the value
// is empty. One beyond the last is added.
func (d *draft) change(n int, name, value string) error {
	n = max(n, 1)
	for i, f := range d.fields {
		if !f.Is(name) {
			continue
		}
		if n--; n > 0 {
			continue
		}
		d.changed = true
		if value == "" {
			d.fields = slices.Delete(d.fields, i, i+1)
			return nil
		}
		field, err := rfc5322.NewField(name, value)
		d.fields[i].Field = field
		return err
	}
	if value == "" {
		return nil
	}
	return d.insert(len(d.fields), name, value)
}

// rewrite makes the draft the message.
func (s *session) rewrite(d *draft) error {
	m := &s.mail
	h := newHeld(s.srv.spool)
	m.fields = m.fields[:0:0]
	var buf bytes.Buffer
	for _, f := range d.fields {
		if f.ours {
			m.fields = append(m.fields, f.Name()+": "+rfc5322.OneLine(f.Unfolded(), maxAddedText))
			continue
		}
		buf.Write(f.Raw)
		if !bytes.HasSuffix(f.Raw, []byte("\n")) {
			buf.WriteByte('\n')
		}
	}
	buf.WriteByte('\n')
	_, err := h.Write(buf.Bytes())
	if err == nil {
		_, err = io.Copy(h, d.body)
	}
	if err = errors.Join(err, h.finish()); err != nil {
		h.close()
		return err
	}
	m.held.close()
	m.held = h
	m.header, err = h.header()
	return err
}
