package dkim

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"zmailer/spool/rfc5322"
)

// A line that is too long to be held has the form that it has as a whole, wherever it
// was cut.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", maxBodyLine)
	for _, end := range []string{"\r\n", " \r\n", "\t \r\n\r\n", "y\n", "\n", "", " ", "\r", "  y \r\nz\r\n"} {
		for _, line := range []string{long, strings.Repeat(" ", maxBodyLine+1), long + " ", " " + long} {
			text := "a\r\n\r\n" + line + end
			for _, relaxed := range []bool{false, true} {
				var whole bytes.Buffer
				b := &BodyWriter{W: &whole, Relaxed: relaxed}
				b.Write([]byte(strings.TrimSuffix(text, "\n") + "\n")) // in one: nothing is held
				b.Close()
				for cut := len(text) - len(end) - 2; cut <= len(text); cut++ {
					var pieces bytes.Buffer
					b := &BodyWriter{W: &pieces, Relaxed: relaxed}
					for _, s := range []string{text[:cut], text[cut:]} {
						if _, err := io.WriteString(b, s); err != nil {
							t.Fatal(err)
						}
					}
					b.Close()
					if got := pieces.Bytes(); !bytes.Equal(got, whole.Bytes()) {
						t.Errorf("end %q, relaxed %v, cut %d before the end: %d octets %q, want %d %q", end, relaxed, len(text)-cut,
							len(got), got[len(got)-6:], whole.Len(), whole.Bytes()[whole.Len()-6:])
					}
				}
			}
		}
	}
}

// White space in a field is blanks and tabs: RFC 6376 §2.8.
func TestRelaxedField(t *testing.T) {
	for in, want := range map[string]string{
		"Subject:  a \t b \r\n":  "subject:a b\r\n",
		"SUBJECT : a\r\n\tb\r\n": "subject:a b\r\n",
		"Subject: a\u00a0\n":     "subject:a\u00a0\r\n",
		"Subject: \u2003a\v\n":   "subject:\u2003a\v\r\n",
		"Subject:\n":             "subject:\r\n",
	} {
		if got := RelaxedField(&rfc5322.Field{Raw: []byte(in)}); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestBodies compares the forms of a body with what RFC 6376 §3.4.5 says.
func TestBodies(t *testing.T) {
	for _, tt := range []struct{ in, simple, relaxed string }{
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{"", "\r\n", ""},
		{"\r\n\r\n", "\r\n", ""},
		{" \r\n", " \r\n", ""},
		{"no end", "no end\r\n", "no end\r\n"},
		{"a\n\n b\n", "a\r\n\r\n b\r\n", "a\r\n\r\n b\r\n"},
	} {
		for _, relaxed := range []bool{false, true} {
			for n := 1; n <= len(tt.in)+1; n++ {
				var out bytes.Buffer
				b := &BodyWriter{W: &out, Relaxed: relaxed}
				for s := tt.in; s != ""; {
					k := min(n, len(s))
					if _, err := io.WriteString(b, s[:k]); err != nil {
						t.Fatal(err)
					}
					s = s[k:]
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				want := tt.simple
				if relaxed {
					want = tt.relaxed
				}
				if out.String() != want {
					t.Errorf("%q by %d, relaxed %v: %q, want %q", tt.in, n, relaxed, out.String(), want)
				}
			}
		}
	}
}
