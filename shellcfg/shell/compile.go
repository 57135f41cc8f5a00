package shell

import (
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// compiler turns the syntax tree of one file into nodes. It keeps the first
// error.
type compiler struct {
	in      *interp
	file    string
	base    Position
	err     error
	depth   int
	defined map[string]bool // functions declared in this file
}

// maxNesting bounds constructs within constructs, and so the Go stack.
const maxNesting = 200

func (c *compiler) pos(p syntax.Pos) Position {
	line := int(p.Line())
	return Position{File: c.file, Line: line + c.base.Line - 1, Col: int(p.Col())}
}

func (c *compiler) fail(p syntax.Pos, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Pos: c.pos(p), Err: fmt.Errorf(format, args...)}
	}
}

// refuse reports something that is shell but not part of this language.
func (c *compiler) refuse(p syntax.Pos, what, remedy string) {
	c.fail(p, "%s: not supported: %s", what, remedy)
}

// deeper enters a construct; false: too deep, or there is an error already.
// A true answer is paired with shallower.
func (c *compiler) deeper(p syntax.Pos) bool {
	if c.depth >= maxNesting {
		c.fail(p, "nested more than %d deep", maxNesting)
	}
	if c.err != nil {
		return false
	}
	c.depth++
	return true
}

func (c *compiler) shallower() { c.depth-- }

func (c *compiler) file0(f *syntax.File) node {
	c.defined = make(map[string]bool)
	if c.depthOf(f) {
		syntax.Walk(f, func(n syntax.Node) bool {
			if d, ok := n.(*syntax.FuncDecl); ok && d.Name != nil {
				c.defined[d.Name.Value] = true
				if c.in.loading {
					c.in.prog.defined[d.Name.Value] = true
				}
			}
			return true
		})
	}
	return c.stmts(f.Stmts)
}

// depthOf refuses a tree so deep that walking it is not safe either.
func (c *compiler) depthOf(f *syntax.File) bool {
	depth := 0
	ok := true
	syntax.Walk(f, func(n syntax.Node) bool {
		if n == nil {
			depth--
			return true
		}
		if depth > 20*maxNesting {
			if ok {
				c.fail(n.Pos(), "nested more than %d deep", maxNesting)
			}
			ok = false
			return false
		}
		depth++
		return true
	})
	return ok
}

func (c *compiler) stmts(stmts []*syntax.Stmt) list {
	l := make(list, 0, len(stmts))
	for _, s := range stmts {
		if c.err != nil {
			return nil
		}
		l = append(l, c.stmt(s))
	}
	return l
}

func (c *compiler) stmt(s *syntax.Stmt) node {
	if !c.deeper(s.Pos()) {
		return list(nil)
	}
	defer c.shallower()
	switch {
	case s.Background:
		c.refuse(s.Semicolon, "& (a background job)", "run it in the foreground")
	case s.Coprocess || s.Disown:
		c.refuse(s.Pos(), "a coprocess", "run it in the foreground")
	}
	var n node
	if s.Cmd != nil {
		n = c.command(s.Cmd)
	}
	if len(s.Redirs) > 0 {
		n = c.redirected(s.Redirs, n)
	}
	if n == nil {
		n = list(nil)
	}
	if fallible(s) {
		n = checked{n}
	}
	if s.Negated {
		n = negation{n}
	}
	return n
}

// fallible tells whether set -e looks at the statement itself rather than at
// the statements inside it.
func fallible(s *syntax.Stmt) bool {
	switch x := s.Cmd.(type) {
	case *syntax.CallExpr, *syntax.DeclClause, *syntax.ArithmCmd, *syntax.TestClause, *syntax.LetClause,
		*syntax.Subshell, nil:
		return true
	case *syntax.BinaryCmd:
		return x.Op == syntax.Pipe || x.Op == syntax.PipeAll
	}
	return len(s.Redirs) > 0
}

