package rfc5322

import (
	"errors"
	"strings"
	"testing"
)

var addressTests = []struct {
	in   string
	want Address
	ok   bool
	out  string // of String, where it differs from in
}{
	{"joe", Address{"joe", ""}, true, ""},
	{"joe@example.net", Address{"joe", "example.net"}, true, ""},
	{" joe@Example.NET\t", Address{"joe", "Example.NET"}, true, "joe@Example.NET"},
	{"<joe@example.net>", Address{"joe", "example.net"}, true, "joe@example.net"},
	{"<joe>", Address{"joe", ""}, true, "joe"},
	{"<>", Address{}, true, ""},
	{`"joe doe"@example.net`, Address{"joe doe", "example.net"}, true, ""},
	{`"joe"@example.net`, Address{"joe", "example.net"}, true, "joe@example.net"},
	{`"joe\"\\doe"@example.net`, Address{`joe"\doe`, "example.net"}, true, ""},
	{`"a@b"@c`, Address{"a@b", "c"}, true, ""},
	{`""@c`, Address{"", "c"}, true, ""},
	{`"a b".c@d`, Address{"a b.c", "d"}, true, `"a b.c"@d`},
	{`"|/bin/cat -n"`, Address{"|/bin/cat -n", ""}, true, ""},
	{"/var/mail/joe", Address{"/var/mail/joe", ""}, true, ""},
	{"host!joe", Address{"host!joe", ""}, true, ""},
	{"joe%host@relay", Address{"joe%host", "relay"}, true, ""},
	{"joe..doe@example.net", Address{"joe..doe", "example.net"}, true, `"joe..doe"@example.net`},
	{".joe.@example.net", Address{".joe.", "example.net"}, true, `".joe."@example.net`},
	{"joe@example.net.", Address{"joe", "example.net"}, true, "joe@example.net"},
	{"root@my_host", Address{"root", "my_host"}, true, ""},
	{"joe@[192.0.2.1]", Address{"joe", "[192.0.2.1]"}, true, ""},
	{"joe@[IPv6:2001:db8::1]", Address{"joe", "[IPv6:2001:db8::1]"}, true, ""},
	{"@a,@b:u@c", Address{"u", "c"}, true, "u@c"},
	{"<@a:u@c>", Address{"u", "c"}, true, "u@c"},
	{"<@[192.0.2.1],@b:u@c>", Address{"u", "c"}, true, "u@c"},
	{"jürgen@müller.example", Address{"jürgen", "müller.example"}, true, ""},
	{`"jürgen m"@x`, Address{"jürgen m", "x"}, true, ""},
	{strings.Repeat("a", 255) + "@x", Address{strings.Repeat("a", 255), "x"}, true, ""},

	{in: ""}, {in: "  "}, {in: "@"}, {in: "joe@"}, {in: "@x"}, {in: `""`}, {in: "<"}, {in: ">"}, {in: "< >"},
	{in: "<<joe@x>>"}, {in: "joe@x>"}, {in: "<joe@x"}, {in: "a@b@c"}, {in: "joe doe@x"}, {in: "joe@x y"},
	{in: "joe @x"}, {in: "joe@ x"}, {in: "joe@x..y"}, {in: "joe@.x"}, {in: "joe@x,doe@y"}, {in: "joe@x;"},
	{in: "joe(c)@x"}, {in: "Joe <joe@x>"}, {in: `"joe@x`}, {in: `"joe"doe@x`}, {in: `joe"doe"@x`}, {in: `\joe`},
	{in: ":include:/x"}, {in: "@a:"}, {in: "@a,:u@c"}, {in: "@a,@b"}, {in: "@a,@b,u@c"},
	{in: "joe\x00@x"}, {in: "joe\n@x"}, {in: "joe@x\n"}, {in: "joe@x\r\nRCPT TO:<y>"}, {in: "\"joe\r\n\"@x"},
	{in: "\"a\tb\"@x"}, {in: "\"a\\\x00\"@x"}, {in: "\"a\x7f\"@x"}, {in: "joe@x\x00"}, {in: "joe@[1.2.3.4"},
	{in: "joe@[]"}, {in: "joe@[a b]"}, {in: "joe@[[1]]"}, {in: "joe@1]"}, {in: "joe@a/b"}, {in: "joe@a+b"},
	{in: "jo\xffe@x"}, {in: "joe@\xff"}, {in: "jo\u0085e@x"}, {in: "jo\u2028e@x"}, {in: "joe@\u0085"},
	{in: strings.Repeat("a", 256) + "@x"}, {in: "a@" + strings.Repeat("a", 64)},
	{in: "a@" + strings.Repeat("a.", 128) + "net"}, {in: strings.Repeat("a", 3000)},
	{in: strings.Repeat(`"".`, 300) + "a"}, {in: strings.Repeat("@a,", 600) + ":b@c"},
}

