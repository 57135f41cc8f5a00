package mailauth

import (
	"context"
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"zmailer/shellcfg/resolver"
	"zmailer/spool/rfc5322"
)

// A DMARCResult tells whether the author's domain stands behind a message, and
// what the domain wants done if not.
type DMARCResult struct {
	Value  authres.ResultValue
	Domain string // of the author
	Policy string // none, quarantine or reject; "" when no record was found
	Reason string
}

// A record is what matters of a DMARC record: RFC 9989 §4.7.
type record struct {
	p, sp, np  string
	psd        byte // 'y', 'n' or 'u'
	strictDKIM bool
	strictSPF  bool
	testing    bool
	domain     string // where it was found
}

// DMARC checks the author of a message against what SPF and DKIM have found.
// from are the bodies of its From fields.
func DMARC(ctx context.Context, d DNS, from []string, spf SPFResult, dkim []DKIMResult) DMARCResult {
	author, why := authorDomain(from)
	r := DMARCResult{Domain: author, Reason: why, Value: authres.ResultPermError}
	if author == "" {
		return r
	}
	w := walker{ctx: ctx, d: d, seen: make(map[string]walk)}
	found := w.walk(author)
	if found.err != nil {
		r.Value, r.Reason = authres.ResultTempError, "policy could not be looked up"
		return r
	}
	rec := found.policy()
	if rec == nil {
		r.Value = authres.ResultNone
		return r
	}
	aligned, err := w.aligned(rec, author, spf, dkim)
	switch {
	case aligned:
		r.Value = authres.ResultPass
	case err != nil:
		r.Value, r.Reason = authres.ResultTempError, "alignment could not be looked up"
	case unclear(spf, dkim):
		r.Value, r.Reason = authres.ResultTempError, "SPF or DKIM could not be checked"
	default:
		r.Value = authres.ResultFail
	}
	if r.Policy, err = w.wanted(rec, author); err != nil && r.Value == authres.ResultFail {
		r.Value, r.Reason = authres.ResultTempError, "author's domain could not be looked up"
	}
	return r
}

// authorDomain is the domain of the only author. A message whose fields name
// authors of several domains has no domain to ask, and is broken or a trap.
func authorDomain(from []string) (domain, why string) {
	if len(from) != 1 {
		return "", "not one From field"
	}
	list, err := rfc5322.ParseList(from[0])
	if err != nil || len(list) == 0 {
		return "", "From cannot be read"
	}
	for _, mb := range list {
		name, err := rfc5322.CanonicalDomain(mb.Domain)
		if err != nil || name == "" || strings.HasPrefix(name, "[") {
			return "", "From has no domain"
		}
		if domain != "" && domain != name {
			return "", "From has several domains"
		}
		domain = name
	}
	return domain, ""
}

// unclear tells that a check which could have passed could not be made.
func unclear(spf SPFResult, dkim []DKIMResult) bool {
	return (&Results{SPF: spf, DKIM: dkim}).TempError()
}

// aligned looks for an identifier that passed and is the author's.
func (w *walker) aligned(rec *record, author string, spf SPFResult, dkim []DKIMResult) (bool, error) {
	var failed error
	try := func(id string, strict bool) bool {
		ok, err := w.same(id, author, strict)
		if err != nil {
			failed = err
		}
		return ok
	}
	if spf.Value == authres.ResultPass && try(spf.Domain, rec.strictSPF) {
		return true, nil
	}
	for _, s := range dkim {
		if s.Value == authres.ResultPass && try(s.Domain, rec.strictDKIM) {
			return true, nil
		}
	}
	return false, failed
}

// same tells whether an identifier is aligned with the author: RFC 9989 §4.4.
func (w *walker) same(id, author string, strict bool) (bool, error) {
	id, err := rfc5322.CanonicalDomain(id)
	if err != nil || id == "" {
		return false, nil
	}
	if id == author || strict {
		return id == author, nil
	}
	a, b := w.walk(id), w.walk(author)
	if a.err != nil {
		return false, a.err
	}
	return a.organization() == b.organization(), b.err
}

// wanted is what the record wants done with mail that fails.
func (w *walker) wanted(rec *record, author string) (string, error) {
	want := rec.p
	var failed error
	if rec.domain != author {
		want = rec.sp
		exists, err := w.exists(author)
		if failed = err; err == nil && !exists {
			want = rec.np
		}
	}
	if rec.testing { // RFC 9989 §4.7: one step less
		switch want {
		case "reject":
			want = "quarantine"
		case "quarantine":
			want = "none"
		}
	}
	return want, failed
}

// exists tells whether a domain is there for mail: it has an MX or an address.
func (w *walker) exists(name string) (bool, error) {
	if _, err := w.d.MX(w.ctx, name); resolver.StatusOf(err) != resolver.NotFound {
		return true, err
	}
	_, err := w.d.Host(w.ctx, name)
	return err == nil, tempOnly(err)
}

// tempOnly drops the error that says that there is none.
func tempOnly(err error) error {
	if resolver.StatusOf(err) == resolver.NotFound {
		return nil
	}
	return err
}
