package dkim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"zmailer/spool/rfc5322"
)

func generate(t *testing.T, dir, domain, selector, kind string) *Key {
	t.Helper()
	p := Place{Dir: dir, UID: os.Getuid(), GID: os.Getgid()}
	k, _, err := p.Generate(domain, selector, kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verify checks a message with the records of keys, by another implementation and
// by ours, which must agree.
func verify(t *testing.T, message string, keys ...*Key) []*dkim.Verification {
	t.Helper()
	v, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		for _, k := range keys {
			if k.Name() == name {
				text, err := k.Record()
				return []string{text}, err
			}
		}
		return nil, fmt.Errorf("no key %s", name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	own := verifyOwn(t, message, func(name string) (string, error) {
		for _, k := range keys {
			if k.Name() == name {
				return k.Record()
			}
		}
		return "", ErrNoKey
	})
	for i := range v {
		if (v[i].Err == nil) != (own[i].Status == Pass) {
			t.Errorf("the other says %v, we %+v", v[i].Err, own[i])
		}
	}
	return v
}

// sign signs a message that is written in pieces of n octets.
func sign(t *testing.T, message string, n int, keys ...*Key) string {
	t.Helper()
	fields, err := Sign(keys, func(w io.Writer) error {
		for b := []byte(message); len(b) > 0; {
			k := min(n, len(b))
			if _, err := w.Write(b[:k]); err != nil {
				return err
			}
			b = b[k:]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(fields), "\r") {
		t.Errorf("CR in %q", fields)
	}
	return strings.ReplaceAll(string(fields), "\n", "\r\n") + message
}

func TestSign(t *testing.T) {
	dir := t.TempDir()
	rsaKey, edKey := generate(t, dir, "a.test", "r1", "rsa"), generate(t, dir, "a.test", "e1", "ed25519")
	const header = "From: ann@a.test\r\nTo: joe@b.test\r\nSubject: on\r\n two lines\r\n\r\n"
	for _, body := range []string{"", "\r\n\r\n", "x\r\n", "a  b \t\r\n.\r\n..\r\n\r\n\r\n", "no end", strings.Repeat("0123456789abcdef\r\n", 20000)} {
		for _, n := range []int{1, 7, 1 << 20} {
			if n == 1 && len(body) > 1000 {
				continue
			}
			whole := sign(t, header+body, n, rsaKey, edKey)
			v := verify(t, whole, rsaKey, edKey)
			if len(v) != 2 || v[0].Err != nil || v[1].Err != nil || v[0].Domain != "a.test" {
				t.Fatalf("%.40q by %d: %+v", body, n, v)
			}
			for _, line := range strings.Split(whole[:strings.Index(whole, "\r\n\r\n")], "\r\n") {
				if len(line) > 998 {
					t.Errorf("line of %d octets", len(line))
				}
			}
		}
	}
}

// What is added to or changed in a signed message breaks the signature, but for
// fields that are not the reader's business.
func TestOversigned(t *testing.T) {
	key := generate(t, t.TempDir(), "a.test", "e1", "ed25519")
	whole := sign(t, "From: ann@a.test\r\nTo: joe@b.test\r\nSubject: x\r\nList-Id: <l.a.test>\r\n\r\nbody\r\n", 100, key)
	for added, ok := range map[string]bool{
		"": true, "Received: from x\r\n": true, "X-Spam: no\r\n": true, "List-Help: <mailto:l@a.test>\r\n": true, "Sender: l@a.test\r\n": true,
		"From: boss@a.test\r\n": false, "Subject: y\r\n": false, "Cc: z@c.test\r\n": false, "Reply-To: evil@c.test\r\n": false,
		"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n": false, "Content-Type: text/html\r\n": false, "MIME-Version: 1.0\r\n": false,
		"Content-Transfer-Encoding: base64\r\n": false, "Message-ID: <1@a.test>\r\n": false,
	} {
		if v := verify(t, added+whole, key); len(v) != 1 || (v[0].Err == nil) != ok {
			t.Errorf("with %q: %v", added, v[0].Err)
		}
	}
	if v := verify(t, strings.Replace(whole, "body", "b0dy", 1), key); v[0].Err == nil {
		t.Error("another body passes")
	}
}

// However many fields there are, the signature has lines as they may be.
func TestLongSignature(t *testing.T) {
	key := generate(t, t.TempDir(), "a.test", "e1", "ed25519")
	var m strings.Builder
	for range 20 {
		for _, name := range append(oversigned[:], signed[:]...) {
			fmt.Fprintf(&m, "%s: x\r\n", name)
		}
	}
	m.WriteString("\r\n")
	whole := sign(t, m.String(), 1000, key)
	for line := range strings.SplitSeq(whole, "\r\n") {
		if len(line) > 998 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	if v := verify(t, whole, key); v[0].Err != nil {
		t.Error(v[0].Err)
	}
}

func TestSignErrors(t *testing.T) {
	key := generate(t, t.TempDir(), "a.test", "e1", "ed25519")
	broken := errors.New("broken")
	if _, err := Sign([]*Key{key}, func(w io.Writer) error {
		if _, err := io.WriteString(w, "From: a@a.test\r\n\r\nx"); err != nil {
			return err
		}
		return broken
	}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := Sign([]*Key{key}, func(w io.Writer) error {
		_, err := io.WriteString(w, "From: a@a.test\r\n")
		return err
	}); !errors.Is(err, errNoHeader) {
		t.Errorf("got %v", err)
	}
	if _, err := Sign([]*Key{key}, func(w io.Writer) error {
		for {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
				return err
			}
		}
	}); !errors.Is(err, rfc5322.ErrTooLarge) {
		t.Errorf("endless header: %v", err)
	}
}

func names(keys []*Key) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k.Name() + " ")
	}
	return strings.TrimSpace(b.String())
}

func header(t *testing.T, from string) rfc5322.Header {
	t.Helper()
	h, _, err := rfc5322.ParseHeader([]byte("From: " + from + "\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestKeysFor(t *testing.T) {
	dir := t.TempDir()
	generate(t, dir, "a.test", "one", "ed25519")
	generate(t, dir, "a.test", "two", "ed25519")
	generate(t, dir, "b.test", "one", "ed25519")
	generate(t, dir, "xn--bcher-kva.test", "one", "ed25519")
	const both, a, b = "one._domainkey.a.test two._domainkey.a.test", "two._domainkey.a.test", "one._domainkey.b.test"
	table := map[string]string{
		"bulk@a.test": "none", "joe@a.test": "a.test/two b.test", ".a.test": "a.test/two", "gone.test": "a.test/three", "bad.test": "../a.test",
	}
	for _, tt := range []struct{ from, plain, tabled string }{
		{"ann@a.test", both, both},
		{"Ann <Ann@A.TEST>, Joe <joe@b.test>", both, both},
		{"bulk@a.test", both, ""},
		{"Joe@a.test", both, a + " " + b},
		{"x@www.a.test", "", a},
		{"x@gone.test", "", "error"},
		{"x@bad.test", "", "error"},
		{"x@c.test", "", ""},
		{"x@bücher.test", "one._domainkey.xn--bcher-kva.test", "one._domainkey.xn--bcher-kva.test"},
		{"x@[192.0.2.1]", "", ""},
		{"x@..", "", ""},
		{"", "", ""},
		{"joe", "", ""},
	} {
		for _, with := range []bool{false, true} {
			k := Keys{Dir: dir}
			want := tt.plain
			if with {
				k.Table = func(_ context.Context, key string) (string, bool, error) {
					v, ok := table[key]
					return v, ok, nil
				}
				want = tt.tabled
			}
			keys, err := k.For(t.Context(), header(t, tt.from))
			got := names(keys)
			if err != nil {
				got = "error"
			}
			if got != want {
				t.Errorf("%s, table %v: %s (%v), want %s", tt.from, with, got, err, want)
			}
		}
	}
	broken := Keys{Dir: dir, Table: func(context.Context, string) (string, bool, error) { return "", false, errors.New("down") }}
	if _, err := broken.For(t.Context(), header(t, "x@c.test")); err == nil {
		t.Error("a table without an answer is none")
	}
}

// A key that cannot be used is an error until it is in order again.
func TestUnusable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(path string) error
	}{
		{"others may read", func(p string) error { return os.Chmod(p, 0o640) }},
		{"rubbish", func(p string) error { return os.WriteFile(p, []byte("rubbish\n"), 0o600) }},
		{"public key", func(p string) error {
			return os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), 0o600)
		}},
		{"short", func(p string) error {
			t.Setenv("GODEBUG", "rsa1024min=0")
			k, err := rsa.GenerateKey(rand.Reader, 512)
			if err != nil {
				return err
			}
			return os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}), 0o600)
		}},
		{"directory", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }},
		{"dangling", func(p string) error { return errors.Join(os.Remove(p), os.Symlink("nowhere", p)) }},
		{"huge", func(p string) error { return os.Truncate(p, 10<<20) }},
	} {
		dir := t.TempDir()
		generate(t, dir, "a.test", "good", "ed25519")
		generate(t, dir, "a.test", "one", "ed25519")
		k := Keys{Dir: dir}
		h := header(t, "x@a.test")
		if keys, err := k.For(t.Context(), h); len(keys) != 2 || err != nil {
			t.Fatalf("%v %v", keys, err)
		}
		path := filepath.Join(dir, "a.test/one.pem")
		if err := tt.spoil(path); err != nil {
			t.Fatal(err)
		}
		forget(&k)
		if keys, err := k.For(t.Context(), h); err == nil {
			t.Errorf("%s: %s", tt.name, names(keys))
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		forget(&k)
		if keys, err := k.For(t.Context(), h); len(keys) != 1 || err != nil {
			t.Errorf("%s: after it is gone: %v %v", tt.name, keys, err)
		}
	}
}