func (c *compiler) command(cmd syntax.Command) node {
	switch x := cmd.(type) {
	case *syntax.CallExpr:
		return c.simple(x)
	case *syntax.BinaryCmd:
		return c.binary(x)
	case *syntax.Block:
		return c.stmts(x.Stmts)
	case *syntax.Subshell:
		return &subshell{c.stmts(x.Stmts)}
	case *syntax.IfClause:
		return c.ifClause(x)
	case *syntax.WhileClause:
		return &whileNode{c.stmts(x.Cond), c.stmts(x.Do), x.Until, c.pos(x.Pos())}
	case *syntax.ForClause:
		return c.forClause(x)
	case *syntax.CaseClause:
		return c.caseClause(x)
	case *syntax.FuncDecl:
		return c.funcDecl(x)
	case *syntax.ArithmCmd:
		return &arithNode{[]arith{c.arith(x.X)}, c.line(x.Pos())}
	case *syntax.LetClause:
		n := &arithNode{pos: c.line(x.Pos())}
		for _, e := range x.Exprs {
			n.xs = append(n.xs, c.arith(e))
		}
		return n
	case *syntax.TestClause:
		return &testNode{c.testExpr(x.X), c.line(x.Pos())}
	case *syntax.DeclClause:
		return c.declClause(x)
	case *syntax.TimeClause:
		c.refuse(x.Pos(), "time", "use zmailer explain, which shows times")
	case *syntax.CoprocClause:
		c.refuse(x.Pos(), "coproc", "run it in the foreground")
	default:
		c.refuse(cmd.Pos(), "this kind of command", "use plain shell")
	}
	return list(nil)
}

// line is the position of a command that coverage counts.
func (c *compiler) line(p syntax.Pos) Position {
	pos := c.pos(p)
	if c.in.loading {
		c.in.prog.lines = append(c.in.prog.lines, pos)
	}
	return pos
}

func (c *compiler) binary(x *syntax.BinaryCmd) node {
	switch x.Op {
	case syntax.AndStmt, syntax.OrStmt:
		return &andOr{c.stmt(x.X), c.stmt(x.Y), x.Op == syntax.AndStmt}
	case syntax.Pipe, syntax.PipeAll:
		p := &pipeline{}
		c.stage(p, x)
		return p
	}
	c.refuse(x.OpPos, x.Op.String(), "use plain shell")
	return list(nil)
}

func (c *compiler) stage(p *pipeline, x *syntax.BinaryCmd) {
	for _, s := range []*syntax.Stmt{x.X, x.Y} {
		if b, ok := s.Cmd.(*syntax.BinaryCmd); ok && (b.Op == syntax.Pipe || b.Op == syntax.PipeAll) && len(s.Redirs) == 0 && !s.Negated {
			c.stage(p, b)
		} else {
			p.stages = append(p.stages, c.stmt(s))
			p.both = append(p.both, false)
		}
		if s == x.X && len(p.both) > 0 {
			p.both[len(p.both)-1] = x.Op == syntax.PipeAll
		}
	}
}

func (c *compiler) ifClause(x *syntax.IfClause) node {
	if !c.deeper(x.Pos()) {
		return list(nil)
	}
	defer c.shallower()
	n := &ifNode{cond: c.stmts(x.Cond), then: c.stmts(x.Then)}
	switch e := x.Else; {
	case e == nil:
	case len(e.Cond) == 0:
		n.els = c.stmts(e.Then)
	default:
		n.els = c.ifClause(e)
	}
	return n
}

func (c *compiler) forClause(x *syntax.ForClause) node {
	if x.Select {
		c.refuse(x.Pos(), "select", "there is no one to ask")
		return list(nil)
	}
	switch l := x.Loop.(type) {
	case *syntax.WordIter:
		n := &forNode{slot: c.varSlot(l.Name.Value, l.Name.Pos()), args: !l.InPos.IsValid(), pos: c.pos(x.Pos())}
		n.words = c.words(l.Items)
		n.body = c.stmts(x.Do)
		return n
	case *syntax.CStyleLoop:
		n := &cForNode{pos: c.pos(x.Pos())}
		if l.Init != nil {
			n.init = c.arith(l.Init)
		}
		if l.Cond != nil {
			n.cond = c.arith(l.Cond)
		}
		if l.Post != nil {
			n.post = c.arith(l.Post)
		}
		n.body = c.stmts(x.Do)
		return n
	}
	c.refuse(x.Pos(), "this kind of loop", "use for name in words")
	return list(nil)
}

