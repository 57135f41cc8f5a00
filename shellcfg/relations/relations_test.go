package relations

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tmpfile writes a file that looks settled and returns its path.
func tmpfile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	put(t, path, text, time.Hour)
	return path
}

func put(t testing.TB, path, text string, age time.Duration) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	when := time.Now().Add(-age)
	if err := os.Chtimes(path+".tmp", when, when); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, spec Spec) *Relation { return openIn(t, Env{}, spec) }

func openIn(t testing.TB, env Env, spec Spec) *Relation {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "table"
	}
	r, err := env.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// expect looks keys up; the value "-" means not found.
func expect(t *testing.T, tab Table, keyValue ...string) {
	t.Helper()
	for i := 0; i < len(keyValue); i += 2 {
		got, found, err := tab.Lookup(t.Context(), keyValue[i])
		if err != nil {
			t.Errorf("Lookup(%q): %v", keyValue[i], err)
			continue
		}
		if !found {
			got = "-"
		}
		if got != keyValue[i+1] {
			t.Errorf("Lookup(%q) = %q, want %q", keyValue[i], got, keyValue[i+1])
		}
	}
}

func TestText(t *testing.T) {
	path := tmpfile(t, "routes", "# routes\n\nexample.org\tsmtp!mx.example.org  \r\n"+
		"  .example.net   smtp![192.0.2.1] # no comment here\n  # indented comment\nlonely\nExample.COM x\nlonely again")
	expect(t, open(t, Spec{Type: "text", File: path}),
		"example.org", "smtp!mx.example.org", ".example.net", "smtp![192.0.2.1] # no comment here",
		"lonely", "", "Example.COM", "x", "example.com", "-", "", "-", "#", "-", "EXAMPLE.ORG", "-",
		"$(reboot)", "-", "a\nb", "-", "\x00source", "-", strings.Repeat("x", maxKey+1), "-")
	expect(t, open(t, Spec{Type: "text", File: path, Lower: true}), "EXAMPLE.org", "smtp!mx.example.org", "example.COM", "x")
	expect(t, open(t, Spec{Type: "text", File: path, Upper: true}), "example.org", "smtp!mx.example.org")

	r := open(t, Spec{Type: "text", File: path})
	warnings, err := r.Check(t.Context())
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "routes:8: \"lonely\" again, the value of line 6") {
		t.Errorf("Check = %v, %v", warnings, err)
	}
	if n, ok, err := r.Len(t.Context()); n != 4 || !ok || err != nil {
		t.Errorf("Len = %d, %v, %v", n, ok, err)
	}
}

func TestTextErrors(t *testing.T) {
	path := tmpfile(t, "t", "good x\nbad\x00key x\n"+strings.Repeat("k", maxKey+1)+" x\n")
	_, err := Open(Spec{Name: "n", Type: "text", File: path})
	if err == nil || !strings.Contains(err.Error(), "t:2: NUL") || !strings.Contains(err.Error(), "t:3: key of 65537 bytes") {
		t.Errorf("Open = %v", err)
	}
	big := filepath.Join(t.TempDir(), "big")
	put(t, big, "", time.Hour)
	if err := os.Truncate(big, maxText+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Spec{Name: "n", Type: "text", File: big}); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("Open of a huge file = %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	for _, typ := range []string{"text", "aliases", "cdb", "regexp"} {
		spec := Spec{Name: "n", Type: typ, File: path, Eager: true}
		if _, err := Open(spec); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Open = %v, want not exist", typ, err)
		}
		r, err := Env{Watch: time.Nanosecond}.Declare(spec)
		if err != nil {
			t.Errorf("%s: Declare = %v", typ, err)
			continue
		}
		if _, found, err := r.Lookup(t.Context(), "k"); found || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Lookup = %v, %v; want an error", typ, found, err)
		}
		if s := r.Stats(); s.Failures != 1 || s.Lookups != 1 {
			t.Errorf("%s: %+v", typ, s)
		}
	}
	r, err := Declare(Spec{Name: "n", Type: "text", File: path, Eager: true})
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, "k v\n", time.Hour)
	expect(t, r, "k", "v")
}

