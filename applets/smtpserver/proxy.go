package smtpserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"zmailer/shellcfg/shell"
)

// proxyTime is how long a proxy may take to say for whom it speaks.
const proxyTime = 5 * time.Second

// proxySignature begins version 2 of the protocol.
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

const (
	maxProxyV1 = 107 // octets of a line of version 1, by the specification
	maxProxyV2 = 4 << 10
)

var errProxy = errors.New("no PROXY protocol header")

// proxy_from NETWORK...: the proxies before this server. Each connection from
// there begins with the PROXY protocol, version 1 or 2; nobody else may use it.
func (c *config) proxyFrom(call *shell.Call) error {
	return addNetworks(&c.proxies, call.Args)
}

// xclient_from NETWORK...: those who may say with XCLIENT for whom they speak.
func (c *config) xclientFrom(call *shell.Call) error {
	return addNetworks(&c.xclients, call.Args)
}

// addNetworks adds networks to a list.
func addNetworks(list *[]netip.Prefix, args []string) error {
	for _, arg := range args {
		p, err := parseNetwork(arg)
		if err != nil {
			return err
		}
		*list = append(*list, p)
	}
	return nil
}

func contains(list []netip.Prefix, ip netip.Addr) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// readProxy reads the header of a connection, and not one octet more. The address
// is not valid when the proxy speaks for itself, as its checks of health do.
func readProxy(r io.Reader) (netip.Addr, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:12]); err != nil {
		return netip.Addr{}, err
	}
	if !bytes.Equal(head[:12], proxySignature) {
		return readProxyV1(r, head[:12])
	}
	if _, err := io.ReadFull(r, head[12:]); err != nil {
		return netip.Addr{}, err
	}
	n := int(binary.BigEndian.Uint16(head[14:]))
	if head[12]>>4 != 2 || n > maxProxyV2 {
		return netip.Addr{}, errProxy
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.Addr{}, err
	}
	switch command := head[12] & 15; {
	case command == 0: // LOCAL
		return netip.Addr{}, nil
	case command != 1:
		return netip.Addr{}, errProxy
	}
	switch family := head[13] >> 4; {
	case family == 1 && n >= 12:
		return netip.AddrFrom4([4]byte(body)), nil
	case family == 2 && n >= 36:
		return netip.AddrFrom16([16]byte(body)).Unmap(), nil
	case family == 0:
		return netip.Addr{}, nil
	}
	return netip.Addr{}, errProxy
}

// readProxyV1 reads a line "PROXY TCP4 source destination port port".
func readProxyV1(r io.Reader, line []byte) (netip.Addr, error) {
	if !bytes.HasPrefix(line, []byte("PROXY ")) {
		return netip.Addr{}, errProxy
	}
	var b [1]byte
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) >= maxProxyV1 {
			return netip.Addr{}, errProxy
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return netip.Addr{}, err
		}
		line = append(line, b[0])
	}
	f := strings.Split(string(line[:len(line)-2]), " ")
	if f[1] == "UNKNOWN" {
		return netip.Addr{}, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.Addr{}, errProxy
	}
	ip, err := netip.ParseAddr(f[2])
	if err != nil || ip.Zone() != "" || ip.Is4() != (f[1] == "TCP4") {
		return netip.Addr{}, errProxy
	}
	if _, err := strconv.ParseUint(f[4], 10, 16); err != nil {
		return netip.Addr{}, errProxy
	}
	return ip.Unmap(), nil
}

// behindProxy finds out for whom a proxy speaks, and begins the session.
func (srv *server) behindProxy(c net.Conn, s *session) error {
	if err := c.SetReadDeadline(time.Now().Add(proxyTime)); err != nil {
		return err
	}
	ip, err := readProxy(c)
	if err != nil {
		return fmt.Errorf("proxy %s: %w", s.clientText, err)
	}
	if ip.IsValid() {
		s.client, s.clientText = ip, ip.String()
	}
	return c.SetReadDeadline(time.Time{})
}
