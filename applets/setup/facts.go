package setup

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"

	"zmailer/spool/rfc5322"
)

// names are what a host is called: what an administrator would otherwise be asked.
type names struct {
	host   string // with a domain, if one can be found
	domain string // completes addresses: /etc/mailname, or the same as host
}

// findNames reads the files below root, which is "/" but in tests.
func findNames(root, hostname string) names {
	mailname := firstWord(filepath.Join(root, "etc/mailname"))
	n := names{host: hostname}
	if !strings.Contains(n.host, ".") {
		n.host = qualify(root, hostname, mailname)
	}
	n.host, n.domain = canonical(n.host), canonical(mailname)
	if n.domain == "" {
		n.domain = n.host
	}
	return n
}

// qualify finds the domain of a short name as the system's own tools do: in
// /etc/hosts, then in the search list of the resolver.
func qualify(root, short, mailname string) string {
	for _, line := range lines(filepath.Join(root, "etc/hosts")) {
		words := strings.Fields(line)
		if len(words) < 2 || !contains(words[1:], short) {
			continue
		}
		for _, w := range words[1:] {
			if strings.Contains(w, ".") && !strings.HasPrefix(w, "localhost.") {
				return w
			}
		}
	}
	if strings.HasPrefix(mailname, short+".") {
		return mailname
	}
	for _, line := range lines(filepath.Join(root, "etc/resolv.conf")) {
		words := strings.Fields(line)
		if len(words) >= 2 && (words[0] == "search" || words[0] == "domain") && words[1] != "." {
			return short + "." + words[1]
		}
	}
	return short
}

func contains(words []string, name string) bool {
	for _, w := range words {
		if strings.EqualFold(w, name) {
			return true
		}
	}
	return false
}

// canonical is a name in the form that the mailer compares, "" if it is none.
func canonical(name string) string {
	c, err := rfc5322.CanonicalDomain(strings.TrimSuffix(name, "."))
	if err != nil {
		return ""
	}
	return c
}

func firstWord(path string) string {
	for _, line := range lines(path) {
		if words := strings.Fields(line); len(words) > 0 {
			return words[0]
		}
	}
	return ""
}

// maxLines bounds what is read of a file that belongs to others.
const maxLines = 10_000

// lines are those of a file without comments; a file that cannot be read has none.
func lines(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []string
	for s := bufio.NewScanner(f); len(list) < maxLines && s.Scan(); {
		text, _, _ := strings.Cut(s.Text(), "#")
		list = append(list, text)
	}
	return list
}

// parent is the domain that a host is in, or the host itself where that would be
// a top level.
func parent(host string) string {
	_, domain, ok := strings.Cut(host, ".")
	if !ok || !strings.Contains(domain, ".") {
		return host
	}
	return domain
}
