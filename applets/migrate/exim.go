package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An exim is an import under way: of Debian's answers in update-exim4.conf.conf and
// the files that its configuration looks at.
type exim struct {
	*result
	dir      string // /etc/exim4
	etc      string // /etc
	hostname string

	answers map[string]macro
	local   []string
}

// importExim reads Debian's configuration of Exim in dir.
func importExim(dir, hostname string, stock map[string]string) (*result, error) {
	x := &exim{result: newResult(stock), dir: dir, etc: filepath.Dir(filepath.Clean(dir)), hostname: hostname, answers: make(map[string]macro)}
	err := logicalLines(filepath.Join(dir, "update-exim4.conf.conf"), func(n int, text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("update-exim4.conf.conf:%d: want NAME='VALUE'", n)
		}
		x.answers[name] = macro{name, []string{strings.Trim(value, `'"`)}, fmt.Sprintf("update-exim4.conf.conf:%d", n)}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: only Debian's answers can be read; a configuration written by hand is a program of its own: local_domains becomes db/localnames, relay_to_domains db/relays, relay_from_hosts relay_for in smtpserver.conf, a manualroute router db/routes or SMARTHOST, a redirect router db/aliases or db/virtual; --compare then asks exim -bt and the directory that you have made", err)
	}
	if err != nil {
		return nil, err
	}
	x.names()
	x.hubbed()
	x.kind()
	x.virtual()
	x.localMail()
	x.incoming()
	x.senders()
	x.macros()
	x.changed()
	x.agents()
	return x.result, nil
}

// get is an answer and where it stands.
func (x *exim) get(name string) (value, where string) {
	a := x.answers["dc_"+name]
	return strings.TrimSpace(a.arg(0)), a.where
}

