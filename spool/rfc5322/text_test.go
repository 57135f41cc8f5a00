package rfc5322

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseDate(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 -0700"},
		{"2 Jan 2006 15:04:05 +0000", "Mon, 2 Jan 2006 15:04:05 +0000"},
		{"Mon, 02 Jan 06 15:04 GMT", "Mon, 2 Jan 2006 15:04:00 +0000"},
		{"Mon, 2 Jan 99 15:04:05 EST", "Sat, 2 Jan 1999 15:04:05 -0500"},
		{"Mon, 2 Jan 106 15:04:05 PDT", "Mon, 2 Jan 2006 15:04:05 -0700"},
		{"Mon,2 Jan 2006 15:04:05 +0130 (CET (x))", "Mon, 2 Jan 2006 15:04:05 +0130"},
		{"(c) Mon (c), 2\n\tJanuary 2006 15:04:05 Z", "Mon, 2 Jan 2006 15:04:05 +0000"},
		{"Mon Jan  2 15:04:05 2006", "Mon, 2 Jan 2006 15:04:05 +0000"},
		{"Mon Jan  2 15:04:05 CET 2006", "Mon, 2 Jan 2006 15:04:05 +0100"},
		{"2-Jan-2006 15:04:05 -0000", "Mon, 2 Jan 2006 15:04:05 +0000"},
		{"2 Jan 2006 15:04:05 GMT+0200", "Mon, 2 Jan 2006 15:04:05 +0200"},
		{"2 Jan 2006 15:04:05 +02:00", "Mon, 2 Jan 2006 15:04:05 +0200"},
		{"2006-01-02T15:04:05Z", "Mon, 2 Jan 2006 15:04:05 +0000"},
		{"31 Dec 2016 23:59:60 +0000", "Sat, 31 Dec 2016 23:59:59 +0000"},
		{"2 Jan 2006", "Mon, 2 Jan 2006 00:00:00 +0000"},
		{"2 Jan 2006 15:04:05 XYZ", "Mon, 2 Jan 2006 15:04:05 +0000"},
		{"", ""}, {"Mon", ""}, {"31 Feb 2006 1:2:3", ""}, {"32 Jan 2006", ""}, {"2 Jan 2006 25:00", ""},
		{"2 Jan 2006 1:2:3:4", ""}, {"2 Jan 2006 1:2 3:4", ""}, {"2 Jan 20060", ""}, {"2 Jan 2006 -07", ""},
		{"2 Jan 2006 1:2 +9999", ""}, {"2 2006", ""}, {"0 Jan 2006", ""}, {"2 Jan 2006 2007", ""}, {"2 Jan 2006 (", ""},
		{"+", ""}, {"-", ""}, {":", ""}, {"2006 Jan", ""}, {strings.Repeat(" ", 300) + "2 Jan 2006", ""},
	} {
		got, err := ParseDate(tt.in)
		if (err == nil) != (tt.want != "") || err == nil && FormatDate(got) != tt.want {
			t.Errorf("ParseDate(%q) = %v, %v", tt.in, got, err)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	f.Add("Mon, 2 Jan 2006 15:04:05 -0700 (c)")
	f.Add("2-Jan-06 1:2 GMT+02:00")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDate(s)
		if err != nil || d.Year() < 1000 {
			return
		}
		if again, err := ParseDate(FormatDate(d)); err != nil || again.Sub(d).Abs() >= time.Minute {
			t.Errorf("%q: %v, again %v, %v", s, d, again, err)
		}
	})
}

