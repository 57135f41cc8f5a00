package saslauth

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// prepare brings a name or a password to the form in which both sides must have
// it: SASLprep, RFC 4013. Text that it does not allow stays as it is, which
// nothing will match that was prepared.
func prepare(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] < 0x80
	}
	if plain {
		return s
	}
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r != ' ' && unicode.Is(unicode.Zs, r):
			return ' '
		case r == 0xad, r == 0x34f, r == 0x1806, r >= 0x180b && r <= 0x180d, r >= 0x200b && r <= 0x200d,
			r == 0x2060, r >= 0xfe00 && r <= 0xfe0f, r == 0xfeff:
			return -1 // RFC 3454 B.1: mapped to nothing
		}
		return r
	}, s)
	return norm.NFKC.String(mapped)
}
