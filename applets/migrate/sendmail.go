package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// A sendmail is an import under way.
type sendmail struct {
	*result
	dir      string
	hostname string

	features  map[string]macro
	defines   map[string]macro
	masq      macro
	local     []string // names of this host besides its own
	entire    bool     // all hosts below a masqueraded domain
	relayNets []string
	listening bool
	raw       []macro
}

// importSendmail reads the configuration in dir: sendmail.mc if it is there, else
// sendmail.cf, and the sources of the tables.
func importSendmail(dir, hostname string, stock map[string]string) (*result, error) {
	calls, raw, err := readMC(filepath.Join(dir, "sendmail.mc"))
	if errors.Is(err, fs.ErrNotExist) {
		calls, err = readCF(filepath.Join(dir, "sendmail.cf"))
	}
	if err != nil {
		return nil, err
	}
	s := &sendmail{result: newResult(stock), dir: dir, hostname: hostname, features: make(map[string]macro), defines: make(map[string]macro), raw: raw}
	for _, c := range calls {
		switch c.name {
		case "define":
			s.defines[c.arg(0)] = macro{c.name, c.args[1:], c.where}
		case "FEATURE":
			s.features[c.arg(0)] = macro{c.name, c.args[1:], c.where}
		case "MASQUERADE_AS":
			s.masq = c
		}
	}
	s.names()
	for _, c := range calls {
		s.call(c)
	}
	s.outgoing()
	s.aliasFiles()
	s.tables()
	s.limits()
	if !s.listening {
		s.conf("SMTPLISTEN", "0.0.0.0:25 [::]:25", "")
	}
	s.relay(append([]string{"127.0.0.0/8", "::1"}, s.relayNets...), "relay-domains, access")
	for _, r := range raw {
		s.skip(r.where, "%.100s: a line of sendmail.cf; what it does can be said in router.cf", r.name)
	}
	s.agents()
	return s.result, nil
}

// path is a file that a setting or a feature names, in the directory that was read if
// it is there.
func (s *sendmail) path(name, standard string) string {
	for _, w := range strings.Fields(name) {
		if i := strings.IndexByte(w, '/'); i >= 0 {
			standard = w[i:]
		}
	}
	if here := filepath.Join(s.dir, filepath.Base(standard)); !filepath.IsAbs(standard) || filepath.Dir(standard) == "/etc/mail" {
		return here
	}
	return standard
}

func (s *sendmail) names() {
	where := ""
	if d, ok := s.defines["confDOMAIN_NAME"]; ok && !strings.Contains(d.arg(0), "$") {
		s.hostname, where = d.arg(0), d.where
	}
	s.conf("HOSTNAME", s.hostname, where)
	if f, ok := s.features["use_cw_file"]; ok {
		s.eachLine(s.path(s.defines["confCW_FILE"].arg(0)+" "+f.arg(0), "local-host-names"), f.where, s.localName)
	}
	s.eachLine(filepath.Join(s.dir, "trusted-users"), "", func(user, where string) {
		if user != "root" && user != "daemon" && user != "uucp" {
			s.add("zmailer.conf", fmt.Sprintf("TRUSTED=\"${TRUSTED-} %s\" # %s", strings.Trim(user, `"$`+"`"), where))
		}
	})
	s.eachLine(filepath.Join(s.dir, "relay-domains"), "", s.relayFrom)
}

// eachLine reads a file of words. One that no setting names need not be there.
func (s *sendmail) eachLine(path, named string, fn func(word, where string)) {
	err := sendmailLines(path, func(n int, text string) error {
		for _, w := range strings.Fields(text) {
			fn(w, fmt.Sprintf("%s:%d", filepath.Base(path), n))
		}
		return nil
	})
	if err != nil && !(errors.Is(err, fs.ErrNotExist) && named == "") {
		s.skip(named, "%v", err)
	}
}

func (s *sendmail) localName(name, where string) {
	if name == s.hostname || name == "localhost" {
		return
	}
	s.local = append(s.local, name)
	s.table("db/localnames", name, "", where)
}

// network reads an address, a prefix, or the first numbers of one: 192.168.1.
func network(s string) (netip.Prefix, bool) {
	s = strings.TrimPrefix(strings.Trim(s, "[]"), "IPv6:")
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	parts := strings.Split(strings.TrimSuffix(s, "."), ".")
	if len(parts) > 3 || strings.Trim(s, "0123456789.") != "" {
		return netip.Prefix{}, false
	}
	bits := 8 * len(parts)
	for len(parts) < 4 {
		parts = append(parts, "0")
	}
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits), true
}

// relayFrom takes a word of relay-domains: hosts that mail may come from and go to.
func (s *sendmail) relayFrom(word, where string) {
	if p, ok := network(word); ok {
		s.relayNets = append(s.relayNets, p.String())
		return
	}
	s.relayTo(word, where)
	s.note(where, "%s: mail to it is taken; mail from clients with such a name is not, name their networks in relay_for", word)
}

