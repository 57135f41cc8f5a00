package arc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/spool/rfc5322"
	"zmailer/testdata/peers"
)

// zone is the records of keys.
type zone map[string]string

func (z zone) txt(_ context.Context, name string) ([]string, error) {
	text, ok := z[name]
	switch {
	case !ok:
		return nil, ErrNoKey
	case text == "":
		return nil, errors.New("no answer")
	}
	return []string{text}, nil
}

// key makes a key and publishes it.
func (z zone) key(t testing.TB, domain, kind string) *Key {
	t.Helper()
	k := &Key{Domain: domain, Selector: "s"}
	record := "v=DKIM1; k=" + kind + "; p="
	if kind == "rsa" {
		priv, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(priv.Public())
		if err != nil {
			t.Fatal(err)
		}
		k.Signer, record = priv, record+base64.StdEncoding.EncodeToString(der)
	} else {
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.Signer, record = priv, record+base64.StdEncoding.EncodeToString(pub)
	}
	z["s._domainkey."+domain] = record
	return k
}

const message = "Received: from a by b\r\nFrom: Ann <ann@a.test>\r\nTo: joe@b.test\r\nSubject:  on\r\n\ttwo lines \r\nDKIM-Signature: v=1; b=x\r\n\r\nHello  there \t\r\n\r\n.x\r\n\r\n\r\n"

