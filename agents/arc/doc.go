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

	"zmailer/agents/dkim"
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
	tags                   dkim.Tags // of the seal
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
		t, err := dkim.ParseTags(body)
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
		if s.tags, err = dkim.ParseTags(s.seal.Unfolded()); err != nil {
			return nil, err
		}
	}
	return list, nil
}
