package shell

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// charset is a bracket expression.
type charset struct {
	negated bool
	ranges  []rune // pairs
	classes []func(rune) bool
}

func (c *charset) has(r rune) bool {
	for i := 0; i < len(c.ranges); i += 2 {
		if r >= c.ranges[i] && r <= c.ranges[i+1] {
			return !c.negated
		}
	}
	for _, f := range c.classes {
		if f(r) {
			return !c.negated
		}
	}
	return c.negated
}

var charClasses = map[string]func(rune) bool{
	"alpha": unicode.IsLetter, "digit": func(r rune) bool { return r >= '0' && r <= '9' },
	"alnum": func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) },
	"upper": unicode.IsUpper, "lower": unicode.IsLower, "space": unicode.IsSpace,
	"blank": func(r rune) bool { return r == ' ' || r == '\t' },
	"punct": func(r rune) bool {
		return r < 0x80 && r > ' ' && r != 0x7f && !isASCIIAlnum(r) || r >= 0x80 && (unicode.IsPunct(r) || unicode.IsSymbol(r))
	},
	"print": unicode.IsPrint, "graph": func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) },
	"cntrl": unicode.IsControl,
	"xdigit": func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F'
	},
}

func isASCIIAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// parseSet reads a bracket expression and returns its length, 0 if it is none.
func parseSet(s string) (*charset, int) {
	set := &charset{}
	i := 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		set.negated = true
		i++
	}
	for first := true; ; first = false {
		if i >= len(s) {
			return nil, 0
		}
		if s[i] == ']' && !first {
			return set, i + 1
		}
		if strings.HasPrefix(s[i:], "[:") {
			if end := strings.Index(s[i:], ":]"); end > 1 { // "[:]" is not a class without a name
				if f := charClasses[s[i+2:i+end]]; f != nil {
					set.classes = append(set.classes, f)
				}
				i += end + 2
				continue
			}
		}
		lo, n := setRune(s[i:])
		i += n
		hi := lo
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			hi, n = setRune(s[i+1:])
			i += 1 + n
		}
		set.ranges = append(set.ranges, lo, hi)
	}
}

func setRune(s string) (rune, int) {
	if s[0] == '\\' && len(s) > 1 {
		r, n := utf8.DecodeRuneInString(s[1:])
		return r, n + 1
	}
	return utf8.DecodeRuneInString(s)
}