func seal(t testing.TB, k *Key, msg string, status Status) string {
	t.Helper()
	fields, err := Seal(k, "mx."+k.Domain+"; spf=pass smtp.mailfrom=ann@a.test; dmarc=pass header.from=a.test; arc="+string(status), status, func(w io.Writer) error {
		for b := []byte(msg); len(b) > 0; { // in small pieces
			n := min(7, len(b))
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(fields), "\n") {
		if len(line) > 998 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	return strings.ReplaceAll(string(fields), "\n", "\r\n") + msg
}

func check(t testing.TB, z zone, msg string) Result {
	t.Helper()
	h, at, err := rfc5322.ParseHeader([]byte(msg))
	if err != nil {
		t.Fatal(err)
	}
	return Verify(context.Background(), z.txt, h, strings.NewReader(msg[at:]))
}

// TestChain seals a message three times, and changes it in every way.
func TestChain(t *testing.T) {
	z := zone{}
	one, two, three := z.key(t, "one.test", "rsa"), z.key(t, "two.test", "ed25519"), z.key(t, "three.test", "rsa")
	if r := check(t, z, message); r.Status != None {
		t.Errorf("no chain: %+v", r)
	}
	m := message
	for i, k := range []*Key{one, two, three} {
		m = seal(t, k, m, Pass)
		r := check(t, z, m)
		if r.Status != Pass || len(r.Sealers) != i+1 || r.Sealers[i].Domain != k.Domain || !strings.HasPrefix(r.Sealers[i].Results, "mx."+k.Domain+"; spf=pass") {
			t.Fatalf("%d: %+v\n%s", i, r, m)
		}
		if lf := check(t, z, strings.ReplaceAll(m, "\r\n", "\n")); lf.Status != Pass {
			t.Errorf("with LF: %+v", lf)
		}
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"white space at the end of lines", "Hello  there \t\r\n", "Hello there\r\n", "pass"},
		{"another trace", "Received: from a", "Received: from x\r\nReceived: from a", "pass"},
		{"subject", "two lines", "three lines", "fail"},
		{"body", "Hello", "Hullo", "fail"},
		{"line added", ".x\r\n", ".x\r\ny\r\n", "fail"},
		{"first results", "i=1; mx.one.test; spf=pass", "i=1; mx.one.test; spf=fail", "fail"},
		{"an instance is gone", "ARC-Seal: i=2;", "X-Seal: i=2;", "fail"},
		{"an instance twice", "ARC-Seal: i=2;", "ARC-Seal: i=1;", "fail"},
		{"instance 0", "ARC-Seal: i=2;", "ARC-Seal: i=0;", "fail"},
		{"failed before", "cv=pass; d=two.test", "cv=fail; d=two.test", "fail"},
		{"begins as passed", "cv=none", "cv=pass", "fail"},
		{"tag h", "cv=pass; d=three.test", "cv=pass; h=From; d=three.test", "fail"},
		{"other domain", "d=three.test", "d=four.test", "fail"},
	} {
		changed := strings.ReplaceAll(m, tt.old, tt.new)
		if changed == m {
			t.Errorf("%s: nothing changed", tt.name)
		}
		if r := check(t, z, changed); string(r.Status) != tt.want || r.Status == Fail && (r.Reason == "" || r.Sealers != nil) {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
	z["s._domainkey.two.test"] = ""
	if r := check(t, z, m); r.Status != TempError {
		t.Errorf("no answer: %+v", r)
	}
	z["s._domainkey.two.test"] = "v=DKIM1; p="
	if r := check(t, z, m); r.Status != Fail || !strings.Contains(r.Reason, "revoked") {
		t.Errorf("revoked: %+v", r)
	}
}

// TestFailedChain marks a chain that has failed, once.
func TestFailedChain(t *testing.T) {
	z := zone{}
	k := z.key(t, "one.test", "ed25519")
	m := seal(t, k, message, None)
	m = seal(t, k, strings.Replace(m, "Hello", "Hullo", 1), Fail)
	if r := check(t, z, m); r.Status != Fail || !strings.Contains(r.Reason, `cv="fail"`) {
		t.Errorf("%+v", r)
	}
	write := func(text string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
	}
	if _, err := Seal(k, "x", Fail, write(m)); !errors.Is(err, ErrNoSeal) {
		t.Errorf("closed chain: %v", err)
	}
	for _, status := range []Status{None, TempError, ""} {
		if _, err := Seal(k, "x", status, write(seal(t, k, message, None))); err == nil {
			t.Errorf("sealed a chain that is %q", status)
		}
	}
	broken := errors.New("broken")
	if _, err := Seal(k, "x", None, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	// Results cannot break out of their field.
	evil, err := Seal(k, "x; a=\r\n\r\nevil", None, write(message))
	if err != nil || bytes.Contains(evil, []byte("\n\n")) || bytes.Contains(evil, []byte("\nevil")) {
		t.Errorf("%q, %v", evil, err)
	}
}

// TestDkimpy has another implementation verify what we seal, and the other way
// round.
func TestDkimpy(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	lib := filepath.Join(peers.Dir(t, "dkimpy"), "usr/lib/python3/dist-packages")
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	z := zone{}
	ours, theirs := z.key(t, "ours.test", "rsa"), z.key(t, "theirs.test", "rsa")
	der, err := x509.MarshalPKCS8PrivateKey(theirs.Signer)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	var dns strings.Builder
	for name, text := range z {
		fmt.Fprintf(&dns, "%q: %q,", name+".", text)
	}
	run := func(code, in string) string {
		t.Helper()
		script := "import sys, dkim\nzone = {" + dns.String() + "}\n" +
			"def txt(name, timeout=5):\n    return zone.get(name.decode().rstrip('.') + '.', '').encode()\n" +
			"m = sys.stdin.buffer.read()\n" + code
		cmd := exec.Command(python, "-c", script)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+lib)
		cmd.Stdin = strings.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				t.Logf("%s", exit.Stderr)
			}
			t.Fatal(err)
		}
		return string(out)
	}
	const verify = "print((dkim.arc_verify(m, dnsfunc=txt)[0] or b'none').decode())"
	sign := "k = open('" + keyFile + "', 'rb').read()\n" +
		"sys.stdout.buffer.write(b''.join(dkim.arc_sign(m, b's', b'theirs.test', k, b'mx.theirs.test')))"
	m := message
	for i := range 2 {
		m = seal(t, ours, m, Pass)
		if got := strings.TrimSpace(run(verify, m)); got != "pass" {
			t.Fatalf("%d: they say %s of\n%s", i, got, m)
		}
		// They seal what an Authentication-Results field in their name says.
		if i == 0 {
			m = "Authentication-Results: mx.theirs.test; arc=pass; spf=pass smtp.mfrom=ann@a.test\r\n" + m
		}
		fields := run(sign, m)
		if !strings.Contains(fields, "ARC-Seal") {
			t.Fatalf("%d: they do not seal", i)
		}
		m = fields + m
		if r := check(t, z, m); r.Status != Pass || len(r.Sealers) != 2*i+2 {
			t.Fatalf("%d: %+v of\n%s", i, r, m)
		}
	}
	if got := strings.TrimSpace(run(verify, strings.Replace(m, "Hello", "Hullo", 1))); got == "pass" {
		t.Error("they take a changed body")
	}
}

// Fields are taken from below, each once, in any case of their names.
func TestPick(t *testing.T) {
	h, _, err := rfc5322.ParseHeader([]byte("A: 1\nb: 2\na: 3\nC: 4\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range pick(h, []string{"a", "A", "x", "a", "B", "c"}) {
		got += f.Unfolded()
	}
	if got != "3124" {
		t.Errorf("fields %s", got)
	}
}

func FuzzVerify(f *testing.F) {
	z := zone{}
	k := z.key(f, "one.test", "ed25519")
	f.Add(seal(f, k, message, None))
	f.Add("ARC-Seal: i=1; ;;\nARC-Message-Signature: i=1\nARC-Authentication-Results: i=1\n\n")
	f.Add("ARC-Authentication-Results: i=50;\n\nx")
	f.Fuzz(func(t *testing.T, msg string) {
		h, at, err := rfc5322.ParseHeader([]byte(msg))
		if err != nil {
			return
		}
		r := Verify(context.Background(), z.txt, h, strings.NewReader(msg[at:]))
		if (r.Status == Pass) != (len(r.Sealers) > 0) {
			t.Fatalf("%+v", r)
		}
		fields, err := Seal(k, "mx; x=y", r.Status, func(w io.Writer) error { _, err := io.WriteString(w, msg); return err })
		if err != nil || r.Status == Fail {
			return
		}
		whole := string(fields) + msg
		h, at, err = rfc5322.ParseHeader([]byte(whole))
		if err != nil {
			return // one field too many
		}
		if r := Verify(context.Background(), z.txt, h, strings.NewReader(whole[at:])); r.Status != Pass {
			t.Fatalf("what we seal is %+v:\n%q", r, whole)
		}
	})
}
