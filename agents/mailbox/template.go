package mailbox

import (
	"fmt"
	"path/filepath"
	"strings"

	"zmailer/shellcfg/users"
)

// A format is how a mailbox keeps its messages.
type format uint8

const (
	mbox    format = iota // one file: mbox(5)
	maildir               // a directory: maildir(5)
)

// A template says where a user's mailbox is: "mbox:/var/mail/%u",
// "maildir:%h/Maildir", or a plain path, which is an mbox.
type template struct {
	format format
	path   string
	inHome bool // the path begins with %h
}

// parseTemplate parses the text of MAILBOX or of a mailbox in db/users.
func parseTemplate(text string) (template, error) {
	t := template{path: text}
	if kind, path, found := strings.Cut(text, ":"); found && !strings.Contains(kind, "/") && !strings.Contains(kind, "%") {
		t.path = path
		switch kind {
		case "mbox":
		case "maildir":
			t.format = maildir
		default:
			return t, fmt.Errorf("mailbox %q: want mbox:PATH, maildir:PATH or PATH", text)
		}
	}
	t.inHome = strings.HasPrefix(t.path, "%h")
	if !t.inHome && !filepath.IsAbs(t.path) {
		return t, fmt.Errorf("mailbox %q: the path must be absolute or begin with %%h", text)
	}
	_, err := t.expand(users.User{Name: "u", Home: "/h"}, "d")
	return t, err
}

// expand puts in the facts of a user: %u his name, %h his home, %d the domain,
// %% a percent sign.
func (t template) expand(u users.User, domain string) (string, error) {
	var b strings.Builder
	for rest := t.path; ; {
		before, after, found := strings.Cut(rest, "%")
		b.WriteString(before)
		if !found {
			break
		}
		if after == "" {
			return "", fmt.Errorf("mailbox %q: ends in a percent sign", t.path)
		}
		word, isPath := "", false
		switch after[0] {
		case '%':
			word, isPath = "%", true
		case 'h':
			word, isPath = u.Home, true
			if !filepath.IsAbs(word) {
				return "", fmt.Errorf("user %s has no home directory", u.Name)
			}
		case 'u':
			word = u.Name
		case 'd':
			word = strings.ToLower(domain)
		default:
			return "", fmt.Errorf("mailbox %q: unknown %%%c: want %%u, %%h, %%d or %%%%", t.path, after[0])
		}
		if !isPath && !fileName(word) {
			return "", fmt.Errorf("mailbox %q: %.60q cannot be part of a path", t.path, word)
		}
		b.WriteString(word)
		rest = after[1:]
	}
	return filepath.Clean(b.String()), nil
}

// fileName says that s may stand in a path without leading elsewhere.
func fileName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f })
}
