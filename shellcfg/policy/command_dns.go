package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// dnsCommands ask the DNS: one answer a line, status 0, 1 or 75.
func (p *Policy) dnsCommands() map[string]shell.Command {
	return map[string]shell.Command{
		"mx":   p.dnsCommand(p.mx),
		"a":    p.dnsCommand(p.addrs(netip.Addr.Is4)),
		"aaaa": p.dnsCommand(p.addrs(netip.Addr.Is6)),
		"ptr":  p.dnsCommand(p.ptr),
		"tlsa": p.dnsCommand(p.tlsa),
		"txt":  p.dnsCommand(func(ctx context.Context, name string) ([]string, error) { return p.dns.TXT(ctx, name) }),
	}
}

func (p *Policy) dnsCommand(query func(context.Context, string) ([]string, error)) shell.Command {
	return func(c *shell.Call) int {
		if len(c.Args) != 1 {
			return usage(c, "NAME")
		}
		return ask(c, c.Name, func() (string, bool, error) {
			lines, err := query(c.Ctx, c.Args[0])
			if errors.Is(err, resolver.ErrNotFound) || err == nil && len(lines) == 0 {
				return "", false, nil
			}
			for i, line := range lines {
				lines[i] = rfc5322.OneLine(line, 0)
			}
			return strings.Join(lines, "\n"), true, err
		})
	}
}

// mx prints the exchangers in the order of preference; "." is a domain that
// takes no mail (RFC 7505).
func (p *Policy) mx(ctx context.Context, domain string) ([]string, error) {
	list, err := p.dns.MX(ctx, domain)
	if err != nil {
		return nil, err
	}
	if resolver.IsNullMX(list) {
		return []string{"."}, nil
	}
	hosts := make([]string, len(list))
	for i, mx := range list {
		hosts[i] = mx.Host
	}
	return hosts, nil
}

// tlsa prints records as zone files have them: usage, selector, matching type and
// data. Those that DNSSEC does not vouch for are none (RFC 7672).
func (p *Policy) tlsa(ctx context.Context, name string) ([]string, error) {
	a, err := p.dns.Query(ctx, name, resolver.TypeTLSA)
	if err != nil {
		return nil, err
	}
	if !a.Secure {
		return nil, nil
	}
	lines := make([]string, len(a.TLSA))
	for i, t := range a.TLSA {
		lines[i] = fmt.Sprintf("%d %d %d %x", t.Usage, t.Selector, t.Matching, t.Data)
	}
	return lines, nil
}

func (p *Policy) addrs(family func(netip.Addr) bool) func(context.Context, string) ([]string, error) {
	return func(ctx context.Context, host string) ([]string, error) {
		answer, err := p.dns.Host(ctx, host)
		if err != nil {
			return nil, err
		}
		var out []string
		for _, ip := range answer.Addrs {
			if family(ip) {
				out = append(out, ip.String())
			}
		}
		if len(out) == 0 && answer.Partial != nil {
			return nil, answer.Partial
		}
		return out, nil
	}
}

func (p *Policy) ptr(ctx context.Context, name string) ([]string, error) {
	ip, ok := rfc5322.ParseLiteral(name)
	if !ok {
		var err error
		if ip, err = netip.ParseAddr(name); err != nil {
			return nil, nil
		}
	}
	return p.dns.PTR(ctx, ip)
}
