package mailbox

import (
	"fmt"
	"hash/crc32"
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
	hashed bool // it has directories of first letters or a hash, which are made when needed
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
	t.hashed = hashMark(t.path)
	_, err := t.expand(users.User{Name: "u", Home: "/h"}, "d")
	return t, err
}

// hashMark says whether a path names directories that are made of a user's name.
func hashMark(path string) bool {
	for i := 0; i+1 < len(path); i++ {
		if path[i] == '%' {
			if i++; strings.IndexByte("12xy", path[i]) >= 0 {
				return true
			}
		}
	}
	return false
}

// fixed is the directory above all that is different from user to user.
func (t template) fixed() string {
	before, _, _ := strings.Cut(t.path, "%")
	return filepath.Dir(before + "x")
}

// letterDir is the n-th letter of a name as a directory; "_" where that cannot be one.
func letterDir(name string, n int) string {
	if n < len(name) {
		switch c := name[n]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return string(rune(c))
		case 'A' <= c && c <= 'Z':
			return string(rune(c - 'A' + 'a'))
		}
	}
	return "_"
}

// expand puts in the facts of a user: %u his name, %h his home, %d the domain, %1
// and %2 the first and second letter of the name, %x and %y the lowest byte and the
// next of its CRC-32 in hexadecimal, %% a percent sign.
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
		case '1', '2':
			word = letterDir(u.Name, int(after[0]-'1'))
		case 'x', 'y':
			word = fmt.Sprintf("%02x", crc32.ChecksumIEEE([]byte(u.Name))>>(8*(after[0]-'x'))&0xff)
		default:
			return "", fmt.Errorf("mailbox %q: unknown %%%c: want %%u, %%h, %%d, %%1, %%2, %%x, %%y or %%%%", t.path, after[0])
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
