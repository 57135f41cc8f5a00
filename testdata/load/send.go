package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os/exec"
	"time"
)

// A Refused is an answer of the mailer that is not yes.
type Refused struct {
	Code int // of SMTP, or 400 or 500 for the status of sendmail
	Text string
}

func (r *Refused) Error() string { return fmt.Sprintf("%d %s", r.Code, r.Text) }

// Permanent says that the mailer told the sender to give up.
func (r *Refused) Permanent() bool { return r.Code >= 500 }

// A Session is one SMTP connection.
type Session struct {
	Addr    string
	Timeout time.Duration // of one message; 0 is a minute

	conn net.Conn
	c    *smtp.Client
}

// Send sends a message; nil is the 250 that promises delivery. After an error the
// connection is closed, and the next Send opens another one.
func (s *Session) Send(m *Message) error {
	err := s.send(m)
	if err != nil {
		s.Close()
	}
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return &Refused{Code: reply.Code, Text: reply.Msg}
	}
	return err
}

func (s *Session) send(m *Message) error {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	if s.c == nil {
		conn, err := net.DialTimeout("tcp", s.Addr, timeout)
		if err != nil {
			return err
		}
		conn.SetDeadline(time.Now().Add(timeout))
		if s.c, err = smtp.NewClient(conn, "localhost"); err != nil {
			conn.Close()
			return err
		}
		s.conn = conn
	}
	s.conn.SetDeadline(time.Now().Add(timeout))
	if err := s.c.Mail("load@mx.test"); err != nil {
		return err
	}
	for _, to := range m.To {
		if err := s.c.Rcpt(to + "@mx.test"); err != nil {
			return err
		}
	}
	w, err := s.c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.Text()); err != nil {
		return err
	}
	return w.Close()
}

// Close ends the connection.
func (s *Session) Close() {
	if s.c != nil {
		s.c.Close()
		s.c = nil
	}
}

// Sendmail submits a message with the program at path.
func Sendmail(ctx context.Context, path string, m *Message) error {
	cmd := exec.CommandContext(ctx, path, append([]string{"-i", "-f", "load@mx.test"}, m.To...)...)
	cmd.Stdin = bytes.NewReader(m.Text())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	code := exit.ExitCode()
	if code < 0 { // killed: the sender knows that it did not succeed
		return err
	}
	words := bytes.Split(bytes.TrimSpace(out), []byte(": ")) // the last one is the cause, without names of files
	refused := &Refused{Code: 500, Text: fmt.Sprintf("sendmail: status %d: %s", code, words[len(words)-1])}
	switch code {
	case tempFail, ioErr, osErr, cantCreat:
		refused.Code = 400
	}
	return refused
}

// Statuses of sysexits.h after which mail programs keep the message: the machine is
// in trouble, not the message.
const (
	osErr     = 71
	cantCreat = 73
	ioErr     = 74
	tempFail  = 75
)
