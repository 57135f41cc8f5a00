package smtp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"zmailer/shellcfg/resolver"
	"zmailer/spool/dsn"
)

// Bounds of what a domain may make us do.
const (
	maxExchangers = 16 // looked up; the rest of a longer list is left out
	maxAddrs      = 8  // tried of one host
	maxTargets    = 24 // tried in one job
)

// retryAfter is the least time that a destination is left alone after it could
// not be reached. The scheduler's table makes it longer.
const retryAfter = time.Minute

// unreachable is the result for a destination that cannot be used now.
func unreachable(status, format string, args ...any) dsn.Result {
	res := dsn.Temp(status, format, args...)
	res.Action, res.RetryAfter = dsn.RetryAt, retryAfter
	return res
}

// route returns the addresses to try for one place, in order, or the result for
// all recipients if there are none.
func (o *options) route(ctx context.Context, d *dest) ([]target, *dsn.Result) {
	port := d.port
	if port == 0 {
		port = o.port
	}
	switch {
	case d.path != "":
		return []target{unixTarget(d.path)}, nil
	case d.addr.IsValid():
		t := tcpTarget(d, "", d.addr, port)
		t.trusted = true
		return []target{t}, nil
	case d.exact || o.noMX:
		return o.routeHost(ctx, d, port, d.exact)
	}
	return o.routeDomain(ctx, d, port)
}