// list splits an answer at semicolons, or at colons where there are none. "<;" and its
// like name another separator.
func (x *exim) list(name string) (items []string, where string) {
	value, where := x.get(name)
	sep := ":"
	if strings.Contains(value, ";") {
		sep = ";"
	}
	if rest, ok := strings.CutPrefix(value, "<"); ok && rest != "" {
		sep, value = rest[:1], rest[1:]
	}
	for item := range strings.SplitSeq(value, sep) {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items, where
}

// eachLine reads a file of the configuration that need not be there.
func (x *exim) eachLine(path string, fn func(text, where string)) bool {
	err := logicalLines(path, func(n int, text string) error {
		fn(text, fmt.Sprintf("%s:%d", filepath.Base(path), n))
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.skip(path, "%v", err)
	}
	return err == nil
}

// pairs reads a file of lines "key: value".
func (x *exim) pairs(path string, fn func(e entry)) bool {
	return x.eachLine(path, func(text, where string) {
		key, value, ok := strings.Cut(text, ":")
		if !ok {
			if i := strings.IndexAny(text, " \t"); i > 0 {
				key, value = text[:i], text[i:]
			}
		}
		fn(entry{strings.ToLower(strings.Trim(strings.TrimSpace(key), `"`)), strings.TrimSpace(value), where})
	})
}

func (x *exim) names() {
	x.conf("HOSTNAME", x.hostname, "")
	domain := x.hostname
	if b, err := os.ReadFile(filepath.Join(x.etc, "mailname")); err == nil {
		if name := strings.TrimSpace(string(b)); name != "" && !strings.ContainsAny(name, " \n") {
			domain = name
		}
	}
	if domain != x.hostname {
		x.conf("MYDOMAIN", domain, "mailname:1")
	}
	origin := domain == x.hostname
	names, where := x.list("other_hostnames")
	for _, name := range names {
		name = strings.ToLower(name)
		switch {
		case name == domain:
			origin = true
		case name == x.hostname, name == "localhost", name == "@":
		case strings.HasPrefix(name, "*."):
			x.table("db/localnames", name[1:], "", where)
		case strings.ContainsAny(name, "*!/^+@"):
			x.skip(where, "local domain %s", name)
		default:
			x.local = append(x.local, name)
			x.table("db/localnames", name, "", where)
		}
	}
	if !origin {
		x.table("db/otherservers", domain, "", "mailname:1")
		x.note(where, "%s completes addresses but its users are elsewhere: an address of it that is written out is sent there, one without a domain is delivered here", domain)
	}
}

// hubbed reads routes of domains, which come before all others.
func (x *exim) hubbed() {
	x.pairs(filepath.Join(x.dir, "hubbed_hosts"), func(e entry) {
		host, err := eximHost(e.value)
		if err != nil {
			x.skip(e.where, "%s: %v", e.key, err)
			return
		}
		x.table("db/routes", strings.TrimPrefix(e.key, "*"), "smtp!"+host, e.where)
		if !strings.HasPrefix(e.key, "*") {
			if slices.Contains(x.local, e.key) || e.key == x.hostname {
				x.table("db/otherservers", e.key, "", e.where)
			}
		}
	})
}

// eximHost turns a host of a route, "name::port byname", into ours.
func eximHost(s string) (string, error) {
	w := strings.Fields(s)
	if len(w) == 0 || len(w) > 2 || strings.ContainsAny(s, "$;/+") {
		return "", fmt.Errorf("route %.100s: a route has one host", s)
	}
	host, port, _ := strings.Cut(w[0], "::")
	if strings.Contains(strings.Trim(host, "[]"), ":") {
		return "", fmt.Errorf("route %.100s: a route has one host", s)
	}
	host = strings.TrimSuffix(host, "/MX")
	if len(w) == 1 || w[1] != "bydns" {
		host = "[" + strings.Trim(host, "[]") + "]"
	}
	if port != "" && port != "25" {
		host += ":" + port
	}
	return host, nil
}

// kind is what the host does with mail for others.
func (x *exim) kind() {
	kind, where := x.get("eximconfig_configtype")
	smart, at := x.get("smarthost")
	host, err := eximHost(smart)
	switch kind {
	case "internet":
	case "smarthost", "satellite":
		if err != nil {
			x.skip(at, "dc_smarthost: %v", err)
			break
		}
		x.conf("SMARTHOST", host, at)
	case "local":
		x.table("db/routes", ".", "error!mailing to remote domains not supported", where)
	default:
		x.skip(where, "dc_eximconfig_configtype='%s'", kind)
	}
	if kind == "smarthost" || kind == "satellite" {
		x.passwords(host)
	}
	readhost, at := x.get("readhost")
	if readhost == "" || strings.ContainsAny(readhost, " \t'\"$`\\") {
		return
	}
	if kind == "satellite" {
		x.policy("mailbox_elsewhere() { # USER DETAIL DOMAIN\n\tlogin \"$1\" >/dev/null && once readhost && expand -a -- \"$(addr_join \"$1$2\" "+readhost+")\"\n}", at)
	}
	if hide, at := x.get("hide_mailname"); hide == "true" && (kind == "smarthost" || kind == "satellite") {
		for _, name := range append([]string{x.hostname}, x.local...) {
			if name != readhost {
				x.table("db/mailnames", "@"+name, "%1@"+readhost, at)
			}
		}
	}
}

// passwords reads passwd.client: host, login, password, separated by colons.
func (x *exim) passwords(smarthost string) {
	x.eachLine(filepath.Join(x.dir, "passwd.client"), func(text, where string) {
		f := strings.SplitN(text, ":", 3)
		if len(f) < 3 {
			x.skip(where, "want HOST:LOGIN:PASSWORD")
			return
		}
		host := f[0]
		switch plain := strings.Trim(smarthost, "[]"); {
		case host == "*":
		case strings.HasPrefix(host, "^"), strings.ContainsAny(host, "*"):
			x.note(where, "the login for %s is used at %s", host, smarthost)
			host = smarthost
		case host == plain, strings.HasPrefix(smarthost, "["+host+"]"):
			host = smarthost
		}
		x.password(host, f[1], strings.ReplaceAll(f[2], "::", ":"), where)
	})
}

// localMail is about local users: aliases, mailboxes, the names they write under.
func (x *exim) localMail() {
	x.alias(filepath.Join(x.etc, "aliases"))
	switch v, where := x.get("localdelivery"); v {
	case "", "mail_spool":
		x.mailbox("/var/mail/%u", where)
	case "maildir_home":
		x.mailbox("%h/Maildir/", where)
	default:
		x.skip(where, "dc_localdelivery='%s': see sm.conf, and deliver to its mailer in router.cf", v)
	}
	x.pairs(filepath.Join(x.etc, "email-addresses"), func(e entry) {
		x.table("db/mailnames", e.key, e.value, e.where)
	})
	x.pairs(filepath.Join(x.dir, "lowuid-aliases"), func(e entry) {
		x.skip(e.where, "%s: %s; an alias counts for mail of this host too", e.key, e.value)
	})
}

// virtual reads the common directory of virtual domains: a file of aliases for each.
func (x *exim) virtual() {
	files, _ := filepath.Glob(filepath.Join(x.dir, "virtual", "*"))
	used := x.mentions("/virtual/")
	for _, path := range files {
		domain := strings.ToLower(filepath.Base(path))
		if !used {
			x.skip("virtual/"+domain, "no router of conf.d/router or exim4.conf.template looks there")
			continue
		}
		catch := false
		x.pairs(path, func(e entry) {
			key := e.key + "@" + domain
			if e.key == "*" {
				key, catch = "@"+domain, true
			}
			switch text, failing := strings.CutPrefix(e.value, ":fail:"); {
			case failing:
				x.table("db/virtual", key, "error!"+cmpText(text), "virtual/"+e.where)
			case strings.ContainsAny(e.value, ":|/$"):
				x.skip("virtual/"+e.where, "%s: %.100s", e.key, e.value)
			default:
				x.table("db/virtual", key, e.value, "virtual/"+e.where)
			}
		})
		if !catch {
			x.table("db/virtual", "@"+domain, "error!no such user here", "virtual/"+domain)
		}
	}
}

func cmpText(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "no such user here"
	}
	return s
}

// mentions tells whether the configuration has a text in a router.
func (x *exim) mentions(text string) bool {
	files, _ := filepath.Glob(filepath.Join(x.dir, "conf.d/router/*"))
	for _, path := range append(files, filepath.Join(x.dir, "exim4.conf.template")) {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}
