package spool

import (
	"slices"
	"strings"
	"testing"
)

func TestLineRoundTrip(t *testing.T) {
	for _, fields := range [][]string{
		{""}, {"a", "b"}, {"", ""}, {"tab\there", "nl\nhere", "cr\r", "back\\slash", "nul\x00", "del\x7f"},
		{"ünïcode", strings.Repeat("\\", 100)},
	} {
		line := string(AppendLine(nil, fields...))
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Errorf("%q: not one line", line)
		}
		got, err := SplitLine(strings.TrimSuffix(line, "\n"), 10)
		if err != nil || !slices.Equal(got, fields) {
			t.Errorf("%q: got %q, %v", fields, got, err)
		}
	}
}

func TestSplitLineRefuses(t *testing.T) {
	for _, line := range []string{`\`, `a\`, `\q`, `\x1`, `\xgg`, strings.Repeat("\t", 10)} {
		if f, err := SplitLine(line, 10); err == nil {
			t.Errorf("%q: got %q, want an error", line, f)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\tb\\n", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		SplitLine(a, 4)
		line := string(AppendLine(nil, a, b))
		got, err := SplitLine(line[:len(line)-1], 2)
		if err != nil || got[0] != a || got[1] != b {
			t.Fatalf("%q %q: got %q, %v", a, b, got, err)
		}
	})
}
