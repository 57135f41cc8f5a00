package shell

import (
	"strconv"

	"mvdan.cc/sh/v3/syntax"
)

// refusedVars are variables that bash computes.
var refusedVars = map[string]string{
	"RANDOM": "there is no random number", "SRANDOM": "there is no random number",
	"SECONDS": "time a command with zmailer explain", "EPOCHSECONDS": "use a host command for the time",
	"EPOCHREALTIME": "use a host command for the time", "BASHPID": "there are no processes",
	"PIPESTATUS": "set -o pipefail", "BASH_COMMAND": "use zmailer explain", "BASH_LINENO": "use $LINENO",
	"BASH_SOURCE": "use zmailer explain", "DIRSTACK": "there is no current directory",
}

// varSlot returns the slot of a variable, refusing those that are computed.
func (c *compiler) varSlot(name string, p syntax.Pos) int {
	if r := refusedVars[name]; r != "" {
		c.refuse(p, "$"+name, r)
	}
	if name == "LINENO" || name == "FUNCNAME" {
		c.refuse(p, name+" here", "it is read as $"+name)
	}
	return c.in.syms.intern(name)
}

// param compiles $x and ${...}.
func (c *compiler) param(p *syntax.ParamExp, quoted bool) part {
	if !c.deeper(p.Pos()) {
		return &litPart{}
	}
	defer c.shallower()
	if p.Param == nil || p.Flags != nil || p.Width || p.IsSet || p.NestedParam != nil || len(p.Modifiers) > 0 {
		c.refuse(p.Pos(), "this parameter expansion", "use plain shell")
		return &litPart{}
	}
	name := p.Param.Value
	plain := !p.Excl && !p.Length && p.Index == nil && p.Slice == nil && p.Repl == nil && p.Names == 0 && p.Exp == nil
	switch name {
	case "LINENO":
		if plain {
			return &litPart{s: itoa(c.pos(p.Pos()).Line), splits: !quoted}
		}
	case "FUNCNAME":
		if plain {
			return &funcnamePart{}
		}
	}
	pp := &paramPart{pos: c.pos(p.Pos()), src: name, slot: -1}
	switch {
	case p.Names != 0:
		pp.names, pp.prefixNames, pp.name = true, name, '*'
		if p.Names == syntax.NamesPrefixWords {
			pp.name = '@'
		}
		return pp
	case validName(name):
		pp.slot = c.varSlot(name, p.Pos())
	case name == "@" || name == "*" || name == "#" || name == "?" || name == "-" || name == "$":
		pp.name = name[0]
	case name == "!":
		c.refuse(p.Pos(), "$!", "there are no background jobs")
		return pp
	default:
		n, err := strconv.Atoi(name)
		if err != nil || n < 0 || n > 1<<20 {
			c.fail(p.Pos(), "${%s}: no such parameter", name)
			return pp
		}
		if pp.arg = n; n == 0 {
			pp.name = '0'
		}
	}
	if plain {
		return c.plainParam(pp)
	}
	c.paramOps(p, pp, quoted)
	return pp
}

func (c *compiler) plainParam(pp *paramPart) part {
	switch {
	case pp.name == '@' || pp.name == '*':
		return &allPart{star: pp.name == '*'}
	case pp.name != 0:
		return &specialPart{pp.name}
	case pp.arg > 0:
		return &argPart{pp.arg, pp.pos}
	}
	return &varPart{pp.slot, pp.pos}
}

func (c *compiler) paramOps(p *syntax.ParamExp, pp *paramPart, quoted bool) {
	pp.length, pp.indirect = p.Length, p.Excl
	if p.Index != nil {
		if pp.slot < 0 {
			c.fail(p.Pos(), "${%s[...]}: not an array", pp.src)
			return
		}
		pp.idx = c.index(p.Index)
		if pp.indirect && pp.idx.kind != indexOne {
			pp.indirect, pp.keys = false, true
		}
	}
	if pp.indirect && pp.many() {
		c.refuse(p.Pos(), "${!"+pp.src+"}", "name one variable")
	}
	switch {
	case p.Slice != nil:
		pp.op = opSlice
		if p.Slice.Offset == nil {
			pp.offset = arithNum(0)
		} else {
			pp.offset = c.arith(p.Slice.Offset)
		}
		if p.Slice.Length != nil {
			pp.count = c.arith(p.Slice.Length)
		}
	case p.Repl != nil:
		c.replacement(p.Repl, pp)
	case p.Exp != nil:
		c.expansion(p, pp, quoted)
	}
}

