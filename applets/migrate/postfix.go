package migrate

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A postfix is an import under way.
type postfix struct {
	*result
	cf  *mainCF
	dir string

	hostname, domain string
	clients          map[string]smtpClient
	smart            []string // where mail goes that no table sends elsewhere
	smartClient      smtpClient
}

// importPostfix reads the configuration in dir.
func importPostfix(dir, hostname string, stock map[string]string) (*result, error) {
	cf, err := readMainCF(filepath.Join(dir, "main.cf"))
	if err != nil {
		return nil, err
	}
	p := &postfix{result: newResult(stock), cf: cf, dir: dir}
	cf.defs["myhostname"], cf.defs["config_directory"] = hostname, dir
	p.names()
	p.outgoing()
	p.local()
	p.virtual()
	p.transports()
	p.incoming()
	p.queue()
	if err := p.services(); err != nil {
		return nil, err
	}
	p.agents()
	p.rest()
	return p.result, nil
}

func (p *postfix) names() {
	var where string
	p.hostname, where = p.cf.get("myhostname")
	p.conf("HOSTNAME", p.hostname, where)
	if _, domain, ok := strings.Cut(p.hostname, "."); ok && strings.Contains(domain, ".") {
		p.cf.defs["mydomain"] = domain
	} else {
		p.cf.defs["mydomain"] = p.hostname
	}
	p.cf.get("mydomain")
	p.cf.defs["myorigin"], p.cf.defs["mydestination"] = "$myhostname", "$myhostname, localhost.$mydomain, localhost"
	p.domain, where = p.cf.get("myorigin")
	if filepath.IsAbs(p.domain) {
		b, err := os.ReadFile(p.domain)
		if err != nil {
			p.skip(where, "myorigin: %v", err)
		}
		p.domain = strings.TrimSpace(string(b))
	}
	if p.domain != p.hostname && p.domain != "" {
		p.conf("MYDOMAIN", p.domain, where)
	}
	origin := p.domain == p.hostname
	list, where := p.cf.get("mydestination")
	for _, name := range p.list(list, where) {
		switch name {
		case p.domain:
			origin = true
		case p.hostname, "localhost":
		default:
			p.table("db/localnames", name, "", where)
		}
	}
	if !origin && p.domain != "" {
		p.table("db/otherservers", p.domain, "", where)
		p.note(where, "%s completes addresses but its users are elsewhere: an address of it that is written out is sent there, one without a domain is delivered here", p.domain)
	}
}

// list is a list of words in which the name of a file or table stands for what is in
// it.
func (p *postfix) list(value, where string) []string {
	var out []string
	for _, w := range words(value) {
		switch {
		case strings.HasPrefix(w, "/"):
			err := logicalLines(w, func(_ int, text string) error {
				out = append(out, words(text)...)
				return nil
			})
			if err != nil {
				p.skip(where, "%v", err)
			}
		case strings.Contains(w, ":/"):
			entries, err := readTable(w, p.dir)
			if err != nil {
				p.skip(where, "%s: %v", w, err)
			}
			for _, e := range entries {
				out = append(out, e.key)
			}
		default:
			out = append(out, w)
		}
	}
	return out
}

// entries reads the tables that a parameter names.
func (p *postfix) entries(name string) []entry {
	value, where := p.cf.get(name)
	var out []entry
	for _, spec := range words(value) {
		list, err := readTable(spec, p.dir)
		if err != nil {
			p.skip(where, "%s = %s: %v", name, spec, err)
		}
		out = append(out, list...)
	}
	return out
}

func (p *postfix) local() {
	if maps, where := p.cf.get("alias_maps"); maps != "" {
		for _, spec := range words(maps) {
			path, err := sourceFile(spec, p.dir)
			if err != nil {
				p.skip(where, "alias_maps = %s: %v", spec, err)
				continue
			}
			p.alias(path)
		}
	} else {
		p.alias("/etc/aliases")
	}
	if home, where := p.cf.get("home_mailbox"); home != "" {
		p.mailbox("%h/"+home, where)
	} else if dir, where := p.cf.get("mail_spool_directory"); dir != "" {
		if strings.HasSuffix(dir, "/") {
			p.mailbox(dir+"%u/", where)
		} else {
			p.mailbox(dir+"/%u", where)
		}
	}
	if d, where := p.cf.get("recipient_delimiter"); d != "+" && d != "" {
		p.skip(where, "recipient_delimiter = %s: here it is +", d)
	}
}

