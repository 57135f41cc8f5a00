package relations

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"zmailer/shellcfg/internal/watch"
	"zmailer/spool/rfc5322"
)

// openAliases makes a table of a source file in Sendmail's aliases format,
// without compiling it first. Keys are in lower case. Of several entries with
// one key the first counts, which Check warns of.
func openAliases(o *opening) (Table, error) {
	return &fileTable{newSource(o, func(f *os.File, st watch.State) (*entries, error) {
		data, err := slurp(f, st, maxText)
		if err != nil {
			return nil, err
		}
		e := &entries{items: make(map[string]item, strings.Count(data, "\n")/2)}
		var bad problems
		parseAliases(data, f.Name(), &bad, func(a alias) {
			key, err := o.norm(a.key)
			if err != nil {
				bad.add(f.Name(), a.line, "%w", err)
				return
			}
			e.put(f.Name(), key, a.value, a.line)
		})
		return e, bad.err()
	})}, nil
}

// alias is one entry of an aliases file. The value is the list of addresses
// on one line, separated by a comma and a blank.
type alias struct {
	key, value string
	line       int // of the key
}

// parseAliases reads
//
//	key: address, address,
//	    address
//
// A line that begins with a blank continues the entry above it; empty lines
// and lines whose first character that is not blank is '#' are passed over,
// within an entry too. In a key, quotes, a backslash, and brackets (of an
// address literal) protect a colon; quotes and backslashes are taken off. A
// quote or comment must end on its line.
//
// Addresses keep their spelling, except that "|program", ":include:file" and
// "\user" come out as a quoted string however they were written, so that the
// value is a list of RFC 5322 addresses.
func parseAliases(data, name string, bad *problems, emit func(alias)) {
	p := aliasParser{name: name, bad: bad, emit: emit}
	eachLine(data, p.line)
	p.flush()
}

type aliasParser struct {
	name string
	bad  *problems
	emit func(alias)

	cur    alias
	open   bool   // cur is being read
	broken bool   // an error in cur was reported
	list   []byte // finished addresses, joined
	part   string // begun address
}

func (p *aliasParser) line(n int, line string) {
	line = strings.TrimRight(line, " \t\r")
	text := strings.TrimLeft(line, " \t")
	switch {
	case text == "" || text[0] == '#':
	case len(text) < len(line) && !p.open:
		p.bad.add(p.name, n, "continues an entry, but there is none above it")
	case len(text) < len(line):
		p.members(n, text)
	default:
		p.flush()
		p.open, p.broken, p.cur = true, false, alias{line: n}
		key, rest, err := aliasKey(line)
		if err != nil {
			p.fail(n, err)
			return
		}
		p.cur.key = key
		p.members(n, rest)
	}
}

func (p *aliasParser) fail(n int, err error) {
	p.broken = true
	p.bad.add(p.name, n, "%w", err)
}

// flush ends the entry that is being read.
func (p *aliasParser) flush() {
	if !p.open {
		return
	}
	p.open = false
	if !p.broken {
		p.element(p.cur.line)
	}
	if !p.broken && len(p.list) == 0 {
		p.fail(p.cur.line, fmt.Errorf("%q has no address", p.cur.key))
	}
	if !p.broken {
		p.cur.value = string(p.list)
		p.emit(p.cur)
	}
	p.list, p.part = p.list[:0], ""
}

// members takes one line of addresses.
func (p *aliasParser) members(n int, text string) {
	for !p.broken && text != "" {
		end, err := elementEnd(text)
		if err != nil {
			p.fail(n, err)
			return
		}
		piece := strings.Trim(text[:end], " \t")
		if p.part != "" && piece != "" {
			p.part += " " + piece
		} else if piece != "" {
			p.part = piece
		}
		if end == len(text) {
			return
		}
		p.element(n)
		text = text[end+1:]
	}
}

// element finishes an address; an empty one is a doubled or final comma.
func (p *aliasParser) element(n int) {
	e := p.part
	p.part = ""
	if e == "" {
		return
	}
	if i := strings.IndexFunc(e, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		p.fail(n, fmt.Errorf("control character %#x", e[i]))
		return
	}
	if len(p.list)+len(e)+2 > maxValue/2 { // quoting may double it
		p.fail(n, fmt.Errorf("list of more than %d bytes: put it into a file and use :include:", maxValue/2))
		return
	}
	if err := checkElement(e); err != nil {
		p.fail(n, err)
		return
	}
	if len(p.list) > 0 {
		p.list = append(p.list, ", "...)
	}
	p.list = appendElement(p.list, e)
}