// Declare is Env.Declare in the empty environment.
func Declare(spec Spec) (*Relation, error) { return Env{}.Declare(spec) }

func TestReloadAndPin(t *testing.T) {
	path := tmpfile(t, "t", "k old\n")
	for _, cache := range []int{0, 10} {
		put(t, path, "k old\n", time.Hour)
		r := open(t, Spec{Type: "text", File: path, Eager: true, Cache: cache})
		pinned := Pin(t.Context())
		ask := func(ctx context.Context) string {
			v, _, err := r.Lookup(ctx, "k")
			if err != nil {
				t.Error(err)
			}
			return v
		}
		if v := ask(pinned); v != "old" {
			t.Errorf("got %q", v)
		}
		put(t, path, "k new\n", time.Minute)
		if v := ask(t.Context()); v != "new" {
			t.Errorf("cache %d: after the change %q", cache, v)
		}
		if v := ask(pinned); v != "old" {
			t.Errorf("cache %d: pinned version changed to %q", cache, v)
		}
		put(t, path, "k\x00 broken\n", time.Second*30)
		if v := ask(t.Context()); v != "new" {
			t.Errorf("cache %d: broken file gave %q", cache, v)
		}
		if _, err := r.Check(t.Context()); err == nil {
			t.Error("Check is silent about a broken file")
		}
	}
}

func TestSearch(t *testing.T) {
	text := "foo.bar.edu exact\n.foo.bar.edu self\n.bar.edu bar\n.edu edu\n. all\nnodot.org plain\n" +
		"u@foo.bar.edu user\n@foo.bar.edu domain\n"
	path := tmpfile(t, "t", text)
	tests := []struct {
		driver string
		kv     []string
	}{
		{"", []string{"foo.bar.edu", "exact", "x.bar.edu", "-"}},
		{"longestmatch", []string{"foo.bar.edu", "exact", "x.foo.bar.edu", "self", "y.bar.edu", "bar", "bar.edu", "edu", "com", "all", ".bar.edu", "bar", "..", "all", ".", "all"}},
		{"pathalias", []string{"foo.bar.edu", "exact", "bar.edu", "bar", "edu", "edu", "q.edu", "edu", "x.com", "all"}},
		{"pathalias.nodot", []string{"www.nodot.org", "plain", "nodot.org", "plain", "x.com", "-"}},
		{"at", []string{"u@foo.bar.edu", "user", "v@foo.bar.edu", "domain", "\"a@b\"@foo.bar.edu", "domain", "v@bar.edu", "-", "v", "-", "@foo.bar.edu", "domain"}},
		{"pathalias.at", []string{"u@foo.bar.edu", "user", "v@foo.bar.edu", "exact", "v@x.edu", "edu", "v@com", "all", "v", "all"}},
	}
	for _, tt := range tests {
		t.Run(tt.driver, func(t *testing.T) {
			expect(t, open(t, Spec{Type: "text", File: path, Driver: tt.driver}), tt.kv...)
		})
	}
}

func TestSearchIsBounded(t *testing.T) {
	for name, d := range drivers {
		if d.search == nil {
			continue
		}
		for _, key := range []string{strings.Repeat("a.", 32000), strings.Repeat(".", 60000), "@", "", "a@" + strings.Repeat("b.", 30000), strings.Repeat("@", 60000)} {
			n := 0
			for range d.search(key, true) {
				n++
			}
			if n > maxSteps+5 {
				t.Errorf("%s: %d steps for a key of %d bytes", name, n, len(key))
			}
		}
	}
}

