package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	udpSize  = 1232 // no fragments on any path (DNS flag day 2020)
	maxStray = 64   // datagrams passed over while waiting for the answer
)

// ask puts the question of ch to the servers in turn until one gives an
// answer that means something.
func (c *Client) ask(ctx context.Context, ch *chase) (m *dns.Msg, secure bool, err error) {
	rc, err := c.settings()
	if err != nil {
		return nil, false, ch.temp(err.Error(), err)
	}
	first := 0
	if rc.rotate {
		first = rand.IntN(len(rc.servers))
	}
	for range rc.attempts {
		for i := range rc.servers {
			srv := rc.servers[(first+i)%len(rc.servers)]
			m, err = exchange(ctx, srv.addr, ch.owner, uint16(ch.typ), rc.timeout)
			if err == nil {
				return m, m.AuthenticatedData && (srv.local || rc.trustAD), nil
			}
			if ctx.Err() != nil {
				return nil, false, ch.temp(ctx.Err().Error(), ctx.Err())
			}
		}
	}
	return nil, false, ch.temp(err.Error(), err)
}

// exchange asks one server: UDP first, TCP if the answer does not fit, without
// EDNS if the server does not know it.
func exchange(ctx context.Context, addr, name string, typ uint16, limit time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	q := newQuery(name, typ)
	m, err := send(ctx, addr, q)
	if err == nil && m.IsEdns0() == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		q.Extra = nil
		m, err = send(ctx, addr, q)
	}
	if err != nil {
		if isTimeout(err) {
			return nil, fmt.Errorf("no answer from %s in %s", addr, limit)
		}
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return m, usable(m, addr)
}

// newQuery asks with the AD bit set: the server tells whether it validated
// the answer, without sending us the signatures (RFC 6840 §5.7).
func newQuery(name string, typ uint16) *dns.Msg {
	q := new(dns.Msg)
	q.Id = dns.Id()
	q.RecursionDesired = true
	q.AuthenticatedData = true
	q.Question = []dns.Question{{Name: name, Qtype: typ, Qclass: dns.ClassINET}}
	q.SetEdns0(udpSize, false)
	return q
}

func send(ctx context.Context, addr string, q *dns.Msg) (*dns.Msg, error) {
	m, err := roundTrip(ctx, "udp", addr, q)
	if err == nil && m.Truncated {
		m, err = roundTrip(ctx, "tcp", addr, q)
		if err == nil && m.Truncated {
			err = errors.New("truncated over TCP")
		}
	}
	return m, err
}

// usable refuses what is no answer to the question.
func usable(m *dns.Msg, addr string) error {
	switch m.Rcode {
	case dns.RcodeNameError:
		return nil
	case dns.RcodeSuccess:
		if len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable {
			return fmt.Errorf("%s does not resolve for us", addr) // a referral
		}
		return nil
	}
	code := dns.RcodeToString[m.Rcode]
	if code == "" {
		code = fmt.Sprintf("error %d", m.Rcode)
	}
	return fmt.Errorf("%s from %s", code, addr)
}

// roundTrip uses a socket, and by that a source port, of its own for each
// query: guessing id and port is what a forger must do.
func roundTrip(ctx context.Context, network, addr string, q *dns.Msg) (*dns.Msg, error) {
	wire, err := q.Pack()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return overTCP(conn, wire, q)
	}
	return overUDP(conn, wire, q)
}

func overUDP(conn net.Conn, wire []byte, q *dns.Msg) (*dns.Msg, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for range maxStray {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n < 12 || binary.BigEndian.Uint16(buf) != q.Id {
			continue
		}
		m, err := parseReply(buf[:n], q)
		if errors.Is(err, errStray) {
			continue
		}
		return m, err
	}
	return nil, errors.New("too many stray answers")
}

func overTCP(conn net.Conn, wire []byte, q *dns.Msg) (*dns.Msg, error) {
	if len(wire) > 0xffff {
		return nil, errors.New("question too long")
	}
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
	if _, err := conn.Write(framed); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	return parseReply(buf, q)
}

var errStray = errors.New("answer to another question")

// parseReply reads a message and checks that it answers q.
func parseReply(wire []byte, q *dns.Msg) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil && !m.Truncated {
		return nil, fmt.Errorf("unreadable answer: %w", err)
	}
	if m.Id != q.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, errStray
	}
	if len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return m, nil // a server that could not even read the question
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != q.Question[0].Qtype ||
		m.Question[0].Qclass != dns.ClassINET || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name) {
		return nil, errStray
	}
	return m, nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}
