package smtpserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestInherited(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for fds, want := range map[string]string{
		"1": fmt.Sprintf("{tcp4 %s submission false}\n<nil> \n", l.Addr()), "x": "LISTEN_FDS=x: not a number of sockets \n",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ZMAILER_TEST_INHERIT=1", "LISTEN_FDS="+fds)
		cmd.ExtraFiles = []*os.File{f}
		if out, err := cmd.Output(); string(out) != want || err != nil {
			t.Errorf("LISTEN_FDS=%s: %q, %v; want %q", fds, out, err, want)
		}
	}
}

func TestAdopt(t *testing.T) {
	specs := []listenSpec{{"tcp", ":2587", roleSubmission, false}}
	for addr, want := range map[string]listenSpec{
		"0.0.0.0:2587":      specs[0],
		"192.0.2.1:25":      {"tcp", "192.0.2.1:25", roleMX, false},
		"192.0.2.1:587":     {"tcp", "192.0.2.1:587", roleSubmission, false},
		"[2001:db8::1]:465": {"tcp", "[2001:db8::1]:465", roleSubmission, true},
	} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := adopt(atAddr{addr: a}, "", specs); got != want {
			t.Errorf("%s: %+v, want %+v", addr, got, want)
		}
	}
	for name, want := range map[string]string{"smtp": "mx false", "submission": "submission false", "submissions": "submission true", "lmtp": "lmtp false"} {
		l := adopt(atAddr{addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1025}}, name, specs)
		if got := fmt.Sprintf("%s %v", l.role, l.tls); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// atAddr is a listener of which only the address matters.
type atAddr struct {
	net.Listener
	addr net.Addr
}

func (l atAddr) Addr() net.Addr { return l.addr }

// TestUnixSocket listens where a crash left a socket behind, but not where
// somebody listens.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	spec := listenSpec{network: "unix", addr: path, role: roleLMTP}
	if _, err := spec.open(context.Background()); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("taken: %v", err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	l, err := spec.open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestRebind changes the addresses of a running daemon.
func TestRebind(t *testing.T) {
	conf := testConf(t)
	a, b := freeAddr(t), freeAddr(t)
	reloads := 0
	configure := func(text string) {
		if err := os.WriteFile(conf.Path("smtpserver.conf"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	reload := func(text string) {
		configure(text)
		hangUpSelf(t)
		reloads++
		awaitLog(t, conf.LogPath("smtpserver"), "msg=reloaded", reloads)
	}
	mail := func(addr string) string {
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			return "refused"
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, "HELO c\r\nMAIL FROM:<>\r\nQUIT\r\n")
		r := bufio.NewScanner(c)
		for range 3 {
			r.Scan()
		}
		return r.Text()
	}
	expect := func(addr, want string) {
		t.Helper()
		if got := mail(addr); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
	t.Setenv("ZMAILER_TEST_ROUTER", "1") // the program that is run as the router is this one
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	configure("listen " + a)
	go func() { done <- Run(ctx, conf, nil) }()
	awaitLog(t, conf.LogPath("smtpserver"), "msg=started", 1)
	expect(a, "250 2.1.0")
	expect(b, "refused")
	reload("listen " + a + " submission\nlisten " + b)
	expect(a, "530 5.7.0")
	expect(b, "250 2.1.0")
	reload("listen " + b)
	expect(a, "refused")
	expect(b, "250 2.1.0")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	expect(b, "refused")
}
