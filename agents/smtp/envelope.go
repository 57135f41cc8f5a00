package smtp

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

var errNoAddress = errors.New("is empty")

// A mailPath is an address as it stands in MAIL and RCPT.
type mailPath struct {
	text string // "<joe@example.net>"
	utf8 bool   // needs SMTPUTF8
}

// pathOf writes an address of the control file for a peer. Without SMTPUTF8 an
// international domain is written as A-labels.
func pathOf(user string, utf8 bool) (mailPath, error) {
	if user == "" {
		return mailPath{text: "<>"}, nil
	}
	if plainAddress(user) {
		return mailPath{text: "<" + user + ">"}, nil
	}
	a, err := rfc5322.ParseAddress(user)
	if err != nil {
		return mailPath{}, err
	}
	if !utf8 && !a.ASCII() && a.Domain != "" && !a.IsLiteral() {
		if a.Domain, err = rfc5322.CanonicalDomain(a.Domain); err != nil {
			return mailPath{}, err
		}
	}
	return mailPath{text: a.Path(), utf8: !a.ASCII()}, nil
}

// plainAddress tells the addresses that need no parsing: letters, digits and
// what no protocol gives a meaning to, with one "@".
func plainAddress(s string) bool {
	at := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '+', c == '=':
		case c == '.':
			if i == 0 || i+1 == len(s) || s[i-1] == '.' || s[i-1] == '@' || s[i+1] == '@' {
				return false
			}
		case c == '@':
			if at || i == 0 || i+1 == len(s) {
				return false
			}
			at = true
		default:
			return false
		}
	}
	return true
}

// A recipient is one recipient of a batch.
type recipient struct {
	*spool.Rcpt
	by   spool.DeliverBy
	path mailPath
	done bool // has its result
}

// A batch is recipients that one transaction can serve: of one group.
type batch struct {
	group *spool.Group
	rcpts []*recipient
}

func newBatch(g *spool.Group) batch {
	all := make([]recipient, len(g.Rcpts))
	b := batch{group: g, rcpts: make([]*recipient, len(all))}
	for i := range all {
		all[i].Rcpt, all[i].by = &g.Rcpts[i], g.By
		b.rcpts[i] = &all[i]
	}
	return b
}

// wantsSuccess says that the sender asked for a report of success.
func (r *recipient) wantsSuccess() bool { return strings.Contains(r.Notify, "SUCCESS") }

// appendRcptParams appends the parameters of RFC 3461 §4.1 and §4.2. They come
// from the submitter: what would not be a parameter is left out.
func appendRcptParams(b []byte, r *spool.Rcpt, notify string, utf8 bool) []byte {
	if notify != "" && strings.Trim(notify, "ABCDEFGHIJKLMNOPQRSTUVWXYZ,") == "" {
		b = append(append(b, " NOTIFY="...), notify...)
	}
	if r.ORcpt == "" {
		return b
	}
	o, err := rfc5322.ParseORCPT(r.ORcpt)
	if err != nil {
		return b
	}
	text := r.ORcpt
	if !utf8 || !printable(text) {
		text = o.String()
	}
	if printable(text) && len(text) <= 500 { // RFC 3461 §5.4: at most 500 octets
		b = append(append(b, " ORCPT="...), text...)
	}
	return b
}

// printable tells whether s can stand in a command as one word of ASCII.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// mailCommand writes MAIL with all parameters that the message wants and the peer
// knows.
func (s *session) mailCommand(p *plan, attr *spool.Attributes) {
	b := append(s.scratch[:0], "MAIL FROM:"...)
	b = append(b, p.from.text...)
	if s.ext.size {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, p.content.wireSize(), 10)
	}
	if p.eight {
		b = append(b, " BODY=8BITMIME"...)
	}
	if p.utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if s.ext.dsn {
		if attr.Ret == "FULL" || attr.Ret == "HDRS" {
			b = append(append(b, " RET="...), attr.Ret...)
		}
		if _, err := rfc5322.DecodeXtext(attr.EnvID); err == nil && attr.EnvID != "" && len(attr.EnvID) <= 100 {
			b = append(append(b, " ENVID="...), attr.EnvID...)
		}
	}
	if attr.RequireTLS && s.ext.requireTLS && s.tls != nil {
		b = append(b, " REQUIRETLS"...)
	}
	b = s.appendBy(b, p.by, p.left)
	s.scratch = b
	s.commandBytes(b)
}

