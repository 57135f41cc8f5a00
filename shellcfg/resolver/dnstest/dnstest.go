// Package dnstest runs a name server on loopback for the time of a test.
//
// It speaks UDP and TCP on one port and answers from lines as
// resolver.NewFake takes them; besides the faults named there it knows
// TRUNCATE (over UDP), GARBAGE, NOEDNS, FORMERR and REFERRAL. DROP and
// TIMEOUT stay silent, so give the client a short time limit.
package dnstest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/resolver/internal/zone"
)

// Server is a running name server.
type Server struct {
	tb   testing.TB
	addr string

	mu      sync.Mutex
	zone    *zone.Zone
	queries map[string]int
	hold    chan struct{} // not nil: answers wait until it is closed
}

// Start runs a server with these records until the test ends.
func Start(tb testing.TB, lines ...string) *Server {
	tb.Helper()
	s := &Server{tb: tb, queries: map[string]int{}}
	s.Set(lines...)
	tcp, udp := listen(tb)
	s.addr = udp.LocalAddr().String()
	for _, srv := range []*dns.Server{{Listener: tcp}, {PacketConn: udp}} {
		srv.Handler = dns.HandlerFunc(s.serve)
		up, down := make(chan struct{}), make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		go func() {
			defer close(down)
			if err := srv.ActivateAndServe(); err != nil {
				tb.Errorf("dnstest: %v", err)
			}
		}()
		<-up
		tb.Cleanup(func() {
			s.Release()
			if err := srv.Shutdown(); err != nil {
				tb.Errorf("dnstest: %v", err)
			}
			<-down
		})
	}
	return s
}

// listen finds a port that is free for both protocols.
func listen(tb testing.TB) (net.Listener, net.PacketConn) {
	tb.Helper()
	var last error
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatalf("dnstest: %v", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp
		}
		last = err
		tcp.Close()
	}
	tb.Fatalf("dnstest: no port for both UDP and TCP: %v", last)
	return nil, nil
}

// Addr is the address of the server, for "nameserver" in a resolv.conf.
func (s *Server) Addr() string { return s.addr }

// ResolvConf writes a resolv.conf that names the server and returns its path.
func (s *Server) ResolvConf() string {
	s.tb.Helper()
	path := filepath.Join(s.tb.TempDir(), "resolv.conf")
	text := fmt.Sprintf("nameserver %s\noptions timeout:2 attempts:1\n", s.addr)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.tb.Fatalf("dnstest: %v", err)
	}
	return path
}

// Client returns a client of the server that neither reads the hosts file nor
// remembers failures, and waits half a second for an answer.
func (s *Server) Client() *resolver.Client {
	s.tb.Helper()
	c, err := resolver.New(resolver.Config{
		Servers: []string{s.addr}, Hosts: "-", Timeout: time.Second / 2, Attempts: 1, FailTTL: -1,
	})
	if err != nil {
		s.tb.Fatalf("dnstest: %v", err)
	}
	return c
}

// Set replaces all records.
func (s *Server) Set(lines ...string) {
	s.tb.Helper()
	z, err := zone.Parse(lines...)
	if err != nil {
		s.tb.Fatalf("dnstest: %v", err)
	}
	s.mu.Lock()
	s.zone = z
	s.mu.Unlock()
}

// Hold makes queries wait until Release.
func (s *Server) Hold() {
	s.mu.Lock()
	s.hold = make(chan struct{})
	s.mu.Unlock()
}

// Release answers what Hold kept waiting.
func (s *Server) Release() {
	s.mu.Lock()
	if s.hold != nil {
		close(s.hold)
		s.hold = nil
	}
	s.mu.Unlock()
}

// Queries counts the queries for a name and a type such as "MX".
func (s *Server) Queries(name, typ string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[strings.ToLower(dns.Fqdn(name))+" "+typ]
}

func (s *Server) serve(w dns.ResponseWriter, q *dns.Msg) {
	question := q.Question[0]
	s.mu.Lock()
	s.queries[strings.ToLower(question.Name)+" "+dns.Type(question.Qtype).String()]++
	z, hold := s.zone, s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if z.Has(zone.Garbage, question.Name, question.Qtype) {
		w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x84, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0xc0, 0x0c, 0, 0, 1})
		return
	}
	m := z.Reply(q)
	if m == nil {
		return
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
		if z.Has(zone.Truncate, question.Name, question.Qtype) {
			m.Answer, m.Truncated = nil, true
		}
	}
	w.WriteMsg(m) // the client may be gone, as on a real network
}
