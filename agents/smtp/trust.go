package smtp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"zmailer/shellcfg/resolver"
)

// A trust is what the policy comes to for one target, after what the destination
// publishes has been asked for: mode is off, may, must, verify, dane (tlsa is not
// empty) or fingerprint.
type trust struct {
	mode   tlsMode
	tlsa   []resolver.TLSA // usable ones
	base   string          // the name they belong to: for SNI and certificates
	prints [][]byte
	sts    *stsPolicy // that was found, whatever its mode
	demand bool       // the message may not go without (REQUIRETLS)
	source string     // the rule, and what was found: for people
}

// check is the part of the trust that a session's certificate was checked for:
// sessions with different ones are not alike.
func (tr *trust) check() string {
	switch tr.mode {
	case tlsDANE:
		var b strings.Builder
		for _, r := range tr.tlsa {
			fmt.Fprintf(&b, "%d%d%d%x ", r.Usage, r.Selector, r.Matching, r.Data)
		}
		return b.String()
	case tlsFingerprint:
		return hex.EncodeToString(bytes.Join(tr.prints, nil))
	}
	return ""
}

// trustFor works out the trust for a target. An error means that the target must
// not be used now.
func (c *client) trustFor(ctx context.Context, t *target, w tlsWish) (trust, error) {
	rule, err := c.opt.tls.of(ctx, t)
	if err != nil {
		return trust{}, err
	}
	switch {
	case w == wishRequired && rule.mode != tlsVerify && rule.mode != tlsFingerprint:
		rule.mode = tlsAuto // what the domain publishes may be what makes it possible
	case w == wishNo && rule.mode.published():
		rule.mode = tlsMay
	}
	tr, err := c.published(ctx, t, rule)
	if w == wishRequired {
		if tr.demand = true; tr.mode != tlsDANE && tr.mode != tlsFingerprint {
			tr.mode = tlsVerify
		}
	}
	return tr, err
}

// published applies what the destination says of itself.
func (c *client) published(ctx context.Context, t *target, rule tlsRule) (trust, error) {
	tr := trust{mode: rule.mode, prints: rule.prints, source: rule.source + " " + rule.mode.String()}
	if rule.mode == tlsDANE || rule.mode == tlsAuto {
		found, err := c.dane(ctx, t, &tr)
		if found || err != nil {
			return tr, err
		}
	}
	if rule.mode == tlsSTS || rule.mode == tlsAuto {
		found, err := c.stsTrust(ctx, t, &tr)
		if found || err != nil {
			return tr, err
		}
	}
	if rule.mode.published() {
		tr.mode = tlsMay
	}
	return tr, nil
}

// dane looks for TLSA records, RFC 7672 §2.2. The names must come from the DNS as
// DNSSEC vouches for it, from the MX to the address.
func (c *client) dane(ctx context.Context, t *target, tr *trust) (found bool, err error) {
	bases, err := c.tlsaBases(ctx, t)
	if err != nil {
		return false, fmt.Errorf("CNAME of %s: %w", t.name, err)
	}
	if len(bases) == 0 {
		tr.source += ", no DNSSEC"
		return false, nil
	}
	why := ", no TLSA"
	for _, base := range bases {
		ans, err := c.opt.resolver.Query(ctx, fmt.Sprintf("_%d._tcp.%s", t.port, base), resolver.TypeTLSA)
		switch {
		case resolver.StatusOf(err) == resolver.TempFail:
			// To go on without would let whoever keeps the answer from us decide.
			return false, fmt.Errorf("TLSA of %s: %w", base, err)
		case err != nil:
		case !ans.Secure:
			why = ", TLSA without DNSSEC"
		default:
			tr.use(ans.TLSA, base)
			return true, nil
		}
	}
	tr.source += why
	return false, nil
}

// tlsaBases is the names whose TLSA records count for a target, in order: RFC 7672
// §2.2.2. They are none without DNSSEC.
func (c *client) tlsaBases(ctx context.Context, t *target) ([]string, error) {
	switch {
	case !t.trusted || t.port == 0:
		return nil, nil
	case t.hostSecure && t.alias != "":
		return []string{t.alias, t.name}, nil
	case t.hostSecure:
		return []string{t.name}, nil
	case t.alias == "":
		return nil, nil
	}
	// Where the alias leads nobody vouches for; that it is one may be certain.
	ans, err := c.opt.resolver.Query(ctx, t.name, resolver.TypeCNAME)
	switch {
	case resolver.StatusOf(err) == resolver.TempFail:
		return nil, err
	case err == nil && ans.Secure:
		return []string{t.name}, nil
	}
	return nil, nil
}

