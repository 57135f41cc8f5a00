package smtpserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSlowSessions holds many sessions that have said something and then go on an
// octet at a time, half of them in the middle of a message, each from an address of
// its own. Other clients are served, and what a session costs is bounded.
// ZMAILER_SLOW_SESSIONS=5000 makes it as many as a botnet.
func TestSlowSessions(t *testing.T) {
	n := 400
	if s := os.Getenv("ZMAILER_SLOW_SESSIONS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	want := uint64(2*n + 200)
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Max < want {
		t.Skipf("%d descriptors are not to be had: %v", want, err)
	}
	if files.Cur < want {
		files.Cur = want
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
			t.Skip(err)
		}
	}
	ts := start(t, fmt.Sprintf("proxy_from 127.0.0.1; limit sessions=%d", 2*n))
	idle := ts.slow(n/2, 1, "EHLO slow.example\r\n")
	before := memory()
	idle = append(idle, ts.slow(n/2, 2, "EHLO slow.example\r\n")...)
	each := (memory() - before) / int64(n/2)
	before = memory()
	busy := ts.slow(n/2, 3, "EHLO slow.example\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\nSubject: x\r\n\r\nx")
	message := (memory() - before) / int64(n/2)
	t.Logf("%d sessions: %d octets for one that waits, %d for one within a message, with the test's end of it", len(idle)+len(busy), each, message)
	if each > 48<<10 || message > 128<<10 {
		t.Errorf("too much memory")
	}
	for _, c := range append(idle, busy...) {
		io.WriteString(c, "x")
	}
	for i := range 20 {
		c := ts.dial()
		fmt.Fprintf(c, "PROXY TCP4 192.0.2.%d 192.0.2.25 1024 25\r\n", i+1)
		io.WriteString(c, strings.ReplaceAll(letter("good client"), "\n", "\r\n"))
		if b, _ := io.ReadAll(c); !strings.Contains(string(b), "queued as") {
			t.Fatalf("a good client gets %q", b)
		}
	}
	if got := len(ts.messages()); got != 20 {
		t.Errorf("%d messages", got)
	}
}

// slow opens n sessions, of a network, that say text; it returns when the server
// has answered it all.
func (ts *testServer) slow(n, network int, text string) (list []net.Conn) {
	for i := range n {
		c := ts.dial()
		c.SetDeadline(time.Now().Add(10 * time.Minute))
		fmt.Fprintf(c, "PROXY TCP4 10.%d.%d.%d 192.0.2.25 1024 25\r\n%s", network, i>>8, i&255, text)
		list = append(list, c)
	}
	last := "250 HELP"
	if strings.Contains(text, "DATA") {
		last = "354 "
	}
	for _, c := range list {
		for r := bufio.NewReaderSize(c, 16); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				ts.t.Fatal(err)
			}
			if strings.HasPrefix(line, last) {
				break
			}
		}
	}
	return list
}

// A message in chunks that never make the server wait must come at the same rate.
func TestSlowChunks(t *testing.T) {
	ts := start(t, "limit data=1s rate=1M")
	c := ts.dial()
	r := bufio.NewReader(c)
	io.WriteString(c, "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\n")
	for {
		io.WriteString(c, "BDAT 1\r\nx")
		line, err := r.ReadString('\n')
		if strings.HasPrefix(line, "421 4.4.2 ") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
