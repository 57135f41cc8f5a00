package dsn

import (
	"path"
	"strings"
	"time"

	"zmailer/spool/rfc5322"
)

// maxFieldText bounds the text of one field, so that no line of a report comes
// near the 998 octets of RFC 5322 §2.1.1.
const maxFieldText = 900

// appendStatus appends the body of message/delivery-status, RFC 3464 §2.1, or of
// message/global-delivery-status, RFC 6533 §4: a group of fields about the
// message, and one about each recipient.
func (r *Report) appendStatus(b []byte) []byte {
	if id, err := rfc5322.DecodeXtext(r.EnvID); err == nil && id != "" {
		b = r.appendField(b, "Original-Envelope-Id", id)
	}
	b = r.appendField(b, "Reporting-MTA", "dns; "+r.ReportingMTA)
	if r.OriginalID != "" {
		b = r.appendField(b, "X-Spool-Id", r.OriginalID)
	}
	b = r.appendDate(b, "Arrival-Date", r.Arrival)
	b = r.appendDate(b, "Deliver-By-Date", r.DeliverBy)
	for i := range r.Rcpts {
		b = append(b, '\n')
		b = r.appendRcpt(b, &r.Rcpts[i])
	}
	return b
}

func (r *Report) appendRcpt(b []byte, rcpt *ReportRcpt) []byte {
	if o, err := rfc5322.ParseORCPT(rcpt.ORcpt); err == nil {
		b = r.appendField(b, "Original-Recipient", r.typedAddress(o.Type, o.Addr))
	}
	final := rcpt.final()
	b = r.appendField(b, "Final-Recipient", r.typedAddress(addressType(final), final))
	b = r.appendField(b, "Action", r.action(rcpt))
	b = r.appendField(b, "Status", rcpt.Result.FullStatus())
	if host := relayName(rcpt.Result.Relay); host != "" {
		b = r.appendField(b, "Remote-MTA", "dns; "+host)
	}
	if text := rcpt.Result.Text; text != "" {
		kind := "x-local; "
		if rcpt.Result.Remote {
			kind = "smtp; "
		}
		b = r.appendField(b, "Diagnostic-Code", kind+text)
	}
	b = r.appendDate(b, "Last-Attempt-Date", rcpt.Last)
	if r.Kind == DelayReport {
		b = r.appendDate(b, "Will-Retry-Until", rcpt.Until)
	}
	return b
}

func (r *Report) appendField(b []byte, name, text string) []byte {
	text = rfc5322.OneLine(text, maxFieldText)
	if !r.SMTPUTF8 {
		text = rfc5322.EncodeWord(text)
	}
	return append(b, rfc5322.FoldText(name, text)...)
}

func (r *Report) appendDate(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return r.appendField(b, name, rfc5322.FormatDate(t))
}

// addressType is the type of a final recipient. A mailbox without a domain, a
// file or a program is a matter of this host.
func addressType(addr string) string {
	switch {
	case !strings.Contains(addr, "@") || strings.ContainsAny(addr[:1], "|/"):
		return "x-local"
	case !ascii(addr):
		return "utf-8"
	}
	return "rfc822"
}

// typedAddress is "type; address" of RFC 3464 §2.1.2. Without SMTPUTF8 an
// internationalised address is written in ASCII: RFC 6533 §3.
func (r *Report) typedAddress(kind, addr string) string {
	if kind == "utf-8" && !r.SMTPUTF8 {
		addr = rfc5322.EncodeUTF8Addr(addr)
	}
	return kind + "; " + addr
}

// relayName takes the host out of "mx.example.net[192.0.2.7]:25".
func relayName(relay string) string {
	name, addr, found := strings.Cut(relay, "[")
	if name != "" || !found {
		return name
	}
	addr, _, _ = strings.Cut(addr, "]")
	return "[" + addr + "]"
}

// final is the recipient as the reader may see it. Of a file or a program of this
// host he learns the name, not where it is or how it is called.
func (rcpt *ReportRcpt) final() string {
	addr := rfc5322.OneLine(rcpt.Final, maxFieldText)
	pipe := strings.HasPrefix(addr, "|")
	if !pipe && !strings.HasPrefix(addr, "/") {
		return addr
	}
	if !pipe {
		return path.Base(addr)
	}
	words := strings.Fields(addr[1:])
	if len(words) == 0 {
		return "|"
	}
	return "|" + path.Base(words[0])
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
