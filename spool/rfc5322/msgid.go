package rfc5322

import "strings"

// maxMessageIDs bounds what ParseMessageIDs returns; threads are shorter.
const maxMessageIDs = 1000

// MessageID makes a message id of the part that the caller knows to be
// unique and the name of the host: RFC 5322 §3.6.4. Characters that have no
// place in it become hyphens, an empty part "x".
func MessageID(idpart, host string) string {
	return "<" + idText(idpart, isAtext|isDot) + "@" + idText(strings.TrimSuffix(host, "."), isDomain|isDot) + ">"
}

func idText(s string, mask uint8) string {
	s = strings.Trim(s, ".")
	if s == "" {
		return "x"
	}
	b := []byte(s)
	for i, c := range b {
		if class[c]&mask == 0 || c >= 0x80 || c == '.' && i > 0 && b[i-1] == '.' {
			b[i] = '-'
		}
	}
	return string(b)
}

// ParseMessageIDs returns the message ids, with their brackets, in the body of
// Message-ID, In-Reply-To or References, in their order. Whatever else stands
// there (RFC 822 let it) is passed over, ids longer than a line too.
func ParseMessageIDs(s string) (ids []string) {
	for len(ids) < maxMessageIDs {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			return ids
		}
		s = s[i:]
		e := 1
		for e < len(s) && s[e] != '<' && s[e] != '>' && class[s[e]]&(isSpace|isControl) == 0 {
			e++
		}
		if e > 1 && e < 998 && e < len(s) && s[e] == '>' {
			ids = append(ids, s[:e+1])
		}
		s = s[e:]
	}
	return ids
}