func (p *postfix) virtual() {
	domains := make(map[string]string)
	catch := make(map[string]bool)
	for _, e := range p.entries("virtual_alias_maps") {
		switch {
		case strings.HasPrefix(e.key, "@"):
			catch[e.key[1:]] = true
			p.table("db/virtual", e.key, members(e.value), e.where)
		case strings.Contains(e.key, "@"):
			p.table("db/virtual", e.key, members(e.value), e.where)
		case strings.Contains(e.key, "."):
			domains[e.key] = e.where // DOMAIN ANYTHING declares a domain
		default:
			p.table("db/virtual", e.key+"@"+p.domain, members(e.value), e.where)
			p.note(e.where, "%s: there for every local domain, here for %s", e.key, p.domain)
		}
	}
	if list, where := p.cf.get("virtual_alias_domains"); list != "" {
		for _, d := range p.list(list, where) {
			domains[d] = where
		}
	}
	for _, d := range sortedKeys(domains) {
		if !catch[d] {
			p.table("db/virtual", "@"+d, "error!no such user here", domains[d])
		}
	}
	boxes, where := p.cf.get("virtual_mailbox_domains")
	if boxes == "" {
		return
	}
	transport, _ := p.cf.get("virtual_transport")
	hop, err := p.hop(transport)
	if err != nil {
		p.skip(where, "virtual_mailbox_domains: %v", err)
		return
	}
	p.route(hop)
	for _, d := range p.list(boxes, where) {
		p.table("db/routes", d, hop, where)
		p.table("db/relays", d, "", where)
	}
	p.note(where, "which addresses of virtual_mailbox_domains exist is for %s to say, after the mail was taken", transport)
}

func (p *postfix) transports() {
	for _, e := range p.entries("transport_maps") {
		hop, err := p.hop(e.value)
		if err != nil {
			p.skip(e.where, "%s %s: %v", e.key, e.value, err)
			continue
		}
		p.route(hop)
		key := e.key
		if key == "*" {
			key = "."
		}
		p.table("db/routes", key, hop, e.where)
	}
	list, where := p.cf.get("relay_domains")
	for _, d := range p.list(list, where) {
		if d == "" || strings.HasPrefix(d, "$") {
			continue
		}
		p.table("db/relays", d, "", where)
		if !strings.HasPrefix(d, ".") {
			p.table("db/relays", "."+d, "", where) // parent_domain_matches_subdomains
		}
	}
}

func (p *postfix) incoming() {
	p.cf.defs["inet_interfaces"] = "all"
	list, where := p.cf.get("inet_interfaces")
	protocols, _ := p.cf.get("inet_protocols")
	six := protocols != "ipv4"
	var listen []string
	for _, w := range words(list) {
		switch w {
		case "all":
			if listen = append(listen, "0.0.0.0:25"); six {
				listen = append(listen, "[::]:25")
			}
		case "loopback-only", "localhost":
			if listen = append(listen, "127.0.0.1:25"); six {
				listen = append(listen, "[::1]:25")
			}
		default:
			if ip := net.ParseIP(strings.Trim(w, "[]")); ip != nil {
				listen = append(listen, net.JoinHostPort(ip.String(), "25"))
			} else {
				p.skip(where, "inet_interfaces: %s is no address", w)
			}
		}
	}
	p.conf("SMTPLISTEN", strings.Join(listen, " "), where)
	p.relayFor()
	cert, where := p.cf.get("smtpd_tls_cert_file")
	key, _ := p.cf.get("smtpd_tls_key_file")
	if key == "" || key == "$smtpd_tls_cert_file" {
		key = cert
	}
	if cert != "" && cert != "none" {
		p.server(fmt.Sprintf("tls %s %s", cert, key), where)
		p.note(where, "the key must be readable for the group zmailer, since the server reads it again at a reload")
	}
	p.restrictions()
}

func (p *postfix) relayFor() {
	list, where := p.cf.get("mynetworks")
	if list == "" {
		if style, at := p.cf.get("mynetworks_style"); style != "" && style != "host" {
			p.skip(at, "mynetworks_style = %s: name the networks in relay_for", style)
		}
		return
	}
	nets := []string{}
	for _, w := range p.list(list, where) {
		text := strings.NewReplacer("[", "", "]", "").Replace(w)
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			ip, e := netip.ParseAddr(text)
			if e != nil {
				p.skip(where, "mynetworks: %s is no network", w)
				continue
			}
			prefix = netip.PrefixFrom(ip, ip.BitLen())
		}
		if !prefix.Addr().Is4In6() {
			nets = append(nets, prefix.Masked().String())
		}
	}
	p.relay(nets, where)
}

// implied are restrictions that the server has by itself.
var implied = []string{
	"permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination", "defer_unauth_destination", "permit",
	"reject_unauth_pipelining", "reject_unlisted_recipient", "reject_invalid_helo_hostname", "permit_auth_destination",
}

func (p *postfix) restrictions() {
	for _, stage := range []string{"client", "helo", "sender", "relay", "recipient", "data", "end_of_data", "etrn"} {
		name := "smtpd_" + stage + "_restrictions"
		value, where := p.cf.get(name)
		for _, r := range restrictionsOf(value) {
			if !slices.Contains(implied, r) {
				p.skip(where, "%s: %s; a hook in smtpserver.conf may do it", name, r)
			}
		}
	}
	if v, where := p.cf.get("message_size_limit"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n > 0 {
			p.server("limit size="+v, where)
		} else {
			p.skip(where, "message_size_limit = %s: there is always a limit", v)
		}
	}
}

