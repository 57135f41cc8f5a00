package relations

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"zmailer/shellcfg/internal/watch"
)

const (
	maxRegexpFile = 4 << 20
	maxRules      = 20000
)

// rule is a line of a regexp table.
type rule struct {
	re    *regexp.Regexp
	value template
}

// template is a value cut at its references: text, group, text, group ...
type template []piece

type piece struct {
	text  string
	group int // what follows the text; -1 at the end
}

type rules struct{ list []rule }

type regexpTable struct {
	source[rules]
}

// openRegexp makes a table of lines "pattern, blanks, value"; the first
// pattern that matches anywhere in the key gives the value, in which $1 or
// ${1} stands for what the first group matched, $0 for all of it, and $$ for
// a dollar. A pattern with blanks, or one that begins with '/', is written
// /pattern/ and may be followed by i, which ignores case. With -l every
// pattern ignores case. Patterns are those of Go (RE2), which need time in
// proportion to the key.
func openRegexp(o *opening) (Table, error) {
	return &regexpTable{newSource(o, func(f *os.File, st watch.State) (*rules, error) {
		data, err := slurp(f, st, maxRegexpFile)
		if err != nil {
			return nil, err
		}
		return parseRules(data, f.Name(), o.Lower)
	})}, nil
}

func parseRules(data, name string, fold bool) (*rules, error) {
	r := &rules{}
	var bad problems
	eachLine(data, func(n int, line string) {
		line = strings.Trim(line, " \t\r")
		if line == "" || line[0] == '#' {
			return
		}
		rule, err := parseRule(line, fold)
		if err == nil && len(r.list) == maxRules {
			err = fmt.Errorf("more than %d patterns", maxRules)
		}
		if err != nil {
			bad.add(name, n, "%w", err)
			return
		}
		r.list = append(r.list, rule)
	})
	return r, bad.err()
}

func parseRule(line string, fold bool) (rule, error) {
	pattern, value := line, ""
	if line[0] == '/' {
		end := delimiter(line)
		if end < 0 {
			return rule{}, errors.New("pattern has no closing '/'")
		}
		var flags string
		pattern = line[1:end]
		flags, value, _ = strings.Cut(strings.ReplaceAll(line[end+1:], "\t", " "), " ")
		value = strings.TrimLeft(line[end+1+len(flags):], " \t")
		if flags != "" && flags != "i" {
			return rule{}, fmt.Errorf("unknown flags %q after the pattern", clip(flags))
		}
		fold = fold || flags == "i"
	} else if i := strings.IndexAny(line, " \t"); i >= 0 {
		pattern, value = line[:i], strings.TrimLeft(line[i:], " \t")
	}
	if fold {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return rule{}, err
	}
	t, err := parseTemplate(value, re.NumSubexp())
	return rule{re, t}, err
}

// delimiter finds the '/' that closes the one at the start of line.
func delimiter(line string) int {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '/':
			return i
		}
	}
	return -1
}

func parseTemplate(s string, groups int) (template, error) {
	var t template
	var text strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			break
		}
		text.WriteString(s[:i])
		s = s[i+1:]
		if strings.HasPrefix(s, "$") {
			text.WriteByte('$')
			s = s[1:]
			continue
		}
		digits := s
		if strings.HasPrefix(s, "{") {
			var ok bool
			if digits, s, ok = strings.Cut(s[1:], "}"); !ok {
				return nil, errors.New("'${' without '}' in the value")
			}
		} else {
			n := 0
			for n < len(s) && s[n] >= '0' && s[n] <= '9' {
				n++
			}
			digits, s = s[:n], s[n:]
		}
		group, err := strconv.Atoi(digits)
		if err != nil || group < 0 || group > groups {
			return nil, fmt.Errorf("$%s in the value: the pattern has groups 0 to %d, and a dollar is written $$", digits, groups)
		}
		t = append(t, piece{text.String(), group})
		text.Reset()
	}
	return append(t, piece{text.String() + s, -1}), nil
}

func (t *regexpTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	r, err := current(ctx, t.file)
	if err != nil {
		return "", false, err
	}
	for i := range r.list {
		if m := r.list[i].re.FindStringSubmatchIndex(key); m != nil {
			value, err := r.list[i].value.expand(key, m)
			return value, err == nil, err
		}
	}
	return "", false, nil
}

func (t template) expand(key string, m []int) (string, error) {
	if len(t) == 1 {
		return t[0].text, nil
	}
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
		if p.group >= 0 && m[2*p.group] >= 0 {
			b.WriteString(key[m[2*p.group]:m[2*p.group+1]])
		}
		if b.Len() > maxValue {
			return "", errors.New("value too long after substitution")
		}
	}
	return b.String(), nil
}

func (t *regexpTable) Check(context.Context) ([]error, error) {
	_, err := t.file.Check()
	return nil, err
}

func (t *regexpTable) Len(ctx context.Context) (int, error) {
	r, err := current(ctx, t.file)
	if err != nil {
		return 0, err
	}
	return len(r.list), nil
}
