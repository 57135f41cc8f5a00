package migrate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// An smtpd is an import of OpenSMTPD under way.
type smtpd struct {
	*result
	dir      string
	hostname string
	domain   string

	tables  map[string][]entry
	actions map[string]action
	keys    map[string]string // of pki names
	listen  []string
	nets    []string
	mailbox string
	passed  bool // a smarthost, or none, was chosen
	aliased map[string]bool
	users   map[string]bool // virtual tables that are in db/virtual already
}

// An action is "action NAME METHOD OPTIONS".
type action struct {
	method  string
	args    []string // before the options
	options map[string]string
	where   string
}

// importSmtpd reads smtpd.conf in dir.
func importSmtpd(dir, hostname string, stock map[string]string) (*result, error) {
	statements, err := readSmtpd(filepath.Join(dir, "smtpd.conf"))
	if err != nil {
		return nil, err
	}
	s := &smtpd{
		result: newResult(stock), dir: dir, hostname: hostname, tables: make(map[string][]entry), actions: make(map[string]action),
		keys: make(map[string]string), aliased: make(map[string]bool), users: make(map[string]bool),
	}
	s.names()
	for _, st := range statements {
		s.statement(st)
	}
	if len(s.listen) == 0 {
		s.listen = []string{"127.0.0.1:25"}
	}
	s.conf("SMTPLISTEN", strings.Join(s.listen, " "), "smtpd.conf")
	s.relay(append([]string{"127.0.0.0/8", "::1"}, s.nets...), "smtpd.conf")
	if len(s.aliased) == 0 && s.aliasText.Len() == 0 {
		s.aliasEntry("postmaster", "root", "")
	}
	s.agents()
	return s.result, nil
}

func (s *smtpd) names() {
	where := ""
	for _, path := range []string{filepath.Join(s.dir, "mailname"), "/etc/mailname"} {
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) != "" && !strings.ContainsAny(strings.TrimSpace(string(b)), " \n") {
			s.hostname, where = strings.TrimSpace(string(b)), "mailname:1"
			break
		}
	}
	s.conf("HOSTNAME", s.hostname, where)
	s.domain = s.hostname
}

func (s *smtpd) statement(st statement) {
	w := st.words
	switch w[0] {
	case "table":
		s.table2(st)
	case "action":
		if len(w) > 2 {
			s.actions[w[1]] = parseAction(st)
		}
	case "match":
		s.match(st)
	case "listen":
		s.listener(st)
	case "pki":
		s.pki(st)
	case "queue", "bounce", "smtp":
		s.setting(st)
	default:
		s.skip(st.where, "%.100s", strings.Join(w, " "))
	}
}

// table2 reads a table: TABLE NAME file:PATH, or one that is written out.
func (s *smtpd) table2(st statement) {
	w := st.words
	if len(w) < 3 {
		s.skip(st.where, "%s", strings.Join(w, " "))
		return
	}
	if w[2] == "=" {
		w = append(w[:2:2], w[3:]...)
	}
	name := w[1]
	if w[2] == "{" {
		s.tables[name] = inlineTable(w[3:], st.where)
		return
	}
	kind, path, ok := strings.Cut(w[2], ":")
	if !ok {
		kind, path = "file", w[2]
	}
	path = s.path(strings.TrimSuffix(path, ".db"))
	if kind != "file" && kind != "db" {
		s.skip(st.where, "table %s of type %s: a relation of router.cf may ask it", name, kind)
		return
	}
	err := logicalLines(path, func(n int, text string) error {
		text, _, _ = strings.Cut(text, " #")
		key, value := strings.TrimSpace(text), ""
		if i := strings.IndexAny(text, " \t"); i >= 0 {
			key, value = text[:i], strings.TrimSpace(text[i:])
		}
		s.tables[name] = append(s.tables[name], entry{strings.TrimSuffix(key, ":"), value, fmt.Sprintf("%s:%d", filepath.Base(path), n)})
		return nil
	})
	if err != nil {
		s.skip(st.where, "table %s: %v", name, err)
	}
	if s.tables[name] == nil {
		s.tables[name] = []entry{}
	}
	s.keys["file:"+name] = path
}

// path is a file that the configuration names, beside smtpd.conf if it is there.
func (s *smtpd) path(path string) string {
	if here := filepath.Join(s.dir, filepath.Base(path)); !filepath.IsAbs(path) || fileExists(here) {
		return here
	}
	return path
}

func inlineTable(w []string, where string) []entry {
	var list []entry
	for i := 0; i < len(w) && w[i] != "}"; i++ {
		switch {
		case w[i] == ",":
		case w[i] == "=" && i+1 < len(w) && len(list) > 0:
			list[len(list)-1].value = w[i+1]
			i++
		default:
			list = append(list, entry{w[i], "", where})
		}
	}
	return list
}

