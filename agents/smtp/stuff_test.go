package smtp

import (
	"bytes"
	"strings"
	"testing"
)

// canonical is the text that the stuffer's output stands for, made the slow way:
// lines end with CRLF, other CRs are spaces, the last line has an end.
func canonical(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.HasSuffix(text, "\r") {
		text = text[:len(text)-1] + "\n"
	}
	text = strings.ReplaceAll(text, "\r", " ")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return strings.ReplaceAll(text, "\n", "\r\n")
}

// unstuff reads the content of DATA as a server does, up to the final dot.
func unstuff(t *testing.T, wire []byte) (text string, rest []byte) {
	t.Helper()
	var b strings.Builder
	for {
		line, after, ok := bytes.Cut(wire, []byte("\r\n"))
		if !ok {
			t.Fatalf("no end of content: %q", wire)
		}
		wire = after
		if string(line) == "." {
			return b.String(), wire
		}
		b.Write(bytes.TrimPrefix(line, []byte(".")))
		b.WriteString("\r\n")
	}
}

func checkStuffer(t *testing.T, text string, cut int) {
	t.Helper()
	for _, dots := range []bool{true, false} {
		st := stuffer{dots: dots}
		var wire []byte
		for rest := []byte(text); len(rest) > 0; {
			n := min(len(rest), cut)
			wire = st.append(wire, rest[:n])
			rest = rest[n:]
		}
		wire = st.finish(wire)
		if bare := bytes.ReplaceAll(wire, []byte("\r\n"), nil); bytes.ContainsAny(bare, "\r\n") {
			t.Fatalf("bare CR or LF: %q from %q cut at %d", wire, text, cut)
		}
		got := string(wire)
		if dots {
			var rest []byte
			if got, rest = unstuff(t, wire); len(rest) > 0 {
				t.Fatalf("%q after the end of content, from %q cut at %d", rest, text, cut)
			}
		}
		if want := canonical(text); got != want {
			t.Fatalf("got %q, want %q, from %q cut at %d", got, want, text, cut)
		}
	}
}

var stuffSeeds = []string{
	"", "\n", ".", ".\n", "..\n.", "a\n.\nb", "a\r\n.\r\nb", "a\r.\rb", "\r", "\r\r\n", "\n.\r\n.\n", "a\r", "a\n\r", "\r\n.\r", "\r.\r\n", ".\r\n",
	"a\n.\r\rMAIL FROM:<x>\n", "\x00\xff\n.",
}

func TestStuffer(t *testing.T) {
	for _, text := range stuffSeeds {
		for cut := 1; cut <= len(text)+1; cut++ {
			checkStuffer(t, text, cut)
		}
	}
}

func FuzzStuffer(f *testing.F) {
	for i, text := range stuffSeeds {
		f.Add(text, i%3+1)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		checkStuffer(t, text, max(cut%64, 1))
	})
}

func BenchmarkStuffer(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("x", 70)+"\n", 58))
	var dst []byte
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		st := stuffer{dots: true}
		dst = st.finish(st.append(dst[:0], text))
	}
}