// routeHost is the addresses of the name itself: for [host], and for domains
// without exchangers.
func (o *options) routeHost(ctx context.Context, d *dest, port int, chosen bool) ([]target, *dsn.Result) {
	ans, err := o.resolver.Host(ctx, d.name)
	if err != nil {
		res := lookupFailure(d.name, err)
		return nil, &res
	}
	if !chosen && o.isSelf(ans.Addrs) {
		res := dsn.Perm("5.4.6", "mail for %s loops back to this host", d.name)
		return nil, &res
	}
	var targets []target
	for _, ip := range o.order(ans.Addrs) {
		t := tcpTarget(d, d.name, ip, port)
		t.trusted, t.looked, t.hostSecure, t.alias = chosen, !chosen, ans.Secure, aliasOf(ans, d.name)
		if !chosen {
			t.domain = d.name
			t.trusted = ans.Secure // the domain is the host
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// aliasOf is the name that the CNAMEs of name lead to, "" if it has none.
func aliasOf(ans *resolver.Answer, name string) string {
	if ans.CName == name {
		return ""
	}
	return ans.CName
}

// lookupFailure is the result when the addresses of a name are not known. Only
// the DNS itself can say that a name does not exist.
func lookupFailure(name string, err error) dsn.Result {
	var e *resolver.Error
	if resolver.StatusOf(err) != resolver.NotFound {
		return unreachable("4.4.3", "look up %s: %v", name, err)
	}
	if errors.As(err, &e) && e.NXDomain {
		return dsn.Perm("5.1.2", "domain %s does not exist", name)
	}
	return dsn.Perm("5.4.4", "%s has no address for mail", name)
}

// An exchanger is one MX with its addresses.
type exchanger struct {
	host  string
	pref  int
	addrs []netip.Addr
	safe  bool // DNSSEC vouches for them
	alias string
	err   error
}

// routeDomain follows RFC 5321 §5.1.
func (o *options) routeDomain(ctx context.Context, d *dest, port int) ([]target, *dsn.Result) {
	ans, err := o.resolver.Query(ctx, d.name, resolver.TypeMX)
	if err != nil {
		var e *resolver.Error
		if resolver.StatusOf(err) == resolver.NotFound && !(errors.As(err, &e) && e.NXDomain) {
			return o.routeHost(ctx, d, port, false)
		}
		res := lookupFailure(d.name, err)
		return nil, &res
	}
	if resolver.IsNullMX(ans.MX) {
		res := dsn.Perm("5.1.10", "domain %s takes no mail (null MX)", d.name) // RFC 7505 §4.1
		return nil, &res
	}
	set := o.exchangers(ctx, ans.MX)
	set, looped := o.dropLoops(set)
	if looped && len(set) == 0 {
		res := dsn.Perm("5.4.6", "mail for %s loops back to this host, its best MX", d.name)
		return nil, &res
	}
	var targets []target
	for i := range set {
		x := &set[i]
		for _, ip := range o.order(x.addrs) {
			t := tcpTarget(d, x.host, ip, port)
			t.pref, t.trusted, t.looked = x.pref, ans.Secure, true
			t.domain, t.hostSecure, t.alias = d.name, x.safe, x.alias
			if ans.Secure {
				t.realDomain = aliasOf(ans, d.name)
			}
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		res := noExchanger(d.name, set)
		return nil, &res
	}
	return targets, nil
}

// noExchanger is the result when no MX has an address: permanent only if the DNS
// said so for each of them.
func noExchanger(domain string, set []exchanger) dsn.Result {
	for _, x := range set {
		if resolver.StatusOf(x.err) != resolver.NotFound {
			return unreachable("4.4.3", "look up MX %s of %s: %v", x.host, domain, x.err)
		}
	}
	return dsn.Perm("5.4.4", "no MX of %s has an address", domain)
}

// exchangers looks up the addresses of the exchangers, and returns them by
// preference, equal ones in random order.
func (o *options) exchangers(ctx context.Context, mx []resolver.MX) []exchanger {
	var set []exchanger
	for _, m := range mx {
		if m.Host != "" && len(set) < maxExchangers {
			set = append(set, exchanger{host: m.Host, pref: int(m.Pref)})
		}
	}
	lookUp := func(x *exchanger) {
		ans, err := o.resolver.Host(ctx, x.host)
		if x.err = err; err == nil {
			x.addrs, x.safe, x.alias = ans.Addrs, ans.Secure, aliasOf(ans, x.host)
		}
	}
	var wg sync.WaitGroup
	for i := range set[:max(len(set)-1, 0)] {
		wg.Go(func() { lookUp(&set[i]) })
	}
	if len(set) > 0 {
		lookUp(&set[len(set)-1])
	}
	wg.Wait()
	rand.Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
	slices.SortStableFunc(set, func(a, b exchanger) int { return a.pref - b.pref })
	return set
}

// dropLoops leaves out this host and all exchangers that are not preferred to
// it: RFC 5321 §5.1. It knows this host by name and by address.
func (o *options) dropLoops(set []exchanger) (kept []exchanger, looped bool) {
	for i, x := range set {
		if o.self != nil && (strings.EqualFold(x.host, o.hello) || o.isSelf(x.addrs)) {
			own := x.pref
			n := i
			for n > 0 && set[n-1].pref >= own {
				n--
			}
			return set[:n], true
		}
	}
	return set, false
}

// isSelf tells whether one of the addresses is ours.
func (o *options) isSelf(addrs []netip.Addr) bool {
	if o.self == nil {
		return false
	}
	own := o.self()
	for _, a := range addrs {
		if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() || slices.Contains(own, a) {
			return true
		}
	}
	return false
}

// order puts the two address families in turn, so that a broken one costs one
// attempt. IPv6 comes first on a host that has it.
func (o *options) order(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.IsUnspecified() || a.IsMulticast() {
			continue
		}
		f := 0
		if a.Is6() {
			f = 1
		}
		families[f] = append(families[f], a)
	}
	first := 0
	if o.hasIPv6() {
		first = 1
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := 0; len(out) < maxAddrs && (i < len(families[0]) || i < len(families[1])); i++ {
		for _, f := range [...]int{first, 1 - first} {
			if i < len(families[f]) {
				out = append(out, families[f][i])
			}
		}
	}
	return out[:min(len(out), maxAddrs)]
}

func (o *options) hasIPv6() bool {
	if o.self == nil {
		return false
	}
	return slices.ContainsFunc(o.self(), func(a netip.Addr) bool {
		return a.Is6() && a.IsGlobalUnicast() && !a.IsPrivate()
	})
}
