package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// A verdict is what one call of policy decided.
type verdict struct {
	refusal *smtp.SMTPError // nil: go on
	relay   bool            // the client may send to everybody
	delay   time.Duration   // before the reply
	token   bool            // a token is being judged
	login   string          // whose it is
}

// decide makes a command of f that works only in a hook.
func decide(f func(v *verdict, args []string) error) shell.Command {
	return func(call *shell.Call) int {
		s, ok := call.Host.(*session)
		if !ok {
			return call.Fail(fmt.Errorf("%s: belongs into a function smtp_connect, smtp_helo, smtp_mail, smtp_rcpt, smtp_data or smtp_message", call.Name))
		}
		if err := f(&s.verdict, call.Args); err != nil {
			return call.Fail(fmt.Errorf("%s: %w", call.Name, err))
		}
		return 0
	}
}

// decideFor is decide for what the session itself takes.
func decideFor(f func(s *session, args []string) error) shell.Command {
	return func(call *shell.Call) int {
		s, ok := call.Host.(*session)
		if !ok {
			return call.Fail(fmt.Errorf("%s: there is no client while the file is loaded", call.Name))
		}
		if err := f(s, call.Args); err != nil {
			return call.Fail(fmt.Errorf("%s: %w", call.Name, err))
		}
		return 0
	}
}

// client_in NETWORK...: whether the client's address is in one of them.
func clientIn(call *shell.Call) int {
	s, ok := call.Host.(*session)
	if !ok {
		return call.Fail(errors.New("client_in: there is no client while the file is loaded"))
	}
	for _, arg := range call.Args {
		p, err := parseNetwork(arg)
		if err != nil {
			return call.Fail(fmt.Errorf("client_in: %w", err))
		}
		if p.Contains(s.client) {
			return 0
		}
	}
	return 1
}

var errPolicy = refuse(451, 4, 3, 0, "Policy cannot be decided now, try again later")

// hook calls a function of the policy. What the function cannot decide is
// temporary.
func (s *session) hook(fn string, args ...string) *smtp.SMTPError {
	if s.shell == nil {
		s.shell = s.cfg.prog.Session(s.ctx, s)
	}
	s.setHookVars(fn, args)
	ctx, cancel := context.WithTimeout(s.ctx, s.limits.hook)
	defer cancel()
	s.shell.SetContext(ctx)
	s.verdict = verdict{token: fn == "smtp_token"}
	status, err := s.shell.Call(fn, args...)
	s.wait(s.verdict.delay)
	switch {
	case s.probe:
	case err != nil:
		s.log.Error("policy failed", "client", s.clientText, "err", err)
		return errPolicy
	case s.verdict.refusal != nil:
		if s.verdict.refusal.Message == "" {
			s.verdict.refusal.Message = "Refused by policy"
		}
		return s.verdict.refusal
	case status == proc.TempFail:
		return errPolicy
	}
	if s.verdict.relay {
		// What is granted within a transaction ends with it.
		if s.mail.id == "" {
			s.relay = true
		} else {
			s.mail.relay = true
		}
	}
	return nil
}

func (s *session) setHookVars(fn string, args []string) {
	set := s.shell.Setenv
	set("client", s.clientText)
	set("client_name", s.clientName())
	net := ""
	if p := neighbourhood(s.client); p.IsValid() {
		net = p.String()
	}
	set("client_net", net)
	set("helo", s.helo)
	set("tls", s.tlsText)
	set("auth_user", s.authUser)
	set("sender", s.mail.from.String())
	set("recipient", "")
	if fn == "smtp_rcpt" {
		set("recipient", args[0])
	}
	set("nrcpt", strconv.Itoa(len(s.mail.rcpts)))
	set("size", strconv.FormatInt(max(s.mail.opts.Size, s.mail.body.size), 10))
	set("spf", string(s.mail.auth.SPF.Value))
	dkim, domains := dkimText(s.mail.auth.DKIM)
	set("dkim", dkim)
	set("dkim_domains", domains)
	set("dmarc", string(s.mail.auth.DMARC.Value))
	set("dmarc_policy", s.mail.auth.DMARC.Policy)
	set("arc", string(s.mail.auth.ARC.Value))
	set("arc_domains", sealersText(s.mail.auth.ARC.Sealers))
	set("arc_vouched", s.mail.vouched)
}
