package smtpserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/spool"
)

// TestClient sends messages with go-smtp's client.
func TestClient(t *testing.T) {
	ts := start(t, "")
	c, err := smtp.Dial(ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 3 {
		if err := c.Mail("ann@example.net", &smtp.MailOptions{Return: smtp.DSNReturnFull, EnvelopeID: "a=b", UTF8: i == 1}); err != nil {
			t.Fatal(err)
		}
		if err := c.Rcpt("joe@example.org", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}); err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "Subject: %d\r\n\r\n.\r\n", i)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	m := ts.messages()
	if len(m) != 3 || m[2].text != "Subject: 2\n\n.\n" || m[0].env.EnvID != "a+3Db" || m[0].env.To[0].Notify != "NEVER" {
		t.Errorf("got %+v", m)
	}
	var refused *smtp.SMTPError
	c.Mail("ann@example.net", nil)
	if err := c.Rcpt("joe@elsewhere.example", nil); !errors.As(err, &refused) || refused.Code != 554 || refused.EnhancedCode != (smtp.EnhancedCode{5, 7, 1}) {
		t.Errorf("relay: %v", err)
	}
}

// greeting reads the first line from the server.
func greeting(t *testing.T, c net.Conn) string {
	t.Helper()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestTooManySessions(t *testing.T) {
	for config, cause := range map[string]string{
		"limit sessions=2": "limit sessions=2", "proxy_from 127.0.0.1; limit per_address=2": "2 sessions from 192.0.2.1/32: limit per_address=2",
	} {
		ts := start(t, config)
		dial := func() net.Conn {
			c := ts.dial()
			if strings.Contains(config, "proxy") {
				io.WriteString(c, "PROXY TCP4 192.0.2.1 192.0.2.25 1024 25\r\n")
			}
			return c
		}
		a, b := dial(), dial()
		greeting(t, a)
		greeting(t, b)
		if line := greeting(t, dial()); !strings.HasPrefix(line, "421 4.7.0 ") {
			t.Errorf("%s: third session gets %q", config, line)
		}
		if !strings.Contains(ts.log.String(), cause) {
			t.Errorf("%s: the log does not say which limit", config)
		}
		io.WriteString(a, "QUIT\r\n")
		io.ReadAll(a)
		in := false
		for i := 0; i < 500 && !in; i++ {
			if in = strings.HasPrefix(greeting(t, dial()), "220 "); !in {
				time.Sleep(10 * time.Millisecond) // the session ends after its last word
			}
		}
		if !in {
			t.Errorf("%s: the place is not given free", config)
		}
	}
}

// TestTrustedAddress checks that the limit for an address is for strangers: a
// gateway, a web server and this host itself send from one.
func TestTrustedAddress(t *testing.T) {
	ts := start(t, "proxy_from 127.0.0.1; relay_for 192.0.2.0/24; xclient_from 198.51.100.1; limit per_address=1")
	for _, client := range []string{"192.0.2.1", "198.51.100.1", "127.0.0.1"} {
		for range 3 {
			c := ts.dial()
			fmt.Fprintf(c, "PROXY TCP4 %s 192.0.2.25 1024 25\r\n", client)
			if line := greeting(t, c); !strings.HasPrefix(line, "220 ") {
				t.Errorf("%s: %q", client, line)
			}
		}
	}
}

// TestNoSpace checks that trouble with the disk is temporary at every stage.
func TestNoSpace(t *testing.T) {
	ts := start(t, "limit free=1000000G")
	c := ts.dial()
	io.WriteString(c, "HELO c\r\nMAIL FROM:<a@example.net>\r\nQUIT\r\n")
	if b, _ := io.ReadAll(c); !strings.Contains(string(b), "\r\n452 4.3.1 ") {
		t.Errorf("got %q", b)
	}
}

// failingJournal is a journal that cannot be written.
type failingJournal struct{ err error }

func (j failingJournal) Append(context.Context, spool.ID, []byte) error { return j.err }

func TestCommitFails(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOSPC: "452 4.3.1 ", syscall.EDQUOT: "452 4.3.1 ", syscall.EIO: "451 4.3.0 ", errors.New("?"): "451 4.3.0 ",
	} {
		ts := start(t, "")
		ts.spool.NoSync, ts.spool.Journal = false, failingJournal{fmt.Errorf("append: %w", err)}
		c := ts.dial()
		io.WriteString(c, "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
		b, _ := io.ReadAll(c)
		if !strings.Contains(string(b), "\r\n354 End data with <CR><LF>.<CR><LF>\r\n"+want) {
			t.Errorf("%v: got %q", err, b)
		}
		if n := len(ts.messages()); n != 0 {
			t.Errorf("%v: %d messages in the spool", err, n)
		}
	}
}

// TestShutdown ends a server with one idle session and one in the middle of a
// message, which may finish.
func TestShutdown(t *testing.T) {
	ts := start(t, "limit shutdown=5s")
	idle, busy := ts.dial(), ts.dial()
	greeting(t, idle)
	r := bufio.NewReader(busy)
	io.WriteString(busy, "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\nhalf")
	for range 5 {
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { ts.close(5 * time.Second) })
	if b, _ := io.ReadAll(idle); !strings.HasPrefix(string(b), "421 4.3.2 ") {
		t.Errorf("idle session gets %q", b)
	}
	if line := greeting(t, ts.dial()); !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("new session gets %q", line)
	}
	io.WriteString(busy, " and half\r\n.\r\n")
	b, _ := io.ReadAll(r)
	if !strings.HasPrefix(string(b), "250 2.0.0 ") || !strings.Contains(string(b), "\r\n421 4.3.2 ") {
		t.Errorf("busy session gets %q", b)
	}
	wg.Wait()
	if m := ts.messages(); len(m) != 1 || m[0].text != "half and half\n" {
		t.Errorf("got %+v", m)
	}
}

