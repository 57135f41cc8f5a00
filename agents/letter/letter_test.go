package letter

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testBody(t testing.TB, text string) *Body {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m")
	if err := os.WriteFile(path, []byte("xx"+text+"yy"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Body{File: f, Offset: 2, Size: int64(len(text))}
}

var quoteTests = []struct{ in, want string }{
	{"", "\n"},
	{"a\n", "a\n\n"},
	{"a", "a\n\n"},
	{"From x\n", ">From x\n\n"},
	{"a\nFrom x\nFrom y\n", "a\n>From x\n>From y\n\n"},
	{"a\nFrom", "a\nFrom\n\n"},
	{"From", "From\n\n"},
	{"From ", ">From \n\n"},
	{"\nFrom \nFrom ", "\n>From \n>From \n\n"},
	{">From x\nFromage\n from \n", ">From x\nFromage\n from \n\n"},
	{"\n\n", "\n\n\n"},
	{"\xff\x00\n", "\xff\x00\n\n"},
}

func TestWriteMbox(t *testing.T) {
	for _, tt := range quoteTests {
		l := Letter{From: "From x\n", Head: []byte("A: b\n\n"), Body: testBody(t, tt.in)}
		var b bytes.Buffer
		if err := l.WriteMbox(&b); err != nil || b.String() != "From x\nA: b\n\n"+tt.want {
			t.Errorf("%q: %q %v", tt.in, b.String(), err)
		}
		for cut := range tt.in {
			if got := quoted(tt.in[:cut], tt.in[cut:]); got != tt.want {
				t.Errorf("%q cut at %d: %q", tt.in, cut, got)
			}
		}
	}
}

func TestLargeBody(t *testing.T) {
	text := strings.Repeat("From here\nto there\n", smallBody/10)
	l := Letter{From: "From x\n", Head: []byte("A: b\n\n"), Body: testBody(t, text)}
	var b bytes.Buffer
	if err := l.WriteMbox(&b); err != nil || b.String() != "From x\nA: b\n\n"+strings.ReplaceAll(text, "From", ">From")+"\n" {
		t.Errorf("mbox of %d bytes: %v", b.Len(), err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := l.WriteFile(int(out.Fd())); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out.Name()); err != nil || string(got) != "A: b\n\n"+text {
		t.Errorf("file of %d bytes: %v", len(got), err)
	}
	l.Body.Size++
	l.Body.Offset = 4
	if err := l.WriteMbox(io.Discard); err == nil {
		t.Error("a body that is too short was taken")
	}
}

func TestHead(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		t        Trace
		want     string
	}{
		{"null sender", "A: b\n\n", Trace{}, "Return-Path: <>\nA: b\n\n"},
		{"all", "return-path: <old>\n x\nA: b\nDelivered-To: z\n\n", Trace{ReturnPath: "s@x", DeliveredTo: "joe@y", OriginalTo: "list@y"},
			"Return-Path: <s@x>\nX-Original-To: list@y\nDelivered-To: joe@y\nA: b\nDelivered-To: z\n\n"},
		{"line ends", "A: b\n\n", Trace{ReturnPath: "s\nBcc: x"}, "Return-Path: <s Bcc: x>\nA: b\n\n"},
		{"no empty line", "A: b", Trace{}, "Return-Path: <>\nA: b\n\n"},
		{"no path", "A: b\n\n", Trace{NoPath: true}, "A: b\n\n"},
		{"nothing", "", Trace{NoPath: true}, "\n"},
		{"empty", "", Trace{}, "Return-Path: <>\n\n"},
		{"not a header", "From x\nFrom y\n", Trace{}, "Return-Path: <>\n\nFrom x\nFrom y\n\n"},
	} {
		if got := string(Head([]byte(tt.in), tt.t)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLooped(t *testing.T) {
	for h, want := range map[string]bool{
		"A: b\nDelivered-To: Joe@Example.org \n\n":  true,
		"A: b\ndelivered-to:\n joe@example.org\n\n": true,
		"A: b\nDELIVERED-TO: joe@example.org\n\n":   true,
		"A: b\nDelivered-To: ann@example.org\n\n":   false,
		"A: b\nX-Delivered-To: joe@example.org\n\n": false,
		"A: b\n\nDelivered-To: joe@example.org\n\n": false,
	} {
		if Looped([]byte(h), "joe@example.org") != want {
			t.Errorf("%q: %v", h, !want)
		}
	}
}

func TestFromLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got := FromLine("", at); got != "From MAILER-DAEMON Fri Jan  2 03:04:05 2026\n" {
		t.Errorf("%q", got)
	}
	if got := FromLine("\"a b\"@x\ny", at); got != "From \"a-b\"@x-y Fri Jan  2 03:04:05 2026\n" {
		t.Errorf("%q", got)
	}
}

func quoted(pieces ...string) string {
	l := new(bytes.Buffer)
	w := quoterTo(l)
	for _, p := range pieces {
		w.Write([]byte(p))
	}
	w.end()
	w.w.Flush()
	return l.String() + "\n"
}

func FuzzQuote(f *testing.F) {
	for _, tt := range quoteTests {
		f.Add(tt.in, 1)
	}
	f.Fuzz(func(t *testing.T, in string, cut int) {
		if cut < 0 || cut > len(in) {
			cut = 0
		}
		got := quoted(in[:cut], in[cut:])
		want := strings.ReplaceAll("\n"+in, "\nFrom ", "\n>From ")[1:]
		if in != "" && !strings.HasSuffix(in, "\n") {
			want += "\n"
		}
		if got != want+"\n" {
			t.Errorf("%q cut at %d: %q", in, cut, got)
		}
	})
}

func BenchmarkWriteMbox(b *testing.B) {
	l := Letter{From: "From x\n", Head: []byte("A: b\n\n"), Body: testBody(b, strings.Repeat("a line of text as they come in mail\n", 200))}
	b.ReportAllocs()
	for b.Loop() {
		if err := l.WriteMbox(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func quoterTo(w io.Writer) *quoter { return &quoter{w: bufio.NewWriter(w), start: true} }

func TestMboxHostileHead(t *testing.T) {
	l := Letter{From: "From x\n", Head: Head([]byte("From y\n\n"), Trace{}), Body: testBody(t, "")}
	var b bytes.Buffer
	if err := l.WriteMbox(&b); err != nil || strings.Contains(b.String(), "\nFrom y") {
		t.Errorf("%q %v", b.String(), err)
	}
}
