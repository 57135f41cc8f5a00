package smtpserver

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/d--j/go-milter"

	"zmailer/spool/rfc5322"
)

// milterMacroRequests are the macros that a milter gets which asks for none: those
// of Postfix, and the client's, which most want to have.
func milterMacroRequests() []milter.Option {
	return []milter.Option{
		milter.WithMacroRequest(milter.StageConnect, []milter.MacroName{"j", "{daemon_name}", "{daemon_addr}", "{daemon_port}", "v", "_",
			"{client_addr}", "{client_name}", "{client_port}", "{client_ptr}"}),
		milter.WithMacroRequest(milter.StageHelo, []milter.MacroName{"{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"}),
		milter.WithMacroRequest(milter.StageMail, []milter.MacroName{"i", "{auth_type}", "{auth_authen}", "{auth_author}",
			"{mail_addr}", "{mail_host}", "{mail_mailer}", "{client_addr}", "{client_name}"}),
		milter.WithMacroRequest(milter.StageRcpt, []milter.MacroName{"i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"}),
		milter.WithMacroRequest(milter.StageData, []milter.MacroName{"i"}),
		milter.WithMacroRequest(milter.StageEOH, []milter.MacroName{"i"}),
		milter.WithMacroRequest(milter.StageEOM, []milter.MacroName{"i"}),
	}
}

// milterMacros are what a session tells milters about itself.
type milterMacros struct{ s *session }

func (m milterMacros) Get(name string) string {
	v, _ := m.GetEx(name)
	return v
}

// GetEx returns a macro, and whether it has a value now.
func (m milterMacros) GetEx(name string) (string, bool) {
	v := m.value(name)
	return v, v != ""
}

func (m milterMacros) value(name string) string {
	s := m.s
	switch name {
	case "j":
		return s.cfg.conf.Hostname
	case "v":
		return "ZMailer"
	case "_":
		return s.clientName() + " [" + s.clientText + "]"
	case "i":
		return string(s.mail.id)
	case "r":
		return s.protocol()
	case "s":
		return s.helo
	case "{client_addr}":
		return s.clientText
	case "{client_name}", "{client_ptr}":
		return s.clientName()
	case "{client_port}":
		return strconv.Itoa(int(s.clientPort()))
	case "{client_connections}":
		return strconv.Itoa(s.srv.sessionsOf(s))
	case "{daemon_name}":
		return string(s.role)
	case "{daemon_addr}", "{if_addr}":
		host, _ := s.localAddr()
		return host
	case "{daemon_port}":
		_, port := s.localAddr()
		return port
	case "{auth_type}", "{auth_authen}", "{auth_author}":
		return m.auth(name)
	}
	switch {
	case strings.HasPrefix(name, "{mail_"):
		return address(name, s.mail.from)
	case strings.HasPrefix(name, "{rcpt_"):
		if a, err := rfc5322.ParseAddress(s.mail.told); err == nil {
			return address(name, a)
		}
	case s.tls != nil:
		return tlsMacro(name, s.tls.ConnectionState())
	}
	return ""
}

func (m milterMacros) auth(name string) string {
	s := m.s
	switch {
	case s.authUser == "":
		return ""
	case name == "{auth_type}":
		return s.authType
	case name == "{auth_authen}":
		return s.authUser
	case s.mail.opts.Auth != nil:
		return *s.mail.opts.Auth
	}
	return ""
}

// address is the part of an address that a macro names. Where mail goes is decided
// later, so that the mailer is always that of the protocol it came by.
func address(name string, a rfc5322.Address) string {
	switch name {
	case "{mail_addr}", "{rcpt_addr}":
		return a.String()
	case "{mail_host}", "{rcpt_host}":
		return a.Domain
	case "{mail_mailer}", "{rcpt_mailer}":
		return "smtp"
	}
	return ""
}

func tlsMacro(name string, t tls.ConnectionState) string {
	switch name {
	case "{tls_version}":
		return versionText(t.Version)
	case "{cipher}":
		return tls.CipherSuiteName(t.CipherSuite)
	case "{cipher_bits}":
		if suite := tls.CipherSuiteName(t.CipherSuite); strings.Contains(suite, "128") {
			return "128"
		}
		return "256"
	}
	if len(t.PeerCertificates) == 0 {
		return ""
	}
	switch cert := t.PeerCertificates[0]; name {
	case "{cert_subject}":
		return rfc5322.OneLine(fmt.Sprint(cert.Subject), 200)
	case "{cert_issuer}":
		return rfc5322.OneLine(fmt.Sprint(cert.Issuer), 200)
	}
	return ""
}

// localAddr is where the client has connected to.
func (s *session) localAddr() (host, port string) {
	c, ok := s.conn.(net.Conn)
	if !ok {
		return "", ""
	}
	host, port, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return "", ""
	}
	return host, port
}

// sessionsOf is how many sessions the neighbourhood of the client has.
func (srv *server) sessionsOf(s *session) int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.count[srv.sessions[s]]
}
