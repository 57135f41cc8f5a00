package smtpserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/emersion/go-smtp"
)

// farewell ends the session with 421.
func (s *session) farewell(text string) {
	if !s.done {
		s.raw("421 " + text + "\r\n")
		s.done = true
	}
}

// fail ends a session whose input has failed.
func (s *session) fail(err error) {
	s.trouble = err
	switch {
	case errors.Is(err, errShutdown):
		s.trouble = nil
		s.farewell("4.3.2 " + s.cfg.conf.Hostname + " Service is shutting down, try again")
	case errors.Is(err, os.ErrDeadlineExceeded):
		if s.srv.closing.Load() && s.mail.reading == nil {
			s.trouble = nil
			s.farewell("4.3.2 " + s.cfg.conf.Hostname + " Service is shutting down, try again")
		} else {
			s.farewell("4.4.2 " + s.cfg.conf.Hostname + " Error: timeout exceeded")
		}
	case errors.Is(err, errSlow):
		s.farewell("4.4.2 " + s.cfg.conf.Hostname + " Error: message comes too slowly")
	case errors.Is(err, errTooBig):
		s.reply(552, smtp.EnhancedCode{5, 3, 4}, "Message is too big")
	case errors.Is(err, errClientHello):
		s.farewell("5.5.2 " + s.cfg.conf.Hostname + " Error: TLS spoken on a port for plain text, use STARTTLS")
	case errors.Is(err, errFlood):
		s.farewell("4.7.0 " + s.cfg.conf.Hostname + " Error: line too long")
	case errors.Is(err, io.EOF) && !s.mail.active && s.accepted > 0:
		s.trouble = nil // gone without QUIT, with its mail delivered
		return
	default:
		return
	}
	s.waiting = s.waiting[:0:0]
	// The deadline that has passed would stop the farewell, too.
	if err := s.conn.SetDeadline(time.Now().Add(farewellTime)); err == nil {
		if err := s.flush(); err != nil && s.trouble == nil {
			s.trouble = err
		}
	}
}

// farewellTime is how long a client may take to accept the last words.
const farewellTime = 2 * time.Second

// end leaves nothing of the session behind.
func (s *session) end() {
	if r := recover(); r != nil {
		s.trouble = errPanic
		s.log.Error("session panicked", "client", s.clientText, "spoolid", s.mail.id, "err", r, "stack", string(debug.Stack()))
		s.out = append(s.out[:0], "421 4.3.0 Error: internal error, try again later\r\n"...)
		if err := s.flush(); err != nil {
			s.log.Debug("farewell", "client", s.clientText, "err", err)
		}
	}
	for _, w := range s.waiting {
		if w.call != nil {
			w.call.wait()
		}
	}
	s.reset()
	s.closeMilters()
	if s.shell != nil {
		s.shell.Close()
	}
	if s.name != nil {
		s.name.cancel()
	}
	s.in.release()
	if s.local == nil {
		s.hangUp()
	}
	s.srv.counts.ended(s)
	if s.trouble != nil || s.errs > 0 || s.rejects > 0 {
		s.logEnd()
	}
}

// hangUp closes the connection.
func (s *session) hangUp() {
	if errors.Is(s.trouble, errTooBig) {
		s.linger()
	}
	// The client may be gone already: there is nothing to do about an error.
	if s.tls != nil {
		s.tls.Close()
	} else {
		s.conn.Close()
	}
}

// linger lets a client that is still sending see the last reply: were the
// connection closed with input waiting, the reply would be torn down with it.
func (s *session) linger() {
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	s.in.grow()
	for n := 0; n < maxDrain; {
		k, err := s.conn.Read(s.in.buf)
		if err != nil {
			return
		}
		n += k
	}
}

func (s *session) logEnd() {
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.String("client", s.clientText), slog.String("helo", s.helo),
		slog.Int("accepted", s.accepted), slog.Int("rejected", s.rejects), slog.Int("errors", s.errs),
		slog.Duration("delay", time.Since(s.begun).Round(time.Millisecond)),
	}
	if s.trouble != nil {
		attrs = append(attrs, slog.String("err", s.trouble.Error()))
	}
	s.log.LogAttrs(context.Background(), level, "session ended", attrs...)
}