func TestWords(t *testing.T) {
	for _, tt := range []struct{ in, word, phrase string }{
		{"", "", ""},
		{"Joe Doe", "Joe Doe", "Joe Doe"},
		{"Joe Q. Doe", "Joe Q. Doe", `"Joe Q. Doe"`},
		{`a "b"`, `a "b"`, `"a \"b\""`},
		{"a  b", "a  b", `"a  b"`},
		{"Jürgen", "=?utf-8?q?J=C3=BCrgen?=", "=?utf-8?q?J=C3=BCrgen?="},
		{"Jürgen Meier, Abteilung", "=?utf-8?q?J=C3=BCrgen_Meier=2C_Abteilung?=", "=?utf-8?q?J=C3=BCrgen_Meier=2C_Abteilung?="},
		{"=?x?q?y?=", "=?utf-8?b?PT94P3E/eT89?=", "=?utf-8?b?PT94P3E/eT89?="},
	} {
		if got := EncodeWord(tt.in); got != tt.word {
			t.Errorf("EncodeWord(%q) = %q", tt.in, got)
		}
		if got := EncodePhrase(tt.in); got != tt.phrase {
			t.Errorf("EncodePhrase(%q) = %q", tt.in, got)
		}
	}
	for in, want := range map[string]string{
		"a =?utf-8?q?b_c?= d":                      "a b c d",
		"=?utf-8?q?a?= \r\n =?utf-8?q?b?= c":       "ab c",
		"=?ISO-8859-1?Q?J=FCrgen?= <j@x>":          "Jürgen <j@x>",
		"=?koi8-r?q?x?= =?utf-8?q?b?=":             "=?koi8-r?q?x?= b",
		"=?utf-8?q?a=0D=0ABcc:_x?=":                "a  Bcc: x",
		"=?utf-8?q?a":                              "=?utf-8?q?a",
		"=?":                                       "=?",
		"=?=?=?utf-8?q?x?=":                        "=?=?x",
		"=?utf-8?x?a?=":                            "=?utf-8?x?a?=",
		"=?utf-8?b?!?=":                            "=?utf-8?b?!?=",
		"=?utf-8?q?a?=\xff =?utf-8?q?b?=":          "a\xff b",
		"=?utf-8?q?a?= =?utf-8?q?b?==?utf-8?q?c?=": "abc",
	} {
		if got := DecodeWords(in); got != want {
			t.Errorf("DecodeWords(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFormatMailbox(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"", "joe@x"}, {"Joe", "Joe <joe@x>"}, {"Doe, J", `"Doe, J" <joe@x>`}, {"a\r\nBcc: x", `"a  Bcc: x" <joe@x>`},
	} {
		if got := FormatMailbox(tt.name, Address{"joe", "x"}); got != tt.want {
			t.Errorf("FormatMailbox(%q) = %q", tt.name, got)
		}
	}
}

func FuzzEncodeWord(f *testing.F) {
	f.Add("Jürgen Meier, Abteilung für Vieles und noch viel mehr als das was in eine Zeile geht")
	f.Add("日本語の長い件名がここにありますのでいくつかの単語に分けられます")
	f.Fuzz(func(t *testing.T, s string) {
		enc := EncodePhrase(s)
		for word := range strings.SplitSeq(enc, " ") {
			if strings.HasPrefix(word, wordStart) && len(word) > maxWord {
				t.Errorf("word of %d octets: %q", len(word), word)
			}
		}
		if !utf8.ValidString(s) || strings.IndexFunc(s, breaksLine) >= 0 {
			return
		}
		list, err := ParseList(enc + " <a@b>")
		if err != nil || len(list) != 1 || DecodeWords(list[0].Name) != s {
			t.Errorf("EncodePhrase(%q) = %q, read as %v, %v", s, enc, list, err)
		}
		if got := DecodeWords(EncodeWord(s)); got != s {
			t.Errorf("EncodeWord(%q) = %q, read as %q", s, EncodeWord(s), got)
		}
	})
}

func TestXtext(t *testing.T) {
	for _, tt := range []struct{ text, x string }{
		{"", ""}, {"joe@x", "joe@x"}, {"a+b=c d", "a+2Bb+3Dc+20d"}, {"\x00\xff", "+00+FF"},
	} {
		if got := EncodeXtext(tt.text); got != tt.x {
			t.Errorf("EncodeXtext(%q) = %q", tt.text, got)
		}
		if got, err := DecodeXtext(tt.x); err != nil || got != tt.text {
			t.Errorf("DecodeXtext(%q) = %q, %v", tt.x, got, err)
		}
	}
	for _, bad := range []string{"+", "+2", "+2b", "+gg", "a b", "a=b", "a\n", "\xff", "a+2Bb=c", "+2B "} {
		if got, err := DecodeXtext(bad); err == nil {
			t.Errorf("DecodeXtext(%q) = %q", bad, got)
		}
	}
}

func TestORCPT(t *testing.T) {
	for _, tt := range []struct{ in, typ, addr, out string }{
		{"rfc822;joe@x", "rfc822", "joe@x", ""},
		{"RFC822;joe+2Bx@y", "rfc822", "joe+x@y", "rfc822;joe+2Bx@y"},
		{`utf-8;j\x{FC}rgen@x`, "utf-8", "jürgen@x", ""},
		{"utf-8;jürgen@x", "utf-8", "jürgen@x", `utf-8;j\x{FC}rgen@x`},
		{`utf-8;a\x{2B}\x{3D}\x{5C}\x{20}\x{1F600}@x`, "utf-8", `a+=\ 😀@x`, ""},
		{"x400;/C=a", "", "", ""},
		{in: "rfc822"}, {in: "rfc822;"}, {in: ";a"}, {in: "a b;c"}, {in: "rfc822;a+0Ab"}, {in: "rfc822;+FF"},
		{in: `utf-8;\x{}`}, {in: `utf-8;\x{0}`}, {in: `utf-8;\x{61}`}, {in: `utf-8;\x{0FC}`}, {in: `utf-8;\x{fc}`},
		{in: `utf-8;\x{D800}`}, {in: `utf-8;\x{110000}`}, {in: `utf-8;\x{FC`}, {in: `utf-8;\xFC`}, {in: "utf-8;\xff"},
		{in: `utf-8;\x{85}`}, {in: "utf-8;a+2Bb"}, {in: `utf-8;\x{FC\x{FC}`},
	} {
		o, err := ParseORCPT(tt.in)
		if o != (ORCPT{tt.typ, tt.addr}) || (err == nil) != (tt.typ != "") {
			t.Errorf("ParseORCPT(%q) = %q, %v", tt.in, o, err)
		}
		if err != nil {
			continue
		}
		if tt.out == "" {
			tt.out = tt.in
		}
		if o.String() != tt.out {
			t.Errorf("%q.String() = %q", tt.in, o.String())
		}
	}
	if got := ORCPTOf(Address{"ü", "x"}).String(); got != `utf-8;\x{FC}@x` {
		t.Errorf("ORCPTOf: %q", got)
	}
}

func FuzzDecodeXtext(f *testing.F) {
	f.Add("a+2Bb")
	f.Add(`j\x{FC}r`)
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := DecodeXtext(EncodeXtext(s)); err != nil || d != s {
			t.Errorf("%q: %q, %v", s, d, err)
		}
		if d, err := DecodeXtext(s); err == nil {
			if again, err := DecodeXtext(EncodeXtext(d)); err != nil || again != d {
				t.Errorf("%q: %q, %v", s, again, err)
			}
		}
		if o, err := ParseORCPT("utf-8;" + s); err == nil {
			if again, err := ParseORCPT(o.String()); err != nil || again != o {
				t.Errorf("%q: %q becomes %q, %v", s, o, again, err)
			}
		}
	})
}