// forget makes the keys look again, as a second later.
func forget(k *Keys) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.domains {
		d.checked = time.Time{}
	}
}

func TestGenerate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dkim")
	p := Place{Dir: dir, UID: os.Getuid(), GID: os.Getgid()}
	for _, kind := range []string{"rsa", "ed25519"} {
		k, path, err := p.Generate("a.test", kind, kind)
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", st.Mode(), err)
		}
		read, err := ReadKey(path, "a.test", kind)
		if err != nil || read.Type() != kind {
			t.Fatalf("%v %v", read, err)
		}
		line, err := k.ZoneLine()
		if again, _ := read.ZoneLine(); err != nil || again != line || !strings.HasPrefix(line, kind+"._domainkey.a.test. IN TXT ( \"v=DKIM1; k="+kind+"; p=") {
			t.Errorf("%s, %s, %v", line, again, err)
		}
		for i, s := range strings.Split(line, "\"") {
			if i%2 == 1 && len(s) > 255 {
				t.Errorf("string of %d octets", len(s))
			}
		}
		before, _ := os.ReadFile(path)
		if _, _, err := p.Generate("a.test", kind, kind); !errors.Is(err, os.ErrExist) {
			t.Errorf("replaced: %v", err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Error("the key has changed")
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "a.test")); len(entries) != 2 {
		t.Errorf("%v %v", entries, err)
	}
	for _, bad := range [][3]string{{"", "s", "rsa"}, {"../x", "s", "rsa"}, {"a.test", "a/b", "rsa"}, {"a.test", "", "rsa"}, {"a.test", "s", "dsa"}, {".a.test", "s", "rsa"}} {
		if _, _, err := p.Generate(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKey(b); err == nil {
			key := Key{"a.test", "s", k}
			if _, err := key.ZoneLine(); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for _, kind := range []string{"rsa", "ed25519"} {
		b.Run(kind, func(b *testing.B) {
			p := Place{Dir: b.TempDir(), UID: os.Getuid(), GID: os.Getgid()}
			k, _, err := p.Generate("a.test", "s", kind)
			if err != nil {
				b.Fatal(err)
			}
			message := []byte("From: a@a.test\r\nSubject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sign([]*Key{k}, func(w io.Writer) error { _, err := w.Write(message); return err }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