func (c *compiler) caseClause(x *syntax.CaseClause) node {
	n := &caseNode{word: c.word(x.Word, quoteNone), pos: c.line(x.Pos())}
	for _, it := range x.Items {
		item := caseItem{body: c.stmts(it.Stmts)}
		for _, w := range it.Patterns {
			item.patterns = append(item.patterns, c.pattern(w))
		}
		switch it.Op {
		case syntax.Fallthrough:
			item.next = '&'
		case syntax.Resume:
			item.next = ';'
		}
		n.items = append(n.items, item)
	}
	return n
}

func (c *compiler) funcDecl(x *syntax.FuncDecl) node {
	if x.Name == nil {
		c.refuse(x.Pos(), "a function without a name", "name it")
		return list(nil)
	}
	name := x.Name.Value
	return &funcNode{name, c.in.syms.intern(name), c.stmt(x.Body), c.pos(x.Pos())}
}

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

func (c *compiler) redirected(redirs []*syntax.Redirect, body node) node {
	n := &redirected{body: body}
	for _, r := range redirs {
		n.redirs = append(n.redirs, c.redirect(r))
	}
	return n
}

var redirOps = map[syntax.RedirOperator]redirOp{
	syntax.RdrIn: redirIn, syntax.RdrOut: redirOut, syntax.RdrClob: redirOut, syntax.AppOut: redirAppend,
	syntax.RdrAll: redirBoth, syntax.AppAll: redirBothAppend, syntax.DplIn: redirDup, syntax.DplOut: redirDup,
	syntax.Hdoc: redirHere, syntax.DashHdoc: redirHere, syntax.WordHdoc: redirHereString,
}

func (c *compiler) redirect(r *syntax.Redirect) redirect {
	op, ok := redirOps[r.Op]
	out := redirect{op: op, fd: 1, pos: c.pos(r.Pos())}
	if !ok {
		c.refuse(r.OpPos, r.Op.String(), "open the file for reading or for writing")
		return out
	}
	if op == redirIn || op == redirHere || op == redirHereString || r.Op == syntax.DplIn {
		out.fd = 0
	}
	if r.N != nil {
		switch r.N.Value {
		case "0", "1", "2":
			out.fd = int(r.N.Value[0] - '0')
		default:
			c.refuse(r.Pos(), "file descriptor "+r.N.Value, "use 0, 1 and 2")
		}
	}
	if reads := op == redirIn || op == redirHere || op == redirHereString; reads && out.fd != 0 || !reads && op != redirDup && out.fd == 0 {
		c.fail(r.Pos(), "descriptor %d cannot be used in this direction", out.fd)
	}
	switch op {
	case redirHere:
		out.word = c.heredoc(r)
	case redirDup:
		c.duplicate(r, &out)
	case redirOut, redirAppend, redirBoth, redirBothAppend:
		out.word = c.assignWord(r.Word)
		if name := out.word; len(name.parts) == 0 && c.in.prog.opts.Create == nil && !isDevice(name.lit) {
			c.refuse(r.Pos(), "writing to "+name.lit, "only /dev/null, /dev/stdout and /dev/stderr can be written to here")
		}
	default:
		out.word = c.assignWord(r.Word)
		if name := out.word; op == redirIn && len(name.parts) == 0 && c.in.prog.opts.Open == nil && !isDevice(name.lit) {
			c.refuse(r.Pos(), "reading "+name.lit, "no files can be read here")
		}
	}
	return out
}

func isDevice(name string) bool {
	return name == "/dev/null" || name == "/dev/stdout" || name == "/dev/stderr" || name == "/dev/stdin"
}

// duplicate is n>&m, n<&m and n>&-.
func (c *compiler) duplicate(r *syntax.Redirect, out *redirect) {
	switch to := r.Word.Lit(); to {
	case "-":
		out.op = redirClose
	case "0", "1", "2":
		out.to = int(to[0] - '0')
		if (out.fd == 0) != (out.to == 0) {
			c.fail(r.Pos(), "descriptor %d is not a copy of %d", out.fd, out.to)
		}
	default:
		c.refuse(r.Pos(), r.Op.String()+to, "copy descriptor 1 or 2, or use >file")
	}
}

