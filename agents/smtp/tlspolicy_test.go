package smtp

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/resolver/dnstest"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

func tlsaOf(usage, selector, matching uint8, cert *x509.Certificate) string {
	data := cert.Raw
	if selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return fmt.Sprintf("%d %d %d %x", usage, selector, matching, data)
}

// What the TLSA records of a host mean for mail to it.
func TestDANE(t *testing.T) {
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	good, _ := newCert(t, "mx.test", tomorrow)
	old, _ := newCert(t, "elsewhere.test", yesterday)
	leaf := func(c *tls.Certificate) *x509.Certificate {
		x, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	const signed = "d.test SECURE MX; mx.test SECURE A; mx.test SECURE AAAA; TLSA SECURE TLSA"
	for _, tt := range []struct {
		name, secure string
		tlsa         []string // "": the fault SERVFAIL
		cert         *tls.Certificate
		mode         string
		want, facts  string
	}{
		{"3 1 1", signed, []string{tlsaOf(3, 1, 1, leaf(good))}, good, "dane", "ok 2.0.0", ":dane"},
		{"3 1 2", signed, []string{tlsaOf(3, 1, 2, leaf(good))}, good, "dane", "ok 2.0.0", ":dane"},
		{"3 0 1", signed, []string{tlsaOf(3, 0, 1, leaf(good))}, good, "auto", "ok 2.0.0", ":dane"},
		{"3 1 0", signed, []string{tlsaOf(3, 1, 0, leaf(good))}, good, "dane", "ok 2.0.0", ":dane"},
		{"3 of an expired certificate of another name", signed, []string{tlsaOf(3, 1, 1, leaf(old))}, old, "dane", "ok 2.0.0", ":dane"},
		{"2 0 1", signed, []string{tlsaOf(2, 0, 1, leaf(good))}, good, "dane", "ok 2.0.0", ":dane"},
		{"2 1 2", signed, []string{tlsaOf(2, 1, 2, leaf(good))}, good, "dane", "ok 2.0.0", ":dane"},
		{"2 of an expired certificate of another name", signed, []string{tlsaOf(2, 0, 1, leaf(old))}, old, "dane", "retryat 4.7.5", ""},
		{"mismatch", signed, []string{tlsaOf(3, 1, 1, leaf(old))}, good, "dane", "retryat 4.7.5", ""},
		{"one of two", signed, []string{tlsaOf(3, 1, 1, leaf(old)), tlsaOf(3, 1, 1, leaf(good))}, good, "dane", "ok 2.0.0", ":dane"},
		{"no STARTTLS", signed, []string{tlsaOf(3, 1, 1, leaf(good))}, nil, "dane", "retryat 4.7.4", ""},
		{"unusable", signed, []string{tlsaOf(1, 1, 1, leaf(old))}, good, "dane", "ok 2.0.0", "tls=TLS"},
		{"unusable, no STARTTLS", signed, []string{tlsaOf(1, 1, 1, leaf(old))}, nil, "dane", "retryat 4.7.4", ""},
		{"no records", signed, nil, nil, "dane", "ok 2.0.0", "tls=none"},
		{"no answer", signed, []string{""}, good, "dane", "retryat 4.7.5", ""},
		{"TLSA without DNSSEC", "d.test SECURE MX; mx.test SECURE A; mx.test SECURE AAAA", []string{tlsaOf(3, 1, 1, leaf(old))}, good, "dane", "ok 2.0.0", "tls=TLS"},
		{"MX without DNSSEC", "mx.test SECURE A; mx.test SECURE AAAA; TLSA SECURE TLSA", []string{tlsaOf(3, 1, 1, leaf(old))}, good, "dane", "ok 2.0.0", "tls=TLS"},
		{"address without DNSSEC", "d.test SECURE MX; TLSA SECURE TLSA", []string{""}, good, "dane", "ok 2.0.0", "tls=TLS"},
		{"not asked for", signed, []string{tlsaOf(3, 1, 1, leaf(old))}, good, "may", "ok 2.0.0", "tls=TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink(t, "PIPELINING")
			s.cert = tt.cert
			owner := fmt.Sprintf("_%d._tcp.mx.test", s.port())
			zone := []string{"d.test MX 10 mx.test", "mx.test A 127.0.0.1"}
			for line := range strings.SplitSeq(tt.secure, "; ") {
				zone = append(zone, strings.Replace(line, "TLSA SECURE", owner+" SECURE", 1))
			}
			for _, r := range tt.tlsa {
				if r == "" {
					zone = append(zone, owner+" SERVFAIL TLSA")
				} else {
					zone = append(zone, owner+" TLSA "+r)
				}
			}
			dns := dnstest.Start(t, zone...)
			d := start(t, func(o *options) {
				quick(o)
				o.port = s.port()
				var err error
				// AD is believed of a server on this host.
				if o.resolver, err = resolver.New(resolver.Config{Servers: []string{dns.Addr()}, Hosts: "-", FailTTL: -1}); err != nil {
					t.Fatal(err)
				}
				if err := o.tls.set(tt.mode); err != nil {
					t.Fatal(err)
				}
			})
			for range 2 { // the second over the same connection
				res := d.deliver(simple("a@d.test"), "d.test")
				if got := outcome(res); got != tt.want {
					t.Fatalf("got %+v, want %s", res, tt.want)
				}
			}
			if log := strings.Join(d.logs, "\n"); !strings.Contains(log, tt.facts) {
				t.Errorf("no %q in the log: %s", tt.facts, log)
			}
		})
	}
}

