package spool

import (
	"fmt"
	"strings"
)

// One encoder serves every line format of the mailer: control files, the agents'
// pipes and the router's pipe. A line is a list of fields separated by TAB; a
// field is any byte string in which backslash, control characters and DEL are
// written as \\, \t, \n, \r or \xHH. No value can therefore end a field or a line.

const hexDigits = "0123456789abcdef"

// AppendField appends the encoded form of s to b.
func AppendField(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '\\' && c != 0x7f {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '\\':
			b = append(b, '\\', '\\')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(b, s[start:]...)
}

// AppendLine appends fields as one line with its newline.
func AppendLine(b []byte, fields ...string) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, '\t')
		}
		b = AppendField(b, f)
	}
	return append(b, '\n')
}

// SplitLine decodes a line (without its newline) into its fields. At most max
// fields are accepted.
func SplitLine(line string, max int) ([]string, error) {
	n := strings.Count(line, "\t") + 1
	if n > max {
		return nil, fmt.Errorf("line of %d fields, at most %d expected", n, max)
	}
	fields := make([]string, n)
	for i := range fields {
		var f string
		f, line, _ = strings.Cut(line, "\t")
		f, err := decodeField(f)
		if err != nil {
			return nil, err
		}
		fields[i] = f
	}
	return fields, nil
}

func decodeField(s string) (string, error) {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i >= 0 {
		b = append(b, s[:i]...)
		s = s[i+1:]
		if s == "" {
			return "", fmt.Errorf("field ends in a backslash")
		}
		switch c := s[0]; {
		case c == '\\':
			b = append(b, '\\')
		case c == 't':
			b = append(b, '\t')
		case c == 'n':
			b = append(b, '\n')
		case c == 'r':
			b = append(b, '\r')
		case c == 'x' && len(s) >= 3 && unhex(s[1]) >= 0 && unhex(s[2]) >= 0:
			b = append(b, byte(unhex(s[1])<<4|unhex(s[2])))
			s = s[2:]
		default:
			return "", fmt.Errorf("bad escape \\%c in field", c)
		}
		s = s[1:]
		i = strings.IndexByte(s, '\\')
	}
	return string(append(b, s...)), nil
}

func unhex(c byte) int { return strings.IndexByte(hexDigits, c) }
