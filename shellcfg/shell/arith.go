package shell

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// arith is a compiled arithmetic expression over int64.
type arith interface{ eval(in *interp) int64 }

type arithNum int64

func (n arithNum) eval(*interp) int64 { return int64(n) }

// arithVar is a name: its value must be a number. Unlike bash, the text of a
// variable is never evaluated as an expression.
type arithVar struct {
	slot int
	idx  index
	pos  Position
}

func (a *arithVar) eval(in *interp) int64 {
	var s string
	var set bool
	if a.idx.kind == indexNone {
		s, set = in.vars[a.slot].value()
	} else {
		s, set = in.element(a.slot, &a.idx)
	}
	if !set && in.nounset {
		in.unbound(&a.pos, in.syms.name(a.slot))
		return 0
	}
	return in.number(s, &a.pos)
}

func (a *arithVar) assign(in *interp, n int64) { in.assignElement(a.slot, &a.idx, itoa64(n)) }

// arithWord is $x, $(f), "$1" as an operand.
type arithWord struct {
	w   *word
	pos Position
}

func (a *arithWord) eval(in *interp) int64 { return in.number(a.w.text(in), &a.pos) }

// number reads a value as a number; the empty string is 0.
func (in *interp) number(s string, pos *Position) int64 {
	n, ok := parseNumber(s)
	if !ok && in.flow != flowAbort {
		in.pos = pos
		in.fatalf("%.40q is not a number", s)
	}
	return n
}

// parseNumber reads decimal, 0octal, 0xhex and base#digits.
func parseNumber(s string) (int64, bool) {
	s = strings.Trim(s, " \t\n")
	if s == "" {
		return 0, true
	}
	neg := false
	if s[0] == '-' || s[0] == '+' {
		neg = s[0] == '-'
		s = s[1:]
	}
	if s == "" {
		return 0, false
	}
	base := int64(10)
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	default:
		if b, digits, ok := strings.Cut(s, "#"); ok {
			n, err := strconv.Atoi(b)
			if err != nil || n < 2 || n > 64 || digits == "" {
				return 0, false
			}
			base, s = int64(n), digits
		}
	}
	var n int64
	for i := 0; i < len(s); i++ {
		d := digitValue(s[i], base)
		if d < 0 || d >= base {
			return 0, false
		}
		n = n*base + d // wraps, as in bash
	}
	if neg {
		n = -n
	}
	return n, true
}

func digitValue(c byte, base int64) int64 {
	switch {
	case c >= '0' && c <= '9':
		return int64(c - '0')
	case c >= 'a' && c <= 'z':
		return int64(c-'a') + 10
	case c >= 'A' && c <= 'Z':
		if base <= 36 {
			return int64(c-'A') + 10
		}
		return int64(c-'A') + 36
	case c == '@':
		return 62
	case c == '_':
		return 63
	}
	return -1
}

type arithUnary struct {
	op syntax.UnAritOperator
	x  arith
}

func (a *arithUnary) eval(in *interp) int64 {
	n := a.x.eval(in)
	switch a.op {
	case syntax.Not:
		return truth(n == 0)
	case syntax.BitNegation:
		return ^n
	case syntax.Minus:
		return -n
	}
	return n
}

// arithStep is x++, --x and so on.
type arithStep struct {
	x     *arithVar
	delta int64
	post  bool
}

func (a *arithStep) eval(in *interp) int64 {
	n := a.x.eval(in)
	if in.flow == flowAbort {
		return 0
	}
	a.x.assign(in, n+a.delta)
	if a.post {
		return n
	}
	return n + a.delta
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

type arithBinary struct {
	op   syntax.BinAritOperator
	x, y arith
	pos  Position
}

func (a *arithBinary) eval(in *interp) int64 {
	x := a.x.eval(in)
	switch a.op {
	case syntax.AndArit:
		return truth(x != 0 && a.y.eval(in) != 0)
	case syntax.OrArit:
		return truth(x != 0 || a.y.eval(in) != 0)
	}
	y := a.y.eval(in)
	return in.binary(a.op, x, y, &a.pos)
}

func (in *interp) binary(op syntax.BinAritOperator, x, y int64, pos *Position) int64 {
	switch op {
	case syntax.Add:
		return x + y
	case syntax.Sub:
		return x - y
	case syntax.Mul:
		return x * y
	case syntax.Quo, syntax.Rem:
		return in.divide(op, x, y, pos)
	case syntax.Pow:
		if y < 0 {
			in.pos = pos
			in.fatalf("exponent less than 0")
			return 0
		}
		return power(x, y)
	case syntax.Eql:
		return truth(x == y)
	case syntax.Neq:
		return truth(x != y)
	case syntax.Lss:
		return truth(x < y)
	case syntax.Gtr:
		return truth(x > y)
	case syntax.Leq:
		return truth(x <= y)
	case syntax.Geq:
		return truth(x >= y)
	case syntax.And:
		return x & y
	case syntax.Or:
		return x | y
	case syntax.Xor:
		return x ^ y
	case syntax.Shl:
		return x << (uint64(y) & 63)
	case syntax.Shr:
		return x >> (uint64(y) & 63)
	}
	return y // comma
}

func (in *interp) divide(op syntax.BinAritOperator, x, y int64, pos *Position) int64 {
	if y == 0 {
		in.pos = pos
		in.fatalf("division by 0")
		return 0
	}
	if y == -1 { // the one quotient that overflows
		if op == syntax.Rem {
			return 0
		}
		return -x
	}
	if op == syntax.Rem {
		return x % y
	}
	return x / y
}

func power(x, y int64) int64 {
	n := int64(1)
	for ; y > 0; y >>= 1 {
		if y&1 == 1 {
			n *= x
		}
		x *= x
	}
	return n
}

type arithTernary struct{ cond, yes, no arith }

func (a *arithTernary) eval(in *interp) int64 {
	if a.cond.eval(in) != 0 {
		return a.yes.eval(in)
	}
	return a.no.eval(in)
}

// arithAssign is x = y, x += y, ...
type arithAssign struct {
	x   *arithVar
	op  syntax.BinAritOperator // 0: plain
	y   arith
	pos Position
}

func (a *arithAssign) eval(in *interp) int64 {
	var n int64
	if a.op == 0 {
		n = a.y.eval(in)
	} else {
		x := a.x.eval(in)
		n = in.binary(a.op, x, a.y.eval(in), &a.pos)
	}
	if in.flow != flowAbort {
		a.x.assign(in, n)
	}
	return n
}

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
