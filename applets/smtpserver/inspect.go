package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-smtp"

	"zmailer/agents/arc"
	"zmailer/applets/smtpserver/mailauth"
	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// checks tell what is found out about a message from a stranger.
type checks struct {
	spf, dkim, dmarc bool
	arc              bool
	sealers          []string // whose word about a message counts
	enforce          bool     // refuse what a DMARC policy wants refused
	deferTemp        bool     // defer what could not be checked, instead of noting it
}

func (c checks) any() bool { return c.spf || c.dkim || c.dmarc || c.arc }

// checkTime bounds the checks of one message. The client waits ten minutes for
// the reply: RFC 5321 §4.5.3.2.6.
const checkTime = 30 * time.Second

// verify spf|dkim|dmarc|dmarc=enforce|arc|temperror=defer...: what is checked of
// messages from strangers. dmarc needs the first two.
func (c *config) verify(call *shell.Call) error {
	for _, arg := range call.Args {
		switch arg {
		case "spf":
			c.checks.spf = true
		case "dkim":
			c.checks.dkim = true
		case "dmarc", "dmarc=enforce":
			c.checks.spf, c.checks.dkim, c.checks.dmarc = true, true, true
			c.checks.enforce = c.checks.enforce || arg == "dmarc=enforce"
		case "arc":
			c.checks.arc = true
		case "temperror=defer":
			c.checks.deferTemp = true
		default:
			return fmt.Errorf("%s: want spf, dkim, dmarc, dmarc=enforce, arc or temperror=defer", arg)
		}
	}
	if !c.checks.any() {
		return fmt.Errorf("want spf, dkim, dmarc or arc")
	}
	return nil
}

// stranger tells that nobody vouches for the client.
func (s *session) stranger() bool { return !s.mayRelay() && s.role != roleLMTP }

// inspects tells whether the message is looked at before it is taken.
func (s *session) inspects() bool {
	return s.local == nil && (s.cfg.hooks.message || s.milting() || s.checksAuthors() || s.cfg.checks.any() && s.stranger())
}

var (
	errUnchecked = refuse(451, 4, 7, 26, "The sender could not be verified now, try again later")
	errCheck     = refuse(451, 4, 3, 0, "The message could not be checked now, try again later")
)

// inspect finds out what is to be known about the message, and asks the policy.
func (s *session) inspect() *smtp.SMTPError {
	m := &s.mail
	for _, h := range []*held{m.held, m.wire} {
		if h == nil {
			continue
		}
		if err := h.finish(); err != nil {
			return s.storageError("hold", err)
		}
	}
	header, _, err := m.held.split()
	switch tooLarge := errors.Is(err, rfc5322.ErrTooLarge); {
	case tooLarge && s.cfg.checks.any() && s.stranger():
		s.logRefused("message", "", errHugeHeader)
		return errHugeHeader // the author may stand where nobody looks
	case err != nil && !tooLarge:
		return s.storageError("hold", err)
	}
	m.header = header
	if s.checksAuthors() {
		if e := s.checkAuthors(header); e != nil {
			s.logRefused("message", "", e)
			return e
		}
	}
	if s.cfg.checks.any() && s.stranger() {
		s.authenticate()
		m.fields = append(m.fields, m.auth.Field(s.cfg.conf.Hostname))
		if e := s.judge(); e != nil {
			s.logRefused("message", "", e)
			return e
		}
	}
	if e := s.milterMessage(); e != nil {
		s.logRefused("message", "", e)
		return e
	}
	if m.discard != "" {
		return nil
	}
	if s.cfg.hooks.message {
		if e := s.hook("smtp_message"); e != nil {
			s.logRefused("message", "", e)
			return e
		}
	}
	return nil
}

