// Package zone is a small authoritative and recursive name server without a
// network: records and faults declared as lines of text.
//
// A line is a record of a zone file, names relative to the root,
//
//	example.org MX 10 mx.example.org
//	www.example.org 60 IN CNAME example.org
//
// or a name with a fault and the types it is for (all if none is given):
//
//	broken.example SERVFAIL
//	half.example SERVFAIL AAAA
//
// A '#' or ';' in column 1 starts a comment. Names without records do not
// exist; a name above one with records exists without data; *.example.org is
// a wildcard.
package zone

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Fault is what goes wrong with a name.
type Fault string

// The faults, by the word that declares them. SECURE is none: it makes the
// server say that the answer was validated.
const (
	ServFail Fault = "SERVFAIL"
	Refused  Fault = "REFUSED"
	FormErr  Fault = "FORMERR"
	NXDomain Fault = "NXDOMAIN"
	Drop     Fault = "DROP"     // no answer at all; TIMEOUT is the same word
	Truncate Fault = "TRUNCATE" // over UDP
	Garbage  Fault = "GARBAGE"  // bytes that are no message
	NoEDNS   Fault = "NOEDNS"   // FORMERR to a query with EDNS
	Referral Fault = "REFERRAL" // neither answer nor recursion
	Secure   Fault = "SECURE"
)

var faults = []Fault{ServFail, Refused, FormErr, NXDomain, Drop, Truncate, Garbage, NoEDNS, Referral, Secure}

// Zone is a set of records and faults.
type Zone struct {
	records map[string][]dns.RR
	faults  map[string][]fault
	exists  map[string]bool // names with something at or below them
}

type fault struct {
	kind  Fault
	types []uint16
}

// Parse reads lines; each may also hold several lines.
func Parse(lines ...string) (*Zone, error) {
	z := &Zone{records: map[string][]dns.RR{}, faults: map[string][]fault{}, exists: map[string]bool{}}
	n := 0
	for _, text := range lines {
		for line := range strings.SplitSeq(text, "\n") {
			n++
			if err := z.add(line); err != nil {
				return nil, fmt.Errorf("dns record %d: %w", n, err)
			}
		}
	}
	return z, nil
}

func (z *Zone) add(line string) error {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return nil
	}
	words := strings.Fields(line)
	if done, err := z.addFault(words); done || err != nil {
		return err
	}
	rr, err := dns.NewRR(line)
	if err != nil {
		return err
	}
	if rr == nil || bare(words, rr) {
		return fmt.Errorf("no record in %q", line)
	}
	name := strings.ToLower(rr.Header().Name)
	z.records[name] = append(z.records[name], rr)
	z.mark(name)
	return nil
}

// bare tells whether a record ends with its type: the parser accepts that for
// the sake of dynamic updates.
func bare(words []string, rr dns.RR) bool {
	return strings.EqualFold(words[len(words)-1], dns.Type(rr.Header().Rrtype).String())
}

func (z *Zone) addFault(words []string) (bool, error) {
	if len(words) < 2 {
		return false, nil
	}
	kind := Fault(strings.ToUpper(words[1]))
	if kind == "TIMEOUT" {
		kind = Drop
	}
	if !slices.Contains(faults, kind) {
		return false, nil
	}
	f := fault{kind: kind}
	for _, w := range words[2:] {
		t, ok := dns.StringToType[strings.ToUpper(w)]
		if !ok {
			return false, fmt.Errorf("%q is not a record type", w)
		}
		f.types = append(f.types, t)
	}
	name := strings.ToLower(dns.Fqdn(words[0]))
	z.faults[name] = append(z.faults[name], f)
	return true, nil
}

func (z *Zone) mark(name string) {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		z.exists[name[off:]] = true
	}
}

// Has tells whether a fault is declared for a name and type.
func (z *Zone) Has(kind Fault, name string, typ uint16) bool {
	for _, f := range z.faults[strings.ToLower(name)] {
		if f.kind == kind && (len(f.types) == 0 || slices.Contains(f.types, typ)) {
			return true
		}
	}
	return false
}

// Reply answers a query as a recursive server would: nil if it stays silent.
// Truncate and Garbage are left to the transport.
func (z *Zone) Reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	name, typ := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	if opt := q.IsEdns0(); opt != nil {
		if z.Has(NoEDNS, name, typ) {
			m.Rcode = dns.RcodeFormatError
			return m
		}
		m.SetEdns0(opt.UDPSize(), false)
	}
	switch {
	case z.Has(Drop, name, typ):
		return nil
	case z.Has(ServFail, name, typ):
		m.Rcode = dns.RcodeServerFailure
	case z.Has(Refused, name, typ):
		m.Rcode = dns.RcodeRefused
	case z.Has(FormErr, name, typ):
		m.Rcode = dns.RcodeFormatError
	case z.Has(Referral, name, typ):
		m.RecursionAvailable = false
	default:
		m.AuthenticatedData = z.Has(Secure, name, typ)
		z.resolve(m, name, typ)
	}
	return m
}

// resolve fills in the answer, following aliases as far as it knows them. It
// stops after more steps than any client takes.
func (z *Zone) resolve(m *dns.Msg, name string, typ uint16) {
	for range 32 {
		if z.Has(NXDomain, name, typ) {
			break
		}
		found, alias := z.find(name, typ)
		m.Answer = append(m.Answer, found...)
		if alias == "" {
			if len(found) == 0 {
				z.deny(m, name)
			}
			return
		}
		name = alias
	}
	m.Rcode = dns.RcodeNameError
	m.Ns = append(m.Ns, soa())
}

func (z *Zone) find(name string, typ uint16) (found []dns.RR, alias string) {
	for _, rr := range z.at(name) {
		cname, ok := rr.(*dns.CNAME)
		switch {
		case rr.Header().Rrtype == typ:
			found = append(found, rr)
		case ok:
			found, alias = append(found, rr), strings.ToLower(cname.Target)
		}
	}
	return found, alias
}

// at returns the records of a name, those of a wildcard under its name.
func (z *Zone) at(name string) []dns.RR {
	if rrs := z.records[name]; rrs != nil || z.exists[name] {
		return rrs
	}
	off, end := dns.NextLabel(name, 0)
	if end {
		return nil
	}
	var out []dns.RR
	for _, rr := range z.records["*."+name[off:]] {
		c := dns.Copy(rr)
		c.Header().Name = name
		out = append(out, c)
	}
	return out
}

func (z *Zone) deny(m *dns.Msg, name string) {
	if !z.exists[name] && z.at(name) == nil {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = append(m.Ns, soa())
}

func soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 300},
		Ns:  "ns.invalid.", Mbox: "root.invalid.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 60,
	}
}
