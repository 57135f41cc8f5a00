package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// quoting is the context of a piece of a word.
type quoting uint8

const (
	quoteNone   quoting = iota
	quoteDouble         // "..." and what is like it
	quoteParam          // the word of "${x:-word}"
	quoteHere           // a here-document: like "..." but " is itself
	quoteArg            // the unquoted word of ${x:-word}: literal text splits
)

// word compiles a word.
func (c *compiler) word(w *syntax.Word, q quoting) *word {
	if w == nil || len(w.Parts) == 0 {
		return &word{one: true}
	}
	if !c.deeper(w.Pos()) {
		return &word{one: true}
	}
	defer c.shallower()
	out := &word{one: true}
	parts := w.Parts
	if q == quoteNone {
		var home part
		if home, parts = c.tilde(parts); home != nil {
			out.parts = append(out.parts, home)
		}
	}
	out.parts = append(out.parts, c.parts(parts, q)...)
	out.one = q != quoteArg
	for _, p := range out.parts {
		switch x := p.(type) {
		case *litPart:
		case *quotedPart:
			if quotedHasList(x) {
				out.one = false
			}
		default:
			if q == quoteNone || q == quoteArg || isListPart(p) {
				out.one = false
			}
		}
	}
	if lit, ok := foldLiteral(out.parts); ok {
		if q == quoteArg {
			return out
		}
		out.lit, out.parts = lit, nil
	}
	return out
}

func isListPart(p part) bool {
	_, ok := p.(listPart)
	return ok
}

func quotedHasList(q *quotedPart) bool {
	for _, p := range q.parts {
		if isListPart(p) {
			return true
		}
	}
	return false
}

// foldLiteral joins parts that are all constant.
func foldLiteral(parts []part) (string, bool) {
	var b strings.Builder
	for _, p := range parts {
		switch x := p.(type) {
		case *litPart:
			b.WriteString(x.s)
		case *quotedPart:
			s, ok := foldLiteral(x.parts)
			if !ok {
				return "", false
			}
			b.WriteString(s)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// assignWord compiles the right side of an assignment, where a tilde is also
// expanded after each colon and nothing splits.
func (c *compiler) assignWord(w *syntax.Word) *word {
	out := c.word(w, quoteNone)
	if len(w.Parts) == 0 {
		return out
	}
	for _, p := range w.Parts {
		if l, ok := p.(*syntax.Lit); ok && strings.Contains(l.Value, ":~") {
			return c.colonTildes(w)
		}
	}
	return out
}

// colonTildes handles PATH=a:~/b.
func (c *compiler) colonTildes(w *syntax.Word) *word {
	out := &word{}
	first := true
	for _, p := range w.Parts {
		l, ok := p.(*syntax.Lit)
		if !ok {
			out.parts = append(out.parts, c.parts([]syntax.WordPart{p}, quoteNone)...)
			first = false
			continue
		}
		for i, s := range strings.SplitAfter(l.Value, ":") {
			lit := &syntax.Lit{ValuePos: l.ValuePos, ValueEnd: l.ValueEnd, Value: s}
			rest := []syntax.WordPart{lit}
			if first || i > 0 {
				var home part
				if home, rest = c.tilde(rest); home != nil {
					out.parts = append(out.parts, home)
				}
			}
			out.parts = append(out.parts, c.parts(rest, quoteNone)...)
		}
		first = false
	}
	return out
}

// tilde expands ~ and ~/ at the start of a word.
func (c *compiler) tilde(parts []syntax.WordPart) (part, []syntax.WordPart) {
	if len(parts) == 0 {
		return nil, parts
	}
	l, ok := parts[0].(*syntax.Lit)
	if !ok || !strings.HasPrefix(l.Value, "~") {
		return nil, parts
	}
	name, _, _ := strings.Cut(l.Value[1:], "/")
	name, _, _ = strings.Cut(name, ":")
	switch {
	case name == "" && (len(l.Value) > 1 || len(parts) == 1):
		rest := append([]syntax.WordPart{&syntax.Lit{ValuePos: l.ValuePos, ValueEnd: l.ValueEnd, Value: l.Value[1:]}}, parts[1:]...)
		return &homePart{}, rest
	case loginName(name) && len(name) == len(l.Value)-1 && len(parts) == 1, loginName(name) && len(name) < len(l.Value)-1:
		c.refuse(l.Pos(), "~"+name, "ask a command for the home directory, or quote the ~")
	}
	return nil, parts
}

func loginName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := rune(s[i]); !(isASCIIAlnum(c) || c == '_' || i > 0 && (c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}

// homePart is ~.
type homePart struct{}

func (homePart) text(in *interp) string                      { s, _ := in.vars[slotHome].value(); return s }
func (p homePart) expand(in *interp, f *fields, quoted bool) { f.add(p.text(in)) }

func (c *compiler) parts(ps []syntax.WordPart, q quoting) []part {
	var out []part
	for _, p := range ps {
		if np := c.part(p, q); np != nil {
			out = append(out, np)
		}
	}
	return out
}

func (c *compiler) part(p syntax.WordPart, q quoting) part {
	switch p := p.(type) {
	case *syntax.Lit:
		return &litPart{s: unescape(p.Value, q), splits: q == quoteArg}
	case *syntax.SglQuoted:
		s := p.Value
		switch {
		case p.Dollar:
			s = unescapeDollar(s)
		case q == quoteParam: // inside "${x:-...}" they do not quote
			if strings.ContainsAny(s, "$`\\") {
				c.refuse(p.Pos(), "single quotes in a quoted ${...}", "they do not quote there; use \\$ for a literal $")
			}
			return &litPart{s: "'" + s + "'"}
		}
		return &quotedPart{[]part{&litPart{s: s}}}
	case *syntax.DblQuoted:
		if p.Dollar {
			c.refuse(p.Pos(), `$"..."`, "there are no translations; drop the $")
		}
		return &quotedPart{c.parts(p.Parts, quoteDouble)}
	case *syntax.ParamExp:
		return c.param(p, q == quoteDouble || q == quoteHere || q == quoteParam)
	case *syntax.CmdSubst:
		if p.TempFile || p.ReplyVar {
			c.refuse(p.Pos(), "this command substitution", "use $(...)")
		}
		if !c.deeper(p.Pos()) {
			return nil
		}
		defer c.shallower()
		return &substPart{c.stmts(p.Stmts)}
	case *syntax.ArithmExp:
		return &arithPart{c.arith(p.X), c.pos(p.Pos())}
	case *syntax.ProcSubst:
		c.refuse(p.Pos(), "process substitution", "use a pipe or a here-document")
	case *syntax.ExtGlob:
		c.refuse(p.Pos(), "the extended pattern "+p.Op.String()+"...)", "use [[ =~ ]] or several case patterns")
	default:
		c.refuse(p.Pos(), "this expansion", "use plain shell")
	}
	return nil
}

// unescape removes the backslashes that quote, by context.
func unescape(s string, q quoting) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case s[i] == '\n':
			continue
		case q == quoteDouble && strings.IndexByte("$`\"\\", s[i]) < 0,
			q == quoteParam && strings.IndexByte("$`\"\\}", s[i]) < 0,
			q == quoteHere && strings.IndexByte("$`\\", s[i]) < 0:
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (funcnamePart) text(in *interp) string {
	if n := len(in.frames); n > 0 {
		return in.frames[n-1].fn.name
	}
	return ""
}

// source shows a word for messages.
func source(w *syntax.Word) string {
	var b strings.Builder
	if err := syntax.NewPrinter().Print(&b, w); err != nil {
		return "?"
	}
	return b.String()
}