func TestMessageIDs(t *testing.T) {
	for _, tt := range []struct{ id, host, want string }{
		{"123.abc", "example.net", "<123.abc@example.net>"},
		{"", "", "<x@x>"},
		{"a b\n<c>", "h@\nx.", "<a-b--c-@h--x>"},
		{"..a..b", "bü.x", "<a.-b@b--.x>"},
	} {
		if got := MessageID(tt.id, tt.host); got != tt.want {
			t.Errorf("MessageID(%q, %q) = %q", tt.id, tt.host, got)
		}
	}
	for in, want := range map[string]string{
		"":                        "",
		"<a@b>":                   "<a@b>",
		"<a@b> x <c@d>\n <e>":     "<a@b> <c@d> <e>",
		"<a b> <> <c<d> <e":       "<d>",
		"Your mail of <a@b>, Mon": "<a@b>",
		"<a\x00b>":                "",
	} {
		if got := strings.Join(ParseMessageIDs(in), " "); got != want {
			t.Errorf("ParseMessageIDs(%q) = %q", in, got)
		}
	}
}

func TestCanonicalDomain(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		valid    bool
	}{
		{"Example.NET", "example.net", true},
		{"example.net.", "example.net", false},
		{"bücher.Example", "xn--bcher-kva.example", true},
		{"BÜCHER.example", "xn--bcher-kva.example", true},
		{"faß.example", "xn--fa-hia.example", true},
		{"ex。ample", "ex.ample", true},
		{"my_host.x", "my_host.x", false},
		{"my_hüst.x", "xn--my_hst-6ya.x", false},
		{"[192.0.2.1]", "[192.0.2.1]", true},
		{"[IPV6:2001:DB8:0::1]", "[IPv6:2001:db8::1]", true},
		{"[2001:db8::1]", "[IPv6:2001:db8::1]", true},
		{"[IPv6:::ffff:192.0.2.1]", "[192.0.2.1]", true},
		{"localhost", "localhost", true},
		{"", "", false}, {".", "", false}, {"a..b", "", false}, {"a b", "", false}, {"a@b", "", false},
		{"[foo]", "", false}, {"[IPv6:1.2.3.4]", "", false}, {"[fe80::1%25eth0]", "", true}, {"a\x00", "", false},
		{"a＠b", "", true}, {"a\xff", "", false}, {"a／b", "", true}, {strings.Repeat("a", 64), "", false},
		{"[1.2.3.4", "", false}, {"a\n", "", false}, {"..", "", false}, {"xn--zzzzzzzzzzzzz99.ü", "", true},
	} {
		got, err := CanonicalDomain(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("CanonicalDomain(%q) = %q, %v", tt.in, got, err)
		}
		if ValidDomain(tt.in) != tt.valid {
			t.Errorf("ValidDomain(%q) = %v", tt.in, !tt.valid)
		}
	}
	if ip, ok := ParseLiteral("[IPv6:::1]"); !ok || ip != netip.IPv6Loopback() {
		t.Errorf("ParseLiteral: %v, %v", ip, ok)
	}
}

