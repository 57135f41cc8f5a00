package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool/dsn"
)

// A session is a connection on which mail can be sent: greeted, encrypted and
// authenticated as the policy wants it. It belongs to one goroutine at a time.
type session struct {
	*wire
	c      *client
	target target
	key    poolKey
	ext    extensions
	tls    *tls.ConnectionState // nil: in the clear
	proof  string               // how the peer's certificate was verified; "" if it was not
	raw    syscall.RawConn

	opened time.Time
	sent   int  // transactions begun
	reused bool // it was idle since the last one, so the peer may have left
	dirty  bool // a transaction may be open at the peer: RSET first
	broken bool // of no further use

	idle *time.Timer // closes it when nobody wants it; owned by the pool
}

// A setup is how a session to a target must be opened.
type setup struct {
	target *target
	trust
	creds *credentials
	from  netip.Addr // our address; the zero Addr is the system's choice
	conn  net.Conn   // connected already, not used yet; or nil
}

// open connects and goes through greeting, EHLO, STARTTLS and AUTH. When it
// fails it says what that means for recipients that no other host takes.
func (c *client) open(ctx context.Context, su *setup, end time.Time) (*session, *dsn.Result) {
	s, fail := c.connect(ctx, su, end)
	var hs *handshakeError
	if fail != nil && errors.As(fail.cause, &hs) && !hs.final && !c.classic.has(su.target.address) {
		// Some hosts, and what stands before them, fail at the size of a greeting
		// with the key exchange of today.
		c.classic.add(su.target.address)
		s, fail = c.connect(ctx, su, end)
	}
	if fail != nil && errors.As(fail.cause, &hs) && su.mode == tlsMay && !su.target.wrap {
		// Encryption was our wish, not a duty. The connection is spoilt; a new one
		// goes without, and so do later ones for a while.
		c.plainOnly.add(su.target.address)
		s, fail = c.connect(ctx, su, end)
	}
	if fail != nil {
		fail.Relay = su.target.relay
		return nil, &fail.Result
	}
	return s, nil
}

// An openFailure is a result with what caused it.
type openFailure struct {
	dsn.Result
	cause error
}

// unreachable is the failure of a target that cannot be connected to. It will be
// tried last for a while.
func (c *client) unreachable(t *target, err error) *openFailure {
	c.dead.add(t.address)
	return &openFailure{unreachable("4.4.1", "connect to %s: %s", t.relay, reason(err)), err}
}

func (c *client) connect(ctx context.Context, su *setup, end time.Time) (*session, *openFailure) {
	t, nc := su.target, su.conn
	if su.conn = nil; nc == nil {
		var err error
		if nc, err = c.dial(ctx, su, c.dialLimit(end)); err != nil {
			return nil, c.unreachable(t, err)
		}
	}
	c.dead.remove(t.address)
	s := &session{wire: newWire(nc, c.opt.timeouts.dot, c.opt.transcript.start()), c: c, target: *t, key: su.key(), opened: time.Now()}
	var err error
	if s.raw, err = nc.(syscall.Conn).SyscallConn(); err != nil {
		s.close()
		return nil, &openFailure{unreachable("4.3.0", "connection to %s: %v", t.relay, err), err}
	}
	s.log.note("connected to " + t.relay)
	s.begin(end)
	stop := context.AfterFunc(ctx, s.interrupt)
	defer stop()
	if fail := s.greet(ctx, *su); fail != nil {
		s.log.note("given up: " + fail.Text)
		s.close()
		return nil, fail
	}
	return s, nil
}

// reason is err without the addresses that the caller names himself.
func reason(err error) string {
	var op *net.OpError
	var sys *os.SyscallError
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF):
		return "the peer closed the connection"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &sys):
		return sys.Err.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// lost is the failure of a connection in the middle of a phase.
func (s *session) lost(during string, err error) *openFailure {
	s.broken = true
	res := unreachable(lostStatus(err), "%s: %s: %s", s.target.relay, during, reason(err))
	res.Relay = s.target.relay
	return &openFailure{res, err}
}

// lostStatus: an answer that is no SMTP is a protocol error, silence is none.
func lostStatus(err error) string {
	if errors.Is(err, errNotReply) || errors.Is(err, errLongReply) {
		return "4.5.0"
	}
	return "4.4.2"
}

// refused is the failure when the peer answered, but not with success. A host
// that refuses to talk is a matter of that host: another one may take the mail.
func (s *session) refused(r reply) *openFailure {
	res := r.result(s.target.relay)
	if !r.permanent() {
		res.Action, res.RetryAfter = dsn.RetryAt, retryAfter
		if r.ok() {
			res.Status = "4.5.0"
		}
	}
	return &openFailure{Result: res}
}

// soften makes a failure temporary: what only our own policy asked for, or our
// own password, cannot fail mail for good.
func (f *openFailure) soften() *openFailure {
	f.Action, f.Status, f.RetryAfter = dsn.RetryAt, "4"+f.Status[1:], retryAfter
	return f
}

