package smtpserver

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/crypto/bcrypt"
)

// cheapHash is one that tests can afford.
func cheapHash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// withUsers is a configuration with TLS and the user joe, whose password is
// "secret", on a submission port.
func withUsers(t testing.TB) string {
	file := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(file, []byte("# users\n\njoe:"+cheapHash(t, "secret")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return tlsConfig(t, "mx.example.org") + "passwords " + file + "\nlisten 127.0.0.1:0 submission\nlimit logins=3\n"
}

func TestAuth(t *testing.T) {
	ts := start(t, withUsers(t))
	for _, client := range []sasl.Client{sasl.NewPlainClient("", "joe", "secret"), sasl.NewPlainClient("joe", "joe", "secret"), sasl.NewLoginClient("joe", "secret")} {
		c, err := smtp.DialStartTLS(ts.addr, trusting)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Mail("joe@example.org", nil); err == nil {
			t.Error("MAIL without login")
		}
		if err := c.Auth(client); err != nil {
			t.Fatal(err)
		}
		if err := c.Auth(client); err == nil {
			t.Error("second login")
		}
		who := "joe@example.org"
		if err := c.Mail("joe@example.org", &smtp.MailOptions{Auth: &who}); err != nil {
			t.Fatal(err)
		}
		if err := c.Rcpt("ann@elsewhere.example", nil); err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	m := ts.messages()
	if len(m) != 3 || m[0].env.AuthUser != "joe" || m[0].env.With != "ESMTPSA" || !m[0].env.External || !m[0].env.MayRelay {
		t.Errorf("got %+v", m)
	}
}

func TestAuthFails(t *testing.T) {
	ts := start(t, withUsers(t))
	c, err := smtp.DialStartTLS(ts.addr, trusting)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, try := range []struct {
		client sasl.Client
		code   int
	}{
		{sasl.NewPlainClient("", "joe", "wrong"), 535},
		{sasl.NewPlainClient("root", "joe", "secret"), 535},
		{sasl.NewLoginClient("nobody", "secret"), 535},
		{sasl.NewPlainClient("", "joe", "secret"), 454}, // three were enough
	} {
		var e *smtp.SMTPError
		if err := c.Auth(try.client); !errors.As(err, &e) || e.Code != try.code {
			t.Errorf("%+v: %v, want %d", try.client, err, try.code)
		}
	}
	if log := ts.log.String(); strings.Count(log, "login failed") != 3 || strings.Contains(log, "secret") || strings.Contains(log, "wrong") {
		t.Errorf("log: %s", log)
	}
}

// TestAuthSyntax talks nonsense in the exchange.
func TestAuthSyntax(t *testing.T) {
	ts := start(t, withUsers(t)+"limit errors=100\n")
	c := tls.Client(startedTLS(t, ts), trusting)
	r := bufio.NewReader(c)
	ask := func(line, want string) {
		t.Helper()
		io.WriteString(c, line+"\r\n")
		got, err := r.ReadString('\n')
		for err == nil && len(got) > 3 && got[3] == '-' {
			got, err = r.ReadString('\n')
		}
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%.40q: got %q, %v; want %s", line, got, err, want)
		}
	}
	ask("AUTH PLAIN", "503 5.5.1")
	ask("EHLO c", "250 HELP")
	ask("AUTH", "504 5.5.4")
	ask("AUTH CRAM-MD5", "504 5.5.4")
	ask("AUTH PLAIN !", "501 5.5.2")
	ask("AUTH PLAIN =", "501 5.5.2")
	ask("AUTH PLAIN", "334 ")
	ask("*", "501 5.7.0")
	ask("AUTH LOGIN", "334 VXNlcm5hbWU6")
	ask("", "334 UGFzc3dvcmQ6")
	ask("x\ry", "501 5.5.2")
	ask("AUTH PLAIN", "334 ")
	ask(strings.Repeat("A", 20000), "501 5.5.2")
	ask("MAIL FROM:<a@example.net> AUTH=a+3Db", "530 5.7.0")
	ask("AUTH plain "+base64.StdEncoding.EncodeToString([]byte("\x00joe\x00secret")), "235 2.7.0")
	ask("MAIL FROM:<a@example.net> AUTH=<>", "250 2.1.0")
}

// startedTLS is a connection that has been told to begin the handshake.
func startedTLS(t *testing.T, ts *testServer) net.Conn {
	t.Helper()
	c := ts.dial()
	io.WriteString(c, "EHLO c\r\nAUTH PLAIN x\r\nSTARTTLS\r\n")
	r := bufio.NewReader(c)
	plain := ""
	for !strings.Contains(plain, "\r\n220 2.0.0") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		plain += line
	}
	if strings.Contains(plain, "250-AUTH") || !strings.Contains(plain, "538 5.7.11") {
		t.Errorf("in plain text: %q", plain)
	}
	return c
}

// A client that is blocked does not ask without end, either.
func TestBlockedStorm(t *testing.T) {
	ts := start(t, withUsers(t)+"auth_clear 127.0.0.1\nlimit logins=1 idle=2 errors=3\n")
	c := ts.dial()
	io.WriteString(c, "HELO c\r\n"+strings.Repeat("AUTH PLAIN AGpvZQB4\r\n", 9))
	b, err := io.ReadAll(c)
	if text := string(b); err != nil || strings.Count(text, "\n535 ") != 1 || strings.Count(text, "\n454 ") != 3 || !strings.Contains(text, "\n421 4.7.0 ") {
		t.Errorf("got %q, %v", text, err)
	}
}
