package smtpserver

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// readBody runs the data filter over text that comes in pieces of a size.
func readBody(text string, piece int) (out string, rest int, b *body, err error) {
	var w strings.Builder
	var src io.Reader = strings.NewReader(text)
	switch piece {
	case 1:
		src = iotest.OneByteReader(src)
	case 2:
		src = iotest.HalfReader(src)
	}
	in := &input{}
	in.init(src, func() error { return nil })
	b = &body{w: &w}
	err = in.data(b)
	left, _ := io.ReadAll(src)
	rest = in.buffered() + len(left)
	in.release()
	return w.String(), rest, b, err
}

// plainBody is the data filter in its simplest form: RFC 5321 §4.5.2 on a whole
// text in memory.
func plainBody(text string) (out string, rest int, ok, ended bool) {
	end := 0
	if !strings.HasPrefix(text, ".\r\n") {
		if end = strings.Index(text, "\r\n.\r\n"); end < 0 {
			return "", 0, false, false
		}
		end += 2
	}
	rest = len(text) - end - 3
	text = text[:end]
	if strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00") {
		return "", rest, false, true
	}
	lines := strings.SplitAfter(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, ".")
	}
	return strings.Join(lines, ""), rest, true, true
}

func checkBody(t *testing.T, text string) {
	want, rest, ok, ended := plainBody(text)
	for piece := range 3 {
		got, left, b, err := readBody(text, piece)
		if ended != (err == nil) {
			t.Fatalf("%.200q: error %v, want an end: %v", text, err, ended)
		}
		if !ended {
			continue
		}
		if left != rest {
			t.Fatalf("%.200q: %d octets left for commands, want %d", text, left, rest)
		}
		if ok != (b.fault == nil) {
			t.Fatalf("%.200q: fault %v, want none: %v", text, b.fault, ok)
		}
		if ok && got != want {
			t.Fatalf("%.200q:\ngot  %.200q\nwant %.200q", text, got, want)
		}
	}
}

var bodies = []string{
	".\r\n", "\r\n.\r\n", "a\r\n.\r\nQUIT\r\n", "..\r\n.\r\n", ".a\r\n.\r\n", "a\n.\r\n.\r\n", "a\n.\n\r\n.\r\n", "a\r.\r\r\n.\r\n",
	"\r\n.\r\r\n\r\n.\r\n", ".\r.\r\n.\r\n", ".\n\r\n.\r\n", "\r\r\n.\r\n", "\x00\r\n.\r\n", "a", "a\r", "a\r\n.", "a\r\n.\r", "a\r\n..\r\n.\r\n",
	strings.Repeat("x", messageBuffer-1) + "\r\n.\r\n", strings.Repeat("x", messageBuffer) + "\r\n.\r\n",
	"." + strings.Repeat("x", messageBuffer-1) + "\r\n.\r\n", strings.Repeat("x", messageBuffer-1) + "\rx\r\n.\r\n",
}

func TestData(t *testing.T) {
	for _, text := range bodies {
		checkBody(t, text)
	}
}

// TestDataBoundaries puts what looks like the end at every place around the end of the
// buffer.
func TestDataBoundaries(t *testing.T) {
	for n := messageBuffer - 8; n <= messageBuffer+2; n++ {
		text := strings.Repeat("x", n)
		for _, end := range []string{
			"\r\n.\r\nQUIT\r\n", "\r\n..\r\n.\r\n", "\r\n.x\r\n.\r\n", "\n.\r\n.\r\n", "\r\n.\n\r\n.\r\n", "\r\n.\r.\r\n.\r\n", "\r.\r\n\r\n.\r\n", "\r\r\n.\r\n", "\x00\r\n.\r\n", "\r\n.\r",
		} {
			checkBody(t, text+end)
		}
	}
}

func FuzzData(f *testing.F) {
	for _, text := range bodies {
		f.Add(text)
	}
	f.Fuzz(checkBody)
}

// FuzzChunk cuts a text into two chunks and compares with one chunk, and with
// the plain meaning of CR LF.
func FuzzChunk(f *testing.F) {
	for _, text := range bodies {
		for _, cut := range []int{0, 1, 3} {
			f.Add(text, cut)
		}
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		if cut < 0 || cut > len(text) {
			return
		}
		read := func(sizes ...int) (string, error) {
			var w strings.Builder
			in := &input{}
			in.init(strings.NewReader(text), func() error { return nil })
			b := &body{w: &w}
			for _, n := range sizes {
				if err := in.chunk(b, int64(n)); err != nil {
					t.Fatal(err)
				}
			}
			b.finish()
			in.release()
			return w.String(), b.fault
		}
		want := strings.ReplaceAll(text, "\r\n", "\n")
		ok := !strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00")
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		for _, sizes := range [][]int{{len(text)}, {cut, len(text) - cut}} {
			got, err := read(sizes...)
			if ok != (err == nil) || ok && got != want {
				t.Fatalf("%q in %v: got %q, %v; want %q, %v", text, sizes, got, err, want, ok)
			}
		}
	})
}

