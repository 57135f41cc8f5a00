package shell

import (
	"fmt"

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

func (c *compiler) program(f *syntax.File) node {
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
