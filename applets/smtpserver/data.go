package smtpserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/spool"
	"zmailer/spool/rfc2045"
	"zmailer/spool/rfc5322"
)

var (
	errNoRcpt     = refuse(503, 5, 5, 1, "Error: need RCPT command")
	errNoGoodRcpt = refuse(554, 5, 5, 1, "Error: no valid recipients")
	errBinary     = refuse(554, 5, 6, 0, "Message contains a bare CR, a bare LF or a NUL; lines end with CR LF")
	errMIME       = refuse(554, 5, 6, 0, "Message is not well-formed MIME, or too complicated")
	errConvert    = refuse(554, 5, 6, 2, "Binary content that is signed, or may not be encoded, cannot be sent on")
	errNeedBDAT   = refuse(503, 5, 5, 1, "Error: BODY=BINARYMIME needs BDAT")
	errUnixChunk  = refuse(503, 5, 5, 1, "Error: BDAT needs lines that end with CR LF")
	errSize       = refuse(552, 5, 3, 4, "Message size exceeds the limit")
	errStorage    = refuse(452, 4, 3, 1, "Insufficient system storage, try again later")
	errQueue      = refuse(451, 4, 3, 0, "Error: queue file could not be written, try again later")
	errBroken     = refuse(503, 5, 5, 1, "Error: an earlier part of this message was refused, send RSET")
)

// ready tells why a message cannot come now.
func (s *session) ready() *smtp.SMTPError {
	switch {
	case !s.mail.active:
		return errNeedMail
	case s.mail.broken:
		return errBroken
	case len(s.mail.rcpts) > 0:
		return nil
	case s.mail.failed > 0:
		return errNoGoodRcpt
	}
	return errNoRcpt
}

// beginData opens the submission and asks the policy, before the client sends
// anything.
func (s *session) beginData() *smtp.SMTPError {
	if s.cfg.hooks.data {
		if e := s.hook("smtp_data"); e != nil {
			s.logRefused("data", "", e)
			return e
		}
	}
	if e := s.milterData(); e != nil {
		s.logRefused("data", "", e)
		return e
	}
	m := &s.mail
	m.begun = time.Now()
	m.body = body{limit: s.limits.size}
	if s.inspects() {
		m.held = newHeld(s.srv.spool)
		m.body.w = m.held
	} else {
		sub, err := s.srv.spool.SubmitAs(m.id, s.envelope())
		if err != nil {
			return s.storageError("begin", err)
		}
		m.sub = sub
		m.body.w = sub
	}
	if m.opts.Body == smtp.BodyBinaryMIME {
		s.beginBinary()
	}
	return nil
}

// beginBinary has the message made into lines, and kept as it comes if signatures
// are to be verified.
func (s *session) beginBinary() {
	m := &s.mail
	m.body.lines = newConverter(m.body.w)
	if m.held != nil && s.stranger() && (s.cfg.checks.dkim || s.cfg.checks.arc) {
		m.wire = newHeld(s.srv.spool)
		m.body.wire = m.wire
	}
}

// storageError logs what keeps a message out of the spool, and says it to the
// client as what it is: temporary.
func (s *session) storageError(action string, err error) *smtp.SMTPError {
	s.log.Error("message not stored", "spoolid", string(s.mail.id), "action", action, "client", s.clientText, "err", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errStorage
	}
	return errQueue
}

// envelope is what the router gets to know.
func (s *session) envelope() *spool.Envelope {
	m := &s.mail
	env := &spool.Envelope{
		External:   s.local == nil,
		MayRelay:   s.mayRelay() && s.local == nil,
		Submission: s.role == roleSubmission || s.authUser != "",
		Header:     m.fields,
		HasFrom:    true,
		From:       m.from.String(),
		To:         m.rcpts,
		EnvID:      rfc5322.EncodeXtext(m.opts.EnvelopeID),
		Ret:        string(m.opts.Return),
		RcvdFrom:   s.receivedFrom(),
		With:       s.protocol(),
		BodyType:   string(m.bodyType()),
		SMTPUTF8:   m.opts.UTF8,
		AuthUser:   s.authUser,
		Client:     s.clientText,
		Helo:       heloText(s.helo),
		TLS:        s.tlsText,
		LoginName:  s.loginName(),
		Hold:       cmp.Or(m.hold, s.hold),
		Tag:        s.joinTags(),
		NotBefore:  m.opts.later,
		DeliverBy:  m.opts.by,
		Priority:   m.opts.priority,
		RequireTLS: m.opts.RequireTLS,
	}
	if len(m.rcpts) == 1 {
		env.For = m.rcpts[0].Addr
	}
	return env
}