// FuzzParse puts a line through all parsers of commands.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME RET=FULL ENVID=x+20y SMTPUTF8 AUTH=<>", "RCPT TO:<a@b> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b",
		"BDAT 17 LAST", "MAIL FROM: <>", "VRFY x", "mail", "", "550 5.7.1 text",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var up [16]byte
		verb, arg := splitVerb([]byte(line), &up)
		if len(verb) > 0 && (!strings.EqualFold(string(verb), line[:len(verb)]) || !strings.Contains(line, string(arg))) {
			t.Fatalf("%q: verb %q, argument %q", line, verb, arg)
		}
		if rest, ok := cutKeyword(string(arg), "FROM:"); ok {
			if _, params, err := path(rest); err == nil {
				if o, e := parseMail(params, offer{true, true, true, &byRule{least: time.Minute}}); e == nil && (o.Size < 0 || !printableText(o.EnvelopeID)) {
					t.Fatalf("%q: %+v", line, o)
				}
			}
		}
		if o, e := parseRcpt(string(arg)); e == nil {
			if _, again := parseRcpt("NOTIFY=" + notifyText(o.Notify)); len(o.Notify) > 0 && again != nil {
				t.Fatalf("%q: %v", line, again)
			}
			if text := orcptText(&o); !printableText(text) {
				t.Fatalf("%q: ORCPT %q", line, text)
			}
		}
		if n, _, ok := parseChunk(string(arg)); ok && n < 0 {
			t.Fatalf("%q: %d octets", line, n)
		}
		e := parseReply(5, strings.Fields(line))
		reply := appendReply(nil, e.Code, e.EnhancedCode, e.Message)
		if !bytes.HasSuffix(reply, []byte("\r\n")) || bytes.ContainsAny(reply[:len(reply)-2], "\r\x00") {
			t.Fatalf("%q: reply %q", line, reply)
		}
		for _, l := range bytes.Split(bytes.TrimSuffix(reply, []byte("\r\n")), []byte("\r\n")) {
			if len(l) < 4 || l[0] != '5' || len(l) > 512 || bytes.ContainsAny(l, "\n") {
				t.Fatalf("%q: reply %q", line, reply)
			}
		}
		heloText(line)
	})
}

// FuzzAnswer reads what a router might say.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"1\tok\t250\t2.1.5\tOk", "2\treject", "3\tdefer\t999\t9.9.9\tx\\n", "x", "1\tok\t550\t5.1.1\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		_, a, err := parseAnswer(line)
		if err == nil && (a.ok != (a.code/100 == 2) || a.code/100 != a.ec[0] || a.text == "") {
			t.Fatalf("%q: %+v", line, a)
		}
	})
}

// FuzzSession throws octets at a whole session. Whatever they are, it comes to an
// end, and each message accepted has had its 354 or its BDAT.
func FuzzSession(f *testing.F) {
	const hello = "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\n"
	for _, s := range []string{
		hello + "DATA\r\nx\r\n.\r\nQUIT\r\n", hello + "BDAT 3\r\nabcBDAT 0 LAST\r\nRSET\r\n", hello + "DATA\r\nx\n.\nMAIL\r\n.\r\n",
		"BDAT 10\r\n" + hello, "EHLO x\r\nSTARTTLS\r\nVRFY x\r\nHELP\r\nNOOP\r\n", strings.Repeat("x", 5000) + "\r\n",
	} {
		f.Add(s)
	}
	conf := testConf(f)
	sp, err := conf.OpenSpool()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var out strings.Builder
		if err := localSession(t.Context(), conf, sp, strings.NewReader(text), &out, LocalUser{Name: "joe"}); errors.Is(err, errPanic) {
			t.Fatalf("%q: %v", text, err)
		}
		for line := range strings.Lines(out.String()) {
			if len(line) < 6 || line[0] < '2' || line[0] > '5' || !strings.HasSuffix(line, "\r\n") {
				t.Fatalf("%q: reply %q", text, line)
			}
		}
		accepted := strings.Count(out.String(), "queued as")
		if begun := strings.Count(out.String(), "354 ") + strings.Count(strings.ToUpper(text), "BDAT"); accepted > begun {
			t.Fatalf("%q: %d messages accepted, %d begun\n%s", text, accepted, begun, out.String())
		}
	})
}
