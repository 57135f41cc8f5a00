package smtp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"
)

// A tlsMode says how much encryption a destination must have.
type tlsMode uint8

const (
	tlsMay         tlsMode = iota // when offered; certificates are not looked at
	tlsOff                        // never
	tlsMust                       // or no mail; certificates are not looked at
	tlsVerify                     // with a certificate that is valid for the host's name, or no mail
	tlsDANE                       // as its TLSA records say (RFC 7672); may, if it has none
	tlsSTS                        // as the domain's MTA-STS policy says (RFC 8461); may, if it has none
	tlsAuto                       // tlsDANE, and tlsSTS if there are no TLSA records
	tlsFingerprint                // with one of the certificates or keys that are listed, or no mail
)

var tlsModes = map[string]tlsMode{
	"off": tlsOff, "none": tlsOff, "may": tlsMay, "must": tlsMust, "verify": tlsVerify,
	"dane": tlsDANE, "sts": tlsSTS, "auto": tlsAuto, "fingerprint": tlsFingerprint,
}

var tlsModeNames = [...]string{"may", "off", "must", "verify", "dane", "sts", "auto", "fingerprint"}

func (m tlsMode) String() string {
	if int(m) < len(tlsModeNames) {
		return tlsModeNames[m]
	}
	return fmt.Sprintf("tlsMode(%d)", uint8(m))
}

// published says that the mode depends on what the destination publishes.
func (m tlsMode) published() bool { return m == tlsDANE || m == tlsSTS || m == tlsAuto }

// A tlsRule is the mode for the destinations that a pattern matches.
type tlsRule struct {
	pattern string
	mode    tlsMode
	prints  [][]byte // SHA-256 of certificates or public keys, for tlsFingerprint
	source  string   // where it stands: "-S" or "tlspolicy:3"
}

// A tlsPolicy is the mode for all hosts and the rules for some. A line of the
// table wins over option -S, where the last rule that matches decides.
type tlsPolicy struct {
	mode  tlsMode
	rules []tlsRule
	table tlsRules // nil: none
}

// tlsRules are a table of rules: a tlsTable or a tlsRelation.
type tlsRules interface {
	of(ctx context.Context, g *target) (rule tlsRule, found bool, err error)
}

// set reads "may" or "may,*.example.org=verify,10.*=off".
func (p *tlsPolicy) set(spec string) error {
	for _, word := range strings.Split(spec, ",") {
		pattern, name, isRule := strings.Cut(word, "=")
		if !isRule {
			name = word
		}
		mode, ok := tlsModes[name]
		if !ok || mode == tlsFingerprint {
			return fmt.Errorf("%q: want off, may, must, verify, dane, sts or auto", name)
		}
		if !isRule {
			p.mode = mode
			continue
		}
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("%q is not a pattern of host names", pattern)
		}
		p.rules = append(p.rules, tlsRule{pattern: strings.ToLower(pattern), mode: mode, source: "-S"})
	}
	return nil
}

// of returns the rule for a target, matching the destination as the job names
// it and the host that it led to.
func (p *tlsPolicy) of(ctx context.Context, t *target) (tlsRule, error) {
	if p.table != nil {
		r, found, err := p.table.of(ctx, t)
		if found || err != nil {
			return r, err
		}
	}
	rule := tlsRule{mode: p.mode, source: "-S"}
	for _, r := range p.rules {
		for _, name := range [...]string{t.dest, t.name} {
			if ok, err := path.Match(r.pattern, name); ok && err == nil {
				rule = r
			}
		}
	}
	if t.network == "unix" && (rule.mode == tlsMay || rule.mode.published()) {
		rule.mode = tlsOff
	}
	return rule, nil
}

// parseTLSLine reads a line of the table: "DESTINATION MODE [FINGERPRINT]...".
func parseTLSLine(line string) (tlsRule, error) {
	pattern, rest := cutBlank(line)
	return parseTLSRule(pattern, strings.Fields(rest))
}

// parseTLSRule reads what the table has for a destination.
func parseTLSRule(pattern string, words []string) (tlsRule, error) {
	if pattern == "" || len(words) == 0 {
		return tlsRule{}, errors.New("want DESTINATION MODE")
	}
	mode, ok := tlsModes[words[0]]
	if !ok {
		return tlsRule{}, fmt.Errorf("%q: want none, may, must, verify, dane, sts, auto or fingerprint", words[0])
	}
	r := tlsRule{pattern: strings.ToLower(pattern), mode: mode}
	for _, w := range words[1:] {
		b, err := hex.DecodeString(strings.ReplaceAll(w, ":", ""))
		if err != nil || len(b) != 32 || mode != tlsFingerprint {
			return tlsRule{}, fmt.Errorf("%q: want the SHA-256 of a certificate or public key, after the mode fingerprint", w)
		}
		r.prints = append(r.prints, b)
	}
	if mode == tlsFingerprint && len(r.prints) == 0 {
		return tlsRule{}, errors.New("fingerprint needs a fingerprint")
	}
	return r, nil
}