func TestNetworks(t *testing.T) {
	path := tmpfile(t, "t", "192.0.2.0/24 net\n192.0.2.1 host\n192.0.2.2/32 host32\n10.0.0.0/8 ten\n2001:DB8::/32 six\n2001:db8:0::5 host6\n")
	expect(t, open(t, Spec{Type: "text", File: path, Driver: "cidr"}),
		"192.0.2.1", "host", "192.0.2.2", "host32", "192.0.2.3", "net", "10.255.0.1", "ten", "11.0.0.1", "-",
		"2001:db8::7", "six", "2001:0db8::5", "host6", "[192.0.2.3]", "net", "[IPv6:2001:db8::7]", "six",
		"::ffff:10.1.1.1", "ten", "example.org", "-", "fe80::1%eth0", "-")
	for _, line := range []string{"10.0.0.1/8 x", "example.org x", "10.0.0.0/33 x"} {
		if _, err := Open(Spec{Name: "n", Type: "text", File: tmpfile(t, "t", line), Driver: "cidr"}); err == nil || !strings.Contains(err.Error(), "t:1: ") {
			t.Errorf("%q: %v", line, err)
		}
	}
	expect(t, open(t, Spec{Type: "text", File: tmpfile(t, "t", "0.0.0.0/0 four\n::/0 six\n. all"), Driver: "cidr"}),
		"1.2.3.4", "four", "::1", "six")
	expect(t, open(t, Spec{Type: "text", File: tmpfile(t, "t", ". all"), Driver: "cidr"}), "1.2.3.4", "all")
}

func TestAskWithArguments(t *testing.T) {
	path := tmpfile(t, "t", ".example.org %0!%1!%9!%%!%x!100%\n.:ERROR error!%1\nempty\n")
	r := open(t, Spec{Type: "text", File: path, Driver: "pathalias", Subst: true})
	ask := func(args ...string) string {
		q, err := ParseQuery(args)
		if err != nil {
			t.Fatal(err)
		}
		v, found, err := r.Ask(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return "-"
		}
		return v
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"a.b.example.org", "one"}, "a.b!one!!%!%x!100%"},
		{[]string{"example.com", "-:", ".:sender", "-:", ".:ERROR", "--", "why"}, "error!why"},
		{[]string{"example.com", "x"}, "-"},
		{[]string{"a.example.org", "--", "%0$(x)"}, "a!%0$(x)!!%!%x!100%"},
	} {
		if got := ask(tt.args...); got != tt.want {
			t.Errorf("%q = %q, want %q", tt.args, got, tt.want)
		}
	}
	for _, args := range [][]string{{}, {"k", "-:"}, append([]string{"k"}, make([]string, 29)...)} {
		if _, err := ParseQuery(args); err == nil {
			t.Errorf("ParseQuery(%q) succeeded", args)
		}
	}
	r = open(t, Spec{Type: "text", File: path, KeyElse: true})
	expect(t, r, "none", "none", "empty", "empty")
	expect(t, open(t, Spec{Type: "text", File: path, KeyOnHit: true, Lower: true}), "EMPTY", "EMPTY", "none", "-")
}

// counter is a table that counts and can fail.
type counter struct {
	n   int
	err error
}

func (c *counter) Lookup(_ context.Context, key string) (string, bool, error) {
	c.n++
	return "v", key != "none", c.err
}

