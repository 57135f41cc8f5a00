package rfc5322

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// headerTests give the names of the fields and the body that follows.
var headerTests = []struct {
	in, names, body string
}{
	{"", "", ""},
	{"\nbody", "", "body"},
	{"\r\nbody", "", "body"},
	{"body", "", "body"},
	{"A: b\n\nbody\n", "A", "body\n"},
	{"A: b\n c\n\td\nB: x\n\nbody", "A B", "body"},
	{"A: b\r\n c\r\nB: x\r\n\r\nbody", "A B", "body"},
	{"A: b", "A", ""},
	{"A: b\n", "A", ""},
	{"A:\n\n", "A", ""},
	{"A : b\n\n", "A", ""},
	{"A: b\nno field here: x\nC: d\n", "A", "no field here: x\nC: d\n"},
	{"A: b\n \n c\n\nbody", "A", "body"},
	{" A: b\n", "", " A: b\n"},
	{": b\n", "", ": b\n"},
	{"From joe Mon\nA: b\n", "", "From joe Mon\nA: b\n"},
	{"A\n", "", "A\n"},
	{"A\n: b\n", "", "A\n: b\n"},
	{"A: b\nJ\xfc: c\n", "A", "J\xfc: c\n"},
	{"A: \x00\xff\rx\n\n", "A", ""},
	{"A: b\n\r", "A", "\r"},
	{"A: b\n\rx\n", "A", "\rx\n"},
	{"X", "", "X"},
}

func names(h Header) string {
	var list []string
	for _, f := range h {
		list = append(list, f.Name())
	}
	return strings.Join(list, " ")
}

func TestParseHeader(t *testing.T) {
	for _, tt := range headerTests {
		h, n, err := ParseHeader([]byte(tt.in))
		if err != nil || names(h) != tt.names || tt.in[n:] != tt.body {
			t.Errorf("ParseHeader(%q) = %q, %q, %v", tt.in, names(h), tt.in[n:], err)
		}
		checkHeader(t, tt.in)
	}
}

// checkHeader checks that no octet is lost, and that both readers agree.
func checkHeader(t *testing.T, in string) {
	t.Helper()
	h, n, err := ParseHeader([]byte(in))
	if err != nil {
		return
	}
	if sep := in[h.Len():n]; string(h.Bytes()) != in[:h.Len()] || sep != "" && sep != "\n" && sep != "\r\n" {
		t.Fatalf("ParseHeader(%q): %q and %q", in, h.Bytes(), in[h.Len():n])
	}
	for _, f := range h {
		if !f.Is(strings.ToUpper(f.Name())) || strings.Contains(f.Unfolded(), "\n") {
			t.Fatalf("field %q", f.Raw)
		}
	}
	r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(in)), 600)
	raw, separated, err := ReadHeader(r, 1<<20)
	body, _ := io.ReadAll(r)
	want := h.Bytes()
	for i, f := range h {
		if line := bytes.IndexByte(f.Raw, ':'); line > 500 {
			return // a name longer than the reader looks ahead
		}
		if i == len(h)-1 && f.Raw[len(f.Raw)-1] != '\n' {
			want = append(want, '\n')
		}
	}
	want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
	if err != nil || !bytes.Equal(raw, want) || string(body) != in[n:] || separated != (n > h.Len()) {
		t.Fatalf("ReadHeader(%q) = %q, %v, %v, body %q; want %q", in, raw, separated, err, body, want)
	}
}

func TestReadHeaderBounds(t *testing.T) {
	in := "A: b\nB: " + strings.Repeat("x", 100) + "\n\n"
	raw, _, err := ReadHeader(bufio.NewReaderSize(strings.NewReader(in), 16), 50)
	if string(raw) != "A: b\n" || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%q, %v", raw, err)
	}
	broken := io.MultiReader(strings.NewReader("A: b\nB"), iotest.ErrReader(io.ErrClosedPipe))
	raw, _, err = ReadHeader(bufio.NewReader(broken), 50)
	if string(raw) != "A: b\n" || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%q, %v", raw, err)
	}
	h, _, err := ParseHeader([]byte(strings.Repeat("A:\n", MaxFields+1)))
	if len(h) != MaxFields || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d fields, %v", len(h), err)
	}
}

