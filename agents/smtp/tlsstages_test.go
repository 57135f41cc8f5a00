package smtp

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
)

// tlsPeers are the ways in which a host can take to STARTTLS.
var tlsPeers = []struct {
	name, answer string // to STARTTLS
	none         bool   // it does not offer it
	breaks       bool   // it offers it, and speaks no TLS
	cert         string // of certificates; "" is the good one

	// Outcomes under the policies; what is sent in the clear has "clear".
	may, must, verify, pinned string
}{
	{name: "good", may: "ok", must: "ok", verify: "ok", pinned: "ok"},
	{name: "expired", cert: "expired", may: "ok", must: "ok", verify: "4.7.5", pinned: "4.7.5"},
	{name: "wrong name", cert: "wrong name", may: "ok", must: "ok", verify: "4.7.5", pinned: "4.7.5"},
	{name: "unknown issuer", cert: "unknown issuer", may: "ok", must: "ok", verify: "4.7.5", pinned: "4.7.5"},
	{name: "no STARTTLS", none: true, may: "ok clear", must: "4.7.4", verify: "4.7.4", pinned: "4.7.4"},
	{name: "broken handshake", breaks: true, may: "ok clear", must: "4.7.5", verify: "4.7.5", pinned: "4.7.5"},
	{name: "injected", answer: "!inject", may: "ok clear", must: "4.7.5", verify: "4.7.5", pinned: "4.7.5"},
	{name: "4xx", answer: "454 4.7.0 later", may: "ok clear", must: "4.7.0", verify: "4.7.0", pinned: "4.7.0"},
	{name: "5xx", answer: "554 5.7.3 never", may: "ok clear", must: "4.7.3", verify: "4.7.3", pinned: "4.7.3"},
	{name: "closing", answer: "421 4.3.2 bye", may: "4.3.2", must: "4.3.2", verify: "4.3.2", pinned: "4.3.2"},
	{name: "close", answer: "!close", may: "ok clear", must: "4.4.2", verify: "4.4.2", pinned: "4.4.2"},
	{name: "stall", answer: "!stall", may: "ok clear", must: "4.4.2", verify: "4.4.2", pinned: "4.4.2"},
	{name: "garbage", answer: "garbage", may: "ok clear", must: "4.5.0", verify: "4.5.0", pinned: "4.5.0"},
	{name: "huge", answer: longLine, may: "ok clear", must: "4.5.0", verify: "4.5.0", pinned: "4.5.0"},
	{name: "endless", answer: manyLines, may: "ok clear", must: "4.5.0", verify: "4.5.0", pinned: "4.5.0"},
}

// Each way under each policy: encrypted, in the clear, or temporarily not at all.
func TestTLSStages(t *testing.T) {
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	roots := x509.NewCertPool()
	certs := make(map[string]*tls.Certificate)
	for name, c := range map[string]struct {
		host    string
		until   time.Time
		trusted bool
	}{
		"":        {"mx.test", tomorrow, true},
		"expired": {"mx.test", yesterday, true}, "wrong name": {"other.test", tomorrow, true}, "unknown issuer": {"mx.test", tomorrow, false},
	} {
		cert, _ := newCert(t, c.host, c.until)
		certs[name] = cert
		if leaf, err := x509.ParseCertificate(cert.Certificate[0]); err != nil {
			t.Fatal(err)
		} else if c.trusted {
			roots.AddCert(leaf)
		}
	}
	good, err := x509.ParseCertificate(certs[""].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	print := sha256.Sum256(good.Raw)
	for _, tt := range tlsPeers {
		for mode, want := range map[tlsMode]string{
			tlsOff: "ok clear", tlsMay: tt.may, tlsMust: tt.must, tlsVerify: tt.verify, tlsDANE: tt.pinned, tlsFingerprint: tt.pinned,
		} {
			t.Run(fmt.Sprintf("%s/%v", tt.name, mode), func(t *testing.T) {
				t.Parallel()
				s := newSink(t, "PIPELINING")
				switch {
				case tt.breaks:
					s.ext = append(s.ext, "STARTTLS")
				case !tt.none:
					s.cert = certs[tt.cert]
				}
				s.script = func(_ *sinkConn, at, _ string) string {
					if at == "STARTTLS" {
						return tt.answer
					}
					return ""
				}
				owner := fmt.Sprintf("_%d._tcp.mx.test", s.port())
				fake, err := resolver.NewFake("mx.test A 127.0.0.1", "mx.test SECURE", owner+" SECURE", owner+" TLSA "+tlsaOf(3, 1, 1, good))
				if err != nil {
					t.Fatal(err)
				}
				d := start(t, func(o *options) {
					quick(o)
					if tt.answer == "!stall" {
						o.timeouts.commands(500 * time.Millisecond)
					}
					o.resolver, o.port = fake, s.port()
					o.tls.rules = []tlsRule{{pattern: "*", mode: mode, prints: [][]byte{print[:]}}}
				})
				d.c.roots = roots
				res := d.deliver(simple("a@x.test"), "[mx.test]")
				got := res[0].Status
				if m := s.received(); len(m) == 1 && got == "2.0.0" {
					if got = "ok"; !m[0].tls {
						got = "ok clear"
					}
				} else if len(m) > 0 || res[0].Action.String() != "retryat" {
					t.Errorf("%d messages, %+v", len(m), res)
				}
				if got != want {
					t.Errorf("got %s, want %s: %+v", got, want, res)
				}
			})
		}
	}
}

// AUTH that does not work never fails mail for good, whatever the host answers.
func TestAuthStages(t *testing.T) {
	for answer, want := range map[string]string{
		"454 4.7.0 later": "retryat 4.7.0", "535 5.7.8 wrong": "retryat 4.7.8", "421 4.3.2 bye": "retryat 4.3.2", "!close": "retryat 4.4.2",
		"!stall": "retryat 4.4.2", "garbage": "retryat 4.5.0", longLine: "retryat 4.5.0", manyLines: "retryat 4.5.0", "250 what": "retryat 4.5.0",
		"334 !": "retryat 4.5.0", "235 2.7.0 welcome": "ok 2.0.0",
	} {
		t.Run(fmt.Sprintf("%.20s", answer), func(t *testing.T) {
			t.Parallel()
			s := newSink(t, "PIPELINING", "AUTH PLAIN")
			s.script = func(_ *sinkConn, at, _ string) string {
				if at == "AUTH" {
					return answer
				}
				return ""
			}
			file := writeCreds(t, "* joe secret\n")
			d := start(t, func(o *options) {
				quick(o)
				if o.credFile = file; answer == "!stall" {
					o.timeouts.commands(500 * time.Millisecond)
				}
			})
			if res := d.deliver(simple("a@x.test"), s.host()); outcome(res) != want {
				t.Errorf("got %+v, want %s", res, want)
			}
		})
	}
}

// writeCreds makes a file of credentials.
func writeCreds(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
