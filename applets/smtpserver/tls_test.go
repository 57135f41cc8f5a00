package smtpserver

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// certificate makes a key and a certificate for name and returns their files.
func certificate(t testing.TB, name string) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", pk)
	return cert, key
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func tlsConfig(t testing.TB, names ...string) string {
	var b strings.Builder
	for _, name := range names {
		cert, key := certificate(t, name)
		b.WriteString("tls " + cert + " " + key + "\n")
	}
	return b.String()
}

var trusting = &tls.Config{InsecureSkipVerify: true}

// TestStartTLS sends a message over STARTTLS with go-smtp's client.
func TestStartTLS(t *testing.T) {
	ts := start(t, tlsConfig(t, "mx.example.org"))
	c, err := smtp.DialStartTLS(ts.addr, trusting)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, _ := c.Extension("STARTTLS"); ok {
		t.Error("STARTTLS is offered again")
	}
	if err := c.SendMail("ann@example.net", []string{"joe@example.org"}, strings.NewReader("Subject: x\r\n\r\n.y\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	m := ts.messages()
	if len(m) != 1 || m[0].env.With != "ESMTPS" || !strings.HasPrefix(m[0].env.TLS, "TLSv1.3 TLS_") || m[0].text != "Subject: x\n\n.y\n" {
		t.Errorf("got %+v", m)
	}
}

// TestTLSNames picks the certificate by the name the client asks for, on a port
// where TLS comes first.
func TestTLSNames(t *testing.T) {
	ts := start(t, tlsConfig(t, "a.example.org", "b.example.org")+"listen 127.0.0.1:0 tls\n")
	for _, name := range []string{"a.example.org", "b.example.org"} {
		c := tls.Client(ts.dial(), &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
			t.Fatalf("%q, %v", line, err)
		}
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != name {
			t.Errorf("asked for %s, got %s", name, got)
		}
		c.Close()
	}
}

// TestInjection sends commands behind STARTTLS: the session ends, and nothing of
// them is obeyed, neither before nor after the handshake.
func TestInjection(t *testing.T) {
	ts := start(t, tlsConfig(t, "mx.example.org"))
	for _, rest := range []string{"NOOP\r\n", "\r\n", "x", "MAIL FROM:<a@example.net>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\nx\r\n.\r\n"} {
		c := ts.dial()
		io.WriteString(c, "EHLO c\r\nSTARTTLS\r\n"+rest)
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(b), "554 5.5.1 Error: commands after STARTTLS\r\n") || strings.Contains(string(b), "\r\n220 2.0.0") {
			t.Errorf("%q: got %q", rest, b)
		}
	}
	if m := ts.messages(); len(m) != 0 {
		t.Errorf("accepted %+v", m)
	}
}

// TestForgetsPlainText checks that nothing said before STARTTLS holds after it.
func TestForgetsPlainText(t *testing.T) {
	ts := start(t, tlsConfig(t, "mx.example.org"))
	c := ts.dial()
	r := bufio.NewReader(c)
	io.WriteString(c, "EHLO c\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<joe@example.org>\r\nSTARTTLS\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "220 2.0.0 Ready to start TLS\r\n" {
			break
		}
	}
	s := tls.Client(c, trusting)
	io.WriteString(s, "DATA\r\nMAIL FROM:<>\r\nSTARTTLS\r\nQUIT\r\n")
	b, _ := io.ReadAll(s)
	want := "503 5.5.1 Error: need MAIL command\r\n503 5.5.1 Error: send EHLO or HELO first\r\n503 5.5.1 Error: TLS is already active\r\n221 2.0.0 Bye\r\n"
	if string(b) != want {
		t.Errorf("got %q", b)
	}
}

// TestNoHandshake checks that a client which does not speak TLS is let go.
func TestNoHandshake(t *testing.T) {
	ts := start(t, tlsConfig(t, "mx.example.org")+"listen 127.0.0.1:0 tls\n")
	c := ts.dial()
	io.WriteString(c, "EHLO c\r\n")
	if b, _ := io.ReadAll(c); strings.Contains(string(b), "250") {
		t.Errorf("got %q", b)
	}
}

// TestRequireTLS: RFC 8689 is offered and taken under TLS; that it is not elsewhere
// stands in testdata/later.txt.
func TestRequireTLS(t *testing.T) {
	ts := start(t, tlsConfig(t, "mx.example.org"))
	c, err := smtp.DialStartTLS(ts.addr, trusting)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, _ := c.Extension("REQUIRETLS"); !ok {
		t.Error("REQUIRETLS is not offered")
	}
	if err := errors.Join(c.Mail("ann@example.net", &smtp.MailOptions{RequireTLS: true}), c.Rcpt("joe@example.org", nil)); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if m := ts.messages(); len(m) != 1 || !m[0].env.RequireTLS {
		t.Errorf("got %+v", m)
	}
}
