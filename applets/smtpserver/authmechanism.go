package smtpserver

import (
	"context"
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"

	"zmailer/applets/smtpserver/saslauth"
)

// authentication is who may log in, and how.
type authentication struct {
	checkers saslauth.Any
	keys     saslauth.KeyStore // nil: no SCRAM
	hasKeys  func() bool       // whether everybody has keys; nil: always
	dovecot  *saslauth.Dovecot // judges alone
	tokens   bool              // smtp_token is there
	external *clientCerts
	only     []string // mechanisms that may be offered; nil: all
	clear    []netip.Prefix
}

func (a *authentication) any() bool {
	return len(a.checkers) > 0 || a.dovecot != nil || a.tokens || a.external != nil
}

const (
	mechSCRAMPlus = "SCRAM-SHA-256-PLUS"
	mechSCRAM     = "SCRAM-SHA-256"
	mechPlain     = "PLAIN"
	mechLogin     = "LOGIN"
	mechBearer    = "OAUTHBEARER"
	mechXOAuth2   = "XOAUTH2"
	mechExternal  = "EXTERNAL"
)

// mechanismNames are all there are, in the order in which they are offered.
var mechanismNames = []string{mechSCRAMPlus, mechSCRAM, mechPlain, mechLogin, mechBearer, mechXOAuth2, mechExternal}

// mechanisms are those that the session can use now.
func (s *session) mechanisms() []string {
	a := &s.cfg.auth
	list := make([]string, 0, len(mechanismNames))
	add := func(names ...string) {
		for _, n := range names {
			if (a.only == nil || slices.Contains(a.only, n)) && !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	if a.keys != nil && (a.hasKeys == nil || a.hasKeys()) {
		if s.binding() != nil {
			add(mechSCRAMPlus)
		}
		add(mechSCRAM)
	}
	if len(a.checkers) > 0 {
		add(mechPlain, mechLogin)
	}
	if a.dovecot != nil {
		ctx, cancel := context.WithTimeout(s.ctx, loginTime)
		names, err := a.dovecot.Mechanisms(ctx)
		cancel()
		if err != nil {
			s.log.Error("login cannot be offered", "client", s.clientText, "err", err)
		}
		add(names...)
	}
	if a.tokens {
		add(mechBearer, mechXOAuth2)
	}
	if a.external != nil && s.certUser() != "" {
		add(mechExternal)
	}
	return list
}

// mechanism begins an exchange, or returns nil if there is no such mechanism.
func (s *session) mechanism(name string) saslauth.Mechanism {
	if !slices.Contains(s.mechanisms(), name) {
		return nil
	}
	a := &s.cfg.auth
	switch {
	case name == mechExternal:
		return saslauth.NewExternal(s.certUser())
	case name == mechBearer && a.tokens:
		return saslauth.NewOAuthBearer(s.tokenOwner)
	case name == mechXOAuth2 && a.tokens:
		return saslauth.NewXOAuth2(s.tokenOwner)
	case a.dovecot != nil:
		return a.dovecot.New(name, saslauth.Peer{Client: s.client, Secured: s.tls != nil}, s.mayTry)
	case name == mechPlain:
		return saslauth.NewPlain(saslauth.CheckerFunc(s.checkPassword))
	case name == mechLogin:
		return saslauth.NewLogin(saslauth.CheckerFunc(s.checkPassword))
	}
	var bound saslauth.Binding
	if a.only == nil || slices.Contains(a.only, mechSCRAMPlus) {
		bound = s.binding() // -PLUS was offered, too
	}
	return saslauth.NewSCRAM(guardedKeys{s}, name == mechSCRAMPlus, bound)
}

// mayTry refuses attempts at a user whom too many have tried.
func (s *session) mayTry(user string) error {
	if s.srv.logins.userBlocked(user, neighbourhood(s.client), s.cfg.limits.userLogins) {
		return errUserBlocked
	}
	return nil
}

func (s *session) checkPassword(ctx context.Context, user, password string) (bool, error) {
	if err := s.mayTry(user); err != nil {
		return false, err
	}
	return s.cfg.auth.checkers.Check(ctx, user, password)
}

// guardedKeys are the keys of users who may be tried now.
type guardedKeys struct{ s *session }

func (g guardedKeys) Keys(ctx context.Context, user string) (saslauth.Keys, error) {
	if err := g.s.mayTry(user); err != nil {
		return saslauth.Keys{}, err
	}
	return g.s.cfg.auth.keys.Keys(ctx, user)
}

// binding is what ties an exchange to this connection: RFC 9266. TLS 1.2 has such
// a thing too, but not on every connection, so it is not offered there.
func (s *session) binding() saslauth.Binding {
	if s.tls == nil {
		return nil
	}
	st := s.tls.ConnectionState()
	if st.Version < tls.VersionTLS13 {
		return nil
	}
	b, err := st.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil
	}
	return b
}

// authOffer is the line of EHLO, "" if nothing can be offered.
func (s *session) authOffer() string {
	if !s.offersAuth() {
		return ""
	}
	names := s.mechanisms()
	if len(names) == 0 {
		return ""
	}
	return "250-AUTH " + strings.Join(names, " ") + "\r\n"
}