func (s *session) rcptCommand(r *recipient) {
	b := append(s.scratch[:0], "RCPT TO:"...)
	b = append(b, r.path.text...)
	if s.ext.dsn {
		b = appendRcptParams(b, r.Rcpt, s.notifyFor(r), s.ext.utf8)
	}
	s.scratch = b
	s.commandBytes(b)
}

// A plan is how a batch goes to this peer.
type plan struct {
	from    mailPath
	by      spool.DeliverBy
	left    int64 // of its time, in seconds
	content content
	eight   bool // BODY=8BITMIME
	utf8    bool // SMTPUTF8
	chunk   bool // the content goes along with the envelope, as BDAT
}

// plan works out what the message needs and whether the peer has it. Recipients
// that cannot be served get their results. A failure is that of this host only.
func (s *session) plan(ctx context.Context, j *job, b *batch) (*plan, *dsn.Result) {
	attr := &j.d.Control.Attr
	if j.wish == wishRequired && !s.keepsTLS() {
		res := dsn.Perm("5.7.30", "%s cannot guarantee encryption on the way on (REQUIRETLS)", s.target.relay)
		return nil, &res
	}
	left := b.group.By.Left(time.Now())
	if res := s.mayGo(b.group.By, left); res != nil {
		return nil, res
	}
	p := &plan{by: b.group.By, left: left, content: content{message: j.message, header: b.group.Header}}
	var err error
	if p.from, err = pathOf(b.group.Sender.User, s.ext.utf8); err != nil {
		j.decideAll(b, dsn.Temp("4.1.7", "sender address: %v", err))
		return p, nil
	}
	headerEight := hasEightBit(b.group.Header)
	p.utf8 = p.from.utf8 || attr.SMTPUTF8 && headerEight
	if p.utf8 && !s.ext.utf8 {
		j.decideAll(b, s.noUTF8())
		return p, nil
	}
	for i := range b.rcpts {
		r := b.rcpts[i]
		if r.path, err = pathOf(r.User, s.ext.utf8); err == nil && r.User == "" {
			err = errNoAddress
		}
		switch {
		case err != nil:
			j.decide(r, dsn.Temp("4.1.3", "recipient address: %v", err))
		case r.path.utf8 && !s.ext.utf8:
			j.decide(r, s.noUTF8())
		}
		p.utf8 = p.utf8 || r.path.utf8
	}
	s.planContent(ctx, j, b, p, headerEight)
	return p, nil
}

func (s *session) noUTF8() dsn.Result {
	return dsn.Perm("5.6.7", "%s takes no internationalized mail (SMTPUTF8)", s.target.relay) // RFC 6531 §3.5
}

func (s *session) planContent(ctx context.Context, j *job, b *batch, p *plan, headerEight bool) {
	p.eight = s.ext.eightBit && (j.message.eight || headerEight || j.d.Control.Attr.BodyType == "8BITMIME")
	// 8-bit octets in the header, without SMTPUTF8, are broken mail to begin with.
	// They go as they came, to any peer: so they do everywhere, and get through.
	if j.message.eight && !s.ext.eightBit {
		var err error
		if p.content.convert, err = newConverter(b.group.Header, j.message); err != nil {
			j.decideAll(b, conversionFailure(s.target.relay, err))
			return
		}
	}
	if err := j.sign(ctx, &p.content, b.group); err != nil {
		// Unsigned it must not go; the next attempt may find the key in order.
		j.decideAll(b, dsn.Temp("4.7.0", "DKIM signature: %v", err))
		return
	}
	size := p.content.wireSize()
	if s.ext.sizeMax > 0 && size > s.ext.sizeMax {
		j.decideAll(b, dsn.Perm("5.3.4", "message of %d octets: %s takes no more than %d", size, s.target.relay, s.ext.sizeMax))
		return
	}
	o := &s.c.opt
	p.chunk = s.ext.chunking && o.chunking && !o.lmtp && p.content.convert == nil && j.message.small != nil && size <= chunkMessage
}
