package smtp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"zmailer/spool/rfc5322"
)

// A dest is one element of the list of places that a job names.
type dest struct {
	text  string // as the job names it, in lower case: for policies and texts
	name  string // domain or host name to look up
	addr  netip.Addr
	path  string // UNIX socket
	port  int    // 0: not given
	exact bool   // the address of the name itself, no MX
	wrap  bool   // TLS from the first octet, RFC 8314 §3.3
}

// submissions is the port of submission with TLS from the first octet, RFC 8314 §7.3.
const submissions = 465

// maxDests bounds the list of places in a job.
const maxDests = 10

// parseDests reads the host of a job.
func parseDests(spec string) ([]dest, error) {
	words := strings.Split(spec, ",")
	if len(words) > maxDests {
		return nil, fmt.Errorf("%d hosts in a list, at most %d", len(words), maxDests)
	}
	var dests []dest
	for _, word := range words {
		d, err := parseDest(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		dests = append(dests, d)
	}
	return dests, nil
}

// parseDest reads NAME, [NAME], an address, each with or without :PORT, or the path of
// a socket. With smtps:// before it, or at port 465, TLS begins with the connection.
func parseDest(s string) (dest, error) {
	const scheme = "smtps://"
	if len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
		d, err := parseDest(s[len(scheme):])
		if err != nil || strings.Contains(s[len(scheme):], "/") {
			return dest{}, fmt.Errorf("host %.100q: want a host after %s", s, scheme)
		}
		d.wrap = true
		if d.port == 0 {
			d.port = submissions
		}
		return d, nil
	}
	d := dest{text: strings.ToLower(s)}
	bad := func(why string) (dest, error) { return dest{}, fmt.Errorf("host %.100q: %s", s, why) }
	switch {
	case s == "":
		return bad("is empty")
	case s[0] == '/':
		if len(s) > 100 || strings.ContainsRune(s, 0) {
			return bad("not the path of a socket")
		}
		d.path, d.text = s, s
		return d, nil
	case s[0] == '[':
		inner, rest, ok := strings.Cut(s[1:], "]")
		if !ok {
			return bad("a bracket is missing")
		}
		d.exact = true
		if rest != "" {
			if rest[0] != ':' || !d.setPort(rest[1:]) {
				return bad("want a port from 1 to 65535 after the bracket")
			}
		}
		if ip, ok := rfc5322.ParseLiteral("[" + inner + "]"); ok {
			d.addr = ip.Unmap()
			return d, nil
		}
		s = inner
	default:
		if ip, err := netip.ParseAddr(s); err == nil {
			d.addr, d.exact = ip.WithZone("").Unmap(), true
			return d, nil
		}
		if name, port, ok := strings.Cut(s, ":"); ok {
			if !d.setPort(port) {
				return bad("want a port from 1 to 65535 after the colon")
			}
			s = name
		}
	}
	name, err := rfc5322.CanonicalDomain(s)
	if err != nil || name[0] == '[' {
		return bad("not a host name")
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		d.addr, d.exact = ip, true
		return d, nil
	}
	d.name = name
	return d, nil
}

func (d *dest) setPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	d.port = int(n)
	d.wrap = d.port == submissions
	return err == nil && n > 0
}

// A target is one address to connect to.
type target struct {
	network string // "tcp" or "unix"
	address string // for Dial
	relay   string // for reports and logs: "mx.example.net[192.0.2.7]:25"
	name    string // host name, for certificates; an address if there is no name
	dest    string // the place of the job that led here
	domain  string // that the DNS led from; "" if the job names the host or address
	port    int
	wrap    bool // TLS from the first octet
	pref    int  // preference of the exchanger
	looked  bool // the DNS led from the domain to it, not the administrator
	trusted bool // DNSSEC says that the name belongs to the domain, or no DNS was asked

	hostSecure bool   // DNSSEC vouches for the address of the name
	alias      string // where CNAMEs of the name lead; "" if there are none
	realDomain string // where CNAMEs of the domain lead, and DNSSEC vouches for that; or ""
}

func tcpTarget(d *dest, name string, ip netip.Addr, port int) target {
	address := netip.AddrPortFrom(ip, uint16(port)).String()
	t := target{network: "tcp", address: address, name: name, dest: d.text, port: port, wrap: d.wrap}
	if name == "" {
		t.name = ip.String()
	}
	t.relay = name + "[" + ip.String() + "]:" + strconv.Itoa(port)
	return t
}

func unixTarget(path string) target {
	return target{network: "unix", address: path, relay: path, name: "localhost", dest: path, trusted: true}
}

// loopback says that what is sent does not leave this host.
func (t *target) loopback() bool {
	if t.network == "unix" {
		return true
	}
	ap, err := netip.ParseAddrPort(t.address)
	return err == nil && ap.Addr().IsLoopback()
}