// Which name's TLSA records count when the host is an alias: RFC 7672 §2.2.2.
func TestDANEAlias(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	cert, _ := newCert(t, "real.test", tomorrow)
	forDomain, _ := newCert(t, "d.test", tomorrow)
	forReal, _ := newCert(t, "realdomain.test", tomorrow)
	stranger, _ := newCert(t, "stranger.test", tomorrow)
	record := func(usage uint8, c *tls.Certificate) string {
		x, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return tlsaOf(usage, 1, 1, x)
	}
	const all = "d.test SECURE MX\nmx.test SECURE\nreal.test SECURE\n_PORT._tcp.real.test SECURE\n_PORT._tcp.mx.test SECURE\n_PORT._tcp.d.test SECURE\n"
	right, wrong := record(3, cert), record(3, stranger)
	for _, tt := range []struct {
		name, zone string
		cert       *tls.Certificate
		want       string // how the success ends; "": no mail
		sni        string
	}{
		{"at the end of the alias", all + "_PORT._tcp.real.test TLSA " + right, cert, ":dane", "real.test"},
		{"at its beginning", all + "_PORT._tcp.mx.test TLSA " + right, cert, ":dane", "mx.test"},
		{"at both, the end counts", all + "_PORT._tcp.real.test TLSA " + wrong + "\n_PORT._tcp.mx.test TLSA " + right, cert, "", "real.test"},
		{"no answer at the end", all + "_PORT._tcp.real.test SERVFAIL TLSA\n_PORT._tcp.mx.test TLSA " + right, cert, "", ""},
		{"the records are an alias", all + "_PORT._tcp.real.test CNAME keys.test\nkeys.test SECURE\nkeys.test TLSA " + right, cert, ":dane", "real.test"},
		{"the end is not signed, the alias is", "d.test SECURE MX\nmx.test SECURE CNAME\n_PORT._tcp.mx.test SECURE\n_PORT._tcp.mx.test TLSA " + right, cert, ":dane", "mx.test"},
		{"the end is not signed and has the records", "d.test SECURE MX\nmx.test SECURE CNAME\n_PORT._tcp.real.test SECURE\n_PORT._tcp.real.test TLSA " + wrong, cert, "_SHA256)", "mx.test"},
		{"nothing is signed", "d.test SECURE MX\n_PORT._tcp.mx.test SECURE\n_PORT._tcp.mx.test TLSA " + wrong, cert, "_SHA256)", "mx.test"},
		{"issuer, name of the base", all + "_PORT._tcp.real.test TLSA " + record(2, cert), cert, ":dane", "real.test"},
		{"issuer, name of the domain", all + "_PORT._tcp.real.test TLSA " + record(2, forDomain), forDomain, ":dane", "real.test"},
		{"issuer, name of the domain's alias", strings.Replace(all, "d.test SECURE MX", "d.test SECURE\nrealdomain.test SECURE", 1) + "d.test CNAME realdomain.test\nrealdomain.test MX 10 mx.test\n_PORT._tcp.real.test TLSA " + record(2, forReal), forReal, ":dane", "real.test"},
		{"issuer, another name", all + "_PORT._tcp.real.test TLSA " + record(2, stranger), stranger, "", "real.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink(t, "PIPELINING")
			s.cert = tt.cert
			zone := "mx.test CNAME real.test\nreal.test A 127.0.0.1\n" + tt.zone
			if !strings.Contains(zone, "d.test CNAME") {
				zone += "\nd.test MX 10 mx.test"
			}
			fake, err := resolver.NewFake(strings.ReplaceAll(zone, "PORT", fmt.Sprint(s.port())))
			if err != nil {
				t.Fatal(err)
			}
			d := start(t, func(o *options) {
				quick(o)
				o.resolver, o.port, o.tls.mode = fake, s.port(), tlsDANE
			})
			want := "retryat 4.7.5"
			if tt.want != "" {
				want = "ok 2.0.0"
			}
			res := d.deliver(simple("a@d.test"), "d.test")
			if outcome(res) != want || !strings.Contains(res[0].Text, tt.want) {
				t.Fatalf("got %+v, want %s and %q", res, want, tt.want)
			}
			if s.connections() > 0 {
				s.mu.Lock()
				sni := s.conns[0].sni
				s.mu.Unlock()
				if sni != tt.sni {
					t.Errorf("SNI %q, want %q", sni, tt.sni)
				}
			}
		})
	}
}

