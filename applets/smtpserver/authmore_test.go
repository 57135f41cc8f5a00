package smtpserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"zmailer/applets/smtpserver/saslauth"
	"zmailer/testdata/peers"
)

// scramUsers is a password file in which joe has keys.
func scramUsers(t testing.TB) string {
	t.Helper()
	k, err := saslauth.NewKeys("secret")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(file, []byte("joe:"+k.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSCRAMPeer logs in with the client of GNU SASL, by every mechanism and with
// channel binding.
func TestSCRAMPeer(t *testing.T) {
	t.Parallel()
	gsasl := strings.Fields(peers.Program(t, "gsasl", "usr/bin/gsasl"))
	ts := start(t, tlsConfig(t, "mx.example.org")+"listen 127.0.0.1:0 submission\npasswords "+scramUsers(t)+"\n")
	host, port, err := net.SplitHostPort(ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		mechanism, password string
		ok                  bool
	}{
		{"SCRAM-SHA-256", "secret", true},
		{"SCRAM-SHA-256", "wrong", false},
		{"SCRAM-SHA-256-PLUS", "secret", true},
		{"PLAIN", "secret", true},
		{"LOGIN", "secret", true},
	} {
		cmd := exec.Command(gsasl[0], append(gsasl[1:], "--smtp", "--starttls", "--x509-ca-file=", "--connect", host+":"+port, "--mechanism", tt.mechanism,
			"--authentication-id", "joe", "--password", tt.password, "--verbose", "--hostname", "mx.example.org", "--service", "smtp")...)
		if !strings.HasSuffix(tt.mechanism, "-PLUS") {
			cmd.Args = append(cmd.Args, "--no-cb") // or else it takes nothing less
		}
		cmd.Stdin = strings.NewReader("QUIT\n")
		out, err := cmd.CombinedOutput()
		if ok := bytes.Contains(out, []byte("235 2.7.0")); ok != tt.ok {
			t.Errorf("%s with %s: %v\n%s", tt.mechanism, tt.password, err, out)
		}
	}
}

// authCode logs in and returns the code of the last reply.
func authCode(t *testing.T, c *smtp.Client, client sasl.Client) int {
	t.Helper()
	var e *smtp.SMTPError
	switch err := c.Auth(client); {
	case err == nil:
		return 235
	case errors.As(err, &e):
		return e.Code
	default:
		t.Fatal(err)
	}
	return 0
}

// xoauth2 is the client's side of XOAUTH2.
type xoauth2 struct{ user, token string }

func (x xoauth2) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + x.user + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}
func (x xoauth2) Next([]byte) ([]byte, error) { return []byte{}, nil }

// TestTokens asks an authorization server about tokens.
func TestTokens(t *testing.T) {
	t.Parallel()
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, secret, ok := r.BasicAuth(); !ok || id != "mail" || secret != "s3" || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.FormValue("token") {
		case "good":
			fmt.Fprint(w, `{"active":true,"username":"joe","exp":4102444800}`)
		case "old":
			fmt.Fprint(w, `{"active":true,"username":"joe","exp":1}`)
		case "strange":
			fmt.Fprint(w, `{"username":"joe"}`)
		case "down":
			w.WriteHeader(http.StatusBadGateway)
		default:
			fmt.Fprint(w, `{"active":false}`)
		}
	}))
	defer idp.Close()
	secret := filepath.Join(t.TempDir(), "idp")
	if err := os.WriteFile(secret, []byte("mail:s3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ts := start(t, tlsConfig(t, "mx.example.org")+"listen 127.0.0.1:0 submission\nlimit logins=100\n"+
		"smtp_token() { u=$(introspect -c "+secret+" "+idp.URL+" \"$2\") && login \"$u\"; }\n")
	for _, tt := range []struct {
		user, token string
		want        int
	}{{"joe", "good", 235}, {"ann", "good", 535}, {"joe", "bad", 535}, {"joe", "old", 535}, {"joe", "strange", 454}, {"joe", "down", 454}} {
		for _, client := range []sasl.Client{sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: tt.user, Token: tt.token}), xoauth2{tt.user, tt.token}} {
			c, err := smtp.DialStartTLS(ts.addr, trusting)
			if err != nil {
				t.Fatal(err)
			}
			if _, offer := c.Extension("AUTH"); offer != "OAUTHBEARER XOAUTH2" {
				t.Errorf("offered %q", offer)
			}
			if oauth, ok := client.(xoauth2); ok || tt.want != 535 {
				if got := authCode(t, c, client); got != tt.want {
					t.Errorf("%v %s %s: %d, want %d", oauth, tt.user, tt.token, got, tt.want)
				}
			} else if err := c.Auth(client); err == nil { // the client reads the refusal itself
				t.Errorf("%s %s: logged in", tt.user, tt.token)
			}
			c.Close()
		}
	}
	if log := ts.log.String(); strings.Count(log, "login failed") != 6 || strings.Contains(log, "s3") {
		t.Errorf("log: %s", log)
	}
}

