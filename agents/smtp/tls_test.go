package smtp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
)

// newCert makes a self-signed certificate for a name.
func newCert(t *testing.T, name string, until time.Time) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.DNSNames, tmpl.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	for _, tt := range []struct {
		mode, name string // of the certificate; "" is none
		until      time.Time
		answer     string // to STARTTLS
		offer      bool   // STARTTLS without a certificate: the handshake breaks
		want       string
		tls        bool
	}{
		{mode: "may", name: "mx.test", until: tomorrow, want: "ok 2.0.0", tls: true},
		{mode: "may", name: "other.test", until: yesterday, want: "ok 2.0.0", tls: true},
		{mode: "may", want: "ok 2.0.0"},
		{mode: "may", offer: true, want: "ok 2.0.0"},
		{mode: "may", name: "mx.test", until: tomorrow, answer: "454 4.7.0 not now", want: "ok 2.0.0"},
		{mode: "may", name: "mx.test", until: tomorrow, answer: "!close", want: "ok 2.0.0"},  // over a new connection
		{mode: "may", name: "mx.test", until: tomorrow, answer: "!inject", want: "ok 2.0.0"}, // over a new connection
		{mode: "off", name: "mx.test", until: tomorrow, want: "ok 2.0.0"},
		{mode: "must", name: "other.test", until: yesterday, want: "ok 2.0.0", tls: true},
		{mode: "must", want: "retryat 4.7.4"},
		{mode: "must", offer: true, want: "retryat 4.7.5"},
		{mode: "must", name: "mx.test", until: tomorrow, answer: "554 5.7.0 no", want: "retryat 4.7.0"},
		{mode: "must", name: "mx.test", until: tomorrow, answer: "!inject", want: "retryat 4.7.5"},
		{mode: "verify", name: "mx.test", until: tomorrow, want: "ok 2.0.0", tls: true},
		{mode: "verify", name: "other.test", until: tomorrow, want: "retryat 4.7.5"},
		{mode: "verify", name: "mx.test", until: yesterday, want: "retryat 4.7.5"},
		{mode: "off,mx.t*=verify", name: "mx.test", until: tomorrow, want: "ok 2.0.0", tls: true},
	} {
		t.Run(tt.mode+"/"+tt.name+"/"+tt.answer, func(t *testing.T) {
			s := newSink(t, "PIPELINING")
			var roots *x509.CertPool
			if tt.name != "" {
				s.cert, roots = newCert(t, tt.name, tt.until)
			}
			if tt.offer {
				s.ext = append(s.ext, "STARTTLS")
			}
			s.script = func(c *sinkConn, at, _ string) string {
				if at == "STARTTLS" {
					return tt.answer
				}
				return ""
			}
			fake, err := resolver.NewFake("mx.test A 127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			d := start(t, func(o *options) {
				quick(o)
				o.resolver, o.port = fake, s.port()
				if err := o.tls.set(tt.mode); err != nil {
					t.Fatal(err)
				}
			})
			d.c.roots = roots
			for range 2 {
				res := d.deliver(simple("a@x.test"), "[mx.test]")
				if got := outcome(res); got != tt.want {
					t.Fatalf("got %+v", res)
				}
			}
			for _, m := range s.received() {
				if m.tls != tt.tls {
					t.Errorf("encrypted: %v", m.tls)
				}
			}
		})
	}
}

// TLS from the first octet, RFC 8314, is no matter of STARTTLS or of wishes: a host
// that does not speak it gets no mail.
func TestWrapped(t *testing.T) {
	cert, roots := newCert(t, "mx.test", time.Now().Add(time.Hour))
	fake, err := resolver.NewFake("mx.test A 127.0.0.1", "other.test A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ mode, host, want string }{
		{"may", "mx.test", "ok 2.0.0"},
		{"off", "mx.test", "ok 2.0.0"},
		{"verify", "mx.test", "ok 2.0.0"},
		{"verify", "other.test", "retryat 4.7.5"},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := serveSink(t, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*cert}}), []string{"PIPELINING"})
		d := start(t, func(o *options) {
			quick(o)
			o.resolver = fake
			if err := o.tls.set(tt.mode); err != nil {
				t.Fatal(err)
			}
		})
		d.c.roots = roots
		host := fmt.Sprintf("smtps://[%s]:%d", tt.host, s.port())
		for range 2 {
			if res := d.deliver(simple("a@x.test"), host); outcome(res) != tt.want {
				t.Errorf("%s %s: %+v", tt.mode, tt.host, res)
			}
		}
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("220 mx.test ESMTP\r\n"))
			c.Close()
		}
	}()
	d := start(t, quick)
	if res := d.deliver(simple("a@x.test"), "smtps://"+plain.Addr().String()); outcome(res) != "retryat 4.7.5" {
		t.Errorf("plain: %+v", res)
	}
}