// What the MTA-STS policy of a domain means for mail to it.
func TestMTASTS(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	good, _ := newCert(t, "mx.test", tomorrow)
	other, _ := newCert(t, "other.test", tomorrow)
	web, _ := newCert(t, "mta-sts.d.test", tomorrow)
	policy := func(mode, mx string) string {
		return "version: STSv1\r\nmode: " + mode + "\r\nmx: " + mx + "\r\nmax_age: 86400\r\n"
	}
	for _, tt := range []struct {
		name, txt, policy string
		status            int
		ctype             string
		cert              *tls.Certificate
		want, facts       string
		fetches           int32
	}{
		{name: "enforce", txt: "v=STSv1; id=1;", policy: policy("enforce", "mx.test"), cert: good, want: "ok 2.0.0", facts: ":verified", fetches: 1},
		{name: "enforce, wildcard", txt: "v=STSv1; id=1;", policy: policy("enforce", "*.test"), cert: good, want: "ok 2.0.0", facts: ":verified", fetches: 1},
		{name: "enforce, other name in the certificate", txt: "v=STSv1; id=1;", policy: policy("enforce", "mx.test"), cert: other, want: "retryat 4.7.5", fetches: 1},
		{name: "enforce, no STARTTLS", txt: "v=STSv1; id=1;", policy: policy("enforce", "mx.test"), want: "retryat 4.7.4", fetches: 1},
		{name: "enforce, MX not named", txt: "v=STSv1; id=1;", policy: policy("enforce", "mail.test"), cert: good, want: "retryat 4.7.5", fetches: 1},
		{name: "testing never enforces", txt: "v=STSv1; id=1;", policy: policy("testing", "mail.test"), cert: other, want: "ok 2.0.0", facts: "tls=TLS", fetches: 1},
		{name: "testing, no STARTTLS", txt: "v=STSv1; id=1;", policy: policy("testing", "mx.test"), want: "ok 2.0.0", facts: "tls=none", fetches: 1},
		{name: "none", txt: "v=STSv1; id=1;", policy: "version: STSv1\nmode: none\nmax_age: 1000\n", want: "ok 2.0.0", facts: "tls=none", fetches: 1},
		{name: "no record", want: "ok 2.0.0", facts: "tls=none"},
		{name: "record without id", txt: "v=STSv1;", policy: policy("enforce", "mail.test"), want: "ok 2.0.0", facts: "tls=none"},
		{name: "web server fails", txt: "v=STSv1; id=1;", policy: policy("enforce", "mail.test"), status: 500, want: "ok 2.0.0", facts: "tls=none", fetches: 1},
		{name: "redirect", txt: "v=STSv1; id=1;", policy: policy("enforce", "mail.test"), status: 302, want: "ok 2.0.0", facts: "tls=none", fetches: 1},
		{name: "not text/plain", txt: "v=STSv1; id=1;", policy: policy("enforce", "mail.test"), ctype: "text/html", want: "ok 2.0.0", facts: "tls=none", fetches: 1},
		{name: "too large", txt: "v=STSv1; id=1;", policy: policy("enforce", "mail.test") + strings.Repeat("x: y\n", 20000), want: "ok 2.0.0", facts: "tls=none", fetches: 1},
		{name: "rubbish", txt: "v=STSv1; id=1;", policy: "hello", want: "ok 2.0.0", facts: "tls=none", fetches: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink(t, "PIPELINING")
			s.cert = tt.cert
			var fetches atomic.Int32
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fetches.Add(1)
				ctype := "text/plain; charset=utf-8"
				if tt.ctype != "" {
					ctype = tt.ctype
				}
				w.Header().Set("Content-Type", ctype)
				if tt.status != 0 {
					w.Header().Set("Location", r.URL.Path)
					w.WriteHeader(tt.status)
				}
				w.Write([]byte(tt.policy))
			}))
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{*web}}
			srv.StartTLS()
			defer srv.Close()
			zone := []string{"d.test MX 10 mx.test", "mx.test A 127.0.0.1", "mta-sts.d.test A 127.0.0.1"}
			if tt.txt != "" {
				zone = append(zone, `_mta-sts.d.test TXT "`+tt.txt+`"`)
			}
			dir := filepath.Join(t.TempDir(), "sts")
			run := func(zone []string) string {
				fake, err := resolver.NewFake(zone...)
				if err != nil {
					t.Fatal(err)
				}
				d := start(t, func(o *options) {
					quick(o)
					o.resolver, o.port, o.stsDir = fake, s.port(), dir
					o.tls.mode = tlsAuto
				})
				pool := x509.NewCertPool()
				for _, c := range []*tls.Certificate{good, web} {
					x, err := x509.ParseCertificate(c.Certificate[0])
					if err != nil {
						t.Fatal(err)
					}
					pool.AddCert(x)
				}
				d.c.roots = pool
				d.c.sts.port = strconv.Itoa(srv.Listener.Addr().(*net.TCPAddr).Port)
				for range 2 { // the line of a transaction follows its result
					res := d.deliver(simple("a@d.test"), "d.test")
					if got := outcome(res); got != tt.want {
						t.Errorf("got %+v, want %s", res, tt.want)
					}
					if ok := res[0].Action == dsn.OK; ok && !strings.Contains(tt.facts, "none") && !strings.Contains(res[0].Text, "(TLS") {
						t.Errorf("no TLS in the result: %+v", res)
					}
				}
				return strings.Join(d.logs, "\n")
			}
			if log := run(zone); !strings.Contains(log, tt.facts) {
				t.Errorf("no %q in the log: %s", tt.facts, log)
			}
			if n := fetches.Load(); n != tt.fetches {
				t.Errorf("%d fetches", n)
			}
			if files, err := os.ReadDir(dir); err == nil && len(files) == 1 {
				// The next process knows the policy, also when the record is kept from it.
				run(append(zone[:3:3], "_mta-sts.d.test SERVFAIL"))
				if n := fetches.Load(); n != tt.fetches {
					t.Errorf("%d fetches though the policy is kept", n)
				}
			}
		})
	}
}

