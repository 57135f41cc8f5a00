package mailauth

import (
	"context"
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
		if rec.psd == 'n' || rec.psd == 'y' && name != domain {
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

// record asks for the record of one name. It is nil if there is none, or if it
// cannot be read: RFC 9989 §4.7.
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
			return nil, nil // two that contradict each other
		}
		r.domain = name
		found = r
	}
	return found, nil
}

// parseRecord reads a record, or returns nil. Unknown tags are passed over.
func parseRecord(text string) *record {
	r := &record{psd: 'u'}
	haveURI, first := false, true
	for part := range strings.SplitSeq(text, ";") {
		tag, value, ok := strings.Cut(part, "=")
		tag, value = strings.ToLower(strings.TrimSpace(tag)), strings.TrimSpace(value)
		if first {
			if first = false; !ok || tag != "v" || value != "DMARC1" {
				return nil
			}
			continue
		}
		lower := strings.ToLower(value)
		switch tag {
		case "p":
			r.p = lower
		case "sp":
			r.sp = lower
		case "np":
			r.np = lower
		case "adkim":
			r.strictDKIM = lower == "s"
		case "aspf":
			r.strictSPF = lower == "s"
		case "t":
			r.testing = lower == "y"
		case "psd":
			if lower == "y" || lower == "n" {
				r.psd = lower[0]
			}
		case "rua":
			haveURI = strings.Contains(lower, "mailto:")
		}
	}
	return r.settle(haveURI)
}

// settle fills in what a record does not say. One without a valid policy is for
// reports only, if it asks for any.
func (r *record) settle(haveURI bool) *record {
	valid := func(s string) bool { return s == "none" || s == "quarantine" || s == "reject" }
	if !valid(r.p) || r.sp != "" && !valid(r.sp) || r.np != "" && !valid(r.np) {
		if !haveURI {
			return nil
		}
		r.p, r.sp, r.np = "none", "none", "none"
	}
	if r.sp == "" {
		r.sp = r.p
	}
	if r.np == "" {
		r.np = r.sp
	}
	return r
}
