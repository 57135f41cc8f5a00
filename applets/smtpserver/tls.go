package smtpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

var errInjected = errors.New("plaintext after STARTTLS")

// handshakeTime is how long a client may take to agree on keys.
const handshakeTime = 30 * time.Second

// startTLS obeys STARTTLS: RFC 3207. What the client sent behind it came in
// plain text, from whomever, and would be taken for part of the protected
// session: CVE-2011-0411. No greeting is asked for: GNU SASL's client sends none, and
// what it would say is void afterwards.
func (s *session) startTLS() error {
	switch {
	case s.tls != nil:
		s.sayWrong(refuse(503, 5, 5, 1, "Error: TLS is already active"))
		return nil
	case s.cfg.tls != nil && !s.cfg.certs.ready():
		s.say(refuse(454, 4, 7, 0, "TLS is not available now"))
		return nil
	case s.cfg.tls == nil || s.local != nil:
		s.sayWrong(refuse(502, 5, 5, 1, "Error: STARTTLS is not offered"))
		return nil
	case s.in.buffered() > 0:
		s.say(refuse(554, 5, 5, 1, "Error: commands after STARTTLS"))
		s.done, s.trouble = true, errInjected
		return nil
	}
	s.raw("220 2.0.0 Ready to start TLS\r\n")
	if err := s.flush(); err != nil {
		return err
	}
	return s.secure()
}

// secure makes the rest of the session a TLS session, and forgets what was said
// before.
func (s *session) secure() error {
	under, ok := s.conn.(net.Conn)
	if !ok {
		return errors.New("not a network connection")
	}
	c := tls.Server(under, s.tlsConfig())
	if err := s.conn.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	s.due = time.Time{}
	if err := c.HandshakeContext(s.ctx); err != nil {
		s.trouble = fmt.Errorf("TLS: %w", err)
		s.done = true
		return nil
	}
	s.reset()
	s.helo, s.esmtp, s.authUser = "", false, ""
	s.tls, s.in.src = c, c
	st := c.ConnectionState()
	s.tlsText = versionText(st.Version) + " " + tls.CipherSuiteName(st.CipherSuite)
	return nil
}

// versionText is the version as other mailers write it.
func versionText(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "TLSv1.3"
	case tls.VersionTLS12:
		return "TLSv1.2"
	}
	return tls.VersionName(v)
}

// tlsConfig is the configuration of the session's port. A client certificate is
// asked for where users log in, since some senders of the world fail at the
// question.
func (s *session) tlsConfig() *tls.Config {
	if s.role == roleSubmission && s.cfg.askingTLS != nil {
		return s.cfg.askingTLS
	}
	return s.cfg.tls
}
