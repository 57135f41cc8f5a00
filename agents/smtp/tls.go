package smtp

import (
	"context"
	"crypto/tls"
	"net/netip"
)

// secure turns encryption on as the policy for the target wants it.
func (s *session) secure(ctx context.Context, su setup) *openFailure {
	if su.mode == tlsOff || su.mode == tlsMay && (!s.ext.startTLS || s.c.plainOnly.has(su.target.address)) {
		return nil
	}
	if !s.ext.startTLS {
		return &openFailure{Result: unreachable("4.7.4", "%s offers no encryption, which is required", s.target.relay)}
	}
	s.phase(s.c.opt.timeouts.command)
	r, err := s.ask("STARTTLS")
	if err != nil {
		return s.lost("STARTTLS", err)
	}
	if r.code != 220 {
		if su.mode == tlsMay && !r.closing() {
			return nil
		}
		return s.refused(r).soften()
	}
	if err := s.handshake(ctx, su.mode); err != nil {
		s.broken = true
		return &openFailure{unreachable("4.7.5", "%s: %v", s.target.relay, err), err}
	}
	s.log.note("encrypted: " + s.tlsFacts())
	// What was said before is void: RFC 3207 §4.2.
	s.ext = extensions{}
	return s.hello()
}

func (s *session) handshake(ctx context.Context, mode tlsMode) error {
	if s.in.br.Buffered() > 0 {
		return &handshakeError{errInjected}
	}
	tc := tls.Client(s.nc, s.c.tlsConfig(s.target.name, mode))
	// The deadline of the phase bounds the handshake, and ctx ends it through
	// interrupt.
	if err := tc.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
		return &handshakeError{err}
	}
	s.swap(tc)
	state := tc.ConnectionState()
	s.tls = &state
	return nil
}

// tlsConfig is the configuration for a host name and mode.
func (c *client) tlsConfig(name string, mode tlsMode) *tls.Config {
	conf := &tls.Config{
		ServerName:         name,
		ClientSessionCache: c.tickets,
		// The first 128 KB in records of one packet each would cost a system call
		// each; mail is not waited for byte by byte.
		DynamicRecordSizingDisabled: true,
		RootCAs:                     c.roots,
	}
	if mode == tlsVerify {
		conf.ClientSessionCache = c.verifiedTickets
		return conf
	}
	conf.InsecureSkipVerify = true
	conf.MinVersion = tls.VersionTLS12
	if mode == tlsMay {
		conf.MinVersion = tls.VersionTLS10 // still better than none
	}
	if _, err := netip.ParseAddr(name); err == nil {
		conf.ServerName = "" // an address is no SNI
	}
	return conf
}