func TestParseAddress(t *testing.T) {
	for _, tt := range addressTests {
		a, err := ParseAddress(tt.in)
		if (err == nil) != tt.ok || a != tt.want {
			t.Errorf("ParseAddress(%.60q) = %q, %v", tt.in, a, err)
			continue
		}
		if !tt.ok {
			continue
		}
		want := tt.out
		if want == "" && !a.IsNull() {
			want = tt.in
		}
		if got := a.String(); got != want {
			t.Errorf("%q.String() = %q", tt.in, got)
		}
		roundTrip(t, a)
	}
}

// roundTrip checks the promises made for any address a parser returned.
func roundTrip(t *testing.T, a Address) {
	t.Helper()
	if b, err := ParseAddress(a.Path()); err != nil || b != a {
		t.Errorf("ParseAddress(%q) = %#v, %v; want %#v", a.Path(), b, err, a)
	}
	b, rest, err := ParsePath(a.Path() + " X=Y")
	if err != nil && !errors.Is(err, ErrNotStrict) || b != a || rest != "X=Y" {
		t.Errorf("ParsePath(%q) = %#v, %q, %v; want %#v", a.Path(), b, rest, err, a)
	}
	if strings.ContainsFunc(a.Path(), breaksLine) {
		t.Errorf("%q has control characters", a.Path())
	}
	if a.IsNull() {
		return
	}
	if b, err := ParseAddress(a.String()); err != nil || b != a {
		t.Errorf("ParseAddress(%q) = %#v, %v; want %#v", a.String(), b, err, a)
	}
	list, err := ParseList(a.String())
	if err != nil || len(list) != 1 || list[0].Address != a {
		t.Errorf("ParseList(%q) = %v, %v", a.String(), list, err)
	}
	if a.Domain != "" && !a.Equal(Address{a.Local, strings.ToUpper(a.Domain)}) && a.ASCII() && !a.IsLiteral() {
		t.Errorf("%q is not equal to itself in upper case", a)
	}
}

var pathTests = []struct {
	in     string
	want   Address
	rest   string
	ok     bool
	strict bool
}{
	{"<>", Address{}, "", true, true},
	{"<> BODY=8BITMIME SIZE=12", Address{}, "BODY=8BITMIME SIZE=12", true, true},
	{"<joe@example.net>", Address{"joe", "example.net"}, "", true, true},
	{"<joe@example.net>  SIZE=1", Address{"joe", "example.net"}, "SIZE=1", true, true},
	{"<Postmaster>", Address{"Postmaster", ""}, "", true, true},
	{`<"joe doe"@x> `, Address{"joe doe", "x"}, "", true, true},
	{`<"joe"@x>`, Address{"joe", "x"}, "", true, true},
	{`<"a>b"@x> y`, Address{"a>b", "x"}, "y", true, true},
	{"<@a,@b:u@c>", Address{"u", "c"}, "", true, true},
	{`<@a:"u v"@c>`, Address{"u v", "c"}, "", true, true},
	{"<joe@[192.0.2.1]>", Address{"joe", "[192.0.2.1]"}, "", true, true},
	{"<joe@[IPv6:::1]>", Address{"joe", "[IPv6:::1]"}, "", true, true},
	{"<joe@[x400:abc]>", Address{"joe", "[x400:abc]"}, "", true, true},
	{"<" + strings.Repeat("a", 64) + "@x>", Address{strings.Repeat("a", 64), "x"}, "", true, true},
	{"<ü@ü.example> SMTPUTF8", Address{"ü", "ü.example"}, "SMTPUTF8", true, true},

	{"<" + strings.Repeat("a", 65) + "@x> Z", Address{strings.Repeat("a", 65), "x"}, "Z", true, false},
	{"<joe..doe@x>", Address{"joe..doe", "x"}, "", true, false},
	{`<joe."x"@x>`, Address{"joe.x", "x"}, "", true, false},
	{`<"a b".c@x>`, Address{"a b.c", "x"}, "", true, false},
	{"<joe@x.>", Address{"joe", "x"}, "", true, false},
	{"<joe@my_host>", Address{"joe", "my_host"}, "", true, false},
	{"<joe@-x>", Address{"joe", "-x"}, "", true, false},
	{"<joe@[foo]>", Address{"joe", "[foo]"}, "", true, false},
	{"<joe@[IPv6:zz]>", Address{"joe", "[IPv6:zz]"}, "", true, false},

	{in: ""}, {in: "joe@x"}, {in: " <joe@x>"}, {in: "<joe@x"}, {in: "<joe@x>SIZE=1"}, {in: "< joe@x>"},
	{in: "<joe@x >"}, {in: "<joe(c)@x>"}, {in: "<joe@x>>"}, {in: "<<joe@x>>"}, {in: "<@>"}, {in: "<@a:>"},
	{in: "<Joe <joe@x>>"}, {in: "<joe\x00@x>"}, {in: "<joe@x\r\n>"}, {in: "<a b@x>"}, {in: `<"a@x>`}, {in: `<"">`},
	{in: "<joe@x>\tSIZE=1"}, {in: "<joe@x>\r\n"}, {in: "<a@b@c>"}, {in: "<a@b,c@d>"}, {in: "<joe@>"},
}

