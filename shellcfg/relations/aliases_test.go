package relations

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/shellcfg/relations/cdb"
	"zmailer/spool/rfc5322"
)

var aliasFiles = []struct {
	name, in string
	want     []string // key, value ...
	bad      []string // parts of errors
}{
	{name: "plain", in: "postmaster: root\nroot:joe\n", want: []string{"postmaster", "root", "root", "joe"}},
	{name: "case and blanks", in: "Joe.User  :\tjoe@x , ann\r\n", want: []string{"Joe.User", "joe@x, ann"}},
	{name: "continued", in: "list: a,\n\tb,\n  c\nnext: d", want: []string{"list", "a, b, c", "next", "d"}},
	{name: "continued without comma at the end", in: "list: a\n , b", want: []string{"list", "a, b"}},
	{name: "key alone on its line", in: "list:\n a,\n b\n", want: []string{"list", "a, b"}},
	{name: "comments", in: "# top\nlist: a,\n# inside\n  # indented\n\n b\n#end", want: []string{"list", "a, b"}},
	{name: "hash is no comment in a value", in: "a: b#c", want: []string{"a", "b#c"}},
	{name: "extra commas", in: "a: ,b,, c,\nd: e", want: []string{"a", "b, c", "d", "e"}},
	{name: "quoted keys", in: "\"joe smith\": a\n\"a:b\": c\na\\:b\\ c: d\n\"q\\\"x\": e\n\"x y\"@d: f", want: []string{
		"joe smith", "a", "a:b", "c", "a:b c", "d", "q\"x", "e", "x y@d", "f"}},
	{name: "domains", in: "joe@example.org: a\n@example.org: b\nj@[IPv6:::1]: c", want: []string{
		"joe@example.org", "a", "@example.org", "b", "j@[IPv6:::1]", "c"}},
	{name: "programs", in: `p: "|/bin/prog -a, x"` + "\nq: |\"/bin/prog a, \\\"b\\\"\"\nr: |/bin/prog a b, c\ns: | prog", want: []string{
		"p", `"|/bin/prog -a, x"`, "q", `"|/bin/prog a, \"b\""`, "r", `"|/bin/prog a b", c`, "s", `"|prog"`}},
	{name: "includes", in: "l: :include:/etc/list\nm: \":include:/etc/a b\", :Include: /x", want: []string{
		"l", `":include:/etc/list"`, "m", `":include:/etc/a b", ":include:/x"`}},
	{name: "backslash user", in: `joe: \joe, "\\joe", joe@x`, want: []string{"joe", `"\\joe", "\\joe", joe@x`}},
	{name: "files", in: "a: /var/mail/a, \"/dir with blank/b\"", want: []string{"a", `/var/mail/a, "/dir with blank/b"`}},
	{name: "addresses", in: "a: \"Q, Joe\" <joe@x>, (c, omment) ann@y, <@a,@b:c@d>", want: []string{
		"a", `"Q, Joe" <joe@x>, (c, omment) ann@y, <@a,@b:c@d>`}},
	{name: "utf-8", in: "jürgen: jürgen@x", want: []string{"jürgen", "jürgen@x"}},
	{name: "empty", in: "\n\n# nothing\n"},
	{name: "errors have their lines", in: "ok: a\nno colon here\nnocolon\n: x\nempty:\nempty2: ,\n" +
		"q: \"open\n\"k: v\nc: (open\nlt: <a\nctl: a\x01b\nk\x01: v\nfine: b\n", want: []string{"ok", "a", "fine", "b"},
		bad: []string{"f:2: no colon after the key \"no\"", "f:3: no colon", "f:4: no key", "f:5: \"empty\" has no address",
			"f:6: \"empty2\" has no", "f:7: quote is not closed", "f:8: quote in the key", "f:9: comment is not closed",
			"f:10: '<' without", "f:11: control character 0x1", "f:12: control character in the key"}},
	{name: "error in a continuation", in: "l: a,\n \"b\n c\nm: d", want: []string{"m", "d"}, bad: []string{"f:2: quote"}},
	{name: "continuation of nothing", in: "  a: b\nc: d", want: []string{"c", "d"}, bad: []string{"f:1: continues an entry"}},
	{name: "missing comma", in: "a: b\n c\nd: e f\ng: h # no comment\ni: (only)\nj: \"k l\"@m", bad: []string{
		"f:1: address \"b c\"", "f:3: address \"e f\"", "f:4: address \"h # no comment\"", "f:5: address \"(only)\": 0 addresses"},
		want: []string{"j", `"k l"@m`}},
	{name: "long command", in: "p: |" + strings.Repeat("x", 2000), want: []string{"p", `"|` + strings.Repeat("x", 2000) + `"`}},
	{name: "nul", in: "a: b\x00c", bad: []string{"f:1: control character 0x0"}},
}

