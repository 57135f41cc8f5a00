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

// fields collects the words of one command. cur is the field under
// construction: one string while it has only one piece, else in buf.
type fields struct {
	out     []string
	cur     string
	buf     []byte
	has     bool // there is a field, perhaps an empty quoted one
	joined  bool // it is in buf
	afterWS bool // IFS white space just ended a field
}

// getFields takes a free collector; the words in it stay valid until putFields.
func (in *interp) getFields() *fields {
	if n := len(in.free); n > 0 {
		f := in.free[n-1]
		in.free = in.free[:n-1]
		return f
	}
	return &fields{}
}

func (in *interp) putFields(f *fields) {
	clear(f.out)
	if cap(f.out) > 4096 || cap(f.buf) > 1<<16 {
		f.out, f.buf = nil, nil
	}
	f.out = f.out[:0]
	f.reset()
	in.free = append(in.free, f)
}

func (f *fields) reset() {
	f.cur, f.buf, f.has, f.joined, f.afterWS = "", f.buf[:0], false, false, false
}

// add appends text to the current field.
func (f *fields) add(s string) {
	f.afterWS = false
	switch {
	case !f.has:
		f.cur, f.has = s, true
	case f.joined:
		f.buf = append(f.buf, s...)
	case s != "":
		f.buf = append(append(f.buf[:0], f.cur...), s...)
		f.joined = true
	}
}

// cut finishes the current field even if it is empty.
func (f *fields) cut() {
	if f.joined {
		f.cur = string(f.buf)
	}
	f.out = append(f.out, f.cur)
	f.cur, f.buf, f.has, f.joined = "", f.buf[:0], false, false
}

// end finishes the current field if there is one.
func (f *fields) end() {
	if f.has {
		f.cut()
	}
	f.afterWS = false
}

// ifsTable is IFS as a table of byte classes.
type ifsTable struct {
	value string
	ready bool
	other bool // there is a separator that is not white space
	class [256]byte
}

const (
	ifsNone byte = iota
	ifsWhite
	ifsOther
)

const defaultIFS = " \t\n"

// ifsClass returns the table for the current IFS. An unset IFS splits like the
// default one; only a set and empty one does not split.
func (in *interp) ifsClass() *[256]byte {
	v := &in.vars[slotIFS]
	s := defaultIFS
	if v.set {
		s = v.str
	}
	t := &in.ifs
	if t.ready && t.value == s {
		return &t.class
	}
	t.class, t.other = [256]byte{}, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			t.class[c] = ifsWhite
		case c >= 0x80:
			in.fatalf("IFS: only ASCII characters can separate fields")
		default:
			t.class[c], t.other = ifsOther, true
		}
	}
	t.value, t.ready = s, true
	return &t.class
}

// joinChar is what "$*" puts between its words.
func (in *interp) joinChar() string {
	v := &in.vars[slotIFS]
	switch {
	case !v.set:
		return " "
	case v.str == "":
		return ""
	}
	return v.str[:1]
}

// split adds s to the fields, cutting at IFS (POSIX XCU 2.6.5).
func (f *fields) split(in *interp, s string) {
	if s == "" {
		return
	}
	class := in.ifsClass()
	start := 0
	for i := 0; i < len(s); {
		switch class[s[i]] {
		case ifsNone:
			i++
			continue
		case ifsWhite:
			f.piece(s[start:i])
			for i < len(s) && class[s[i]] == ifsWhite {
				i++
			}
			if f.has {
				f.cut()
				f.afterWS = true
			}
		default: // white space around it belongs to it
			f.piece(s[start:i])
			if f.has || !f.afterWS {
				f.cut()
			}
			f.afterWS = false
			for i++; i < len(s) && class[s[i]] == ifsWhite; i++ {
			}
		}
		start = i
	}
	f.piece(s[start:])
	if len(f.out) > 1000 {
		in.charge(len(s))
	}
}

func (f *fields) piece(s string) {
	if s != "" {
		f.add(s)
	}
}

// list adds several values: each a field of its own, the first and last joined
// with what stands beside them. Unquoted and with an IFS that has
// more than white space, they are joined by its first character and split
// again, as bash does: a separator at the end of one then makes a field.
func (f *fields) list(in *interp, vals []string, quoted bool) {
	if !in.charge(len(vals) * 16) {
		return
	}
	if !quoted && len(vals) > 1 {
		if in.ifsClass(); in.ifs.other {
			f.split(in, strings.Join(vals, in.joinChar()))
			return
		}
	}
	for i, s := range vals {
		if i > 0 {
			if quoted {
				f.cut()
			} else {
				f.end()
			}
		}
		if quoted {
			f.add(s)
		} else {
			f.split(in, s)
		}
	}
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

// lastStatusPart, countPart and the others are the special parameters.
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
type substPart struct {
	body node
	pos  Position
}

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
