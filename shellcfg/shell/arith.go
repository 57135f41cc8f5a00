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
