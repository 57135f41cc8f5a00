package smtpserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/d--j/go-milter"

	"zmailer/shellcfg/shell"
)

// A milterSpec is one milter line: a filter that hears of every step of a session
// and has a say in it.
type milterSpec struct {
	name          string // as it was written
	network, addr string
	accept        bool   // when it cannot be asked, mail goes on without it
	roles         []role // of the listeners it is for
	addrs         []string
	command       time.Duration // for a connection and for an answer
	content       time.Duration // for the whole message
}

// Defaults of the times, as Postfix has them.
const (
	milterCommand = 30 * time.Second
	milterContent = 5 * time.Minute
	maxMilters    = 10
)

// milterDecl is milter SOCKET [fail=defer|accept] [for=mx,submission,lmtp,ADDRESS]
// [timeout=TIME] [content=TIME].
func (c *config) milterDecl(call *shell.Call) error {
	if len(call.Args) == 0 {
		return errors.New("want the socket of a milter, such as inet:127.0.0.1:8891 or unix:/run/x.sock")
	}
	m := milterSpec{name: call.Args[0], command: milterCommand, content: milterContent}
	var err error
	if m.network, m.addr, err = milterSocket(call.Args[0]); err != nil {
		return err
	}
	for _, arg := range call.Args[1:] {
		if err := m.option(arg); err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
	}
	if len(c.milters) == maxMilters {
		return fmt.Errorf("more than %d milters", maxMilters)
	}
	c.milters = append(c.milters, &m)
	return nil
}

func (m *milterSpec) option(arg string) (err error) {
	key, value, _ := strings.Cut(arg, "=")
	switch key {
	case "fail":
		if value != "defer" && value != "accept" {
			return errors.New("want defer or accept")
		}
		m.accept = value == "accept"
	case "timeout", "content":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 || d > 9*time.Minute {
			return errors.New("want a time, such as 30s; clients wait ten minutes")
		}
		if key == "timeout" {
			m.command = d
		} else {
			m.content = d
		}
	case "for":
		for _, word := range strings.Split(value, ",") {
			switch r := role(word); r {
			case roleMX, roleSubmission, roleLMTP:
				m.roles = append(m.roles, r)
			default:
				spec, err := parseListen([]string{word})
				if err != nil {
					return err
				}
				m.addrs = append(m.addrs, spec.addr)
			}
		}
	default:
		return errors.New("want fail, for, timeout or content")
	}
	return nil
}

// milterSocket reads the address of a milter as Postfix and Sendmail write it.
func milterSocket(s string) (network, addr string, err error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch {
	case filepath.IsAbs(s):
		return "unix", s, nil
	case (kind == "unix" || kind == "local") && filepath.IsAbs(rest):
		return "unix", rest, nil
	case kind == "inet" || kind == "inet6":
		if port, host, old := strings.Cut(rest, "@"); old { // Sendmail's order
			rest = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		host, port, err := net.SplitHostPort(rest)
		if err != nil || host == "" || port == "" {
			return "", "", fmt.Errorf("%s: want inet:HOST:PORT", s)
		}
		return "tcp", rest, nil
	}
	return "", "", fmt.Errorf("%s: want inet:HOST:PORT or unix:/PATH", s)
}

// wants tells whether the milter is for sessions of a listener.
func (m *milterSpec) wants(l listenSpec) bool {
	return len(m.roles)+len(m.addrs) == 0 || slices.Contains(m.roles, l.role) || slices.Contains(m.addrs, l.addr)
}

// checkMilters finds milters that no listener can have.
func (c *config) checkMilters() error {
	for _, m := range c.milters {
		if len(c.listens) > 0 && !slices.ContainsFunc(c.listens, m.wants) {
			return fmt.Errorf("milter %s: no listener is what it is for", m.name)
		}
	}
	return nil
}

// quietMilters keeps the library from writing to standard error: what a milter
// does wrong ends in an error of ours.
var quietMilters = sync.OnceFunc(func() { milter.LogWarning = func(string, ...any) {} })

// A milterLink is one milter in a session. It may come and go: after a failure the
// next message tries again.
type milterLink struct {
	spec   *milterSpec
	conn   *milterConn
	sess   *milter.ClientSession // nil: not connected
	passed bool                  // it wants no more of the session
	done   bool                  // it wants no more of the message
	inMail bool                  // it has been told of the message
}

// open connects and tells of the client and what it calls itself.
func (s *session) openMilter(l *milterLink) (*milter.Action, error) {
	quietMilters()
	l.conn = &milterConn{spec: l.spec, ctx: s.srv.cut}
	l.conn.expect(l.spec.command, maxMilterAnswer)
	options := append(milterMacroRequests(), milter.WithDialer(l.conn), milter.WithReadTimeout(l.spec.content), milter.WithWriteTimeout(l.spec.content))
	sess, err := milter.NewClient(l.spec.network, l.spec.addr, options...).Session(milterMacros{s})
	if err != nil {
		l.conn.Close()
		return nil, err
	}
	l.sess = sess
	host, family, addr := s.clientName(), milter.FamilyInet, s.clientText
	if host == "unknown" && s.client.IsValid() {
		host = "[" + addr + "]"
	}
	switch {
	case !s.client.IsValid():
		host, family, addr = "localhost", milter.FamilyUnknown, ""
	case s.client.Is6():
		family = milter.FamilyInet6
	}
	act, err := l.sess.Conn(host, family, s.clientPort(), addr)
	if err == nil && act.Type == milter.ActionContinue && s.helo != "" {
		act, err = l.sess.Helo(s.helo)
	}
	if err == nil {
		err = l.conn.flush()
	}
	return act, err
}

// clientPort is the port of the client, or 0 if somebody else speaks for it.
func (s *session) clientPort() uint16 {
	c, ok := s.conn.(net.Conn)
	if !ok || s.peer != s.client {
		return 0
	}
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return 0
	}
	return a.Port()
}

// close ends the connection to a milter.
func (l *milterLink) close() {
	if l.sess != nil {
		l.conn.expect(time.Second, 0)
		l.sess.Close() // the last word to it need not arrive
		l.conn.Close()
	}
	l.sess, l.conn, l.inMail = nil, nil, false
}

func (s *session) closeMilters() {
	for i := range s.milters {
		s.milters[i].close()
	}
	s.milters = nil
}
