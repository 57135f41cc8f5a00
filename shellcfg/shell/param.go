package shell

import (
	"os"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

func itoa(n int) string     { return strconv.Itoa(n) }
func itoa64(n int64) string { return strconv.FormatInt(n, 10) }

// indexKind is what stands in ${name[...]}.
type indexKind uint8

const (
	indexNone indexKind = iota
	indexOne            // an element
	indexAt             // [@]
	indexStar           // [*]
)

// index is a subscript: which one applies is known only at run time, since
// whether a name is an associative array is.
type index struct {
	kind indexKind
	num  arith // indexed array; nil when the text is no expression
	key  *word // associative array
}

// paramOp is the operator of an expansion.
type paramOp uint8

const (
	opNone paramOp = iota
	opDefault
	opAssign
	opError
	opAlternate
	opCutPrefix
	opCutSuffix
	opReplace
	opUpper
	opLower
	opSlice
	opQuote // ${x@Q}
)

// paramPart is ${...} with operators.
type paramPart struct {
	pos  Position
	src  string // the parameter as written, for messages
	slot int    // variable, or -1
	arg  int    // $1...; 0: none
	name byte   // special parameter, or 0
	idx  index

	length, indirect, keys bool
	prefixNames            string // ${!prefix*}
	names                  bool

	op            paramOp
	colon, double bool // `:-` rather than `-`; `##`, `%%`, `^^`, `,,`, `//`
	anchor        byte // ${x/#a/b}, ${x/%a/b}
	arg1          *word
	pat           *patWord
	offset, count arith
}

// isList tells whether the expansion can be several fields inside quotes.
func (p *paramPart) isList(in *interp) bool {
	if p.names {
		return p.name == '@'
	}
	if (p.op == opDefault || p.op == opAlternate) && p.arg1 != nil && wordHasList(p.arg1, in) {
		return true
	}
	return (p.name == '@' || p.idx.kind == indexAt) && !p.length
}

func wordHasList(w *word, in *interp) bool {
	for _, q := range w.parts {
		if l, ok := q.(listPart); ok && l.isList(in) {
			return true
		}
		if d, ok := q.(*quotedPart); ok {
			for _, q := range d.parts {
				if l, ok := q.(listPart); ok && l.isList(in) {
					return true
				}
			}
		}
	}
	return false
}

func (p *paramPart) many() bool {
	return p.names || (p.name == '@' || p.name == '*' || p.idx.kind == indexAt || p.idx.kind == indexStar)
}

func (p *paramPart) star() bool { return p.name == '*' || p.idx.kind == indexStar }

func (p *paramPart) text(in *interp) string {
	if p.many() && !p.length {
		vals, alt := p.list(in)
		if alt {
			return p.arg1.text(in)
		}
		if p.star() {
			return strings.Join(vals, in.joinChar())
		}
		return strings.Join(vals, " ")
	}
	s, alt := p.scalar(in)
	if alt {
		return p.arg1.text(in)
	}
	return s
}

func (p *paramPart) expand(in *interp, f *fields, quoted bool) {
	if p.many() && !p.length {
		vals, alt := p.list(in)
		switch {
		case alt:
			p.expandArg(in, f, quoted)
		case quoted && p.star():
			f.add(strings.Join(vals, in.joinChar()))
		default:
			f.list(in, vals, quoted)
		}
		return
	}
	s, alt := p.scalar(in)
	switch {
	case alt:
		p.expandArg(in, f, quoted)
	case quoted:
		f.add(s)
	default:
		f.split(in, s)
	}
}

// expandArg expands the word of ${x:-word} in place of the parameter.
func (p *paramPart) expandArg(in *interp, f *fields, quoted bool) {
	if len(p.arg1.parts) == 0 {
		if quoted {
			f.add(p.arg1.lit)
		} else if p.arg1.lit != "" {
			f.split(in, p.arg1.lit)
		}
		return
	}
	for _, q := range p.arg1.parts {
		q.expand(in, f, quoted)
	}
}

// raw returns the value of the parameter before the operator.
func (p *paramPart) raw(in *interp) (string, bool) {
	switch {
	case p.arg > 0:
		if p.arg <= len(in.args) {
			return in.args[p.arg-1], true
		}
		return "", false
	case p.name != 0:
		return in.special(p.name), true
	case p.idx.kind == indexNone:
		return in.vars[p.slot].value()
	}
	return in.element(p.slot, &p.idx)
}

// element returns one element of an array.
func (in *interp) element(slot int, x *index) (string, bool) {
	v := &in.vars[slot]
	if v.arr != nil && v.arr.assoc {
		return v.arr.getKey(x.key.text(in))
	}
	if x.num == nil {
		in.fatalf("%s[%s]: not an arithmetic expression", in.syms.name(slot), x.key.src)
		return "", false
	}
	i := x.num.eval(in)
	v = &in.vars[slot] // the subscript may have assigned
	if v.arr == nil {
		if i == 0 || i == -1 {
			return v.str, v.set
		}
		return "", false
	}
	return v.arr.get(int(i))
}

// scalar evaluates an expansion of one value. alt: the word applies instead.
func (p *paramPart) scalar(in *interp) (s string, alt bool) {
	if p.length && p.many() {
		return itoa(p.count0(in)), false
	}
	s, set := p.raw(in)
	if p.indirect {
		s, set = p.follow(in, s)
	}
	if in.flow == flowAbort {
		return "", false
	}
	switch p.op {
	case opDefault, opAssign, opError, opAlternate:
		return p.conditional(in, s, set)
	}
	if !set && in.nounset {
		in.unbound(&p.pos, p.src)
		return "", false
	}
	if !set && !p.length { // even ${x/#/y} makes nothing of it
		return "", false
	}
	if !in.charge(len(s)) {
		return "", false
	}
	if p.length {
		return itoa(utf8.RuneCountInString(s)), false
	}
	if p.op == opSlice {
		return p.slice(in, s), false
	}
	return p.apply(in, s), false
}

// conditional handles the operators that look at whether a value is there.
func (p *paramPart) conditional(in *interp, s string, set bool) (string, bool) {
	missing := !set || p.colon && s == ""
	if p.op == opAlternate {
		return "", !missing
	}
	if !missing {
		return s, false
	}
	switch p.op {
	case opAssign:
		s = p.arg1.text(in)
		in.assignElement(p.slot, &p.idx, s)
		return s, false
	case opError:
		msg := p.arg1.text(in)
		if msg == "" {
			msg = "parameter null or not set"
		}
		in.pos = &p.pos
		in.fatalf("%s: %s", p.src, msg)
		return "", false
	}
	return "", true
}

// follow resolves ${!name}: the value names a variable. The value selects, it
// is not evaluated.
func (p *paramPart) follow(in *interp, name string) (string, bool) {
	if !validName(name) {
		if n, err := strconv.Atoi(name); err == nil && n > 0 {
			if n <= len(in.args) {
				return in.args[n-1], true
			}
			return "", false
		}
		in.pos = &p.pos
		in.fatalf("${!%s}: %.40q is not a variable name", p.src, name)
		return "", false
	}
	return in.lookupVar(name)
}

// count0 is ${#@}, ${#a[@]}.
func (p *paramPart) count0(in *interp) int {
	if p.name != 0 {
		return len(in.args)
	}
	v := &in.vars[p.slot]
	switch {
	case v.arr != nil:
		return len(v.arr.vals)
	case v.set:
		return 1
	}
	return 0
}

// list evaluates an expansion of many values.
func (p *paramPart) list(in *interp) (vals []string, alt bool) {
	switch {
	case p.names:
		return in.namesWithPrefix(p.prefixNames), false
	case p.name != 0:
		vals = in.args
	default:
		v := &in.vars[p.slot]
		switch {
		case v.arr != nil && p.keys:
			vals = v.arr.names()
		case v.arr != nil:
			vals = v.arr.vals
		case v.set && p.keys:
			vals = []string{"0"}
		case v.set:
			vals = []string{v.str}
		}
	}
	switch p.op {
	case opNone:
		return vals, false
	case opDefault, opAlternate, opError, opAssign:
		missing := len(vals) == 0 || p.colon && strings.Join(vals, "") == ""
		if p.op == opAlternate {
			return nil, !missing
		}
		if missing && p.op != opDefault {
			in.pos = &p.pos
			in.fatalf("%s: %s", p.src, p.arg1.text(in))
		}
		return vals, missing
	case opSlice:
		return p.sliceList(in, vals), false
	}
	out := make([]string, len(vals))
	for i, s := range vals {
		out[i] = p.apply(in, s)
	}
	return out, false
}

func (in *interp) namesWithPrefix(prefix string) []string {
	var out []string
	for i := range in.vars {
		if in.vars[i].set && strings.HasPrefix(in.syms.name(i), prefix) {
			out = append(out, in.syms.name(i))
		}
	}
	sort.Strings(out)
	return out
}

// special returns a special parameter.
func (in *interp) special(name byte) string {
	switch name {
	case '?':
		return itoa(in.status)
	case '#':
		return itoa(len(in.args))
	case '0':
		return in.arg0
	case '$':
		return itoa(os.Getpid())
	case '-':
		flags := "f"
		if in.errexit {
			flags = "e" + flags
		}
		if in.nounset {
			flags += "u"
		}
		return flags
	}
	return ""
}
