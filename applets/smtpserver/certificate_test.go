package smtpserver

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCertificateRenewed checks that a renewed certificate is used, and that one
// of which half has come is not.
func TestCertificateRenewed(t *testing.T) {
	oldCert, oldKey := certificate(t, "old.example.org")
	newCert, newKey := certificate(t, "new.example.org")
	f, err := newCertFile(keyPair{oldCert, oldKey}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		f.looked = time.Time{}
		return f.get().Leaf.DNSNames[0]
	}
	replace := func(path, with string) {
		b, err := os.ReadFile(with)
		if err != nil {
			t.Fatal(err)
		}
		tmp := path + ".new"
		if err := os.WriteFile(tmp, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
	}
	replace(oldCert, newCert)
	if got := name(); got != "old.example.org" {
		t.Errorf("half renewed: %s", got)
	}
	replace(oldKey, newKey)
	if got := name(); got != "new.example.org" {
		t.Errorf("renewed: %s", got)
	}
	if err := os.Remove(oldKey); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "new.example.org" {
		t.Errorf("without a key: %s", got)
	}
}

func TestTLSProfile(t *testing.T) {
	for profile, want := range map[string]bool{"intermediate": true, "modern": false} {
		ts := start(t, tlsConfig(t, "mx.example.org")+"tls_profile "+profile+"\nlisten 127.0.0.1:0 mx tls\n")
		c, err := tls.Dial("tcp", ts.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if (err == nil) != want {
			t.Errorf("%s: TLS 1.2: %v", profile, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// TestRelation asks tables in hooks, and closes them after the last session.
func TestRelation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "friends")
	if err := os.WriteFile(file, []byte("friend.example yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := "relation -t text -f " + file + " friends\nsmtp_mail() { v=$(friends \"${sender##*@}\") && [ \"$v\" = yes ] || reject 550 5.7.1 \"no friend\"; }\n"
	ts := start(t, conf)
	c := ts.dial()
	greeting(t, c)
	for line, want := range map[string]string{"MAIL FROM:<a@other.example>": "550", "MAIL FROM:<a@friend.example>": "250"} {
		if got := dialogueLine(t, c, "HELO x"); got[:3] != "250" {
			t.Error(got)
		}
		if got := dialogueLine(t, c, line); got[:3] != want {
			t.Errorf("%s: %s", line, got)
		}
	}
	cfg := ts.cfg.Load()
	err := cfg.use.retire()
	cfg.use.mu.Lock()
	defer cfg.use.mu.Unlock()
	if err != nil || len(cfg.use.tables) != 1 {
		t.Errorf("closed under a session: %v", err)
	}
}

// dialogueLine sends a command and returns the reply, of one line.
func dialogueLine(t *testing.T, c net.Conn, line string) string {
	t.Helper()
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		t.Fatal(err)
	}
	return greeting(t, c)
}
