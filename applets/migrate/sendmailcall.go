package migrate

import (
	"path/filepath"
	"slices"
	"strings"
)

// call carries over one line of sendmail.mc, but for those that others have read
// already.
func (s *sendmail) call(c macro) {
	switch c.name {
	case "define":
		s.defineLine(c)
	case "FEATURE":
		s.featureLine(c)
	case "LOCAL_DOMAIN":
		for _, w := range strings.Fields(c.arg(0)) {
			s.localName(w, c.where)
		}
	case "RELAY_DOMAIN":
		for _, w := range strings.Fields(c.arg(0)) {
			s.relayFrom(w, c.where)
		}
	case "RELAY_DOMAIN_FILE":
		if path := s.path(c.arg(0), "relay-domains"); path != filepath.Join(s.dir, "relay-domains") { // that was read
			s.eachLine(path, c.where, s.relayFrom)
		}
	case "VIRTUSER_DOMAIN":
		for _, w := range strings.Fields(c.arg(0)) {
			s.table("db/relays", w, "", c.where)
		}
	case "VIRTUSER_DOMAIN_FILE":
		s.eachLine(s.path(c.arg(0), ""), c.where, func(w, where string) { s.table("db/relays", w, "", where) })
	case "MASQUERADE_DOMAIN":
		s.masqueradeDomain(c)
	case "EXPOSED_USER":
		for _, w := range strings.Fields(c.arg(0)) {
			if s.masq.arg(0) != "" {
				s.table("db/mailnames", w+"@"+s.hostname, w+"@"+s.hostname, c.where)
			}
		}
	case "TRUSTED_USER":
	case "DAEMON_OPTIONS":
		s.daemon(c)
	case "MASQUERADE_AS", "GENERICS_DOMAIN", "GENERICS_DOMAIN_FILE", "include", "VERSIONID", "OSTYPE", "DOMAIN", "undefine", "DAEMON_NAME", "CLIENT_OPTIONS", "ifdef", "TRUST_AUTH_MECH":
	case "MAILER":
		if !slices.Contains([]string{"local", "smtp"}, c.arg(0)) {
			s.skip(c.where, "MAILER %s: see sm.conf for a mailer of that kind", c.arg(0))
		}
	default:
		s.skip(c.where, "%s(%.100s)", c.name, strings.Join(c.args, ", "))
	}
}

// defined elsewhere, or of no interest.
var quietDefines = []string{
	"SMART_HOST", "ALIAS_FILE", "LUSER_RELAY", "confDOMAIN_NAME", "confMAX_MESSAGE_SIZE", "confMAX_RCPTS_PER_MESSAGE", "confTO_QUEUERETURN", "confTO_QUEUEWARN",
	"confSERVER_CERT", "confSERVER_KEY", "confCW_FILE", "confDEF_USER_ID", "confPRIVACY_FLAGS", "confCACERT", "confCACERT_PATH", "confCLIENT_CERT", "confCLIENT_KEY",
	"confAUTH_MECHANISMS", "confAUTH_OPTIONS", "confSMTP_LOGIN_MSG", "confLOG_LEVEL", "confTRUSTED_USER", "confTRY_NULL_MX_LIST", "confDONT_PROBE_INTERFACES",
	"PROCMAIL_MAILER_PATH", "STATUS_FILE", "UUCP_MAILER_MAX", "confUSERDB_SPEC", "confCONNECTION_CACHE_SIZE", "confCONNECTION_CACHE_TIMEOUT", "confHOST_STATUS_DIRECTORY",
	"confMAX_DAEMON_CHILDREN", "confTO_CONNECT", "confTO_IDENT", "RELAY_MAILER_ARGS", "ESMTP_MAILER_ARGS", "confMCI_CACHE_TIMEOUT", "confREFUSE_LA", "confQUEUE_LA", "_USE_ETC_MAIL_",
}

func (s *sendmail) defineLine(c macro) {
	name, value := c.arg(0), c.arg(1)
	switch {
	case name == "MAIL_HUB" || name == "LOCAL_RELAY":
		s.skip(c.where, "%s %s: db/mboxmap names the host of a user's mailbox", name, value)
	case strings.HasPrefix(name, "confTO_"), slices.Contains(quietDefines, name):
	default:
		s.skip(c.where, "define %s, %.100s", name, value)
	}
}

var quietFeatures = []string{
	"use_cw_file", "use_ct_file", "mailertable", "virtusertable", "access_db", "genericstable", "authinfo", "nullclient", "masquerade_envelope", "allmasquerade",
	"always_add_domain", "nocanonify", "no_default_msa", "delay_checks", "local_lmtp", "smrsh", "blacklist_recipients", "blocklist_recipients", "redirect",
	"generics_entire_domain", "limited_masquerade", "preserve_local_plus_detail", "nouucp", "virtuser_entire_domain", "nodns", "notsticky", "tls_session_features",
	"accept_unresolvable_domains", "accept_unqualified_senders",
}

func (s *sendmail) featureLine(c macro) {
	switch name := c.arg(0); name {
	case "masquerade_entire_domain":
		s.entire = true
	case "local_procmail", "local_maildrop":
		s.skip(c.where, "%s: a user's .forward names such a program, or router.cf delivers to a mailer of sm.conf", name)
	case "promiscuous_relay":
		s.skip(c.where, "promiscuous_relay: this host does not relay for everybody")
	case "dnsbl", "enhdnsbl":
		zone := c.arg(1)
		if zone == "" || strings.Trim(strings.ToLower(zone), "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			s.skip(c.where, "%s %s", name, zone)
			return
		}
		s.hook("smtp_rcpt", "dnsbl "+zone+" && reject 550 5.7.1 "+quoted("client is listed by "+zone), c.where)
	default:
		if !slices.Contains(quietFeatures, name) {
			s.skip(c.where, "FEATURE %s", strings.Join(c.args, ", "))
		}
	}
}

func (s *sendmail) masqueradeDomain(c macro) {
	for _, d := range strings.Fields(c.arg(0)) {
		s.masquerade(d, c.where)
		_, entire := s.features["masquerade_entire_domain"]
		switch {
		case !entire:
		case d == s.masq.arg(0):
			s.conf("MASQUERADE", d, c.where)
		default:
			s.skip(c.where, "hosts below %s: MASQUERADE makes joe@host.%s to joe@%s; others need a function outside_name", d, d, d)
		}
	}
}

// daemon carries over a listener.
func (s *sendmail) daemon(c macro) {
	addr, port, flags, family := "", "25", "", "inet"
	for part := range strings.SplitSeq(c.arg(0), ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch value = strings.TrimSpace(value); strings.ToLower(key) {
		case "addr", "address":
			addr = value
		case "port":
			port = map[string]string{"smtp": "25", "submission": "587", "smtps": "465", "submissions": "465"}[value]
			if port == "" {
				port = value
			}
		case "m", "modify":
			flags = value
		case "family":
			family = value
		}
	}
	if addr == "" {
		addr = map[string]string{"inet": "0.0.0.0", "inet6": "::"}[family]
	}
	if _, ok := network(addr); !ok {
		s.skip(c.where, "DAEMON_OPTIONS %s", c.arg(0))
		return
	}
	if strings.Contains(addr, ":") {
		addr = "[" + addr + "]"
	}
	s.listening = true
	line := "listen " + addr + ":" + port
	switch {
	case strings.Contains(flags, "s"):
		line += " submission tls"
	case strings.Contains(flags, "a") || port == "587":
		line += " submission"
	}
	s.server(line, c.where)
}