// use makes the trust that of the TLSA records of a name.
func (tr *trust) use(records []resolver.TLSA, base string) {
	for _, r := range records {
		if usableTLSA(r) {
			tr.tlsa = append(tr.tlsa, r)
		}
	}
	if len(tr.tlsa) == 0 {
		tr.mode = tlsMust // RFC 7672 §2.2: encrypted, not authenticated
		tr.source += ", no usable TLSA"
		return
	}
	tr.mode, tr.base = tlsDANE, base
	tr.source += fmt.Sprintf(", %d TLSA of %s", len(tr.tlsa), base)
}

// usableTLSA: usages 0 and 1 are not for SMTP, RFC 7672 §3.1.3.
func usableTLSA(r resolver.TLSA) bool {
	size := map[uint8]int{1: sha256.Size, 2: sha512.Size}[r.Matching]
	return (r.Usage == 2 || r.Usage == 3) && r.Selector <= 1 && r.Matching <= 2 && len(r.Data) > 0 && (size == 0 || len(r.Data) == size)
}

// matches tells whether the record is for the certificate.
func matches(r resolver.TLSA, cert *x509.Certificate) bool {
	data := cert.Raw
	if r.Selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}

var (
	errNoTLSAMatch = errors.New("no TLSA record matches the certificate")
	errNoPrint     = errors.New("the certificate has none of the fingerprints")
	errNoCert      = errors.New("the peer has no certificate")
)

// verifyDANE checks the chain that the peer showed. names are those the
// certificate may be for, where names count.
func verifyDANE(records []resolver.TLSA, chain []*x509.Certificate, names ...string) error {
	if len(chain) == 0 {
		return errNoCert
	}
	for _, r := range records {
		// The end entity itself: neither names nor dates count, RFC 7672 §3.1.1.
		if r.Usage == 3 && matches(r, chain[0]) {
			return nil
		}
	}
	err := errNoTLSAMatch
	for _, r := range records {
		for i := range chain {
			if r.Usage == 2 && matches(r, chain[i]) {
				if err = verifyBelow(chain[i], chain, names); err == nil {
					return nil
				}
			}
		}
	}
	return err
}

// verifyBelow checks the chain up to the anchor, RFC 7672 §3.1.2.
func verifyBelow(anchor *x509.Certificate, chain []*x509.Certificate, names []string) error {
	opt := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: time.Now()}
	opt.Roots.AddCert(anchor)
	for _, c := range chain[1:] {
		opt.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(opt); err != nil {
		return err
	}
	var err error
	for _, name := range names {
		if err = chain[0].VerifyHostname(name); err == nil {
			return nil
		}
	}
	return err
}

func verifyPrints(prints [][]byte, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errNoCert
	}
	cert, key := sha256.Sum256(chain[0].Raw), sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
	for _, p := range prints {
		if bytes.Equal(p, cert[:]) || bytes.Equal(p, key[:]) {
			return nil
		}
	}
	return errNoPrint
}

// names is what a certificate may be for where TLSA records name its issuer: RFC 7672
// §3.2.2. For the end entity itself, names do not count.
func (tr *trust) names(t *target) []string {
	if !slices.ContainsFunc(tr.tlsa, func(r resolver.TLSA) bool { return r.Usage == 2 }) {
		return nil
	}
	names := []string{tr.base}
	for _, name := range [...]string{t.name, t.domain, t.realDomain} {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// verifier checks a connection whose certificate the TLS library does not check.
// It is also asked about resumed ones.
func (tr *trust) verifier(t *target) func(tls.ConnectionState) error {
	switch tr.mode {
	case tlsDANE:
		names := tr.names(t)
		return func(cs tls.ConnectionState) error {
			return untrusted(verifyDANE(tr.tlsa, cs.PeerCertificates, names...))
		}
	case tlsFingerprint:
		return func(cs tls.ConnectionState) error {
			return untrusted(verifyPrints(tr.prints, cs.PeerCertificates))
		}
	}
	return nil
}

// An untrustedError is a certificate that is not what it should be: no matter of the
// handshake.
type untrustedError struct{ err error }

func (e *untrustedError) Error() string { return e.err.Error() }
func (e *untrustedError) Unwrap() error { return e.err }

func untrusted(err error) error {
	if err != nil {
		err = &untrustedError{err}
	}
	return err
}

// fingerprint is the SHA-256 of a certificate, as the table writes it.
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}
