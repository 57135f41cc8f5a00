package tlsrpt

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Report is the JSON of RFC 8460 §4.
type Report struct {
	Organization string   `json:"organization-name"`
	Range        Range    `json:"date-range"`
	Contact      string   `json:"contact-info"`
	ID           string   `json:"report-id"`
	Policies     []Policy `json:"policies"`
}

// A Range is a day, both ends included.
type Range struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// A Policy is what there was of one policy of the domain.
type Policy struct {
	Policy   PolicyText `json:"policy"`
	Summary  Summary    `json:"summary"`
	Failures []Failure  `json:"failure-details,omitempty"`
}

// A PolicyText is the policy itself.
type PolicyText struct {
	Type   string   `json:"policy-type"`
	String []string `json:"policy-string,omitempty"`
	Domain string   `json:"policy-domain"`
	MX     []string `json:"mx-host,omitempty"`
}

// A Summary counts sessions.
type Summary struct {
	Successes int64 `json:"total-successful-session-count"`
	Failures  int64 `json:"total-failure-session-count"`
}

// A Failure is one way to fail.
type Failure struct {
	Result string `json:"result-type"`
	Host   string `json:"receiving-mx-hostname,omitempty"`
	IP     string `json:"receiving-ip,omitempty"`
	Count  int64  `json:"failed-session-count"`
	Reason string `json:"failure-reason-code,omitempty"`
}

// maxFailures bounds the details of a policy; the summary counts them all.
const maxFailures = 500

// maxLine bounds a line of a file of counts.
const maxLine = 64 << 10

// A Day is the counts of all processes on a day.
type Day struct {
	start  time.Time
	counts map[string]map[Fact]int64 // by domain
}

// ReadDay reads the counts of a day. What cannot be read is an error, and is left
// out of the rest.
func ReadDay(dir string, day time.Time) (*Day, error) {
	d := &Day{start: day, counts: make(map[string]map[Fact]int64)}
	dir = filepath.Join(dir, day.Format(dayForm))
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // of a process that was killed while it wrote
		}
		if err := d.read(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, err)
		}
	}
	return d, errors.Join(errs...)
}

func (d *Day) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var c counted
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if c.Domain == "" || c.N <= 0 {
			return fmt.Errorf("%s:%d: no count", path, n)
		}
		facts := d.counts[c.Domain]
		if facts == nil {
			facts = make(map[Fact]int64)
			d.counts[c.Domain] = facts
		}
		facts[c.Fact] += c.N
	}
	return lines.Err()
}

// Domains are those of which there are counts.
func (d *Day) Domains() []string {
	names := make([]string, 0, len(d.counts))
	for name := range d.counts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Report is the report for a domain.
func (d *Day) Report(domain, organization, contact string) *Report {
	type key struct{ kind, text, mx string }
	policies := make(map[key]*Policy)
	for f, n := range d.counts[domain] {
		k := key{f.Policy, f.Text, f.MX}
		p := policies[k]
		if p == nil {
			p = &Policy{Policy: PolicyText{Type: f.Policy, String: splitLines(f.Text), Domain: domain, MX: splitLines(f.MX)}}
			policies[k] = p
		}
		if f.Result == "" {
			p.Summary.Successes += n
			continue
		}
		p.Summary.Failures += n
		p.Failures = append(p.Failures, Failure{Result: f.Result, Host: f.Host, IP: f.IP, Count: n, Reason: f.Reason})
	}
	r := &Report{
		Organization: organization, Contact: contact,
		Range: Range{d.start, d.start.Add(24*time.Hour - time.Second)},
		ID:    d.start.Format(time.DateOnly) + "_" + domain + "@" + organization,
	}
	for _, p := range policies {
		slices.SortFunc(p.Failures, func(a, b Failure) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Result, b.Result), cmp.Compare(a.Host, b.Host), cmp.Compare(a.IP, b.IP), cmp.Compare(a.Reason, b.Reason))
		})
		p.Failures = p.Failures[:min(len(p.Failures), maxFailures)]
		r.Policies = append(r.Policies, *p)
	}
	slices.SortFunc(r.Policies, func(a, b Policy) int {
		return cmp.Or(cmp.Compare(a.Policy.Type, b.Policy.Type), slices.Compare(a.Policy.String, b.Policy.String), slices.Compare(a.Policy.MX, b.Policy.MX))
	})
	return r
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// Gzip is the report as it is sent.
func (r *Report) Gzip() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(text)
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}

// Places reads the record of _smtp._tls.DOMAIN: where reports go to, RFC 8460 §3.
// More than one record is none.
func Places(texts []string) []string {
	var places []string
	found := false
	for _, t := range texts {
		rest, ok := strings.CutPrefix(t, "v=TLSRPTv1")
		if !ok || rest != "" && !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			continue
		}
		if found {
			return nil
		}
		found = true
		for field := range strings.SplitSeq(rest, ";") {
			list, ok := strings.CutPrefix(strings.TrimSpace(field), "rua=")
			if !ok {
				continue
			}
			for place := range strings.SplitSeq(list, ",") {
				if place = strings.TrimSpace(place); len(places) < maxPlaces && place != "" {
					places = append(places, place)
				}
			}
		}
	}
	return places
}

// maxPlaces bounds the mail that a domain can make us send.
const maxPlaces = 5
