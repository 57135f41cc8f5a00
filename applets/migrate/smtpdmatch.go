package migrate

import (
	"net/url"
	"slices"
	"strings"
)

// A rule is "match OPTIONS action NAME" or "match OPTIONS reject".
type rule struct {
	to, toKind     string // "" for local; domain, rcpt-to, any
	from, fromKind string // local, any, auth, src, mail-from
	action         string // "" rejects
	odd            string // an option that has no counterpart
}

func parseMatch(w []string) rule {
	r := rule{toKind: "local", fromKind: "local"}
	for i := 1; i < len(w); i++ {
		next := func() string {
			if i++; i < len(w) {
				return w[i]
			}
			return ""
		}
		switch w[i] {
		case "!":
			r.odd = "!"
		case "for":
			if r.toKind = next(); r.toKind == "!" {
				r.odd = "!"
				r.toKind = next()
			}
			if r.toKind != "any" && r.toKind != "local" {
				if r.to = next(); r.to == "regex" {
					r.odd = "regex"
				}
			}
		case "from":
			kind := next()
			if r.fromKind == "auth" && kind == "any" {
				continue
			}
			r.fromKind = kind
			if slices.Contains([]string{"src", "mail-from"}, r.fromKind) {
				r.from = next()
			} else if r.fromKind == "rdns" {
				r.odd = "rdns"
			}
		case "auth":
			r.fromKind = "auth"
		case "mail-from":
			r.fromKind, r.from = "mail-from", next()
		case "rcpt-to":
			r.toKind, r.to = "rcpt-to", next()
		case "action":
			r.action = next()
		case "reject":
			r.action = ""
		default:
			r.odd = w[i]
		}
	}
	return r
}

// match carries over a rule. The first that fits a domain decides, here as there: an
// entry that is there already is kept.
func (s *smtpd) match(st statement) {
	r := parseMatch(st.words)
	a, known := s.actions[r.action]
	switch {
	case r.odd != "":
		s.skip(st.where, "%.100s: %q in a rule", strings.Join(st.words, " "), r.odd)
	case r.action == "":
		s.reject(r, st)
	case !known:
		s.skip(st.where, "action %s is not defined before", r.action)
	case r.toKind == "rcpt-to", r.fromKind == "mail-from":
		s.skip(st.where, "%.100s: a rule for addresses; router.cf may have one", strings.Join(st.words, " "))
	case a.method == "relay":
		s.relays(r, a, st)
	default:
		s.localAction(r, a, st)
	}
}

func (s *smtpd) reject(r rule, st statement) {
	for _, e := range s.words(r.from, st) {
		net, isNet := network(e.key)
		switch {
		case r.toKind != "any":
		case r.fromKind == "src" && isNet:
			s.hook("smtp_connect", "client_in "+net.String()+" && reject 550 5.7.1 'access denied'", e.where)
			continue
		case r.fromKind == "mail-from" && s.hookSender("smtp_mail", "sender", e.key, "reject 550 5.7.1 'access denied'", e.where):
			continue
		}
		s.skip(st.where, "%.100s: a hook in smtpserver.conf may do it", strings.Join(st.words, " "))
	}
}

// relays carries over a rule whose mail leaves the host.
func (s *smtpd) relays(r rule, a action, st statement) {
	host, ok := s.host(a)
	if !ok {
		return
	}
	if _, backup := a.options["backup"]; backup {
		host = ""
	}
	if r.toKind == "domain" {
		for _, e := range s.words(r.to, st) {
			key := strings.TrimPrefix(e.key, "*")
			if host != "" {
				s.route("smtp!" + host)
				s.table("db/routes", key, host, e.where)
			}
			if r.fromKind == "any" {
				s.table("db/relays", key, "", e.where)
			}
		}
		return
	}
	switch {
	case r.toKind == "local":
		s.skip(st.where, "local users are on another host: db/mboxmap names it")
		return
	case r.fromKind == "any":
		s.skip(st.where, "%s: this host does not relay for everybody", strings.Join(st.words, " "))
		return
	case r.fromKind == "src":
		for _, e := range s.words(r.from, st) {
			if net, ok := network(e.key); ok {
				s.nets = append(s.nets, net.String())
			} else {
				s.skip(e.where, "%s is no network", e.key)
			}
		}
	}
	switch hop := strings.TrimPrefix(host, "smtp!"); {
	case s.passed && (hop != "" || s.keys["smarthost"] != "") && hop != s.keys["smarthost"]:
		s.skip(st.where, "mail of some goes by another way: a function elsewhere in router.cf may choose by the sender")
	case hop != "" && !s.passed:
		s.keys["smarthost"] = hop
		s.conf("SMARTHOST", hop, a.where)
	}
	s.passed = true
}

