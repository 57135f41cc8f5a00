package smtp

import (
	"bufio"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The exchange of RFC 7677 §3.
func TestSCRAM(t *testing.T) {
	c := &scram{user: "user", password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO"}
	if got := c.begin(); got != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" {
		t.Errorf("first: %s", got)
	}
	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	got, err := c.answer("r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
	if want := "c=biws,r=" + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; err != nil || got != want {
		t.Errorf("second: %s, %v", got, err)
	}
	if err := c.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "v=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl96G4=", "e=invalid-proof"} {
		if c.verify(bad) == nil {
			t.Errorf("%q is believed", bad)
		}
	}
	for _, bad := range []string{
		"", "r=x,s=AAAA,i=4096", "r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=1", "r=" + nonce + ",s=!,i=1", "r=" + nonce + ",s=AAAA,i=0",
		"r=" + nonce + ",s=AAAA,i=99999999", "m=x,r=" + nonce + ",s=AAAA", "r=" + nonce,
	} {
		if got, err := c.answer(bad); err == nil {
			t.Errorf("%q: answered %q", bad, got)
		}
	}
}

func FuzzSCRAM(f *testing.F) {
	f.Add("r=abcd,s=W22Z,i=10")
	f.Fuzz(func(t *testing.T, challenge string) {
		if strings.Contains(challenge, "i=") && len(challenge) > 12 {
			return // so that the fuzzer does not spend its time on iterations
		}
		c := &scram{user: "u", password: "p", nonce: "a"}
		c.begin()
		if _, err := c.answer(challenge); err == nil && len(c.signature) != 32 {
			t.Fatal("no signature")
		}
		_ = c.verify(challenge)
	})
}

// A server that does not know the password is not believed.
func TestSCRAMServer(t *testing.T) {
	s := newSink(t, "AUTH SCRAM-SHA-256 PLAIN")
	s.login = func(c *sinkConn, mech, initial string) string {
		first, err := base64.StdEncoding.DecodeString(initial)
		_, nonce, ok := strings.Cut(string(first), ",r=")
		if mech != "SCRAM-SHA-256" || err != nil || !ok {
			return "501 5.5.2 what?"
		}
		io.WriteString(c.nc, "334 "+base64.StdEncoding.EncodeToString([]byte("r="+nonce+"x,s=AAAA,i=1"))+"\r\n")
		if _, err := c.br.ReadString('\n'); err != nil {
			return "!close"
		}
		io.WriteString(c.nc, "334 "+base64.StdEncoding.EncodeToString([]byte("v=AAAA"))+"\r\n")
		return "!close"
	}
	d := start(t, func(o *options) {
		quick(o)
		o.credFile = secretFile(t, "* joe secret\n")
	})
	if res := d.deliver(simple("a@x.test"), s.host()); outcome(res) != "retryat 4.7.0" || !strings.Contains(res[0].Text, "prove") {
		t.Errorf("got %+v", res)
	}
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A token comes from a command, is used for all connections of a moment, and is
// asked for again when the server does not like it.
func TestToken(t *testing.T) {
	dir := t.TempDir()
	command := filepath.Join(dir, "token")
	if err := os.WriteFile(command, []byte("#!/bin/sh\necho x >>"+dir+"/runs\necho token$(wc -l <"+dir+"/runs)\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSink(t, "AUTH PLAIN OAUTHBEARER")
	var seen []string
	s.login = func(c *sinkConn, mech, initial string) string {
		b, err := base64.StdEncoding.DecodeString(initial)
		if err != nil {
			return "501 5.5.2 what?"
		}
		seen = append(seen, mech+" "+strings.ReplaceAll(string(b), "\x01", "|"))
		if strings.Contains(string(b), "token1") {
			io.WriteString(c.nc, "334 "+base64.StdEncoding.EncodeToString([]byte(`{"status":"invalid_token"}`))+"\r\n")
			if line, err := bufio.NewReader(c.nc).ReadString('\n'); err != nil || line != "AQ==\r\n" {
				t.Errorf("answer to the error: %q, %v", line, err)
			}
			return "535 5.7.8 token is not valid"
		}
		return "235 2.7.0 welcome"
	}
	d := start(t, func(o *options) {
		quick(o)
		o.reuseMax = 1
		o.credFile = secretFile(t, "* joe |"+command+" arg\n")
	})
	for i, want := range []string{"retryat 4.7.8", "ok 2.0.0", "ok 2.0.0"} {
		if res := d.deliver(simple("a@x.test"), s.host()); outcome(res) != want {
			t.Fatalf("%d: %+v", i, res)
		}
	}
	runs, err := os.ReadFile(dir + "/runs")
	if err != nil || strings.Count(string(runs), "x") != 2 {
		t.Errorf("command ran: %q, %v", runs, err)
	}
	if len(seen) != 3 || !strings.HasPrefix(seen[2], "OAUTHBEARER n,a=joe,|host=127.0.0.1|port=") || !strings.HasSuffix(seen[2], "|auth=Bearer token2||") {
		t.Errorf("seen %q", seen)
	}
}

func TestCredentialsBySender(t *testing.T) {
	const file = "* all 1\nmx.test host 2\n*,@us.test domain 3\n*,joe@us.test joe 4\nmx.test,@us.test both 5\nother.test,joe@us.test never 6\n"
	for _, tt := range []struct{ host, sender, want string }{
		{"x.test", "a@b.test", "all"},
		{"mx.test", "a@b.test", "host"},
		{"x.test", "ann@US.test", "domain"},
		{"x.test", "joe@us.test", "joe"},
		{"mx.test", "ann@us.test", "both"},
		{"mx.test", "", "host"},
	} {
		cr, err := findCredentials(file, "f", &target{dest: tt.host}, tt.sender)
		if err != nil || cr == nil || cr.user != tt.want {
			t.Errorf("%s %s: %+v, %v", tt.host, tt.sender, cr, err)
		}
	}
}
