package relations

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// substitute replaces %0 by rest, %1 to %9 by the arguments (nothing if there
// are fewer) and %% by a percent sign. Any other percent sign stays.
func substitute(value, rest string, args []string) (string, error) {
	if strings.IndexByte(value, '%') < 0 {
		return value, nil
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '%' && i+1 < len(value) {
			switch n := value[i+1]; {
			case n == '0':
				b.WriteString(rest)
				i++
				continue
			case n >= '1' && n <= '9':
				if int(n-'1') < len(args) {
					b.WriteString(args[n-'1'])
				}
				i++
				continue
			case n == '%':
				i++
			}
		}
		b.WriteByte(c)
		if b.Len() > maxValue {
			break
		}
	}
	if b.Len() > maxValue {
		return "", errors.New("value too long after substitution")
	}
	return b.String(), nil
}

// lower folds case as everybody does who writes or reads keys here. Bytes that
// are no UTF-8 stay as they are, so that different keys stay different.
func lower(s string) string {
	if utf8.ValidString(s) {
		return strings.ToLower(s)
	}
	return mapASCII(s, 'A', 'Z', 'a'-'A')
}

func upper(s string) string {
	if utf8.ValidString(s) {
		return strings.ToUpper(s)
	}
	return mapASCII(s, 'a', 'z', 'A'-'a')
}

func mapASCII(s string, from, to byte, by int) string {
	b := []byte(s)
	for i, c := range b {
		if c >= from && c <= to {
			b[i] = byte(int(c) + by)
		}
	}
	return string(b)
}
