package shell

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// escapeKind tells which of the dialects of backslash escapes is meant.
type escapeKind uint8

const (
	escDollar escapeKind = iota // $'...'
	escEcho                     // echo -e, printf %b
	escPrintf                   // the format of printf
)

var simpleEscapes = map[byte]byte{'a': 7, 'b': 8, 'e': 27, 'E': 27, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11, '\\': '\\'}

// escape reads one escape at the start of s and returns its text and length;
// stop is \c.
func escape(s string, kind escapeKind) (text string, n int, stop bool) {
	if len(s) < 2 {
		return s, len(s), false
	}
	c := s[1]
	if b, ok := simpleEscapes[c]; ok {
		return string([]byte{b}), 2, false
	}
	switch {
	case c == '\'' || c == '"' || c == '?':
		if kind == escDollar || kind == escPrintf {
			return s[1:2], 2, false
		}
	case c == 'c':
		if kind == escEcho || kind == escPrintf {
			return "", 2, true
		}
		if len(s) > 2 {
			return string([]byte{s[2] & 0x1f}), 3, false
		}
	case c == '0' && kind == escEcho:
		v, n := digitsIn(s[2:], 8, 3)
		return byteText(v), 2 + n, false
	case c >= '0' && c <= '7':
		v, n := digitsIn(s[1:], 8, 3)
		return byteText(v), 1 + n, false
	case c == 'x':
		if v, n := digitsIn(s[2:], 16, 2); n > 0 {
			return byteText(v), 2 + n, false
		}
	case c == 'u' || c == 'U':
		limit := 4
		if c == 'U' {
			limit = 8
		}
		if v, n := digitsIn(s[2:], 16, limit); n > 0 {
			return string(rune(v)), 2 + n, false
		}
	}
	return s[:2], 2, false
}

// byteText is one byte; a NUL cannot be in a shell string.
func byteText(v int64) string {
	if v&0xff == 0 {
		return ""
	}
	return string([]byte{byte(v)})
}

func digitsIn(s string, base int64, limit int) (v int64, n int) {
	for n < len(s) && n < limit {
		d := digitValue(s[n], 16)
		if d < 0 || d >= base {
			break
		}
		v = v*base + d
		n++
	}
	return v, n
}

func unescapeAll(s string, kind escapeKind) (string, bool) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, false
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		text, n, stop := escape(s[i:], kind)
		b.WriteString(text)
		if stop {
			return b.String(), true
		}
		i += n
	}
	return b.String(), false
}

func unescapeEcho(s string) (string, bool) { return unescapeAll(s, escEcho) }

func unescapeDollar(s string) string {
	out, _ := unescapeAll(s, escDollar)
	return out
}

// quoteWord is printf %q: text that the shell reads back as one word.
func quoteWord(s string) string {
	if s == "" {
		return "''"
	}
	if needsDollarQuote(s) {
		return dollarQuote(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case strings.IndexByte(" \t'\"\\|&;()<>!{}*[]?^$`,", c) >= 0,
			c == '#' && i == 0, c == '~' && (i == 0 || s[i-1] == ':' || s[i-1] == '='):
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// quoteAtQ is ${x@Q}.
func quoteAtQ(s string) string {
	if needsDollarQuote(s) {
		return dollarQuote(s)
	}
	if s == "'" {
		return `\'`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func needsDollarQuote(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return true
		}
	}
	return false
}

func dollarQuote(s string) string {
	names := map[byte]string{7: `\a`, 8: `\b`, 27: `\E`, 12: `\f`, 10: `\n`, 13: `\r`, 9: `\t`, 11: `\v`, '\'': `\'`, '\\': `\\`}
	var b strings.Builder
	b.WriteString("$'")
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch e, ok := names[s[i]]; {
		case ok:
			b.WriteString(e)
		case r < 0x20 || r == 0x7f || r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\%03o`, s[i])
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('\'')
	return b.String()
}
