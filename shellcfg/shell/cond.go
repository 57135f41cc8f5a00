package shell

import (
	"fmt"
	"regexp"
)

// testNode is [[ ... ]].
type testNode struct {
	x   testExpr
	pos Position
}

func (n *testNode) run(in *interp) int {
	in.pos = &n.pos
	if !in.tick() {
		return 1
	}
	if t := in.trace; t != nil && t.Line != nil {
		t.Line(n.pos)
	}
	r := n.x.test(in)
	if in.flow == flowAbort {
		return 1
	}
	return r
}

// testExpr returns 0 for true, 1 for false, 2 for an error.
type testExpr interface{ test(in *interp) int }

func testStatus(ok bool) int {
	if ok {
		return 0
	}
	return 1
}

type testWord struct{ w *word }

func (t testWord) test(in *interp) int { return testStatus(t.w.text(in) != "") }

type testNot struct{ x testExpr }

func (t testNot) test(in *interp) int {
	r := t.x.test(in)
	if r > 1 {
		return r
	}
	return 1 - r
}

type testAndOr struct {
	x, y testExpr
	and  bool
}

func (t *testAndOr) test(in *interp) int {
	r := t.x.test(in)
	if r > 1 || (r == 0) != t.and || in.flow != flowNone {
		return r
	}
	return t.y.test(in)
}

type testUnary struct {
	op byte
	w  *word
}

func (t *testUnary) test(in *interp) int { return testStatus(in.testUnary(t.op, t.w.text(in))) }

// testMatch is == and != with a pattern.
type testMatch struct {
	w   *word
	pat *patWord
	not bool
}

func (t *testMatch) test(in *interp) int {
	s := t.w.text(in)
	in.charge(len(s))
	return testStatus(t.pat.pattern(in).match(s) != t.not)
}

type testBinary struct {
	op   string
	x, y *word
	a, b arith // the operands, when they are numbers
	pos  Position
}

func (t *testBinary) test(in *interp) int {
	if t.a != nil {
		a := t.a.eval(in)
		return testStatus(compareInts(t.op, a, t.b.eval(in)))
	}
	x, y := t.x.text(in), t.y.text(in)
	switch t.op {
	case "<":
		return testStatus(x < y)
	case ">":
		return testStatus(x > y)
	}
	return testStatus(fileCompare(t.op, x, y))
}

// testRegexp is =~. fixed is compiled at load when the expression is constant.
type testRegexp struct {
	w     *word
	fixed *regexp.Regexp
	parts []patPart
	pos   Position
}

func (t *testRegexp) test(in *interp) int {
	s := t.w.text(in)
	re := t.fixed
	if re == nil {
		var err error
		if re, err = in.regexp(t.parts); err != nil {
			in.pos = &t.pos
			in.complain("[[: " + err.Error())
			return 2
		}
	}
	in.charge(len(s))
	m := re.FindStringSubmatch(s)
	arr := &array{}
	for i, g := range m {
		arr.set(i, g)
	}
	v := in.touch(slotRematch)
	v.str, v.arr, v.set = "", arr, true
	return testStatus(m != nil)
}

const maxRegexp = 4096

var errLongRegexp = fmt.Errorf("regular expression longer than %d bytes", maxRegexp)

// regexp compiles a dynamic expression, through a small cache.
func (in *interp) regexp(parts []patPart) (*regexp.Regexp, error) {
	src := ""
	for _, p := range parts {
		s := p.p.text(in)
		if p.quoted {
			s = regexp.QuoteMeta(s)
		}
		src += s
	}
	if re := in.regexps[src]; re != nil {
		return re, nil
	}
	if len(src) > maxRegexp {
		return nil, errLongRegexp
	}
	in.charge(fuelBytes * 10)
	re, err := regexp.CompilePOSIX(src)
	if err != nil {
		return nil, err
	}
	if in.regexps == nil || len(in.regexps) >= maxCached {
		in.regexps = make(map[string]*regexp.Regexp)
	}
	in.regexps[src] = re
	return re, nil
}
