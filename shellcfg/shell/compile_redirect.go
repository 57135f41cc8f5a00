package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

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
