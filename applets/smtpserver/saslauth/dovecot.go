package saslauth

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Dovecot lets the authentication server of Dovecot judge, over its socket for
// clients (auth-client) in version 1.2 of the protocol. The mechanisms are the
// server's own: the exchange only passes through.
type Dovecot struct {
	Socket string

	mu      sync.Mutex
	asked   time.Time
	offered []string
}

// dovecotMechanisms are those that are passed through when the server has them.
var dovecotMechanisms = []string{"SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}

const (
	maxDovecotLine  = 8192 // AUTH_CLIENT_MAX_LINE_LENGTH of Dovecot
	maxDovecotLines = 100  // of a greeting
	dovecotAsk      = time.Minute
	dovecotRetry    = 5 * time.Second
)

// A Peer is what the server is told about the client.
type Peer struct {
	Client  netip.Addr
	Secured bool // by TLS
}

// dovecotConn is a connection that has been greeted.
type dovecotConn struct {
	net.Conn
	lines      *bufio.Scanner
	mechanisms []string
}

func (d *Dovecot) dial(ctx context.Context) (*dovecotConn, error) {
	raw, err := dialUnix(ctx, d.Socket)
	if err != nil {
		return nil, err
	}
	c := &dovecotConn{Conn: raw, lines: bufio.NewScanner(raw)}
	c.lines.Buffer(make([]byte, 0, 512), maxDovecotLine)
	if err := c.greet(); err != nil {
		c.Close()
		return nil, fmt.Errorf("dovecot: %s: %w", d.Socket, err)
	}
	return c, nil
}

// greet says who we are and hears what the server can. The server wants a process
// id of each connection that no other one has at the time.
func (c *dovecotConn) greet() error {
	var id [4]byte
	rand.Read(id[:]) // never fails
	if _, err := fmt.Fprintf(c, "VERSION\t1\t2\nCPID\t%d\n", binary.BigEndian.Uint32(id[:])>>1|1); err != nil {
		return err
	}
	for range maxDovecotLines {
		f, err := c.line()
		if err != nil {
			return err
		}
		switch f[0] {
		case "VERSION":
			if len(f) < 2 || f[1] != "1" {
				return fmt.Errorf("protocol version %q", f[1:])
			}
		case "MECH":
			if len(f) > 1 {
				c.mechanisms = append(c.mechanisms, strings.ToUpper(f[1]))
			}
		case "DONE":
			return nil
		}
	}
	return errors.New("greeting without an end")
}

func (c *dovecotConn) line() ([]string, error) {
	if !c.lines.Scan() {
		return nil, errors.Join(c.lines.Err(), errors.New("connection closed"))
	}
	return strings.Split(c.lines.Text(), "\t"), nil
}

// Mechanisms are those of the server that can be offered, as of the last minute,
// or the last ones while it cannot be asked.
func (d *Dovecot) Mechanisms(ctx context.Context) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.asked) < dovecotAsk {
		return d.offered, nil
	}
	c, err := d.dial(ctx)
	if err != nil {
		d.asked = time.Now().Add(dovecotRetry - dovecotAsk)
		return d.offered, err
	}
	c.Close()
	d.offered, d.asked = nil, time.Now()
	for _, m := range dovecotMechanisms {
		if slices.Contains(c.mechanisms, m) {
			d.offered = append(d.offered, m)
		}
	}
	return d.offered, nil
}

// dovecotExchange is one exchange that passes through.
type dovecotExchange struct {
	server *Dovecot
	name   string
	peer   Peer
	allow  func(user string) error
	conn   *dovecotConn
	user   string // whom the client names in its first response, where that can be seen
}

// New begins an exchange of a mechanism. allow is asked before the outcome counts;
// its error is the outcome instead.
func (d *Dovecot) New(name string, peer Peer, allow func(user string) error) Mechanism {
	return &dovecotExchange{server: d, name: name, peer: peer, allow: allow}
}

