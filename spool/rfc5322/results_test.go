package rfc5322

import "testing"

func TestResultsBy(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"mx.example.org; none":             "mx.example.org",
		" mx.example.org;none":             "mx.example.org",
		"(a (b\\) c)) mx.example.org 1; x": "mx.example.org",
		"mx.example.org(c); x":             "mx.example.org",
		`"mx.example\.org"; x`:             "mx.example.org",
		"(never closed mx.example.org":     "",
	} {
		if got := ResultsBy(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzResultsBy(f *testing.F) {
	f.Add("(a) \"b\\")
	f.Fuzz(func(t *testing.T, in string) { ResultsBy(in) })
}
