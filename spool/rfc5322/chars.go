package rfc5322

import (
	"unicode/utf8"
)

// Classes of octets. Octets of 0x80 and above count as text wherever RFC 6532
// lets UTF-8 stand; whether they are UTF-8 is checked once a token is complete.
const (
	isAtext   = 1 << iota // RFC 5322 §3.2.3 atext, UTF-8
	isDot                 // "."
	isQtext               // stands unescaped within quotes: printable, space, UTF-8
	isDtext               // within an address literal, RFC 5321 §4.1.3
	isDomain              // letters, digits, "-", "_", UTF-8
	isSpace               // SP, TAB, CR, LF: folding white space in a header
	isField               // RFC 5322 §3.6.8 ftext
	isControl             // C0 and DEL
)

// isLocal is what may stand in an unquoted local part, dots wherever they are.
const isLocal = isAtext | isDot

var class = classes()

func classes() (t [256]uint8) {
	for c := range t {
		var m uint8
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		switch {
		case c >= 0x80:
			m = isAtext | isQtext | isDomain
		case alnum:
			m = isAtext | isQtext | isDtext | isDomain | isField
		case c > ' ' && c < 0x7f:
			m = isField | isDtext | isQtext
		case c == ' ':
			m = isQtext
		default:
			m = isControl
		}
		t[c] = m
	}
	for _, c := range []byte("!#$%&'*+-/=?^_`{|}~") {
		t[c] |= isAtext
	}
	for _, c := range []byte(" \t\r\n") {
		t[c] |= isSpace
	}
	t['.'] |= isDot
	t['-'] |= isDomain
	t['_'] |= isDomain
	t[':'] &^= isField
	for _, c := range []byte(`[]\`) {
		t[c] &^= isDtext
	}
	t['"'] &^= isQtext
	t['\\'] &^= isQtext
	return t
}

// run returns the end of the octets of the classes in mask that start at i.
func run(s string, i int, mask uint8) int {
	for i < len(s) && class[s[i]]&mask != 0 {
		i++
	}
	return i
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// breaksLine tells the runes that may not appear in one line of text:
// control characters of C0 and C1, and the Unicode line and paragraph ends.
func breaksLine(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029'
}

// validUTF8 tells whether s, already known to hold no ASCII control
// characters, is UTF-8 without non-ASCII ones.
func validUTF8(s string) bool {
	if isASCII(s) {
		return true
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return false
			}
		}
		if breaksLine(r) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// equalFold compares without regard to the case of ASCII letters only.
func equalFold[A, B string | []byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}
