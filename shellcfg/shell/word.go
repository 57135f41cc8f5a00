package shell

import (
	"strings"
)

// part is a piece of a word.
type part interface {
	// text is the value of the piece as in an assignment or inside quotes.
	text(in *interp) string
	// expand adds the piece to the fields being built, splitting it unless
	// quoted.
	expand(in *interp, f *fields, quoted bool)
}

// word is a compiled shell word.
type word struct {
	lit   string // the whole value, when there are no parts
	parts []part
	one   bool // always exactly one field
	src   string
}

// text evaluates the word without splitting.
func (w *word) text(in *interp) string {
	switch len(w.parts) {
	case 0:
		return w.lit
	case 1:
		return w.parts[0].text(in)
	}
	return in.concat(w.parts)
}

// concat joins parts in the scratch buffer, used as a stack because a part may
// run commands that evaluate words of their own.
func (in *interp) concat(parts []part) string {
	mark := len(in.scratch)
	for _, p := range parts {
		s := p.text(in)
		in.scratch = append(in.scratch, s...)
	}
	n := len(in.scratch) - mark
	if n > fuelBytes && !in.checkSize(n) {
		in.scratch = in.scratch[:mark]
		return ""
	}
	s := string(in.scratch[mark:])
	in.scratch = in.scratch[:mark]
	if cap(in.scratch) > 1<<20 {
		in.scratch = append([]byte(nil), in.scratch...)
	}
	return s
}

// expand adds the fields of the word to f.
func (w *word) expand(in *interp, f *fields) {
	if w.one {
		f.out = append(f.out, w.text(in))
		return
	}
	for _, p := range w.parts {
		p.expand(in, f, false)
		if in.flow != flowNone {
			return
		}
	}
	f.end()
}

// litPart is literal text. It is subject to splitting only as the unquoted
// word of ${x:-word}.
type litPart struct {
	s      string
	splits bool
}

func (p *litPart) text(*interp) string { return p.s }
func (p *litPart) expand(in *interp, f *fields, quoted bool) {
	if p.splits && !quoted {
		f.split(in, p.s)
		return
	}
	f.add(p.s)
}

// quotedPart is "...".
type quotedPart struct{ parts []part }

func (p *quotedPart) text(in *interp) string {
	switch len(p.parts) {
	case 0:
		return ""
	case 1:
		return p.parts[0].text(in)
	}
	return in.concat(p.parts)
}

// expand makes one field, or as many as "$@" has. Beside a "$@" empty text does
// not count: "$@$empty" is no field at all when there are no parameters.
func (p *quotedPart) expand(in *interp, f *fields, _ bool) {
	lists := false
	for _, q := range p.parts {
		if l, ok := q.(listPart); ok && l.isList(in) {
			lists = true
		}
	}
	if !lists {
		f.add(p.text(in))
		return
	}
	for _, q := range p.parts {
		if l, ok := q.(listPart); ok && l.isList(in) {
			l.expand(in, f, true)
		} else if s := q.text(in); s != "" {
			f.add(s)
		}
	}
}

// listPart is a part that may be several fields even inside quotes.
type listPart interface {
	part
	isList(in *interp) bool
}

// varPart is $name: the common case, without operators.
type varPart struct {
	slot int
	pos  Position
}

func (p *varPart) text(in *interp) string {
	v := &in.vars[p.slot]
	if v.arr == nil && v.set {
		return v.str
	}
	s, ok := v.value()
	if !ok && in.nounset {
		in.unbound(&p.pos, in.syms.name(p.slot))
	}
	return s
}

func (p *varPart) expand(in *interp, f *fields, quoted bool) {
	s := p.text(in)
	if quoted {
		f.add(s)
		return
	}
	f.split(in, s)
}

func (in *interp) unbound(pos *Position, name string) {
	in.pos = pos
	in.fatalf("%s: unbound variable", name)
}

// argPart is $1, $2, ...
type argPart struct {
	n   int
	pos Position
}

func (p *argPart) text(in *interp) string {
	if p.n <= len(in.args) {
		return in.args[p.n-1]
	}
	if in.nounset {
		in.unbound(&p.pos, "$"+itoa(p.n))
	}
	return ""
}

func (p *argPart) expand(in *interp, f *fields, quoted bool) {
	s := p.text(in)
	if quoted {
		f.add(s)
		return
	}
	f.split(in, s)
}

// allPart is $@ or $*.
type allPart struct{ star bool }

func (p *allPart) isList(*interp) bool { return !p.star }

func (p *allPart) text(in *interp) string {
	if p.star {
		return strings.Join(in.args, in.joinChar())
	}
	return strings.Join(in.args, " ")
}

func (p *allPart) expand(in *interp, f *fields, quoted bool) {
	if quoted && p.star {
		f.add(p.text(in))
		return
	}
	f.list(in, in.args, quoted)
}

// specialPart is $?, $#, $0 and the like.
type specialPart struct{ name byte }

func (p *specialPart) text(in *interp) string { return in.special(p.name) }
func (p *specialPart) expand(in *interp, f *fields, quoted bool) {
	if quoted {
		f.add(p.text(in))
		return
	}
	f.split(in, p.text(in))
}

// substPart is $(...).
type substPart struct{ body node }

func (p *substPart) text(in *interp) string { return in.capture(p.body) }
func (p *substPart) expand(in *interp, f *fields, quoted bool) {
	if quoted {
		f.add(p.text(in))
		return
	}
	f.split(in, p.text(in))
}

// arithPart is $((...)).
type arithPart struct {
	x   arith
	pos Position
}

func (p *arithPart) text(in *interp) string {
	in.pos = &p.pos
	return itoa64(p.x.eval(in))
}
func (p *arithPart) expand(in *interp, f *fields, quoted bool) {
	if quoted {
		f.add(p.text(in))
		return
	}
	f.split(in, p.text(in))
}
