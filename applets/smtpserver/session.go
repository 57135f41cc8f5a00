package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/shell"
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
	listens    listenSpec // of the listener it came by
	peer       netip.Addr // of the connection
	client     netip.Addr // the peer, or for whom it speaks
	clientText string
	name       *lookup    // reverse DNS, under way
	local      *LocalUser // the user behind standard input; nil for a client on the network
	ends       *lineEnds  // of the local user
	relay      bool       // may send to everybody
	limits     *limits    // of the configuration, or of its own
	hold, tags string     // for all its messages, by a hook
	probe      bool       // of CheckRelay: refusals of the policy do not count

	tls      *tls.Conn
	tlsText  string // version and cipher
	helo     string
	esmtp    bool
	greeted  bool
	authUser string
	authType string // the mechanism of the last attempt

	mail    transaction
	waiting []rcptWait // recipients the router has been asked about, in order
	milters []milterLink
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
	s.timeout = s.limits.command
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
		if s.tooSlow(b, now) {
			return errSlow
		}
	}
	s.due = now.Add(s.timeout)
	return s.conn.SetDeadline(s.due)
}

// tooSlow tells that a message does not come at the rate it must have.
func (s *session) tooSlow(b *body, now time.Time) bool {
	took := now.Sub(s.mail.begun)
	return took > s.limits.data && b.size < int64(took.Seconds())*s.limits.rate
}

// flush writes the collected replies.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	s.srv.counts.reply(s.out)
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

// say replies with an error. 421 is the last word: RFC 5321 §3.8.
func (s *session) say(e *smtp.SMTPError) {
	e = s.withContact(e)
	s.reply(e.Code, e.EnhancedCode, e.Message)
	if e.Code == 421 {
		s.done = true
	}
}

// mistake counts an error of the protocol, of which a client may make only some.
func (s *session) mistake() {
	if s.errs++; s.errs >= s.limits.errors {
		s.farewell("4.7.0 " + s.cfg.conf.Hostname + " Error: too many errors")
		s.trouble = errors.New("too many errors")
	}
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
	if e := s.beginMilters(); e != nil {
		s.logRefused("connect", "", e)
		s.say(e)
		return false
	}
	s.greeted = true
	proto := "ESMTP"
	if s.role == roleLMTP {
		proto = "LMTP"
	}
	s.raw("220 " + s.cfg.conf.Hostname + " " + proto + " ZMailer\r\n")
	return true
}
