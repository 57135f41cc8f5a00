package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// sendmailLines calls fn with each line of a file of Sendmail, with its continuations.
func sendmailLines(path string, fn func(line int, text string) error) error {
	return logicalLines(path, fn)
}

// source reads the source of a table, which a feature names. The others are read if they
// are there.
func (s *sendmail) source(feature, standard string, fn func(e entry)) {
	f, ok := s.features[feature]
	if !ok {
		return
	}
	if strings.Contains(f.arg(0), "ldap") {
		s.skip(f.where, "%s in LDAP: declare a relation of that type in router.cf", feature)
		return
	}
	path := s.path(strings.TrimSuffix(f.arg(0), ".db"), standard)
	err := logicalLines(path, func(n int, text string) error {
		key, value := text, ""
		if i := strings.IndexAny(text, " \t"); i >= 0 {
			key, value = text[:i], strings.TrimSpace(text[i:])
		}
		fn(entry{key, value, fmt.Sprintf("%s:%d", filepath.Base(path), n)})
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.skip(f.where, "%v", err)
	} else if err != nil {
		s.note(f.where, "%s is empty: there is no %s", feature, path)
	}
}

func (s *sendmail) tables() {
	s.source("virtusertable", "virtusertable", s.virtuser)
	s.source("mailertable", "mailertable", s.mailer)
	s.source("genericstable", "genericstable", func(e entry) {
		s.table("db/mailnames", e.key, e.value, e.where)
	})
	s.source("access_db", "access", s.access)
	s.source("authinfo", "authinfo", s.access)
}

// errorText is the text of "error:code text", as in virtusertable and mailertable.
func errorText(value string) (string, bool) {
	rest, ok := strings.CutPrefix(value, "error:")
	if !ok {
		return "", false
	}
	word, text, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if text == "" {
		text = map[string]string{"nouser": "no such user here", "nohost": "no such host"}[word]
	}
	if text == "" {
		text = "mail to this address is not taken"
	}
	return "error!" + strings.Trim(strings.TrimSpace(text), `"`), true
}

func (s *sendmail) virtuser(e entry) {
	value := e.value
	if text, ok := errorText(value); ok {
		s.table("db/virtual", e.key, text, e.where)
		return
	}
	switch {
	case !strings.Contains(e.key, "@"), strings.Contains(e.key, "+*@"), strings.Contains(e.key, "++@"):
		s.skip(e.where, "%s: a key of this kind", e.key)
	case strings.Contains(value, "%2"), strings.Contains(value, "%3"):
		s.skip(e.where, "%s %s: %%1 is all there is", e.key, value)
	case strings.HasPrefix(value, "@"):
		s.table("db/virtual", e.key, "%1"+value, e.where)
	default:
		s.table("db/virtual", e.key, value, e.where)
	}
}

func (s *sendmail) mailer(e entry) {
	if text, ok := errorText(e.value); ok {
		s.table("db/routes", e.key, text, e.where)
		return
	}
	mailer, host, _ := strings.Cut(e.value, ":")
	host = strings.TrimSpace(host)
	switch {
	case mailer == "local" && host == "" && !strings.HasPrefix(e.key, "."):
		s.localName(e.key, e.where)
	case mailer == "local" && !strings.HasPrefix(e.key, "."):
		s.table("db/virtual", "@"+e.key, host, e.where)
	case host != "" && strings.Contains(strings.TrimPrefix(host, "[IPv6:"), ":"), strings.Contains(host, "%"):
		s.skip(e.where, "%s %s: a route has one host", e.key, e.value)
	default:
		if _, ok := mailerHost(mailer + ":" + host + "x"); !ok {
			s.skip(e.where, "%s %s: mailer %s; see sm.conf", e.key, e.value, mailer)
			return
		}
		s.table("db/routes", e.key, "smtp!"+host, e.where)
	}
}

// access carries over a line of the access table.
func (s *sendmail) access(e entry) {
	tag, key, tagged := strings.Cut(e.key, ":")
	if _, isNet := network(e.key); isNet || !tagged {
		tag, key = "", e.key
	}
	verdict, _, _ := strings.Cut(e.value, ":")
	verdict = strings.ToUpper(strings.TrimSpace(verdict))
	refuse := ""
	switch {
	case verdict == "REJECT":
		refuse = refusal("")
	case verdict == "ERROR":
		refuse = refusal(strings.NewReplacer(`"`, "", ":", " ").Replace(e.value[len("ERROR:"):]))
	case len(verdict) >= 3 && strings.Trim(strings.Fields(e.value)[0], "0123456789") == "":
		refuse = refusal(e.value)
	}
	net, isNet := network(key)
	switch tag = strings.ToLower(tag); {
	case tag == "authinfo":
		s.authInfo(key, e)
	case isNet && (tag == "" || tag == "connect") && verdict == "RELAY":
		s.relayNets = append(s.relayNets, net.String())
	case isNet && (tag == "" || tag == "connect") && refuse != "":
		s.hook("smtp_connect", "client_in "+net.String()+" && "+refuse, e.where)
	case (tag == "" || tag == "to") && verdict == "RELAY" && !strings.Contains(key, "@"):
		s.relayTo(key, e.where)
		if tag == "" {
			s.note(e.where, "%s: mail to it is taken; mail from clients with such a name is not, name their networks in relay_for", key)
		}
	case (tag == "" || tag == "from") && refuse != "" && s.hookSender("smtp_mail", "sender", key, refuse, e.where):
	case tag == "to" && refuse != "" && strings.Contains(key, "@") && !strings.HasSuffix(key, "@"):
		text := e.value
		if verdict == "REJECT" {
			text = "error:5.7.1 access denied"
		} else if i := strings.LastIndexByte(text, ':'); i >= 0 {
			text = "error:5.7.1 " + strings.TrimLeft(strings.Trim(text[i+1:], `"`), "0123456789 ")
		}
		text, _ = errorText(text)
		s.table("db/virtual", key, text, e.where)
	case tag == "to" && refuse != "" && s.hookSender("smtp_rcpt", "recipient", key, refuse, e.where):
	case verdict == "OK" && isNet, verdict == "OK" && tag == "":
		s.note(e.where, "%s OK: nothing is refused there that this would allow", e.key)
	default:
		s.skip(e.where, "access: %s %s; a hook in smtpserver.conf may do it", e.key, e.value)
	}
}

// authInfo reads AuthInfo:HOST "U:user" "I:user" "P:password" "M:PLAIN".
func (s *sendmail) authInfo(host string, e entry) {
	var user, password string
	for _, f := range strings.Fields(e.value) {
		key, value, ok := strings.Cut(strings.Trim(f, `"`), ":")
		switch {
		case !ok:
		case key == "U" || key == "I":
			user = value
		case key == "P":
			password = value
		}
	}
	if host == "" {
		host = "*"
	}
	s.password(host, user, password, e.where)
}