func TestCache(t *testing.T) {
	src := &counter{}
	r := &Relation{spec: Spec{Cache: 10, Negative: true}, table: src, cache: newCache(Spec{Cache: 10})}
	for range 3 {
		expect(t, r, "k", "v", "none", "-")
	}
	if s := r.Stats(); src.n != 2 || s.Cached != 4 || s.Hits != 3 || s.Misses != 3 || s.Lookups != 6 {
		t.Errorf("asked %d times, %+v", src.n, s)
	}
	src.err = errors.New("down")
	for range 2 {
		if _, _, err := r.Lookup(t.Context(), "other"); err == nil {
			t.Error("a failure was lost")
		}
	}
	if src.n != 4 {
		t.Error("a failure was cached")
	}
	src.err = nil
	expect(t, r, "other", "v")
	r = &Relation{spec: Spec{Cache: 10}, table: src, cache: newCache(Spec{Cache: 10})}
	before := src.n
	expect(t, r, "none", "-", "none", "-")
	if src.n != before+2 {
		t.Error("a miss was cached without -N")
	}
	// Different default keys are different questions.
	r = open(t, Spec{Type: "text", File: tmpfile(t, "t", "a 1\nb 2\n"), Cache: 10})
	for want, def := range map[string]string{"1": "a", "2": "b"} {
		if v, _, err := r.Ask(t.Context(), Query{Key: "x", Defaults: []string{def}}); v != want || err != nil {
			t.Errorf("default %s: %q, %v", def, v, err)
		}
	}
}