// bodyType is what the spool gets of what the client declared.
func (m *transaction) bodyType() smtp.BodyType {
	if m.opts.Body == smtp.BodyBinaryMIME {
		return smtp.Body8BitMIME // see converter
	}
	return m.opts.Body
}

func (s *session) loginName() string {
	if s.local == nil {
		return ""
	}
	return rfc5322.OneLine(s.local.Name, 64)
}

// dataCommand obeys DATA. It returns an error that ends the session.
func (s *session) dataCommand() error {
	if s.mail.chunks {
		s.sayWrong(errInChunks)
		return nil
	}
	if e := s.ready(); e != nil {
		s.sayWrong(e)
		return nil
	}
	if s.mail.opts.Body == smtp.BodyBinaryMIME {
		s.sayWrong(errNeedBDAT)
		return nil
	}
	if e := s.beginData(); e != nil {
		s.say(e)
		s.refused("messages")
		return nil
	}
	s.raw("354 End data with <CR><LF>.<CR><LF>\r\n")
	if err := s.read(func(b *body) error { return s.in.data(b) }); err != nil {
		return err
	}
	s.finish()
	return nil
}

// read reads octets of the message under the rules of a message.
func (s *session) read(f func(*body) error) error {
	b := &s.mail.body
	s.mail.reading, s.timeout = b, s.limits.data
	err := f(b)
	s.mail.reading = nil
	return err
}

// finish commits the message, if nothing is wrong with it, and replies: once in
// SMTP, for each recipient in LMTP.
func (s *session) finish() {
	replies := 1
	if s.role == roleLMTP {
		replies = len(s.mail.rcpts) // those the client knows; a filter may change them
	}
	e := s.commit()
	for range replies {
		if e != nil {
			s.say(e)
		} else {
			s.queued()
		}
	}
	s.reset()
	if e != nil {
		s.refused("messages")
	}
}

func (s *session) queued() {
	s.out = append(s.out, "250 2.0.0 Ok: queued as "...)
	s.out = append(s.out, s.mail.id...)
	s.out = append(s.out, '\r', '\n')
	s.spill()
}

func (s *session) commit() *smtp.SMTPError {
	m := &s.mail
	if e := s.fault(m.body.fault); e != nil {
		return e
	}
	if m.held != nil {
		if e := s.inspect(); e != nil {
			return e
		}
		if m.discard == "" && len(m.rcpts) == 0 {
			m.discard = "no recipient is left"
		}
		if m.discard != "" {
			s.log.Info("discarded", "spoolid", string(m.id), "client", s.clientText, "from", m.from.String(), "reason", m.discard)
			return nil
		}
		if err := s.store(); err != nil {
			return s.storageError("store", err)
		}
	}
	// A message that has come whole is kept even if the server is told to stop.
	err := m.sub.Commit(context.WithoutCancel(s.ctx))
	m.sub = nil // ended, either way
	if err != nil {
		return s.storageError("commit", err)
	}
	s.accepted++
	s.idles = 0
	s.srv.accepted.Add(1)
	s.srv.counts.messages.Inc()
	s.srv.counts.recipients.Add(int64(len(m.rcpts)))
	s.srv.counts.octets.Add(m.body.size)
	s.logAccepted()
	return nil
}

