package rfc5322

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listTests write a mailbox as name|address|group.
var listTests = []struct {
	in   string
	want string // mailboxes, joined by spaces in brackets
	bad  int
}{
	{"", "", 0},
	{"joe@x", "[|joe@x|]", 0},
	{"joe", "[|joe|]", 0},
	{"joe@x, doe@y", "[|joe@x|] [|doe@y|]", 0},
	{"joe@x,,, doe@y,", "[|joe@x|] [|doe@y|]", 0},
	{"joe@x; doe@y", "[|joe@x|] [|doe@y|]", 0},
	{"Joe Doe <joe@x>", "[Joe Doe|joe@x|]", 0},
	{"Joe  \t Doe\n <joe@x>", "[Joe Doe|joe@x|]", 0},
	{"Joe Q. Public <joe@x>", "[Joe Q. Public|joe@x|]", 0},
	{`"Doe, Joe" <joe@x>, a@b`, "[Doe, Joe|joe@x|] [|a@b|]", 0},
	{`"Joe \"D\" Doe" <joe@x>`, `[Joe "D" Doe|joe@x|]`, 0},
	{`"Joe" "Doe" <joe@x>`, `[Joe Doe|joe@x|]`, 0},
	{"joe@x (Joe Doe)", "[Joe Doe|joe@x|]", 0},
	{"joe@x (Joe (the) \\) Doe), a", "[Joe (the) ) Doe|joe@x|] [|a|]", 0},
	{"(c) Joe (c) Doe (c) < (c) joe (c) @ (c) x (c) > (c), (c)", "[Joe Doe|joe@x|]", 0},
	{"joe . doe @ x . net", "[|joe.doe@x.net|]", 0},
	{"joe\r\n . doe\r\n @ x", "[|joe.doe@x|]", 0},
	{"joe@x <joe@x>", "[joe@x|joe@x|]", 0},
	{"J\xfcrgen <j@x>", "[J\xfcrgen|j@x|]", 0},
	{"Jürgen <jü@x>", "[Jürgen|jü@x|]", 0},
	{"=?utf-8?q?J=C3=BC?= <j@x>", "[=?utf-8?q?J=C3=BC?=|j@x|]", 0},
	{"[List] Joe <j@x>", "[[List] Joe|j@x|]", 0},
	{"Joe [ Doe <j@x>", "[Joe [ Doe|j@x|]", 0},
	{"Joe) <j@x>", "[Joe)|j@x|]", 0},
	{"J\x01e <j@x>", "[J e|j@x|]", 0},
	{"<@a,@b:u@c>", "[|u@c|]", 0},
	{"Joe <@a, ,@b : u@c>", "[Joe|u@c|]", 0},
	{"<>", "[||]", 0},
	{"joe@[1.2.3.4], <joe@[IPv6:::1]>", "[|joe@[1.2.3.4]|] [|joe@[IPv6:::1]|]", 0},
	{"<joe@x> Joe", "[|joe@x|]", 0},
	{`"a b"@x`, `[|"a b"@x|]`, 0},
	{"\"a\r\n b\"@x", `[|"a b"@x|]`, 0},
	{`"a,b"@x,c`, `[|"a,b"@x|] [|c|]`, 0},
	{"undisclosed-recipients:;", "", 0},
	{"undisclosed recipients: ;, a", "[|a|]", 0},
	{"My Group: a@x, B <b@x>; c@x", "[|a@x|My Group] [B|b@x|My Group] [|c@x|]", 0},
	{"g: a@x", "[|a@x|g]", 0},
	{"g:(c);", "", 0},
	{"g: a; h: b;", "[|a|g] [|b|h]", 0},
	{"(only a comment)", "", 0},
	{"joe doe, a", "[|a|]", 1},
	{"joe@, a", "[|a|]", 1},
	{"@x, a", "[|a|]", 1},
	{"Joe <joe@x, a", "[|a|]", 1},
	{"Joe <>> , a", "[|a|]", 1},
	{"<a@x> <b@x>, a", "[|a|]", 1},
	{"<a@x> b@x, a", "[|a|]", 1},
	{"<<a@x>>, a", "[|a|]", 1},
	{"a:b:c, a", "[|a|a]", 1},
	{": a, a", "[|a|]", 1},
	{"a@b@c, a", "[|a|]", 1},
	{"joe@x y, a", "[|a|]", 1},
	{`"joe <joe@x>, a`, "", 1},
	{"joe@x (Joe, a", "", 1},
	{"jo\x00e@x, a", "[|a|]", 1},
	{"jo\xffe@x, a", "[|a|]", 1},
	{"\"jo\x00e\"@x, a", "[|a|]", 1},
	{"Joe <joe@x\x00>, a", "[|a|]", 1},
	{strings.Repeat("(", 65) + strings.Repeat(")", 65) + "joe, a", "[|a|]", 1},
	{strings.Repeat("(", 64) + strings.Repeat(")", 64) + "joe, a", "[|joe|] [|a|]", 0},
	{"a b, c d, e", "[|e|]", 2},
	{"joe@x\\, a", "", 1},
	{"joe@x, a\\", "[|joe@x|]", 1},
}

