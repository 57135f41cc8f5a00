package rfc5322

import "strings"

// ResultsBy is the authserv-id of the body of an Authentication-Results field:
// who claims to have checked the message (RFC 8601 §2.2). It is "" if there is
// none. Comments may stand before it, and it may be quoted.
func ResultsBy(body string) string {
	i := skipComments(body)
	if i < len(body) && body[i] == '"' {
		var b strings.Builder
		for i++; i < len(body) && body[i] != '"'; i++ {
			if body[i] == '\\' && i+1 < len(body) {
				i++
			}
			b.WriteByte(body[i])
		}
		return b.String()
	}
	end := strings.IndexAny(body[i:], " \t\r\n;(")
	if end < 0 {
		end = len(body) - i
	}
	return body[i : i+end]
}

// skipComments returns the index of the first octet behind white space and
// comments.
func skipComments(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return i
		}
	}
	return len(s)
}
