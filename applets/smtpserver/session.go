package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// A session is one client, from connection to farewell, in one goroutine.
type session struct {
	srv  *server
	cfg  *config
	log  *slog.Logger
	ctx  context.Context
	conn conn   // the client's connection, below TLS if there is any
	out  []byte // replies that are not written yet
	in   input
	up   [16]byte // the verb in upper case

	role       role
	client     netip.Addr
	clientText string
	name       *lookup    // reverse DNS, under way
	local      *LocalUser // the user behind standard input; nil for a client on the network
	relay      bool       // may send to everybody

	tls      *tls.Conn
	tlsText  string // version and cipher
	helo     string
	esmtp    bool
	authUser string

	mail    transaction
	waiting []rcptWait // recipients the router has been asked about, in order
	shell   *shell.Session
	verdict verdict

	begun    time.Time
	due      time.Time     // when the deadline of conn was last renewed
	timeout  time.Duration // for what is read now
	fresh    bool          // a command may have a new deadline
	idle     atomic.Bool   // waits for a command
	since    atomic.Int64  // how long it has done so, in Unix nanoseconds
	done     bool          // the last reply has been made
	accepted int
	errs     int // of the protocol
	rejects  int // refused recipients
	idles    int // commands that lead to no mail
	trouble  error
}

// conn is what a session needs of a connection.
type conn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
}

var (
	errShutdown = errors.New("server shuts down")
	errPanic    = errors.New("session panicked")
	errDone     = errors.New("the last reply has been made")
	errSlow     = errors.New("message comes too slowly")
)

// run speaks with the client until one of the two has enough.
func (s *session) run() {
	defer s.end()
	s.timeout = s.cfg.limits.command
	if s.connect() {
		for !s.done {
			if err := s.next(); err != nil && !errors.Is(err, errDone) {
				s.fail(err)
				return
			}
		}
	}
	if err := s.flush(); err != nil {
		s.trouble = err
	}
}

// next reads and obeys one command.
func (s *session) next() error {
	s.timeout = s.srv.commandTimeout(s.cfg)
	s.fresh = true
	line, err := s.in.line(maxLine)
	s.idle.Store(false)
	switch {
	case err == nil:
		return s.command(line)
	case errors.Is(err, errBareLF), errors.Is(err, errBareCR), errors.Is(err, errNUL):
		s.sayWrong(refuse(500, 5, 5, 2, "Error: "+err.Error()+" in command; lines end with CR LF"))
	case errors.Is(err, errLongLine):
		s.sayWrong(refuse(500, 5, 5, 2, "Error: line too long"))
	default:
		return err
	}
	return nil
}

// beforeRead is called when nothing more of what the client sent can be used:
// now it must see the replies.
func (s *session) beforeRead() error {
	s.settle()
	if s.done {
		return errDone // a recipient was one too many
	}
	if err := s.renew(); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	if s.mail.reading == nil {
		s.idle.Store(true) // from here on others may move the deadline
		if s.srv.closing.Load() {
			return errShutdown
		}
	}
	return nil
}

// renew moves the deadline on, when an eighth of the time has gone: few waits
// cost a timer. A command has one deadline, however many pieces it comes in; a
// message has one for each piece, and must have a certain rate in the long run.
func (s *session) renew() error {
	b := s.mail.reading
	if b == nil && !s.fresh {
		return nil
	}
	s.fresh = false
	now := time.Now()
	s.since.Store(now.UnixNano())
	if left := s.due.Sub(now); left <= s.timeout && left > s.timeout-s.timeout/8 {
		return nil
	}
	if b != nil {
		took := now.Sub(s.mail.begun)
		if took > s.timeout && b.size < int64(took.Seconds())*s.cfg.limits.rate {
			return errSlow
		}
	}
	s.due = now.Add(s.timeout)
	return s.conn.SetDeadline(s.due)
}

// flush writes the collected replies.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	var err error
	if s.tls != nil {
		_, err = s.tls.Write(s.out)
	} else {
		_, err = s.conn.Write(s.out)
	}
	s.out = s.out[:0]
	return err
}

// raw adds reply lines that are ready, with their line ends.
func (s *session) raw(text string) {
	if s.settle(); s.done {
		return // nothing follows the farewell
	}
	s.out = append(s.out, text...)
	s.spill()
}

// reply adds a reply.
func (s *session) reply(code int, ec smtp.EnhancedCode, text string) {
	if s.settle(); s.done {
		return
	}
	s.out = appendReply(s.out, code, ec, text)
	s.spill()
}

// spill writes replies early when a client sends commands faster than it would
// be right to remember the replies. An error shows again at the next read.
func (s *session) spill() {
	if len(s.out) >= flushAt {
		if err := s.flush(); err != nil {
			s.trouble, s.done = err, true
		}
	}
}

// say replies with an error.
func (s *session) say(e *smtp.SMTPError) { s.reply(e.Code, e.EnhancedCode, e.Message) }

// mistake counts an error of the protocol, of which a client may make only some.
func (s *session) mistake() {
	if s.errs++; s.errs >= s.cfg.limits.errors {
		s.farewell("4.7.0 " + s.cfg.conf.Hostname + " Error: too many errors")
		s.trouble = errors.New("too many errors")
	}
}

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

// connect greets the client, if it may come in.
func (s *session) connect() bool {
	if s.cfg.hooks.connect && s.local == nil {
		if e := s.hook("smtp_connect", s.clientText, s.clientName()); e != nil {
			s.logRefused("connect", "", e)
			s.say(e)
			return false
		}
	}
	proto := "ESMTP"
	if s.role == roleLMTP {
		proto = "LMTP"
	}
	s.raw("220 " + s.cfg.conf.Hostname + " " + proto + " ZMailer\r\n")
	return true
}

// receivedFrom is the text after "from" in Received:, as Postfix writes it.
func (s *session) receivedFrom() string {
	helo := heloText(s.helo)
	if s.local != nil {
		return helo + " (" + rfc5322.OneLine(s.local.Name, 64) + "@localhost)"
	}
	if !s.client.IsValid() {
		return helo + " (localhost)"
	}
	return helo + " (" + s.clientName() + " " + rfc5322.Literal(s.client) + ")"
}

// heloText makes what the client calls itself fit for a header: nothing in it
// may be taken for a comment or for a part of our own.
func heloText(helo string) string {
	ok := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']' || c >= 0x80
	}
	for i := 0; i < len(helo); i++ {
		if !ok(helo[i]) {
			b := []byte(helo)
			for ; i < len(b); i++ {
				if !ok(b[i]) {
					b[i] = '?'
				}
			}
			helo = string(b)
			break
		}
	}
	return rfc5322.OneLine(helo, 255)
}

// protocol is the "with" of Received: RFC 3848, RFC 6531 §4.3.
func (s *session) protocol() string {
	p := "SMTP"
	switch utf8 := s.mail.opts.UTF8; {
	case s.role == roleLMTP && utf8:
		p = "UTF8LMTP"
	case s.role == roleLMTP:
		p = "LMTP"
	case utf8:
		p = "UTF8SMTP"
	case s.esmtp:
		p = "ESMTP"
	}
	if s.tls != nil && p != "SMTP" {
		p += "S"
	}
	if s.authUser != "" && p != "SMTP" {
		p += "A"
	}
	return p
}

// clientName is the verified name of the client's address, or "unknown".
func (s *session) clientName() string {
	if s.name == nil {
		return "unknown"
	}
	return s.name.result()
}
