package smtp

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"zmailer/agents/tlsrpt"
	"zmailer/spool/rfc5322"
)

// secure turns encryption on, and counts what came of it for the reports of
// RFC 8460.
func (s *session) secure(ctx context.Context, su setup) *openFailure {
	fail := s.encrypt(ctx, su)
	if s.c.opt.record != nil && su.mode != tlsOff {
		s.count(su, fail)
	}
	return fail
}

// count counts a session, of a host that the DNS led to: what the administrator
// has named is nobody's policy.
func (s *session) count(su setup, fail *openFailure) {
	t := su.target
	if t.domain == "" || !t.looked && !t.trusted || ctxEnded(fail) {
		return
	}
	f := su.trust.fact(t)
	f.Host = t.name
	if host, _, err := net.SplitHostPort(t.address); err == nil {
		f.IP = host
	}
	var err error
	switch {
	case fail != nil:
		err = errors.New(fail.Text)
		if fail.cause != nil {
			err = fail.cause
		}
		f.Result = resultType(err)
		if s.tls == nil && !s.ext.startTLS {
			f.Result = "starttls-not-supported"
		}
	case s.tls == nil && s.c.plainOnly.has(t.address):
		f.Result = "validation-failure"
		err = errors.New("TLS has failed before, and mail goes in clear")
	case s.tls == nil:
		f.Result = "starttls-not-supported"
	case su.sts != nil && su.sts.mode == "testing":
		// What would have happened: RFC 8461 §5.
		if err = su.sts.wouldAllow(t.name, s.tls.PeerCertificates, s.c.roots); err != nil {
			f.Result = resultType(err)
		}
	}
	if err != nil {
		f.Reason = rfc5322.OneLine(err.Error(), 200)
	}
	s.c.opt.record.Add(f)
}

// ctxEnded tells that we gave up ourselves.
func ctxEnded(fail *openFailure) bool {
	return fail != nil && fail.cause != nil && errors.Is(fail.cause, context.Canceled)
}

// countUnusable counts a host that must not be used, by what the domain publishes.
func (c *client) countUnusable(t *target, tr *trust, err error) {
	if c.opt.record == nil || t.domain == "" {
		return
	}
	f := tr.fact(t)
	f.Host, f.Reason = t.name, rfc5322.OneLine(err.Error(), 200)
	f.Result = "validation-failure"
	if tr.sts == nil {
		f.Policy, f.Result = tlsrpt.TLSA, "dnssec-invalid"
	}
	c.opt.record.Add(f)
}

// countSTS counts a policy that could not be had, or read.
func (c *client) countSTS(domain string, err error) {
	f := tlsrpt.Fact{Domain: domain, Policy: tlsrpt.STS, Result: "sts-policy-fetch-error", Reason: rfc5322.OneLine(err.Error(), 200)}
	var bad *stsSyntax
	switch {
	case errors.As(err, &bad):
		f.Result = "sts-policy-invalid"
	case resultType(err) != "validation-failure":
		f.Result = "sts-webpki-invalid"
	}
	c.opt.record.Add(f)
}

// stsSyntax is what is wrong with a policy that was had.
type stsSyntax struct{ error }

// fact is the policy of a target.
func (tr *trust) fact(t *target) tlsrpt.Fact {
	f := tlsrpt.Fact{Domain: t.domain, Policy: tlsrpt.NoPolicy}
	switch {
	case len(tr.tlsa) > 0:
		f.Policy = tlsrpt.TLSA
		var lines []string
		for _, r := range tr.tlsa {
			lines = append(lines, fmt.Sprintf("%d %d %d %X", r.Usage, r.Selector, r.Matching, r.Data))
		}
		f.Text = strings.Join(lines, "\n")
	case tr.sts != nil:
		f.Policy = tlsrpt.STS
		f.Text = strings.Join(tr.sts.lines(), "\n")
		f.MX = strings.Join(tr.sts.mx, "\n")
	}
	return f
}

// lines is the policy as it is published.
func (p *stsPolicy) lines() []string {
	list := []string{"version: STSv1", "mode: " + p.mode}
	for _, mx := range p.mx {
		list = append(list, "mx: "+mx)
	}
	return append(list, fmt.Sprintf("max_age: %d", int64(p.age.Seconds())))
}

// wouldAllow tells what a policy that is enforced would object to.
func (p *stsPolicy) wouldAllow(host string, chain []*x509.Certificate, roots *x509.CertPool) error {
	if !p.allows(host) {
		return fmt.Errorf("the policy does not name %s", host)
	}
	if len(chain) == 0 {
		return errNoCert
	}
	opt := x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opt.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opt)
	return err
}

// resultType is the name of a failure, RFC 8460 §4.3.
func resultType(err error) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name):
		return "certificate-host-mismatch"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate-expired"
	case errors.As(err, &invalid), errors.As(err, &unknown):
		return "certificate-not-trusted"
	}
	return "validation-failure"
}
