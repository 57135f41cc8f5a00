package proc

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNotifier(t *testing.T) {
	t.Run("file", func(t *testing.T) { testNotifier(t, filepath.Join(t.TempDir(), "notify")) })
	t.Run("abstract", func(t *testing.T) { testNotifier(t, "@zmailer-test-"+strconv.Itoa(os.Getpid())) })
}

func testNotifier(t *testing.T, path string) {
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := TakeNotifier()
	if n.watchdog != 30*time.Second {
		t.Errorf("watchdog = %v", n.watchdog)
	}
	if v := os.Getenv("NOTIFY_SOCKET") + os.Getenv("WATCHDOG_USEC"); v != "" {
		t.Errorf("left for the daemons: %q", v)
	}
	n.Say("READY=1")
	n.Reloading()
	b := make([]byte, 200)
	for _, want := range []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC="} {
		size, err := l.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:size]), want) {
			t.Errorf("got %q, %v, want %q", b[:size], err, want)
		}
	}
}

func TestNotifierOfAnother(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "1")
	n := TakeNotifier()
	if n.watchdog != 0 {
		t.Errorf("took the watchdog of another process: %v", n.watchdog)
	}
	n.Say("nobody listens")
}

// TestNotifierWatch shows what a service manager hears of a daemon.
func TestNotifierWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := TakeNotifier()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.Watch(ctx, func(context.Context) string { return "3 messages" })
	}()
	b := make([]byte, 200)
	for _, want := range []string{"READY=1", "WATCHDOG=1\nSTATUS=3 messages", "STOPPING=1\nSTATUS="} {
		size, err := l.Read(b)
		if err != nil || string(b[:size]) != want {
			t.Errorf("got %q, %v, want %q", b[:size], err, want)
		}
		if size > 0 && b[0] == 'W' {
			cancel()
		}
	}
	<-ended
}
