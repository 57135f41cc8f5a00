package smtpserver

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"zmailer/spool/rfc5322"
)

var (
	errUnknown   = refuse(500, 5, 5, 2, "Error: command not recognized")
	errControl   = refuse(501, 5, 5, 2, "Error: control character in command")
	errNoArg     = refuse(501, 5, 5, 4, "Error: this command takes no argument")
	errHeloName  = refuse(501, 5, 5, 4, "Error: the name of your host is missing")
	errLMTP      = refuse(500, 5, 5, 1, "Error: this is LMTP, send LHLO")
	errNotLMTP   = refuse(500, 5, 5, 1, "Error: this is not LMTP")
	errNoCommand = refuse(502, 5, 5, 1, "Error: command not implemented")
)

// command obeys one line. It returns an error that ends the session at once.
func (s *session) command(line []byte) error {
	verb, arg := splitVerb(line, &s.up)
	if string(verb) != "RCPT" {
		s.settle() // all other commands build on what became of the recipients
	}
	switch {
	case foreign(verb):
		s.farewell("5.5.2 " + s.cfg.conf.Hostname + " Error: this is SMTP")
		return nil
	case !printable(arg):
		s.sayWrong(errControl)
		return nil
	}
	switch string(verb) {
	case "MAIL":
		s.mailFrom(string(arg))
	case "RCPT":
		s.rcptTo(string(arg))
	case "DATA":
		return s.withoutArg(arg, s.dataCommand)
	case "BDAT":
		return s.chunkCommand(string(arg))
	case "EHLO":
		s.hello(string(arg), true, false)
	case "HELO":
		s.hello(string(arg), false, false)
	case "LHLO":
		s.hello(string(arg), true, true)
	case "AUTH":
		return s.auth(string(arg))
	case "XCLIENT":
		s.xclient(string(arg))
	case "STARTTLS":
		return s.withoutArg(arg, s.startTLS)
	case "QUIT":
		return s.withoutArg(arg, s.quit)
	case "RSET":
		return s.withoutArg(arg, s.rset)
	case "NOOP":
		s.raw("250 2.0.0 Ok\r\n")
		s.count()
	case "HELP":
		s.help()
	case "VRFY":
		s.verify("vrfy", string(arg), s.cfg.asks.vrfy)
	case "EXPN":
		s.verify("expn", string(arg), s.cfg.asks.expn)
	case "ETRN":
		s.etrn(string(arg))
	case "SEND", "SOML", "SAML", "TURN":
		s.sayWrong(errNoCommand)
	default:
		s.sayWrong(errUnknown)
	}
	return nil
}

func (s *session) withoutArg(arg []byte, f func() error) error {
	if len(arg) > 0 {
		s.sayWrong(errNoArg)
		return nil
	}
	return f()
}

// count counts a command that leads to no mail. Too many of them are a mistake
// each.
func (s *session) count() {
	if s.idles++; s.idles > s.limits.idle {
		s.mistake()
	}
}

func (s *session) quit() error {
	s.reset()
	s.raw("221 2.0.0 Bye\r\n")
	s.done = true
	return nil
}

func (s *session) rset() error {
	s.reset()
	s.raw("250 2.0.0 Ok\r\n")
	s.count()
	return nil
}

func (s *session) help() {
	s.raw("214-2.0.0 This is ZMailer. Commands:\r\n" +
		"214-2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN STARTTLS AUTH HELP QUIT\r\n" +
		"214 2.0.0 Ask postmaster@" + s.cfg.conf.MyDomain + " for the rest\r\n")
	s.count()
}

// hello obeys EHLO, HELO and LHLO. Each of them ends the transaction: RFC 5321
// §4.1.4.
func (s *session) hello(name string, extended, lmtp bool) {
	switch {
	case lmtp && s.role != roleLMTP:
		s.sayWrong(errNotLMTP)
		return
	case !lmtp && s.role == roleLMTP:
		s.sayWrong(errLMTP)
		return
	case name == "" || len(name) > rfc5322.MaxDomain || !utf8.ValidString(name):
		s.sayWrong(errHeloName)
		return
	}
	s.count()
	s.reset()
	s.helo, s.esmtp = name, extended
	if s.cfg.hooks.helo && s.local == nil {
		if e := s.hook("smtp_helo", name); e != nil {
			s.logRefused("helo", "", e)
			s.helo = ""
			s.say(e)
			return
		}
	}
	if e := s.milterHelo(); e != nil {
		s.logRefused("helo", "", e)
		s.helo = ""
		s.say(e)
		return
	}
	if !extended {
		s.raw("250 " + s.cfg.conf.Hostname + "\r\n")
		return
	}
	s.settle()
	b := append(s.out, "250-"...)
	b = append(b, s.cfg.conf.Hostname...)
	b = append(b, "\r\n250-PIPELINING\r\n250-SIZE "...)
	b = strconv.AppendInt(b, s.limits.size, 10)
	b = append(b, "\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n"...)
	if !s.ends.unix() {
		b = append(b, "250-CHUNKING\r\n250-BINARYMIME\r\n"...)
	}
	if s.cfg.tls != nil && s.tls == nil && s.local == nil && s.cfg.certs.ready() {
		b = append(b, "250-STARTTLS\r\n"...)
	}
	if s.tls != nil {
		b = append(b, "250-REQUIRETLS\r\n"...)
	}
	b = append(b, "250-LIMITS RCPTMAX="...)
	b = strconv.AppendInt(b, int64(s.limits.rcpts), 10)
	b = append(b, '\r', '\n')
	if s.submits() || s.role == roleSubmission {
		b = laterOffer(b, time.Now())
		b = append(b, "250-MT-PRIORITY\r\n"...)
	}
	if s.offersBy() {
		b = s.cfg.by.offer(b)
	}
	if s.offersETRN() {
		b = append(b, "250-ETRN\r\n"...)
	}
	b = append(b, s.authOffer()...)
	if s.offersXClient() {
		b = append(b, xclientOffer...)
	}
	s.out = append(b, "250 HELP\r\n"...)
	s.spill()
}

// verify obeys VRFY and EXPN: by the router's answer if the configuration says
// so, else with the answer that gives nothing away.
func (s *session) verify(verb, arg string, ask bool) {
	s.count()
	switch {
	case arg == "":
		s.sayWrong(refuse(501, 5, 5, 4, "Error: the address is missing"))
	case ask && s.local == nil:
		if s.helo == "" {
			s.sayWrong(errHelloFirst)
			return
		}
		a := s.srv.ask(verb, arg, s.clientText, s.relayWord(), s.authUser).wait()
		if a.ok {
			a.ec = smtp.EnhancedCode{2, 1, 5}
		} else {
			s.rejects++
		}
		s.reply(a.code, a.ec, a.text)
	case verb == "expn":
		s.say(errNoCommand)
	default:
		s.raw("252 2.1.5 Not told, but mail to it is tried\r\n")
	}
}