func parseAll(in string) (got []string, bad *problems) {
	bad = &problems{}
	parseAliases(in, "f", bad, func(a alias) { got = append(got, a.key, a.value) })
	return got, bad
}

func TestParseAliases(t *testing.T) {
	for _, tt := range aliasFiles {
		t.Run(tt.name, func(t *testing.T) {
			got, bad := parseAll(tt.in)
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if bad.n != len(tt.bad) {
				t.Errorf("%d errors, want %d: %v", bad.n, len(tt.bad), bad.err())
			}
			for i, want := range tt.bad {
				if i < len(bad.errs) && !strings.HasPrefix(bad.errs[i].Error(), want) {
					t.Errorf("error %v, want %q", bad.errs[i], want)
				}
			}
		})
	}
}

// FuzzAliases: whatever comes out goes in again and comes out the same.
func FuzzAliases(f *testing.F) {
	for _, tt := range aliasFiles {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, _ := parseAll(in)
		for i := 0; i < len(got); i += 2 {
			if got[i] == "" || got[i+1] == "" || strings.ContainsAny(got[i]+got[i+1], "\x00\n\r") {
				t.Fatalf("entry %q: %q", got[i], got[i+1])
			}
			again, bad := parseAll("k: " + got[i+1])
			if bad.n != 0 || len(again) != 2 || again[1] != got[i+1] {
				t.Fatalf("%q becomes %q, %v", got[i+1], again, bad.err())
			}
			// The router cuts the value at the same commas.
			if parts := rfc5322.SplitList(got[i+1]); strings.Join(parts, ", ") != got[i+1] {
				t.Fatalf("%q is cut to %q", got[i+1], parts)
			}
		}
	})
}

func TestAliasesTable(t *testing.T) {
	path := tmpfile(t, "aliases", "Root: joe\nlist: a,\n b\nROOT: again\n")
	r := open(t, Spec{Type: "aliases", File: path})
	expect(t, r, "root", "joe", "ROOT", "joe", "List", "a, b", "joe", "-", "\x00source", "-")
	if got := list(t, r); got != "root=joe:1 list=a, b:2 " {
		t.Errorf("Each: %s", got)
	}
	warnings, err := r.Check(t.Context())
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "aliases:4: \"root\" again, the value of line 1") {
		t.Errorf("Check = %v, %v", warnings, err)
	}
	if _, err := Open(Spec{Name: "n", Type: "aliases", File: tmpfile(t, "aliases", "x\n")}); err == nil {
		t.Error("a bad file was opened")
	}
}

