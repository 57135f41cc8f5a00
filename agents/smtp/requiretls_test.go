package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
)

// A message with REQUIRETLS goes only to a host that is known to be the domain's,
// proves it, and promises the same: RFC 8689 §4.2.1.
func TestRequireTLS(t *testing.T) {
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	good, roots := newCert(t, "mx.test", tomorrow)
	other, _ := newCert(t, "other.test", tomorrow)
	old, oldRoots := newCert(t, "mx.test", yesterday)
	for _, tt := range []struct {
		name, dest, mode string
		secure           bool // MX and address by DNSSEC
		cert             *tls.Certificate
		roots            *x509.CertPool
		ext, starttls    string // keyword; reply to STARTTLS
		lmtp             bool
		want             string
	}{
		{name: "all is well", dest: "d.test", secure: true, cert: good, roots: roots, ext: "REQUIRETLS", want: "ok 2.0.0"},
		{name: "though the policy says off", dest: "d.test", mode: "off", secure: true, cert: good, roots: roots, ext: "REQUIRETLS", want: "ok 2.0.0"},
		{name: "a host that the administrator chose", dest: "[mx.test]", cert: good, roots: roots, ext: "REQUIRETLS", want: "ok 2.0.0"},
		{name: "exchanger without DNSSEC", dest: "d.test", cert: good, roots: roots, ext: "REQUIRETLS", want: "error 5.7.30"},
		{name: "no promise", dest: "d.test", secure: true, cert: good, roots: roots, want: "error 5.7.30"},
		{name: "no STARTTLS", dest: "d.test", secure: true, ext: "REQUIRETLS", want: "error 5.7.10"},
		{name: "STARTTLS refused", dest: "d.test", secure: true, cert: good, roots: roots, ext: "REQUIRETLS", starttls: "502 5.5.1 no", want: "error 5.7.10"},
		{name: "STARTTLS not now", dest: "d.test", secure: true, cert: good, roots: roots, ext: "REQUIRETLS", starttls: "454 4.7.0 later", want: "retryat 4.7.0"},
		{name: "broken handshake", dest: "d.test", secure: true, cert: nil, ext: "STARTTLS", want: "retryat 4.7.5"},
		{name: "injected", dest: "d.test", secure: true, cert: good, roots: roots, ext: "REQUIRETLS", starttls: "!inject", want: "retryat 4.7.5"},
		{name: "another name", dest: "d.test", secure: true, cert: other, roots: roots, ext: "REQUIRETLS", want: "error 5.7.10"},
		{name: "expired", dest: "d.test", secure: true, cert: old, roots: oldRoots, ext: "REQUIRETLS", want: "error 5.7.10"},
		{name: "unknown issuer", dest: "d.test", secure: true, cert: good, ext: "REQUIRETLS", want: "error 5.7.10"},
		{name: "LMTP is the end of the way", dest: "[mx.test]", lmtp: true, want: "ok 2.0.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink(t, "PIPELINING", tt.ext)
			s.cert, s.lmtp = tt.cert, tt.lmtp
			s.script = func(_ *sinkConn, at, _ string) string {
				if at == "STARTTLS" {
					return tt.starttls
				}
				return ""
			}
			zone := []string{"d.test MX 10 mx.test", "mx.test A 127.0.0.1"}
			if tt.secure {
				zone = append(zone, "d.test SECURE", "mx.test SECURE")
			}
			fake, err := resolver.NewFake(zone...)
			if err != nil {
				t.Fatal(err)
			}
			d := start(t, func(o *options) {
				quick(o)
				o.resolver, o.port, o.lmtp = fake, s.port(), tt.lmtp
				if tt.mode != "" {
					if err := o.tls.set(tt.mode); err != nil {
						t.Fatal(err)
					}
				}
			})
			if d.c.roots = tt.roots; tt.roots == nil {
				d.c.roots = x509.NewCertPool()
			}
			l := simple("a@d.test")
			l.attr.RequireTLS = true
			res := d.deliver(l, tt.dest)
			if got := outcome(res); got != tt.want {
				t.Fatalf("got %+v, want %s", res, tt.want)
			}
			m := s.received()
			if (len(m) == 1) != (res[0].Status == "2.0.0") {
				t.Fatalf("%d messages", len(m))
			}
			if len(m) == 1 && !tt.lmtp && (!m[0].tls || !strings.HasSuffix(m[0].from, " REQUIRETLS")) {
				t.Errorf("received %+v", m[0])
			}
		})
	}
}

// A second exchanger takes what the first one cannot protect.
func TestRequireTLSNextHost(t *testing.T) {
	cert, roots := newCert(t, "127.0.0.1", time.Now().Add(time.Hour))
	first, second := newSink(t), newSink(t, "REQUIRETLS")
	second.cert = cert
	d := start(t, quick)
	d.c.roots = roots
	l := simple("a@d.test")
	l.attr.RequireTLS = true
	if res := d.deliver(l, first.host()+","+second.host()); outcome(res) != "ok 2.0.0" || len(first.received()) != 0 {
		t.Errorf("%+v", res)
	}
}

// "TLS-Required: No" lets a message pass where what the domain publishes would stop
// it, and does nothing to the rules of this host.
func TestTLSRequiredNo(t *testing.T) {
	wrong, _ := newCert(t, "wrong.test", time.Now().Add(time.Hour))
	x, err := x509.ParseCertificate(wrong.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ header, mode, want string }{
		{"", "dane", "retryat 4.7.5"},
		{"TLS-Required: No\n", "dane", "ok 2.0.0"},
		{"Subject: x\ntls-required:\n no\n", "auto", "ok 2.0.0"},
		{"TLS-Required: Yes\n", "dane", "retryat 4.7.5"},
		{"Subject: TLS-Required: No\n", "dane", "retryat 4.7.5"},
		{"TLS-Required: No\n", "verify", "retryat 4.7.5"},
	} {
		s := newSink(t)
		s.cert, _ = newCert(t, "mx.test", time.Now().Add(time.Hour))
		owner := strings.Replace("_PORT._tcp.mx.test", "PORT", s.host()[len("[127.0.0.1]:"):], 1)
		fake, err := resolver.NewFake("mx.test A 127.0.0.1", "mx.test SECURE", owner+" SECURE", owner+" TLSA "+tlsaOf(3, 1, 1, x))
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
		if res := d.deliver(letterOf(tt.header+"From: a@us.test\n\n", "x\n", "a@x.test"), "[mx.test]"); outcome(res) != tt.want {
			t.Errorf("%q, %s: got %+v", tt.header, tt.mode, res)
		}
	}
}

// A report about a message with REQUIRETLS asks for the same where it can, and goes
// without where it cannot.
func TestRequireTLSReport(t *testing.T) {
	cert, _ := newCert(t, "127.0.0.1", time.Now().Add(time.Hour))
	for _, knows := range []bool{true, false} {
		var ext []string
		if knows {
			ext = []string{"REQUIRETLS"}
		}
		s := newSink(t, ext...)
		if knows {
			s.cert = cert
		}
		d := start(t, quick)
		l := simple("a@d.test")
		l.groups[0].Sender.User, l.attr.RequireTLS = "", true
		res := d.deliver(l, s.host())
		if outcome(res) != "ok 2.0.0" || len(s.received()) != 1 {
			t.Fatalf("knows %v: %+v", knows, res)
		}
		if m := s.received()[0]; strings.HasSuffix(m.from, " REQUIRETLS") != knows || m.tls != knows {
			t.Errorf("knows %v: MAIL %s, TLS %v", knows, m.from, m.tls)
		}
	}
}