func FuzzCanonicalDomain(f *testing.F) {
	for _, s := range []string{"Example.NET.", "bücher.example", "[IPv6:::1]", "ａ．ｂ", "xn--bcher-kva"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := CanonicalDomain(s)
		if err != nil {
			return
		}
		if again, err := CanonicalDomain(c); err != nil || again != c || !isASCII(c) {
			t.Errorf("%q: %q, then %q, %v", s, c, again, err)
		}
		if !EqualDomain(s, c) {
			t.Errorf("%q is not equal to %q", s, c)
		}
	})
}

func TestOneLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		max  int
		want string
	}{
		{"", 10, ""}, {"abc", 0, "abc"}, {"abc", 2, "ab"}, {"abc", 3, "abc"},
		{"a\tb\r\nc\x00d\x1b[2J", 0, "a b  c?d?[2J"},
		{"äöü", 3, "ä"}, {"äöü", 4, "äö"}, {"ä", 1, ""}, {"ä\n", 0, "ä "},
		{"\xff\xfe", 0, "??"}, {"a\x80\x80\x80\x80\x80", 5, "a"},
		{"a\u2028b\u0085c\u202ed", 0, "a?b?c?d"}, {"😀", 3, ""}, {"a😀", 4, "a"}, {"\x7f", 5, "?"},
	} {
		if got := OneLine(tt.in, tt.max); got != tt.want {
			t.Errorf("OneLine(%q, %d) = %q", tt.in, tt.max, got)
		}
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("a\tb\u2028", 5)
	f.Fuzz(func(t *testing.T, s string, max int) {
		got := OneLine(s, max)
		if max > 0 && len(got) > max || len(got) > len(s) || !utf8.ValidString(got) ||
			strings.ContainsFunc(got, breaksLine) || OneLine(got, max) != got {
			t.Errorf("OneLine(%q, %d) = %q", s, max, got)
		}
	})
}

func TestErrorsHideInput(t *testing.T) {
	_, err := ParseAddress("evil\x1b[2J@x")
	var se *SyntaxError
	if !errors.As(err, &se) || strings.ContainsFunc(err.Error(), breaksLine) {
		t.Errorf("%v", err)
	}
}

func BenchmarkText(b *testing.B) {
	for name, f := range map[string]func(){
		"OneLine":         func() { OneLine("a line of a log that is clean", 200) },
		"EncodeXtext":     func() { EncodeXtext("joe.doe@example.net") },
		"CanonicalDomain": func() { _, _ = CanonicalDomain("mail.example.net") },
		"ParseDate":       func() { _, _ = ParseDate("Mon, 2 Jan 2006 15:04:05 -0700") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