// words are what a word of a match stands for: itself, or the keys of a table.
func (s *smtpd) words(w string, st statement) []entry {
	name, ok := strings.CutPrefix(w, "<")
	if !ok {
		return []entry{{w, "", st.where}}
	}
	list, known := s.tables[strings.TrimSuffix(name, ">")]
	if !known {
		s.skip(st.where, "table %s was not read", w)
	}
	return list
}

// argumentsOf are how many words a method and an option take.
var (
	argumentsOf = map[string]int{"lmtp": 1, "mda": 1}
	optionsOf   = map[string]int{
		"alias": 1, "virtual": 1, "userbase": 1, "user": 1, "ttl": 1, "wrapper": 1, "helo": 1, "helo-src": 1, "domain": 1, "host": 1, "pki": 1,
		"srs": 0, "tls": 0, "auth": 1, "mail-from": 1, "src": 1, "backup": 0, "mx": 1, "no-verify": 0, "rcpt-to": 0, "junk": 0,
	}
)

func parseAction(st statement) action {
	w := st.words
	a := action{method: w[2], options: make(map[string]string), where: st.where}
	for i := 3; i < len(w); i++ {
		n, option := optionsOf[w[i]]
		switch {
		case len(a.args) < argumentsOf[a.method], a.method == "maildir" && !option && len(a.options) == 0:
			a.args = append(a.args, w[i])
		case option && n == 1 && i+1 < len(w):
			a.options[w[i]] = w[i+1]
			i++
		default:
			a.options[w[i]] = "yes"
		}
	}
	return a
}

func (s *smtpd) setting(st statement) {
	w := st.words
	text := strings.Join(w, " ")
	switch {
	case len(w) == 3 && w[0] == "queue" && w[1] == "ttl":
		s.defaults("expiry="+w[2], st.where)
	case len(w) >= 3 && w[1] == "warn-interval":
		s.defaults("delay-warning="+w[2], st.where)
		if len(w) > 3 {
			s.note(st.where, "the sender is told once, after %s", w[2])
		}
	case len(w) == 3 && w[1] == "max-message-size":
		s.server("limit size="+strings.TrimSuffix(w[2], "B"), st.where)
	case len(w) == 4 && w[1] == "limit" && w[2] == "max-rcpt":
		s.server("limit rcpts="+w[3], st.where)
	case w[0] == "smtp" && len(w) > 1 && (w[1] == "limit" || w[1] == "sub-addr-delim" && w[len(w)-1] == "+"):
	default:
		s.skip(st.where, "%s", text)
	}
}

func (s *smtpd) pki(st statement) {
	w := st.words
	switch {
	case len(w) != 4 || w[2] == "dhe":
	case w[2] == "cert":
		s.keys["cert:"+w[1]] = w[3]
	case w[2] == "key":
		s.keys["key:"+w[1]] = w[3]
	}
	if c, k := s.keys["cert:"+w[1]], s.keys["key:"+w[1]]; c != "" && k != "" && s.keys["tls"] == "" {
		s.keys["tls"] = c
		s.server("tls "+c+" "+k, st.where)
		s.note(st.where, "the key must be readable for the group zmailer, since the server reads it again at a reload")
	} else if c != "" && k != "" && s.keys["tls"] != c {
		s.skip(st.where, "pki %s: a second certificate", w[1])
	}
}

// listener carries over "listen on INTERFACE ...".
func (s *smtpd) listener(st statement) {
	w := st.words
	if len(w) < 3 || w[2] == "socket" {
		return
	}
	hosts := []string{w[2]}
	port, how := "25", ""
	for i := 3; i < len(w); i++ {
		switch w[i] {
		case "port":
			if i++; i < len(w) {
				port = w[i]
				if n := map[string]string{"smtp": "25", "submission": "587", "smtps": "465", "submissions": "465"}[port]; n != "" {
					port = n
				}
			}
		case "smtps":
			how = " submission tls"
			if port == "25" {
				port = "465"
			}
		case "auth":
			if how == "" {
				how = " submission"
			}
			if i+1 < len(w) && strings.HasPrefix(w[i+1], "<") {
				s.skip(st.where, "users of %s: set their passwords with zmailer passwd", w[i+1])
				i++
			}
		case "auth-optional":
			s.note(st.where, "auth-optional: users log in at the port for submission; see zmailer passwd")
		case "filter":
			i++
			s.skip(st.where, "filter %s", w[min(i, len(w)-1)])
		}
	}
	switch w[2] {
	case "localhost", "lo", "lo0":
		hosts = []string{"127.0.0.1", "[::1]"}
	case "all", "any", "egress":
		hosts = []string{"0.0.0.0", "[::]"}
	default:
		if _, ok := network(w[2]); !ok {
			s.note(st.where, "interface %s: here the server listens on all", w[2])
			hosts = []string{"0.0.0.0", "[::]"}
		} else if strings.Contains(w[2], ":") {
			hosts = []string{"[" + strings.Trim(w[2], "[]") + "]"}
		}
	}
	for _, h := range hosts {
		if line := h + ":" + port; how == "" {
			s.listen = append(s.listen, line)
		} else {
			s.server("listen "+line+how, st.where)
		}
	}
}
