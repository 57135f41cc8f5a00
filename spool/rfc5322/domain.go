package rfc5322

import (
	"errors"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/idna"
)

var errDomain = errors.New("invalid domain")

// looseDomain tells what may stand after the "@" of an address: labels of
// letters, digits, hyphens, underscores and UTF-8, or a literal. why is empty
// when it may; strict tells that RFC 5321 §4.1.2 agrees.
func looseDomain(s string) (strict bool, why string) {
	if s == "" {
		return false, "empty domain"
	}
	if len(s) > MaxDomain {
		return false, "domain too long"
	}
	if s[0] == '[' {
		return looseLiteral(s)
	}
	strict = true
	start, wide := 0, false
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			c := s[i]
			switch {
			case class[c]&isDomain == 0:
				return false, "illegal character in domain"
			case c == '_':
				strict = false
			case c >= 0x80:
				wide = true
			}
			continue
		}
		switch {
		case i == start:
			return false, "empty label in domain"
		case i-start > maxLabel && isASCII(s[start:i]):
			return false, "label too long in domain"
		case s[start] == '-' || s[i-1] == '-':
			strict = false
		}
		start = i + 1
	}
	if wide && !validUTF8(s) {
		return false, "domain is not UTF-8"
	}
	return strict, ""
}

func looseLiteral(s string) (strict bool, why string) {
	n := len(s) - 1
	if n < 2 || s[n] != ']' || run(s, 1, isDtext) != n {
		return false, "malformed address literal"
	}
	if _, ok := ParseLiteral(s); ok {
		return true, ""
	}
	// General-address-literal: a tag that IANA might know, and content.
	tag, content, ok := strings.Cut(s[1:n], ":")
	return ok && !equalFold(tag, "IPv6") && content != "" && strings.Trim(tag, ldh) == "" &&
		tag != "" && tag[len(tag)-1] != '-', ""
}

const ldh = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"

// ValidDomain tells whether s is a domain to RFC 5321 §4.1.2 and RFC 6531: a
// name of LDH labels and U-labels, or an address literal.
func ValidDomain(s string) bool {
	strict, why := looseDomain(s)
	return strict && why == ""
}

// ParseLiteral returns the IP address of "[192.0.2.1]" or "[IPv6:2001:db8::1]".
// An IPv6 address without its tag is understood too.
func ParseLiteral(s string) (ip netip.Addr, ok bool) {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return ip, false
	}
	s = s[1 : len(s)-1]
	tagged := len(s) > 5 && equalFold(s[:5], "IPv6:")
	if tagged {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" || tagged && ip.Is4() {
		return netip.Addr{}, false
	}
	return ip, true
}

// Literal writes ip as an address literal.
func Literal(ip netip.Addr) string {
	if ip = ip.WithZone("").Unmap(); ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// lookup is the IDNA profile for names that are to be found: UTS #46 mapping,
// not transitional. Underscores pass, as they do in names that are ASCII.
var lookup = sync.OnceValue(func() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))
})

// CanonicalDomain is the form in which domains are compared, looked up and
// used as keys: lower case, no dot at the end, A-labels, and address literals
// as [Literal] writes them. Two spellings of one domain give one string.
func CanonicalDomain(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if _, why := looseDomain(s); why != "" {
		return "", errDomain
	}
	if s[0] == '[' {
		ip, ok := ParseLiteral(s)
		if !ok {
			return "", errDomain
		}
		return Literal(ip), nil
	}
	if isASCII(s) {
		return strings.ToLower(s), nil
	}
	ascii, err := lookup().ToASCII(s)
	if err != nil {
		return "", errDomain
	}
	// The mapping turns full-width forms to ASCII: "." and "@" and more. What
	// it made is judged like any other name.
	ascii = strings.TrimSuffix(strings.ToLower(ascii), ".")
	if _, why := looseDomain(ascii); why != "" || !isASCII(ascii) || ascii[0] == '[' {
		return "", errDomain
	}
	return ascii, nil
}

// EqualDomain tells whether a and b name the same domain.
func EqualDomain(a, b string) bool {
	if equalFold(a, b) {
		return true
	}
	if isASCII(a) && isASCII(b) && !strings.HasPrefix(a, "[") {
		return strings.HasSuffix(a, ".") != strings.HasSuffix(b, ".") &&
			equalFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
	}
	ca, errA := CanonicalDomain(a)
	cb, errB := CanonicalDomain(b)
	return errA == nil && errB == nil && ca == cb
}
