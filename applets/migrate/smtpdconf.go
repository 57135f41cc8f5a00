package migrate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A statement is one directive of smtpd.conf: words, of which "{", "}", "=", "," and
// "!" are words of their own, and tables have their angle brackets.
type statement struct {
	words []string
	where string
}

// Bounds of smtpd.conf with all it includes.
const (
	maxSmtpd  = 1 << 20
	maxConfs  = 50
	maxMacros = 1000
)

// A smtpdParser reads smtpd.conf and what it includes.
type smtpdParser struct {
	dir        string
	macros     map[string]string
	statements []statement
	files      int
	size       int
}

// readSmtpd reads a smtpd.conf. Macros are replaced.
func readSmtpd(path string) ([]statement, error) {
	p := &smtpdParser{dir: filepath.Dir(path), macros: make(map[string]string)}
	err := p.file(path)
	return p.statements, err
}

func (p *smtpdParser) file(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	p.files++
	if p.size += len(b); p.size > maxSmtpd || p.files > maxConfs {
		return fmt.Errorf("%s: more than %d bytes or %d files", path, maxSmtpd, maxConfs)
	}
	line, depth := 1, 0
	st := statement{where: fmt.Sprintf("%s:1", filepath.Base(path))}
	text := string(b)
	for text != "" {
		var word string
		var n int
		word, quoted, n, err := smtpdWord(text)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, line, err)
		}
		line += strings.Count(text[:n], "\n")
		text = text[n:]
		switch {
		case word == "\n" && !quoted:
			if depth > 0 {
				continue
			}
			if err := p.statement(st); err != nil {
				return err
			}
			st = statement{where: fmt.Sprintf("%s:%d", filepath.Base(path), line)}
			continue
		case word == "" && !quoted:
			continue
		case !quoted && word == "{":
			depth++
		case !quoted && word == "}":
			depth--
		case !quoted && word[0] == '$':
			value, ok := p.macros[word[1:]]
			if !ok {
				return fmt.Errorf("%s:%d: macro %s is not defined", path, line, word)
			}
			word = value
		}
		if len(st.words) == 0 {
			st.where = fmt.Sprintf("%s:%d", filepath.Base(path), line)
		}
		st.words = append(st.words, word)
	}
	return p.statement(st)
}

// smtpdWord takes a word off the front, and tells its length. White space, comments
// and continued lines are empty words.
func smtpdWord(s string) (word string, quoted bool, n int, err error) {
	switch c := s[0]; {
	case c == '\n':
		return "\n", false, 1, nil
	case c == ' ' || c == '\t' || c == '\r':
		return "", false, 1, nil
	case strings.HasPrefix(s, "\\\n"):
		return "", false, 2, nil
	case c == '#':
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			return "", false, i, nil
		}
		return "", false, len(s), nil
	case c == '"' || c == '\'':
		i := strings.IndexByte(s[1:], c)
		if i < 0 {
			return "", false, 0, fmt.Errorf("a quote that is not closed")
		}
		return s[1 : i+1], true, i + 2, nil
	case strings.IndexByte("{},=!", c) >= 0:
		return s[:1], false, 1, nil
	case c == '<':
		if i := strings.IndexByte(s, '>'); i > 0 && !strings.ContainsAny(s[:i], " \n") {
			return s[:i+1], false, i + 1, nil
		}
	}
	n = strings.IndexAny(s, " \t\r\n{},=\"'")
	if n < 0 {
		n = len(s)
	}
	if n == 0 {
		n = 1
	}
	return s[:n], false, n, nil
}

func (p *smtpdParser) statement(st statement) error {
	w := st.words
	switch {
	case len(w) == 0:
	case len(w) == 3 && w[1] == "=":
		if len(p.macros) < maxMacros {
			p.macros[w[0]] = w[2]
		}
	case len(w) == 2 && w[0] == "include":
		path := w[1]
		if here := filepath.Join(p.dir, filepath.Base(path)); !filepath.IsAbs(path) || fileExists(here) {
			path = here
		}
		return p.file(path)
	default:
		p.statements = append(p.statements, st)
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
