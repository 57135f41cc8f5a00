package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// senders is which addresses a user may send with.
type senders struct {
	owners   *relations.Relation // nil: any
	header   bool                // From and Sender of the message, too
	everyone bool                // owned addresses need a login, on all ports
}

// senders TABLE [header] [everyone]: the table has, for an address or for @DOMAIN,
// the users who may send with it; * is everybody who has logged in.
func (c *config) senderLogins(call *shell.Call) error {
	if len(call.Args) == 0 {
		return errors.New("want the name of a table, and maybe header or everyone")
	}
	rel, err := c.table(call.Args[0])
	if err != nil {
		return err
	}
	c.senders = senders{owners: rel}
	for _, arg := range call.Args[1:] {
		switch arg {
		case "header":
			c.senders.header = true
		case "everyone":
			c.senders.everyone = true
		default:
			return fmt.Errorf("%s: want header or everyone", arg)
		}
	}
	return nil
}

// owns tells whether the session's user may send with an address. owned tells
// that there are users who may.
func (s *session) owns(a rfc5322.Address) (ok, owned bool, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.limits.hook)
	defer cancel()
	domain, err := rfc5322.CanonicalDomain(a.Domain)
	if err != nil {
		return false, false, nil
	}
	if domain == "" {
		domain = s.cfg.conf.MyDomain
	}
	for _, key := range []string{strings.ToLower(a.Local) + "@" + domain, "@" + domain} {
		value, found, err := s.cfg.senders.owners.Lookup(ctx, key)
		if err != nil {
			return false, false, err
		}
		if !found {
			continue
		}
		for _, user := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
			if s.authUser != "" && (user == s.authUser || user == "*") {
				return true, true, nil
			}
		}
		return false, true, nil
	}
	return false, false, nil
}

// checkSender refuses a sender that the client may not use.
func (s *session) checkSender(a rfc5322.Address) *smtp.SMTPError {
	login := s.authUser != ""
	switch {
	case s.cfg.senders.owners == nil || a.IsNull() || s.local != nil:
		return nil
	case !login && !s.cfg.senders.everyone && s.role != roleSubmission:
		return nil
	case !login && s.relay: // its address vouches for it
		return nil
	}
	ok, owned, err := s.owns(a)
	switch {
	case err != nil:
		s.log.Error("table cannot be asked", "client", s.clientText, "err", err)
		return errPolicy
	case ok || !login && !owned:
		return nil
	case login:
		return refuse(553, 5, 7, 1, "Sender address "+a.Path()+" does not belong to user "+s.authUser)
	}
	return refuse(553, 5, 7, 1, "Sender address "+a.Path()+" needs a login")
}

// checkAuthors does the same for the addresses in the header of a message.
func (s *session) checkAuthors(h rfc5322.Header) *smtp.SMTPError {
	for _, name := range []string{"From", "Sender"} {
		for _, body := range h.All(name) {
			list, err := rfc5322.ParseList(body)
			if err != nil {
				return refuse(550, 5, 6, 0, "Field "+name+" cannot be read")
			}
			for _, mb := range list {
				if e := s.checkSender(mb.Address); e != nil {
					return e
				}
			}
		}
	}
	return nil
}

// checksAuthors tells whether the header of a message is looked at.
func (s *session) checksAuthors() bool {
	return s.cfg.senders.header && s.cfg.senders.owners != nil && s.authUser != ""
}
