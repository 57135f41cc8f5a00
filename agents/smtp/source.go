package smtp

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// sources say which of our addresses a connection comes from. The last rule that
// matches decides, for each address family by itself; without one, the system
// chooses.
type sources []sourceRule

type sourceRule struct {
	pattern string // of destinations or hosts; of senders, if there is "@" in it; "*" for all
	addr    netip.Addr
}

// set reads "192.0.2.1,*.example.org=192.0.2.2,*@list.example.org=2001:db8::1".
func (s *sources) set(spec string) error {
	for word := range strings.SplitSeq(spec, ",") {
		r := sourceRule{pattern: "*"}
		text := word
		if i := strings.LastIndexByte(word, '='); i >= 0 {
			r.pattern, text = strings.ToLower(word[:i]), word[i+1:]
		}
		if _, err := path.Match(r.pattern, ""); err != nil || r.pattern == "" {
			return fmt.Errorf("%q is not a pattern", r.pattern)
		}
		var err error
		if r.addr, err = netip.ParseAddr(text); err != nil {
			return fmt.Errorf("%q is not an address", text)
		}
		r.addr = r.addr.Unmap()
		*s = append(*s, r)
	}
	return nil
}

// needSender tells whether a rule is about senders.
func (s sources) needSender() bool {
	return slices.ContainsFunc(s, func(r sourceRule) bool { return strings.Contains(r.pattern, "@") })
}

// of returns the address for connections to a target with mail of a sender; the
// zero Addr is the system's choice.
func (s sources) of(t *target, sender string) (from netip.Addr) {
	to, err := netip.ParseAddrPort(t.address)
	if err != nil || t.network != "tcp" {
		return from
	}
	sender = strings.ToLower(sender)
	for _, r := range s {
		if r.addr.Is4() == to.Addr().Unmap().Is4() && r.matches(t, sender) {
			from = r.addr
		}
	}
	return from
}

func (r *sourceRule) matches(t *target, sender string) bool {
	names := [...]string{t.dest, strings.ToLower(t.name)}
	if strings.Contains(r.pattern, "@") {
		names = [...]string{sender, ""}
	}
	for _, name := range names {
		// A destination may have a slash, of a socket; those have no source.
		if ok, err := path.Match(r.pattern, name); ok && err == nil {
			return true
		}
	}
	return r.pattern == "*"
}

// localAddr is the source address of a setup, for a dialer.
func (su *setup) localAddr() net.Addr {
	if !su.from.IsValid() {
		return nil
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(su.from, 0))
}
