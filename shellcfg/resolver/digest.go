package resolver

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxAliases = 8   // CNAME steps from the asked name to the answer
	maxRecords = 256 // records kept of one answer
)

// chase is a lookup that follows aliases through one or more messages.
type chase struct {
	typ     Type
	ans     Answer
	owner   string // where the aliases lead so far, as a full name
	aliases int
	ttl     uint32 // of the shortest-lived record that was used
	secure  bool   // all messages so far
}

func newChase(name string, t Type) *chase {
	return &chase{typ: t, ans: Answer{Name: name, CName: name}, owner: dns.Fqdn(name), ttl: 1<<32 - 1, secure: true}
}

// negative is an answer that says no, with how long it may be believed.
type negative struct {
	err   *Error
	ttl   uint32
	known bool // a SOA record said how long
}

func (n *negative) Error() string { return n.err.Error() }

// absorb takes a message that answers a question for c.owner. Done means that
// c.ans is complete; neither done nor an error that c.owner must be asked.
func (c *chase) absorb(m *dns.Msg, secure bool) (done bool, err error) {
	c.secure = c.secure && secure
	started := c.owner
	for !c.collect(m.Answer) {
		moved, err := c.step(m.Answer)
		if err != nil {
			return false, err
		}
		if moved {
			continue
		}
		if soa, ok := c.denial(m); ok || m.Rcode == dns.RcodeNameError || c.owner == started {
			return false, c.none(m.Rcode == dns.RcodeNameError, soa, ok)
		}
		return false, nil // the message ends in the middle of the chain
	}
	c.ans.CName = plain(c.owner)
	c.ans.Secure = c.secure
	return true, nil
}

// collect takes the records of c.owner; others in the message are not part of
// the answer, whoever put them there.
func (c *chase) collect(answer []dns.RR) bool {
	n := 0
	for _, rr := range answer {
		h := rr.Header()
		if h.Rrtype != uint16(c.typ) || h.Class != dns.ClassINET || !strings.EqualFold(h.Name, c.owner) || n == maxRecords {
			continue
		}
		n++
		c.ttl = min(c.ttl, h.Ttl)
		c.take(rr)
	}
	c.tidyMX()
	a := &c.ans
	return len(a.MX)+len(a.Addrs)+len(a.Names)+len(a.Texts)+len(a.TLSA) > 0
}

func (c *chase) take(rr dns.RR) {
	a := &c.ans
	switch rr := rr.(type) {
	case *dns.A:
		if ip, ok := netip.AddrFromSlice(rr.A); ok {
			a.Addrs = append(a.Addrs, ip.Unmap())
		}
	case *dns.AAAA:
		if ip, ok := netip.AddrFromSlice(rr.AAAA); ok {
			a.Addrs = append(a.Addrs, ip)
		}
	case *dns.MX:
		a.MX = append(a.MX, MX{Host: plain(rr.Mx), Pref: rr.Preference})
	case *dns.PTR:
		// The owner of an address may put anything here, also what would
		// deceive a reader of the log.
		if name, ok := clean(rr.Ptr); ok {
			a.Names = append(a.Names, name)
		}
	case *dns.CNAME:
		if name, ok := clean(rr.Target); ok {
			a.Names = append(a.Names, name)
		}
	case *dns.TXT:
		a.Texts = append(a.Texts, unescape(strings.Join(rr.Txt, "")))
	case *dns.TLSA:
		if t, ok := tlsa(rr); ok {
			a.TLSA = append(a.TLSA, t)
		}
	}
}

// tidyMX sorts; the root beside real exchangers is a mistake of the domain
// and not a null MX (RFC 7505 §3).
func (c *chase) tidyMX() {
	mx := c.ans.MX
	if len(mx) < 2 {
		return
	}
	sort.SliceStable(mx, func(i, j int) bool { return mx[i].Pref < mx[j].Pref })
	kept := mx[:0]
	for _, m := range mx {
		if m.Host != "" {
			kept = append(kept, m)
		}
	}
	if len(kept) == 0 {
		kept = mx[:1]
	}
	c.ans.MX = kept
}

// step follows one alias of the message.
func (c *chase) step(answer []dns.RR) (moved bool, err error) {
	if c.typ == TypeCNAME {
		return false, nil
	}
	for _, rr := range answer {
		cname, ok := rr.(*dns.CNAME)
		if !ok || !strings.EqualFold(cname.Hdr.Name, c.owner) {
			continue
		}
		if c.aliases++; c.aliases > maxAliases {
			return false, c.temp(fmt.Sprintf("more than %d aliases", maxAliases), nil)
		}
		c.ttl = min(c.ttl, cname.Hdr.Ttl)
		c.owner = strings.ToLower(cname.Target)
		return true, nil
	}
	return false, nil
}

// denial finds the SOA record that comes with a negative answer and says how
// long it holds (RFC 2308 §5).
func (c *chase) denial(m *dns.Msg) (ttl uint32, ok bool) {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl, c.ttl), true
		}
	}
	return 0, false
}

func (c *chase) none(nxdomain bool, ttl uint32, known bool) error {
	reason := "no such record"
	if nxdomain {
		reason = "no such domain"
	}
	if c.aliases > 0 {
		reason += " as " + plain(c.owner)
	}
	e := &Error{Status: NotFound, Name: c.ans.Name, Type: c.typ, NXDomain: nxdomain, Reason: reason}
	return &negative{err: e, ttl: ttl, known: known}
}

func (c *chase) temp(reason string, cause error) *Error {
	return &Error{Status: TempFail, Name: c.ans.Name, Type: c.typ, Reason: reason, Err: cause}
}

// lifetime bounds a TTL of the DNS; one with the highest bit is zero
// (RFC 2181 §8).
func lifetime(ttl uint32, limit time.Duration) time.Duration {
	if ttl >= 1<<31 {
		return 0
	}
	return min(time.Duration(ttl)*time.Second, limit)
}

func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func tlsa(rr *dns.TLSA) (TLSA, bool) {
	data, err := hex.DecodeString(rr.Certificate)
	return TLSA{Usage: rr.Usage, Selector: rr.Selector, Matching: rr.MatchingType, Data: data}, err == nil
}

// unescape undoes the presentation form in which package dns keeps the bytes
// of a TXT record: \" \\ \123.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			out = append(out, s[i])
		case i+3 < len(s) && digits(s[i+1:i+4]):
			out = append(out, (s[i+1]-'0')*100+(s[i+2]-'0')*10+s[i+3]-'0')
			i += 3
		default:
			i++
			out = append(out, s[i])
		}
	}
	return string(out)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