func (s *session) greet(ctx context.Context, su setup) *openFailure {
	if s.target.wrap {
		s.phase(s.c.opt.timeouts.greeting)
		if fail := s.startTLS(ctx, su); fail != nil {
			return fail
		}
	}
	s.phase(s.c.opt.timeouts.greeting)
	banner, err := s.reply()
	if err != nil {
		return s.lost("greeting", err)
	}
	if banner.code != 220 {
		return s.refused(banner)
	}
	if fail := s.hello(); fail != nil {
		return fail
	}
	if fail := s.secure(ctx, su); fail != nil {
		return fail
	}
	return s.authenticate(ctx, su.creds)
}

// hello introduces us, by HELO if the peer does not know EHLO.
func (s *session) hello() *openFailure {
	verb := "EHLO "
	if s.c.opt.lmtp {
		verb = "LHLO "
	}
	s.phase(s.c.opt.timeouts.command)
	r, err := s.ask(verb, s.c.opt.hello)
	if err != nil {
		return s.lost(strings.TrimSpace(verb), err)
	}
	if r.ok() {
		s.ext = parseExtensions(r.text)
		return s.checkLoop()
	}
	switch {
	case s.c.opt.lmtp:
		return s.refused(r).soften() // most likely the wrong port, or SMTP at it
	case !r.permanent() || s.tls != nil:
		return s.refused(r)
	}
	s.phase(s.c.opt.timeouts.command)
	if r, err = s.ask("HELO ", s.c.opt.hello); err != nil {
		return s.lost("HELO", err)
	}
	if !r.ok() {
		return s.refused(r)
	}
	name, _, _ := bytes.Cut(r.text, []byte(" "))
	s.ext = extensions{greetedWith: string(name)}
	return s.checkLoop()
}

// checkLoop finds out that the exchanger of a domain is this host, seen through
// an address that is none of its interfaces'.
func (s *session) checkLoop() *openFailure {
	if s.c.opt.self == nil || !s.target.looked || !strings.EqualFold(s.ext.greetedWith, s.c.opt.hello) {
		return nil
	}
	return &openFailure{Result: dsn.Perm("5.4.6", "mail for %s loops back to this host: %s has its name", s.target.dest, s.target.relay)}
}

// rcptMax is how many recipients a transaction may have.
func (s *session) rcptMax() int {
	n := s.c.opt.rcptMax
	if s.ext.rcptMax > 0 {
		n = min(n, s.ext.rcptMax)
	}
	return max(n, 1)
}

// fitting is the recipients, of those left, that one transaction may have.
func (s *session) fitting(rcpts []*recipient) []*recipient {
	n := min(len(rcpts), s.rcptMax())
	if s.ext.domainMax == 0 {
		return slices.Clone(rcpts[:n])
	}
	var fit []*recipient
	domains := make(map[string]bool)
	for _, r := range rcpts {
		domain := strings.ToLower(r.User[strings.LastIndexByte(r.User, '@')+1:])
		if len(fit) < n && (domains[domain] || len(domains) < s.ext.domainMax) {
			domains[domain] = true
			fit = append(fit, r)
		}
	}
	return fit
}

// spent says that the session takes no further transaction.
func (s *session) spent(now time.Time) bool {
	return s.broken || s.sent >= s.c.opt.reuseMax || s.ext.mailMax > 0 && s.sent >= s.ext.mailMax ||
		now.Sub(s.opened) > s.c.opt.reuseTime
}

// quiet tells that the peer has said nothing since its last reply. One that has,
// or has closed the connection, is not where we believe it is: its words would be
// taken for replies to what we say next.
func (s *session) quiet() bool {
	if s.in.br.Buffered() > 0 {
		return false
	}
	quiet := false
	err := s.raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN
	})
	return err == nil && quiet
}

// quit ends the session politely, without waiting long for the answer.
func (s *session) quit() {
	defer s.close()
	if s.broken {
		return
	}
	s.begin(time.Time{})
	s.phase(2 * time.Second)
	if _, err := s.ask("QUIT"); err != nil {
		s.log.note("QUIT: " + reason(err))
	}
}

// tlsFacts are for the log: version and cipher, or "none".
func (s *session) tlsFacts() string {
	if s.tls == nil {
		return "none"
	}
	version := strings.ReplaceAll(tls.VersionName(s.tls.Version), " ", "v")
	facts := version + ":" + tls.CipherSuiteName(s.tls.CipherSuite)
	if s.proof != "" {
		facts += ":" + s.proof
	}
	return facts
}

// errInjected means that plaintext came after the reply to STARTTLS: somebody
// between us and the peer put it there, CVE-2011-0411.
var errInjected = errors.New("data in the clear after the reply to STARTTLS")

// A handshakeError is a failed TLS handshake, or one that was tampered with.
type handshakeError struct {
	err   error
	final bool // another handshake would be no better: the certificate, or the host before it, is the cause
}

func (e *handshakeError) Error() string { return fmt.Sprintf("TLS handshake: %s", reason(e.err)) }
func (e *handshakeError) Unwrap() error { return e.err }
