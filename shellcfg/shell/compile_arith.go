package shell

import (
	"mvdan.cc/sh/v3/syntax"
)

var assignOps = map[syntax.BinAritOperator]syntax.BinAritOperator{
	syntax.Assgn: 0, syntax.AddAssgn: syntax.Add, syntax.SubAssgn: syntax.Sub, syntax.MulAssgn: syntax.Mul,
	syntax.QuoAssgn: syntax.Quo, syntax.RemAssgn: syntax.Rem, syntax.AndAssgn: syntax.And, syntax.OrAssgn: syntax.Or,
	syntax.XorAssgn: syntax.Xor, syntax.ShlAssgn: syntax.Shl, syntax.ShrAssgn: syntax.Shr,
}

// arith compiles an expression. A constant operand is checked now.
func (c *compiler) arith(x syntax.ArithmExpr) arith {
	if !c.deeper(x.Pos()) {
		return arithNum(0)
	}
	defer c.shallower()
	switch x := x.(type) {
	case *syntax.ParenArithm:
		return c.arith(x.X)
	case *syntax.Word:
		return c.arithOperand(x)
	case *syntax.UnaryArithm:
		if x.Op == syntax.Inc || x.Op == syntax.Dec {
			step := &arithStep{x: c.arithName(x.X), delta: 1, post: x.Post}
			if x.Op == syntax.Dec {
				step.delta = -1
			}
			return step
		}
		return &arithUnary{x.Op, c.arith(x.X)}
	case *syntax.BinaryArithm:
		return c.arithBinary(x)
	}
	c.refuse(x.Pos(), "this form of arithmetic", "use the POSIX operators")
	return arithNum(0)
}

func (c *compiler) arithBinary(x *syntax.BinaryArithm) arith {
	if y, ok := x.Y.(*syntax.BinaryArithm); ok && x.Op == syntax.TernQuest && y.Op == syntax.TernColon {
		return &arithTernary{c.arith(x.X), c.arith(y.X), c.arith(y.Y)}
	}
	if op, ok := assignOps[x.Op]; ok {
		return &arithAssign{c.arithName(x.X), op, c.arith(x.Y), c.pos(x.OpPos)}
	}
	switch x.Op {
	case syntax.Add, syntax.Sub, syntax.Mul, syntax.Quo, syntax.Rem, syntax.Pow, syntax.Eql, syntax.Neq, syntax.Lss,
		syntax.Gtr, syntax.Leq, syntax.Geq, syntax.And, syntax.Or, syntax.Xor, syntax.Shl, syntax.Shr,
		syntax.AndArit, syntax.OrArit, syntax.Comma:
		return &arithBinary{x.Op, c.arith(x.X), c.arith(x.Y), c.pos(x.OpPos)}
	}
	c.refuse(x.OpPos, "arithmetic operator "+x.Op.String(), "use the POSIX operators")
	return arithNum(0)
}

// arithName is the target of an assignment.
func (c *compiler) arithName(x syntax.ArithmExpr) *arithVar {
	if w, ok := x.(*syntax.Word); ok {
		if v, ok := c.arithOperand(w).(*arithVar); ok {
			return v
		}
	}
	c.fail(x.Pos(), "assignment to something that is not a variable")
	return &arithVar{slot: slotIFS}
}

func (c *compiler) arithOperand(w *syntax.Word) arith {
	if len(w.Parts) == 1 {
		switch p := w.Parts[0].(type) {
		case *syntax.Lit:
			if validName(p.Value) {
				return &arithVar{slot: c.varSlot(p.Value, p.Pos()), pos: c.pos(p.Pos())}
			}
			n, ok := parseNumber(p.Value)
			if !ok {
				c.fail(p.Pos(), "%q is not a number", p.Value)
			}
			return arithNum(n)
		case *syntax.ParamExp:
			if p.Short && p.Index != nil && !p.Dollar.IsValid() {
				return &arithVar{c.varSlot(p.Param.Value, p.Pos()), c.index(p.Index), c.pos(p.Pos())}
			}
		}
	}
	return &arithWord{c.word(w, quoteDouble), c.pos(w.Pos())}
}
