package relations

import (
	"errors"
	"strings"
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
