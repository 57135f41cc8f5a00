package shell

import (
	"strings"
	"unicode/utf8"
)

// pattern is a compiled shell pattern: segments of fixed shape with `*` between
// them. Matching a segment never backtracks and segments are placed greedily,
// so no pattern takes more than (length of text) x (length of pattern) steps.
type pattern struct {
	segs []segment // n stars have n+1 segments around them; some may be empty
	lit  string    // the text, when there is nothing special in it
	any  bool      // just `*`
}

// segment is a sequence of items that each match one character or a text.
type segment struct {
	items []item
	lit   string // all of it, when isLit
	isLit bool
}

// item matches a literal text, any character, or one of a set.
type item struct {
	lit string
	set *charset // nil with empty lit: any character
}

// compilePattern reads pattern text in which a backslash quotes the next
// character. Every text is a valid pattern: an unclosed `[` is itself.
func compilePattern(src string) *pattern {
	p := &pattern{}
	var seg segment
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			seg.items = append(seg.items, item{lit: lit.String()})
			lit.Reset()
		}
	}
	closeSeg := func() {
		flush()
		seg.isLit = len(seg.items) == 0 || len(seg.items) == 1 && seg.items[0].lit != ""
		if len(seg.items) == 1 {
			seg.lit = seg.items[0].lit
		}
		p.segs = append(p.segs, seg)
		seg = segment{}
	}
	for i := 0; i < len(src); {
		switch c := src[i]; c {
		case '\\':
			if i+1 < len(src) {
				i++
			}
			lit.WriteByte(src[i])
			i++
		case '*':
			closeSeg()
			for i < len(src) && src[i] == '*' {
				i++
			}
		case '?':
			flush()
			seg.items = append(seg.items, item{})
			i++
		case '[':
			set, n := parseSet(src[i:])
			if n == 0 {
				lit.WriteByte('[')
				i++
				break
			}
			flush()
			seg.items = append(seg.items, item{set: set})
			i += n
		default:
			lit.WriteByte(c)
			i++
		}
	}
	closeSeg()
	if len(p.segs) == 1 && p.segs[0].isLit {
		p.lit = p.segs[0].lit
	}
	p.any = len(p.segs) == 2 && len(p.segs[0].items) == 0 && len(p.segs[1].items) == 0
	return p
}

// forward matches the segment at the start of s and returns the length
// matched, or -1.
func (g *segment) forward(s string) int {
	if g.isLit {
		if strings.HasPrefix(s, g.lit) {
			return len(g.lit)
		}
		return -1
	}
	pos := 0
	for i := range g.items {
		it := &g.items[i]
		if it.lit != "" {
			if !strings.HasPrefix(s[pos:], it.lit) {
				return -1
			}
			pos += len(it.lit)
			continue
		}
		if pos == len(s) {
			return -1
		}
		r, n := utf8.DecodeRuneInString(s[pos:])
		if it.set != nil && !it.set.has(r) {
			return -1
		}
		pos += n
	}
	return pos
}

// backward matches the segment at the end of s and returns where it begins,
// or -1.
func (g *segment) backward(s string) int {
	if g.isLit {
		if strings.HasSuffix(s, g.lit) {
			return len(s) - len(g.lit)
		}
		return -1
	}
	pos := len(s)
	for i := len(g.items) - 1; i >= 0; i-- {
		it := &g.items[i]
		if it.lit != "" {
			if !strings.HasSuffix(s[:pos], it.lit) {
				return -1
			}
			pos -= len(it.lit)
			continue
		}
		if pos == 0 {
			return -1
		}
		r, n := utf8.DecodeLastRuneInString(s[:pos])
		if it.set != nil && !it.set.has(r) {
			return -1
		}
		pos -= n
	}
	return pos
}

func span(at, n int) (int, int) {
	if at < 0 {
		return -1, -1
	}
	return at, at + n
}