// checkElement finds what the router could make nothing of, such as two
// addresses without a comma. Commands and files are not addresses.
func checkElement(e string) error {
	switch bare := strings.TrimPrefix(e, `"`); {
	case bare == "":
		return errors.New("empty address")
	case strings.IndexByte(`|:/\`, bare[0]) >= 0:
		return nil
	}
	list, err := rfc5322.ParseList(e)
	if err != nil {
		return fmt.Errorf("address %q: %w", clip(e), err)
	}
	if len(list) != 1 {
		return fmt.Errorf("address %q: %d addresses in place of one", clip(e), len(list))
	}
	return nil
}

// appendElement brings an address to its form in the value.
func appendElement(dst []byte, e string) []byte {
	switch {
	case e[0] == '|':
		cmd := strings.TrimLeft(e[1:], " \t")
		if s, ok := unquote(cmd); ok {
			cmd = s // |"program args" is another way to write "|program args"
		}
		e = "|" + cmd
	case e[0] == '\\':
	case len(e) > 9 && strings.EqualFold(e[:9], ":include:"):
		e = ":include:" + strings.TrimLeft(e[9:], " \t")
	default:
		return append(dst, e...)
	}
	dst = append(dst, '"')
	for i := range len(e) {
		if e[i] == '"' || e[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, e[i])
	}
	return append(dst, '"')
}

// unquote takes the quotes off a string that is one quoted string.
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' {
		return s, false
	}
	out := make([]byte, 0, len(s))
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return string(out), i == len(s)-1
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		out = append(out, s[i])
	}
	return s, false
}

// elementEnd finds the comma that ends the first address of text, or its end.
func elementEnd(text string) (int, error) {
	angle := false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case ',':
			if !angle {
				return i, nil
			}
		case '\\':
			i++
		case '"':
			n := quotedEnd(text[i:])
			if n < 0 {
				return 0, errors.New("quote is not closed on this line")
			}
			i += n
		case '(':
			n := commentEnd(text[i:])
			if n < 0 {
				return 0, errors.New("comment is not closed on this line (quote a command with parentheses)")
			}
			i += n
		case '<':
			angle = true
		case '>':
			angle = false
		}
	}
	if angle {
		return 0, errors.New("'<' without '>'")
	}
	return len(text), nil
}

// quotedEnd returns the place of the quote that closes s[0], -1 if there is none.
func quotedEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func commentEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// aliasKey takes the key off a line.
func aliasKey(line string) (key, rest string, err error) {
	if i := strings.IndexAny(line, ":\"\\[ \t"); i > 0 && line[i] == ':' {
		key, rest = line[:i], line[i+1:]
	} else if key, rest, err = quotedKey(line); err != nil {
		return "", "", err
	}
	switch {
	case key == "":
		return "", "", errors.New("no key before the colon")
	case len(key) > maxKey:
		return "", "", fmt.Errorf("key of %d bytes, at most %d are allowed", len(key), maxKey)
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", "", errors.New("control character in the key")
	}
	return key, rest, nil
}

func quotedKey(line string) (key, rest string, err error) {
	var b strings.Builder
	bracket := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			n := quotedEnd(line[i:])
			if n < 0 {
				return "", "", errors.New("quote in the key is not closed")
			}
			s, _ := unquote(line[i : i+n+1])
			b.WriteString(s)
			i += n
			continue
		case c == '\\' && i+1 < len(line):
			i++
		case c == '[':
			bracket = true
		case c == ']':
			bracket = false
		case c == ':' && !bracket:
			return b.String(), line[i+1:], nil
		case c == ' ' || c == '\t':
			after := strings.TrimLeft(line[i:], " \t")
			if !strings.HasPrefix(after, ":") {
				return "", "", fmt.Errorf("no colon after the key %q (quote a key with blanks)", clip(b.String()))
			}
			return b.String(), after[1:], nil
		}
		b.WriteByte(line[i])
	}
	return "", "", fmt.Errorf("no colon after the key %q", clip(b.String()))
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
