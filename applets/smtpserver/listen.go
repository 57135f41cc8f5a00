package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// A listenSpec is one listen line.
type listenSpec struct {
	network string // tcp, tcp4 or unix
	addr    string
	role    role
	tls     bool
}

func (l listenSpec) key() string { return l.network + " " + l.addr }

// defaultPort is the port of an address that has none.
const defaultPort = "25"

// parseListen reads ADDRESS[:PORT] [mx|submission|lmtp] [tls], where the address
// is of IPv4, of IPv6 in brackets, empty for all, or the path of a socket.
func parseListen(args []string) (listenSpec, error) {
	l := listenSpec{network: "tcp", role: roleMX}
	if len(args) == 0 {
		return l, errors.New("want ADDRESS:PORT")
	}
	for _, word := range args[1:] {
		switch word {
		case string(roleMX), string(roleSubmission), string(roleLMTP):
			l.role = role(word)
		case "tls":
			l.tls = true
		default:
			return l, fmt.Errorf("%s: want mx, submission, lmtp or tls", word)
		}
	}
	if filepath.IsAbs(args[0]) {
		l.network, l.addr = "unix", args[0]
		if l.tls {
			return l, errors.New("no TLS on a local socket")
		}
		return l, nil
	}
	return l, l.setAddr(args[0])
}

func (l *listenSpec) setAddr(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), defaultPort
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && port != "0" {
		return fmt.Errorf("%s: bad port", s)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if host != "" {
		ip := net.ParseIP(host)
		switch {
		case ip == nil:
			return fmt.Errorf("%s: want an IP address", s)
		case ip.To4() != nil:
			l.network = "tcp4" // 0.0.0.0 must not take IPv6, too
		case ip.IsUnspecified():
			l.network = "tcp6"
		}
	}
	l.addr = net.JoinHostPort(host, port)
	return nil
}

// A listener is a socket that clients connect to. It outlives reloads as long as
// the configuration has its address; what it is for may change.
type listener struct {
	net.Listener
	spec   atomic.Pointer[listenSpec]
	closed atomic.Bool
	given  string // the name of an inherited socket; "": it is our own
}

func newListener(l net.Listener, spec listenSpec) *listener {
	ln := &listener{Listener: l}
	ln.spec.Store(&spec)
	return ln
}

// Close makes accept end without a complaint.
func (l *listener) Close() error {
	l.closed.Store(true)
	return l.Listener.Close()
}

// open binds the address.
func (l listenSpec) open(ctx context.Context) (*listener, error) {
	if l.network == "unix" {
		return l.openUnix(ctx)
	}
	// Every wait has a deadline of its own; keep-alive probes would cost four
	// system calls a connection and find nothing sooner.
	lc := net.ListenConfig{KeepAlive: -1}
	ln, err := lc.Listen(ctx, l.network, l.addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: another mailer runs? \"ss -ltnp\" says which", err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w: ports below 1024 are for root, or for CAP_NET_BIND_SERVICE", err)
	case err != nil:
		return nil, err
	}
	return newListener(ln, l), nil
}

func (l listenSpec) openUnix(ctx context.Context) (*listener, error) {
	// A socket that a crash left behind answers nobody.
	if c, err := net.Dial("unix", l.addr); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen unix %s: another process listens there", l.addr)
	} else if st, err := os.Lstat(l.addr); err == nil && st.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(l.addr); err != nil {
			return nil, err
		}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", l.addr)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(l.addr, 0o666); err != nil {
		ln.Close()
		return nil, err
	}
	return newListener(ln, l), nil
}

// firstInherited is the first descriptor of sd_listen_fds(3).
const firstInherited = 3

// A givenSocket is one that the service manager has opened.
type givenSocket struct {
	net.Listener
	name string // FileDescriptorName of the socket unit
}

// inherited takes the sockets that the service manager has opened, for this process
// or for the supervisor that started it and passes them on.
func inherited() ([]givenSocket, error) {
	pid, n := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) && pid != strconv.Itoa(os.Getppid()) || n == "" {
		return nil, nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	// Children must not take them for theirs.
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	count, err := strconv.Atoi(n)
	if err != nil || count < 0 || count > 100 {
		return nil, fmt.Errorf("LISTEN_FDS=%s: not a number of sockets", n)
	}
	var list []givenSocket
	for fd := firstInherited; fd < firstInherited+count; fd++ {
		f := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
		l, err := net.FileListener(f)
		f.Close() // FileListener has its own
		if err != nil {
			return nil, fmt.Errorf("inherited descriptor %d: %w", fd, err)
		}
		g := givenSocket{Listener: l, name: "unknown"}
		if i := fd - firstInherited; i < len(names) && names[i] != "" {
			g.name = names[i]
		}
		list = append(list, g)
	}
	return list, nil
}

// adopt says what an inherited socket is for: the listen line with its address
// or, when none has it, with its port; or what its name says (smtp, submission,
// submissions, lmtp), or its port.
func adopt(l net.Listener, name string, specs []listenSpec) listenSpec {
	network, addr := l.Addr().Network(), l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	for _, s := range specs {
		if _, p, e := net.SplitHostPort(s.addr); s.addr == addr || err == nil && e == nil && p == port && port != "0" {
			return s
		}
	}
	spec := listenSpec{network: network, addr: addr, role: roleMX}
	switch {
	case name == "smtp":
	case name == "submission", name != "submissions" && port == "587":
		spec.role = roleSubmission
	case name == "submissions", port == "465":
		spec.role, spec.tls = roleSubmission, true
	case name == "lmtp":
		spec.role = roleLMTP
	}
	return spec
}