// fault is the reply to what is wrong with a message.
func (s *session) fault(err error) *smtp.SMTPError {
	var e *smtp.SMTPError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errBareCR), errors.Is(err, errBareLF), errors.Is(err, errNUL):
		e = errBinary
	case errors.Is(err, errTooBig):
		e = errSize
	case errors.Is(err, errSealed):
		e = errConvert
	case errors.Is(err, errHeader), errors.Is(err, rfc2045.ErrStructure):
		e = errMIME
	default:
		return s.storageError("write", err)
	}
	s.log.Info("rejected", "spoolid", string(s.mail.id), "action", "data", "client", s.clientText, "helo", s.helo,
		"from", s.mail.from.String(), "code", e.Code, "dsn", codeText(e.EnhancedCode), "reason", err.Error())
	return e
}

func (s *session) logAccepted() {
	m := &s.mail
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("spoolid", string(m.id)), slog.String("from", m.from.String()),
		slog.String("to", m.rcpts[0].Addr), slog.Int("nrcpt", len(m.rcpts)), slog.Int64("size", m.body.size),
		slog.String("client", s.clientText), slog.String("helo", s.helo), slog.String("with", s.protocol()))
	if s.tlsText != "" {
		attrs = append(attrs, slog.String("tls", s.tlsText))
	}
	if s.authUser != "" {
		attrs = append(attrs, slog.String("user", s.authUser))
	}
	attrs = append(attrs, slog.Duration("delay", time.Since(m.begun).Round(time.Microsecond)))
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "accepted", attrs...)
}

func codeText(ec smtp.EnhancedCode) string { return fmt.Sprintf("%d.%d.%d", ec[0], ec[1], ec[2]) }

// chunkCommand obeys BDAT: RFC 3030. The octets that follow the command are read
// whatever the reply will be; were they taken for commands, a refused message
// could contain anything.
func (s *session) chunkCommand(arg string) error {
	n, last, ok := parseChunk(arg)
	if !ok {
		// Where the chunk ends is unknown.
		s.say(refuse(501, 5, 5, 4, "Syntax: BDAT octets [LAST]"))
		s.farewell("4.7.0 " + s.cfg.conf.Hostname + " Error: chunk of unknown length")
		return nil
	}
	if s.ends.unix() {
		// And where it ended has been lost with the line ends.
		s.say(errUnixChunk)
		s.farewell("4.7.0 " + s.cfg.conf.Hostname + " Error: chunk of unknown length")
		return nil
	}
	e := s.ready()
	if e == nil && !s.mail.chunks {
		if e = s.beginData(); e == nil {
			s.mail.chunks = true
		}
	}
	if e != nil {
		return s.refuseChunk(n, last, e)
	}
	if err := s.read(func(b *body) error { return s.in.chunk(b, n) }); err != nil {
		return err
	}
	if last {
		s.mail.body.finish()
		s.finish()
		return nil
	}
	if s.tooSlow(&s.mail.body, time.Now()) {
		return errSlow // pieces so small that reading them never waits
	}
	if e := s.fault(s.mail.body.fault); e != nil {
		s.breakMail()
		s.say(e)
		return nil
	}
	s.reply(250, smtp.EnhancedCode{2, 0, 0}, fmt.Sprintf("Ok: %d octets received", n))
	return nil
}

// breakMail gives the message up but keeps the transaction, so that the chunks
// that are still under way are refused and not taken for another message.
func (s *session) breakMail() {
	s.mail.broken = true
	s.mail.drop()
}

// refuseChunk reads a chunk that nobody wants. The last one of a message ends the
// transaction: what follows it in the same breath is the next message.
func (s *session) refuseChunk(n int64, last bool, e *smtp.SMTPError) error {
	if n > s.limits.size+maxDrain {
		s.say(errSize)
		s.farewell("4.7.0 " + s.cfg.conf.Hostname + " Error: chunk is too big")
		return nil
	}
	nowhere := body{fault: errBroken}
	s.mail.begun = time.Now()
	s.mail.reading, s.timeout = &nowhere, s.limits.data
	err := s.in.chunk(&nowhere, n)
	s.mail.reading = nil
	if err != nil {
		return err
	}
	s.breakMail()
	if last {
		s.reset()
	}
	s.sayWrong(e)
	return nil
}
