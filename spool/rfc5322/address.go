package rfc5322

import "strings"

// Address is a mail address. Local is the local part without its quoting,
// Domain the domain as it was written, less a dot at its end, or an address
// literal with its brackets; Domain is empty for an unqualified address. The
// zero Address is the null sender.
//
// The parsers of this package make addresses that can be written and read
// again. Who fills in the fields from elsewhere answers for Domain; Local may
// hold anything, see [QuoteLocal].
type Address struct {
	Local, Domain string
}

// IsNull tells the null sender, "<>".
func (a Address) IsNull() bool { return a.Local == "" && a.Domain == "" }

// IsLiteral tells whether the domain is an address literal.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// ASCII tells whether the address can be sent without SMTPUTF8 as it is.
func (a Address) ASCII() bool { return isASCII(a.Local) && isASCII(a.Domain) }

// Equal compares local parts exactly and domains as names: without regard to
// case, and a U-label equals its A-label.
func (a Address) Equal(b Address) bool {
	return a.Local == b.Local && EqualDomain(a.Domain, b.Domain)
}

// String is the addr-spec, with the local part quoted if it must be. The null
// sender gives the empty string, an unqualified address its local part.
func (a Address) String() string {
	if plainLocal(a.Local) {
		if a.Domain == "" {
			return a.Local
		}
		return a.Local + "@" + a.Domain
	}
	if a.IsNull() {
		return ""
	}
	return string(a.AppendTo(make([]byte, 0, len(a.Local)+len(a.Domain)+8)))
}

// Path is the address in angle brackets, as in SMTP.
func (a Address) Path() string {
	if plainLocal(a.Local) && a.Domain != "" {
		return "<" + a.Local + "@" + a.Domain + ">"
	}
	b := append(make([]byte, 0, len(a.Local)+len(a.Domain)+8), '<')
	return string(append(a.AppendTo(b), '>'))
}

// AppendTo appends what String returns.
func (a Address) AppendTo(b []byte) []byte {
	if a.IsNull() {
		return b
	}
	b = appendLocal(b, a.Local)
	if a.Domain != "" {
		b = append(b, '@')
		b = append(b, a.Domain...)
	}
	return b
}

// QuoteLocal writes a local part as it stands in an address: as it is when it
// is a dot-atom, else as a quoted string. Octets that no quoting can carry
// (control characters, broken UTF-8) become "?", so the result is always safe
// to send.
func QuoteLocal(local string) string {
	if plainLocal(local) {
		return local
	}
	return string(appendLocal(make([]byte, 0, len(local)+8), local))
}

// plainLocal tells an RFC 5321 Dot-string.
func plainLocal(s string) bool {
	var seen uint8
	dot := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '.' {
			if dot {
				return false
			}
			dot = true
			continue
		}
		if class[c]&isAtext == 0 {
			return false
		}
		seen |= c
		dot = false
	}
	return !dot && (seen < 0x80 || validUTF8(s))
}

func appendLocal(b []byte, local string) []byte {
	if plainLocal(local) {
		return append(b, local...)
	}
	return appendQuoted(b, local)
}

// appendQuoted writes s as a quoted-string.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	s = scrub(s, "?")
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
