// Package arc is the Authenticated Received Chain, RFC 8617: what those who have
// handled a message say of its authentication, each sealed over what came before.
//
// Verify checks the chain of a message that has come; Seal makes the next set for
// one that leaves. Both canonicalize and sign as DKIM does (RFC 6376), with RSA
// (SHA-256) and Ed25519.
//
// A chain is none, pass or fail; temperror says that a key could not be asked for.
// A chain that passes says who has handled the message and what they have found;
// whether to believe them is for the reader to decide.
//
// Bounds: 50 sets (RFC 8617 §4.2.1), a field of 64 KiB, and by the context, time.
package arc

import (
	"errors"
	"strconv"
	"strings"

	"zmailer/spool/rfc5322"
)

// Names of the three fields of a set.
const (
	resultsField = "ARC-Authentication-Results"
	messageField = "ARC-Message-Signature"
	sealField    = "ARC-Seal"
)

const (
	maxSets  = 50
	maxField = 64 << 10
)

// A set is what one handler added.
type set struct {
	results, message, seal *rfc5322.Field
	tags                   tags // of the seal
}

// tags are the parts of a DKIM-like field, RFC 6376 §3.2. White space in values
// is kept.
type tags map[string]string

var errTags = errors.New("field is no list of tags")

func parseTags(s string) (tags, error) {
	t := make(tags)
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

// packed is a value without white space.
func (t tags) packed(name string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, t[name])
}

// instance reads the tag i of a set's field; of ARC-Authentication-Results it is
// the first.
func instance(f *rfc5322.Field) (int, error) {
	body := f.Unfolded()
	var text string
	if f.Is(resultsField) {
		head, _, ok := strings.Cut(body, ";")
		name, value, ok2 := strings.Cut(head, "=")
		if !ok || !ok2 || strings.TrimSpace(name) != "i" {
			return 0, errors.New(resultsField + " without an instance")
		}
		text = strings.TrimSpace(value)
	} else {
		t, err := parseTags(body)
		if err != nil {
			return 0, err
		}
		text = t["i"]
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxSets || strings.HasPrefix(text, "+") {
		return 0, errors.New("bad instance")
	}
	return n, nil
}

// sets collects the sets of a header, the first handler's first. An error means
// that the chain is broken: RFC 8617 §5.2 step 3.
func sets(h rfc5322.Header) ([]set, error) {
	var list []set
	for i := range h {
		f := &h[i]
		if !f.Is(resultsField) && !f.Is(messageField) && !f.Is(sealField) {
			continue
		}
		if len(f.Raw) > maxField {
			return nil, errors.New("field is too long")
		}
		n, err := instance(f)
		if err != nil {
			return nil, err
		}
		for len(list) < n {
			list = append(list, set{})
		}
		s := &list[n-1]
		place := &s.results
		if f.Is(messageField) {
			place = &s.message
		} else if f.Is(sealField) {
			place = &s.seal
		}
		if *place != nil {
			return nil, errors.New("a set has a field twice")
		}
		*place = f
	}
	for i := range list {
		s := &list[i]
		if s.results == nil || s.message == nil || s.seal == nil {
			return nil, errors.New("a set is not complete")
		}
		var err error
		if s.tags, err = parseTags(s.seal.Unfolded()); err != nil {
			return nil, err
		}
	}
	return list, nil
}
