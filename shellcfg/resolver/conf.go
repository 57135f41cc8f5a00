package resolver

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"zmailer/shellcfg/internal/watch"
)

// Bounds of resolv.conf; the file may be written by a DHCP client from what
// it got off the net.
const (
	maxConfSize = 64 << 10
	maxServers  = 8
	maxTimeout  = 30 * time.Second
	maxAttempts = 5
)

// server is a name server to ask.
type server struct {
	addr  string // ip:port
	local bool   // on this host, so that nobody could change its answers
}

// resolvConf is what resolv.conf(5) says to those who look up absolute names.
type resolvConf struct {
	servers  []server
	timeout  time.Duration
	attempts int
	rotate   bool
	trustAD  bool
}

func loadResolvConf(f *os.File, _ watch.State) (*resolvConf, error) {
	return parseResolvConf(f, f.Name())
}

// parseResolvConf leaves out what it does not know, as resolv.conf(5) does:
// the file is shared with the C library.
func parseResolvConf(r io.Reader, name string) (*resolvConf, error) {
	c := &resolvConf{timeout: 5 * time.Second, attempts: 2}
	sc := bufio.NewScanner(io.LimitReader(r, maxConfSize))
	sc.Buffer(nil, maxConfSize+1) // a line may be as long as the file
	for n := 1; sc.Scan(); n++ {
		f := strings.Fields(sc.Text())
		if len(f) < 2 || f[0][0] == '#' || f[0][0] == ';' {
			continue
		}
		switch f[0] {
		case "nameserver":
			s, err := parseServer(f[1])
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
			if len(c.servers) < maxServers {
				c.servers = append(c.servers, s)
			}
		case "options":
			c.options(f[1:])
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(c.servers) == 0 {
		c.servers = defaultServers()
	}
	return c, nil
}

// defaultServers is the C library's choice where resolv.conf names none.
func defaultServers() []server { return []server{{addr: "127.0.0.1:53", local: true}} }

func (c *resolvConf) options(words []string) {
	for _, w := range words {
		key, val, _ := strings.Cut(w, ":")
		n, err := strconv.Atoi(val)
		switch {
		case key == "timeout" && err == nil && n > 0:
			c.timeout = min(time.Duration(n)*time.Second, maxTimeout)
		case key == "attempts" && err == nil && n > 0:
			c.attempts = min(n, maxAttempts)
		case key == "rotate":
			c.rotate = true
		case key == "trust-ad":
			c.trustAD = true
		}
	}
}

// parseServer reads an address with an optional port: 127.0.0.1:5353, ::1,
// [::1]:5353.
func parseServer(s string) (server, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		ip, ierr := netip.ParseAddr(s)
		if ierr != nil {
			return server{}, fmt.Errorf("name server %q is not an address", s)
		}
		ap = netip.AddrPortFrom(ip, 53)
	}
	return server{addr: ap.String(), local: ap.Addr().Unmap().IsLoopback()}, nil
}
