package policy

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

var addressCommands = map[string]shell.Command{
	"addr_local":  addrLocalCommand,
	"addr_domain": addrDomainCommand,
	"addr_join":   addrJoinCommand,
	"canonical":   canonicalCommand,
	"own_address": ownAddressCommand,
}

// addrLocalCommand is addr_local ADDRESS: its local part without quoting.
func addrLocalCommand(c *shell.Call) int {
	if len(c.Args) != 1 {
		return usage(c, "ADDRESS")
	}
	a, err := rfc5322.ParseAddress(c.Args[0])
	if err != nil {
		return 1
	}
	return show(c, a.Local)
}

// addrDomainCommand is addr_domain ADDRESS: its domain in canonical form.
func addrDomainCommand(c *shell.Call) int {
	if len(c.Args) != 1 {
		return usage(c, "ADDRESS")
	}
	a, err := rfc5322.ParseAddress(c.Args[0])
	if err != nil || a.Domain == "" {
		return 1
	}
	domain, err := rfc5322.CanonicalDomain(a.Domain)
	if err != nil {
		return 1
	}
	return show(c, domain)
}

// addrJoinCommand is addr_join LOCAL DOMAIN: an address, quoted where it must be.
func addrJoinCommand(c *shell.Call) int {
	if len(c.Args) != 2 {
		return usage(c, "LOCAL DOMAIN")
	}
	return show(c, rfc5322.Address{Local: c.Args[0], Domain: c.Args[1]}.String())
}

// canonicalCommand is canonical DOMAIN: the form in which domains are compared.
func canonicalCommand(c *shell.Call) int {
	if len(c.Args) != 1 {
		return usage(c, "DOMAIN")
	}
	domain, err := rfc5322.CanonicalDomain(c.Args[0])
	if err != nil {
		return 1
	}
	return show(c, domain)
}

// ownAddressCommand is own_address LITERAL|IP: status 0 if this host has it.
func ownAddressCommand(c *shell.Call) int {
	if len(c.Args) != 1 {
		return usage(c, "IP")
	}
	ip, ok := rfc5322.ParseLiteral(c.Args[0])
	if !ok {
		var err error
		if ip, err = netip.ParseAddr(c.Args[0]); err != nil {
			return 1
		}
	}
	for _, word := range strings.Fields(strings.ReplaceAll(c.Getenv("SELFADDRESSES"), ",", " ")) {
		if own, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil && own == ip.Unmap() {
			return 0
		}
	}
	s, _ := c.Host.(*Session)
	own, err := interfaces.has(ip.Unmap())
	switch {
	case err != nil:
		return s.fail("own_address", err, c.Pos)
	case own:
		return 0
	}
	return 1
}

// ownAddresses are the addresses of the host's interfaces, looked at again after
// a while.
type ownAddresses struct {
	mu    sync.Mutex
	until time.Time
	ips   map[netip.Addr]bool
}

var interfaces ownAddresses

func (o *ownAddresses) has(ip netip.Addr) (bool, error) {
	if ip.IsLoopback() {
		return true, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.After(o.until) {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return false, err
		}
		o.ips = make(map[netip.Addr]bool, len(addrs))
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				o.ips[p.Addr().Unmap()] = true
			}
		}
		o.until = now.Add(30 * time.Second)
	}
	return o.ips[ip], nil
}
