package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// pattern compiles a word used as a pattern.
func (c *compiler) pattern(w *syntax.Word) *patWord {
	out := &patWord{}
	if w == nil {
		out.fixed = compilePattern("")
		return out
	}
	home, parts := c.tilde(w.Parts)
	if home != nil {
		out.parts = append(out.parts, patPart{home, true})
	}
	c.patternParts(out, parts, true)
	src, fixed := "", true
	for _, pp := range out.parts {
		s, ok := foldLiteral([]part{pp.p})
		if !ok {
			fixed = false
			break
		}
		if pp.quoted {
			s = quotePattern(s)
		}
		src += s
	}
	if fixed {
		out.parts = nil
		out.fixed = compilePattern(src)
	}
	return out
}

// patternParts splits a word into pieces that match themselves and pieces
// that are pattern. Backslashes of unquoted text stay for the matcher.
func (c *compiler) patternParts(out *patWord, ps []syntax.WordPart, raw bool) {
	for _, p := range ps {
		switch p := p.(type) {
		case *syntax.Lit:
			s := p.Value
			if raw {
				s = strings.ReplaceAll(s, "\\\n", "")
			}
			out.parts = append(out.parts, patPart{&litPart{s: s}, false})
		case *syntax.SglQuoted, *syntax.DblQuoted:
			if np := c.part(p, quoteNone); np != nil {
				out.parts = append(out.parts, patPart{np, true})
			}
		default:
			if np := c.part(p, quoteNone); np != nil {
				out.parts = append(out.parts, patPart{np, false})
			}
		}
	}
}