func TestParseList(t *testing.T) {
	for _, tt := range listTests {
		list, err := ParseList(tt.in)
		var got []string
		for _, m := range list {
			got = append(got, fmt.Sprintf("[%s|%s|%s]", m.Name, m.Address, m.Group))
		}
		bad := 0
		if le := (*ListError)(nil); errors.As(err, &le) {
			bad = le.Count
		}
		if g := strings.Join(got, " "); g != tt.want || bad != tt.bad || (err != nil) != (bad > 0) {
			t.Errorf("ParseList(%.80q) = %s, %v", tt.in, g, err)
		}
		checkSpans(t, tt.in, list)
	}
}

// checkSpans checks that the span of each mailbox holds its address.
func checkSpans(t *testing.T, s string, list []Mailbox) {
	t.Helper()
	last := 0
	for _, m := range list {
		if m.Start < last || m.End < m.Start || m.End > len(s) {
			t.Fatalf("%q: span %d:%d after %d", s, m.Start, m.End, last)
		}
		last = m.End
		again, err := ParseList(s[m.Start:m.End])
		if m.IsNull() {
			continue
		}
		if err != nil || len(again) != 1 || again[0].Address != m.Address {
			t.Fatalf("%q: span %q gives %v, %v; want %v", s, s[m.Start:m.End], again, err, m.Address)
		}
	}
}

func TestRewriteList(t *testing.T) {
	qualify := func(a Address) (Address, bool) {
		if a.Domain != "" {
			return a, false
		}
		a.Domain = "me.example"
		return a, true
	}
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"joe", "joe@me.example"},
		{" joe ,\n\t\"Doe, J\"  (c)  <doe> (d), a@b ", " joe@me.example ,\n\t\"Doe, J\"  (c)  <doe@me.example> (d), a@b "},
		{"G: joe, <doe>;", "G: joe@me.example, <doe@me.example>;"},
		{"<@a,@b:joe>", "<@a,@b:joe@me.example>"},
		{"joe (Joe)", "joe@me.example (Joe)"},
		{"joe (c) . doe", "joe.doe@me.example (c)"},
		{`"(a)" (c) . x`, `"(a).x"@me.example (c)`},
		{"joe doe, joe, <bad, b", "joe doe, joe@me.example, <bad, b@me.example"},
		{"<>, joe", "<>, joe@me.example"},
		{"J\xfc <joe>", "J\xfc <joe@me.example>"},
		{"undisclosed-recipients:;", "undisclosed-recipients:;"},
	} {
		got, _ := RewriteList(tt.in, qualify)
		if got != tt.want {
			t.Errorf("RewriteList(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	null := func(Address) (Address, bool) { return Address{}, true }
	if got, _ := RewriteList("a@b, J <c@d>", null); got != "<>, J <>" {
		t.Errorf("to null: %q", got)
	}
}

func TestSplitList(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{" , ,", ""},
		{"joe, \\doe ,\"|prog a,b\", :include:/x/y, /file", `joe;\doe;"|prog a,b";:include:/x/y;/file`},
		{"<@a,@b:c@d>, e", "<@a,@b:c@d>;e"},
		{"<a,b", "<a;b"},
		{"joe (a, b), x", "joe (a, b);x"},
		{`"a, b`, `"a, b`},
		{"<,<,>", "<;<,>"},
	} {
		if got := strings.Join(SplitList(tt.in), ";"); got != tt.want {
			t.Errorf("SplitList(%q) = %q", tt.in, got)
		}
	}
}

// TestLinear feeds what makes careless parsers quadratic. Each of these takes
// milliseconds; a quadratic parser would take minutes. The time is that of this thread,
// which other work of the machine does not make longer.
func TestLinear(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spent := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	const n = 150000
	for _, unit := range []string{
		"(", "\"", "<", "[", "\\", ",", ";", ":", "@", ">", ")", "a:", "a,", "<a,", "<@a,", "@a,", "(,", "()",
		"a@", "a.", "\"\".", "a . ", "[a,", "a b,", "<a> b ", " ", "\n ", "a(c).", "<>,", "\"a\" ", "a@b(c),", "(()",
	} {
		s := strings.Repeat(unit, n/len(unit))
		start := spent()
		ParseList(s)
		RewriteList(s, func(a Address) (Address, bool) { return Address{a.Local, "x"}, true })
		SplitList(s)
		ParseAddress(s)
		ParsePath("<" + s)
		DecodeWords(s)
		ParseMessageIDs(s)
		OneLine(s, 100)
		if d := spent() - start; d > 10*time.Second {
			t.Errorf("%d times %q takes %v", n, unit, d)
		}
	}
}

func TestListBounds(t *testing.T) {
	list, err := ParseList(strings.Repeat("a,", MaxMailboxes+10))
	if len(list) != MaxMailboxes || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d mailboxes, %v", len(list), err)
	}
	_, err = ParseList(strings.Repeat("a b,", 1000))
	var le *ListError
	if !errors.As(err, &le) || le.Count != 1000 || len(le.Bad) != maxListErrors {
		t.Errorf("errors: %v", err)
	}
	var se *SyntaxError
	if !errors.As(err, &se) || se.Start != 0 || se.End != 3 || se.Pos != 2 {
		t.Errorf("first error: %+v", se)
	}
}

