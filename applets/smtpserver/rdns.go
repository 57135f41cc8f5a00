package smtpserver

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"zmailer/shellcfg/resolver"
	"zmailer/spool/rfc5322"
)

// lookupTime bounds the search for a client's name, counted from its connection.
const lookupTime = 3 * time.Second

// maxNames is how many names of one address are verified.
const maxNames = 4

// A dns is what is asked for the name of a client.
type dns interface {
	PTR(ctx context.Context, addr netip.Addr) ([]string, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, error)
}

var _ dns = (*resolver.Client)(nil)

// A lookup is the search for the name of a client, which goes on while the
// client talks.
type lookup struct {
	cancel context.CancelFunc
	done   chan struct{}
	name   string
	failed bool // nobody could say
}

// startLookup begins a search.
func startLookup(ctx context.Context, d dns, ip netip.Addr) *lookup {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	l := &lookup{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer cancel()
		defer close(l.done)
		l.name, l.failed = verifiedName(ctx, d, ip)
	}()
	return l
}

// result waits for the name.
func (l *lookup) result() string {
	<-l.done
	return l.name
}

// found is a lookup whose result is known beforehand.
func found(name string) *lookup {
	l := &lookup{cancel: func() {}, done: make(chan struct{}), name: name}
	close(l.done)
	return l
}

// verifiedName is a name of ip that leads back to it. Anyone can write any name
// into the reverse tree of his own addresses. failed tells that there may be one
// which could not be asked for.
func verifiedName(ctx context.Context, d dns, ip netip.Addr) (name string, failed bool) {
	names, err := d.PTR(ctx, ip)
	if err != nil {
		return "unknown", resolver.StatusOf(err) != resolver.NotFound
	}
	for _, name := range names[:min(len(names), maxNames)] {
		if !rfc5322.ValidDomain(name) || strings.HasPrefix(name, "[") {
			continue
		}
		addrs, err := d.Addrs(ctx, name)
		if err != nil {
			failed = failed || resolver.StatusOf(err) != resolver.NotFound
			continue
		}
		for _, a := range addrs {
			if a.Unmap() == ip {
				return name, false
			}
		}
	}
	return "unknown", failed
}

// noDNS never has an answer.
type noDNS struct{}

var _ resolver.Resolver = noDNS{}

func (noDNS) fail(name string, t resolver.Type) error {
	return &resolver.Error{Status: resolver.TempFail, Name: name, Type: t, Reason: "there is no DNS"}
}

func (d noDNS) Query(_ context.Context, name string, t resolver.Type) (*resolver.Answer, error) {
	return nil, d.fail(name, t)
}

func (d noDNS) Host(_ context.Context, host string) (*resolver.Answer, error) {
	return nil, d.fail(host, resolver.TypeHost)
}

func (d noDNS) MX(_ context.Context, domain string) ([]resolver.MX, error) {
	return nil, d.fail(domain, resolver.TypeMX)
}

func (d noDNS) Addrs(_ context.Context, host string) ([]netip.Addr, error) {
	return nil, d.fail(host, resolver.TypeHost)
}

func (d noDNS) PTR(_ context.Context, addr netip.Addr) ([]string, error) {
	return nil, d.fail(addr.String(), resolver.TypePTR)
}

func (d noDNS) TXT(_ context.Context, name string) ([]string, error) {
	return nil, d.fail(name, resolver.TypeTXT)
}

func (d noDNS) TLSA(_ context.Context, name string) ([]resolver.TLSA, error) {
	return nil, d.fail(name, resolver.TypeTLSA)
}

func (d noDNS) CNAME(_ context.Context, name string) (string, error) {
	return "", d.fail(name, resolver.TypeCNAME)
}
