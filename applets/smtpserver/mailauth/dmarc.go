package mailauth

import (
	"cmp"
	"context"
	"slices"
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
	void       bool   // it is there, but no DMARC is to be applied
	domain     string // where it was found
}

// DMARC checks the author of a message against what SPF and DKIM have found.
// from are the bodies of its From fields.
//
// A message with several authors' domains, or several From fields, cannot pass. So
// that nobody gets past the policy of a domain in this way, it has the policy of one
// that wants such mail refused: RFC 9989 §11.
func DMARC(ctx context.Context, d DNS, from []string, spf SPFResult, dkim []DKIMResult) DMARCResult {
	authors, why := authorDomains(from)
	w := walker{ctx: ctx, d: d, seen: make(map[string]walk)}
	if why == "" {
		return w.judge(authors[0], spf, dkim)
	}
	r := DMARCResult{Reason: why, Value: authres.ResultPermError}
	if len(authors) > 0 {
		r.Domain = authors[0]
	}
	if why == tooManyAuthors {
		r.Policy = "reject" // one of those that were not asked may want it
		return r
	}
	for _, author := range authors {
		one := w.judge(author, spf, dkim)
		if one.Policy == "reject" && (one.Value != authres.ResultPass || len(from) > 1) {
			r.Domain, r.Policy = author, one.Policy
			break
		}
	}
	return r
}

// judge checks one author's domain.
func (w *walker) judge(author string, spf SPFResult, dkim []DKIMResult) DMARCResult {
	r := DMARCResult{Domain: author}
	found := w.walk(author)
	if found.err != nil {
		r.Value, r.Reason = authres.ResultTempError, "policy could not be looked up"
		return r
	}
	rec := found.policy()
	if rec == nil || rec.void {
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

// maxAuthors bounds the domains of one message that are asked.
const (
	maxAuthors     = 8
	tooManyAuthors = "From has too many domains"
)

// authorDomains are the domains of the authors. Unless there is just one, in one
// field that can be read, why says what is wrong.
func authorDomains(from []string) (domains []string, why string) {
	if len(from) != 1 {
		why = "not one From field"
	}
	add := func(domain string) {
		name, err := rfc5322.CanonicalDomain(domain)
		switch {
		case err != nil || strings.HasPrefix(name, "["):
			why = cmp.Or(why, "From has no domain")
		case !slices.Contains(domains, name):
			if len(domains) == maxAuthors {
				why = tooManyAuthors
				return
			}
			domains = append(domains, name)
		}
	}
	for _, text := range from {
		list, err := rfc5322.ParseList(text)
		for _, mb := range list {
			add(mb.Domain)
		}
		if err != nil || len(list) == 0 {
			why = cmp.Or(why, "From cannot be read")
			for _, domain := range looseDomains(text) {
				add(domain)
			}
		}
	}
	if len(domains) > 1 {
		why = cmp.Or(why, "From has several domains")
	}
	return domains, why
}

// looseDomains are what a reader may take for domains in a text that is no list.
func looseDomains(text string) (domains []string) {
	parts := strings.Split(text, "@")
	for _, part := range parts[1:] {
		end := strings.IndexAny(part, " \t<>()\",;:\\")
		if end < 0 {
			end = len(part)
		}
		domains = append(domains, part[:end])
	}
	return domains
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
		if want = rec.sp; rec.np != rec.sp {
			exists, err := w.exists(author)
			if failed = err; err == nil && !exists {
				want = rec.np
			}
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

func (r *DMARCResult) result() authres.Result {
	return &authres.GenericResult{Method: "dmarc", Value: r.Value, Params: map[string]string{
		"reason": plain(r.Reason), "header.from": plain(r.Domain), "policy.dmarc": r.Policy,
	}}
}