func (c *compiler) testExpr(x syntax.TestExpr) testExpr {
	if !c.deeper(x.Pos()) {
		return testWord{&word{}}
	}
	defer c.shallower()
	switch x := x.(type) {
	case *syntax.Word:
		return testWord{c.word(x, quoteNone)}
	case *syntax.ParenTest:
		return c.testExpr(x.X)
	case *syntax.UnaryTest:
		if x.Op == syntax.TsNot {
			return c.testChain(x)
		}
		op := testUnaryOps[x.Op]
		w, ok := x.X.(*syntax.Word)
		if op == 0 || !ok {
			c.refuse(x.Pos(), x.Op.String(), "use another test")
			return testWord{&word{}}
		}
		return &testUnary{op, c.word(w, quoteNone)}
	case *syntax.BinaryTest:
		return c.testBinary(x)
	}
	c.refuse(x.Pos(), "this test", "use plain shell")
	return testWord{&word{}}
}

// testChain compiles a chain of && and ||. The parser gives both the same
// precedence, lets them associate to the right and a leading ! take the whole
// chain; the language binds ! tighter than && and && tighter than ||. Only
// explicit parentheses are in the tree as such, so the chain is flattened and
// grouped again.
func (c *compiler) testChain(x syntax.TestExpr) testExpr {
	var operands []testExpr
	var ops []syntax.BinTestOperator
	c.flatten(x, &operands, &ops)
	if c.err != nil || len(operands) == 0 {
		return testWord{&word{}}
	}
	var or testExpr
	and := operands[0]
	for i, op := range ops {
		if op == syntax.AndTest {
			and = &testAndOr{and, operands[i+1], true}
			continue
		}
		or = orTest(or, and)
		and = operands[i+1]
	}
	return orTest(or, and)
}

func orTest(x, y testExpr) testExpr {
	if x == nil {
		return y
	}
	return &testAndOr{x, y, false}
}

func (c *compiler) flatten(x syntax.TestExpr, operands *[]testExpr, ops *[]syntax.BinTestOperator) {
	if !c.deeper(x.Pos()) {
		return
	}
	defer c.shallower()
	switch t := x.(type) {
	case *syntax.UnaryTest:
		if t.Op == syntax.TsNot {
			first := len(*operands)
			c.flatten(t.X, operands, ops)
			if first < len(*operands) {
				(*operands)[first] = testNot{(*operands)[first]}
			}
			return
		}
	case *syntax.BinaryTest:
		if t.Op == syntax.AndTest || t.Op == syntax.OrTest {
			c.flatten(t.X, operands, ops)
			*ops = append(*ops, t.Op)
			c.flatten(t.Y, operands, ops)
			return
		}
	}
	*operands = append(*operands, c.testExpr(x))
}

func (c *compiler) testBinary(x *syntax.BinaryTest) testExpr {
	if x.Op == syntax.AndTest || x.Op == syntax.OrTest {
		return c.testChain(x)
	}
	l, ok1 := x.X.(*syntax.Word)
	r, ok2 := x.Y.(*syntax.Word)
	if !ok1 || !ok2 {
		c.fail(x.Pos(), "%s needs two words", x.Op)
		return testWord{&word{}}
	}
	w := c.word(l, quoteNone)
	switch x.Op {
	case syntax.TsMatch, syntax.TsMatchShort, syntax.TsNoMatch:
		return &testMatch{w, c.pattern(r), x.Op == syntax.TsNoMatch}
	case syntax.TsReMatch:
		return c.testRegexp(w, r)
	}
	t := &testBinary{op: x.Op.String(), x: w, y: c.word(r, quoteNone), pos: c.pos(x.Pos())}
	switch x.Op {
	case syntax.TsEql, syntax.TsNeq, syntax.TsLss, syntax.TsLeq, syntax.TsGtr, syntax.TsGeq:
		t.a, t.b = c.testNumber(t.x, l), c.testNumber(t.y, r)
	}
	return t
}

// testNumber is an operand of -eq: a value, or the name of a variable.
func (c *compiler) testNumber(w *word, src *syntax.Word) arith {
	if len(w.parts) > 0 || w.lit == "" {
		return &arithWord{w, c.pos(src.Pos())}
	}
	if validName(w.lit) {
		return &arithVar{slot: c.varSlot(w.lit, src.Pos()), pos: c.pos(src.Pos())}
	}
	n, ok := parseNumber(w.lit)
	if !ok {
		c.refuse(src.Pos(), w.lit+" in a test", "use (( ... )) for expressions")
	}
	return arithNum(n)
}