func (c *compiler) replacement(r *syntax.Replace, pp *paramPart) {
	pp.op, pp.double = opReplace, r.All
	orig := r.Orig
	if !r.All && orig != nil && len(orig.Parts) > 0 {
		if l, ok := orig.Parts[0].(*syntax.Lit); ok && l.Value != "" && (l.Value[0] == '#' || l.Value[0] == '%') {
			pp.anchor = l.Value[0]
			rest := &syntax.Lit{ValuePos: l.ValuePos, ValueEnd: l.ValueEnd, Value: l.Value[1:]}
			orig = &syntax.Word{Parts: append([]syntax.WordPart{rest}, orig.Parts[1:]...)}
		}
	}
	pp.pat = c.pattern(orig)
	if r.With != nil {
		pp.arg1 = c.word(r.With, quoteNone)
	}
}

func (c *compiler) expansion(p *syntax.ParamExp, pp *paramPart, quoted bool) {
	e := p.Exp
	if e.Op == syntax.OtherParamOps {
		c.transform(p, pp)
		return
	}
	op, ok := parExpOps[e.Op]
	if !ok {
		c.refuse(p.Pos(), "operator "+e.Op.String(), "use plain shell")
		return
	}
	pp.op, pp.colon, pp.double = op.op, op.colon, op.double
	switch pp.op {
	case opDefault, opAssign, opError, opAlternate:
		if pp.op == opAssign && pp.slot < 0 {
			c.fail(p.Pos(), "$%s: cannot assign in this way", pp.src)
		}
		q := quoteArg
		if quoted {
			q = quoteParam
		}
		pp.arg1 = c.word(e.Word, q)
	case opUpper, opLower:
		if e.Word != nil && len(e.Word.Parts) > 0 {
			pp.pat = c.pattern(e.Word)
		}
	default:
		pp.pat = c.pattern(e.Word)
	}
}

// transform is ${x@Q} and its kin.
func (c *compiler) transform(p *syntax.ParamExp, pp *paramPart) {
	switch p.Exp.Word.Lit() {
	case "Q":
		pp.op = opQuote
	case "U":
		pp.op, pp.double = opUpper, true
	case "L":
		pp.op, pp.double = opLower, true
	case "u":
		pp.op = opUpper
	default:
		c.refuse(p.Pos(), "${"+pp.src+"@...}", "only Q, U, L and u exist")
	}
}

// funcnamePart is $FUNCNAME, the name of the innermost function.
type funcnamePart struct{}

func (p funcnamePart) expand(in *interp, f *fields, quoted bool) { f.add(p.text(in)) }

// parExpOps maps the parser's operators to ours.
var parExpOps = map[syntax.ParExpOperator]struct {
	op            paramOp
	colon, double bool
}{
	syntax.AlternateUnset:       {opAlternate, false, false},
	syntax.AlternateUnsetOrNull: {opAlternate, true, false},
	syntax.DefaultUnset:         {opDefault, false, false},
	syntax.DefaultUnsetOrNull:   {opDefault, true, false},
	syntax.ErrorUnset:           {opError, false, false},
	syntax.ErrorUnsetOrNull:     {opError, true, false},
	syntax.AssignUnset:          {opAssign, false, false},
	syntax.AssignUnsetOrNull:    {opAssign, true, false},
	syntax.RemSmallPrefix:       {opCutPrefix, false, false},
	syntax.RemLargePrefix:       {opCutPrefix, false, true},
	syntax.RemSmallSuffix:       {opCutSuffix, false, false},
	syntax.RemLargeSuffix:       {opCutSuffix, false, true},
	syntax.UpperFirst:           {opUpper, false, false},
	syntax.UpperAll:             {opUpper, false, true},
	syntax.LowerFirst:           {opLower, false, false},
	syntax.LowerAll:             {opLower, false, true},
}
