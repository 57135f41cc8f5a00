package smtpserver

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// redis runs a server of its own on a socket; kill ends it.
func redis(t *testing.T) (sock string, kill func()) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	sock = filepath.Join(dir, "sock")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", sock, "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	kill = func() {
		if !ended {
			ended = true
			cmd.Process.Kill()
			cmd.Wait() // killed: an error is what is wanted
		}
	}
	t.Cleanup(kill)
	for range 1000 {
		if c, err := net.Dial("unix", sock); err == nil {
			c.Close()
			return sock, kill
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("redis-server does not listen")
	return "", nil
}

// TestShared: two servers count and greylist together, and defer when nobody keeps
// the count.
func TestShared(t *testing.T) {
	sock, kill := redis(t)
	conf := "relation -t redis -f unix:" + sock + ` fleet
shared fleet
smtp_mail() { rate 3/1h "$sender"; case $? in 1) defer 450 4.7.1 "too fast";; 75) return 75;; esac; }
smtp_rcpt() { greylisted 1s; case $? in 1) defer 450 4.7.1 "come again";; 75) return 75;; esac; }
`
	a, b := start(t, conf), start(t, conf)
	const mail = "EHLO c\nMAIL FROM:<x@example.net>\nRCPT TO:<joe@example.org>\nQUIT\n"
	if got := a.converse(mail); !strings.Contains(got, "\n450 4.7.1 come again\n") {
		t.Errorf("first: %s", got)
	}
	key := "0.0.0.0/0\tx"
	now := time.Now()
	cfg := b.cfg.Load()
	for i, want := range []bool{false, false, true, true} {
		at := now.Add(time.Duration(i) * 30 * time.Second)
		if got, err := cfg.sharedGrey(t.Context(), "0.0.0.0/0", key, time.Minute, at); got != want || err != nil {
			t.Errorf("greylist after %v: %v, %v", at.Sub(now), got, err)
		}
	}
	for i, ts := range []*testServer{b, a, b, a} {
		got := ts.converse(mail)
		if fast := strings.Contains(got, "\n450 4.7.1 too fast\n"); fast != (i >= 2) {
			t.Errorf("message %d: %s", i+2, got)
		}
	}
	window := time.Hour
	at := time.Unix(1_800_000_000, 0).Truncate(window).Add(window / 4)
	for i, want := range []bool{true, true, false} {
		if got, err := cfg.sharedRate(t.Context(), "k", 2, window, at); got != want || err != nil {
			t.Errorf("event %d: %v, %v", i, got, err)
		}
	}
	// Three quarters of the way through the next window a quarter of those count.
	if got, err := cfg.sharedRate(t.Context(), "k", 2, window, at.Add(3*window/2)); !got || err != nil {
		t.Errorf("in the next window: %v, %v", got, err)
	}
	kill()
	if got := a.converse(mail); !strings.Contains(got, "\n451 4.3.0 ") {
		t.Errorf("without Redis: %s", got)
	}
}