// authenticate makes the checks, all at once.
func (s *session) authenticate() {
	ctx, cancel := context.WithTimeout(s.ctx, checkTime)
	defer cancel()
	m, c := &s.mail, s.cfg.checks
	var tasks sync.WaitGroup
	if c.dkim {
		tasks.Go(func() { m.auth.DKIM = mailauth.DKIM(ctx, s.srv.dns(), m.onWire()) })
	}
	if c.arc {
		tasks.Go(func() { m.auth.ARC = mailauth.ARC(ctx, s.srv.dns(), s.client, m.onWire()) })
	}
	if c.spf {
		s.checkSPF(ctx)
	}
	tasks.Wait()
	if c.dmarc {
		m.auth.DMARC = mailauth.DMARC(ctx, s.srv.dns(), m.header.All("From"), m.auth.SPF, m.auth.DKIM)
	}
	if r := &m.auth.DMARC; r.Value == authres.ResultFail {
		m.vouched, _ = m.auth.ARC.Vouches(r.Domain, c.trusts)
		if m.vouched != "" && r.Reason == "" {
			r.Reason = "passed before, says " + m.vouched
		}
	}
}

// onWire reads the message as it came. Signatures are about that.
func (m *transaction) onWire() io.Reader {
	if m.wire != nil {
		return m.wire.reader()
	}
	return mailauth.CRLF(m.held.reader())
}

// trusts tells whether the word of a sealer counts.
func (c *checks) trusts(domain string) bool {
	return slices.ContainsFunc(c.sealers, func(d string) bool { return rfc5322.EqualDomain(d, domain) })
}

// arc_trust DOMAIN...: handlers whose seals are believed. What fails DMARC and
// passed it at one of them, as the chain says, is not refused.
func (c *config) arcTrust(call *shell.Call) error {
	for _, arg := range call.Args {
		if !rfc5322.ValidDomain(arg) {
			return fmt.Errorf("%s: want the domain of a seal (d=)", arg)
		}
		c.checks.sealers = append(c.checks.sealers, arg)
	}
	c.checks.arc = true
	return nil
}

// checkSPF checks the sender of the transaction, once.
func (s *session) checkSPF(ctx context.Context) authres.ResultValue {
	if s.mail.auth.SPF.Value == "" {
		s.mail.auth.SPF = mailauth.SPF(ctx, s.srv.dns(), s.client, s.helo, s.mail.from.String())
	}
	return s.mail.auth.SPF.Value
}

// judge refuses what the checks forbid.
func (s *session) judge() *smtp.SMTPError {
	r, c := &s.mail.auth, s.cfg.checks
	switch {
	case c.enforce && r.DMARC.Value == authres.ResultFail && len(c.sealers) > 0 && r.ARC.Value == authres.ResultTempError:
		return errUnchecked // a trusted handler may vouch for it
	case c.enforce && r.DMARC.Value == authres.ResultPermError && r.DMARC.Policy == "reject":
		return refuse(550, 5, 7, 26, "Refused, the author cannot be verified (DMARC): "+r.DMARC.Reason)
	case c.enforce && s.mail.vouched == "" && r.DMARC.Value == authres.ResultFail && r.DMARC.Policy == "reject":
		return refuse(550, 5, 7, 26, "Refused, as "+r.DMARC.Domain+" wants it for mail that is not verified as its own (DMARC)")
	case c.deferTemp && r.TempError():
		return errUnchecked
	}
	return nil
}

// store puts a message that was held into the spool, with what was found out.
func (s *session) store() error {
	m := &s.mail
	sub, err := s.srv.spool.SubmitAs(m.id, s.envelope())
	if err != nil {
		return err
	}
	m.sub = sub
	_, err = io.Copy(sub, m.held.reader())
	return err
}

// dkimText sums the signatures up: pass if one did, else what the first says.
func dkimText(list []mailauth.DKIMResult) (value string, domains string) {
	var good []string
	for _, r := range list {
		if r.Value == authres.ResultPass {
			good = append(good, r.Domain)
		}
	}
	switch {
	case len(good) > 0:
		return authres.ResultPass, strings.Join(good, " ")
	case len(list) > 0:
		return string(list[0].Value), ""
	}
	return "", ""
}

// sealersText lists the handlers of a chain, the first one first.
func sealersText(list []arc.Sealer) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Domain
	}
	return strings.Join(names, " ")
}
