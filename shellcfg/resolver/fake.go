package resolver

import (
	"context"
	"time"

	"github.com/miekg/dns"

	"zmailer/shellcfg/resolver/internal/zone"
)

// Fake answers from declared records, for tests of policy. It has no cache,
// needs no network and never waits: DROP is a time-out at once.
type Fake struct {
	lookups
	zone *zone.Zone
}

var _ Resolver = (*Fake)(nil)

// NewFake reads records as lines of a zone file with absolute names, and
// faults as a name followed by SERVFAIL, REFUSED, NXDOMAIN, DROP (or TIMEOUT)
// or SECURE (validated by DNSSEC) and the record types it is meant for:
//
//	example.org MX 10 mx.example.org
//	mx.example.org A 192.0.2.1
//	mx.example.org SERVFAIL AAAA
//	slow.example TIMEOUT
//
// Whatever is not declared does not exist.
func NewFake(lines ...string) (*Fake, error) {
	z, err := zone.Parse(lines...)
	if err != nil {
		return nil, err
	}
	f := &Fake{zone: z}
	f.lookups = lookups{query: f.Query}
	return f, nil
}

// Query answers as Client.Query would after asking a server.
func (f *Fake) Query(ctx context.Context, name string, t Type) (*Answer, error) {
	canon, ok := clean(name)
	if !ok {
		return nil, impossible(name, t)
	}
	ch := newChase(canon, t)
	for {
		if err := ctx.Err(); err != nil {
			return nil, ch.temp(err.Error(), err)
		}
		m := f.zone.Reply(newQuery(ch.owner, uint16(t)))
		if m == nil || f.zone.Has(zone.Garbage, ch.owner, uint16(t)) {
			return nil, ch.temp("no answer", nil)
		}
		if m.Rcode == dns.RcodeFormatError && f.zone.Has(zone.NoEDNS, ch.owner, uint16(t)) {
			q := newQuery(ch.owner, uint16(t))
			q.Extra = nil
			m = f.zone.Reply(q)
		}
		if err := usable(m, "fake"); err != nil {
			return nil, ch.temp(err.Error(), err)
		}
		done, err := ch.absorb(m, m.AuthenticatedData)
		if no, ok := err.(*negative); ok {
			return nil, no.err
		}
		if err != nil {
			return nil, err
		}
		if done {
			ch.ans.Expires = time.Now().Add(lifetime(ch.ttl, 24*time.Hour))
			return &ch.ans, nil
		}
	}
}