func (s *sendmail) relayTo(domain, where string) {
	domain = strings.TrimPrefix(domain, ".")
	s.table("db/relays", domain, "", where)
	s.table("db/relays", "."+domain, "", where)
}

// outgoing is about mail that leaves: the smarthost and the names of this host.
func (s *sendmail) outgoing() {
	if d := s.defines["SMART_HOST"]; d.arg(0) != "" {
		port := ""
		for _, name := range []string{"RELAY_MAILER_ARGS", "ESMTP_MAILER_ARGS"} {
			if w := strings.Fields(s.defines[name].arg(0)); len(w) == 3 {
				port = ":" + w[2]
			}
		}
		host, ok := mailerHost(d.arg(0))
		if !ok || strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
			s.skip(d.where, "SMART_HOST %s: set SMARTHOST in zmailer.conf to one host", d.arg(0))
		} else {
			s.conf("SMARTHOST", host+port, d.where)
		}
	}
	if f, ok := s.features["nullclient"]; ok {
		hub, _ := mailerHost(f.arg(0))
		s.conf("SMARTHOST", hub, f.where)
		s.policy("routeuser() { # LOCAL DOMAIN\n\tdeliver smtp \"$SMARTHOST\" \"$(addr_join \"$1\" \"$MYDOMAIN\")\"\n}", f.where)
	}
	if s.masq.arg(0) != "" {
		for _, d := range append([]string{s.hostname}, s.local...) {
			s.masquerade(d, s.masq.where)
		}
		if _, ok := s.features["masquerade_envelope"]; !ok {
			s.note(s.masq.where, "the sender in the envelope is rewritten too, as masquerade_envelope does")
		}
	}
}

func (s *sendmail) masquerade(domain, where string) {
	if to := strings.Trim(s.masq.arg(0), "."); domain != to && to != "" {
		s.table("db/mailnames", "@"+domain, "%1@"+to, where)
	}
}

// mailerHost takes "mailer:host", "host" and "[host]".
func mailerHost(s string) (host string, ok bool) {
	mailer, host, named := strings.Cut(s, ":")
	if !named || strings.HasPrefix(s, "[") {
		return s, s != ""
	}
	return host, slices.Contains(smtpMailers, mailer) && host != ""
}

var smtpMailers = []string{"smtp", "esmtp", "relay", "smtp8", "dsmtp"}

func (s *sendmail) aliasFiles() {
	files := s.defines["ALIAS_FILE"]
	if files.arg(0) == "" {
		files.args = []string{"/etc/mail/aliases"}
	}
	for _, f := range files.args {
		for _, path := range words(f) {
			if kind, rest, ok := strings.Cut(path, ":"); ok && !strings.HasPrefix(kind, "/") {
				if path = rest; kind != "hash" && kind != "btree" && kind != "dbm" && kind != "files" && kind != "implicit" {
					s.skip(files.where, "aliases in %s:%s", kind, rest)
					continue
				}
			}
			s.alias(s.path(path, path))
		}
	}
	if l := s.defines["LUSER_RELAY"]; l.arg(0) != "" {
		switch user, ok := strings.CutPrefix(l.arg(0), "local:"); {
		case ok && user != "", !strings.Contains(l.arg(0), ":") && strings.Contains(l.arg(0), "@"):
			s.aliasEntry("*", strings.TrimPrefix(l.arg(0), "local:"), l.where)
		default:
			s.skip(l.where, "LUSER_RELAY %s: an alias * takes mail for users that nobody knows; it needs an address", l.arg(0))
		}
	}
}

func (s *sendmail) limits() {
	for _, l := range []struct {
		name string
		set  func(v, where string)
	}{
		{"confMAX_MESSAGE_SIZE", func(v, where string) { s.server("limit size="+v, where) }},
		{"confMAX_RCPTS_PER_MESSAGE", func(v, where string) { s.server("limit rcpts="+v, where) }},
		{"confTO_QUEUERETURN", func(v, where string) { s.defaults("expiry="+v, where) }},
		{"confTO_QUEUEWARN", func(v, where string) { s.defaults("delay-warning="+v, where) }},
	} {
		d, ok := s.defines[l.name]
		switch v := d.arg(0); {
		case !ok, v == "0", v == "":
		case strings.Trim(v, "0123456789smhd") == "":
			l.set(v, d.where)
		default:
			s.skip(d.where, "%s %s", l.name, v)
		}
	}
	cert, key := s.defines["confSERVER_CERT"], s.defines["confSERVER_KEY"]
	if c, k := cert.arg(0), key.arg(0); strings.HasPrefix(c, "/") && strings.HasPrefix(k, "/") {
		s.server("tls "+c+" "+k, cert.where)
		s.note(cert.where, "the key must be readable for the group zmailer, since the server reads it again at a reload")
	} else if c != "" {
		s.skip(cert.where, "confSERVER_CERT %s: name the files in smtpserver.conf: tls CERT KEY", c)
	}
}