func TestParseSpec(t *testing.T) {
	s, err := ParseSpec(strings.Fields("-lmN -t cdb -f /db/aliases -d pathalias -s200 -e 90 -% -o a=b=c -o d= aliases"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "aliases" || s.Type != "cdb" || s.File != "/db/aliases" || !s.Lower || !s.Eager || !s.Negative || !s.Subst ||
		s.Driver != "pathalias" || s.Cache != 200 || s.TTL != 90*time.Second || s.Options["a"] != "b=c" || len(s.Options) != 2 {
		t.Errorf("got %+v", s)
	}
	if s, err := ParseSpec([]string{"-t", "dns/mx", "mx"}); err != nil || s.Type != "dns" || s.Sub != "mx" {
		t.Errorf("got %+v, %v", s, err)
	}
	for args, want := range map[string]string{
		"":                "need one name for the table, got 0",
		"-t text a b":     "got 2",
		"-t":              "requires an argument",
		"-x n":            "invalid option -- 'x'",
		"-s many n":       "not a number between 0",
		"-e soon n":       "not a time such as",
		"-d nearest n":    "unknown driver \"nearest\"; drivers are at, cidr, exact",
		"-o timeout n":    "is not NAME=VALUE",
		"-o a=1 -o a=2 n": "a is given twice",
		"-t text a=b":     "cannot be the name of a command",
		"-t text $(x)":    "cannot be the name of a command",
		"-t text 1a":      "cannot be the name of a command",
	} {
		if _, err := ParseSpec(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSpec(%q) = %v, want %q", args, err, want)
		}
	}
}

func TestDeclareErrors(t *testing.T) {
	for args, want := range map[string]string{
		"n":                              "relation n: -t is missing; types are aliases, cdb, dns",
		"-t nis n":                       "unknown type \"nis\"",
		"-t text n":                      "type text needs -f with a file of keys",
		"-t incore -f x n":               "type incore takes no -f",
		"-lu -t incore n":                "exclude each other",
		"-u -t aliases -f x n":           "-u cannot find any",
		"-m -t incore n":                 "-m is for types that read a file",
		"-t incore -N n":                 "need a cache",
		"-t dns,ns n":                    "type dns has no subtype \"ns\"; there are addr",
		"-t text,x -f x n":               "type text has no subtype \"x\"",
		"-t text -f x -o a=b n":          "type text has no option \"a\"",
		"-t socketmap -f tcp:x n":        "is neither inet:HOST:PORT:MAP",
		"-t socketmap -f unix:/x n":      "is neither inet:HOST:PORT:MAP",
		"-t socketmap -f inet:h:m n":     "is neither inet:HOST:PORT:MAP",
		"-t program -f x -o timeout=0 n": "-o timeout",
		"-t socketmap -f unix:/x:m -o connections=0 n": "-o connections",
	} {
		s, err := ParseSpec(strings.Fields(args))
		if err != nil {
			t.Errorf("ParseSpec(%q): %v", args, err)
			continue
		}
		if _, err := Declare(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Declare(%q) = %v, want %q", args, err, want)
		}
	}
}

func TestIncore(t *testing.T) {
	r := open(t, Spec{Type: "incore", Lower: true, Cache: 5, Negative: true})
	expect(t, r, "k", "-")
	if err := r.Add("K", "v"); err != nil {
		t.Fatal(err)
	}
	expect(t, r, "k", "v")
	if err := errors.Join(r.Add("b", "2"), r.Add("a", "1")); err != nil || list(t, r) != "a=1:0 b=2:0 k=v:0 " {
		t.Errorf("Each: %s, %v", list(t, r), err)
	}
	stop := errors.New("stop")
	if err := r.Each(t.Context(), func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Each = %v", err)
	}
	if err := open(t, Spec{Type: "passwd"}).Each(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Each = %v", err)
	}
	if r.Add("", "v") == nil || r.Add("a\x00", "v") == nil {
		t.Error("an impossible key was added")
	}
	if open(t, Spec{Type: "text", File: tmpfile(t, "t", "")}).Add("a", "b") == nil {
		t.Error("a text table was changed")
	}
}

func TestRegexp(t *testing.T) {
	path := tmpfile(t, "t", "# rules\n^(.*)-owner@lists$ owner!$1\n/^a b\\/c$/i blank $0 $$ ${0}x\n^no$\n(x)|(y) <$1><$2>\n")
	r := open(t, Spec{Type: "regexp", File: path})
	expect(t, r, "news-owner@lists", "owner!news", "A B/C", "blank A B/C $ A B/Cx", "no", "", "NO", "-", "y", "<><y>",
		"$(x)\n`y`", "<x><>")
	expect(t, open(t, Spec{Type: "regexp", File: path, Lower: true}), "NO", "")
	for line, want := range map[string]string{
		"( x": "missing closing", "^a$ $1": "groups 0 to 0", "a $x": "a dollar is written $$", "a ${1": "without '}'",
		"/a": "no closing", "/a/q x": "unknown flags", "a $99999999999999999999": "groups 0 to 0",
	} {
		_, err := Open(Spec{Name: "n", Type: "regexp", File: tmpfile(t, "t", "ok ok\n"+line)})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "t:2: ") {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("# c\nkey value\n\tx\n")
	f.Add("\x00\nk\r\n")
	f.Fuzz(func(t *testing.T, data string) {
		e, err := parseText(data, "f", func(k string) (string, error) { return lower(k), nil })
		if err != nil {
			return
		}
		for k := range e.items {
			if k == "" || strings.ContainsAny(k, " \t\n\x00") {
				t.Errorf("key %q", k)
			}
		}
	})
}

func FuzzRegexp(f *testing.F) {
	f.Add("^(a)(b)? $1${2}$$\n/x y/i z", "ab")
	f.Fuzz(func(t *testing.T, data, key string) {
		r, err := parseRules(data, "f", false)
		if err != nil {
			return
		}
		for _, rule := range r.list {
			if m := rule.re.FindStringSubmatchIndex(key); m != nil {
				if _, err := rule.value.expand(key, m); err != nil && len(key) < 1000 {
					t.Error(err)
				}
			}
		}
	})
}

func BenchmarkText(b *testing.B) {
	r := open(b, Spec{Type: "text", File: tmpfile(b, "t", userLines(100000, " ")), Lower: true})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := r.Lookup(ctx, "user77777"); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkTextDomainWalk(b *testing.B) {
	r := open(b, Spec{Type: "text", File: tmpfile(b, "t", "x.example.org y\n. z\n"), Lower: true, Driver: "longestmatch"})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := r.Lookup(ctx, "mail.cs.uni.example"); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkCIDR(b *testing.B) {
	r := open(b, Spec{Type: "text", File: tmpfile(b, "t", "10.0.0.0/8 y\n"), Driver: "cidr"})
	ctx := b.Context()
	for b.Loop() {
		if _, ok, err := r.Lookup(ctx, "192.0.2.1"); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
