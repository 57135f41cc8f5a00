package scheduler

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func get(t *testing.T, socket, method, path string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://mx.test"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestMetricsByHTTP: what zmailer metrics prints is served on a socket, with what the
// other daemons have counted, and the service moves with the configuration.
func TestMetricsByHTTP(t *testing.T) {
	in := newInstance(t)
	socket := filepath.Join(t.TempDir(), "m")
	conf := func(text string) {
		if err := os.WriteFile(in.conf.Path("scheduler.conf"), []byte(processConf+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf("queue metrics=" + socket + "\n")
	router := "# HELP zmailer_router_messages_total Messages.\n# TYPE zmailer_router_messages_total counter\nzmailer_router_messages_total{action=\"routed\"} 12\n"
	if err := os.WriteFile(in.spool.RunPath("router.counters"), []byte(router), 0o600); err != nil {
		t.Fatal(err)
	}
	in.start()
	id := in.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
	in.until("a delivery", func() bool { return in.gone(id) })
	in.until("it to be counted", func() bool {
		code, text := get(t, socket, "GET", "/metrics")
		if code != 200 {
			t.Fatalf("%d: %s", code, text)
		}
		for _, want := range []string{router, `zmailer_daemon_up{daemon="scheduler"} 1`, `zmailer_attempts_total{channel="smtp",class="success",reason="other"} 1`} {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return true
	})
	if code, _ := get(t, socket, "GET", "/"); code != 404 {
		t.Errorf("/: %d", code)
	}
	if code, _ := get(t, socket, "POST", "/metrics"); code != 405 {
		t.Errorf("POST: %d", code)
	}
	if err := in.end(); err != nil {
		t.Error(err)
	}
}

// TestMetricsMove: the service follows the configuration, and an address that cannot
// be had leaves the old one.
func TestMetricsMove(t *testing.T) {
	in := newInstance(t)
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	x := &exporter{ctx: t.Context(), log: slog.New(slog.DiscardHandler), spool: in.spool}
	defer x.close()
	for _, addr := range []string{a, a, b} {
		if err := x.serve(in.conf, addr); err != nil {
			t.Fatal(err)
		}
		if code, text := get(t, addr, "GET", "/metrics"); code != 200 || !strings.Contains(text, "zmailer_health_level 2") {
			t.Errorf("%d %s", code, text)
		}
	}
	if c, err := net.Dial("unix", a); err == nil {
		c.Close()
		t.Error("the old address is still served")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := x.serve(in.conf, file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
	if code, _ := get(t, b, "GET", "/metrics"); code != 200 {
		t.Errorf("%d", code)
	}
	if err := x.serve(in.conf, ""); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("unix", b); err == nil {
		c.Close()
		t.Error("served although nobody wants it")
	}
}

func TestMetricsAddress(t *testing.T) {
	for addr, ok := range map[string]bool{
		"": true, "127.0.0.1:9225": true, "[::1]:9225": true, "localhost:9225": true, "/run/m.sock": true,
		"0.0.0.0:9225": false, "192.0.2.1:9225": false, ":9225": false, "9225": false, "mx.test:9225": false, "127.0.0.1:0": false, "relative/sock": false,
	} {
		if err := checkMetrics(addr); (err == nil) != ok {
			t.Errorf("%q: %v", addr, err)
		}
	}
}