// A host that fails at the handshake of today gets one of yesterday, not the mail
// in the clear.
func TestOldHandshake(t *testing.T) {
	cert, _ := newCert(t, "mx.test", time.Now().Add(time.Hour))
	for _, mode := range []tlsMode{tlsMay, tlsMust} {
		s := newSink(t, "PIPELINING")
		s.cert, s.old = cert, true
		d := start(t, func(o *options) {
			quick(o)
			o.tls.mode, o.reuseMax = mode, 1
		})
		for range 2 {
			if res := d.deliver(simple("a@x.test"), s.host()); outcome(res) != "ok 2.0.0" {
				t.Fatalf("%v: %+v", mode, res)
			}
		}
		if m := s.received(); len(m) != 2 || !m[0].tls || !m[1].tls || s.connections() != 3 {
			t.Errorf("%v: %+v over %d connections", mode, m, s.connections())
		}
	}
}

func TestAuth(t *testing.T) {
	cert, _ := newCert(t, "mx.test", time.Now().Add(time.Hour))
	for _, tt := range []struct {
		mechanisms, creds, answer string
		plain                     string // -S
		want, auth                string
	}{
		{"PLAIN LOGIN", "* joe the secret", "", "may", "ok 2.0.0", "PLAIN AGpvZQB0aGUgc2VjcmV0"},
		{"LOGIN", "127.0.0.1 joe secret", "", "may", "ok 2.0.0", "LOGIN  am9l c2VjcmV0"},
		{"CRAM-MD5", "* tim tanstaaftanstaaf", "", "may", "ok 2.0.0", "CRAM-MD5  dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"}, // RFC 2195 §2
		{"GSSAPI", "* joe secret", "", "may", "retryat 4.7.0", ""},
		{"", "* joe secret", "", "may", "retryat 4.7.0", ""},
		{"PLAIN", "other joe secret", "", "may", "ok 2.0.0", ""},
		{"PLAIN", "* joe secret", "535 5.7.8 wrong", "may", "retryat 4.7.8", "PLAIN AGpvZQBzZWNyZXQ="},
		{"PLAIN", "* joe", "", "may", "retryat 4.7.0", ""},
	} {
		s := newSink(t, "PIPELINING")
		if tt.mechanisms != "" {
			s.ext = append(s.ext, "AUTH "+tt.mechanisms)
		}
		s.cert = cert
		s.script = func(c *sinkConn, at, _ string) string {
			if at == "AUTH" {
				return tt.answer
			}
			return ""
		}
		file := filepath.Join(t.TempDir(), "creds")
		if err := os.WriteFile(file, []byte("# comment\n\n"+tt.creds+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d := start(t, func(o *options) {
			quick(o)
			o.credFile = file
			if err := o.tls.set(tt.plain); err != nil {
				t.Fatal(err)
			}
		})
		res := d.deliver(simple("a@x.test"), s.host())
		auth := ""
		if s.connections() > 0 {
			s.mu.Lock()
			auth = s.conns[0].auth
			s.mu.Unlock()
		}
		if got := outcome(res); got != tt.want || auth != tt.auth {
			t.Errorf("%s %s: got %s, %q: %+v", tt.mechanisms, tt.creds, got, auth, res)
		}
		if err := os.Chmod(file, 0o640); err != nil {
			t.Fatal(err)
		}
		if res := d.deliver(simple("a@x.test"), s.host()); outcome(res) != "retryat 4.7.0" {
			t.Errorf("a file that others can read is used: %+v", res)
		}
	}
}

// A password does not leave the host in the clear.
func TestNoPlainPassword(t *testing.T) {
	c := newClient(defaultOptions())
	s := &session{c: c, ext: extensions{auth: []string{"PLAIN", "LOGIN"}}, target: target{network: "tcp", address: "192.0.2.1:25"}}
	if m := s.mechanism(&credentials{}); m != "" {
		t.Errorf("in the clear by %s", m)
	}
	s.ext.auth = append(s.ext.auth, "CRAM-MD5")
	if m := s.mechanism(&credentials{}); m != "CRAM-MD5" {
		t.Errorf("got %q", m)
	}
}