func TestParsePath(t *testing.T) {
	for _, tt := range pathTests {
		a, rest, err := ParsePath(tt.in)
		ok := err == nil || errors.Is(err, ErrNotStrict)
		if ok != tt.ok || (err == nil) != tt.strict || a != tt.want || rest != tt.rest {
			t.Errorf("ParsePath(%q) = %q, %q, %v", tt.in, a, rest, err)
		}
	}
}

func TestQuoteLocal(t *testing.T) {
	for in, want := range map[string]string{
		"joe": "joe", "a b": `"a b"`, "": `""`, `a"\`: `"a\"\\"`, "a\r\nb": `"a??b"`, "a\x00": `"a?"`,
		".a": `".a"`, "ü": "ü", "\xff": `"?"`, "a\u0085": `"a?"`,
	} {
		if got := QuoteLocal(in); got != want {
			t.Errorf("QuoteLocal(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEqual(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"joe@x.net", "joe@X.NET", true},
		{"joe@x.net", "Joe@x.net", false},
		{"joe@x.net", "joe@x.org", false},
		{"joe@x", "joe", false},
		{"joe@bücher.example", "joe@xn--bcher-kva.EXAMPLE", true},
		{"joe@[IPv6:2001:DB8::1]", "joe@[IPv6:2001:db8:0::1]", true},
		{"joe@[1.2.3.4]", "joe@[1.2.3.5]", false},
		{"joe@[foo]", "joe@[bar]", false},
	} {
		a, errA := ParseAddress(tt.a)
		b, errB := ParseAddress(tt.b)
		if errA != nil || errB != nil || a.Equal(b) != tt.want || b.Equal(a) != tt.want {
			t.Errorf("Equal(%q, %q) = %v, %v, %v", tt.a, tt.b, a.Equal(b), errA, errB)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, tt := range addressTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := ParseAddress(s); err == nil {
			roundTrip(t, a)
		} else if !a.IsNull() {
			t.Errorf("address %q with error %v", a, err)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, tt := range pathTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, rest, err := ParsePath(s)
		if err != nil && !errors.Is(err, ErrNotStrict) {
			if !a.IsNull() || rest != "" {
				t.Errorf("%q, %q with error %v", a, rest, err)
			}
			return
		}
		if !strings.HasSuffix(s, rest) {
			t.Errorf("rest %q is not the end of %q", rest, s)
		}
		roundTrip(t, a)
		if err == nil {
			if _, _, err := ParsePath(a.Path()); err != nil && len(a.Path()) <= MaxPath {
				t.Errorf("strict %q is not strict as %q: %v", s, a.Path(), err)
			}
		}
	})
}

func BenchmarkParseAddress(b *testing.B) {
	for _, s := range []string{"joe.doe@mail.example.net", "<joe.doe@mail.example.net>", `"joe doe"@example.net`} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseAddress(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPath(b *testing.B) {
	a := Address{"joe.doe", "mail.example.net"}
	b.ReportAllocs()
	for b.Loop() {
		_ = a.Path()
	}
}
