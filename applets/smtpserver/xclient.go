package smtpserver

import (
	"net/netip"
	"strings"

	"github.com/emersion/go-smtp"

	"zmailer/spool/rfc5322"
)

// xclientOffer is the line of EHLO.
const xclientOffer = "250-XCLIENT NAME ADDR HELO LOGIN\r\n"

var errXClient = refuse(550, 5, 7, 0, "Error: XCLIENT is not for you")

// offersXClient tells whether the peer may speak for others. It is the peer of
// the connection who must be listed, not the one it has spoken for.
func (s *session) offersXClient() bool {
	return s.local == nil && s.peer.IsValid() && contains(s.cfg.xclients, s.peer)
}

// xclient obeys XCLIENT as Postfix defines it: the session begins again, as that
// of the client which is named.
func (s *session) xclient(arg string) {
	switch {
	case !s.offersXClient():
		s.sayWrong(errXClient)
		return
	case s.mail.active:
		s.sayWrong(errNested)
		return
	}
	who, e := parseXClient(arg)
	if e != nil {
		s.sayWrong(e)
		return
	}
	s.reset()
	s.helo, s.esmtp, s.authUser = who.helo, false, who.login
	if who.addr.IsValid() {
		s.client, s.clientText = who.addr, who.addr.String()
		s.name.cancel()
		s.name = s.srv.lookup(s.ctx, s.client)
	}
	if who.name != "" {
		s.name.cancel()
		s.name = found(who.name)
	}
	s.relay = s.cfg.relays(s.client)
	if !s.connect() {
		s.done = true
	}
}

type xclientFacts struct {
	name, helo, login string
	addr              netip.Addr
}

// parseXClient reads NAME=VALUE..., values in xtext.
func parseXClient(arg string) (x xclientFacts, err *smtp.SMTPError) {
	if arg == "" {
		return x, refuse(501, 5, 5, 4, "Syntax: XCLIENT NAME=VALUE...")
	}
	err = eachParam(arg, func(key, value string, given bool) *smtp.SMTPError {
		v, e := rfc5322.DecodeXtext(value)
		if e != nil || !given || !printableText(v) || len(v) > rfc5322.MaxDomain {
			return badParam(key)
		}
		none := v == "[UNAVAILABLE]" || v == "[TEMPUNAVAIL]"
		switch key {
		case "NAME":
			x.name = v
			if none || !rfc5322.ValidDomain(v) {
				x.name = "unknown"
			}
		case "HELO":
			if !none {
				x.helo = v
			}
		case "LOGIN":
			if !none {
				x.login = v
			}
		case "ADDR":
			if none {
				return nil
			}
			ip, e := netip.ParseAddr(strings.TrimPrefix(strings.ToUpper(v), "IPV6:"))
			if e != nil || ip.Zone() != "" {
				return badParam(key)
			}
			x.addr = ip.Unmap()
		default:
			return unknownParam(key)
		}
		return nil
	})
	return x, err
}
