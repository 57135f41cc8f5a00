package shell

import (
	"regexp"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

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

// testRegexp compiles [[ x =~ re ]]: quoted text matches itself.
func (c *compiler) testRegexp(w *word, r *syntax.Word) testExpr {
	t := &testRegexp{w: w, pos: c.pos(r.Pos())}
	pw := &patWord{}
	c.patternParts(pw, r.Parts, true)
	src, fixed := "", true
	for i, pp := range pw.parts {
		if l, ok := pp.p.(*litPart); ok && !pp.quoted {
			s, bad := regexpText(l.s)
			if bad != "" {
				c.refuse(r.Pos(), bad+" in an expression", "use a class like [[:alnum:]_]")
			}
			pw.parts[i].p = &litPart{s: s}
		}
		s, ok := foldLiteral([]part{pw.parts[i].p})
		if !ok {
			fixed = false
			continue
		}
		if pp.quoted {
			s = regexp.QuoteMeta(s)
		}
		src += s
	}
	t.parts = pw.parts
	if fixed && c.err == nil {
		re, err := regexp.CompilePOSIX(src)
		if err != nil {
			c.fail(r.Pos(), "%v", err)
			return t
		}
		t.fixed = re
	}
	return t
}

// regexpText turns shell escapes in an expression into regexp escapes and
// reports extensions like \w.
func regexpText(s string) (out, bad string) {
	var b strings.Builder
	inSet := false
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '\\' && i+1 < len(s):
			i++
			if isASCIIAlnum(rune(s[i])) || s[i] == '<' || s[i] == '>' {
				return "", s[i-1 : i+1]
			}
			if inSet && s[i] != ']' && s[i] != '\\' {
				b.WriteByte(s[i])
			} else {
				b.WriteString(regexp.QuoteMeta(s[i : i+1]))
			}
		default:
			if ch == '[' {
				inSet = true
			} else if ch == ']' {
				inSet = false
			}
			b.WriteByte(ch)
		}
	}
	return b.String(), ""
}

var testUnaryOps = map[syntax.UnTestOperator]byte{
	syntax.TsExists: 'e', syntax.TsRegFile: 'f', syntax.TsDirect: 'd', syntax.TsCharSp: 'c', syntax.TsBlckSp: 'b',
	syntax.TsNmPipe: 'p', syntax.TsSocket: 'S', syntax.TsSmbLink: 'L', syntax.TsSticky: 'k', syntax.TsGIDSet: 'g',
	syntax.TsUIDSet: 'u', syntax.TsGrpOwn: 'G', syntax.TsUsrOwn: 'O', syntax.TsRead: 'r', syntax.TsWrite: 'w',
	syntax.TsExec: 'x', syntax.TsNoEmpty: 's', syntax.TsFdTerm: 't', syntax.TsEmpStr: 'z', syntax.TsNempStr: 'n',
	syntax.TsOptSet: 'o', syntax.TsVarSet: 'v',
}