func field(t *testing.T, name, body string) Field {
	t.Helper()
	f, err := NewField(name, body)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHeaderChanges(t *testing.T) {
	const in = "Received: a\nTo: joe,\n doe\nreceived: b\nBcc: x\nSubject:  hi \r\nTo: last"
	h, _, err := ParseHeader([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if h.Get("to") != "joe, doe" || strings.Join(h.All("TO"), "|") != "joe, doe|last" || h.Get("subject") != "hi" {
		t.Errorf("Get: %q, %q, %q", h.Get("to"), h.All("TO"), h.Get("subject"))
	}
	if h.Hops() != 2 || h.Has("Cc") || h.Get("Cc") != "" || h.Has("") || !h.Has("bcc") {
		t.Errorf("Hops %d", h.Hops())
	}
	if n := h.Del("bcc", "received"); n != 3 || names(h) != "To Subject To" {
		t.Errorf("Del: %d, %q", n, names(h))
	}
	h.Append(field(t, "X", "y"))
	h.Prepend(field(t, "P", "q"), field(t, "Q", "r"))
	h.Set(field(t, "to", "me"))
	h.Set(field(t, "Date", "now"))
	const want = "P: q\nQ: r\nto: me\nSubject:  hi \r\nX: y\nDate: now\n"
	if got := string(h.Bytes()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var b strings.Builder
	if n, err := h.WriteTo(&b); n != int64(len(want)) || err != nil || b.String() != want {
		t.Errorf("WriteTo: %d, %v, %q", n, err, b.String())
	}
}

func TestNewField(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"A", "b", "A: b\n"},
		{"A", "", "A: \n"},
		{"A", "b\n", "A: b\n"},
		{"A", "b\n\tc", "A: b\n\tc\n"},
		{"A", "b\r\n c", "A: b\n c\n"},
		{"A", "b\nBcc: x", "A: b Bcc: x\n"},
		{"A", "b\rBcc: x\x00", "A: b Bcc: x \n"},
		{"A", "b\n\nbody", "A: b  body\n"},
		{"A", "b\n \n \nbody", "A: b     body\n"},
		{"A", "b\r\n\r\nbody", "A: b  body\n"},
		{"A B", "c", ""}, {"", "c", ""}, {"A:", "c", ""}, {"A\n", "c", ""}, {"Ü", "c", ""},
	} {
		f, err := NewField(tt.name, tt.body)
		if string(f.Raw) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("NewField(%q, %q) = %q, %v", tt.name, tt.body, f.Raw, err)
		}
	}
}

func TestFold(t *testing.T) {
	var values []string
	for range 9 {
		values = append(values, "joe.doe@example.net")
	}
	out := FoldList("To", append(values, "a\nb", strings.Repeat("x", 100)))
	for line := range strings.Lines(out) {
		if len(line) > foldAt+1 && !strings.Contains(line, "xxx") {
			t.Errorf("line of %d columns: %q", len(line), line)
		}
	}
	h, n, err := ParseHeader([]byte(out))
	if err != nil || len(h) != 1 || n != len(out) {
		t.Errorf("%q gives %d fields, %v", out, len(h), err)
	}
	if got := FoldList("Bcc", nil); got != "Bcc:\n" {
		t.Errorf("empty: %q", got)
	}
	if got := FoldText("Subject", "a\r\nb  c"); got != "Subject: a b c\n" {
		t.Errorf("text: %q", got)
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, tt := range headerTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) { checkHeader(t, in) })
}

func FuzzNewField(f *testing.F) {
	f.Add("Subject", "a\r\n b\n\nc")
	f.Fuzz(func(t *testing.T, name, body string) {
		fl, err := NewField(name, body)
		if err != nil {
			return
		}
		in := append(fl.Raw[:len(fl.Raw):len(fl.Raw)], "\nbody"...)
		h, n, err := ParseHeader(in)
		if err != nil || len(h) != 1 || string(in[n:]) != "body" || h[0].Name() != name {
			t.Errorf("NewField(%q, %q) = %q", name, body, fl.Raw)
		}
		checkHeader(t, FoldText("X", body))
		if h, _, _ := ParseHeader([]byte(FoldList("X", []string{body, body}))); len(h) != 1 {
			t.Errorf("FoldList(%q) gives %d fields", body, len(h))
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	in := []byte(strings.Repeat("Received: from a.example.net (a.example.net [192.0.2.1])\n\tby b.example.net with ESMTP id 12345\n\tfor <joe@example.net>; Mon, 2 Jan 2006 15:04:05 -0700\n", 4) +
		"From: Joe Doe <joe@example.net>\nTo: " + benchList + "\nSubject: a subject that says something\n" +
		"Date: Mon, 2 Jan 2006 15:04:05 -0700\nMessage-ID: <1234@example.net>\nMIME-Version: 1.0\nContent-Type: text/plain\n\nbody\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		h, _, err := ParseHeader(in)
		if err != nil || h.Hops() != 4 {
			b.Fatal(err)
		}
	}
}
