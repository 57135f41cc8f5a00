package mailauth

import (
	"context"
	"net/url"
	"slices"
	"strings"
)

// A walk is the way from a domain up the tree: RFC 9989 §4.10.
type walk struct {
	start   string
	records []*record // nearest first
	err     error
}

// A walker walks, and remembers where it has been.
type walker struct {
	ctx  context.Context
	d    DNS
	seen map[string]walk
}

// Steps of a walk: a name with eight labels or more goes on with its last seven.
const longName, jumpTo = 8, 7

func (w *walker) walk(domain string) walk {
	if done, ok := w.seen[domain]; ok {
		return done
	}
	found := walk{start: domain}
	for name := domain; name != ""; name = parent(name) {
		rec, err := w.record(name)
		if err != nil {
			found.err = err
			break
		}
		if rec == nil {
			continue
		}
		found.records = append(found.records, rec)
		if rec.psd != 'u' {
			break
		}
	}
	w.seen[domain] = found
	return found
}

// parent is the name that is asked next.
func parent(name string) string {
	labels := strings.Split(name, ".")
	if len(labels) >= longName {
		return strings.Join(labels[len(labels)-jumpTo:], ".")
	}
	return strings.Join(labels[1:], ".")
}

// policy is the record that speaks for the author's domain: its own, or that of
// the organization, or that of the public suffix above it.
func (f *walk) policy() *record {
	if len(f.records) == 0 {
		return nil
	}
	if f.records[0].domain == f.start {
		return f.records[0]
	}
	org := f.organization()
	for _, r := range f.records {
		if r.domain == org {
			return r
		}
	}
	return f.records[len(f.records)-1]
}

// organization is the domain that owns the one where the walk began.
func (f *walk) organization() string {
	for _, r := range f.records {
		switch {
		case r.psd == 'n':
			return r.domain
		case r.psd == 'y' && r.domain != f.start:
			return below(f.start, r.domain)
		}
	}
	if n := len(f.records); n > 0 {
		return f.records[n-1].domain
	}
	return f.start
}

// below is the name one label longer than suffix on the way to name.
func below(name, suffix string) string {
	head := strings.TrimSuffix(name, "."+suffix)
	return head[strings.LastIndexByte(head, '.')+1:] + "." + suffix
}

// record asks for the record of one name, nil if there is none.
func (w *walker) record(name string) (*record, error) {
	texts, err := w.d.TXT(w.ctx, "_dmarc."+name)
	if err != nil {
		return nil, tempOnly(err)
	}
	var found *record
	for _, text := range texts {
		r := parseRecord(text)
		if r == nil {
			continue
		}
		if found != nil {
			return nil, nil // of several, none counts
		}
		r.domain = name
		found = r
	}
	return found, nil
}

// parseRecord reads a record, or returns nil if it is of something else. Tags that
// are unknown, or do not say what they may, are passed over: RFC 9989 §4.7.
func parseRecord(text string) *record {
	r := &record{psd: 'u'}
	tags := strings.Split(text, ";")
	if version, value, _ := strings.Cut(tags[0], "="); !strings.EqualFold(strings.TrimSpace(version), "v") || strings.TrimSpace(value) != "DMARC1" {
		return nil
	}
	haveURI, havePolicy := false, false
	for _, part := range tags[1:] {
		tag, value, _ := strings.Cut(part, "=")
		value = strings.ToLower(strings.TrimSpace(value))
		switch strings.ToLower(strings.TrimSpace(tag)) {
		case "p":
			r.p, havePolicy = value, true
		case "sp":
			r.sp = value
		case "np":
			r.np = value
		case "adkim":
			r.strictDKIM = value == "s"
		case "aspf":
			r.strictSPF = value == "s"
		case "t":
			r.testing = value == "y"
		case "psd":
			if value == "y" || value == "n" {
				r.psd = value[0]
			}
		case "rua":
			haveURI = slices.ContainsFunc(strings.Split(value, ","), isURI)
		}
	}
	if !havePolicy {
		r.p = "none"
	}
	r.settle(haveURI)
	return r
}

func isURI(s string) bool {
	u, err := url.Parse(strings.TrimSpace(s))
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "")
}

// settle fills in what a record does not say. One with a policy that is none is for
// reports only; if it does not even ask for them, it says that there is no DMARC here:
// RFC 9989 §4.10.1.
func (r *record) settle(haveURI bool) {
	valid := func(s string) bool { return s == "none" || s == "quarantine" || s == "reject" }
	if !valid(r.p) || r.sp != "" && !valid(r.sp) || r.np != "" && !valid(r.np) {
		r.void = !haveURI
		r.p, r.sp, r.np = "none", "none", "none"
	}
	if r.sp == "" {
		r.sp = r.p
	}
	if r.np == "" {
		r.np = r.sp
	}
}
