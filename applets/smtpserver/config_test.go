package smtpserver

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, text string) (*config, error) {
	return runConfig(context.Background(), testConf(t), slog.New(slog.DiscardHandler), "smtpserver.conf", strings.NewReader(text))
}

// TestStockLimits checks that the stock file names every limit with its default.
func TestStockLimits(t *testing.T) {
	var lines []string
	for line := range strings.Lines(string(Stock)) {
		if text, ok := strings.CutPrefix(line, "#\tlimit "); ok {
			lines = append(lines, "limit "+text)
		}
	}
	c, err := load(t, "limit sessions=1\n"+strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	if c.limits != defaultLimits() {
		t.Errorf("stock file: %+v\ndefaults:   %+v", c.limits, defaultLimits())
	}
	if n := strings.Count(strings.Join(lines, ""), "="); n != reflect.TypeFor[limits]().NumField() {
		t.Errorf("%d limits named, there are %d", n, reflect.TypeFor[limits]().NumField())
	}
}

// TestStock checks what a new instance has, and that its administrator can read
// it on one page.
func TestStock(t *testing.T) {
	if n := strings.Count(string(Stock), "\n"); n > 40 {
		t.Errorf("%d lines", n)
	}
	c, err := loadConfig(context.Background(), testConf(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.listens) != 1 || c.listens[0].addr != "127.0.0.1:0" || c.hooks != (hooks{}) || c.asks != (asks{rcpt: true}) {
		t.Errorf("got %+v", c)
	}
	for ip, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "192.0.2.1": false, "::2": false} {
		if c.relays(netip.MustParseAddr(ip)) != want {
			t.Errorf("relay for %s: %v", ip, !want)
		}
	}
}

func TestConfig(t *testing.T) {
	c, err := load(t, `
listen :25
listen [::1]:2525 submission
listen 192.0.2.1 lmtp
listen 0.0.0.0:24
listen [::]:24
listen localhost:26
listen /run/lmtp lmtp
relay_for 192.0.2.0/24 2001:db8::/32 198.51.100.7
limit size=1G free=10k rcpts=5 command=1m
limit rcpts=6
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []listenSpec{
		{"tcp", ":25", roleMX, false}, {"tcp", "[::1]:2525", roleSubmission, false}, {"tcp4", "192.0.2.1:25", roleLMTP, false},
		{"tcp4", "0.0.0.0:24", roleMX, false}, {"tcp6", "[::]:24", roleMX, false}, {"tcp4", "127.0.0.1:26", roleMX, false},
		{"unix", "/run/lmtp", roleLMTP, false},
	}
	for i, l := range c.listens {
		if l != want[i] {
			t.Errorf("got %+v, want %+v", l, want[i])
		}
	}
	l := c.limits
	if len(c.listens) != len(want) || len(c.relay) != 3 || l.size != 1<<30 || l.free != 10<<10 || l.rcpts != 6 || l.command != time.Minute || l.errors != 10 {
		t.Errorf("got %+v", c)
	}
}

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"\nlisten 1.2.3.4:x":            "smtpserver.conf:2:1: listen: 1.2.3.4:x: bad port",
		"listen":                        "want ADDRESS:PORT",
		"listen mx.example.org:25":      "want an IP address",
		"listen :25 smtp":               "want mx, submission, lmtp or tls",
		"listen :25\nlisten :25 lmtp":   "given twice",
		"listen :465 tls":               "no certificate",
		"listen /x tls":                 "no TLS on a local socket",
		"tls /nonexistent /nonexistent": "smtpserver.conf:1:1: tls: ",
		"tls x":                         "want the files",
		"relay_for 10.0.0.1/8":          "the network is 10.0.0.0/8",
		"relay_for example.org":         "not an address or network",
		"relay_for 300.0.0.0/8":         "not an address or network",
		"relay_for ::ffff:10.0.0.0/104": "write it as an IPv4 network",
		"limit size":                    "want a size",
		"limit size=0":                  "want a size",
		"limit size=99999999999999G":    "want a size",
		"limit speed=1":                 "no such limit",
		"limit errors=-1":               "want a number",
		"limit command=0s":              "must be longer",
		"limit command=x":               "invalid duration",
		"ask mail":                      "rcpt must be asked",
		"deliverby":                     "want off, ours or all",
		"deliverby some":                "want off, ours or all",
		"deliverby ours 0s":             "want a time of whole seconds",
		"deliverby off 5m":              "want a time of whole seconds",
		"ask rcpt quit":                 "want mail, rcpt, vrfy or expn",
		"reject x":                      "belongs into a function",
		"client_in 10.0.0.0/8":          "there is no client",
		"lisen :25":                     "smtpserver.conf:1:1: ",
		"if true; then":                 "smtpserver.conf:1:",
	} {
		_, err := load(t, text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "smtpserver.conf")):
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestParseReply(t *testing.T) {
	for in, want := range map[string]string{
		"no":               "550 5.7.1 no\r\n",
		"554 no":           "554 5.7.1 no\r\n",
		"5.1.1 no":         "550 5.1.1 no\r\n",
		"553 5.1.8 no way": "553 5.1.8 no way\r\n",
		"450 no":           "550 5.7.1 450 no\r\n",
		"550 4.1.1 no":     "550 5.7.1 no\r\n",
		"599 no":           "550 5.7.1 599 no\r\n",
		"a\tb\x01\r":       "550 5.7.1 a b? \r\n",
		"":                 "550 5.7.1 \r\n",
	} {
		var words []string
		if in != "" {
			words = strings.Split(in, " ")
		}
		e := parseReply(5, words)
		if got := string(appendReply(nil, e.Code, e.EnhancedCode, e.Message)); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// TestDaemon runs the daemon as the program does: log, pid file, reload, stop.
func TestDaemon(t *testing.T) {
	if testing.Short() {
		t.Skip("starts routers")
	}
	conf := testConf(t)
	if err := os.WriteFile(conf.Path("smtpserver.conf"), []byte("limit sessions=7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ZMAILER_TEST_ROUTER", "1") // the program that is run as the router is this one
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, conf, nil) }()
	awaitLog(t, conf.LogPath("smtpserver"), "msg=started", 1)
	if err := Run(ctx, conf, nil); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Errorf("a second daemon: %v", err)
	}
	for text, want := range map[string]string{
		"limit sessions=x\n": "old configuration goes on", "limit sessions=8\n": "msg=reloaded",
	} {
		if err := os.WriteFile(conf.Path("smtpserver.conf"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		hangUpSelf(t)
		awaitLog(t, conf.LogPath("smtpserver"), want, 1)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	awaitLog(t, conf.LogPath("smtpserver"), "msg=stopped", 1)
}

// TestSessionsForDescriptors shows that sessions never take the last descriptors.
func TestSessionsForDescriptors(t *testing.T) {
	for n, want := range map[uint64]int{0: 1, 20: 1, 64: 20, 1024: 500, 1 << 20: 524276, 1<<64 - 1: 536870900} {
		if got := sessionsFor(n); got != want {
			t.Errorf("sessionsFor(%d) = %d, want %d", n, got, want)
		}
	}
}
