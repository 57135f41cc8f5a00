package saslauth

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func cheapHash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

var hashes = map[string]bool{
	"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ":            true,
	"{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ":  true,
	"$2b$04$abcdefghijklmnopqrstuuP8S3XmUnzOHnDm6m4fCb8Sk9U0MJkO2":              true,
	"{CRYPT}$5$rounds=1000$salt$TuFYdPcfMZJlPtMwhWBqsd40TmVy4lrW1Ob1Dr7BKM1":    true,
	"$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ":            false,
	"$argon2id$v=19$m=64,t=1,p=0$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ":            false,
	"$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ":      false,
	"$argon2id$v=19$m=64,t=1,p=1$$":                                             false,
	"$argon2id$v=19$m=64,t=1,p=1 x$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ":          false,
	"$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ":             false,
	"$5$rounds=99999999$salt$TuFYdPcfMZJlPtMwhWBqsd40TmVy4lrW1Ob1Dr7BKM1":       false,
	"$6$salt$TuFYdPcfMZJlPtMwhWBqsd40TmVy4lrW1Ob1Dr7BKM1":                       false,
	"$5$longerthansixteen$TuFYdPcfMZJlPtMwhWBqsd40TmVy4lrW1Ob1Dr7BKM1":          false,
	"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7": false,
	"SCRAM-SHA-256$1:c2FsdA==$AA==:AA==":                                        false,
	"$1$salt$hash":                                                              false, "secret": false, "": false, "$2b$": false, "$6$": false, "{CRYPT}": false,
}

func TestParseHash(t *testing.T) {
	for s, want := range hashes {
		h, err := ParseHash(s)
		if (err == nil) != want {
			t.Errorf("%s: %v", s, err)
		}
		if err == nil && h.matches("x") {
			t.Errorf("%s matches", s)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	for s := range hashes {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHash(s)
		if (h == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", s, h, err)
		}
		if k, err := ParseKeys(s); err == nil {
			if again, err := ParseKeys(k.String()); err != nil || again.String() != k.String() {
				t.Errorf("%q: %v, %v", s, again, err)
			}
		}
	})
}

// TestSHACrypt compares with the implementation of OpenSSL.
func TestSHACrypt(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip(err)
	}
	long := strings.Repeat("0123456789abcdef", 9)
	for _, kind := range []string{"-5", "-6"} {
		for _, password := range []string{"x", "secret", "pass wörd", long[:31], long[:32], long[:33], long[:64], long[:65], long} {
			for _, salt := range []string{"s", "saltsalt", "0123456789./AZaz", "rounds=1234$salt"} {
				out, err := exec.Command(openssl, "passwd", kind, "-salt", salt, password).Output()
				if err != nil {
					t.Fatal(err)
				}
				text := strings.TrimSpace(string(out))
				h, err := ParseHash(text)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if !h.matches(password) || h.matches(password+"x") {
					t.Errorf("%s is not the hash of %s", text, password)
				}
			}
		}
	}
}

func TestFile(t *testing.T) {
	line, err := Line("ann", "pass word", true)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "passwords")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(line + "\n")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(user, password string, want bool) {
		t.Helper()
		if ok, err := f.Check(context.Background(), user, password); err != nil || ok != want {
			t.Errorf("%s %s: %v, %v", user, password, ok, err)
		}
	}
	check("ann", "pass word", true)
	check("ann", "password", false)
	check("joe", "pass word", false)
	check("", "", false)
	if !f.HasKeys() {
		t.Error("no keys")
	}
	_, keys, _ := strings.Cut(line, " ")
	write(line + "\njoe:" + cheapHash(t, "x") + "\nsue:" + keys + "\n")
	check("joe", "x", true)
	check("sue", "pass word", true)
	check("sue", "x", false)
	if f.HasKeys() {
		t.Error("joe has no keys")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	for range cap(f.gate) {
		f.gate <- struct{}{}
	}
	if _, err := f.Check(ctx, "joe", "x"); err == nil {
		t.Error("no wait for one's turn")
	}
	for text, want := range map[string]string{
		"joe\n": "passwords:1: want user:hash", "# x\njoe:$1$a$b\n": "passwords:2: user joe: want a hash",
		"a:" + keys + "\na:" + keys + "\n": "passwords:2: user a is there twice", "joe:" + cheapHash(t, "x") + " y\n": "SCRAM-SHA-256$",
		"joe:" + strings.Repeat("x", maxLine+1): "passwords:1: ",
	} {
		write(text)
		if _, err := f.Check(context.Background(), "joe", "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Check(context.Background(), "joe", "x"); err == nil {
		t.Error("no file is no answer")
	}
}

// TestShadow reads a file of the system's form.
func TestShadow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shadow")
	text := "root:*:19000:0:99999:7:::\njoe:" + cheapHash(t, "x") + ":19000:0:99999:7:::\nann:!" + cheapHash(t, "x") +
		":1::::::\nempty::1::::::\nyes:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7:1::::::\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenShadow(path)
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]bool{"joe": true, "root": false, "ann": false, "empty": false, "nobody": false} {
		if ok, err := f.Check(context.Background(), user, "x"); ok != want || err != nil {
			t.Errorf("%s: %v, %v", user, ok, err)
		}
	}
	if ok, err := f.Check(context.Background(), "empty", ""); ok || err != nil {
		t.Errorf("empty password: %v, %v", ok, err)
	}
	if ok, err := f.Check(context.Background(), "yes", "x"); ok || err == nil || !strings.Contains(err.Error(), "yescrypt") {
		t.Errorf("yescrypt: %v, %v", ok, err)
	}
}

// TestTable looks hashes up.
func TestTable(t *testing.T) {
	rows := map[string]string{"joe": cheapHash(t, "x"), "bad": "nonsense"}
	table := NewTable("users", func(_ context.Context, key string) (string, bool, error) {
		if key == "down" {
			return "", false, context.DeadlineExceeded
		}
		v, ok := rows[key]
		return v, ok, nil
	})
	for _, tt := range []struct {
		user, password string
		ok, fails      bool
	}{{"joe", "x", true, false}, {"joe", "y", false, false}, {"nobody", "x", false, false}, {"bad", "x", false, true}, {"down", "x", false, true}} {
		if ok, err := table.Check(context.Background(), tt.user, tt.password); ok != tt.ok || (err != nil) != tt.fails {
			t.Errorf("%s: %v, %v", tt.user, ok, err)
		}
	}
}

// TestAny asks several places.
func TestAny(t *testing.T) {
	say := func(ok bool, err error) Checker {
		return CheckerFunc(func(context.Context, string, string) (bool, error) { return ok, err })
	}
	down := context.DeadlineExceeded
	for _, tt := range []struct {
		list      Any
		ok, fails bool
	}{
		{Any{}, false, false},
		{Any{say(false, nil), say(true, nil)}, true, false},
		{Any{say(true, nil), say(false, down)}, true, false},
		{Any{say(false, nil), say(false, down)}, false, true},
		{Any{say(true, down), say(false, nil)}, false, true},
		{Any{say(false, nil), say(false, nil)}, false, false},
	} {
		if ok, err := tt.list.Check(context.Background(), "u", "p"); ok != tt.ok || (err != nil) != tt.fails {
			t.Errorf("%+v: %v, %v", tt, ok, err)
		}
	}
}

func TestPrepare(t *testing.T) {
	for in, want := range map[string]string{
		"joe": "joe", "I\u00adX": "IX", "\u00aa": "a", "\u2168": "IX", "a\u00a0b": "a b", "u\u0308": "\u00fc",
	} { // RFC 4013 §3, and two more
		if got := prepare(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
