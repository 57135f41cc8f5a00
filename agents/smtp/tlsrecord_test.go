package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/agents/tlsrpt"
	"zmailer/shellcfg/resolver"
)

// What comes of encryption is counted by policy, for reports.
func TestRecord(t *testing.T) {
	cert, pool := newCert(t, "mx.test", time.Now().Add(time.Hour))
	old, oldPool := newCert(t, "mx.test", time.Now().Add(-time.Hour))
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate // nil: no STARTTLS
		roots  *x509.CertPool
		sts    string // mode
		mx     string
		tlsa   string // "": none
		out    string
		policy string
		result string // "": success
	}{
		{"no policy", cert, pool, "", "", "", "ok 2.0.0", "no-policy-found", ""},
		{"no policy, in clear", nil, pool, "", "", "", "ok 2.0.0", "no-policy-found", "starttls-not-supported"},
		{"enforced", cert, pool, "enforce", "mx.test", "", "ok 2.0.0", "sts", ""},
		{"enforced, expired", old, oldPool, "enforce", "mx.test", "", "retryat 4.7.5", "sts", "certificate-expired"},
		{"enforced, unknown authority", cert, x509.NewCertPool(), "enforce", "mx.test", "", "retryat 4.7.5", "sts", "certificate-not-trusted"},
		{"enforced, another host", cert, pool, "enforce", "other.test", "", "retryat 4.7.5", "sts", "validation-failure"},
		{"enforced, in clear", nil, pool, "enforce", "mx.test", "", "retryat 4.7.4", "sts", "starttls-not-supported"},
		{"testing", cert, pool, "testing", "mx.test", "", "ok 2.0.0", "sts", ""},
		{"testing, expired", old, oldPool, "testing", "mx.test", "", "ok 2.0.0", "sts", "certificate-expired"},
		{"testing, another host", cert, pool, "testing", "*.other.test", "", "ok 2.0.0", "sts", "validation-failure"},
		{"DANE", cert, pool, "", "", tlsaOf(3, 1, 1, leaf), "ok 2.0.0", "tlsa", ""},
		{"DANE, another key", old, pool, "", "", tlsaOf(3, 1, 1, leaf), "retryat 4.7.5", "tlsa", "validation-failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink(t)
			s.cert = tt.cert
			zone := []string{"d.test MX 10 mx.test", "d.test SECURE MX", "mx.test A 127.0.0.1", "mx.test SECURE", "_mta-sts.d.test SERVFAIL"}
			if tt.tlsa != "" {
				owner := fmt.Sprintf("_%d._tcp.mx.test", s.port())
				zone = append(zone, owner+" TLSA "+tt.tlsa, owner+" SECURE")
			}
			fake, err := resolver.NewFake(zone...)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if tt.sts != "" {
				text := fmt.Sprintf("1 %d\nversion: STSv1\nmode: %s\nmx: %s\nmax_age: 86400\n", time.Now().Unix(), tt.sts, tt.mx)
				if err := os.WriteFile(filepath.Join(dir, "d.test"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			reports := filepath.Join(dir, "reports")
			begun := time.Now().UTC()
			d := start(t, func(o *options) {
				quick(o)
				o.resolver, o.port, o.stsDir, o.tls.mode = fake, s.port(), dir, tlsAuto
				o.record = tlsrpt.NewRecorder(reports, func(err error) { t.Error(err) })
			})
			d.c.roots = tt.roots
			if res := d.deliver(simple("a@d.test"), "d.test"); outcome(res) != tt.out {
				t.Errorf("%+v, want %s", res, tt.out)
			}
			d.c.opt.record.Close()
			counts, err := tlsrpt.ReadDay(reports, begun.Truncate(24*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			r := counts.Report("d.test", "us.test", "")
			if len(r.Policies) != 1 || r.Policies[0].Policy.Type != tt.policy {
				t.Fatalf("%+v", r)
			}
			p := r.Policies[0]
			switch {
			case tt.result == "":
				if p.Summary.Successes != 1 || p.Summary.Failures != 0 {
					t.Errorf("%+v", p)
				}
			case p.Summary.Successes != 0 || len(p.Failures) != 1 || p.Failures[0].Result != tt.result || p.Failures[0].Host != "mx.test":
				t.Errorf("%+v", p)
			}
			if want := map[string]string{"sts": "version: STSv1 mode: " + tt.sts, "tlsa": "3 1 1 "}[tt.policy]; !strings.HasPrefix(strings.Join(p.Policy.String, " "), want) {
				t.Errorf("policy %q", p.Policy.String)
			}
		})
	}
}

// Hosts that the administrator has named have no policy to report about.
func TestRecordNot(t *testing.T) {
	s := newSink(t)
	reports := filepath.Join(t.TempDir(), "reports")
	d := start(t, func(o *options) {
		quick(o)
		o.record = tlsrpt.NewRecorder(reports, func(err error) { t.Error(err) })
	})
	if res := d.deliver(simple("a@d.test"), s.host()); outcome(res) != "ok 2.0.0" {
		t.Fatalf("%+v", res)
	}
	d.c.opt.record.Close()
	if days, err := tlsrpt.Days(reports); err != nil || len(days) != 0 {
		t.Errorf("%v, %v", days, err)
	}
}
