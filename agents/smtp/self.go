package smtp

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// selfAddrs returns a function that knows the addresses of this host's
// interfaces. They are read again every minute: interfaces come and go.
func selfAddrs() func() []netip.Addr {
	var (
		mu    sync.Mutex
		addrs []netip.Addr
		until time.Time
	)
	return func() []netip.Addr {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.After(until) {
			until = now.Add(time.Minute)
			if fresh, err := interfaceAddrs(); err == nil {
				addrs = fresh // else the old ones are the best that is known
			}
		}
		return addrs
	}
}

func interfaceAddrs() ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, n := range nets {
		if ipn, ok := n.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(ipn.IP); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
	}
	return addrs, nil
}
