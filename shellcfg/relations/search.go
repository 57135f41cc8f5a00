package relations

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// A driver searches for a key in several forms, from the most to the least
// special. All are listed in drivers.
type driver struct {
	search searcher
	norm   normalizer // of the keys in a source file
}

// searcher yields the forms of key. With fallback the last one is "." (for
// every key), which default keys of the call take the place of.
type searcher func(key string, fallback bool) iter.Seq[candidate]

// candidate is one form of a key; rest is the part of the key before what
// matched, which %0 stands for.
type candidate struct{ key, rest string }

// maxSteps bounds a search: no domain name has more labels, and a longer key
// must not cost the square of its length.
const maxSteps = 128

// drivers by their names for -d. For the key foo.bar.edu:
//
//	longestmatch      foo.bar.edu .bar.edu .edu .
//	pathalias         foo.bar.edu .foo.bar.edu .bar.edu .edu .
//	pathalias.nodot   foo.bar.edu bar.edu edu
//	pathalias.at      for u@foo.bar.edu: itself, then as pathalias
//	at                for u@foo.bar.edu: itself, then @foo.bar.edu
//	cidr              for 192.0.2.1: itself, 192.0.2.1/32, 192.0.2.0/31 ... 0.0.0.0/0
var drivers = map[string]driver{
	"exact":           {},
	"longestmatch":    {search: domains{dotted: true}.search},
	"pathalias":       {search: domains{dotted: true, self: true}.search},
	"pathalias.nodot": {search: domains{}.search},
	"pathalias.at":    {search: atDomains},
	"at":              {search: atDomain},
	"cidr":            {search: networks, norm: network},
}

func findDriver(name string) (driver, error) {
	if name == "" {
		name = "exact"
	}
	d, ok := drivers[name]
	if !ok {
		return d, fmt.Errorf("unknown driver %q; drivers are %s", name,
			strings.Join(slices.Sorted(maps.Keys(drivers)), ", "))
	}
	return d, nil
}

// domains walks up a domain name.
type domains struct {
	dotted bool // parents are looked up with a leading dot, and "." in the end
	self   bool // the name itself too
}

func (d domains) search(key string, fallback bool) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		d.walk(key, fallback, yield)
	}
}

func (d domains) walk(key string, fallback bool, yield func(candidate) bool) {
	if !yield(candidate{key, key}) {
		return
	}
	if d.self && !strings.HasPrefix(key, ".") && !yield(candidate{"." + key, ""}) {
		return
	}
	at := 0
	if n := strings.Count(key, "."); n > maxSteps {
		for range n - maxSteps {
			at += strings.IndexByte(key[at:], '.') + 1
		}
	}
	for i := strings.IndexByte(key[at:], '.'); i >= 0; i = strings.IndexByte(key[at:], '.') {
		dot := at + i
		at = dot + 1
		form := key[dot:]
		if !d.dotted {
			form = key[at:]
		}
		if form != "" && form != "." && form != key && !yield(candidate{form, key[:dot]}) {
			return
		}
	}
	if d.dotted && fallback {
		yield(candidate{".", key})
	}
}

// splitAt cuts an address at its last @, as a quoted local part may hold one.
func splitAt(addr string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return addr, "", false
	}
	return addr[:i], addr[i+1:], true
}

func atDomain(key string, _ bool) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		if !yield(candidate{key, key}) {
			return
		}
		if local, domain, ok := splitAt(key); ok && local != "" {
			yield(candidate{"@" + domain, local})
		}
	}
}

func atDomains(key string, fallback bool) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		local, domain, ok := splitAt(key)
		if !ok {
			domains{dotted: true, self: true}.walk(key, fallback, yield)
			return
		}
		if !yield(candidate{key, key}) || domain == "" {
			return
		}
		domains{dotted: true, self: true}.walk(domain, fallback, func(c candidate) bool {
			if c.rest == domain { // the whole domain matched
				return yield(candidate{c.key, local})
			}
			return yield(candidate{c.key, local + "@" + c.rest})
		})
	}
}

// networks yields the networks an address is in, smallest first. The address
// may stand in brackets and have the tag of RFC 5321 literals.
func networks(key string, fallback bool) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		ip, ok := literal(key)
		if !ok {
			yield(candidate{key, key})
			return
		}
		if !yield(candidate{ip.String(), key}) {
			return
		}
		for bits := ip.BitLen(); bits >= 0; bits-- {
			net, err := ip.Prefix(bits)
			if err != nil || !yield(candidate{net.String(), key}) {
				return
			}
		}
		if fallback {
			yield(candidate{".", key})
		}
	}
}

func literal(s string) (netip.Addr, bool) {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	if len(s) > 5 && strings.EqualFold(s[:5], "ipv6:") {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap(), err == nil && ip.Zone() == ""
}

// network brings the address or network of a source file to the form in which
// networks looks for it.
func network(key string) (string, error) {
	if key == "." {
		return key, nil
	}
	if ip, ok := literal(key); ok {
		return ip.String(), nil
	}
	p, err := netip.ParsePrefix(key)
	if err != nil {
		return "", fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24", key)
	}
	if p.Masked() != p {
		return "", fmt.Errorf("network %s has bits behind its length, it would be %s", key, p.Masked())
	}
	return p.String(), nil
}
