package migrate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// incoming is about who may send mail here.
func (x *exim) incoming() {
	interfaces, where := x.list("local_interfaces")
	var listen []string
	for _, word := range interfaces {
		host, port := word, "25"
		if strings.Count(word, ".") == 4 {
			i := strings.LastIndexByte(word, '.')
			host, port = word[:i], word[i+1:]
		}
		if _, ok := network(host); !ok {
			x.skip(where, "dc_local_interfaces: %s", word)
			continue
		}
		if host = strings.Trim(host, "[]"); strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		listen = append(listen, host+":"+port)
	}
	if len(listen) == 0 {
		listen = []string{"0.0.0.0:25", "[::]:25"}
	}
	x.conf("SMTPLISTEN", strings.Join(listen, " "), where)
	nets := []string{"127.0.0.0/8", "::1"}
	clients, where := x.list("relay_nets")
	for _, c := range clients {
		if p, ok := network(c); ok {
			nets = append(nets, p.String())
		} else {
			x.skip(where, "dc_relay_nets: %s is no network", c)
		}
	}
	x.relay(nets, where)
	domains, where := x.list("relay_domains")
	for _, d := range domains {
		switch d = strings.ToLower(d); {
		case strings.HasPrefix(d, "*."):
			x.table("db/relays", d[1:], "", where)
		case strings.ContainsAny(d, "*!/^+@ "):
			x.skip(where, "dc_relay_domains: %s", d)
		default:
			x.table("db/relays", d, "", where)
		}
	}
}

// senders reads the lists of senders and hosts that are refused.
func (x *exim) senders() {
	in := func(name string) string { return filepath.Join(x.dir, name) }
	allowed := ""
	for _, name := range []string{"local_host_whitelist", "local_sender_whitelist", "host_local_deny_exceptions", "sender_local_deny_exceptions"} {
		x.eachLine(in(name), func(text, where string) {
			switch net, ok := network(text); {
			case ok:
				x.hook("smtp_connect", "client_in "+net.String()+" && return 0", where)
			case x.hookSender("smtp_mail", "sender", strings.TrimPrefix(text, "*"), "return 0", where):
			default:
				x.skip(where, "%s: %.100s", name, text)
			}
			allowed = name
		})
	}
	x.eachLine(in("local_host_blacklist"), func(text, where string) {
		if net, ok := network(text); ok {
			x.hook("smtp_connect", "client_in "+net.String()+" && reject 550 5.7.1 'access denied'", where)
		} else {
			x.skip(where, "local_host_blacklist: %.100s is no network", text)
		}
	})
	x.eachLine(in("local_sender_blacklist"), func(text, where string) {
		if !x.hookSender("smtp_mail", "sender", strings.TrimPrefix(strings.TrimPrefix(text, "*@"), "*"), "reject 550 5.7.1 'access denied'", where) {
			x.skip(where, "local_sender_blacklist: %.100s", text)
		}
	})
	if allowed != "" {
		x.note(allowed, "a client or sender in it is let past the lists of this file, and not past others")
	}
	for _, name := range []string{"local_sender_callout", "local_rcpt_callout", "local_domain_dnsbl_whitelist"} {
		if x.eachLine(in(name), func(string, string) {}) {
			x.skip(name, "callouts and lists of exceptions: a hook in smtpserver.conf may do it")
		}
	}
}

// macros reads the settings that administrators make without touching Debian's files.
func (x *exim) macros() {
	files, _ := filepath.Glob(filepath.Join(x.dir, "conf.d/main/*local*macros"))
	certificate, key, at := "", "", ""
	for _, path := range append(files, filepath.Join(x.dir, "exim4.conf.localmacros")) {
		x.eachLine(path, func(text, where string) {
			name, value, ok := strings.Cut(text, "=")
			name, value = strings.TrimSpace(name), strings.TrimSpace(value)
			switch {
			case !ok:
				x.skip(where, "%.100s", text)
			case name == "MAIN_TLS_CERTIFICATE":
				certificate, at = value, where
			case name == "MAIN_TLS_PRIVATEKEY":
				key = value
			case name == "MESSAGE_SIZE_LIMIT" && value != "" && strings.Trim(value, "0123456789KMG") == "":
				x.server("limit size="+value, where)
			case name == "MAIN_HARDCODE_PRIMARY_HOSTNAME":
				x.conf("HOSTNAME", value, where)
			case name == "CHECK_RCPT_IP_DNSBLS" && strings.Trim(strings.ToLower(value), "abcdefghijklmnopqrstuvwxyz0123456789.-: ") == "":
				for _, zone := range strings.FieldsFunc(value, func(r rune) bool { return r == ':' || r == ' ' }) {
					x.note(where, "%s: Exim notes a listed client in the header, this host refuses it", zone)
					x.hook("smtp_rcpt", "dnsbl "+zone+" && reject 550 5.7.1 "+quoted("client is listed by "+zone), where)
				}
			case name == "MAIN_TLS_ENABLE", name == "MAIN_TLS_ADVERTISE_HOSTS":
			case name == "REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS" && value == "*":
				x.smtpOptions = append(x.smtpOptions, "-S must")
			default:
				x.skip(where, "%s = %.100s", name, value)
			}
		})
	}
	if certificate != "" {
		if key == "" {
			key = certificate
		}
		x.server("tls "+certificate+" "+key, at)
		x.note(at, "the key must be readable for the group zmailer, since the server reads it again at a reload")
	}
}

// stockParts are the files of conf.d that Debian's package brings.
var stockParts = []string{
	"acl/00_exim4-config_header", "acl/20_exim4-config_local_deny_exceptions", "acl/30_exim4-config_check_mail", "acl/30_exim4-config_check_rcpt",
	"acl/40_exim4-config_check_data", "auth/00_exim4-config_header", "auth/30_exim4-config_examples", "main/01_exim4-config_listmacrosdefs",
	"main/02_exim4-config_options", "main/03_exim4-config_tlsoptions", "main/90_exim4-config_log_selector", "retry/00_exim4-config_header",
	"retry/30_exim4-config", "rewrite/00_exim4-config_header", "rewrite/31_exim4-config_rewriting", "router/00_exim4-config_header",
	"router/100_exim4-config_domain_literal", "router/150_exim4-config_hubbed_hosts", "router/200_exim4-config_primary", "router/300_exim4-config_real_local",
	"router/400_exim4-config_system_aliases", "router/500_exim4-config_hubuser", "router/600_exim4-config_userforward", "router/700_exim4-config_procmail",
	"router/800_exim4-config_maildrop", "router/850_exim4-config_lowuid", "router/900_exim4-config_local_user", "router/mmm_mail4root",
}

// changed lists what is in conf.d besides Debian's files, and a whole configuration
// that takes their place.
func (x *exim) changed() {
	if _, err := os.Stat(filepath.Join(x.dir, "exim4.conf")); err == nil {
		x.skip("exim4.conf", "takes the place of Debian's configuration, and cannot be read here: carry its routers over by hand")
	}
	files, _ := filepath.Glob(filepath.Join(x.dir, "conf.d/*/*"))
	split, _ := x.get("use_split_config")
	for _, path := range files {
		name := filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
		switch b, _ := os.ReadFile(path); {
		case split != "true", strings.HasPrefix(name, "transport/") && strings.Contains(name, "_exim4-config_"), slices.Contains(stockParts, name), strings.Contains(name, "localmacros"):
		case strings.Contains(string(b), "/virtual/"):
			x.note("conf.d/"+name, "its files of virtual domains are read; look whether it does more")
		default:
			x.skip("conf.d/"+name, "a part of your own")
		}
	}
}
