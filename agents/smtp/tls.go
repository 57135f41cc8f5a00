package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"zmailer/agents/secret"
)

// encrypt turns encryption on as the policy for the target wants it.
func (s *session) encrypt(ctx context.Context, su setup) *openFailure {
	if s.tls != nil { // from the first octet
		return nil
	}
	if su.mode == tlsOff || su.mode == tlsMay && (!s.ext.startTLS || s.c.plainOnly.has(su.target.address)) {
		return nil
	}
	if !s.ext.startTLS && su.demand {
		return su.denied("offers no encryption")
	}
	if !s.ext.startTLS {
		return &openFailure{Result: unreachable("4.7.4", "%s offers no encryption, which is required", s.target.relay)}
	}
	s.phase(s.c.opt.timeouts.command)
	r, err := s.ask("STARTTLS")
	if err != nil {
		fail := s.lost("STARTTLS", err)
		fail.cause = &handshakeError{err, true}
		return fail
	}
	if r.code != 220 {
		if su.mode == tlsMay && !r.closing() {
			return nil
		}
		if su.demand && r.permanent() {
			return su.denied("refuses encryption: " + r.String())
		}
		return s.refused(r).soften()
	}
	if fail := s.startTLS(ctx, su); fail != nil {
		return fail
	}
	// What was said before is void: RFC 3207 §4.2.
	s.ext = extensions{}
	return s.hello()
}

// startTLS makes the connection one of TLS.
func (s *session) startTLS(ctx context.Context, su setup) *openFailure {
	if err := s.handshake(ctx, su); err != nil {
		s.broken = true
		var hs *handshakeError
		if su.demand && errors.As(err, &hs) && untrustedCert(hs.err) {
			return su.denied(err.Error())
		}
		return &openFailure{unreachable("4.7.5", "%s: %v", s.target.relay, err), err}
	}
	s.log.note("encrypted: " + s.tlsFacts())
	return nil
}

func (s *session) handshake(ctx context.Context, su setup) error {
	if s.in.br.Buffered() > 0 {
		return &handshakeError{errInjected, true}
	}
	tc := tls.Client(s.nc, s.c.tlsConfig(su.target, &su.trust))
	// The deadline of the phase bounds the handshake, and ctx ends it through
	// interrupt.
	if err := tc.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
		return &handshakeError{err, untrustedCert(err)}
	}
	s.swap(tc)
	state := tc.ConnectionState()
	s.tls = &state
	switch su.mode {
	case tlsVerify:
		s.proof = "verified"
	case tlsDANE, tlsFingerprint:
		s.proof = su.mode.String()
	}
	return nil
}

// untrustedCert tells whether the certificate is why a handshake failed.
func untrustedCert(err error) bool {
	var cert *tls.CertificateVerificationError
	var trust *untrustedError
	return errors.As(err, &cert) || errors.As(err, &trust)
}

// tlsConfig is the configuration for a target and the trust it needs.
func (c *client) tlsConfig(t *target, tr *trust) *tls.Config {
	name := t.name
	if tr.base != "" {
		name = tr.base // RFC 7672 §8.1
	}
	conf := &tls.Config{
		ServerName:         name,
		ClientSessionCache: c.tickets,
		// The first 128 KB in records of one packet each would cost a system call
		// each; mail is not waited for byte by byte.
		DynamicRecordSizingDisabled: true,
		RootCAs:                     c.roots,
		Certificates:                c.opt.certificates,
	}
	if c.classic.has(t.address) {
		conf.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}
	}
	if tr.mode == tlsVerify {
		conf.ClientSessionCache = c.verifiedTickets
		return conf
	}
	if conf.VerifyConnection = tr.verifier(t); conf.VerifyConnection != nil {
		conf.ClientSessionCache = nil
	}
	conf.InsecureSkipVerify = true
	conf.MinVersion = tls.VersionTLS12
	if tr.mode == tlsMay {
		conf.MinVersion = tls.VersionTLS10 // still better than none
	}
	if _, err := netip.ParseAddr(name); err == nil {
		conf.ServerName = "" // an address is no SNI
	}
	return conf
}

// readCertificate reads our own certificate, for option -C.
func (o *options) readCertificate(path string) error {
	text, err := secret.Read(path, 1<<20)
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	o.certificates = append(o.certificates, cert)
	return nil
}
