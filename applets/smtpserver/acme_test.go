package smtpserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	mdns "github.com/miekg/dns"

	"zmailer/testdata/peers"
)

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// everyName is a DNS in which each name is this host.
func everyName(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg).SetReply(q)
		if q.Question[0].Qtype == mdns.TypeA {
			m.Answer = []mdns.RR{&mdns.A{Hdr: mdns.RR_Header{Name: q.Question[0].Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1)}}
		}
		w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.ActivateAndServe() }()
	t.Cleanup(func() { srv.Shutdown(); <-done })
	return pc.LocalAddr().String()
}

// pebble starts the ACME server for tests of Let's Encrypt. It asks at these ports.
func pebble(t *testing.T, httpPort, tlsPort string) (directory, ca string) {
	t.Helper()
	program := strings.Fields(peers.Program(t, "pebble", "usr/bin/pebble"))
	dir := t.TempDir()
	cert, key := certificate(t, "localhost")
	addr, manage := freeAddr(t), freeAddr(t)
	conf := filepath.Join(dir, "conf")
	text := fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q, "httpPort": %s, "tlsPort": %s,
		"ocspResponderURL": "", "externalAccountBindingRequired": false}}`, addr, manage, cert, key, httpPort, tlsPort)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program[0], append(program[1:], "-config", conf, "-dnsserver", everyName(t))...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	var out logBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // killed: an error is what is wanted
		if t.Failed() {
			s := out.String()
			t.Logf("pebble: %s", s[max(0, len(s)-4000):])
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return "https://localhost:" + portOf(addr) + "/dir", cert
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestACME gets certificates from an authority by both challenges, and has them
// after a restart without asking.
func TestACME(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts an authority")
	}
	httpAddr, tlsAddr := freeAddr(t), freeAddr(t)
	directory, ca := pebble(t, portOf(httpAddr), portOf(tlsAddr))
	for _, tt := range []struct{ name, challenge string }{{"http.example.org", "http=" + httpAddr}, {"alpn.example.org", "tls=" + tlsAddr}} {
		t.Run(tt.challenge[:4], func(t *testing.T) {
			line := "acme " + tt.name + " " + tt.challenge + " directory=" + directory + " ca=" + ca + "\n"
			ts := start(t, line)
			if ext := offers(t, ts); ext {
				t.Error("STARTTLS is offered before there is a certificate")
			}
			for round := range 2 {
				log := slog.New(slog.DiscardHandler)
				cfg, err := runConfig(context.Background(), ts.cfg.Load().conf, log, "test.conf", strings.NewReader(line))
				if err != nil {
					t.Fatal(err)
				}
				if round == 1 { // the authority is not there any more
					cfg.acme.directory = "https://127.0.0.1:1/dir"
				}
				a, err := newACME(cfg.acme, ts.spool, log)
				if err != nil {
					t.Fatal(err)
				}
				cfg.useACME(a)
				ts.cfg.Store(cfg)
				a.run(context.Background())
				for end := time.Now().Add(60 * time.Second); !cfg.certs.ready(); time.Sleep(20 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("no certificate")
					}
				}
				if !offers(t, ts) {
					t.Error("STARTTLS is not offered")
				}
				c, err := smtp.DialStartTLS(ts.addr, &tls.Config{InsecureSkipVerify: true, ServerName: tt.name})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Hello("c"); err != nil { // with it, the handshake
					t.Fatal(err)
				}
				st, _ := c.TLSConnectionState()
				if got := st.PeerCertificates[0]; got.VerifyHostname(tt.name) != nil || !strings.Contains(got.Issuer.CommonName, "Pebble") {
					t.Errorf("round %d: %v of %v", round, got.DNSNames, got.Issuer)
				}
				c.Close()
				if strings.HasPrefix(tt.challenge, "http=") {
					r, err := http.Get("http://" + httpAddr + "/other")
					if err != nil {
						t.Fatal(err)
					}
					r.Body.Close()
					if r.StatusCode != http.StatusNotFound {
						t.Errorf("other page: %s", r.Status)
					}
				} else if c, err := tls.Dial("tcp", tlsAddr, &tls.Config{InsecureSkipVerify: true, ServerName: tt.name}); err == nil {
					c.Close()
					t.Error("the port for challenges takes others")
				}
				if err := a.close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// offers tells whether STARTTLS is offered.
func offers(t *testing.T, ts *testServer) bool {
	t.Helper()
	c, err := smtp.Dial(ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("c"); err != nil {
		t.Fatal(err)
	}
	ok, _ := c.Extension("STARTTLS")
	return ok
}

func TestACMELine(t *testing.T) {
	for line, want := range map[string]string{
		"acme": "names of the server", "acme mx": "full name of a host", "acme a.b x=y": "want http=", "acme a.b http=80": "missing port",
		"acme a..b": "full name", "acme a.b http=": "want http=", "acme a.b\nacme c.d": "given twice",
	} {
		if _, err := load(t, line+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	c, err := load(t, "acme MX.example.org www.example.org tls=:443 email=joe@example.org\nlisten :465 tls\n")
	if err != nil || c.acme.names[0] != "mx.example.org" || c.acme.http != "" || c.tls == nil {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestFewAtOnce opens more connections than there is room for.
func TestFewAtOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	few := &fewAtOnce{Listener: ln, room: make(chan struct{}, 2)}
	got := make(chan net.Conn, 10)
	go func() {
		defer close(got)
		for {
			c, err := few.Accept()
			if err != nil {
				return
			}
			got <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	first := <-got
	dial()
	<-got
	third := dial()
	if _, err := io.ReadAll(third); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the third: %v", err)
	}
	first.Close()
	first.Close() // counts once
	dial()
	<-got
	ln.Close()
	if _, more := <-got; more {
		t.Error("a third one at once")
	}
}
