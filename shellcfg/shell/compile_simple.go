package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

func (c *compiler) simple(x *syntax.CallExpr) node {
	n := &simple{pos: c.line(x.Pos()), slot: -1}
	for _, a := range x.Assigns {
		as := c.assignment(a)
		if len(x.Args) > 0 && (as.isList || as.idx.kind != indexNone) {
			c.fail(a.Pos(), "an array cannot be assigned for one command")
		}
		if as.value == nil && !as.isList {
			as.value = &word{}
		}
		n.assigns = append(n.assigns, as)
	}
	args := c.braces(x.Args)
	if len(args) > 0 {
		n.pos = c.pos(args[0].Pos())
	}
	n.words = c.words(args)
	if len(n.words) > 0 && len(n.words[0].parts) == 0 && n.words[0].one {
		c.resolve(n, x)
	}
	return n
}

// resolve looks a literal command name up as far as that is possible now, and
// refuses what will never work.
func (c *compiler) resolve(n *simple, x *syntax.CallExpr) {
	n.name = n.words[0].lit
	if strings.Contains(n.name, "/") || n.name == "" {
		return
	}
	n.slot = c.in.syms.intern(n.name)
	n.builtin = builtins()[n.name]
	known := c.defined[n.name] || c.in.funcs[n.slot] != nil || c.in.prog.command(n.slot) != nil
	if known {
		return
	}
	if r := refusedCommands[n.name]; r != "" {
		c.refuse(x.Args[0].Pos(), n.name, r)
		return
	}
	if n.builtin == nil {
		if c.in.loading {
			if _, ok := c.in.prog.calls[n.name]; !ok {
				c.in.prog.calls[n.name] = n.pos
			}
		}
		return
	}
	c.checkBuiltin(n, x)
}

// checkBuiltin refuses options of builtins that can be seen to be wrong.
func (c *compiler) checkBuiltin(n *simple, x *syntax.CallExpr) {
	switch n.name {
	case "eval":
		if c.in.prog.opts.NoEval {
			c.refuse(x.Args[0].Pos(), "eval", "it is switched off here; call a function by name instead")
		}
	case ".", "source":
		if c.in.prog.opts.Open == nil {
			c.refuse(x.Args[0].Pos(), n.name, "no other files can be read here")
		}
	}
}

func (c *compiler) words(ws []*syntax.Word) []*word {
	out := make([]*word, 0, len(ws))
	for _, w := range c.braces(ws) {
		out = append(out, c.word(w, quoteNone))
	}
	return out
}

func (c *compiler) assignment(a *syntax.Assign) *assignment {
	as := &assignment{add: a.Append, pos: c.pos(a.Pos())}
	as.slot = c.varSlot(a.Name.Value, a.Name.Pos())
	if a.Index != nil {
		as.idx = c.index(a.Index)
		if as.idx.kind != indexOne {
			c.fail(a.Pos(), "%s: bad array subscript", a.Name.Value)
		}
	}
	if a.Array != nil {
		as.isList = true
		for _, e := range a.Array.Elems {
			as.array = append(as.array, c.arrayElems(e)...)
		}
		return as
	}
	if a.Value != nil {
		as.value = c.assignWord(a.Value)
	}
	return as
}

func (c *compiler) arrayElems(e *syntax.ArrayElem) []arrayElem {
	if e.Index != nil {
		idx := c.index(e.Index)
		el := arrayElem{idx: &idx}
		if e.Value != nil {
			el.value = c.assignWord(e.Value)
		}
		return []arrayElem{el}
	}
	var out []arrayElem
	for _, w := range c.words([]*syntax.Word{e.Value}) {
		out = append(out, arrayElem{value: w})
	}
	return out
}

// index compiles a subscript both ways it may be meant.
func (c *compiler) index(x syntax.ArithmExpr) index {
	idx := index{kind: indexOne}
	w, ok := x.(*syntax.Word)
	if !ok {
		idx.num = c.arith(x)
		idx.key = &word{lit: "?", src: "expression"}
		return idx
	}
	if lit := w.Lit(); lit == "@" {
		return index{kind: indexAt}
	} else if lit == "*" {
		return index{kind: indexStar}
	}
	idx.key = c.word(w, quoteDouble)
	idx.key.src = source(w)
	sub := &compiler{in: c.in, file: c.file, base: c.base, depth: c.depth}
	if num := sub.arith(w); sub.err == nil {
		idx.num = num
	}
	return idx
}