func TestSTSPolicy(t *testing.T) {
	p := &stsPolicy{mx: []string{"mail.example.com", "*.example.net"}}
	for host, want := range map[string]bool{
		"mail.example.com": true, "MAIL.example.com": true, "x.mail.example.com": false,
		"a.example.net": true, "a.b.example.net": false, "example.net": false, "": false,
	} {
		if p.allows(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
	for _, tt := range []struct {
		texts []string
		want  string
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"unrelated", "v=STSv1; id=1"}, "1"},
		{[]string{"v=STSv1; id=1", "v=STSv1; id=2"}, ""},
		{[]string{"v=STSv2; id=1"}, ""},
		{[]string{"v=STSv1; id=not-good"}, ""},
		{nil, ""},
	} {
		if got := stsID(tt.texts); got != tt.want {
			t.Errorf("%q: got %q", tt.texts, got)
		}
	}
}

func FuzzParseSTS(f *testing.F) {
	f.Add([]byte("version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 1\n"))
	f.Add([]byte("version: STSv1\r\nmode: none\r\nmax_age: 99999999999\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseSTS(text)
		if err == nil && (p.age > maxSTSAge || p.age < 0 || len(p.mx) > maxSTSHosts || p.mode != "none" && len(p.mx) == 0) {
			t.Fatalf("%q: %+v", text, p)
		}
	})
}

