package shell

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func addScripts(f *testing.F) {
	for _, c := range readTable(f) {
		f.Add(c.script)
	}
	for _, c := range refused {
		if len(c.script) < 4096 {
			f.Add(c.script)
		}
	}
	for _, c := range fatal {
		f.Add(c.script)
	}
	f.Add(benchPolicy)
	f.Add(hostileScript)
}

// FuzzLoad: any text is loaded or refused, by an *Error with a position.
func FuzzLoad(f *testing.F) {
	addScripts(f)
	f.Fuzz(func(t *testing.T, script string) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		opts := Options{Fuel: 500, Depth: 10, MaxOutput: 1 << 16, Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(script)), nil
		}}
		p, err := Load(ctx, opts, "fuzz.cf", strings.NewReader(script))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		s := p.Session(ctx, nil)
		for _, fn := range p.Funcs() {
			_, _, _ = s.Output(fn, script, "a")
		}
		s.Close()
		if n := len(p.vars); len(p.Session(ctx, nil).in.vars) != n {
			t.Error("a session left slots behind")
		}
	})
}

// FuzzValues: a value that goes through the constructs of hostileScript comes
// out the same.
func FuzzValues(f *testing.F) {
	for _, v := range hostile {
		f.Add(v)
	}
	opts := Options{Commands: map[string]Command{"host": func(c *Call) int {
		_, _ = io.WriteString(c.Stdout, "ok "+c.Args[0])
		return 0
	}}}
	p, err := Load(context.Background(), opts, "fuzz.cf", strings.NewReader(hostileScript))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if strings.HasSuffix(v, "\n") || strings.Contains(v, "\x00") || len(v) > 1<<16 {
			return
		}
		s := p.Session(context.Background(), nil)
		defer s.Close()
		out, _, err := s.Output("same", v)
		if err != nil || out != "ok "+v {
			t.Errorf("%q: %q %v", v, out, err)
		}
	})
}

// FuzzPattern holds the matcher against regular expressions.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"*@*", "a@b"}, {"a?c*", "abcd"}, {"[a-c]*[!x]", "byz"}, {"*.*.*", "a.b.c.d"}, {"é?*", "éab"}, {"*a*b*a", "xaabbaa"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pat, s string) {
		if len(pat) > 40 || len(s) > 200 || !utf8.ValidString(pat) || !utf8.ValidString(s) {
			return
		}
		p := compilePattern(pat)
		src, ok := patternRegexp(pat)
		if !ok {
			return
		}
		if got, want := p.match(s), regexp.MustCompile(`(?s)^(?:`+src+`)$`).MatchString(s); got != want {
			t.Errorf("%q matches %q: %v, want %v", pat, s, got, want)
		}
		for _, longest := range []bool{false, true} {
			want := searchLength(s, longest, func(n int) bool { return p.match(s[:n]) }, false)
			if got := p.prefix(s, longest); got != want {
				t.Errorf("prefix %q of %q (longest %v): %d, want %d", pat, s, longest, got, want)
			}
			want = searchLength(s, longest, func(n int) bool { return p.match(s[n:]) }, true)
			if got := p.suffix(s, longest); got != want {
				t.Errorf("suffix %q of %q (longest %v): %d, want %d", pat, s, longest, got, want)
			}
		}
	})
}

// searchLength finds the shortest or longest cut by trying all of them.
func searchLength(s string, longest bool, ok func(int) bool, suffix bool) int {
	best := -1
	for n := 0; n <= len(s); n++ {
		if n < len(s) && !utf8.RuneStart(s[n]) || !ok(n) {
			continue
		}
		if best < 0 || longest != suffix {
			best = n
		}
	}
	return best
}

// patternRegexp translates patterns without brackets.
func patternRegexp(pat string) (string, bool) {
	var b bytes.Buffer
	for i := 0; i < len(pat); i++ {
		switch pat[i] {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '[':
			return "", false
		case '\\':
			if i+1 == len(pat) {
				b.WriteString(`\\`)
				continue
			}
			i++
			if pat[i] >= utf8.RuneSelf {
				b.WriteByte(pat[i])
				continue
			}
			fallthrough
		default:
			if pat[i] < utf8.RuneSelf {
				b.WriteString(regexp.QuoteMeta(pat[i : i+1]))
			} else {
				b.WriteByte(pat[i])
			}
		}
	}
	return b.String(), true
}
