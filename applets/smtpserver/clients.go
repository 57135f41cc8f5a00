package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/authres"

	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// about makes a command of a question about the session: status 0 is yes, 1 no,
// and 75 that nobody could say.
func about(f func(s *session, call *shell.Call) (bool, error)) shell.Command {
	return func(call *shell.Call) int {
		s, ok := call.Host.(*session)
		if !ok {
			return call.Fail(fmt.Errorf("%s: there is no client while the file is loaded", call.Name))
		}
		yes, err := f(s, call)
		var wrong usageError
		switch {
		case errors.As(err, &wrong):
			return call.Fail(fmt.Errorf("%s: %w", call.Name, err))
		case err != nil:
			s.log.Warn("policy question without an answer", "client", s.clientText, "action", call.Name, "err", err)
			return proc.TempFail
		case yes:
			return 0
		}
		return 1
	}
}

type usageError string

func (e usageError) Error() string { return string(e) }

// spf: whether the client may send for the domain of the sender; all that is not
// a plain no is a yes. The variable spf has the result.
func spfCommand(s *session, call *shell.Call) (bool, error) {
	if !s.mail.active && s.mail.id == "" {
		return false, usageError("belongs behind MAIL: there is no sender yet")
	}
	ctx, cancel := context.WithTimeout(call.Ctx, checkTime)
	defer cancel()
	v := s.checkSPF(ctx)
	call.Setenv("spf", string(v))
	if v == authres.ResultTempError {
		return false, errors.New("SPF: temporary failure")
	}
	return v != authres.ResultFail, nil
}

// has_name: whether the client's address has a name that leads back to it.
func hasName(s *session, _ *shell.Call) (bool, error) {
	name := s.clientName()
	if name == "unknown" && s.name != nil && s.name.failed {
		return false, errors.New("name of the client: temporary failure")
	}
	return name != "unknown", nil
}

// helo_ok: whether what the client calls itself can be true: a name of several
// labels or the literal of its own address, and not a name of ours.
func heloOK(s *session, _ *shell.Call) (bool, error) {
	name := strings.TrimSuffix(s.helo, ".")
	if strings.HasPrefix(name, "[") {
		ip, ok := rfc5322.ParseLiteral(name)
		return ok && (!s.client.IsValid() || ip.Unmap() == s.client), nil
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return false, nil // an address without brackets
	}
	if !rfc5322.ValidDomain(name) || !strings.Contains(name, ".") {
		return false, nil
	}
	conf := s.cfg.conf
	ours := rfc5322.EqualDomain(name, conf.Hostname) || rfc5322.EqualDomain(name, conf.MyDomain)
	return !ours || s.client.IsLoopback(), nil
}

// takes_mail [DOMAIN]: whether a domain, by default the sender's, can get mail:
// it has an MX that is not the null MX, or an address. The null sender can.
func takesMail(s *session, call *shell.Call) (bool, error) {
	domain := s.mail.from.Domain
	if len(call.Args) > 0 {
		domain = call.Args[0]
	} else if s.mail.from.IsNull() {
		return true, nil
	}
	domain, err := rfc5322.CanonicalDomain(domain)
	if err != nil || domain == "" {
		return false, nil
	}
	if strings.HasPrefix(domain, "[") {
		return true, nil
	}
	mx, err := s.srv.dns().MX(call.Ctx, domain)
	switch resolver.StatusOf(err) {
	case resolver.Found:
		return !resolver.IsNullMX(mx), nil
	case resolver.TempFail:
		return false, err
	}
	_, err = s.srv.dns().Host(call.Ctx, domain)
	if resolver.StatusOf(err) == resolver.NotFound {
		return false, nil
	}
	return err == nil, err
}

// maxTrap bounds the wait for a client that speaks too early.
const maxTrap = 30 * time.Second

// talks_early [TIME]: whether the client speaks before it is greeted, which only
// programs do that do not care for the answer. It waits for TIME, by default two
// seconds. Only smtp_connect can ask, and not where TLS comes first.
func talksEarly(s *session, call *shell.Call) (bool, error) {
	wait := 2 * time.Second
	if len(call.Args) > 0 {
		var err error
		if wait, err = time.ParseDuration(call.Args[0]); err != nil || wait <= 0 || wait > maxTrap {
			return false, usageError(fmt.Sprintf("%s: want a time of at most %v", call.Args[0], maxTrap))
		}
	}
	switch {
	case s.greeted:
		return false, usageError("belongs into smtp_connect")
	case s.tls != nil || s.probe || !s.client.IsValid():
		return false, nil
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, err
	}
	n, err := s.conn.Read(s.in.buf[s.in.w:])
	s.in.w += n
	s.due = time.Time{} // the next wait sets its own
	switch {
	case n > 0:
		return true, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	}
	return false, err
}
