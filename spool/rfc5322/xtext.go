package rfc5322

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

var errXtext = errors.New("invalid xtext")

const upperHex = "0123456789ABCDEF"

// xchar tells the characters that xtext writes as they are: RFC 3461 §4.
func xchar(c byte) bool { return c > ' ' && c < 0x7f && c != '+' && c != '=' }

// EncodeXtext writes s as xtext.
func EncodeXtext(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !xchar(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; xchar(c) {
			b = append(b, c)
		} else {
			b = append(b, '+', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// DecodeXtext reads xtext; nothing but what the RFC allows. The value may
// hold any octet, control characters too.
func DecodeXtext(s string) (string, error) {
	if strings.IndexByte(s, '+') < 0 {
		for i := 0; i < len(s); i++ {
			if !xchar(s[i]) {
				return "", errXtext
			}
		}
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if xchar(c) {
			b = append(b, c)
			continue
		}
		if c != '+' || i+2 >= len(s) {
			return "", errXtext
		}
		hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
		if hi < 0 || lo < 0 {
			return "", errXtext
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), nil
}

// ORCPT is the value of the ORCPT parameter, decoded: RFC 3461 §4.2.
type ORCPT struct {
	Type string // "rfc822", "utf-8", ... in lower case
	Addr string // the address, one line of text
}

// ParseORCPT reads the value of an ORCPT parameter. Control characters in
// the address are refused.
func ParseORCPT(s string) (ORCPT, error) {
	typ, enc, ok := strings.Cut(s, ";")
	if !ok || enc == "" || !ValidFieldName(typ) || !plainLocal(typ) {
		return ORCPT{}, errors.New("orcpt: type and address expected")
	}
	o := ORCPT{Type: strings.ToLower(typ)}
	var err error
	if o.Type == "utf-8" {
		o.Addr, err = decodeUTF8Addr(enc)
	} else {
		o.Addr, err = DecodeXtext(enc)
	}
	if err != nil {
		return ORCPT{}, fmt.Errorf("orcpt: %w", err)
	}
	if !noControl(o.Addr) || !validUTF8(o.Addr) {
		return ORCPT{}, errors.New("orcpt: control character or broken UTF-8 in address")
	}
	return o, nil
}

// String is the parameter value in the form that needs no SMTPUTF8.
func (o ORCPT) String() string {
	if o.Type == "utf-8" {
		return o.Type + ";" + EncodeUTF8Addr(o.Addr)
	}
	return o.Type + ";" + EncodeXtext(o.Addr)
}

// ORCPTOf is the ORCPT of an address as a client would have given it.
func ORCPTOf(a Address) ORCPT {
	if a.ASCII() {
		return ORCPT{"rfc822", a.String()}
	}
	return ORCPT{"utf-8", a.String()}
}

// qchar tells the QCHAR of RFC 6533 §3.
func qchar(c byte) bool { return xchar(c) && c != '\\' }

// EncodeUTF8Addr writes s as utf-8-addr-xtext, RFC 6533 §3: ASCII only, other
// characters as \x{20AC}.
func EncodeUTF8Addr(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && qchar(byte(r)) {
			b.WriteByte(byte(r))
			continue
		}
		h := strings.ToUpper(strconv.FormatInt(int64(r), 16))
		b.WriteString(`\x{`)
		if len(h) == 1 {
			b.WriteByte('0')
		}
		b.WriteString(h)
		b.WriteByte('}')
	}
	return b.String()
}

// decodeUTF8Addr reads utf-8-addr-xtext or utf-8-addr-unitext. Characters that
// need no escape may not be escaped, and control characters may not appear.
func decodeUTF8Addr(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errXtext
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf || qchar(c):
			b.WriteByte(c)
			i++
		case strings.HasPrefix(s[i:], `\x{`):
			n := strings.IndexByte(s[i:min(len(s), i+10)], '}')
			if n < 0 {
				return "", errXtext
			}
			r, ok := hexPoint(s[i+3 : i+n])
			if !ok {
				return "", errXtext
			}
			b.WriteRune(r)
			i += n + 1
		default:
			return "", errXtext
		}
	}
	return b.String(), nil
}

// hexPoint reads HEXPOINT of RFC 6533: upper case, no zeros in front.
func hexPoint(h string) (rune, bool) {
	if len(h) < 2 || len(h) > 6 || h[0] == '0' || strings.Trim(h, upperHex) != "" {
		return 0, false
	}
	v, err := strconv.ParseUint(h, 16, 32)
	r := rune(v)
	if err != nil || !utf8.ValidRune(r) || r < utf8.RuneSelf && qchar(byte(r)) || breaksLine(r) {
		return 0, false
	}
	return r, true
}
