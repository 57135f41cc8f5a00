package smtpserver

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
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
)

// offersAuth tells whether AUTH can be used now. Passwords are asked for only
// under TLS.
func (s *session) offersAuth() bool {
	return s.cfg.passwords != nil && s.tls != nil && s.local == nil
}

// auth obeys AUTH: RFC 4954.
func (s *session) auth(arg string) error {
	mechanism, initial, _ := strings.Cut(arg, " ")
	switch {
	case s.helo == "":
		s.sayWrong(errHelloFirst)
	case s.cfg.passwords == nil || s.local != nil:
		s.sayWrong(errNoAuth)
	case s.tls == nil:
		s.sayWrong(errAuthTLS)
	case s.authUser != "":
		s.sayWrong(errAuthed)
	case s.mail.active:
		s.sayWrong(errAuthMail)
	case s.srv.logins.blocked(neighbourhood(s.client), s.cfg.limits.logins):
		s.say(errAuthBlocked)
	default:
		return s.exchange(strings.ToUpper(mechanism), initial)
	}
	return nil
}

// exchange goes through the challenges of a mechanism.
func (s *session) exchange(mechanism, initial string) error {
	var a attempt
	server := a.server(mechanism)
	if server == nil {
		s.sayWrong(errMechanism)
		return nil
	}
	var response []byte // nil: none yet
	if initial != "" {
		var e *smtp.SMTPError
		if response, e = decodeResponse(initial); e != nil {
			s.sayWrong(e)
			return nil
		}
	}
	for {
		challenge, done, err := server.Next(response)
		if err != nil {
			s.sayWrong(errAuthSyntax)
			return nil
		}
		if done {
			s.login(&a)
			return nil
		}
		s.raw("334 " + base64.StdEncoding.EncodeToString(challenge) + "\r\n")
		line, err := s.response()
		if err != nil {
			return err
		}
		var e *smtp.SMTPError
		if response, e = decodeResponse(line); e != nil {
			s.sayWrong(e)
			return nil
		}
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

// An attempt is what a client claims. It is judged after the exchange, so that
// the exchange itself tells nothing.
type attempt struct{ identity, user, password string }

// server is the mechanism's side of the exchange, nil if there is no such
// mechanism.
func (a *attempt) server(mechanism string) sasl.Server {
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(identity, user, password string) error {
			*a = attempt{identity, user, password}
			return nil
		})
	case sasl.Login:
		return &loginServer{attempt: a}
	}
	return nil
}

// loginServer is LOGIN, which has no standard but many clients.
type loginServer struct {
	attempt *attempt
	asked   int
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case l.asked == 0 && response == nil:
		l.asked = 1
		return []byte("Username:"), false, nil
	case l.asked < 2:
		l.attempt.user, l.asked = string(response), 2
		return []byte("Password:"), false, nil
	}
	l.attempt.password = string(response)
	return nil, true, nil
}

// failDelay makes guessing slow; loginTime bounds the wait for one's turn.
const (
	failDelay = time.Second
	loginTime = 10 * time.Second
)

// login judges the attempt.
func (s *session) login(a *attempt) {
	ctx, cancel := context.WithTimeout(s.ctx, loginTime)
	defer cancel()
	var ok bool
	if a.user != "" && printableText(a.user) && (a.identity == "" || a.identity == a.user) {
		var err error
		if ok, err = s.cfg.passwords.check(ctx, a.user, a.password); err != nil {
			s.log.Error("login cannot be checked", "client", s.clientText, "user", a.user, "err", err)
			s.say(errAuthNow)
			return
		}
	}
	if ok {
		s.authUser, s.idles = a.user, 0
		s.raw("235 2.7.0 Authentication successful\r\n")
		return
	}
	s.log.Warn("login failed", "client", s.clientText, "user", loggable(a.user))
	s.srv.logins.failed(neighbourhood(s.client))
	select {
	case <-time.After(failDelay):
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

// logins counts failed logins of each neighbourhood for a while.
type logins struct {
	mu    sync.Mutex
	begun time.Time
	count map[netip.Prefix]int
}

const (
	loginWindow = 10 * time.Minute
	maxFailing  = 10000 // neighbourhoods remembered
)

func (l *logins) failed(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.begun) > loginWindow || len(l.count) >= maxFailing {
		l.begun, l.count = time.Now(), make(map[netip.Prefix]int)
	}
	l.count[from]++
}

func (l *logins) blocked(from netip.Prefix, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[from] >= limit && time.Since(l.begun) <= loginWindow
}