// clientCert makes a certificate for a client, of an authority or of its own.
func clientCert(t *testing.T, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, tmpl *x509.Certificate) (tls.Certificate, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, x, key
}

// TestExternal logs in with certificates.
func TestExternal(t *testing.T) {
	t.Parallel()
	_, ca, caKey := clientCert(t, nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	byMail, _, _ := clientCert(t, ca, caKey, &x509.Certificate{Subject: pkix.Name{CommonName: "Joe"}, EmailAddresses: []string{"joe@example.org"}, ExtKeyUsage: usage})
	server, _, _ := clientCert(t, ca, caKey, &x509.Certificate{Subject: pkix.Name{CommonName: "joe"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	own, ownX, _ := clientCert(t, nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "joe@example.org"}, ExtKeyUsage: usage})
	dir := t.TempDir()
	writePEM(t, filepath.Join(dir, "ca"), "CERTIFICATE", ca.Raw)
	sum := sha256.Sum256(ownX.Raw)
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(hex.EncodeToString(sum[:])+" ann\njoe@example.org joe\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	table := "relation -t text -f " + dir + "/users users\n"
	for _, tt := range []struct {
		name, conf string
		cert       *tls.Certificate
		user       string
	}{
		{"by mail address", "client_certs " + dir + "/ca\n", &byMail, "joe@example.org"},
		{"by the table", table + "client_certs " + dir + "/ca users\n", &byMail, "joe"},
		{"by fingerprint", table + "client_certs - users\n", &own, "ann"},
		{"not listed", table + "client_certs - users\n", &byMail, ""},
		{"of nobody", "client_certs " + dir + "/ca\n", &own, ""},
		{"not for clients", "client_certs " + dir + "/ca\n", &server, ""},
		{"none", "client_certs " + dir + "/ca\n", nil, ""},
	} {
		ts := start(t, tlsConfig(t, "mx.example.org")+"listen 127.0.0.1:0 submission\n"+tt.conf)
		conf := trusting.Clone()
		if tt.cert != nil {
			// Whatever the server wants to see.
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
		}
		c, err := smtp.DialStartTLS(ts.addr, conf)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		if _, offer := c.Extension("AUTH"); (offer == "EXTERNAL") != (tt.user != "") {
			t.Errorf("%s: offered %q", tt.name, offer)
		}
		got := authCode(t, c, sasl.NewExternalClient(""))
		if (got == 235) != (tt.user != "") {
			t.Errorf("%s: %d", tt.name, got)
		}
		if err := c.SendMail("joe@example.org", []string{"ann@elsewhere.example"}, strings.NewReader("x")); (err == nil) != (tt.user != "") {
			t.Errorf("%s: %v", tt.name, err)
		}
		c.Close()
		if m := ts.messages(); tt.user != "" && (len(m) != 1 || m[0].env.AuthUser != tt.user) {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
}

// TestAuthClear logs in without TLS where that is allowed.
func TestAuthClear(t *testing.T) {
	for conf, want := range map[string]int{"auth_clear 127.0.0.1\n": 235, "auth_clear 192.0.2.0/24\n": 0} {
		ts := start(t, "listen 127.0.0.1:0 submission\npasswords "+scramUsers(t)+"\nauth_offer plain scram-sha-256\n"+conf)
		c, err := smtp.Dial(ts.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Hello("c"); err != nil {
			t.Fatal(err)
		}
		if _, offer := c.Extension("AUTH"); (offer == "SCRAM-SHA-256 PLAIN") != (want == 235) {
			t.Errorf("%s: offered %q", conf, offer)
		}
		if want == 235 {
			if got := authCode(t, c, sasl.NewPlainClient("", "joe", "secret")); got != want {
				t.Errorf("%s: %d", conf, got)
			}
		}
	}
}

// TestSenders checks which addresses users may send with.
func TestSenders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "logins"), []byte("joe@example.org joe, ann\nteam@example.org *\n@joe.example joe\nann@example.org ann\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const rel = "relation -t text -l -f "
	conf := rel + dir + "/logins logins\nsenders logins header everyone\n"
	ts := start(t, withUsers(t)+conf)
	c, err := smtp.DialStartTLS(ts.addr, trusting)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", "joe", "secret")); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]bool{
		"joe@example.org": true, "JOE@Example.ORG": true, "team@example.org": true, "x@joe.example": true, "": true,
		"ann@example.org": false, "joe@elsewhere.example": false, "x@sub.joe.example": false,
	} {
		err := c.Mail(from, nil)
		if (err == nil) != want {
			t.Errorf("MAIL %s: %v", from, err)
		}
		if err := c.Reset(); err != nil {
			t.Fatal(err)
		}
	}
	for header, want := range map[string]bool{
		"From: Joe <joe@example.org>\r\n": true, "From: ann@example.org\r\nSender: joe@example.org\r\n": false,
		"From: joe@example.org, ann@example.org\r\n": false, "From: <\r\n": false, "Subject: no author\r\n": true,
	} {
		err := c.SendMail("joe@example.org", []string{"x@elsewhere.example"}, strings.NewReader(header+"\r\nx\r\n"))
		if (err == nil) != want {
			t.Errorf("%q: %v", header, err)
		}
	}
	// On the port for everybody an owned address needs a login, others do not.
	ts = start(t, conf)
	stranger, err := smtp.Dial(ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for from, want := range map[string]bool{"ann@example.org": false, "ann@elsewhere.example": true, "": true} {
		if err := stranger.Mail(from, nil); (err == nil) != want {
			t.Errorf("stranger as %s: %v", from, err)
		}
		if err := stranger.Reset(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBruteForce tries 10,000 passwords, and looks at what is remembered and how
// many were looked at.
func TestBruteForce(t *testing.T) {
	l, limit := &logins{}, defaultLimits()
	user := func(i int) string { return fmt.Sprintf("user%d", i) }
	from := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	home := from(1 << 20)
	l.succeeded("joe", home)
	looked := 0
	for i := range 100_000 {
		if l.userBlocked("joe", from(i), limit.userLogins) || l.fromBlocked(from(i), limit.logins) {
			continue
		}
		looked++
		l.failed("joe", from(i), &limit)
	}
	if looked != limit.userLogins {
		t.Errorf("%d passwords of one user looked at, want %d", looked, limit.userLogins)
	}
	if l.userBlocked("joe", home, limit.userLogins) {
		t.Error("joe is locked out at home")
	}
	for i := range 100_000 {
		l.failed(user(i), from(i), &limit)
	}
	if len(l.from[0]) > maxFailing || len(l.user[0]) > maxFailing {
		t.Errorf("%d addresses and %d users remembered", len(l.from[0]), len(l.user[0]))
	}
	if !l.userBlocked("joe", from(7), limit.userLogins-20) {
		t.Error("a flood of names made us forget the one that is attacked")
	}
	for i := range 100_000 {
		l.succeeded(user(i), from(i))
	}
	if n := len(l.places[0]) + len(l.places[1]); n > maxPlaces {
		t.Errorf("%d places remembered", n)
	}
	l.begun = l.begun.Add(-3 * loginWindow)
	if l.userBlocked("joe", from(7), limit.userLogins) {
		t.Error("blocked for ever")
	}
}

// TestBruteForceSessions tries 10,000 passwords in sessions.
func TestBruteForceSessions(t *testing.T) {
	ts := start(t, withUsers(t)+"limit errors=100000\n")
	c, err := smtp.DialStartTLS(ts.addr, trusting)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	codes := map[int]int{}
	for range 10_000 {
		codes[authCode(t, c, sasl.NewPlainClient("", "joe", "wrong"))]++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if codes[535] != 3 || codes[454] != 9997 {
		t.Errorf("codes %v", codes)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d octets of memory more", grown)
	}
	if n := strings.Count(ts.log.String(), "\n"); n > 20 {
		t.Errorf("%d lines in the log", n)
	}
}

// TestSameTime compares the check of a user who exists with that of one who does
// not: the work is the same, so the ratio is not far from one.
func TestSameTime(t *testing.T) {
	line, err := saslauth.Line("joe", "secret", false)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := saslauth.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fastest := func(user string) time.Duration {
		best := time.Hour
		for range 5 {
			begun := time.Now()
			if ok, err := f.Check(context.Background(), user, "x"); ok || err != nil {
				t.Fatal(ok, err)
			}
			best = min(best, time.Since(begun))
		}
		return best
	}
	// A check without work would be a thousand times faster.
	if known, unknown := fastest("joe"), fastest("nobody"); unknown < known/20 {
		t.Errorf("known user %v, unknown %v", known, unknown)
	}
}

// TestPasswd changes the file with the command.
func TestPasswd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwords")
	run := func(in string, args ...string) (string, error) {
		cmd := PasswdCommand()
		var out bytes.Buffer
		cmd.SetIn(strings.NewReader(in))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append([]string{"-f", file}, args...))
		cmd.SilenceUsage = true
		err := cmd.Execute()
		return out.String(), err
	}
	must := func(in string, args ...string) string {
		t.Helper()
		out, err := run(in, args...)
		if err != nil {
			t.Fatal(args, err)
		}
		return out
	}
	must("first\n", "joe")
	if err := os.WriteFile(file, append([]byte("# ours\n"), readFile(t, file)...), 0o640); err != nil {
		t.Fatal(err)
	}
	must("x", "ann", "--no-scram")
	must("second\r\nrest", "joe")
	f, err := saslauth.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"first": false, "second": true} {
		if ok, err := f.Check(t.Context(), "joe", password); ok != want || err != nil {
			t.Errorf("%s: %v, %v", password, ok, err)
		}
	}
	if got := must("", "-l"); got != "joe\nann\n" {
		t.Errorf("users %q", got)
	}
	if f.HasKeys() {
		t.Error("ann has keys")
	}
	must("", "-d", "ann")
	if !f.HasKeys() {
		t.Error("joe has none")
	}
	if text := string(readFile(t, file)); !strings.HasPrefix(text, "# ours\n") || strings.Count(text, "\n") != 2 {
		t.Errorf("file %q", text)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 && st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	for _, args := range [][]string{{"-d", "ann"}, {"a:b"}, {"joe", "ann"}, {"-l", "joe"}, {}} {
		if _, err := run("x", args...); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if _, err := run("", "joe"); err == nil {
		t.Error("no password is taken")
	}
	if out := must("x", "-n", "joe"); !strings.HasPrefix(out, "joe:$argon2id$") || !strings.Contains(out, " SCRAM-SHA-256$") {
		t.Errorf("printed %q", out)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAuthWords checks what the configuration says about its mistakes.
func TestAuthWords(t *testing.T) {
	for text, want := range map[string]string{
		"auth_with":                                 "want saslauthd, dovecot",
		"auth_with nothing":                         "want saslauthd, dovecot",
		"auth_with table t":                         "no such table",
		"auth_with dovecot x":                       "path of Dovecot's socket",
		"auth_with saslauthd x":                     "want the path of a socket",
		"auth_with checkpassword":                   "want the path of a program",
		"auth_with shadow /nowhere":                 "no such file",
		"auth_offer digest-md5":                     "there are SCRAM-SHA-256-PLUS",
		"client_certs -":                            "without authorities",
		"senders t":                                 "no such table",
		"relation -t incore t\nauth_with ldap t":    "is no table of type ldap",
		"auth_with dovecot /a\nauth_with saslauthd": "judges alone",
		"auth_clear x":                              "not an address or network",
	} {
		_, err := runConfig(context.Background(), testConf(t), slog.New(slog.DiscardHandler), "test.conf", strings.NewReader(text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
