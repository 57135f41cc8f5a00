package relations

import (
	"context"
	"net/netip"
	"strings"
	"sync"

	"zmailer/shellcfg/resolver"
)

var dnsSubs = []string{"addr", "a", "aaaa", "mx", "ptr", "txt", "cname"}

// dnsTable answers from the DNS, one line for each record: addresses, names of
// exchangers by preference ("." if the domain takes no mail), names, texts.
type dnsTable struct {
	dns func() (resolver.Resolver, error)
	sub string
}

func openDNS(o *opening) (Table, error) {
	t := &dnsTable{sub: o.Sub}
	if r := o.DNS; r != nil {
		t.dns = func() (resolver.Resolver, error) { return r, nil }
		return t, nil
	}
	conf := resolver.Config{Log: o.Log}
	t.dns = sync.OnceValues(func() (resolver.Resolver, error) { return resolver.New(conf) })
	return t, nil
}

func (t *dnsTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	r, err := t.dns()
	if err != nil {
		return "", false, err
	}
	lines, err := t.ask(ctx, r, key)
	switch resolver.StatusOf(err) {
	case resolver.Found:
		return strings.Join(lines, "\n"), true, nil
	case resolver.NotFound:
		return "", false, nil
	}
	return "", false, err
}

func (t *dnsTable) ask(ctx context.Context, r resolver.Resolver, key string) ([]string, error) {
	switch t.sub {
	case "a", "aaaa":
		typ := resolver.TypeA
		if t.sub == "aaaa" {
			typ = resolver.TypeAAAA
		}
		a, err := r.Query(ctx, key, typ)
		if err != nil {
			return nil, err
		}
		return addrLines(a.Addrs), nil
	case "mx":
		mx, err := r.MX(ctx, key)
		return mxLines(mx), err
	case "ptr":
		ip, ok := literal(key)
		if !ok {
			return nil, resolver.ErrNotFound
		}
		return r.PTR(ctx, ip)
	case "txt":
		return r.TXT(ctx, key)
	case "cname":
		name, err := r.CNAME(ctx, key)
		return []string{name}, err
	}
	addrs, err := r.Addrs(ctx, key)
	return addrLines(addrs), err
}

func addrLines(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}

func mxLines(mx []resolver.MX) []string {
	if resolver.IsNullMX(mx) {
		return []string{"."}
	}
	out := make([]string, len(mx))
	for i, m := range mx {
		out[i] = m.Host
	}
	return out
}

// Check only makes sure that there are servers to ask.
func (t *dnsTable) Check(context.Context) ([]error, error) {
	_, err := t.dns()
	return nil, err
}
