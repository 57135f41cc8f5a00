package migrate

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Bounds of files that are read. Real ones are far smaller.
const (
	maxLine  = 1 << 20
	maxLines = 2_000_000
	maxDepth = 20 // parameters within parameters
)

// A param is a parameter of main.cf as written, without its expansion.
type param struct {
	name, value string
	line        int
}

// A mainCF is main.cf. A later setting of a parameter replaces an earlier one.
type mainCF struct {
	file   string
	params []param
	byName map[string]int // index in params
	used   map[string]bool
	defs   map[string]string // defaults of what others are made of
}

// logicalLines calls fn with each logical line of a Postfix file: one that begins
// with white space goes on with the line before, comments and empty lines are
// left out.
func logicalLines(path string, fn func(line int, text string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, maxLine)
	text, first := "", 0
	flush := func() error {
		if text == "" {
			return nil
		}
		t := text
		text = ""
		return fn(first, t)
	}
	for n := 1; s.Scan(); n++ {
		if n > maxLines {
			return fmt.Errorf("%s: more than %d lines", path, maxLines)
		}
		line := strings.TrimRight(s.Text(), " \t\r")
		trimmed := strings.TrimLeft(line, " \t")
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case trimmed != line && text != "":
			if text += " " + trimmed; len(text) > maxLine {
				return fmt.Errorf("%s:%d: line too long", path, first)
			}
		default:
			if err := flush(); err != nil {
				return err
			}
			text, first = trimmed, n
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return flush()
}

func readMainCF(path string) (*mainCF, error) {
	m := &mainCF{file: path, byName: make(map[string]int), used: make(map[string]bool), defs: make(map[string]string)}
	err := logicalLines(path, func(n int, text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("%s:%d: want NAME = VALUE", path, n)
		}
		p := param{strings.TrimSpace(name), strings.TrimSpace(value), n}
		if i, again := m.byName[p.name]; again {
			m.params[i] = p
			return nil
		}
		m.byName[p.name] = len(m.params)
		m.params = append(m.params, p)
		return nil
	})
	return m, err
}

// get returns a parameter with what it refers to, and where it stands; "" if it
// is not set.
func (m *mainCF) get(name string) (value, where string) {
	m.used[name] = true
	i, ok := m.byName[name]
	if !ok {
		return m.expand(m.defs[name], 0), ""
	}
	return m.expand(m.params[i].value, 0), m.where(m.params[i])
}

func (m *mainCF) where(p param) string { return fmt.Sprintf("main.cf:%d", p.line) }

// expand replaces $name, ${name} and $(name). Conditional forms, ${name?text} and
// ${name:text}, follow whether the parameter is set.
func (m *mainCF) expand(s string, depth int) string {
	if depth > maxDepth || !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found || b.Len() > maxLine {
			return b.String()
		}
		var word string
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
			continue
		case strings.HasPrefix(after, "{"):
			word, s, _ = strings.Cut(after[1:], "}")
		case strings.HasPrefix(after, "("):
			word, s, _ = strings.Cut(after[1:], ")")
		default:
			i := 0
			for i < len(after) && (after[i] == '_' || after[i] >= 'a' && after[i] <= 'z' || after[i] >= 'A' && after[i] <= 'Z' || after[i] >= '0' && after[i] <= '9') {
				i++
			}
			word, s = after[:i], after[i:]
		}
		b.WriteString(m.parameter(word, depth))
	}
}

func (m *mainCF) parameter(word string, depth int) string {
	name, rest := word, ""
	i := strings.IndexAny(word, "?:")
	if i >= 0 {
		name, rest = word[:i], strings.Trim(word[i+1:], "{}")
	}
	value := m.defs[name]
	if k, ok := m.byName[name]; ok {
		value = m.params[k].value
	}
	if i >= 0 && (word[i] == '?') != (value != "") {
		return ""
	}
	if i >= 0 {
		value = rest
	}
	return m.expand(value, depth+1)
}

// words splits a list at white space and commas.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
}
