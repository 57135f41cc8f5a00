package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// declNode is local, declare, typeset, export and readonly.
type declNode struct {
	name string
	args []declArg
	pos  Position
}

// declArg is one argument: an assignment seen by the parser, or a word whose
// value is an option, a name, or name=value.
type declArg struct {
	assign *assignment
	word   *word
}

func (c *compiler) declClause(x *syntax.DeclClause) node {
	n := &declNode{name: x.Variant.Value, pos: c.line(x.Pos())}
	switch n.name {
	case "local", "declare", "typeset", "export", "readonly":
	default:
		c.refuse(x.Pos(), n.name, "use local or declare")
	}
	for _, a := range x.Args {
		switch {
		case a.Name == nil:
			w := c.word(a.Value, quoteNone)
			if len(w.parts) == 0 && strings.HasPrefix(w.lit, "-") || strings.HasPrefix(w.lit, "+") {
				c.declOption(a, n.name, w.lit)
			}
			n.args = append(n.args, declArg{word: w})
		default:
			as := c.assignment(a)
			if !a.Naked && as.value == nil && !as.isList {
				as.value = &word{one: true}
			}
			n.args = append(n.args, declArg{assign: as})
		}
	}
	return n
}

func (c *compiler) declOption(a *syntax.Assign, name, opt string) {
	ok := map[string]string{"local": "aAxr", "declare": "aAxrg", "typeset": "aAxrg", "export": "n", "readonly": "aA"}[name]
	if opt == "--" {
		return
	}
	if opt[0] == '+' || opt == "-" || strings.Trim(opt[1:], ok) != "" {
		c.refuse(a.Pos(), name+" "+opt, "the options are -"+ok)
	}
}

type declFlags struct{ array, assoc, export, readonly, global, unexport bool }

func (n *declNode) run(in *interp) int {
	in.pos = &n.pos
	if !in.tick() {
		return 1
	}
	if t := in.trace; t != nil && t.Line != nil {
		t.Line(n.pos)
	}
	in.subStatus = 0
	var fl declFlags
	fl.export = n.name == "export"
	fl.readonly = n.name == "readonly"
	if n.name == "local" && len(in.frames) == 0 {
		in.fatalf("local: can only be used in a function")
		return 1
	}
	vals := in.getFields()
	defer in.putFields(vals)
	if !n.evaluate(in, vals) {
		return in.stopped(1)
	}
	in.pos = &n.pos
	rest := vals.out
	for i := range n.args {
		a := &n.args[i]
		if a.assign == nil {
			if !n.dynamic(in, a.count(&rest), &fl) {
				return 1
			}
			continue
		}
		text := ""
		if a.assign.value != nil {
			text, rest = rest[0], rest[1:]
		}
		if !n.declare(in, a.assign, text, &fl) {
			return 1
		}
	}
	return 0
}

// evaluate computes the arguments before anything is declared, as for any
// other command: local x=$x y=$x sees the outer x twice. A word may become
// several; their number stands before them.
func (n *declNode) evaluate(in *interp, vals *fields) bool {
	for i := range n.args {
		a := &n.args[i]
		switch {
		case a.assign == nil:
			at := len(vals.out)
			vals.out = append(vals.out, "")
			a.word.expand(in, vals)
			vals.out[at] = itoa(len(vals.out) - at - 1)
		case a.assign.value != nil:
			vals.out = append(vals.out, a.assign.value.text(in))
		}
		if in.flow != flowNone {
			return false
		}
	}
	return true
}

// count takes the fields that a word became from what evaluate collected.
func (a *declArg) count(rest *[]string) []string {
	n, _ := parseNumber((*rest)[0])
	words := (*rest)[1 : 1+n]
	*rest = (*rest)[1+n:]
	return words
}

// isLocal tells whether the declaration makes a variable of the function.
func (n *declNode) isLocal(in *interp, fl *declFlags) bool {
	switch n.name {
	case "local":
		return true
	case "declare", "typeset":
		return len(in.frames) > 0 && !fl.global
	}
	return false
}