// restrictionsOf splits a list of restrictions, each with its arguments.
func restrictionsOf(value string) []string {
	var list []string
	for _, w := range words(value) {
		name, _, named := strings.Cut(w, "_")
		switch {
		case named && slices.Contains([]string{"reject", "permit", "check", "defer", "warn"}, name), len(list) == 0,
			w == "permit", w == "reject", w == "defer":
			list = append(list, w)
		default:
			list[len(list)-1] += " " + w
		}
	}
	return list
}

func (p *postfix) queue() {
	for _, q := range []struct{ name, key string }{{"maximal_queue_lifetime", "expiry"}, {"delay_warning_time", "delay-warning"}} {
		v, where := p.cf.get(q.name)
		if v == "" {
			continue
		}
		if n, err := strconv.Atoi(v); err == nil {
			unit := map[string]string{"expiry": "d", "delay-warning": "h"}[q.key]
			v = strconv.Itoa(n) + unit
		}
		if strings.HasSuffix(v, "w") {
			p.skip(where, "%s = %s", q.name, v)
			continue
		}
		p.defaults(q.key+"="+v, where)
	}
	if v, where := p.cf.get("default_destination_concurrency_limit"); v != "" {
		p.defaults("maxthr="+v, where)
	}
}

// services reads master.cf: which ports are open, and programs that mail is given to.
func (p *postfix) services() error {
	path := filepath.Join(p.dir, "master.cf")
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return nil
	}
	return logicalLines(path, func(n int, text string) error {
		w := strings.Fields(text)
		if len(w) < 8 {
			return nil
		}
		where := fmt.Sprintf("master.cf:%d", n)
		switch {
		case w[1] == "unix" && w[7] == "smtp":
			for name, value := range serviceOptions(w[8:]) {
				if !slices.Contains([]string{"syslog_name", "smtp_tls_wrappermode", "smtp_tcp_port", "smtp_tls_security_level"}, name) || name == "smtp_tls_security_level" && !p.clients[w[0]].wrap {
					p.skip(where, "service %s: %s = %s: a clause of scheduler.conf for its hosts may do it", w[0], name, value)
				}
			}
		case w[1] != "inet" && w[7] != "pipe":
		case w[0] == "submission" || w[0] == "587":
			p.server("listen :587 submission", where)
			p.note(where, "users are in db/passwords here; see zmailer passwd")
		case w[0] == "smtps" || w[0] == "submissions" || w[0] == "465":
			p.server("listen :465 submission tls", where)
		case w[1] == "inet" && w[0] != "smtp":
			p.skip(where, "service %s", text)
		case w[7] == "pipe" && !slices.Contains(stockPipes, w[0]):
			p.skip(where, "service %s: a mailer in sm.conf may do it", w[0])
		}
		return nil
	})
}

// stockPipes are services that Postfix comes with and nobody uses for that.
var stockPipes = []string{"maildrop", "uucp", "ifmail", "bsmtp", "scalemail-backend", "mailman"}

// quiet are parameters without a counterpart that nobody misses: places of files,
// versions, what is always so here.
var quiet = []string{
	"compatibility_level", "readme_directory", "html_directory", "manpage_directory", "sample_directory", "setgid_group",
	"command_directory", "daemon_directory", "data_directory", "queue_directory", "mail_owner", "mail_name", "mail_version",
	"sendmail_path", "newaliases_path", "mailq_path", "biff", "append_dot_mydomain", "alias_database", "smtpd_banner",
	"mailbox_size_limit", "inet_protocols", "smtp_tls_CApath", "smtp_tls_CAfile", "smtpd_tls_session_cache_database",
	"smtp_tls_session_cache_database", "smtpd_use_tls", "smtpd_tls_security_level", "smtpd_sasl_auth_enable", "smtpd_tls_auth_only",
	"smtp_sasl_security_options", "smtp_use_tls", "debugger_command", "debug_peer_level", "unknown_local_recipient_reject_code",
	"disable_vrfy_command", "smtpd_helo_required", "strict_rfc821_envelopes", "smtputf8_enable", "shlib_directory", "meta_directory",
	"smtp_tls_loglevel", "default_transport", "smtp_tls_wrappermode", "smtp_tcp_port", "smtp_sender_dependent_authentication", "smtpd_tls_loglevel", "smtpd_tls_received_header", "local_recipient_maps", "virtual_transport", "maillog_file",
	"smtpd_forbid_bare_newline", "smtp_sasl_password_maps", "smtp_sasl_auth_enable", "smtpd_tls_key_file", "relay_transport",
}

// rest lists what nobody has asked for.
func (p *postfix) rest() {
	for _, x := range p.cf.params {
		// A parameter that others refer to is carried over with them.
		if !p.cf.used[x.name] && !slices.Contains(quiet, x.name) && !p.cf.refersTo(x.name) {
			p.skip(p.cf.where(x), "%s = %.100s", x.name, x.value)
		}
	}
}

func (m *mainCF) refersTo(name string) bool {
	for _, x := range m.params {
		if strings.Contains(x.value, "$"+name) || strings.Contains(x.value, "${"+name) {
			return true
		}
	}
	return false
}
