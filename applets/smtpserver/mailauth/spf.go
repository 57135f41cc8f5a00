package mailauth

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"
	"github.com/emersion/go-msgauth/authres"

	"zmailer/shellcfg/resolver"
)

// An SPFResult tells whether a client may send for a domain.
type SPFResult struct {
	Value  authres.ResultValue
	Domain string // that was checked
	From   string // the sender, or else
	Helo   string // what the client calls itself
}

// SPF checks the domain of sender, or of helo for the null sender.
func SPF(ctx context.Context, d DNS, ip netip.Addr, helo, sender string) SPFResult {
	r := SPFResult{From: sender}
	if sender == "" {
		sender, r.Helo = "postmaster@"+helo, helo
	}
	r.Domain = strings.ToLower(sender[strings.LastIndexByte(sender, '@')+1:])
	if !ip.IsValid() || !strings.Contains(r.Domain, ".") || strings.HasPrefix(r.Domain, "[") {
		r.Value = authres.ResultNone // RFC 7208 §4.3
		return r
	}
	// The library splits at the first @; a quoted local part may hold more.
	local := sender[:strings.LastIndexByte(sender, '@')]
	if strings.ContainsRune(local, '@') {
		sender = "postmaster@" + r.Domain
	}
	res, _ := spf.CheckHostWithSender(net.IP(ip.AsSlice()), helo, sender, spf.WithContext(ctx), spf.WithResolver(spfDNS{d}))
	r.Value = authres.ResultValue(res)
	return r
}

// spfDNS answers in the form of package net, which the library wants.
type spfDNS struct{ d DNS }

func spfError(name string, err error) error {
	if err == nil {
		return nil
	}
	none := resolver.StatusOf(err) == resolver.NotFound
	return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: none, IsTemporary: !none}
}

func (s spfDNS) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := s.d.TXT(ctx, name)
	return texts, spfError(name, err)
}

func (s spfDNS) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	list, err := s.d.MX(ctx, name)
	out := make([]*net.MX, len(list))
	for i, mx := range list {
		out[i] = &net.MX{Host: mx.Host, Pref: mx.Pref}
	}
	return out, spfError(name, err)
}

func (s spfDNS) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	a, err := s.d.Host(ctx, host)
	if err == nil {
		err = a.Partial // the family that nobody could say may be the client's
	}
	if err != nil {
		return nil, spfError(host, err)
	}
	out := make([]net.IPAddr, len(a.Addrs))
	for i, ip := range a.Addrs {
		out[i].IP = ip.AsSlice()
	}
	return out, nil
}

func (s spfDNS) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	names, err := s.d.PTR(ctx, ip)
	return names, spfError(addr, err)
}