// TestShutdownGrace cuts off a session that does not come to an end.
func TestShutdownGrace(t *testing.T) {
	ts := start(t, "")
	c := ts.dial()
	io.WriteString(c, "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\nhalf")
	r := bufio.NewReader(c)
	for range 5 {
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	ts.close(10 * time.Millisecond)
	if m := ts.messages(); len(m) != 0 {
		t.Errorf("got %+v", m)
	}
}

// TestIdleMemory measures what a session costs that does nothing.
func TestIdleMemory(t *testing.T) {
	const n = 200
	ts := start(t, "limit sessions=1000 per_address=1000")
	before := memory()
	for range n {
		c := ts.dial()
		r := bufio.NewReaderSize(c, 16)
		io.WriteString(c, "EHLO c\r\n")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "250 ") {
				break
			}
		}
	}
	per := (memory() - before) / n
	t.Logf("%d octets a session, with the test's end of it", per)
	if per > 48<<10 {
		t.Errorf("%d octets a session", per)
	}
}

func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func TestNeighbourhood(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "::1": "::/64",
	} {
		if got := neighbourhood(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if neighbourhood(netip.Addr{}).IsValid() {
		t.Error("a local socket has a neighbourhood")
	}
}

// fakeDNS has one address for each name.
type fakeDNS map[string]string

func (d fakeDNS) PTR(_ context.Context, ip netip.Addr) ([]string, error) {
	if name := d[ip.String()]; name != "" {
		return []string{"*bad*", name}, nil
	}
	return nil, errors.New("none")
}

func (d fakeDNS) Addrs(_ context.Context, host string) ([]netip.Addr, error) {
	ip, err := netip.ParseAddr(d[host])
	return []netip.Addr{ip}, err
}

func TestVerifiedName(t *testing.T) {
	d := fakeDNS{
		"192.0.2.1": "good.example", "good.example": "192.0.2.1",
		"192.0.2.2": "forged.example", "forged.example": "192.0.2.99",
		"192.0.2.3": "gone.example",
	}
	for ip, want := range map[string]string{
		"192.0.2.1": "good.example", "192.0.2.2": "unknown", "192.0.2.3": "unknown", "192.0.2.4": "unknown",
	} {
		if got := startLookup(context.Background(), d, netip.MustParseAddr(ip)).result(); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}

func TestLocalSession(t *testing.T) {
	conf := testConf(t)
	sp, err := conf.OpenSpool()
	if err != nil {
		t.Fatal(err)
	}
	talk := func(in string) (string, error) {
		var out strings.Builder
		err := Session(context.Background(), conf, strings.NewReader(in), &out, LocalUser{Uid: os.Getuid(), Name: "joe"})
		return out.String(), err
	}
	const message = "HELO here\r\nMAIL FROM:<joe>\r\nRCPT TO:<x@elsewhere.example>\r\nRCPT TO:<ann>\r\nDATA\r\nhi\r\n"
	if out, err := talk(message + ".\r\nQUIT\r\n"); err != nil || !strings.HasSuffix(out, "221 2.0.0 Bye\r\n") {
		t.Errorf("%q, %v", out, err)
	}
	m := messages(t, sp)
	if len(m) != 1 || m[0].env.External || m[0].env.With != "SMTP" || m[0].env.RcvdFrom != "here (joe@localhost)" || m[0].env.LoginName != "joe" || len(m[0].env.To) != 2 {
		t.Fatalf("got %+v", m)
	}
	if _, err := talk(message); err == nil {
		t.Error("end without QUIT is no error")
	}
	if _, err := talk(message + ".\r\n"); err == nil {
		t.Error("end without QUIT is no error")
	}
	if n := len(messages(t, sp)); n != 2 {
		t.Errorf("%d messages", n)
	}
	// The line ends of UNIX do as well, from the first line on.
	if out, err := talk(strings.ReplaceAll(message+".\r\nQUIT\r\n", "\r", "")); err != nil || !strings.HasSuffix(out, "221 2.0.0 Bye\r\n") {
		t.Errorf("LF: %q, %v", out, err)
	}
	if out, err := talk(message + "a\nb\r\n.\r\nQUIT\r\n"); err != nil || strings.Contains(out, "queued") {
		t.Errorf("LF after CR LF: %q, %v", out, err)
	}
	if n := len(messages(t, sp)); n != 3 {
		t.Errorf("%d messages", n)
	}
}

// TestLocalChunks: the octets of BDAT are counted with the line ends that the program
// sent. What stands behind it must not be taken for commands.
func TestLocalChunks(t *testing.T) {
	conf := testConf(t)
	sp, err := conf.OpenSpool()
	if err != nil {
		t.Fatal(err)
	}
	const body, inner = "Subject: x\r\n\r\nhi\r\n", "MAIL FROM:<eve>\r\nRCPT TO:<ann>\r\nDATA\r\nno\r\n.\r\n"
	for _, c := range []struct {
		unix bool
		want int
	}{{false, 1}, {true, 0}} {
		ends := func(s string) string {
			if c.unix {
				return strings.ReplaceAll(s, "\r", "")
			}
			return s
		}
		chunk := ends(body + inner)
		in := ends("EHLO here\r\nMAIL FROM:<joe>\r\nRCPT TO:<ann>\r\nBDAT ") + fmt.Sprint(len(chunk)) + ends(" LAST\r\n") + chunk + ends("QUIT\r\n")
		var out strings.Builder
		err := Session(t.Context(), conf, strings.NewReader(in), &out, LocalUser{Uid: os.Getuid(), Name: "joe"})
		if err != nil || strings.Count(out.String(), "queued") != c.want ||
			strings.Contains(out.String(), "503 5.5.1 Error: BDAT needs") != c.unix || strings.Contains(out.String(), "CHUNKING") == c.unix {
			t.Errorf("LF %v: %v\n%s", c.unix, err, out.String())
		}
		for _, m := range messages(t, sp) {
			if m.env.From != "joe" && m.env.From != "joe@"+conf.Hostname {
				t.Errorf("from %s", m.env.From)
			}
		}
	}
	if n := len(messages(t, sp)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// TestLineEnds: whatever the sizes of the reads, one CR before each LF.
func TestLineEnds(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a\nb\n", "a\r\nb\r\n"},
		{"a\n\nb", "a\r\n\r\nb"},
		{"a\nb\r\n", "a\r\nb\r\n"},
		{"a\r\nb\nc", "a\r\nb\nc"},
		{"\n", "\r\n"},
		{"", ""},
	} {
		for size := 2; size < 9; size++ {
			l := &lineEnds{src: iotest.OneByteReader(strings.NewReader(c.in))}
			if size%2 == 0 {
				l.src = strings.NewReader(c.in)
			}
			var got strings.Builder
			if _, err := io.CopyBuffer(&got, struct{ io.Reader }{l}, make([]byte, size)); err != nil || got.String() != c.want {
				t.Errorf("%q by %d: %q, %v", c.in, size, got.String(), err)
			}
		}
	}
}

// awaitLog waits until a text has been logged n times.
func awaitLog(t *testing.T, file, want string, n int) {
	t.Helper()
	var b []byte
	for range 3000 {
		b, _ = os.ReadFile(file)
		if strings.Count(string(b), want) >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %s in\n%s", want, b)
}

func hangUpSelf(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// TestMakeRoom fills the server with sessions that say nothing for a while: they
// go when others want to come in.
func TestMakeRoom(t *testing.T) {
	ts := start(t, "limit sessions=8")
	var sleepers []net.Conn
	for range 7 {
		c := ts.dial()
		greeting(t, c)
		sleepers = append(sleepers, c)
	}
	// Only a session that waits for a command can be seen as asleep.
	for range 1000 {
		if n := ts.age(); n == len(sleepers) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	greeting(t, ts.dial())
	for _, c := range sleepers {
		if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "421 4.4.2 ") {
			t.Errorf("got %q", b)
		}
	}
}

// age makes the sessions that wait older than they are and counts them.
func (ts *testServer) age() (n int) {
	ts.eachSession(func(s *session) {
		if s.idle.Load() && s.since.Load() != 0 {
			s.since.Store(time.Now().Add(-2 * stressTime).UnixNano())
			n++
		}
	})
	return n
}