func (n *declNode) declare(in *interp, as *assignment, text string, fl *declFlags) bool {
	var elems *assignment
	if as.isList {
		if elems = as.evaluated(in, fl.assoc); elems == nil {
			return false
		}
	}
	v := n.slot(in, as.slot, fl)
	if v == nil {
		return false
	}
	switch {
	case elems != nil:
		if !elems.assignList(in, fl.assoc) {
			return false
		}
	case as.value != nil:
		if !as.assign(in, text) {
			return false
		}
	}
	in.attributes(as.slot, fl)
	return true
}

// evaluated fixes the words of an array assignment to their present values.
func (a *assignment) evaluated(in *interp, assoc bool) *assignment {
	out := &assignment{slot: a.slot, add: a.add, isList: true, pos: a.pos}
	f := in.getFields()
	defer in.putFields(f)
	for _, e := range a.array {
		if e.idx != nil {
			idx := &index{kind: indexOne}
			if assoc || e.idx.num == nil {
				idx.key = &word{lit: e.idx.key.text(in), src: e.idx.key.src, one: true}
			} else {
				idx.num = arithNum(e.idx.num.eval(in))
				idx.key = e.idx.key
			}
			out.array = append(out.array, arrayElem{idx, &word{lit: wordText(in, e.value), one: true}})
			continue
		}
		f.out = f.out[:0]
		e.value.expand(in, f)
		for _, s := range f.out {
			out.array = append(out.array, arrayElem{nil, &word{lit: s, one: true}})
		}
	}
	if in.flow != flowNone {
		return nil
	}
	return out
}

// slot prepares the variable: local if it is to be, an array if it is to be.
func (n *declNode) slot(in *interp, slot int, fl *declFlags) *variable {
	var v *variable
	if n.isLocal(in, fl) {
		v = in.declareLocal(slot)
	} else {
		v = in.touch(slot)
	}
	if in.flow != flowNone {
		return nil
	}
	if (fl.assoc || fl.array) && (v.arr == nil || v.arr.assoc != fl.assoc) {
		if v.readonly {
			in.fatalf("%s: readonly variable", in.syms.name(slot))
			return nil
		}
		if v.arr != nil {
			in.fatalf("%s: cannot convert between indexed and associative array", in.syms.name(slot))
			return nil
		}
		arr := &array{assoc: fl.assoc}
		if v.set && fl.assoc {
			arr.setKey("0", v.str)
		} else if v.set {
			arr.set(0, v.str)
		}
		v.str, v.arr, v.set = "", arr, true
	}
	return v
}

func (in *interp) attributes(slot int, fl *declFlags) {
	if !fl.export && !fl.readonly && !fl.unexport {
		return
	}
	v := in.touch(slot)
	v.exported = (v.exported || fl.export) && !fl.unexport
	v.readonly = v.readonly || fl.readonly
}

// dynamic handles options, and arguments that come out of expansions.
func (n *declNode) dynamic(in *interp, words []string, fl *declFlags) bool {
	for _, s := range words {
		if len(s) > 1 && s[0] == '-' {
			if !n.option(in, s, fl) {
				return false
			}
			continue
		}
		name, val, has := strings.Cut(s, "=")
		if !validName(name) {
			in.fatalf("%s: %.40q is not a variable name", n.name, name)
			return false
		}
		slot := in.syms.intern(name)
		if n.slot(in, slot, fl) == nil {
			return false
		}
		if has && !in.setVar(slot, val) {
			return false
		}
		in.attributes(slot, fl)
	}
	return in.flow == flowNone
}

func (n *declNode) option(in *interp, s string, fl *declFlags) bool {
	if s == "--" {
		return true
	}
	for _, c := range s[1:] {
		switch c {
		case 'a':
			fl.array = true
		case 'A':
			fl.assoc = true
		case 'x':
			fl.export = true
		case 'r':
			fl.readonly = true
		case 'g':
			fl.global = true
		case 'n':
			if n.name == "export" {
				fl.unexport, fl.export = true, false
				continue
			}
			fallthrough
		default:
			in.fatalf("%s: option -%c is not supported", n.name, c)
			return false
		}
	}
	return true
}
