package smtpserver

import (
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/applets/smtpserver/mailauth"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// A transaction is one message on its way in, from MAIL to the reply after its
// end.
type transaction struct {
	active bool
	id     spool.ID
	from   rfc5322.Address
	opts   mailOptions
	relay  bool // may go to everybody, by a hook
	rcpts  []spool.Recipient
	failed int // recipients that were refused

	begun   time.Time // of the message itself
	reading *body     // the message that is being read
	sub     *spool.Submission
	held    *held // instead of sub, while the message is looked at
	wire    *held // a binary message as it came, for those who verify signatures
	header  rfc5322.Header
	auth    mailauth.Results
	vouched string   // the trusted sealer who says that the message passed DMARC
	fields  []string // header fields to add
	told    string   // the recipient that milters are told of
	hold    string   // why the message is to be kept for the administrator
	tags    string
	discard string // the filter that wants the message thrown away
	body    body
	chunks  bool // BDAT has begun
	broken  bool // a chunk was refused, and with it the message
}

// reset forgets the transaction.
func (s *session) reset() {
	s.milterReset()
	s.mail.drop()
	s.mail = transaction{rcpts: s.mail.rcpts[:0]}
	if cap(s.mail.rcpts) > keepRcpts {
		s.mail.rcpts = nil
	}
}

// drop gives up what has come of the message.
func (m *transaction) drop() {
	if m.sub != nil {
		m.sub.Abort()
		m.sub = nil
	}
	for _, h := range []**held{&m.held, &m.wire} {
		if *h != nil {
			(*h).close()
			*h = nil
		}
	}
}

// keepRcpts is how many recipients' room a session keeps for its next message.
const keepRcpts = 16

var (
	errHelloFirst = refuse(503, 5, 5, 1, "Error: send EHLO or HELO first")
	errNested     = refuse(503, 5, 5, 1, "Error: a message is under way, send RSET first")
	errNeedMail   = refuse(503, 5, 5, 1, "Error: need MAIL command")
	errInChunks   = refuse(503, 5, 5, 1, "Error: a message is being sent with BDAT")
	errNeedAuth   = refuse(530, 5, 7, 0, "Authentication required")
	errNeedUTF8   = refuse(553, 5, 6, 7, "Address is not ASCII, and SMTPUTF8 was not given")
)

// mailFrom obeys MAIL.
func (s *session) mailFrom(arg string) {
	switch {
	case s.helo == "":
		s.sayWrong(errHelloFirst)
		return
	case s.mail.active:
		s.sayWrong(errNested)
		return
	}
	s.reset() // a refused BDAT leaves a mark without a transaction
	if e := s.beginMail(arg); e != nil {
		s.reset()
		s.say(e)
		if isSyntax(e) {
			s.mistake()
		} else {
			s.count() // the policy was asked, and may be again
		}
		return
	}
	s.mail.active = true
	s.raw("250 2.1.0 Ok\r\n")
}

// sayWrong replies to a command that is out of place.
func (s *session) sayWrong(e *smtp.SMTPError) {
	s.say(e)
	s.mistake()
}

// isSyntax tells an error of the protocol from one of policy or of an address.
func isSyntax(e *smtp.SMTPError) bool { return e.Code/10 == 50 || e.EnhancedCode[1] == 5 }

func (s *session) beginMail(arg string) *smtp.SMTPError {
	rest, ok := cutKeyword(arg, "FROM:")
	if !ok {
		return refuse(501, 5, 5, 4, "Syntax: MAIL FROM:<address>")
	}
	from, params, err := path(rest)
	if err != nil {
		return refuse(501, 5, 1, 7, "Bad sender address: "+err.Error())
	}
	with := offer{auth: s.offersAuth(), tls: s.tls != nil, ours: s.submits()}
	if s.takesBy() {
		with.by = &s.cfg.by
	}
	opts, e := parseMail(params, with)
	if e != nil {
		return e
	}
	s.mail.from, s.mail.opts, s.mail.id = from, opts, spool.NewID()
	trusted := s.relay || s.local != nil
	switch {
	case !opts.UTF8 && !from.ASCII():
		return errNeedUTF8
	case from.Domain == "" && !from.IsNull() && !trusted:
		return refuse(501, 5, 1, 7, "Bad sender address: no domain")
	case s.role == roleSubmission && !trusted && s.authUser == "":
		return errNeedAuth
	case opts.Size > s.limits.size:
		return refuse(552, 5, 3, 4, "Message size exceeds the limit")
	case !s.srv.room(s.limits.free + opts.Size):
		s.log.Error("no disk space", "client", s.clientText, "size", opts.Size)
		return refuse(452, 4, 3, 1, "Insufficient system storage, try again later")
	}
	if e := s.checkSender(from); e != nil {
		s.logRefused("mail", "", e)
		return e
	}
	if s.cfg.hooks.mail {
		if e := s.hook("smtp_mail", from.String()); e != nil {
			s.logRefused("mail", "", e)
			return e
		}
	}
	if e := s.askMail(from); e != nil {
		return e
	}
	if e := s.milterMail(params); e != nil {
		s.logRefused("mail", "", e)
		return e
	}
	return nil
}

func (s *session) askMail(from rfc5322.Address) *smtp.SMTPError {
	if !s.cfg.asks.mail || s.local != nil {
		return nil
	}
	a := s.srv.ask("mail", from.String(), s.clientText, s.relayWord(), s.authUser).wait()
	if a.ok {
		return nil
	}
	e := a.refusal()
	s.logRefused("mail", "", e)
	return e
}

func (a answer) refusal() *smtp.SMTPError {
	return &smtp.SMTPError{Code: a.code, EnhancedCode: a.ec, Message: a.text}
}

// mayRelay tells whether the recipients of the transaction can be anywhere.
func (s *session) mayRelay() bool {
	return s.relay || s.mail.relay || s.authUser != "" || s.local != nil
}

func (s *session) relayWord() string {
	if s.mayRelay() {
		return "relay"
	}
	return "norelay"
}

// A rcptWait is a recipient whose reply is still to come.
type rcptWait struct {
	rcpt spool.Recipient
	q    question
	call *call // nil when ans is the answer
	ans  answer
}

// maxWaiting bounds the recipients that are asked about together.
const maxWaiting = 100

// rcptTo obeys RCPT. The reply may be left to settle, so that the router works
// on all recipients that a client sends in one go.
func (s *session) rcptTo(arg string) {
	switch {
	case !s.mail.active:
		s.sayWrong(errNeedMail)
		return
	case s.mail.chunks:
		s.sayWrong(errInChunks)
		return
	case len(s.waiting) >= maxWaiting:
		s.settle()
	}
	if len(s.mail.rcpts)+len(s.waiting) >= s.limits.rcpts {
		s.settle()
		if len(s.mail.rcpts) >= s.limits.rcpts {
			s.raw("452 4.5.3 Error: too many recipients\r\n")
			return
		}
	}
	rcpt, e := s.parseRecipient(arg)
	if e == nil && s.cfg.hooks.rcpt {
		e = s.hook("smtp_rcpt", rcpt.Addr)
	}
	if e != nil {
		s.settle()
		s.refuseRcpt(rcpt.Addr, e)
		return
	}
	s.askRcpt(rcpt)
}

func (s *session) parseRecipient(arg string) (r spool.Recipient, e *smtp.SMTPError) {
	rest, ok := cutKeyword(arg, "TO:")
	if !ok {
		return r, refuse(501, 5, 5, 4, "Syntax: RCPT TO:<address>")
	}
	to, params, err := path(rest)
	if err == nil && to.IsNull() {
		return r, refuse(501, 5, 1, 3, "Bad recipient address: it is empty")
	}
	if err != nil {
		return r, refuse(501, 5, 1, 3, "Bad recipient address: "+err.Error())
	}
	opts, e := parseRcpt(params)
	if e != nil {
		return r, e
	}
	switch {
	case !s.mail.opts.UTF8 && !to.ASCII():
		return r, errNeedUTF8
	case to.Domain == "" && !strings.EqualFold(to.Local, "postmaster") && !s.mayRelay():
		return r, refuse(501, 5, 1, 3, "Bad recipient address: no domain")
	}
	return spool.Recipient{Addr: to.String(), Notify: notifyText(opts.Notify), ORcpt: orcptText(&opts)}, nil
}

// askRcpt puts the recipient to the router.
func (s *session) askRcpt(rcpt spool.Recipient) {
	w := rcptWait{rcpt: rcpt}
	if s.local != nil {
		w.ans = answer{ok: true}
	} else {
		w.q = question{rcpt: rcpt.Addr, sender: s.mail.from.String(), client: s.clientText, auth: s.authUser, relay: s.mayRelay()}
		var known bool
		if w.ans, known = s.srv.answers.get(w.q); !known {
			w.call = s.srv.ask("rcpt", w.q.rcpt, w.q.sender, w.q.client, s.relayWord(), w.q.auth)
		}
	}
	s.waiting = append(s.waiting, w)
}

// settle replies to the recipients that wait, in the order they were given.
func (s *session) settle() {
	if len(s.waiting) == 0 {
		return
	}
	// The replies below must not come back here.
	list := s.waiting
	s.waiting = nil
	for i := range list {
		w := &list[i]
		if w.call != nil {
			w.ans = w.call.wait()
			w.call = nil
			s.srv.answers.put(w.q, w.ans)
		}
		if !w.ans.ok {
			s.refuseRcpt(w.rcpt.Addr, w.ans.refusal())
			continue
		}
		if e := s.milterRcpt(&w.rcpt); e != nil {
			s.refuseRcpt(w.rcpt.Addr, e)
			continue
		}
		s.mail.rcpts = append(s.mail.rcpts, w.rcpt)
		s.raw("250 2.1.5 Ok\r\n")
	}
	clear(list)
	s.waiting = list[:0]
	if cap(list) > keepRcpts {
		s.waiting = nil
	}
}

// refuseRcpt replies to a recipient that is not taken.
func (s *session) refuseRcpt(addr string, e *smtp.SMTPError) {
	s.mail.failed++
	s.logRefused("rcpt", addr, e)
	s.say(e)
	s.refused("recipients")
}

// refused counts what was refused for good or for now, of which a client may offer
// only some.
func (s *session) refused(what string) {
	if s.rejects++; s.rejects >= s.limits.rejects {
		s.farewell("4.7.0 " + s.cfg.conf.Hostname + " Error: too many refused " + what)
	}
}

func (s *session) logRefused(action, to string, e *smtp.SMTPError) {
	s.log.Info("rejected", "spoolid", string(s.mail.id), "action", action, "client", s.clientText, "helo", s.helo,
		"from", s.mail.from.String(), "to", to, "code", e.Code, "dsn", codeText(e.EnhancedCode), "reason", e.Message)
}
