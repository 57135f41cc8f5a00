package dkim

import (
	"errors"
	"strings"
)

// Tags are the parts of a signature or of the record of a key, RFC 6376 §3.2. White
// space in values is kept.
type Tags map[string]string

var errTags = errors.New("field is no list of tags")

// ParseTags reads a list of tags. A tag that is there twice makes it none.
func ParseTags(s string) (Tags, error) {
	t := make(Tags)
	list := strings.Split(s, ";")
	for i, part := range list {
		if strings.TrimSpace(part) == "" && i == len(list)-1 {
			break // one ; may end the list
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if _, twice := t[name]; !ok || twice || !isTagName(name) {
			return nil, errTags
		}
		t[name] = strings.TrimSpace(value)
	}
	return t, nil
}

func isTagName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !(c == '_' || '0' <= c && c <= '9')) {
			return false
		}
	}
	return s != ""
}

// Packed is a value without white space.
func (t Tags) Packed(name string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, t[name])
}