// host is the value of a route for the relay host of an action, "" for the exchangers
// of the domain.
func (s *smtpd) host(a action) (string, bool) {
	for name := range a.options {
		switch name {
		case "host", "auth", "tls", "no-verify", "pki", "backup", "mx", "helo":
		default:
			s.skip(a.where, "relay %s %s", name, a.options[name])
		}
	}
	text := a.options["host"]
	if text == "" {
		return "", true
	}
	if !strings.Contains(text, "://") {
		text = "smtp://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		s.skip(a.where, "relay host %s", text)
		return "", false
	}
	port := u.Port()
	switch u.Scheme {
	case "smtp":
	case "smtp+tls":
		s.smtpOptions = append(s.smtpOptions, "-S "+u.Hostname()+"=verify")
	case "smtp+notls":
		s.smtpOptions = append(s.smtpOptions, "-S "+u.Hostname()+"=off")
	case "smtps":
		if port == "" {
			port = "465" // where our agent begins with TLS, too
		}
	case "lmtp":
		s.lmtp = true
		return "lmtp!" + u.Host, true
	default:
		s.skip(a.where, "relay host %s", text)
		return "", false
	}
	hop := "[" + u.Hostname() + "]"
	if port != "" && port != "25" {
		hop += ":" + port
	}
	if u.Scheme == "smtps" && port != "465" {
		hop = "smtps://" + hop
	}
	if table := a.options["auth"]; table != "" && u.User != nil {
		for _, e := range s.words(table, statement{where: a.where}) {
			if user, password, ok := strings.Cut(e.value, ":"); ok && e.key == u.User.Username() {
				s.password(hop, user, password, e.where)
			}
		}
	}
	return "smtp!" + hop, true
}

// localAction carries over a rule whose mail stays here.
func (s *smtpd) localAction(r rule, a action, st statement) {
	var domains []entry
	switch r.toKind {
	case "local":
		domains = []entry{{s.hostname, "", st.where}}
	case "domain":
		domains = s.words(r.to, st)
	default:
		s.skip(st.where, "%s: mail for anybody is kept here", strings.Join(st.words, " "))
		return
	}
	if a.method == "lmtp" {
		s.lmtpDomains(domains, r, a)
		return
	}
	s.place(a)
	virtual, isVirtual := a.options["virtual"]
	for _, d := range domains {
		domain := strings.TrimPrefix(d.key, "*")
		if isVirtual && !strings.HasPrefix(domain, ".") {
			s.virtualDomain(domain, virtual, d.where, a)
		} else if domain != s.hostname && domain != "localhost" {
			s.table("db/localnames", domain, "", d.where)
		}
	}
	if table := strings.Trim(a.options["alias"], "<>"); table != "" && !s.aliased[table] {
		s.aliased[table] = true
		if path := s.keys["file:"+table]; path != "" {
			s.alias(path)
		} else {
			for _, e := range s.tables[table] {
				s.aliasEntry(e.key, e.value, e.where)
			}
		}
	}
}

func (s *smtpd) lmtpDomains(domains []entry, r rule, a action) {
	if len(a.args) == 0 || r.toKind == "local" {
		s.skip(a.where, "LMTP for users of this host: a route of a domain, or a function mailbox in router.cf")
		return
	}
	for _, d := range domains {
		key := strings.TrimPrefix(d.key, "*")
		s.lmtp = true
		s.table("db/routes", key, "lmtp!"+strings.TrimPrefix(a.args[0], "unix:"), d.where)
		s.table("db/relays", key, "", d.where)
	}
	if _, ok := a.options["rcpt-to"]; !ok {
		s.note(a.where, "the LMTP server gets the address, as with rcpt-to")
	}
}

// place is where an action puts mail of local users.
func (s *smtpd) place(a action) {
	path := ""
	switch a.method {
	case "mbox":
		path = "/var/mail/%u"
	case "maildir":
		path = "%h/Maildir/"
		if len(a.args) > 0 {
			path = strings.NewReplacer("%{user.username}", "%u", "%{user.directory}", "%h", "%{dest.user}", "%u", "~/", "%h/").Replace(a.args[0]) + "/"
		}
		if strings.Contains(path, "%{") {
			s.skip(a.where, "maildir %s: db/users names the mailbox of each user", a.args[0])
			return
		}
	case "expand-only", "forward-only":
		return
	default:
		s.skip(a.where, "%s %s: see sm.conf", a.method, strings.Join(a.args, " "))
		return
	}
	if _, ok := a.options["userbase"]; ok {
		s.skip(a.where, "userbase: put the users in db/users")
	}
	switch {
	case s.mailbox == "":
		s.mailbox = path
		s.result.mailbox(path, a.where)
	case s.mailbox != path:
		s.skip(a.where, "a second place for mailboxes: db/users names the mailbox of a user")
	}
}

// virtualDomain puts the entries of a virtual table that count for a domain into
// db/virtual.
func (s *smtpd) virtualDomain(domain, table, where string, a action) {
	entries := s.words(table, statement{where: a.where})
	catch := ""
	for _, e := range entries {
		key := strings.ToLower(e.key)
		user, at, qualified := strings.Cut(key, "@")
		switch {
		case qualified && at != domain && at != "":
		case qualified && user == "":
			if at != "" || catch == "" {
				catch = s.virtualValue(e)
			}
		default:
			s.table("db/virtual", user+"@"+domain, s.virtualValue(e), e.where)
		}
	}
	if catch == "" {
		catch = "error!no such user here"
	}
	s.table("db/virtual", "@"+domain, catch, where)
	if name := a.options["user"]; name != "" {
		s.note(a.where, "mailboxes of user %s: db/virtual leads to him", name)
	}
}

func (s *smtpd) virtualValue(e entry) string {
	if e.value == "" {
		return "%1"
	}
	list := words(e.value)
	for i, w := range list {
		if text, ok := strings.CutPrefix(w, "error:"); ok {
			return "error!" + strings.TrimSpace(text+" "+strings.Join(list[i+1:], " "))
		}
	}
	return members(e.value)
}
