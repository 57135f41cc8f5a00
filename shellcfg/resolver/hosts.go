package resolver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"zmailer/shellcfg/internal/watch"
)

const maxHostsSize = 16 << 20

// hosts is /etc/hosts both ways.
type hosts struct {
	addrs map[string][]netip.Addr
	names map[netip.Addr][]string
}

func loadHosts(f *os.File, _ watch.State) (*hosts, error) { return parseHosts(f, f.Name()) }

// parseHosts passes over lines it cannot read, as the C library does.
func parseHosts(r io.Reader, name string) (*hosts, error) {
	h := &hosts{addrs: map[string][]netip.Addr{}, names: map[netip.Addr][]string{}}
	sc := bufio.NewScanner(io.LimitReader(r, maxHostsSize))
	sc.Buffer(nil, maxHostsSize+1) // a line may be as long as the file
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(f[0])
		if err != nil || ip.Zone() != "" {
			continue
		}
		ip = ip.Unmap()
		for _, host := range f[1:] {
			if host, ok := clean(host); ok {
				h.addrs[host] = append(h.addrs[host], ip)
				h.names[ip] = append(h.names[ip], host)
			}
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

// Host returns the addresses of a host with all facts: an address itself, the
// hosts file, else A and AAAA asked at once. One family is enough.
func (l *lookups) Host(ctx context.Context, host string) (*Answer, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return &Answer{Name: host, CName: host, Addrs: []netip.Addr{ip.Unmap()}}, nil
	}
	name, ok := clean(host)
	if !ok {
		return nil, impossible(host, TypeHost)
	}
	if l.hosts != nil {
		h, err := l.hosts()
		if err != nil {
			return nil, &Error{Status: TempFail, Name: name, Type: TypeHost, Reason: err.Error(), Err: err}
		}
		if ips := h.addrs[name]; len(ips) > 0 {
			return &Answer{Name: name, CName: name, Addrs: ips}, nil
		}
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 §6.3
		ips := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
		return &Answer{Name: name, CName: name, Addrs: ips}, nil
	}
	return l.bothFamilies(ctx, name)
}

func (l *lookups) bothFamilies(ctx context.Context, name string) (*Answer, error) {
	type result struct {
		ans *Answer
		err error
	}
	six := make(chan result, 1)
	go func() {
		a, err := l.query(ctx, name, TypeAAAA)
		six <- result{a, err}
	}()
	a4, err4 := l.query(ctx, name, TypeA)
	r6 := <-six
	switch {
	case err4 == nil && r6.err == nil:
		both := *a4
		both.Addrs = append(append([]netip.Addr(nil), a4.Addrs...), r6.ans.Addrs...)
		both.Secure = a4.Secure && r6.ans.Secure
		if r6.ans.Expires.Before(both.Expires) {
			both.Expires = r6.ans.Expires
		}
		return &both, nil
	case err4 == nil:
		return half(a4, r6.err), nil
	case r6.err == nil:
		return half(r6.ans, err4), nil
	}
	return nil, worse(name, err4, r6.err)
}

// half is the answer where only one family has addresses.
func half(a *Answer, other error) *Answer {
	if StatusOf(other) == NotFound {
		return a
	}
	h := *a
	h.Partial = other
	return &h
}

// worse chooses what the caller hears when neither family has an address.
// A name that does not exist has neither; otherwise one doubt is enough.
func worse(name string, errs ...error) error {
	var pick *Error
	for _, err := range errs {
		e, ok := err.(*Error)
		if !ok {
			e = &Error{Status: TempFail, Reason: err.Error(), Err: err}
		}
		if pick == nil || e.NXDomain || !pick.NXDomain && pick.Status == NotFound {
			pick = e
		}
	}
	e := *pick
	e.Name, e.Type = name, TypeHost
	return &e
}

func impossible(name string, t Type) *Error {
	if len(name) > 64 {
		name = name[:64] + "..."
	}
	return &Error{Status: NotFound, Name: fmt.Sprintf("%q", name), Type: t, NXDomain: true, Reason: "not a domain name"}
}
