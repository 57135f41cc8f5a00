package smtpserver

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/applets/smtpserver/saslauth"
)

// maxAuthLine bounds a line of an authentication exchange: RFC 4954 §4.
const maxAuthLine = 12288

var (
	errAuthed      = refuse(503, 5, 5, 1, "Error: already authenticated")
	errAuthMail    = refuse(503, 5, 5, 1, "Error: AUTH is not allowed within a message")
	errNoAuth      = refuse(502, 5, 5, 1, "Error: AUTH is not offered")
	errAuthTLS     = refuse(538, 5, 7, 11, "Encryption is required, send STARTTLS first")
	errMechanism   = refuse(504, 5, 5, 4, "Error: unknown mechanism")
	errAuthCancel  = refuse(501, 5, 7, 0, "Authentication cancelled")
	errAuthSyntax  = refuse(501, 5, 5, 2, "Error: cannot decode the response")
	errCredentials = refuse(535, 5, 7, 8, "Authentication credentials invalid")
	errAuthNow     = refuse(454, 4, 7, 0, "Temporary authentication failure")
	errAuthBlocked = refuse(454, 4, 7, 0, "Too many failed logins from your address, try again later")
	errUserBlocked = refuse(454, 4, 7, 0, "Too many failed logins of this user, try again later")
)

// offersAuth tells whether AUTH can be used now.
func (s *session) offersAuth() bool {
	return s.cfg.auth.any() && s.mayLogIn() && s.local == nil
}

// mayLogIn tells whether what the client says of itself is safe on the way: under
// TLS, or where the configuration says that it need not be.
func (s *session) mayLogIn() bool {
	return s.tls != nil || s.client.IsValid() && contains(s.cfg.auth.clear, s.client)
}

// auth obeys AUTH: RFC 4954.
func (s *session) auth(arg string) error {
	name, initial, _ := strings.Cut(arg, " ")
	switch {
	case s.helo == "":
		s.sayWrong(errHelloFirst)
	case !s.cfg.auth.any() || s.local != nil:
		s.sayWrong(errNoAuth)
	case !s.mayLogIn():
		s.sayWrong(errAuthTLS)
	case s.authUser != "":
		s.sayWrong(errAuthed)
	case s.mail.active:
		s.sayWrong(errAuthMail)
	case s.srv.logins.fromBlocked(neighbourhood(s.client), s.cfg.limits.logins):
		s.say(errAuthBlocked)
		s.count()
	default:
		m := s.mechanism(strings.ToUpper(name))
		if m == nil {
			s.sayWrong(errMechanism)
			return nil
		}
		s.authType = strings.ToUpper(name)
		if c, ok := m.(interface{ Close() }); ok {
			defer c.Close()
		}
		return s.exchange(m, initial)
	}
	return nil
}

// loginTime bounds a step of the exchange on our side.
const loginTime = 10 * time.Second

// exchange goes through the challenges of a mechanism.
func (s *session) exchange(m saslauth.Mechanism, initial string) error {
	begun := time.Now()
	var response []byte // nil: none yet
	if initial != "" {
		var e *smtp.SMTPError
		if response, e = decodeResponse(initial); e != nil {
			s.sayWrong(e)
			return nil
		}
	}
	for {
		ctx, cancel := context.WithTimeout(s.ctx, loginTime)
		challenge, end := m.Next(ctx, response)
		cancel()
		if end != nil {
			s.login(end, begun)
			return nil
		}
		s.raw("334 " + base64.StdEncoding.EncodeToString(challenge) + "\r\n")
		line, err := s.response()
		if err != nil {
			return err
		}
		var e *smtp.SMTPError
		response, e = decodeResponse(line)
		if e == nil {
			continue
		}
		// A token that was refused is a failed login, however the client takes it.
		if r, ok := m.(interface{ Refused() *saslauth.Outcome }); ok && r.Refused() != nil {
			s.login(r.Refused(), begun)
			return nil
		}
		s.sayWrong(e)
		return nil
	}
}

// response reads a line of the exchange.
func (s *session) response() (string, error) {
	s.in.grow()
	defer s.in.shrink()
	s.fresh = true
	line, err := s.in.line(maxAuthLine)
	s.idle.Store(false)
	switch {
	case err == nil:
		return string(line), nil
	case errors.Is(err, errBareLF), errors.Is(err, errBareCR), errors.Is(err, errNUL), errors.Is(err, errLongLine):
		return "!", nil // cannot be decoded
	}
	return "", err
}

// decodeResponse decodes a response; the empty one is "=" or an empty line.
func decodeResponse(s string) ([]byte, *smtp.SMTPError) {
	switch s {
	case "*":
		return nil, errAuthCancel
	case "=":
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errAuthSyntax
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// login does what the outcome of an exchange asks for.
func (s *session) login(end *saslauth.Outcome, begun time.Time) {
	from := neighbourhood(s.client)
	switch {
	case end.Err == nil && end.User != "" && printableText(end.User) && len(end.User) <= maxUser:
		s.authUser, s.idles = end.User, 0
		s.srv.logins.succeeded(end.User, from)
		s.raw("235 2.7.0 Authentication successful\r\n")
	case end.Err == nil, errors.Is(end.Err, saslauth.ErrDenied):
		s.failed(end.User, begun)
	case errors.Is(end.Err, saslauth.ErrSyntax):
		s.sayWrong(errAuthSyntax)
	case errors.Is(end.Err, errUserBlocked):
		s.say(errUserBlocked)
		s.count()
	default:
		s.log.Error("login cannot be checked", "client", s.clientText, "user", loggable(end.User), "err", end.Err)
		s.say(errAuthNow)
		s.count()
	}
}

// maxUser is the length of a user's name that the envelope and the log are to
// carry.
const maxUser = 255

// failDelay makes guessing slow. Replies to failed logins come at multiples of it,
// so that their time says nothing about what took how long.
const failDelay = time.Second

func (s *session) failed(user string, begun time.Time) {
	s.log.Warn("login failed", "client", s.clientText, "user", loggable(user))
	from := neighbourhood(s.client)
	if what := s.srv.logins.failed(user, from, &s.cfg.limits); what != "" {
		s.log.Warn("logins blocked for a while", "client", s.clientText, "user", loggable(user), "reason", what)
	}
	select {
	case <-time.After(failDelay - time.Since(begun)%failDelay):
	case <-s.ctx.Done():
	}
	s.sayWrong(errCredentials)
}

// loggable keeps out of the log what may be a password typed into the wrong field.
func loggable(user string) string {
	if len(user) > 64 || !printableText(user) {
		return "?"
	}
	return user
}