func (x *dovecotExchange) Next(ctx context.Context, response []byte) ([]byte, *Outcome) {
	challenge, end, err := x.next(ctx, response)
	if err != nil {
		end = &Outcome{Err: fmt.Errorf("dovecot: %w", err)}
	}
	if end != nil {
		if end.User == "" {
			end.User = x.user
		}
		x.Close()
	}
	return challenge, end
}

// Close gives the exchange up.
func (x *dovecotExchange) Close() {
	if x.conn != nil {
		x.conn.Close()
		x.conn = nil
	}
}

func (x *dovecotExchange) next(ctx context.Context, response []byte) ([]byte, *Outcome, error) {
	text := base64.StdEncoding.EncodeToString(response)
	var line string
	switch {
	case x.conn != nil:
		line = "CONT\t1\t" + text + "\n"
	default:
		c, err := x.server.dial(ctx)
		if err != nil {
			return nil, nil, err
		}
		x.conn = c
		line = "AUTH\t1\t" + x.name + "\tservice=smtp"
		if x.peer.Client.IsValid() {
			line += "\trip=" + x.peer.Client.String()
		}
		if x.peer.Secured {
			line += "\tsecured"
		}
		if response != nil {
			line += "\tresp=" + text // it must be the last
		}
		line += "\n"
	}
	x.note(response)
	if x.user != "" && x.allow != nil {
		if err := x.allow(x.user); err != nil {
			return nil, &Outcome{User: x.user, Err: err}, nil
		}
	}
	if len(line) > maxDovecotLine {
		return nil, &Outcome{Err: ErrSyntax}, nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := x.conn.SetDeadline(deadline); err != nil {
			return nil, nil, err
		}
	}
	if _, err := x.conn.Write([]byte(line)); err != nil {
		return nil, nil, err
	}
	return x.answer()
}

// note sees whom a first response names.
func (x *dovecotExchange) note(response []byte) {
	switch {
	case x.user != "" || response == nil:
	case x.name == "LOGIN":
		x.user = string(response)
	case x.name == "PLAIN":
		if f := strings.Split(string(response), "\x00"); len(f) == 3 {
			x.user = f[1]
		}
	case strings.HasPrefix(x.name, "SCRAM-"):
		if f := strings.Split(string(response), ","); len(f) > 2 {
			name, _ := strings.CutPrefix(f[2], "n=")
			x.user, _ = saslName(name)
		}
	}
}

func (x *dovecotExchange) answer() ([]byte, *Outcome, error) {
	for range maxDovecotLines {
		f, err := x.conn.line()
		if err != nil {
			return nil, nil, err
		}
		if len(f) < 2 || f[1] != "1" {
			continue // a new greeting line, or what is not for us
		}
		switch f[0] {
		case "CONT":
			if len(f) < 3 {
				return []byte{}, nil, nil
			}
			b, err := base64.StdEncoding.DecodeString(f[2])
			return b, nil, err
		case "OK":
			user := dovecotParam(f[2:], "user")
			if user == "" {
				return nil, nil, errors.New("success without a user")
			}
			return nil, &Outcome{User: user}, nil
		case "FAIL":
			end := &Outcome{User: dovecotParam(f[2:], "user"), Err: ErrDenied}
			if slices.Contains(f[2:], "temp") || dovecotParam(f[2:], "code") == "temp_fail" {
				end.Err = errors.New("dovecot: temporary failure")
			}
			return nil, end, nil
		}
	}
	return nil, nil, errors.New("no answer")
}

// dovecotParam is the value of a parameter. Tabs and the like are escaped by ^A.
func dovecotParam(params []string, name string) string {
	for _, p := range params {
		if v, ok := strings.CutPrefix(p, name+"="); ok {
			return strings.NewReplacer("\x011", "\x01", "\x010", "\x00", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n").Replace(v)
		}
	}
	return ""
}
