package relations

import (
	"strings"
	"unicode/utf8"
)

// lower folds case as everybody does who writes or reads keys here. Bytes that
// are no UTF-8 stay as they are, so that different keys stay different.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return mapCase(s, strings.ToLower, 'A', 'Z')
		}
	}
	return s // as good as always
}

func upper(s string) string { return mapCase(s, strings.ToUpper, 'a', 'z') }

// mapCase flips the case of the ASCII letters between from and to where the
// string is not fit for f.
func mapCase(s string, f func(string) string, from, to byte) string {
	if utf8.ValidString(s) {
		return f(s)
	}
	b := []byte(s)
	for i, c := range b {
		if c >= from && c <= to {
			b[i] = c ^ ('a' - 'A')
		}
	}
	return string(b)
}
