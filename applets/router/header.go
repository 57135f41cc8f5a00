package router

import (
	"strconv"
	"strings"

	"zmailer/shellcfg/policy"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// headers gives every group its header: the message's own with what belongs to
// it, made once for each distinct rewriting and set of added fields.
func (d *decisions) headers(s *policy.Session, c *spool.Control) error {
	base := edited(d.w.complete(d.m), s.HeaderEdits())
	type variant struct{ rewriting, fields string }
	done := make(map[variant][]byte, 1)
	for i := range c.Groups {
		v := variant{d.groups[i].key.rewriting, d.groups[i].key.fields}
		if !s.Rewrites(v.rewriting) {
			v.rewriting = ""
		}
		h, ok := done[v]
		if !ok {
			fields, err := rewritten(s, base, v.rewriting)
			if err != nil {
				return err
			}
			h = appendHeader(nil, withFields(fields, v.fields))
			done[v] = h
		}
		c.Groups[i].Header = h
	}
	return nil
}

// edited does what the function process wants done with the header.
func edited(h rfc5322.Header, edits []policy.HeaderEdit) rfc5322.Header {
	for _, e := range edits {
		if e.Field.Raw == nil {
			h.Del(e.Name)
		} else {
			h.Set(e.Field)
		}
	}
	return h
}

// withFields adds header fields that the policy made. They take the place of
// those of the same name: a list inside a list speaks for itself.
func withFields(h rfc5322.Header, text string) rfc5322.Header {
	if text == "" {
		return h
	}
	added, _, err := rfc5322.ParseHeader([]byte(text))
	if err != nil {
		panic("router: fields of the policy: " + err.Error()) // they were made by NewField
	}
	out := append(rfc5322.Header(nil), h...)
	for _, f := range added {
		out.Set(f)
	}
	return out
}

func appendHeader(b []byte, h rfc5322.Header) []byte {
	if b == nil {
		b = make([]byte, 0, h.Len()+2)
	}
	for _, f := range h {
		b = append(b, f.Raw...)
		if n := len(f.Raw); n > 0 && f.Raw[n-1] != '\n' {
			b = append(b, '\n')
		}
	}
	return append(b, '\n')
}

// complete returns the header as it leaves this host, before the policy rewrites.
func (w *worker) complete(m *message) rfc5322.Header {
	h := make(rfc5322.Header, 0, len(m.fields)+8)
	h = append(h, w.received(m))
	for _, line := range m.Env.Header {
		h = append(h, addedField(line))
	}
	if !m.Env.External {
		h = w.localTrace(m, h)
	}
	// The Bcc of a message that only passes through is what its sender wanted to be
	// seen: RFC 6409 §8 is about submitters.
	own := !m.Env.External || m.Env.Submission
	for _, f := range m.fields {
		if own && (f.Is("Bcc") || f.Is("Resent-Bcc")) || f.Is("Return-Path") || w.forgedResults(f) {
			continue
		}
		h = append(h, f)
	}
	if own {
		h = w.submitted(m, h)
	}
	return h
}

// addedField makes a field of a header line of the envelope.
func addedField(line string) rfc5322.Field {
	name, body, _ := strings.Cut(line, ":")
	return rfc5322.Field{Raw: []byte(rfc5322.FoldText(name, body))}
}

// forgedResults tells an Authentication-Results field in our name. Ours stand in
// the envelope; readers believe whatever bears the name: RFC 8601 §5.
func (w *worker) forgedResults(f rfc5322.Field) bool {
	if !f.Is("Authentication-Results") {
		return false
	}
	id := rfc5322.ResultsBy(f.Unfolded())
	conf := w.r.policy.Conf()
	return rfc5322.EqualDomain(id, conf.Hostname) || rfc5322.EqualDomain(id, conf.MyDomain)
}

// received is the trace field of this host (RFC 5321 §4.4).
func (w *worker) received(m *message) rfc5322.Field {
	env, conf := m.Env, w.r.policy.Conf()
	b := make([]byte, 0, 320)
	b = append(b, "Received: "...)
	if env.RcvdFrom != "" {
		b = append(b, "from "...)
		b = append(b, rfc5322.OneLine(env.RcvdFrom, 700)...)
		b = append(b, "\n\t"...)
	}
	b = append(b, "by "...)
	b = append(b, conf.Hostname...)
	if env.RcvdFrom == "" {
		b = append(b, " (ZMailer, from userid "...)
		b = strconv.AppendInt(b, int64(m.owner), 10)
		b = append(b, ')')
	} else {
		b = append(b, " (ZMailer)"...)
	}
	if env.Via != "" {
		b = append(append(b, " via "...), rfc5322.OneLine(env.Via, 80)...)
	}
	if env.With != "" {
		b = append(append(b, " with "...), rfc5322.OneLine(env.With, 80)...)
	}
	if env.RcvdFrom == "" {
		b = append(b, "\n\tid "...)
	} else {
		b = append(b, " id "...)
	}
	b = append(b, m.ID...)
	if to := w.receivedFor(m); to != "" {
		b = append(append(b, "\n\tfor "...), to...)
		b = append(b, ";\n\t"...)
	} else {
		b = append(b, "; "...)
	}
	b = append(b, rfc5322.FormatDate(m.Modified)...)
	return rfc5322.Field{Raw: append(b, '\n')}
}

// receivedFor names the recipient if there is one alone: several would tell each
// other's names.
func (w *worker) receivedFor(m *message) string {
	addr := m.Env.For
	if addr == "" && len(m.Env.To) == 1 {
		addr = m.Env.To[0].Addr
	}
	if addr == "" || len(addr) > 320 {
		return ""
	}
	a, err := rfc5322.ParseAddress(addr)
	if err != nil {
		return ""
	}
	return w.qualified(a).Path()
}

// localTrace says who sent a message of this host under another name.
func (w *worker) localTrace(m *message, h rfc5322.Header) rfc5322.Header {
	if m.trusted || !m.Env.HasFrom || m.sender == "" || w.isOwner(m, m.sender) {
		return h
	}
	return appendField(h, "X-Authentication-Warning", w.r.policy.Conf().Hostname+": "+m.login+" set sender to <"+m.sender+"> using -f")
}

func appendField(h rfc5322.Header, name, body string) rfc5322.Header {
	f, err := rfc5322.NewField(name, body)
	if err != nil {
		panic("router: " + err.Error()) // the names are ours
	}
	return append(h, f)
}

// isOwner tells whether an address is the submitter's own.
func (w *worker) isOwner(m *message, addr string) bool {
	a, err := rfc5322.ParseAddress(addr)
	if err != nil || a.Local != m.login {
		return false
	}
	conf := w.r.policy.Conf()
	return a.Domain == "" || rfc5322.EqualDomain(a.Domain, conf.MyDomain) || rfc5322.EqualDomain(a.Domain, conf.Hostname)
}

// submitted adds what a message that was submitted on this host lacks.
func (w *worker) submitted(m *message, h rfc5322.Header) rfc5322.Header {
	conf := w.r.policy.Conf()
	if !h.Has("DKIM-Signature") {
		for i := range h {
			h[i] = w.qualify(h[i])
		}
	}
	if !h.Has("Date") {
		h = appendField(h, "Date", rfc5322.FormatDate(m.Modified))
	}
	if m.msgid == "" {
		m.msgid = rfc5322.MessageID(string(m.ID), conf.Hostname)
		h = appendField(h, "Message-ID", m.msgid)
	}
	switch {
	case !h.Has("From"):
		h = appendField(h, "From", w.from(m))
	case !m.trusted && !h.Has("Sender") && !w.fromOwner(m, h):
		h = appendField(h, "Sender", w.qualified(rfc5322.Address{Local: m.login}).String())
	}
	if !h.Has("To") && !h.Has("Cc") && !h.Has("Resent-To") {
		h = appendField(h, "To", "undisclosed-recipients:;")
	}
	return h
}

// from is the author of a message that does not name one.
func (w *worker) from(m *message) string {
	a, err := rfc5322.ParseAddress(m.sender)
	if m.sender == "" || err != nil {
		return rfc5322.FormatMailbox("Mail Delivery System", w.qualified(rfc5322.Address{Local: "MAILER-DAEMON"}))
	}
	if login := m.Env.LoginName; login != "" && !m.Env.HasFrom {
		if b, err := rfc5322.ParseAddress(login); err == nil {
			a = w.qualified(b)
		}
	}
	return rfc5322.FormatMailbox(m.Env.FullName, a)
}

func (w *worker) fromOwner(m *message, h rfc5322.Header) bool {
	list, err := rfc5322.ParseList(h.Get("From"))
	return err == nil && len(list) == 1 && w.isOwner(m, list[0].Address.String())
}

// addressFields are the fields whose addresses are completed and rewritten.
var addressFields = []string{
	"From", "Sender", "Reply-To", "To", "Cc",
	"Resent-From", "Resent-Sender", "Resent-Reply-To", "Resent-To", "Resent-Cc", "Errors-To",
}

func addressField(f rfc5322.Field) bool {
	for _, name := range addressFields {
		if f.Is(name) {
			return true
		}
	}
	return false
}

// qualify gives the addresses of a field their domain. A field without such
// addresses is not touched.
func (w *worker) qualify(f rfc5322.Field) rfc5322.Field {
	if !addressField(f) {
		return f
	}
	body := string(f.Body())
	out, _ := rfc5322.RewriteList(body, func(a rfc5322.Address) (rfc5322.Address, bool) {
		if a.Domain != "" || a.IsNull() {
			return a, false
		}
		return w.qualified(a), true
	})
	return withBody(f, body, out)
}

// withBody replaces the body of a field and keeps everything before it.
func withBody(f rfc5322.Field, old, body string) rfc5322.Field {
	if body == old {
		return f
	}
	raw := append([]byte(nil), f.Raw[:len(f.Raw)-len(old)]...)
	return rfc5322.Field{Raw: append(raw, body...)}
}

// rewritten lets the policy change the addresses in the header.
func rewritten(s *policy.Session, h rfc5322.Header, rewriting string) (rfc5322.Header, error) {
	if rewriting == "" {
		return h, nil
	}
	out := make(rfc5322.Header, len(h))
	copy(out, h)
	for i, f := range out {
		if !addressField(f) {
			continue
		}
		var failed error
		old := string(f.Body())
		name := strings.ToLower(f.Name())
		body, _ := rfc5322.RewriteList(old, func(a rfc5322.Address) (rfc5322.Address, bool) {
			if failed != nil {
				return a, false
			}
			b, changed, err := s.Rewrite(a, name, rewriting)
			failed = err
			return b, changed && err == nil
		})
		if failed != nil {
			return nil, failed
		}
		out[i] = withBody(f, old, body)
	}
	return out, nil
}
