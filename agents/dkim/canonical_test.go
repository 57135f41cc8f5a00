package dkim

import (
	"bytes"
	"io"
	"testing"
)

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