// first finds the leftmost match in s: start and end, or -1.
func (g *segment) first(s string) (int, int) {
	if g.isLit {
		return span(strings.Index(s, g.lit), len(g.lit))
	}
	for i := 0; ; {
		if n := g.forward(s[i:]); n >= 0 {
			return i, i + n
		}
		if i >= len(s) {
			return -1, -1
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
}

// last finds the rightmost match in s: start and end, or -1.
func (g *segment) last(s string) (int, int) {
	if g.isLit {
		return span(strings.LastIndex(s, g.lit), len(g.lit))
	}
	for e := len(s); ; {
		if b := g.backward(s[:e]); b >= 0 {
			return b, e
		}
		if e == 0 {
			return -1, -1
		}
		_, n := utf8.DecodeLastRuneInString(s[:e])
		e -= n
	}
}

// match tells whether the pattern matches all of s.
func (p *pattern) match(s string) bool {
	last := len(p.segs) - 1
	if last == 0 {
		if p.segs[0].isLit {
			return s == p.lit
		}
		return p.segs[0].forward(s) == len(s)
	}
	n := p.segs[0].forward(s)
	if n < 0 {
		return false
	}
	s = s[n:]
	b := p.segs[last].backward(s)
	if b < 0 {
		return false
	}
	s = s[:b]
	for i := 1; i < last; i++ {
		_, e := p.segs[i].first(s)
		if e < 0 {
			return false
		}
		s = s[e:]
	}
	return true
}

// prefix returns the length of the shortest or longest prefix of s that the
// pattern matches, or -1.
func (p *pattern) prefix(s string, longest bool) int {
	last := len(p.segs) - 1
	pos := p.segs[0].forward(s)
	if pos < 0 || last == 0 {
		return pos
	}
	for i := 1; i < last; i++ {
		b, e := p.segs[i].first(s[pos:])
		if b < 0 {
			return -1
		}
		pos += e
	}
	var b, e int
	if longest {
		b, e = p.segs[last].last(s[pos:])
	} else {
		b, e = p.segs[last].first(s[pos:])
	}
	if b < 0 {
		return -1
	}
	return pos + e
}

// suffix returns where the shortest or longest suffix that the pattern matches
// begins, or -1.
func (p *pattern) suffix(s string, longest bool) int {
	last := len(p.segs) - 1
	pos := p.segs[last].backward(s)
	if pos < 0 || last == 0 {
		return pos
	}
	for i := last - 1; i > 0; i-- {
		b, _ := p.segs[i].last(s[:pos])
		if b < 0 {
			return -1
		}
		pos = b
	}
	var b int
	if longest {
		b, _ = p.segs[0].first(s[:pos])
	} else {
		b, _ = p.segs[0].last(s[:pos])
	}
	return b
}

// find returns the leftmost longest match in s[from:], or -1. This is the one
// search that can take the square of the length, so it pays as it goes.
func (p *pattern) find(in *interp, s string, from int) (int, int) {
	if len(p.segs) == 1 {
		b, e := p.segs[0].first(s[from:])
		if b < 0 {
			return -1, -1
		}
		return from + b, from + e
	}
	for i := from; ; {
		if p.segs[0].forward(s[i:]) >= 0 {
			if n := p.prefix(s[i:], true); n >= 0 {
				return i, i + n
			}
			if !in.charge(len(s) - i) {
				return -1, -1
			}
		}
		if i >= len(s) {
			return -1, -1
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
}

// quotePattern makes text match itself.
func quotePattern(s string) string {
	if !strings.ContainsAny(s, `\*?[]-!^`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(`\*?[]-!^`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// patWord is a word used as a pattern: compiled at load when it is constant.
type patWord struct {
	fixed *pattern
	parts []patPart
}

// patPart is a piece of a dynamic pattern; quoted pieces match themselves.
type patPart struct {
	p      part
	quoted bool
}

const maxCached = 128

// pattern returns the compiled pattern. Dynamic ones go through a small cache.
func (w *patWord) pattern(in *interp) *pattern {
	if w.fixed != nil {
		return w.fixed
	}
	var src string
	for _, pp := range w.parts {
		s := pp.p.text(in)
		if pp.quoted {
			s = quotePattern(s)
		}
		src += s
	}
	if p := in.patterns[src]; p != nil {
		return p
	}
	in.charge(len(src))
	p := compilePattern(src)
	if len(src) > 1024 {
		return p
	}
	if in.patterns == nil || len(in.patterns) >= maxCached {
		in.patterns = make(map[string]*pattern)
	}
	in.patterns[src] = p
	return p
}
