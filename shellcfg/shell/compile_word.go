package shell

import (
	"regexp"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// quoting is the context of a piece of a word.
type quoting uint8

const (
	quoteNone   quoting = iota
	quoteDouble         // "..." and what is like it
	quoteParam          // the word of "${x:-word}"
	quoteHere           // a here-document: like "..." but " is itself
	quoteArg            // the unquoted word of ${x:-word}: literal text splits
)

// word compiles a word.
func (c *compiler) word(w *syntax.Word, q quoting) *word {
	if w == nil || len(w.Parts) == 0 {
		return &word{one: true}
	}
	if !c.deeper(w.Pos()) {
		return &word{one: true}
	}
	defer c.shallower()
	out := &word{one: true}
	parts := w.Parts
	if q == quoteNone {
		var home part
		if home, parts = c.tilde(parts); home != nil {
			out.parts = append(out.parts, home)
		}
	}
	out.parts = append(out.parts, c.parts(parts, q)...)
	out.one = q != quoteArg
	for _, p := range out.parts {
		switch x := p.(type) {
		case *litPart:
		case *quotedPart:
			if quotedHasList(x) {
				out.one = false
			}
		default:
			if q == quoteNone || q == quoteArg || isListPart(p) {
				out.one = false
			}
		}
	}
	if lit, ok := foldLiteral(out.parts); ok {
		if q == quoteArg {
			return out
		}
		out.lit, out.parts = lit, nil
	}
	return out
}

func isListPart(p part) bool {
	_, ok := p.(listPart)
	return ok
}

func quotedHasList(q *quotedPart) bool {
	for _, p := range q.parts {
		if isListPart(p) {
			return true
		}
	}
	return false
}

// foldLiteral joins parts that are all constant.
func foldLiteral(parts []part) (string, bool) {
	var b strings.Builder
	for _, p := range parts {
		switch x := p.(type) {
		case *litPart:
			b.WriteString(x.s)
		case *quotedPart:
			s, ok := foldLiteral(x.parts)
			if !ok {
				return "", false
			}
			b.WriteString(s)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// assignWord compiles the right side of an assignment, where a tilde is also
// expanded after each colon and nothing splits.
func (c *compiler) assignWord(w *syntax.Word) *word {
	out := c.word(w, quoteNone)
	if len(w.Parts) == 0 {
		return out
	}
	for _, p := range w.Parts {
		if l, ok := p.(*syntax.Lit); ok && strings.Contains(l.Value, ":~") {
			return c.colonTildes(w)
		}
	}
	return out
}

// colonTildes handles PATH=a:~/b.
func (c *compiler) colonTildes(w *syntax.Word) *word {
	out := &word{}
	first := true
	for _, p := range w.Parts {
		l, ok := p.(*syntax.Lit)
		if !ok {
			out.parts = append(out.parts, c.parts([]syntax.WordPart{p}, quoteNone)...)
			first = false
			continue
		}
		for i, s := range strings.SplitAfter(l.Value, ":") {
			lit := &syntax.Lit{ValuePos: l.ValuePos, ValueEnd: l.ValueEnd, Value: s}
			rest := []syntax.WordPart{lit}
			if first || i > 0 {
				var home part
				if home, rest = c.tilde(rest); home != nil {
					out.parts = append(out.parts, home)
				}
			}
			out.parts = append(out.parts, c.parts(rest, quoteNone)...)
		}
		first = false
	}
	return out
}

// tilde expands ~ and ~/ at the start of a word.
func (c *compiler) tilde(parts []syntax.WordPart) (part, []syntax.WordPart) {
	if len(parts) == 0 {
		return nil, parts
	}
	l, ok := parts[0].(*syntax.Lit)
	if !ok || !strings.HasPrefix(l.Value, "~") {
		return nil, parts
	}
	name, _, _ := strings.Cut(l.Value[1:], "/")
	name, _, _ = strings.Cut(name, ":")
	switch {
	case name == "" && (len(l.Value) > 1 || len(parts) == 1):
		rest := append([]syntax.WordPart{&syntax.Lit{ValuePos: l.ValuePos, ValueEnd: l.ValueEnd, Value: l.Value[1:]}}, parts[1:]...)
		return &homePart{}, rest
	case loginName(name) && len(name) == len(l.Value)-1 && len(parts) == 1, loginName(name) && len(name) < len(l.Value)-1:
		c.refuse(l.Pos(), "~"+name, "ask a command for the home directory, or quote the ~")
	}
	return nil, parts
}

func loginName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := rune(s[i]); !(isASCIIAlnum(c) || c == '_' || i > 0 && (c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}

// homePart is ~.
type homePart struct{}

func (homePart) text(in *interp) string                      { s, _ := in.vars[slotHome].value(); return s }
func (p homePart) expand(in *interp, f *fields, quoted bool) { f.add(p.text(in)) }

func (c *compiler) parts(ps []syntax.WordPart, q quoting) []part {
	var out []part
	for _, p := range ps {
		if np := c.part(p, q); np != nil {
			out = append(out, np)
		}
	}
	return out
}

func (c *compiler) part(p syntax.WordPart, q quoting) part {
	switch p := p.(type) {
	case *syntax.Lit:
		return &litPart{s: unescape(p.Value, q), splits: q == quoteArg}
	case *syntax.SglQuoted:
		s := p.Value
		switch {
		case p.Dollar:
			s = unescapeDollar(s)
		case q == quoteParam: // inside "${x:-...}" they do not quote
			if strings.ContainsAny(s, "$`\\") {
				c.refuse(p.Pos(), "single quotes in a quoted ${...}", "they do not quote there; use \\$ for a literal $")
			}
			return &litPart{s: "'" + s + "'"}
		}
		return &quotedPart{[]part{&litPart{s: s}}}
	case *syntax.DblQuoted:
		if p.Dollar {
			c.refuse(p.Pos(), `$"..."`, "there are no translations; drop the $")
		}
		return &quotedPart{c.parts(p.Parts, quoteDouble)}
	case *syntax.ParamExp:
		return c.param(p, q == quoteDouble || q == quoteHere || q == quoteParam)
	case *syntax.CmdSubst:
		if p.TempFile || p.ReplyVar {
			c.refuse(p.Pos(), "this command substitution", "use $(...)")
		}
		if !c.deeper(p.Pos()) {
			return nil
		}
		defer c.shallower()
		return &substPart{c.stmts(p.Stmts), c.pos(p.Pos())}
	case *syntax.ArithmExp:
		return &arithPart{c.arith(p.X), c.pos(p.Pos())}
	case *syntax.ProcSubst:
		c.refuse(p.Pos(), "process substitution", "use a pipe or a here-document")
	case *syntax.ExtGlob:
		c.refuse(p.Pos(), "the extended pattern "+p.Op.String()+"...)", "use [[ =~ ]] or several case patterns")
	default:
		c.refuse(p.Pos(), "this expansion", "use plain shell")
	}
	return nil
}

// unescape removes the backslashes that quote, by context.
func unescape(s string, q quoting) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case s[i] == '\n':
			continue
		case q == quoteDouble && strings.IndexByte("$`\"\\", s[i]) < 0,
			q == quoteParam && strings.IndexByte("$`\"\\}", s[i]) < 0,
			q == quoteHere && strings.IndexByte("$`\\", s[i]) < 0:
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

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
	pp := &paramPart{pos: c.pos(p.Pos()), src: name, slot: -1, quoted: quoted}
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
	c.paramOps(p, pp)
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

func (c *compiler) paramOps(p *syntax.ParamExp, pp *paramPart) {
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
		c.expansion(p, pp)
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

func (c *compiler) expansion(p *syntax.ParamExp, pp *paramPart) {
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
		if pp.quoted {
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

// pattern compiles a word used as a pattern.
func (c *compiler) pattern(w *syntax.Word) *patWord {
	out := &patWord{}
	if w == nil {
		out.fixed = compilePattern("")
		return out
	}
	home, parts := c.tilde(w.Parts)
	if home != nil {
		out.parts = append(out.parts, patPart{home, true})
	}
	c.patternParts(out, parts, true)
	src, fixed := "", true
	for _, pp := range out.parts {
		s, ok := foldLiteral([]part{pp.p})
		if !ok {
			fixed = false
			break
		}
		if pp.quoted {
			s = quotePattern(s)
		}
		src += s
	}
	if fixed {
		out.parts = nil
		out.fixed = compilePattern(src)
	}
	return out
}

// patternParts splits a word into pieces that match themselves and pieces
// that are pattern. Backslashes of unquoted text stay for the matcher.
func (c *compiler) patternParts(out *patWord, ps []syntax.WordPart, raw bool) {
	for _, p := range ps {
		switch p := p.(type) {
		case *syntax.Lit:
			s := p.Value
			if raw {
				s = strings.ReplaceAll(s, "\\\n", "")
			}
			out.parts = append(out.parts, patPart{&litPart{s: s}, false})
		case *syntax.SglQuoted, *syntax.DblQuoted:
			if np := c.part(p, quoteNone); np != nil {
				out.parts = append(out.parts, patPart{np, true})
			}
		default:
			if np := c.part(p, quoteNone); np != nil {
				out.parts = append(out.parts, patPart{np, false})
			}
		}
	}
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

// heredoc compiles the body of a here-document.
func (c *compiler) heredoc(r *syntax.Redirect) *word {
	if r.Hdoc == nil {
		return &word{one: true}
	}
	quoted := false
	for _, p := range r.Word.Parts {
		if l, ok := p.(*syntax.Lit); !ok || strings.Contains(l.Value, "\\") {
			quoted = true
		}
	}
	strip := r.Op == syntax.DashHdoc
	out := &word{one: true}
	lineStart := true
	for _, p := range r.Hdoc.Parts {
		l, ok := p.(*syntax.Lit)
		if !ok {
			if np := c.part(p, quoteHere); np != nil {
				out.parts = append(out.parts, np)
			}
			lineStart = false
			continue
		}
		s := l.Value
		if strip {
			s = stripTabs(s, lineStart)
		}
		lineStart = strings.HasSuffix(s, "\n")
		if !quoted {
			s = unescape(s, quoteHere)
		}
		out.parts = append(out.parts, &litPart{s: s})
	}
	if s, ok := foldLiteral(out.parts); ok {
		out.lit, out.parts = s, nil
	}
	return out
}

// stripTabs removes leading tabs of each line, for <<-.
func stripTabs(s string, lineStart bool) string {
	lines := strings.SplitAfter(s, "\n")
	for i := range lines {
		if i > 0 || lineStart {
			lines[i] = strings.TrimLeft(lines[i], "\t")
		}
	}
	return strings.Join(lines, "")
}

// funcnamePart is $FUNCNAME, the name of the innermost function.
type funcnamePart struct{}

func (funcnamePart) text(in *interp) string {
	if n := len(in.frames); n > 0 {
		return in.frames[n-1].fn.name
	}
	return ""
}
func (p funcnamePart) expand(in *interp, f *fields, quoted bool) { f.add(p.text(in)) }

// source shows a word for messages.
func source(w *syntax.Word) string {
	var b strings.Builder
	if err := syntax.NewPrinter().Print(&b, w); err != nil {
		return "?"
	}
	return b.String()
}