// The table decides by the closest name; a mistake in it stops the mail.
func TestTLSTable(t *testing.T) {
	cert, _ := newCert(t, "whatever.test", time.Now().Add(-time.Hour))
	print := sha256.Sum256(cert.Certificate[0])
	path := filepath.Join(t.TempDir(), "tlspolicy")
	write := func(text string) *tlsTable {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return &tlsTable{path: path}
	}
	table := write("# comment\n\nexample.org verify\n.example.org must\n.deep.example.org none\nmx.other.test dane\n* auto\n")
	for _, tt := range []struct{ dest, name, want string }{
		{"example.org", "mx.example.net", "verify"},
		{"a.example.org", "mx.example.net", "must"},
		{"a.deep.example.org", "mx.example.net", "off"},
		{"x.test", "mx.other.test", "dane"},
		{"x.test", "y.test", "auto"},
		{"[192.0.2.1]:25", "192.0.2.1", "auto"},
	} {
		r, found, err := table.of(t.Context(), &target{dest: tt.dest, name: tt.name})
		if err != nil || !found || r.mode.String() != tt.want {
			t.Errorf("%s: got %v %v %v", tt.dest, r.mode, found, err)
		}
	}
	for _, bad := range []string{"example.org", "a maybe", "a fingerprint", "a fingerprint xx", "a verify 00", "a may\na must"} {
		if _, _, err := write(bad).of(t.Context(), &target{dest: "b"}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, _, err := write(strings.Repeat("#\n", maxTLSTable/2)+"b must\n").of(t.Context(), &target{dest: "b"}); err == nil {
		t.Error("the end of a table that is too large is left out")
	}

	s := newSink(t)
	s.cert = cert
	for _, tt := range []struct{ line, want string }{
		{fmt.Sprintf("* fingerprint %x", print), "ok 2.0.0"},
		{fmt.Sprintf("* fingerprint %064x", 1), "retryat 4.7.5"},
		{"* maybe", "retryat 4.7.5"},
	} {
		table := write(tt.line)
		d := start(t, func(o *options) {
			quick(o)
			o.tls.table = table
		})
		if res := d.deliver(simple("a@x.test"), s.host()); outcome(res) != tt.want {
			t.Errorf("%s: %+v", tt.line, res)
		}
	}
}

func FuzzTLSLine(f *testing.F) {
	f.Add("example.org fingerprint 00:11")
	f.Add("* may")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseTLSLine(line)
		if err == nil && (r.pattern == "" || r.mode == tlsFingerprint && len(r.prints) == 0) {
			t.Fatalf("%q: %+v", line, r)
		}
	})
}

// A peer that asks for our certificate gets it.
func TestClientCertificate(t *testing.T) {
	server, _ := newCert(t, "mx.test", time.Now().Add(time.Hour))
	ours, roots := newCert(t, "us.test", time.Now().Add(time.Hour))
	s := newSink(t)
	s.cert, s.clients = server, roots
	for _, tt := range []struct {
		certs []tls.Certificate
		want  string
	}{{[]tls.Certificate{*ours}, "ok 2.0.0"}, {nil, "retryat 4.7.5"}} {
		d := start(t, func(o *options) {
			quick(o)
			o.tls.mode, o.certificates = tlsMust, tt.certs
		})
		res := d.deliver(simple("a@x.test"), s.host())
		if got := outcome(res); got != tt.want && !(tt.certs == nil && strings.HasPrefix(got, "retryat")) {
			t.Errorf("got %+v", res)
		}
	}
}

func TestCheckTLS(t *testing.T) {
	s := newSink(t)
	cert, _ := newCert(t, "mx.test", time.Now().Add(time.Hour))
	s.cert = cert
	x, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	owner := fmt.Sprintf("_%d._tcp.mx.test", s.port())
	fake, err := resolver.NewFake("d.test MX 10 mx.test", "d.test SECURE MX", "mx.test A 127.0.0.1", "mx.test SECURE",
		owner+" TLSA "+tlsaOf(3, 1, 1, x), owner+" SECURE", "null.test MX 0 .", "broken.test SERVFAIL")
	if err != nil {
		t.Fatal(err)
	}
	o := defaultOptions()
	quick(&o)
	o.hello, o.resolver, o.port, o.tls.mode = "us.test", fake, s.port(), tlsAuto
	c := newClient(o)
	defer c.close()
	for _, tt := range []struct {
		dest string
		code int
		want []string
	}{
		{"d.test", 0, []string{"mx.test[127.0.0.1]", "policy  -S auto, 1 TLSA of mx.test: dane", ":dane\n", fingerprint(x)}},
		{"null.test", 68, nil},
		{"broken.test", 75, nil},
		{"[", 64, nil},
	} {
		var out strings.Builder
		err := c.checkTLS(t.Context(), tt.dest, &out)
		if err == nil && tt.code != 0 || err != nil && proc.Code(err) != tt.code {
			t.Errorf("%s: %v", tt.dest, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in %s", tt.dest, want, out.String())
			}
		}
	}
}