func seedLists(f *testing.F) {
	for _, tt := range listTests {
		f.Add(tt.in)
	}
	for _, tt := range addressTests {
		f.Add(tt.in)
	}
}

func FuzzParseList(f *testing.F) {
	seedLists(f)
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := ParseList(s)
		checkSpans(t, s, list)
		for _, m := range list {
			roundTrip(t, m.Address)
			if strings.ContainsAny(m.Name+m.Group, "\r\n\x00") {
				t.Errorf("name %q, group %q", m.Name, m.Group)
			}
		}
		SplitList(s)
		ParseMessageIDs(s)
		if d := DecodeWords(s); !strings.ContainsAny(s, "\r\n") && strings.ContainsAny(d, "\r\n") {
			t.Errorf("decoded to %q", d)
		}
	})
}

func FuzzRewriteList(f *testing.F) {
	seedLists(f)
	f.Fuzz(func(t *testing.T, s string) {
		same, err := RewriteList(s, func(a Address) (Address, bool) { return a, false })
		if same != s {
			t.Fatalf("changed %q to %q", s, same)
		}
		before, _ := ParseList(s)
		out, err2 := RewriteList(s, func(a Address) (Address, bool) { a.Domain = "new.example"; return a, true })
		after, err3 := ParseList(out)
		if (err == nil) != (err2 == nil) || (err == nil) != (err3 == nil) || len(before) != len(after) {
			t.Fatalf("%q: %d mailboxes, %v; %q: %d, %v", s, len(before), err, out, len(after), err3)
		}
		for i, m := range before {
			want := m.Address
			if !want.IsNull() {
				want.Domain = "new.example"
			}
			if m.angle && m.Name != after[i].Name || m.Group != after[i].Group || after[i].Address != want {
				t.Fatalf("%q: %+v became %+v in %q", s, m, after[i], out)
			}
		}
	})
}

const benchList = "Joe Doe <joe.doe@example.net>, \"Doe, Jane\" <jane@example.net>,\n\tplain@example.net, other@example.net (Other One)"

func BenchmarkParseList(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(benchList)))
	for b.Loop() {
		if _, err := ParseList(benchList); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRewriteList(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(benchList)))
	for b.Loop() {
		_, err := RewriteList(benchList, func(a Address) (Address, bool) { return a, true })
		if err != nil {
			b.Fatal(err)
		}
	}
}
