package rfc5322

import (
	"strings"
	"unicode/utf8"
)

// OneLine makes text from anywhere fit to stand in one line of a log, an
// envelope or a control file. White space controls become spaces; other
// control characters, broken UTF-8 and marks that reorder what a terminal
// shows become "?". The result has at most max octets, cut between runes; a
// max of 0 or less is no limit. Clean text is returned as it is.
func OneLine(s string, max int) string {
	if max > 0 && len(s) > max {
		n := max
		for n > 0 && n > max-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	if safeLine(s) {
		return s
	}
	// Every replacement is one octet for at least one: s does not grow.
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\t' || r == '\n' || r == '\r' || r == '\v' || r == '\f':
			b.WriteByte(' ')
		case r == utf8.RuneError && n == 1 || breaksLine(r) || reorders(r):
			b.WriteByte('?')
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func safeLine(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return validUTF8(s[i:]) && noControl(s[i:]) && strings.IndexFunc(s[i:], reorders) < 0
		}
		if class[s[i]]&isControl != 0 {
			return false
		}
	}
	return true
}

func noControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if class[s[i]]&isControl != 0 {
			return false
		}
	}
	return true
}

// reorders tells the Unicode bidirectional overrides and isolates.
func reorders(r rune) bool {
	return r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// scrub replaces control characters and broken UTF-8.
func scrub(s, with string) string {
	if noControl(s) && validUTF8(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || breaksLine(r) {
			b.WriteString(with)
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}
