package smtpserver

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"zmailer/applets/smtpserver/saslauth"
)

// TestAuthWith logs in with passwords from everywhere that needs no other server.
func TestAuthWith(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hash := cheapHash(t, "secret")
	k, err := saslauth.NewKeys("secret")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"table": "joe " + hash + "\n", "keys": "joe " + hash + " " + k.String() + "\n", "shadow": "joe:" + hash + ":19000:0:99999:7:::\n",
		"check": "#!/bin/sh\ntr '\\0' '\\n' <&3 | { read -r u; read -r p; [ \"$u:$p\" = joe:secret ]; }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sock := fakeDovecot(t)
	const relation = "relation -t text -f "
	for _, tt := range []struct{ conf, offer string }{
		{relation + dir + "/table users\nauth_with table users", "PLAIN LOGIN"},
		{relation + dir + "/keys users\nauth_with table users scram", "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"},
		{"auth_with shadow " + dir + "/shadow", "PLAIN LOGIN"},
		{"auth_with checkpassword " + dir + "/check", "PLAIN LOGIN"},
		{"auth_with shadow " + dir + "/shadow\nauth_with saslauthd /nowhere/mux", "PLAIN LOGIN"},
		{"auth_with dovecot " + sock, "PLAIN"},
	} {
		ts := start(t, tlsConfig(t, "mx.example.org")+"listen 127.0.0.1:0 submission\n"+tt.conf+"\n")
		for _, try := range []struct {
			password string
			code     int
		}{{"wrong", 535}, {"secret", 235}} {
			if strings.Contains(tt.conf, "/nowhere") && try.code == 535 {
				try.code = 454 // one of two could not be asked
			}
			c, err := smtp.DialStartTLS(ts.addr, trusting)
			if err != nil {
				t.Fatal(err)
			}
			if _, offer := c.Extension("AUTH"); offer != tt.offer {
				t.Errorf("%s: offered %q", tt.conf, offer)
			}
			if got := authCode(t, c, sasl.NewPlainClient("", "joe", try.password)); got != try.code {
				t.Errorf("%s: %s: %d, want %d", tt.conf, try.password, got, try.code)
			}
			c.Close()
		}
	}
}

// fakeDovecot is an authentication server that knows joe.
func fakeDovecot(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dovecot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "auth")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tEXTERNAL\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n")
				for lines := bufio.NewScanner(c); lines.Scan(); {
					switch f := strings.Split(lines.Text(), "\t"); {
					case f[0] != "AUTH":
					case f[len(f)-1] == "resp=AGpvZQBzZWNyZXQ=" && strings.Contains(lines.Text(), "\trip=127.0.0.1\tsecured\t"):
						fmt.Fprint(c, "OK\t1\tuser=joe\n")
					default:
						fmt.Fprint(c, "FAIL\t1\tuser=joe\n")
					}
				}
			}()
		}
	}()
	return path
}
