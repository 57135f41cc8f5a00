package shell

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxBraces bounds the words one brace expansion makes.
const maxBraces = 4096

// braces performs brace expansion, which is purely textual and so belongs to
// loading.
func (c *compiler) braces(ws []*syntax.Word) []*syntax.Word {
	var out []*syntax.Word
	for _, w := range ws {
		if w == nil || !mayHaveBraces(w) {
			out = append(out, w)
			continue
		}
		split := &syntax.Word{Parts: append([]syntax.WordPart(nil), w.Parts...)}
		syntax.SplitBraces(split)
		for _, e := range c.expandBraces(split, w.Pos()) {
			if len(e.Parts) > 0 { // an empty unquoted word is none
				out = append(out, e)
			}
		}
	}
	return out
}

func mayHaveBraces(w *syntax.Word) bool {
	for _, p := range w.Parts {
		if l, ok := p.(*syntax.Lit); ok && strings.IndexByte(l.Value, '{') >= 0 {
			return true
		}
	}
	return false
}

// expandBraces expands one word that stands at pos; parts made here have no
// position of their own.
func (c *compiler) expandBraces(w *syntax.Word, pos syntax.Pos) []*syntax.Word {
	if len(w.Parts) == 0 {
		return []*syntax.Word{w}
	}
	if !c.deeper(pos) {
		return nil
	}
	defer c.shallower()
	for i, p := range w.Parts {
		b, ok := p.(*syntax.BraceExp)
		if !ok {
			continue
		}
		var middle []*syntax.Word
		if b.Sequence {
			middle = c.braceSequence(b, pos)
		} else {
			for _, e := range b.Elems {
				middle = append(middle, c.expandBraces(e, pos)...)
			}
		}
		tails := c.expandBraces(&syntax.Word{Parts: w.Parts[i+1:]}, pos)
		if len(middle)*len(tails) > maxBraces {
			c.fail(pos, "brace expansion makes more than %d words", maxBraces)
			return nil
		}
		var out []*syntax.Word
		for _, m := range middle {
			for _, t := range tails {
				parts := append(append([]syntax.WordPart(nil), w.Parts[:i]...), m.Parts...)
				out = append(out, &syntax.Word{Parts: append(parts, t.Parts...)})
			}
		}
		return out
	}
	return []*syntax.Word{w}
}

// braceSequence is {1..5}, {01..10..3} and {a..e}.
func (c *compiler) braceSequence(b *syntax.BraceExp, pos syntax.Pos) []*syntax.Word {
	from, to, step := b.Elems[0].Lit(), b.Elems[1].Lit(), 1
	if len(b.Elems) > 2 {
		step, _ = strconv.Atoi(b.Elems[2].Lit())
	}
	if step < 0 {
		step = -step
	}
	if step == 0 {
		step = 1
	}
	lo, err1 := strconv.Atoi(from)
	hi, err2 := strconv.Atoi(to)
	chars := err1 != nil || err2 != nil
	width := 0
	if chars {
		lo, hi = int(from[0]), int(to[0])
	} else if padded(from) || padded(to) {
		width = max(len(from), len(to))
	}
	n := hi - lo
	if n < 0 {
		n = -n
	}
	if n < 0 || n/step >= maxBraces {
		c.fail(pos, "brace expansion makes more than %d words", maxBraces)
		return nil
	}
	var out []*syntax.Word
	for i := 0; i <= n/step; i++ {
		v := lo + i*step
		if hi < lo {
			v = lo - i*step
		}
		s := string(rune(v))
		if !chars {
			s = padNumber(v, width)
		}
		out = append(out, &syntax.Word{Parts: []syntax.WordPart{&syntax.Lit{ValuePos: pos, ValueEnd: pos, Value: s}}})
	}
	return out
}

func padded(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return len(s) > 1 && s[0] == '0'
}

func padNumber(v, width int) string {
	s := strconv.Itoa(v)
	if pad := width - len(s); pad > 0 {
		if v < 0 {
			return "-" + strings.Repeat("0", pad) + s[1:]
		}
		return strings.Repeat("0", pad) + s
	}
	return s
}