func TestBuildAliases(t *testing.T) {
	dir := t.TempDir()
	src, src2, dst := filepath.Join(dir, "aliases"), filepath.Join(dir, "more"), filepath.Join(dir, "aliases.cdb")
	put(t, src, "Root: joe\nlist: a,\n  b\n", time.Hour)
	put(t, src2, "ann: ann@example.org\n", time.Hour)
	var last [2]int64
	st, err := BuildAliases([]string{src, src2}, dst, func(done, total int64) {
		if done < last[0] || done > total {
			t.Errorf("progress from %v to %d of %d", last, done, total)
		}
		last = [2]int64{done, total}
	})
	if want := (BuildStats{Entries: 3, Longest: 15, Bytes: 4 + 3 + 4 + 4 + 3 + 15}); err != nil || st != want {
		t.Fatalf("stats %+v, %v; want %+v", st, err, want)
	}
	if last[0] != last[1] || last[1] == 0 {
		t.Errorf("last progress %v", last)
	}
	r := open(t, Spec{Type: "cdb", File: dst, Lower: true, Eager: true})
	if got := list(t, r); got != "root=joe:0 list=a, b:0 ann=ann@example.org:0 " {
		t.Errorf("Each: %s", got)
	}
	expect(t, r, "ROOT", "joe", "list", "a, b", "ann", "ann@example.org", "none", "-", sourceKey, "-")
	if n, _, err := r.Len(t.Context()); n != 3 || err != nil {
		t.Errorf("Len = %d, %v", n, err)
	}
	if r.Stale() {
		t.Error("fresh table is stale")
	}

	put(t, src, "Root: joe\nbad line\nroot: again\nann: twice\n", time.Minute)
	if !r.Stale() {
		t.Error("Stale does not see the newer source")
	}
	if w, err := r.Check(t.Context()); err != nil || len(w) != 1 || !strings.Contains(w[0].Error(), "older than its source") {
		t.Errorf("Check = %v, %v", w, err)
	}
	_, err = BuildAliases([]string{src, src2}, dst, nil)
	for _, want := range []string{
		src + ":2: no colon after the key \"bad\"", src + ":3: \"root\" again, it is already in " + src + ":1",
		src2 + ":1: \"ann\" again, it is already in " + src + ":4",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	expect(t, r, "list", "a, b") // the old table is in use
	if files, _ := filepath.Glob(dir + "/*.new"); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}

	put(t, src, "new: entry\n", time.Second*30)
	if _, err := BuildAliases([]string{src}, dst, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
	expect(t, r, "new", "entry", "list", "-")
	if err := os.Remove(src); err != nil || r.Stale() {
		t.Errorf("without its source: stale %v, %v", r.Stale(), err)
	}
	if _, err := BuildAliases([]string{src}, dst, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing source: %v", err)
	}
	expect(t, r, "new", "entry")
}

// list writes all entries on one line.
func list(t *testing.T, r *Relation) string {
	t.Helper()
	var b strings.Builder
	err := r.Each(t.Context(), func(e Entry) error {
		fmt.Fprintf(&b, "%s=%s:%d ", e.Key, e.Value, e.Line)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return b.String()
}

func TestBuildManyErrors(t *testing.T) {
	_, err := BuildAliases([]string{tmpfile(t, "a", strings.Repeat("bad\n", 100000))}, filepath.Join(t.TempDir(), "x"), nil)
	if err == nil || !strings.Contains(err.Error(), "and 99950 more") || len(err.Error()) > 10000 {
		t.Errorf("error of %d bytes", len(fmt.Sprint(err)))
	}
}

func TestBuildText(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "x")
	if _, err := BuildText([]string{tmpfile(t, "a", "# c\nKey some value\nlonely\n")}, dst, Spec{Lower: true}, nil); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, Spec{Type: "cdb", File: dst}), "key", "some value", "lonely", "", "Key", "-")
	nets := Spec{Type: "cdb", File: dst, Driver: "cidr"}
	if _, err := BuildText([]string{tmpfile(t, "a", "2001:DB8:0::/48 net\n")}, dst, nets, nil); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, nets), "2001:db8::1", "net")
	if _, err := BuildText([]string{tmpfile(t, "a", "k 1\nx.y 2\n")}, dst, nets, nil); err == nil || !strings.Contains(err.Error(), "a:1: ") {
		t.Errorf("BuildText = %v", err)
	}
}

func TestCDBHostile(t *testing.T) {
	path := tmpfile(t, "x.cdb", strings.Repeat("\xff", 5000))
	if _, err := Open(Spec{Name: "n", Type: "cdb", File: path}); !errors.Is(err, cdb.ErrCorrupt) {
		t.Errorf("Open = %v", err)
	}
	r, err := Declare(Spec{Name: "n", Type: "cdb", File: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.Lookup(t.Context(), "k"); found || err == nil {
		t.Errorf("Lookup = %v, %v; want an error", found, err)
	}
}

func userLines(n int, sep string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%d%ssomebody%d@example.org\n", i, sep, i)
	}
	return b.String()
}

func BenchmarkCDB(b *testing.B) {
	dst := filepath.Join(b.TempDir(), "x")
	if _, err := BuildAliases([]string{tmpfile(b, "a", userLines(100000, ": "))}, dst, nil); err != nil {
		b.Fatal(err)
	}
	r := open(b, Spec{Type: "cdb", File: dst, Lower: true})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := r.Lookup(ctx, "user77777"); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkBuildAliases1M(b *testing.B) {
	src := tmpfile(b, "a", userLines(1000000, ": "))
	dst := filepath.Join(b.TempDir(), "x")
	for b.Loop() {
		if _, err := BuildAliases([]string{src}, dst, nil); err != nil {
			b.Fatal(err)
		}
	}
}
